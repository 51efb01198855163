//! The ledger: admits each event once, chains it, syncs it, and only then says so.
//!
//! Reached through one small handle, [`Ledger`]; one thread behind it ([`admit`]) owns the dedupe filter, the journal's
//! tail and the clock. Knows nothing of web, sources or sinks. In reading order: [`chain`] (what a line is),
//! [`segment`] (files), [`read`], [`recovery`], [`dedupe`] and [`index`], [`checkpoint`], [`admit`], [`verify`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use crate::{
    event::RefreshEvent,
    record::{Evidence, OperatorAction, Seq},
    telemetry::{Alarms, Metrics},
    units::{ByteSize, Span},
};

pub mod chain;
pub mod read;
pub mod segment;
pub mod verify;

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
pub struct Consumers(Arc<Mutex<BTreeMap<String, Seq>>>);

impl Consumers {
    /// `name` still needs `next` and everything after it.
    pub fn set(&self, name: &str, next: Seq) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), next);
    }

    /// The lowest seq anyone needs; `None` when nobody reads.
    pub fn lowest(&self) -> Option<Seq> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied()
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
    journal_id: Arc<str>,
}

/// What the ledger's thread is asked to do.
pub(crate) enum Command {
    /// Admit an entry.
    Admit(Box<Entry>, Instant, oneshot::Sender<Admission>),
    /// Record what an operator did.
    Operator(OperatorAction, oneshot::Sender<Admission>),
    /// Stop after what came before.
    Stop,
}

impl Ledger {
    /// Admits one entry: resolves once it is synced, or known to be recorded already, or not to be had now.
    /// Dropping the future before then means the sender has left: an entry not yet admitted is skipped.
    pub async fn admit(&self, entry: Entry) -> Admission {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Admit(Box::new(entry), Instant::now(), reply), answer).await
    }

    /// Journals what an operator did.
    pub async fn operator(&self, action: OperatorAction) -> Admission {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Operator(action, reply), answer).await
    }

    async fn ask(&self, command: Command, answer: oneshot::Receiver<Admission>) -> Admission {
        use std::sync::mpsc::TrySendError;
        match self.commands.try_send(command) {
            Ok(()) => answer.await.unwrap_or(Admission::Unavailable(Unavailable::Stopping)),
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

    /// The journal's id: 8 hex.
    pub fn journal_id(&self) -> &str {
        &self.journal_id
    }
}
