//! Load: connections that post unique events as fast as they are answered, and a book of what was promised.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    app::TestApp,
    event::{Event, Signer},
    http::{Client, Verdict},
    journal::Journal,
};

/// An event sent, and its answer; none where the connection broke first.
pub type Sent = (Event, Option<Verdict>);

/// Connections that post until they break or are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    recorded: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

impl Load {
    /// Starts them.
    pub fn start(to: SocketAddr, signer: &Signer, connections: u64, seed: u64) -> Self {
        let (stop, recorded) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..connections).map(|number| {
            let (stop, recorded, signer) = (Arc::clone(&stop), Arc::clone(&recorded), signer.clone());
            let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number));
            thread::spawn(move || post(to, &signer, &mut rng, &stop, &recorded))
        });
        let threads = threads.collect();
        Self { stop, recorded, threads }
    }

    /// How many were answered with a record's seq so far.
    pub fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    /// Waits for the connections to break, or ends them after the answer they wait for. Every event sent, with its
    /// answer; without one where none came.
    pub fn end(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn post(to: SocketAddr, signer: &Signer, rng: &mut StdRng, stop: &AtomicBool, recorded: &AtomicU64) -> Vec<Sent> {
    let mut sent = Vec::new();
    let Ok(mut client) = Client::connect(to) else { return sent };
    while !stop.load(Ordering::Relaxed) {
        let event = Event::new(rng);
        let verdict = client.send(&event, signer).ok();
        let broken = verdict.is_none();
        if verdict.as_ref().is_some_and(Verdict::is_recorded) {
            recorded.fetch_add(1, Ordering::Relaxed);
        }
        sent.push((event, verdict));
        if broken {
            break;
        }
    }
    sent
}

/// What the service promised, and what is open.
#[derive(Default)]
pub struct Book {
    /// Event id to its seq and bytes.
    promised: HashMap<String, (u64, Vec<u8>)>,
    ids: Vec<String>,
    open: Vec<Event>,
}

impl Book {
    /// Enters what a load sent.
    pub fn enter(&mut self, sent: Vec<Sent>) {
        for (event, verdict) in sent {
            match verdict {
                Some(verdict) if verdict.is_recorded() => self.promise(event, verdict.seq.unwrap()),
                Some(verdict) => {
                    assert_eq!((verdict.status, verdict.retry_after), (503, true), "{verdict:?}");
                    self.open.push(event);
                }
                None => self.open.push(event),
            }
        }
    }

    fn promise(&mut self, event: Event, seq: u64) {
        self.ids.push(event.id.clone());
        assert!(self.promised.insert(event.id, (seq, event.body)).is_none());
    }

    /// How many events are promised.
    pub fn len(&self) -> usize {
        self.promised.len()
    }

    /// Every promised id.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.ids.iter()
    }

    /// Every promised event is in the journal exactly once, under its seq; no event is there twice.
    pub fn check(&self, journal: &Journal) {
        for (id, (seq, _)) in &self.promised {
            assert_eq!(journal.seq_of(id), *seq, "event {id} was acknowledged");
        }
        for id in journal.seqs_by_id.keys() {
            journal.seq_of(id);
        }
    }

    /// Sends every open event again: recorded now, once. Returns how many had not been recorded before.
    pub fn settle(&mut self, app: &TestApp) -> usize {
        let mut client = app.client();
        let mut new = 0;
        for event in std::mem::take(&mut self.open) {
            let verdict = client.send(&event, &app.signer()).unwrap();
            assert!(verdict.is_recorded(), "{verdict:?}");
            new += usize::from(verdict.word == "accepted");
            self.promise(event, verdict.seq.unwrap());
        }
        new
    }

    /// How many events are open.
    pub fn open_len(&self) -> usize {
        self.open.len()
    }

    /// Sends some promised events again, half of them the last one: duplicates with the first seq.
    pub fn resend(&self, app: &TestApp, count: usize, rng: &mut StdRng) {
        let mut pick = || if rng.random_bool(0.5) { self.ids.choose(rng) } else { self.ids.last() };
        let ids: Vec<&String> = (0..count).filter_map(|_| pick()).collect();
        self.resend_these(app, ids);
    }

    /// Sends every promised event again: duplicates with the first seq.
    pub fn resend_every(&self, app: &TestApp) {
        self.resend_these(app, &self.ids);
    }

    fn resend_these<'a>(&self, app: &TestApp, ids: impl IntoIterator<Item = &'a String>) {
        let (mut client, signer) = (app.client(), app.signer());
        for id in ids {
            let (seq, body) = &self.promised[id];
            let verdict = client.post(body, &signer.sign(body)).unwrap().verdict();
            assert_eq!((verdict.status, verdict.word.as_str(), verdict.seq), (200, "duplicate", Some(*seq)), "{id}");
        }
    }
}
