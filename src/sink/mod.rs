//! Sinks: where records go.
//!
//! A new sink is one file and one word in the list at the end of this file. Its file owns its `Config` and
//! `Config::build`. A sink knows no other sink and nothing of `config`, `app`, `web` or `ledger`; it neither filters,
//! encodes, retries nor remembers: [`crate::deliver`] does, for all of them alike.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use crate::record::{Kind, Record, Seq};
pub use crate::source::BuildError;

pub mod client;
pub mod tls;

/// One record, filtered and encoded, ready for a sink.
#[derive(Clone, Debug)]
pub struct Message {
    /// Position in the journal.
    pub seq: Seq,
    /// What it is about.
    pub kind: Kind,
    /// Idempotency key: the event id, or `<journal>-<seq>` for other kinds. The same on every attempt.
    pub key: String,
    /// The journal's line, without LF.
    pub line: Bytes,
    /// The record in the sink's `format`, without a line end.
    pub body: Bytes,
}

impl Message {
    /// The record itself, for a sink that needs more of it than its body.
    pub fn record(&self) -> serde_json::Result<Record> {
        serde_json::from_slice(&self.line)
    }
}

/// What to do about a batch that was not delivered; each variant is one decision of [`crate::deliver`].
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Try the whole batch again, not before `after` where the other side said so.
    #[error("{reason}")]
    Retry {
        /// Why; never a secret, never a whole payload.
        reason: String,
        /// What `Retry-After` said.
        after: Option<Duration>,
        /// Somebody has to mend it (a wrong address or credential): the alarm does not wait for it to pass.
        fault: bool,
    },
    /// The other side refused the batch as a whole for what is in it: it is halved down to the culprit.
    #[error("refused: {reason}")]
    Refused {
        /// Why, with status and a cut of the answer.
        reason: String,
    },
    /// These were refused for good; every other record of the batch was delivered.
    #[error("{} records refused", .0.len())]
    Reject(Vec<(Seq, String)>),
}

impl SinkError {
    /// It may pass by itself.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None, fault: false }
    }

    /// It does not pass before somebody mends it.
    pub fn fault(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None, fault: true }
    }
}

/// Where records go.
pub trait Sink {
    /// Imitates the real write without leaving a record, as far as the protocol allows; for `check --connect`.
    fn check(&self) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Returns `Ok` once the other side has the whole batch for good, as far as the protocol can say so.
    fn deliver(&self, batch: &[Message]) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// The most records that one call of [`Sink::deliver`] takes; where a record is a request, 1 lets the cursor move
    /// after each.
    fn records_max(&self) -> usize {
        usize::MAX
    }

    /// Finishes what can wait no longer than a shutdown (a file's compression, say).
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

macro_rules! sinks {
    ($($(#[$only:meta])? $module:ident => $variant:ident),* $(,)?) => {
        $($(#[$only])? pub mod $module;)*

        /// A sink's own configuration, by its `type`.
        #[derive(Clone, Debug)]
        pub enum SinkConfig { $($(#[$only])? #[doc = stringify!($module)] $variant($module::Config)),* }

        /// Any configured sink.
        #[expect(clippy::large_enum_variant, reason = "one value a sink, made once at start")]
        pub enum AnySink { $($(#[$only])? #[doc = stringify!($module)] $variant($module::$variant)),* }

        impl SinkConfig {
            /// Every `type` there is.
            pub const TYPES: &[&str] = &[$($(#[$only])? stringify!($module)),*];

            /// Reads the members of the entry that are the sink's own.
            pub fn parse<'de, D: Deserializer<'de>>(kind: &str, members: D) -> Result<Self, D::Error> {
                match kind {
                    $($(#[$only])? stringify!($module) => $module::Config::deserialize(members).map(Self::$variant),)*
                    other => Err(serde::de::Error::unknown_variant(other, Self::TYPES)),
                }
            }

            /// Builds it; relative paths are relative to `base`.
            pub fn build(&self, base: &Path) -> Result<AnySink, BuildError> {
                match self { $($(#[$only])? Self::$variant(config) => config.build(base).map(AnySink::$variant)),* }
            }
        }

        impl Sink for AnySink {
            async fn check(&self) -> Result<(), SinkError> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.check().await),* }
            }

            async fn deliver(&self, batch: &[Message]) -> Result<(), SinkError> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.deliver(batch).await),* }
            }

            fn records_max(&self) -> usize {
                match self { $($(#[$only])? Self::$variant(sink) => sink.records_max()),* }
            }

            async fn close(&self) {
                match self { $($(#[$only])? Self::$variant(sink) => sink.close().await),* }
            }
        }
    };
}

sinks! {
    file => File,
    stdout => Stdout,
    http => Http,
}
