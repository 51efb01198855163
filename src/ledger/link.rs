//! The way to the id index's thread: what it is told and asked, what it says. The thread may hang for ever; nobody waits
//! for it.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    dedupe::Known,
    filter::{Bucket, IdKey},
    index,
};
use crate::{files, record::Seq};

/// Questions and news that may wait for the index, two seconds of it where most batches come; past it the index catches up from
/// the journal.
pub(super) const ASKS_MAX: usize = 4_096;
/// Priority of the thread (on Linux of the thread alone): 5 steps below the rest of the service, behind everything that
/// someone waits for, and not so far behind that it cannot keep up.
const NICENESS: i32 = 5;
/// A flush at the end may take this long; the index is derived, so nothing is lost without it.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What the index is told or asked.
pub enum Ask {
    /// These ids are synced; with them, it has seen every record in `from..=to`.
    Insert {
        /// First seq covered.
        from: Seq,
        /// Last seq covered.
        to: Seq,
        /// The ids.
        ids: Vec<(IdKey, Known)>,
    },
    /// What is known of an id in one of these buckets?
    Lookup {
        /// Comes back with the answer.
        token: u64,
        /// The id.
        key: IdKey,
        /// Where it may be.
        buckets: Vec<Bucket>,
    },
    /// Buckets before this one may go.
    Expire(Bucket),
    /// Flush and end.
    Stop,
}

/// What the index says.
#[derive(Debug)]
pub enum Reply {
    /// It has everything up to this seq.
    Indexed(Seq),
    /// The answer to a look-up, by an index that had everything up to `indexed`.
    Found {
        /// As asked.
        token: u64,
        /// What is known.
        known: Option<Known>,
        /// How far the index had come.
        indexed: Seq,
    },
    /// It cannot be used any more.
    Broken(String),
    /// It is of another journal, or of a journal that went further, and is made anew.
    Outdated(&'static str),
}

/// What an index belongs to and where it finds things.
#[derive(Clone)]
pub struct Home {
    /// `index/`.
    pub dir: PathBuf,
    /// `journal/`.
    pub journal_dir: PathBuf,
    /// The journal's id.
    pub journal: String,
    /// Width of a bucket.
    pub bucket_secs: u64,
    /// The last synced seq.
    pub synced: watch::Receiver<Seq>,
}

/// The directory of one generation; a broken index is left alone and a new one made beside it.
pub(super) fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("ids-{generation}"))
}

/// The generation to go on with. Older ones are removed, and so is a stray file in the place of the directory.
pub fn newest_generation(dir: &Path) -> io::Result<u64> {
    if dir.exists() && !dir.is_dir() {
        fs::remove_file(dir)?;
    }
    files::create_dir(dir)?;
    let mut generations = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_prefix("ids-")?.parse::<u64>().ok()) {
            generations.push(number);
        }
    }
    let newest = generations.iter().copied().max().unwrap_or(1);
    for old in generations.into_iter().filter(|generation| *generation < newest) {
        let _ = fs::remove_dir_all(generation_dir(dir, old));
    }
    Ok(newest)
}

/// The way to the index's thread.
pub struct Index {
    asks: SyncSender<Ask>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Index {
    /// Starts the thread; it opens (or makes) the index, catches up, and reports through `reply`, which says false
    /// once nobody listens any more.
    pub fn start(home: Home, generation: u64, reply: impl Fn(Reply) -> bool + Send + 'static) -> io::Result<Self> {
        let (asks, inbox) = sync_channel(ASKS_MAX);
        let (ending, ended) = sync_channel(0);
        thread::Builder::new().name("index".to_owned()).spawn(move || {
            let _ending: SyncSender<()> = ending;
            // Where the system refuses, it is merely less polite.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            // sled panics on some damage; to us that is one more way to be broken.
            let outcome = catch_unwind(AssertUnwindSafe(|| index::run(&home, generation, &inbox, &reply)));
            let end = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(index::IndexError::Outdated(reason))) => Reply::Outdated(reason),
                Ok(Err(error)) => Reply::Broken(error.to_string()),
                Err(_) => Reply::Broken("sled panicked".to_owned()),
            };
            reply(end);
        })?;
        Ok(Self { asks, ended })
    }

    /// For tests: an index whose thread is somebody else.
    #[cfg(test)]
    pub fn stub() -> (Self, Receiver<Ask>) {
        let (asks, inbox) = sync_channel(ASKS_MAX);
        (Self { asks, ended: sync_channel(0).1 }, inbox)
    }

    /// Flushes and ends it; waits for that, but not for an index that hangs.
    pub fn stop(self) {
        if self.ask(Ask::Stop) {
            let _ = self.ended.recv_timeout(STOP_WAIT);
        }
    }

    /// Tells or asks; false when the index is too busy or gone.
    pub fn ask(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::ledger::{asked::INDEX_SILENCE_MAX, index::GROUP_IDS};

    /// An index over no journal at all: with the first thing that it has to read there it is broken.
    fn index(dir: &Path) -> (Index, Receiver<Reply>, watch::Sender<Seq>) {
        let (synced, receiver) = watch::channel(0);
        let home = Home {
            dir: dir.join("index"),
            journal_dir: dir.join("journal"),
            journal: "3f9a1c2e".to_owned(),
            bucket_secs: 3_600,
            synced: receiver,
        };
        let (replies, heard) = std::sync::mpsc::channel();
        let index = Index::start(home, 1, move |reply| replies.send(reply).is_ok()).unwrap();
        heard.recv_timeout(INDEX_SILENCE_MAX).expect("it is open");
        (index, heard, synced)
    }

    /// An id for each of these.
    fn news(seqs: RangeInclusive<Seq>) -> Ask {
        let id = |seq: Seq| {
            let mut key = IdKey::default();
            key[..8].copy_from_slice(&seq.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
            (key, Known { seq, bucket: 0, body: [0; 8], denied: false, replayed: false })
        };
        Ask::Insert { from: *seqs.start(), to: *seqs.end(), ids: seqs.map(id).collect() }
    }

    #[test]
    fn an_index_that_waits_for_more_news_says_that_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let (index, heard, _synced) = index(dir.path());
        assert!(index.ask(news(1..=1)));
        heard.recv_timeout(INDEX_SILENCE_MAX / 2).expect("it is not taken for hung");
        index.stop();
    }

    #[test]
    fn news_is_taken_as_fast_as_it_comes_while_a_group_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (index, heard, _synced) = index(dir.path());
        let mut last = 0;
        let mut tell = |count: Seq| {
            last += count;
            index.ask(news(last - count + 1..=last))
        };
        // A group, in news large enough not to fill the queue …
        assert!((0..GROUP_IDS / 128).all(|_| tell(128)));
        // … and, while it is being written, twice the queue, in pieces with a pause as a sync is.
        for _ in 0..2 * ASKS_MAX / 16 {
            assert!((0..16).all(|_| tell(1)), "the queue is full");
            thread::sleep(Duration::from_millis(1));
        }
        let mut indexed = 0;
        while indexed < GROUP_IDS as Seq {
            indexed = match heard.recv_timeout(INDEX_SILENCE_MAX).expect("it lives") {
                Reply::Indexed(seq) => seq,
                other => panic!("{other:?}"),
            };
        }
        index.stop();
    }
}
