//! The ledger: admits each event once, chains it, syncs it, and only then says so.
//!
//! Reached through one small handle, [`Ledger`]; one thread behind it (`admit`) owns the dedupe filter, the journal's
//! tail and the clock. Knows nothing of web, sources or sinks. In reading order: [`chain`] (what a line is),
//! [`segment`] (files), `meta` (the journal's id), [`read`], [`search`], `begin` (what was let go), [`recovery`], `journal`
//! (writing), `filter`, `dedupe`, `link` and `index` (sled), `lookup`, `state`, [`spill`] (what detection remembers), `core`
//! (what is in memory, and how it comes back), `cellar`, `clock`, `reply`, `admit`, `asked`, `judging`, `cold`, `resolve`, `room`
//! and `commit` (the thread), `keeper` (housekeeping), `compress`, `copies`, `scrub` (looking for damage), `disk` (what fits on
//! it), [`checkpoint`], `seals`, [`notes`], [`lock`], `start`, [`offline`], [`verify`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use crate::{
    detect::{
        Facts, Policy,
        incidents::Snapshot,
        state::{application::Application, table::Table},
    },
    event::RefreshEvent,
    record::{Evidence, OperatorAction, Seq},
    telemetry::{Alarms, Metrics},
    units::{ByteSize, Span},
};

mod admit;
mod asked;
mod begin;
mod cellar;
pub mod chain;
pub mod checkpoint;
mod clock;
mod cold;
#[cfg(test)]
mod cold_tests;
mod commit;
mod compress;
mod copies;
mod core;
#[cfg(test)]
mod damage_tests;
mod dedupe;
mod disk;
mod filter;
mod index;
mod journal;
mod judging;
mod keeper;
mod link;
pub mod lock;
mod lookup;
#[cfg(test)]
mod lost_tests;
mod meta;
pub mod notes;
pub mod offline;
pub mod read;
pub mod recovery;
mod reply;
mod resolve;
mod room;
mod scrub;
mod seals;
pub mod search;
pub mod segment;
pub mod spill;
mod start;
mod state;
#[cfg(test)]
mod tests;
pub mod verify;

pub use admit::judge_instant;
pub use meta::{KeyScheme, Meta};
pub use start::Running;
pub use state::{Remembered, remembered};

/// `[dedupe]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeConfig {
    /// How long an id is remembered at least, from its first record's `received_at`.
    pub window: Span,
}

impl Default for DedupeConfig {
    fn default() -> Self {
        Self { window: Span::from_days(7) }
    }
}

/// `[journal]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Size at which a segment is sealed.
    pub segment: ByteSize,
    /// How long sealed segments are kept; never less than `dedupe.window`.
    pub retention: Span,
    /// Size of all segments together.
    pub max_bytes: ByteSize,
    /// Free space to leave on the disk.
    pub min_free: ByteSize,
    /// What to do when either limit is reached.
    pub when_full: WhenFull,
    /// How often a checkpoint is signed, when something was written.
    pub checkpoint_every: Span,
    /// Signs checkpoints; default `checkpoint.key` in the data directory.
    pub checkpoint_key_file: Option<PathBuf>,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment: ByteSize::from_mib(64),
            retention: Span::from_days(365),
            max_bytes: ByteSize::from_mib(50 * 1024),
            min_free: ByteSize::from_mib(1024),
            when_full: WhenFull::Refuse,
            checkpoint_every: Span::from_secs(60),
            checkpoint_key_file: None,
        }
    }
}

/// What to do when the journal is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Answer 503 (or unrecorded, with `fail_open`).
    Refuse,
    /// Delete the oldest segments though a sink still needs them; journaled and alarmed.
    DropUndelivered,
}

/// One authentic event inside the scope, on its way into the journal.
pub struct Entry {
    /// The configured source.
    pub source: Arc<str>,
    /// What vouches for it. The ledger adds `stale` and `clock_skew`.
    pub evidence: Evidence,
    /// The event, for detection.
    pub event: Box<RefreshEvent>,
    /// The event in numbers, made outside the ledger's thread; none where detection is off.
    pub facts: Option<Box<Facts>>,
    /// The event's JSON, made once, outside the ledger's thread.
    pub event_json: Box<RawValue>,
    /// SHA-256 of the request body: tells a duplicate from a replay.
    pub body_sha256: [u8; 32],
}

/// What became of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Recorded and synced.
    Accepted {
        /// Its seq.
        seq: Seq,
    },
    /// Recorded, synced, and refused by the gate.
    Denied {
        /// Its seq.
        seq: Seq,
    },
    /// Recorded before, and synced.
    Duplicate {
        /// The first record's seq.
        seq: Seq,
        /// Whether the first one was refused by the gate.
        denied: bool,
    },
    /// Not known to be recorded; the sender should come again.
    Unavailable(Unavailable),
}

/// Why nothing can be said about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The queue is full.
    QueueFull,
    /// The journal cannot be written.
    StorageFailed,
    /// The journal's disk share or the disk is used up.
    DiskFull,
    /// Neither index nor journal could tell in time whether the id was seen before.
    LookupFailed,
    /// The service is stopping.
    Stopping,
}

/// Who reads the journal, and from where on they still need it: retention deletes nothing past the lowest.
#[derive(Clone, Default)]
pub struct Consumers(Arc<Mutex<Positions>>);

#[derive(Default)]
struct Positions {
    next: BTreeMap<String, Seq>,
    copied: Option<Seq>,
    seen: Vec<(String, Seq)>,
    begins: Seq,
    complete: bool,
}

impl Consumers {
    /// `name` still needs `next` and everything after it.
    pub fn set(&self, name: &str, next: Seq) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next.insert(name.to_owned(), next);
    }

    /// What detection learned up to `seq` is in a durable copy; what comes after it can be learned from the journal only.
    pub fn copied(&self, seq: Seq) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).copied = Some(seq);
    }

    /// What readers had read of which journal before this start: its id, the last seq.
    pub fn saw(&self, seen: Vec<(String, Seq)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seen = seen;
    }

    fn seen(&self) -> Vec<(String, Seq)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seen.clone()
    }

    /// The journal begins with this seq: what was before it is deleted.
    pub fn begins_with(&self, first: Seq) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).begins = first;
    }

    /// The first seq of the journal, as of the last look; 0 before the first one.
    pub fn begins(&self) -> Seq {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).begins
    }

    /// Everyone who reads has said where; nothing is deleted before.
    pub fn complete(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).complete = true;
    }

    /// The lowest seq anyone needs; `None` when nobody reads.
    pub fn lowest(&self) -> Option<Seq> {
        let copied = self.0.lock().unwrap_or_else(PoisonError::into_inner).copied;
        self.undelivered().into_iter().chain(copied.map(|copied| copied + 1)).min()
    }

    /// The lowest seq that detection may have to learn from again.
    fn uncopied(&self) -> Seq {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).copied.map_or(Seq::MAX, |copied| copied + 1)
    }

    /// The lowest seq that a reader has yet to take.
    pub fn undelivered(&self) -> Option<Seq> {
        let positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if positions.complete { positions.next.values().min().copied() } else { Some(0) }
    }
}

/// What the ledger needs to start.
pub struct Settings {
    /// The data directory; the journal is `journal/` in it.
    pub data_dir: PathBuf,
    /// The instance's name.
    pub node: String,
    /// `[dedupe]`.
    pub dedupe: DedupeConfig,
    /// `[journal]`.
    pub journal: JournalConfig,
    /// `[detect]`, `[gate]` and `[[suppress]]`.
    pub policy: Policy,
    /// How sinks' idempotency keys are made, if the journal is new.
    pub key_scheme: KeyScheme,
    /// Signs checkpoints; `None` = no checkpoints.
    pub signer: Option<checkpoint::Signer>,
    /// Readers whose position holds retention back.
    pub consumers: Consumers,
    /// Where trouble goes.
    pub alarms: Alarms,
    /// Where numbers go.
    pub metrics: Arc<Metrics>,
}

/// The one handle: admit, read, follow. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    commands: std::sync::mpsc::SyncSender<Command>,
    synced: watch::Receiver<Seq>,
    journal_dir: Arc<Path>,
    meta: Arc<Meta>,
    queued_bytes: Arc<AtomicUsize>,
}

/// Entries that may wait for the thread.
const QUEUE_ENTRIES_MAX: usize = 4_096;
/// Bytes of events that may wait for the thread.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What the ledger's thread is asked to do, or told.
pub(crate) enum Command {
    /// Admit an entry.
    Admit(admit::Waiting),
    /// Record what an operator did.
    Operator(OperatorAction, reply::Reply),
    /// Tell what is known of applications.
    Applications(oneshot::Sender<Table<Application>>),
    /// Tell what incidents are open.
    Incidents(oneshot::Sender<Snapshot>),
    /// The id index of this generation says something.
    Index(u64, link::Reply),
    /// The journal was searched for an id.
    Journal(lookup::Answer),
    /// What is not in memory was looked for.
    Cold(cellar::Answer),
    /// Stop after what came before.
    Stop,
}

impl Ledger {
    /// Admits one entry: resolves once it is synced, or known to be recorded already, or not to be had now.
    /// Dropping the future before then means the sender has left: an entry not yet admitted is skipped.
    pub async fn admit(&self, entry: Entry) -> Admission {
        let Some(room) = QueueShare::take(&self.queued_bytes, entry.event_json.get().len()) else {
            return Admission::Unavailable(Unavailable::QueueFull);
        };
        let (reply, waiter) = reply::channel();
        let key = dedupe::id_key(&entry.source, entry.event.id.as_str());
        let fetched = cold::Fetched::default();
        let waiting =
            admit::Waiting { entry: Box::new(entry), key, asked: Instant::now(), fetched, _room: room, reply };
        self.ask(Command::Admit(waiting), waiter).await
    }

    /// Journals what an operator did.
    pub async fn operator(&self, action: OperatorAction) -> Admission {
        let (reply, waiter) = reply::channel();
        self.ask(Command::Operator(action, reply), waiter).await
    }

    async fn ask(&self, command: Command, waiter: reply::Waiter) -> Admission {
        use std::sync::mpsc::TrySendError;
        match self.commands.try_send(command) {
            Ok(()) => waiter.answer().await,
            Err(TrySendError::Full(_)) => Admission::Unavailable(Unavailable::QueueFull),
            Err(TrySendError::Disconnected(_)) => Admission::Unavailable(Unavailable::Stopping),
        }
    }

    /// The last seq on disk; readers see nothing past it. Changes wake whoever waits.
    pub fn synced(&self) -> watch::Receiver<Seq> {
        self.synced.clone()
    }

    /// A reader from `next` on.
    pub fn reader(&self, next: Seq) -> read::Reader {
        read::Reader::new(&self.journal_dir, next)
    }

    /// The journal's id and what was fixed at its creation.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// `journal/`.
    pub fn journal_dir(&self) -> &Path {
        &self.journal_dir
    }
}

/// A share of [`QUEUE_BYTES_MAX`], given back when dropped.
pub(crate) struct QueueShare(Arc<AtomicUsize>, usize);

impl QueueShare {
    fn take(queued: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        if queued.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            queued.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Self(Arc::clone(queued), bytes))
    }
}

impl Drop for QueueShare {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}
