//! Entries whose id may have been seen before, waiting for the index or the journal to say, and the watch over an index
//! that does not answer. One entry asks; later ones of the same id wait behind it, so that none is admitted twice.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    admit::Waiting,
    filter::{Bucket, IdKey, Stretch},
    link::{Ask, Home, Index, Reply},
    lookup::LOOKUP_TIME_MAX,
};
use crate::{
    record::Seq,
    telemetry::{Alarm, Alarms},
};

/// The index has this long to answer a look-up; then the journal is asked.
pub const INDEX_ANSWER_MAX: Duration = Duration::from_millis(50);
/// An index silent for this long, though asked, is taken for hung.
pub const INDEX_SILENCE_MAX: Duration = Duration::from_secs(5);
/// The same while it opens (sled reads its whole snapshot then).
const INDEX_OPENING_MAX: Duration = Duration::from_secs(120);
/// An index that broke this often is not started again before the next start of the service.
const INDEX_LIVES: u32 = 3;
/// Entries that may wait for an answer.
pub const ASKED_MAX: usize = 4_096;

/// One id in question.
pub struct Question {
    /// The id.
    pub key: IdKey,
    /// Where it may be.
    pub stretches: Vec<Stretch>,
    /// Who waits, first come first.
    pub waiting: Vec<Waiting>,
    /// When the index was asked, until it has answered.
    pub index_asked: Option<Instant>,
    /// Whether the journal was asked, and whether it could not tell.
    pub journal: JournalSearch,
}

/// How far the journal's answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalSearch {
    /// Not asked.
    Untried,
    /// Asked.
    Searching,
    /// It could not tell in time; what is left is the index.
    Failed,
}

/// All ids in question.
#[derive(Default)]
pub struct Asked {
    by_token: HashMap<u64, Question>,
    by_key: HashMap<IdKey, u64>,
    next_token: u64,
    waiting: usize,
}

impl Asked {
    /// Whether nothing is in question.
    pub fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Lets an entry wait behind another of its id; gives it back when there is none, or no room.
    pub fn join(&mut self, key: &IdKey, waiting: Waiting) -> Result<(), Waiting> {
        let token = self.by_key.get(key).filter(|_| self.has_room());
        let Some(question) = token.and_then(|token| self.by_token.get_mut(token)) else { return Err(waiting) };
        question.waiting.push(waiting);
        self.waiting += 1;
        Ok(())
    }

    /// Whether one more may wait.
    pub fn has_room(&self) -> bool {
        self.waiting < ASKED_MAX
    }

    /// Opens a question.
    pub fn open(&mut self, key: IdKey, stretches: Vec<Stretch>, waiting: Waiting) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.waiting += 1;
        self.by_key.insert(key, token);
        self.by_token.insert(
            token,
            Question { key, stretches, waiting: vec![waiting], index_asked: None, journal: JournalSearch::Untried },
        );
        token
    }

    /// A question that is still open.
    pub fn get(&mut self, token: u64) -> Option<&mut Question> {
        self.by_token.get_mut(&token)
    }

    /// Closes a question.
    pub fn close(&mut self, token: u64) -> Option<Question> {
        let question = self.by_token.remove(&token)?;
        self.by_key.remove(&question.key);
        self.waiting -= question.waiting.len();
        Some(question)
    }

    /// Questions that the index has had so long that the journal should be asked too.
    pub fn overdue(&self, now: Instant) -> Vec<u64> {
        self.pending_longer(now, INDEX_ANSWER_MAX, JournalSearch::Untried)
    }

    /// Questions that the journal could not answer, and the index has had until now.
    pub fn lost(&self, now: Instant) -> Vec<u64> {
        self.pending_longer(now, LOOKUP_TIME_MAX, JournalSearch::Failed)
    }

    fn pending_longer(&self, now: Instant, than: Duration, journal: JournalSearch) -> Vec<u64> {
        let late = |question: &Question| {
            let asked = question.index_asked.is_some_and(|asked| now.saturating_duration_since(asked) >= than);
            asked && question.journal == journal
        };
        self.by_token.iter().filter(|(_, question)| late(question)).map(|(token, _)| *token).collect()
    }

    /// Closes all.
    pub fn drain(&mut self) -> Vec<Question> {
        self.by_key.clear();
        self.waiting = 0;
        self.by_token.drain().map(|(_, question)| question).collect()
    }
}

/// Starts an index of a generation; its replies come back with that generation.
pub type StartIndex = Box<dyn Fn(&Home, u64) -> std::io::Result<Index> + Send>;

/// The index in use, and whether it is alive.
pub struct Watched {
    home: Home,
    start: StartIndex,
    index: Option<Index>,
    generation: u64,
    indexed: Option<Seq>,
    /// When it was first asked since it last said anything.
    asked_at: Option<Instant>,
    lives: u32,
    alarms: Alarms,
}

impl Watched {
    /// Starts the newest generation.
    pub fn new(home: Home, start: StartIndex, alarms: Alarms) -> Self {
        let generation = super::link::newest_generation(&home.dir).unwrap_or(1);
        let mut this =
            Self { home, start, index: None, generation, indexed: None, asked_at: None, lives: INDEX_LIVES, alarms };
        this.begin();
        this
    }

    fn begin(&mut self) {
        self.indexed = None;
        self.asked_at = Some(Instant::now());
        match (self.start)(&self.home, self.generation) {
            Ok(index) => self.index = Some(index),
            Err(error) => tracing::error!(%error, "the id index cannot be started; the journal is searched instead"),
        }
    }

    /// Tells what was synced. What it does not take it reads from the journal later.
    pub fn insert(&mut self, from: Seq, to: Seq, ids: Vec<(IdKey, super::dedupe::Known)>) {
        self.ask(Ask::Insert { from, to, ids });
    }

    /// Asks for an id; false when the index cannot be asked now.
    pub fn lookup(&mut self, token: u64, key: IdKey, stretches: &[Stretch]) -> bool {
        let mut buckets: Vec<Bucket> = stretches.iter().map(|stretch| stretch.bucket).collect();
        buckets.dedup();
        self.indexed.is_some() && self.ask(Ask::Lookup { token, key, buckets })
    }

    /// Lets it forget.
    pub fn expire(&mut self, before: Bucket) {
        if let Some(index) = &self.index {
            index.ask(Ask::Expire(before));
        }
    }

    /// Flushes and ends it.
    pub fn stop(&mut self) {
        if let Some(index) = self.index.take() {
            index.stop();
        }
    }

    fn ask(&mut self, ask: Ask) -> bool {
        let Some(index) = &self.index else { return false };
        if !index.ask(ask) {
            return false;
        }
        self.asked_at.get_or_insert_with(Instant::now);
        true
    }

    /// Takes note of a reply; `None` when it is of an index abandoned before.
    pub fn heard(&mut self, generation: u64, reply: Reply) -> Option<Reply> {
        if generation != self.generation || self.index.is_none() {
            return None;
        }
        self.asked_at = None;
        match &reply {
            Reply::Indexed(seq) | Reply::Found { indexed: seq, .. } => {
                if self.indexed.is_none() {
                    self.alarms.clear(Alarm::IndexAbandoned, None, "the id index is complete again");
                }
                self.indexed = Some(*seq);
            }
            Reply::Broken(reason) => self.abandon(&reason.clone()),
            Reply::Outdated(reason) => {
                tracing::warn!("the id index is made anew: {reason}; until then the journal is searched");
                self.begin_anew();
            }
        }
        Some(reply)
    }

    /// Gives up on an index that was asked and says nothing.
    pub fn watch(&mut self, now: Instant) {
        let limit = if self.indexed.is_some() { INDEX_SILENCE_MAX } else { INDEX_OPENING_MAX };
        let silent = self.asked_at.map(|asked| now.saturating_duration_since(asked));
        if self.index.is_some() && silent.is_some_and(|silent| silent > limit) {
            self.abandon("it does not answer");
        }
    }

    fn abandon(&mut self, reason: &str) {
        let next = if self.lives > 1 {
            "it is being rebuilt beside; until then the journal is searched"
        } else {
            "the journal is searched instead until the next start; check the disk, then delete `index/` and restart"
        };
        self.alarms.raise(Alarm::IndexAbandoned, None, format!("the id index was given up: {reason}; {next}"));
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.index = None;
        self.lives -= 1;
        if self.lives > 0 {
            self.generation += 1;
            self.begin();
        }
    }
}
