//! Strict dedupe: what the ledger's thread knows of ids without asking anyone.
//!
//! Every id of the window is in the [`Filters`]; the youngest, which the index may not have yet, are in `recent` with
//! all there is to know. A miss in both is certain. A hit in the filters alone is a question for the index, and where
//! that cannot answer, for the journal; the entries that wait for it, and those of the same id behind them, are in
//! `asked`.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::filter::{Bucket, Filters, IdKey, Stretch};
use crate::{
    record::{Kind, Seq},
    time::ReceivedAt,
};

/// The window is cut into this many buckets; one more is kept so that the window is a minimum.
const BUCKETS_PER_WINDOW: u64 = 8;
/// Ids that the index may be behind before it is asked no more about what it lacks (48 bytes each).
const RECENT_MAX: usize = 1 << 17;

/// The key of (source, event id).
pub fn id_key(source: &str, id: &str) -> IdKey {
    let digest = Sha256::new().chain_update(source).chain_update([0x1f]).chain_update(id).finalize();
    let mut key = IdKey::default();
    key.copy_from_slice(&digest[..16]);
    key
}

/// What is known of a recorded id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its first record.
    pub seq: Seq,
    /// Its bucket.
    pub bucket: Bucket,
    /// The first 8 bytes of its body's SHA-256.
    pub body: [u8; 8],
    /// Whether the gate refused it.
    pub denied: bool,
    /// Whether a replay of it is recorded already.
    pub replayed: bool,
}

impl Known {
    /// As the index keeps it, in a key that names the bucket: seq and body, then one bit each for denied and replayed.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.body);
        bytes[16] = u8::from(self.denied) | u8::from(self.replayed) << 1;
        bytes
    }

    /// The same back; `None` when these are no such bytes.
    pub fn from_bytes(bucket: Bucket, bytes: &[u8]) -> Option<Self> {
        let (seq, body, flags) = (bytes.get(..8)?, bytes.get(8..16)?, *bytes.get(16)?);
        Some(Self {
            seq: Seq::from_be_bytes(seq.try_into().ok()?),
            bucket,
            body: body.try_into().ok()?,
            denied: flags & 1 != 0,
            replayed: flags & 2 != 0,
        })
    }
}

/// What can be said of an id at once.
pub enum Lookup {
    /// Never seen in the window.
    New,
    /// Recorded.
    Known(Known),
    /// Perhaps recorded, in one of these.
    Ask(Vec<Stretch>),
}

/// See the module.
pub struct Dedupe {
    bucket_secs: u64,
    window: Duration,
    filters: Filters,
    recent: HashMap<IdKey, (Known, Seq)>,
    order: VecDeque<(Seq, IdKey)>,
    /// Every id up to this seq is in the index, or was given up on by `recent`.
    floor: Seq,
}

impl Dedupe {
    /// The width of a bucket for a window.
    pub fn bucket_secs(window: Duration) -> u64 {
        window.as_secs().div_ceil(BUCKETS_PER_WINDOW).max(1)
    }

    /// Starts from filters that cover the journal up to `filters.covered()`.
    pub fn new(window: Duration, filters: Filters) -> Self {
        let floor = filters.covered();
        Self {
            bucket_secs: Self::bucket_secs(window),
            window,
            filters,
            recent: HashMap::new(),
            order: VecDeque::new(),
            floor,
        }
    }

    /// The bucket of an instant.
    pub fn bucket(&self, at: ReceivedAt) -> Bucket {
        bucket_of(at, self.bucket_secs)
    }

    /// What can be said of an id at once.
    pub fn lookup(&self, key: &IdKey) -> Lookup {
        if let Some((known, _)) = self.recent.get(key) {
            return Lookup::Known(*known);
        }
        let stretches = self.filters.stretches(key);
        if stretches.is_empty() { Lookup::New } else { Lookup::Ask(stretches) }
    }

    /// Remembers a new id.
    pub fn insert(&mut self, key: IdKey, known: Known) {
        self.filters.insert(known.bucket, known.seq, &key);
        self.remember(key, known, known.seq);
    }

    /// Record `by` changed what is known of an id (its replay was recorded).
    pub fn update(&mut self, key: IdKey, known: Known, by: Seq) {
        self.filters.cover(by);
        self.remember(key, known, by);
    }

    /// Record `seq` carries no id.
    pub fn pass(&mut self, seq: Seq) {
        self.filters.cover(seq);
    }

    fn remember(&mut self, key: IdKey, known: Known, by: Seq) {
        self.recent.insert(key, (known, by));
        self.order.push_back((by, key));
        if self.order.len() > RECENT_MAX {
            let (oldest, _) = self.order[0];
            self.indexed(oldest);
        }
    }

    /// The index has everything up to `seq`: `recent` need not.
    pub fn indexed(&mut self, seq: Seq) {
        while let Some((by, key)) = self.order.front().copied().filter(|(by, _)| *by <= seq) {
            self.order.pop_front();
            if self.recent.get(&key).is_some_and(|(_, last)| *last == by) {
                self.recent.remove(&key);
            }
        }
        self.floor = self.floor.max(seq);
    }

    /// Whether an index that has everything up to `indexed` knows every id that `recent` does not.
    pub fn trusts(&self, indexed: Seq) -> bool {
        indexed >= self.floor
    }

    /// Forgets what is older than the window at `now`. Returns the oldest bucket kept, if any was forgotten.
    pub fn expire(&mut self, now: ReceivedAt) -> Option<Bucket> {
        let oldest = self.oldest(now);
        let had = self.filters.buckets().first().is_some_and(|first| *first < oldest);
        self.filters.expire(oldest);
        had.then_some(oldest)
    }

    fn oldest(&self, now: ReceivedAt) -> Bucket {
        oldest_bucket(now, self.window, self.bucket_secs)
    }

    /// For a durable copy.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }
}

/// The bucket of an instant, for a width in seconds.
pub fn bucket_of(at: ReceivedAt, bucket_secs: u64) -> Bucket {
    let secs = u64::try_from(at.micros() / 1_000_000).unwrap_or(0);
    Bucket::try_from(secs / bucket_secs).unwrap_or(Bucket::MAX)
}

/// The oldest bucket that still holds an instant inside the window.
pub fn oldest_bucket(now: ReceivedAt, window: Duration, bucket_secs: u64) -> Bucket {
    let micros = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
    bucket_of(ReceivedAt::from_micros(now.micros().saturating_sub(micros)), bucket_secs)
}

/// What dedupe needs of a journal line: read from the line, without the rest.
#[derive(Deserialize)]
pub struct IdLine<'a> {
    /// See [`crate::record::Record`].
    pub seq: Seq,
    /// See [`crate::record::Record`].
    pub kind: Kind,
    /// See [`crate::record::Record`].
    pub received_at: ReceivedAt,
    #[serde(borrow, default)]
    source: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    evidence: Option<BodyHash<'a>>,
    #[serde(borrow)]
    event: Option<IdOnly<'a>>,
    replay: Option<crate::record::Replay>,
    verdict: Option<crate::record::Verdict>,
}

#[derive(Deserialize)]
struct BodyHash<'a> {
    #[serde(borrow)]
    body_sha256: Option<&'a str>,
}

#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

impl IdLine<'_> {
    /// The id's key, for the kinds that carry one.
    pub fn key(&self) -> Option<IdKey> {
        let carries = matches!(self.kind, Kind::Event | Kind::Replay);
        self.event.as_ref().filter(|_| carries).map(|event| id_key(&self.source, &event.id))
    }

    /// For a replay: the record that it repeats.
    pub fn replay_of(&self) -> Option<Seq> {
        self.replay.as_ref().map(|replay| replay.of)
    }

    /// What is known of an event's id from its own record.
    pub fn known(&self, bucket_secs: u64) -> Known {
        let mut body = [0; 8];
        if let Some(hash) = self.evidence.as_ref().and_then(|evidence| evidence.body_sha256).and_then(|h| h.get(..16)) {
            let _ = hex::decode_to_slice(hash, &mut body);
        }
        Known {
            seq: self.seq,
            bucket: bucket_of(self.received_at, bucket_secs),
            body,
            denied: self.verdict.as_ref().is_some_and(|verdict| verdict.action == crate::record::Action::Deny),
            replayed: false,
        }
    }
}
