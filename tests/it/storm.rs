//! Proof: once under storm. 64 connections post the same 1,000 ids in random order, the service is killed and stopped in
//! between: exactly 1,000 event records, and every answer names the same seq for the same id.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    http::{Client, Verdict},
    seed,
};

const CONNECTIONS: usize = 64;
const IDS: usize = 1_000;

/// One id with its body, its signature and the seq that the first answer named (0 before).
struct Shared {
    body: Vec<u8>,
    signature: String,
    seq: AtomicU64,
    accepted: AtomicU64,
}

/// Notes an answer; false when it has to be asked again.
fn note(shared: &Shared, verdict: &Verdict) -> bool {
    if verdict.status == 503 {
        assert!(verdict.retry_after, "{verdict:?}");
        return false;
    }
    assert!(verdict.is_recorded(), "{verdict:?}");
    let seq = verdict.seq.unwrap();
    let first = shared.seq.compare_exchange(0, seq, Ordering::SeqCst, Ordering::SeqCst);
    assert!(first.is_ok() || first == Err(seq), "one id, two seqs: {first:?} and {seq}");
    if verdict.word == "accepted" {
        assert_eq!(shared.accepted.fetch_add(1, Ordering::SeqCst), 0, "seq {seq} was accepted twice");
    }
    true
}

/// Posts every id once, in its own order; again after every broken connection and every 503.
fn post_all(to: SocketAddr, shared: &[Shared], done: &AtomicU64, mut rng: StdRng) {
    let mut order: Vec<&Shared> = shared.iter().collect();
    order.shuffle(&mut rng);
    let mut client = None;
    let mut retries = 0;
    for one in order {
        loop {
            if client.is_none() {
                client = Client::connect(to).ok();
            }
            let answer = client.as_mut().and_then(|client| client.post(&one.body, &one.signature).ok());
            match answer {
                Some(answer) if note(one, &answer.verdict()) => break,
                Some(_) => {}
                None => client = None,
            }
            retries += 1;
            assert!(retries < 20_000, "the service does not come back");
            thread::sleep(Duration::from_millis(10));
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_same_ids_from_many_sides_are_recorded_once() {
    let mut rng = StdRng::seed_from_u64(seed("storm"));
    let mut app = TestApp::start(Settings::new());
    let signer = app.signer();
    let events: Vec<Event> = (0..IDS).map(|_| Event::new(&mut rng)).collect();
    let shared = events.iter().map(|event| {
        let (body, signature) = (event.body.clone(), signer.sign(&event.body));
        Shared { body, signature, seq: AtomicU64::new(0), accepted: AtomicU64::new(0) }
    });
    let shared: Arc<[Shared]> = shared.collect();
    let done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (shared, done, to) = (Arc::clone(&shared), Arc::clone(&done), app.listen);
            let rng = StdRng::seed_from_u64(rng.random());
            thread::spawn(move || post_all(to, &shared, &done, rng))
        })
        .collect();
    // In the first thousand answers most are new; later ones are duplicates of what is indexed, or not yet.
    for (number, reached) in [200, 600, 5_000, 20_000, 40_000].into_iter().enumerate() {
        eventually("the storm goes on", || {
            done.load(Ordering::Relaxed) >= reached || threads.iter().any(thread::JoinHandle::is_finished)
        });
        if number % 2 == 0 {
            app.kill()
        } else {
            app.stop()
        }
        app.launch();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let journal = app.journal();
    assert_eq!(journal.seqs_by_id.len(), IDS);
    for (event, shared) in events.iter().zip(shared.iter()) {
        assert_eq!(journal.seq_of(&event.id), shared.seq.load(Ordering::SeqCst));
    }
    assert_eq!(journal.lines.iter().filter(|line| line.kind == "event").count(), IDS);
    app.verify();
}
