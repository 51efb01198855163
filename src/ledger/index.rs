//! The id index: sled behind its own thread, and the only file that names it.
//!
//! Derived from the journal and never waited for: sled 0.34 does not sync what it says it flushed, may hang, and may
//! not open after a crash. It learns of records after they are synced, catches up from the journal where it missed
//! some, and answers look-ups with how far it has come, so that the ledger can tell whether to believe a "no". Keys
//! begin with their time bucket, which keeps inserts, memory and expiry local.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    time::{Duration, Instant},
};

use super::{
    dedupe::{IdLine, Known},
    filter::{Bucket, IdKey},
    link::{ASKS_MAX, Ask, Home, Reply, generation_dir},
    read::{Item, Reader},
};
use crate::{
    files,
    record::{Kind, Seq},
};

/// Records read at a time when catching up, between two looks at the questions.
const CATCH_UP_RECORDS: usize = 2_048;
/// Bytes read at a time when catching up.
const CATCH_UP_BYTES: usize = 4 << 20;
/// Ids deleted at a time when a bucket expires (128,000 at once took 340 ms).
const EXPIRE_SLICE: usize = 1_000;
/// Ids written between two looks at the questions: about half a millisecond's work.
const WRITE_SLICE: usize = 32;
/// Waits this long for a question between two of them, unless it is behind: whoever wakes during one waits for its end.
const BREATH: Duration = Duration::from_micros(100);
/// News waits this long for more of it. Nobody waits for it: `recent` in dedupe holds what is not written yet.
const NEWS_WAIT: Duration = Duration::from_secs(5);
/// Ids written together: sorted, many share sled's pages, twice as fast as they arrived (56,000 to 107,000 a second).
pub(super) const GROUP_IDS: usize = 32_768;
/// News that may wait while a group is being written; what comes past it is read from the journal later.
const NEWS_MAX: usize = 4 * GROUP_IDS;
/// Ids written together when catching up, where many are known at once: each of sled's pages is written fewer times.
const CATCH_UP_IDS: usize = NEWS_MAX;
/// How long the thread sleeps at most, and how often it says how far it is: who says nothing is taken for hung.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// How often a long catch-up says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// sled's own cache. It does not bound sled's memory, but less is less, and what is written in order needs little.
const CACHE_BYTES: u64 = 1 << 20;
/// The key of the mark "everything up to this seq is in here". No bucket is so late.
const MARK: &[u8] = b"\xff\xff\xff\xffmark";
/// The key of what the index belongs to.
const OWNER: &[u8] = b"\xff\xff\xff\xffowner";

/// Why the index cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] io::Error),
    #[error("{0}")]
    Useless(String),
    /// As it is to be where a backup was put back or `dedupe.window` was changed.
    #[error("{0}")]
    Outdated(&'static str),
}

fn tree_key(bucket: Bucket, key: &IdKey) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&bucket.to_be_bytes());
    bytes[4..].copy_from_slice(key);
    bytes
}

struct Thread<'a> {
    home: &'a Home,
    db: sled::Db,
    indexed: Seq,
    expire_before: Option<Bucket>,
    writing: Option<Group>,
    /// Gathered for the next group. Nobody waits for it.
    news: Vec<(IdKey, Known)>,
    /// The last seq that `news` covers.
    news_to: Seq,
    /// When `news` is written at the latest.
    news_due: Option<Instant>,
    /// When it last said how far it is.
    said: Instant,
    reply: &'a dyn Fn(Reply) -> bool,
}

/// Ids on their way into sled.
struct Group {
    ids: Vec<(IdKey, Known)>,
    written: usize,
    /// With them, everything up to here is in.
    to: Seq,
}

/// Opens the index, catches up with the journal, and answers until told to stop.
pub(super) fn run(
    home: &Home,
    generation: u64,
    inbox: &Receiver<Ask>,
    reply: &dyn Fn(Reply) -> bool,
) -> Result<(), IndexError> {
    // Before it is opened, which takes its time: what is synced meanwhile hides no mark that was ahead.
    let synced = *home.synced.borrow();
    let db = open(home, generation)?;
    let mark = db.get(MARK)?.and_then(|mark| Some(Seq::from_be_bytes(mark.as_ref().try_into().ok()?)));
    let indexed = mark.unwrap_or(0);
    let mut thread = Thread {
        home,
        db,
        indexed,
        expire_before: None,
        writing: None,
        news: Vec::new(),
        news_to: indexed,
        news_due: None,
        said: Instant::now(),
        reply,
    };
    if thread.indexed > synced {
        return Err(IndexError::Outdated("it is ahead of the journal"));
    }
    thread.work(inbox)
}

fn open(home: &Home, generation: u64) -> Result<sled::Db, IndexError> {
    let path = generation_dir(&home.dir, generation);
    files::create_dir(&path)?;
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(1_000));
    let db = config.open()?;
    let owner = format!("{} {}", home.journal, home.bucket_secs);
    match db.get(OWNER)? {
        Some(found) if found.as_ref() == owner.as_bytes() => {}
        None if db.get(MARK)?.is_none() => _ = db.insert(OWNER, owner.as_bytes())?,
        _ => {
            return Err(IndexError::Outdated("it belongs to another journal, or dedupe.window was changed"));
        }
    }
    Ok(db)
}

impl Thread<'_> {
    fn work(&mut self, inbox: &Receiver<Ask>) -> Result<(), IndexError> {
        let (from, until) = (self.indexed, *self.home.synced.borrow());
        self.catch_up(until, inbox)?;
        if from < until {
            tracing::info!(from, to = self.indexed, "the id index is rebuilt from the journal as far as it was behind");
        }
        if !self.say() {
            return Ok(());
        }
        loop {
            let busy = self.writing.is_some() || self.expire_before.is_some();
            let pause = if self.news.len() < GROUP_IDS { BREATH } else { Duration::ZERO };
            let first = match inbox.recv_timeout(if busy { pause } else { IDLE_WAIT }) {
                Ok(ask) => Some(ask),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            // All that waits, for each batch of the journal says something: what does not fit into the queue is read from
            // the journal again, which costs much more.
            for ask in first.into_iter().chain(inbox.try_iter()).take(ASKS_MAX) {
                if !self.answer(ask, inbox)? {
                    return Ok(());
                }
            }
            self.expire_slice()?;
            let is_due = self.news_due.is_some_and(|due| due <= Instant::now());
            if self.writing.is_none() && (is_due || self.news.len() >= GROUP_IDS) {
                self.begin_news();
            }
            if (self.write_slice()? || self.said.elapsed() >= IDLE_WAIT) && !self.say() {
                return Ok(());
            }
        }
    }

    /// Says how far it is; false when nobody listens any more.
    fn say(&mut self) -> bool {
        self.said = Instant::now();
        (self.reply)(Reply::Indexed(self.indexed))
    }

    /// False when it is time to end.
    fn answer(&mut self, ask: Ask, inbox: &Receiver<Ask>) -> Result<bool, IndexError> {
        match ask {
            Ask::Insert { from, to, ids } => {
                if from > self.news_to + 1 {
                    // The catch-up reads all of it again.
                    (self.writing, self.news, self.news_due) = (None, Vec::new(), None);
                    self.catch_up(to, inbox)?;
                    return Ok(self.say());
                }
                // What is not taken leaves a gap before the next.
                if self.news.len() < NEWS_MAX {
                    self.news.extend(ids);
                    self.news_to = to;
                    self.news_due.get_or_insert_with(|| Instant::now() + NEWS_WAIT);
                }
                Ok(true)
            }
            Ask::Lookup { token, key, buckets } => {
                let known = self.lookup(&key, &buckets)?;
                Ok((self.reply)(Reply::Found { token, known, indexed: self.indexed }))
            }
            Ask::Expire(before) => {
                self.expire_before = Some(before);
                Ok(true)
            }
            Ask::Stop => {
                while self.writing.is_some() {
                    self.write_slice()?;
                }
                self.begin_news();
                while !self.write_slice()? {}
                self.db.flush()?;
                Ok(false)
            }
        }
    }

    /// Makes what has gathered the next group.
    fn begin_news(&mut self) {
        self.news_due = None;
        let news = std::mem::take(&mut self.news);
        self.begin(news, self.news_to);
    }

    fn begin(&mut self, mut ids: Vec<(IdKey, Known)>, to: Seq) {
        // Stable: of two entries of one id the later one counts.
        ids.sort_by_key(|(key, known)| (known.bucket, *key));
        self.writing = Some(Group { ids, written: 0, to });
    }

    /// Writes a little of the group; true when that was the last of it.
    fn write_slice(&mut self) -> Result<bool, IndexError> {
        let Some(group) = &mut self.writing else { return Ok(false) };
        let end = group.ids.len().min(group.written + WRITE_SLICE);
        for (key, known) in &group.ids[group.written..end] {
            self.db.insert(tree_key(known.bucket, key), &known.to_bytes()[..])?;
        }
        // A group goes through all of the bucket's pages. What sled lets go of waits, tens of megabytes, until somebody collects it.
        crossbeam_epoch::pin().flush();
        group.written = end;
        if end < group.ids.len() {
            return Ok(false);
        }
        // Last, so that it never says more than is there.
        self.db.insert(MARK, &group.to.to_be_bytes())?;
        self.indexed = group.to;
        self.news_to = self.news_to.max(group.to);
        self.writing = None;
        Ok(true)
    }

    fn lookup(&self, key: &IdKey, buckets: &[Bucket]) -> Result<Option<Known>, IndexError> {
        for bucket in buckets {
            if let Some(bytes) = self.db.get(tree_key(*bucket, key))? {
                return Ok(Known::from_bytes(*bucket, &bytes));
            }
        }
        Ok(None)
    }

    /// Reads what it missed from the journal, up to what has come meanwhile. Look-ups are answered as far as it has come.
    fn catch_up(&mut self, mut until: Seq, inbox: &Receiver<Ask>) -> Result<(), IndexError> {
        let mut reader = Reader::new(&self.home.journal_dir, self.indexed + 1);
        let mut logged = Instant::now();
        while self.indexed < until {
            let mut ids = Vec::new();
            while ids.len() < CATCH_UP_IDS && reader.next() <= until {
                let items = reader.read(until, CATCH_UP_RECORDS, CATCH_UP_BYTES)?;
                if items.is_empty() {
                    return Err(IndexError::Useless(format!(
                        "the journal shows nothing past seq {}",
                        reader.next() - 1
                    )));
                }
                for item in &items {
                    if let Item::Line { text, .. } = item {
                        self.remember(text, &mut ids)?;
                    }
                }
                until = until.max(self.answer_lookups(inbox)?);
            }
            self.begin(ids, reader.next() - 1);
            while !self.write_slice()? {
                until = until.max(self.answer_lookups(inbox)?);
            }
            self.say();
            if logged.elapsed() >= PROGRESS_EVERY {
                logged = Instant::now();
                tracing::info!(indexed = self.indexed, of = until, "the id index is catching up with the journal");
            }
        }
        Ok(())
    }

    /// During a catch-up: look-ups at once; news says how far there is to go. It is read with the rest.
    fn answer_lookups(&mut self, inbox: &Receiver<Ask>) -> Result<Seq, IndexError> {
        if self.said.elapsed() >= IDLE_WAIT {
            self.say();
        }
        let mut until = 0;
        loop {
            match inbox.try_recv() {
                Ok(Ask::Lookup { token, key, buckets }) => {
                    let known = self.lookup(&key, &buckets)?;
                    (self.reply)(Reply::Found { token, known, indexed: self.indexed });
                }
                Ok(Ask::Expire(before)) => self.expire_before = Some(before),
                Ok(Ask::Insert { to, .. }) => until = to,
                Ok(Ask::Stop) | Err(TryRecvError::Disconnected) => {
                    return Err(IndexError::Useless("stopped while catching up".to_owned()));
                }
                Err(TryRecvError::Empty) => return Ok(until),
            }
        }
    }

    fn remember(&self, line: &[u8], ids: &mut Vec<(IdKey, Known)>) -> Result<(), IndexError> {
        let Ok(record) = serde_json::from_slice::<IdLine<'_>>(line) else { return Ok(()) };
        let Some(key) = record.key() else { return Ok(()) };
        if record.kind == Kind::Event {
            ids.push((key, record.known(self.home.bucket_secs)));
        } else if let Some(of) = record.replay_of() {
            let here = ids.iter_mut().find(|(other, known)| *other == key && known.seq == of);
            if let Some((_, known)) = here {
                known.replayed = true;
            } else if let Some(mut known) = self.find_everywhere(&key)? {
                known.replayed = true;
                ids.push((key, known));
            }
        }
        Ok(())
    }

    /// Looks through every bucket; for the rare replay whose first record lies further back.
    fn find_everywhere(&self, key: &IdKey) -> Result<Option<Known>, IndexError> {
        let mut from = 0;
        while let Some(next) = self.db.range(tree_key(from, &IdKey::default())..).keys().next() {
            let next = next?;
            let Ok(bucket) = next.get(..4).unwrap_or_default().try_into().map(Bucket::from_be_bytes) else { break };
            if bucket == Bucket::MAX {
                break;
            }
            if let Some(known) = self.lookup(key, &[bucket])? {
                return Ok(Some(known));
            }
            from = bucket + 1;
        }
        Ok(None)
    }

    /// Deletes one slice of what has expired.
    fn expire_slice(&mut self) -> Result<(), IndexError> {
        let Some(before) = self.expire_before else { return Ok(()) };
        let mut batch = sled::Batch::default();
        let mut count = 0;
        for key in self.db.range(..tree_key(before, &IdKey::default())).keys().take(EXPIRE_SLICE) {
            batch.remove(key?);
            count += 1;
        }
        if count == 0 {
            self.expire_before = None;
            return Ok(());
        }
        Ok(self.db.apply_batch(batch)?)
    }
}
