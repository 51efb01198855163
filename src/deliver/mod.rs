//! Delivery: one loop per sink over one journal, at least once, in order.
//!
//! ```text
//! journal -> feed (read, filter, encode, pack) -> deliverer -> sink
//!                                                    │ Ok: cursor moves · Retry: back off · Refused: halve · one refused: park
//!                                                  books (cursor, parked, redrive on disk) <- operator's commands
//! ```
//!
//! A dead sink stalls only itself; success moves the cursor, failure does not. Knows sinks, formats, the scope, the
//! record, telemetry and the journal's reader; nothing of `config`, `app` or `web`. In reading order: [`cursor`],
//! [`acks`], [`parked`], [`redrive`], `place`, [`books`], [`requests`], [`batch`], [`halving`], `work`, [`backoff`], `lane`,
//! [`feed`], [`status`], [`handle`], [`run`], `ordered`, `again`, `checkpoints`, [`concurrency`], `window`, `unordered`,
//! [`offline`], [`proof`], [`reconcile`], [`probe`].

use std::{path::PathBuf, sync::Arc};

use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    format::{self, Format},
    ledger::{Consumers, KeyScheme},
    record::{Kind, Seq, Severity},
    scope::Scope,
    sink::{BuildError, Sink},
    telemetry::{Alarms, Metrics},
    units::{ByteSize, Span},
};

pub mod acks;
#[cfg(test)]
mod acks_tests;
mod again;
pub mod backoff;
pub mod batch;
pub mod books;
mod checkpoints;
pub mod concurrency;
pub mod cursor;
pub mod feed;
pub mod halving;
pub mod handle;
mod lane;
pub mod offline;
mod ordered;
pub mod parked;
mod place;
pub mod probe;
pub mod proof;
pub mod reconcile;
pub mod redrive;
pub mod requests;
#[cfg(test)]
mod requests_tests;
pub mod run;
pub mod status;
mod unordered;
mod window;
mod work;

pub use books::Journal;
pub use handle::SinkHandle;
pub use offline::SinkFiles;
pub use requests::{RequestError, Triage, Which};
pub use run::Deliverer;
pub use status::{SinkState, Status};

/// The members of a `[[sinks]]` entry that every sink has; `name`, `type` and the sink's own are beside them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// What a record looks like to the sink.
    pub format: Format,
    /// Which events it gets; records of other kinds pass.
    pub scope: Scope,
    /// Which kinds of records it gets; `None`: those that its type is for.
    pub kinds: Option<Vec<Kind>>,
    /// Only events with a finding this bad or worse; records of other kinds pass.
    pub findings_at_least: Option<Severity>,
    /// Where it starts when it is new.
    pub start: Start,
    /// How much it gets at once.
    pub batch: BatchConfig,
    /// Whether it gets records in the order of the journal, one batch at a time; else several batches are under way at
    /// once, as many as it takes well.
    pub ordered: bool,
    /// Whether it gets checkpoints, too.
    pub checkpoints: bool,
    /// How many refused records are kept for it; then it stands still until an operator decides.
    pub parked_max: usize,
}

/// Where a new sink starts in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the oldest record there is.
    Oldest,
    /// At the next record.
    Now,
}

/// A batch is sent when either limit is reached, or `wait` after its first record was read.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// At most this many records.
    pub records: usize,
    /// About this many bytes of records.
    pub bytes: ByteSize,
    /// How long a batch that is not full waits for more.
    pub wait: Span,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            format: Format::Json(format::json::Config {}),
            scope: Scope::default(),
            kinds: None,
            findings_at_least: None,
            start: Start::Oldest,
            batch: BatchConfig::default(),
            ordered: true,
            checkpoints: false,
            parked_max: 100_000,
        }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { records: 500, bytes: ByteSize::from_mib(1), wait: Span::from_millis(200) }
    }
}

/// A batch is held in memory, three at a time for each sink, and a fourth where the sink begins the next one early.
const BATCH_RECORDS_MAX: usize = 100_000;
/// See [`BATCH_RECORDS_MAX`].
const BATCH_BYTES_MAX: ByteSize = ByteSize::from_mib(64);
/// A record that waits longer than this in an idle service is not being delivered.
const BATCH_WAIT_MAX: Span = Span::from_secs(60);
/// The index of parked records is held in memory, about 50 bytes each.
const PARKED_LIMIT: usize = 10_000_000;
/// A sink's name is a directory.
const NAME_LEN_MAX: usize = 64;

impl DeliveryConfig {
    /// The members' names: what a loader splits from the sink's own.
    pub const KEYS: &[&str] =
        &["format", "scope", "kinds", "findings_at_least", "start", "batch", "ordered", "checkpoints", "parked_max"];

    /// Says what is wrong with it and what would be right.
    pub fn validate(&self) -> Result<(), BuildError> {
        let fail = |problem: String| Err(BuildError(problem));
        if self.kinds.as_ref().is_some_and(Vec::is_empty) {
            return fail("kinds is empty: name one at least, or leave it out for all".to_owned());
        }
        if self.kinds.as_ref().is_some_and(|kinds| kinds.contains(&Kind::Checkpoint)) {
            return fail("kinds: checkpoints are no records of the journal; write checkpoints = true".to_owned());
        }
        if !(1..=BATCH_RECORDS_MAX).contains(&self.batch.records) {
            return fail(format!("batch.records must be 1 to {BATCH_RECORDS_MAX}"));
        }
        if self.batch.bytes.is_empty() || self.batch.bytes > BATCH_BYTES_MAX {
            return fail("batch.bytes must be \"1B\" to \"64MiB\"".to_owned());
        }
        if self.batch.wait > BATCH_WAIT_MAX {
            return fail(format!("batch.wait must be at most \"{BATCH_WAIT_MAX}\""));
        }
        if !(1..=PARKED_LIMIT).contains(&self.parked_max) {
            return fail(format!("parked_max must be 1 to {PARKED_LIMIT}"));
        }
        Ok(())
    }
}

impl DeliveryConfig {
    /// Says what the sink cannot do of it.
    pub fn suits(&self, sink: &impl Sink) -> Result<(), BuildError> {
        if !self.ordered && sink.one_at_a_time() {
            return Err(BuildError("its type takes one batch at a time: leave ordered = false out".to_owned()));
        }
        if sink.json_only() && !self.format.media_type().ends_with("json") {
            let names: Vec<String> = Format::json_types().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            return Err(BuildError(format!("its type takes JSON only: write as format one of {names}")));
        }
        if self.checkpoints && sink.kinds().is_some() {
            return Err(BuildError("its type is for people: leave checkpoints = true out".to_owned()));
        }
        Ok(())
    }
}

/// What every sink's loop shares.
#[derive(Clone)]
pub struct Context {
    /// The data directory: the sinks' files are `sinks/<name>/` in it.
    pub data_dir: PathBuf,
    /// The journal's directory.
    pub journal_dir: PathBuf,
    /// The journal's id: 8 hex.
    pub journal_id: Arc<str>,
    /// The last seq on disk. Must hold the recovered end of the journal before a [`Deliverer`] is made: a cursor past it
    /// counts as one of another journal.
    pub synced: watch::Receiver<Seq>,
    /// How idempotency keys are made.
    pub key_scheme: KeyScheme,
    /// Where each sink says how much of the journal it still needs.
    pub consumers: Consumers,
    /// Where trouble goes.
    pub alarms: Alarms,
    /// Where numbers go.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// The journal as it stands.
    pub fn journal(&self) -> Journal {
        Journal { dir: self.journal_dir.clone(), id: Arc::clone(&self.journal_id), synced: *self.synced.borrow() }
    }
}

/// A sink's name is a directory, a metric's label and an argument.
pub fn check_name(name: &str) -> Result<(), BuildError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(BuildError(format!("a sink's name is 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 - _, not {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_names_every_member_and_nonsense_is_refused() {
        let all = "format = 'json'\nscope = {}\nkinds = ['event']\nfindings_at_least = 'low'\nstart = 'now'\n\
                   batch = { records = 5 }\nordered = true\ncheckpoints = false\nparked_max = 9";
        let table: toml::Table = toml::from_str(all).unwrap();
        let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
        let mut named = DeliveryConfig::KEYS.to_vec();
        keys.sort_unstable();
        named.sort_unstable();
        assert_eq!(keys, named);
        let config: DeliveryConfig = toml::from_str(all).unwrap();
        config.validate().unwrap();
        for bad in [
            "kinds = []",
            "kinds = ['checkpoint']",
            "batch.records = 0",
            "batch.bytes = '0B'",
            "batch.wait = '2m'",
            "parked_max = 0",
        ] {
            let config: DeliveryConfig = toml::from_str(bad).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(bad.split([' ', '=']).next().unwrap()), "{bad}: {message}");
        }
        assert!(toml::from_str::<DeliveryConfig>("fromat = 'json'").is_err());
    }

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for good in ["audit-file", "A_1"] {
            check_name(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a.b", "é", "a b", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
