//! The thread that keeps what does not fit into memory ([`super::spill`]): the ledger hands over and asks, and never waits.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use super::spill::{Needed, Store};
use crate::{
    detect::state::{
        State,
        spilled::{Name, Spilled},
        tiers::OutsideKeys,
    },
    telemetry::{Alarm, Alarms},
};

/// What may wait for the thread: at most so many reads, and [`PUT_AT_ONCE`] times as many entries of some 300 bytes.
const ASKS_MAX: usize = 4_096;
/// Entries are handed over when there are so many, and before anything is asked.
const PUT_AT_ONCE: usize = 32;

enum Ask {
    Put(Vec<Spilled>),
    Read(u64, Vec<Name>),
    Save(Box<[OutsideKeys; 2]>, SyncSender<Needed>),
}

/// What was asked for.
pub struct Answer {
    /// As asked.
    pub token: u64,
    /// Each with its bytes; none where they are lost.
    pub found: Vec<(Name, Option<Vec<u8>>)>,
}

/// Where answers go; false when nobody takes them.
pub type Answers = Arc<dyn Fn(Answer) -> bool + Send + Sync>;

/// The way to the thread, which ends when this is dropped.
pub struct SpillThread {
    asks: SyncSender<Ask>,
    leaving: Vec<Spilled>,
    answers: Answers,
    alarms: Alarms,
    ended: Arc<AtomicBool>,
}

impl SpillThread {
    /// Starts the thread.
    pub fn start(store: Store, answers: Answers, alarms: Alarms) -> io::Result<Self> {
        let (asks, inbox) = sync_channel(ASKS_MAX);
        let ended = Arc::new(AtomicBool::new(false));
        let (answered, ends) = (Arc::clone(&answers), Arc::clone(&ended));
        let work = Work { store, written: 0, answers: answered, alarms: alarms.clone(), ended: ends };
        thread::Builder::new().name("spill".to_owned()).spawn(move || work.run(&inbox))?;
        Ok(Self { asks, leaving: Vec::new(), answers, alarms, ended })
    }

    /// What was handed over and asked counts no more: memory is loaded again. Nothing more is written, but for what the
    /// thread is at.
    pub fn end(&mut self) {
        self.leaving.clear();
        self.ended.store(true, Ordering::Release);
    }

    /// The same with another store, in a thread of its own.
    pub fn anew(&self, store: Store) -> io::Result<Self> {
        Self::start(store, Arc::clone(&self.answers), self.alarms.clone())
    }

    /// Hands over what went out.
    pub fn put(&mut self, entries: impl Iterator<Item = Spilled>) {
        self.leaving.extend(entries);
        if self.leaving.len() >= PUT_AT_ONCE {
            self.flush();
        }
    }

    /// Hands over what is held back.
    pub fn flush(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let leaving = std::mem::take(&mut self.leaving);
        if self.asks.try_send(Ask::Put(leaving)).is_err() {
            failed(&self.alarms, "the disk under the data directory takes too long");
        }
    }

    /// Asks for entries; false when too much waits already.
    pub fn read(&mut self, token: u64, names: Vec<Name>) -> bool {
        self.flush();
        self.asks.try_send(Ask::Read(token, names)).is_ok()
    }

    /// What a copy of this state needs, as soon as the thread can say.
    pub fn save(&mut self, state: &State) -> Receiver<Needed> {
        self.flush();
        let (reply, needed) = sync_channel(1);
        let outside = Box::new([state.sessions.outside_keys().clone(), state.users.outside_keys().clone()]);
        // Where it is not taken, whoever waits hears that nobody will say.
        let _ = self.asks.try_send(Ask::Save(outside, reply));
        needed
    }
}

struct Work {
    store: Store,
    /// As of the last look.
    written: u64,
    answers: Answers,
    alarms: Alarms,
    ended: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self, inbox: &Receiver<Ask>) {
        loop {
            let ask = match inbox.try_recv() {
                Ok(ask) => ask,
                Err(TryRecvError::Empty) if self.store.is_moving() => {
                    let moved = self.store.move_some();
                    self.look(moved);
                    continue;
                }
                _ => match inbox.recv() {
                    Ok(ask) => ask,
                    Err(_) => return,
                },
            };
            if self.ended.load(Ordering::Acquire) || !self.work(ask) {
                return;
            }
        }
    }

    fn work(&mut self, ask: Ask) -> bool {
        match ask {
            Ask::Put(entries) => {
                // One that fails takes none with it that comes after it.
                let kept = entries.iter().map(|entry| self.store.add(entry)).fold(Ok(()), io::Result::and);
                self.look(kept);
            }
            Ask::Read(token, names) => {
                let find = |name| (name, self.store.find(name).map(|entry| entry.bytes));
                return (self.answers)(Answer { token, found: names.into_iter().map(find).collect() });
            }
            Ask::Save(outside, reply) => match self.store.save([&outside[0], &outside[1]]) {
                Ok(needed) => drop(reply.send(needed)),
                Err(error) => self.look(Err(error)),
            },
        }
        true
    }

    fn look(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            failed(&self.alarms, &error.to_string());
        } else if self.written < self.store.writes() {
            self.written = self.store.writes();
            self.alarms.clear(Alarm::StateNotSpilled, None, "what detection remembers can be written again");
        }
    }
}

fn failed(alarms: &Alarms, why: &str) {
    let message = format!(
        "what detection remembers of sessions and users that are not in memory cannot be written: {why}; whoever it \
         concerns is judged without it (evidence.cold); check the disk under the data directory"
    );
    alarms.raise(Alarm::StateNotSpilled, None, message);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        ledger::spill::tests::{break_current, found, small, spilled},
        telemetry::Metrics,
    };

    #[test]
    fn one_that_cannot_be_kept_takes_none_with_it_that_comes_after() {
        let dir = tempfile::tempdir().unwrap();
        let (state, gone) = spilled(200);
        let alarms = Alarms::new(Metrics::new());
        let mut work = Work {
            store: small(Store::open(dir.path(), &BTreeSet::new(), &state)),
            written: 0,
            answers: Arc::new(|_| true),
            alarms: alarms.clone(),
            ended: Arc::default(),
        };
        assert!(work.work(Ask::Put(gone[..1].to_vec())));
        break_current(&mut work.store);
        assert!(work.work(Ask::Put(gone[1..].to_vec())));
        // An entry of these has 100 bytes at least, and a file is ended at 4,000: not more than 40 waited for the first one.
        let kept = found(&work.store, &state, &gone);
        assert!((159..199).contains(&kept), "{kept}");
        assert_eq!(alarms.raised().len(), 1);
        // The next that is written says that it is over.
        assert!(work.work(Ask::Put(gone[..1].to_vec())));
        work.store.write().unwrap();
        work.look(Ok(()));
        assert_eq!(alarms.raised(), []);
    }
}
