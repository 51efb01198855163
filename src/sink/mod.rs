//! Sinks: where records go.
//!
//! A new sink is one file and one word in the list at the end of this file. Its file owns its `Config` and
//! `Config::build`. A sink knows no other sink and nothing of `config`, `app`, `web` or `ledger`; it neither filters,
//! retries nor remembers: [`crate::deliver`] does, for all of them alike. What it makes of a single record before it is
//! sent, it says by its [`Pack`].

use std::{path::Path, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

pub use crate::build_error::BuildError;
use crate::{
    record::{Kept, Kind, Record, Seq},
    slice::Slice,
};
pub use pack::Pack;

pub mod client;
pub mod defaults;
pub mod gzip;
pub mod json;
pub mod pack;
pub mod people;
pub mod tls;
pub mod visible;

/// One record, filtered and encoded, ready for a sink.
#[derive(Clone, Debug)]
pub struct Message {
    /// Position in the journal.
    pub seq: Seq,
    /// What it is about.
    pub kind: Kind,
    /// Idempotency key: `<event id>`, or `<source>/<event id>` where several sources were configured when the journal began;
    /// `<journal>-<seq>` for other kinds, `<journal>-checkpoint-<seq>` for checkpoints. The same on every attempt.
    pub key: String,
    /// What else of the record protocols have a place for.
    pub head: Kept,
    /// The journal's line, without LF.
    pub line: Bytes,
    /// What is sent of it: the record in the sink's `format`, without a line end, as the sink's [`Pack`] has it.
    pub body: Slice,
    /// Of the format. One that ends in `json` says that a record is a JSON object.
    pub media_type: &'static str,
}

impl Message {
    /// The record itself, for a sink that needs more of it than its body.
    pub fn record(&self) -> serde_json::Result<Record> {
        serde_json::from_slice(&self.line)
    }

    /// Whether the record's format is a JSON object, which can stand inside of other JSON.
    pub fn is_json(&self) -> bool {
        self.media_type.ends_with("json")
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
    /// Try some of the batch again, these alone: the other side answered for each record, and the rest is settled. Where
    /// an answer stands for the whole batch, or order matters more than that, it is [`SinkError::Retry`].
    #[error("{} records to be tried again: {reason}", .again.len())]
    Partly {
        /// Which.
        again: Vec<Seq>,
        /// Refused for good, and why; what is neither here nor in `again` was delivered.
        refused: Vec<(Seq, String)>,
        /// What the other side said to those that it took.
        ack: Ack,
        /// Why some are to be tried again.
        reason: String,
        /// As of [`SinkError::Retry`].
        after: Option<Duration>,
        /// As of [`SinkError::Retry`].
        fault: bool,
    },
    /// Not now, by the sink's own choice; nothing is wrong. These stay pending and are tried again.
    #[error("{reason}")]
    Later {
        /// Which; everything else of the batch is settled.
        again: Vec<Seq>,
        /// Refused for good, and why.
        refused: Vec<(Seq, String)>,
        /// What the other side said to those that it took.
        ack: Ack,
        /// Why.
        reason: String,
        /// When.
        after: Duration,
    },
    /// These were refused for good; every other record of the batch was delivered.
    #[error("{} records refused", .refused.len())]
    Reject {
        /// Which, and why.
        refused: Vec<(Seq, String)>,
        /// What the other side said to the others.
        ack: Ack,
    },
}

/// What the other side said when it took a batch, in its own words: kept as the proof of delivery. Short, since one is
/// kept for every batch (`deliver` cuts it at [`Ack::TEXT_CHARS_MAX`]); never a secret, never a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// To the whole batch: status and request id, ackId, file and offset. Empty where the protocol says nothing.
    pub text: String,
    /// To single records, where each has one of its own (partition and offset, stream seq) or one that differs.
    pub records: Vec<(Seq, String)>,
}

impl Ack {
    /// Kept of a text; what is longer is cut.
    pub const TEXT_CHARS_MAX: usize = 200;

    /// One to the whole batch.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), records: Vec::new() }
    }

    /// Nothing was said, as where the protocol has no acknowledgement.
    pub fn none() -> Self {
        Self::default()
    }
}

/// A record that the other side acknowledged, when it is asked whether it has it.
#[derive(Clone, Debug)]
pub struct Acked {
    /// Position in the journal.
    pub seq: Seq,
    /// Idempotency key.
    pub key: String,
    /// What the other side said of it: its own acknowledgement where there was one, else the batch's.
    pub ack: String,
}

/// What the other side holds of the records it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// It does not have these.
    pub missing: Vec<Seq>,
    /// Of these it has the document of another record with the same key: it takes one for each key, the first.
    pub shared: Vec<Seq>,
    /// How many records it holds in all, ours or not, where it says so.
    pub total: Option<u64>,
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
    /// Tries the real write, for `check --connect`: sends `test` as it would send any record, where the other side is
    /// another system. `test` is in the sink's format and says of itself that it is a test.
    fn check(&self, test: &Message) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Returns `Ok` once the other side has the whole batch for good, as far as the protocol can say so, with what it said.
    fn deliver(&self, batch: &[Message]) -> impl Future<Output = Result<Ack, SinkError>> + Send;

    /// The same where `next` is what is delivered after it, if nothing comes between: it may be begun while the other side
    /// takes `batch`, and is then finished by its own call. Only where [`Sink::begins_next`].
    fn deliver_and_begin(
        &self,
        batch: &[Message],
        next: &[Message],
    ) -> impl Future<Output = Result<Ack, SinkError>> + Send {
        let _ = next;
        self.deliver(batch)
    }

    /// Whether it gains by knowing the next batch.
    fn begins_next(&self) -> bool {
        false
    }

    /// Asks the other side which of these it has, for `sinks reconcile`. `None`: it cannot be asked.
    fn holds(&self, asked: &[Acked]) -> impl Future<Output = Result<Option<Held>, SinkError>> + Send {
        let _ = asked;
        async { Ok(None) }
    }

    /// How its messages are made ready, on the way from the journal and before their turn to be sent: once, however often
    /// they are sent.
    fn pack(&self) -> Pack {
        Pack::Plain
    }

    /// The most records that one call of [`Sink::deliver`] takes; where a record is a request, 1 lets the cursor move
    /// after each.
    fn records_max(&self) -> usize {
        usize::MAX
    }

    /// How many of the first records of `batch` one call of [`Sink::deliver`] takes, where a protocol bounds bytes, too.
    fn fits(&self, batch: &[Message]) -> usize {
        self.records_max().min(batch.len())
    }

    /// Whether one call of [`Sink::deliver`] must end before the next begins: then `ordered = false` is refused.
    fn one_at_a_time(&self) -> bool {
        false
    }

    /// Whether it takes records as JSON only: then a `format` that is a line is refused.
    fn json_only(&self) -> bool {
        false
    }

    /// The kinds of records it gets where its configuration names none; `None`: those that every sink gets.
    fn kinds(&self) -> Option<&'static [Kind]> {
        None
    }

    /// Finishes what can wait no longer than a shutdown (a file's compression, say).
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Sinks that a build may be without: each is a cargo feature of its own name.
const OPTIONAL: &[&str] = &["kafka", "nats", "otlp", "smtp"];

fn no_such_type<E: serde::de::Error>(kind: &str) -> E {
    if OPTIONAL.contains(&kind) {
        return E::custom(format_args!(
            "this build is without the sink `{kind}`: build it with `cargo build --release --features {kind}`"
        ));
    }
    E::unknown_variant(kind, SinkConfig::TYPES)
}

macro_rules! sinks {
    ($($(#[$only:meta])? $module:ident => $variant:ident),* $(,)?) => {
        $($(#[$only])? pub mod $module;)*

        /// A sink's own configuration, by its `type`.
        #[derive(Clone, Debug)]
        pub enum SinkConfig { $($(#[$only])? #[doc = stringify!($module)] $variant($module::Config)),* }

        /// Any configured sink.
        #[allow(clippy::large_enum_variant, reason = "one value a sink, made once at start; which is large depends on features")]
        pub enum AnySink { $($(#[$only])? #[doc = stringify!($module)] $variant($module::$variant)),* }

        impl SinkConfig {
            /// Every `type` there is.
            pub const TYPES: &[&str] = &[$($(#[$only])? stringify!($module)),*];

            /// Reads the members of the entry that are the sink's own.
            pub fn parse<'de, D: Deserializer<'de>>(kind: &str, members: D) -> Result<Self, D::Error> {
                match kind {
                    $($(#[$only])? stringify!($module) => $module::Config::deserialize(members).map(Self::$variant),)*
                    other => Err(no_such_type(other)),
                }
            }

            /// Builds it; relative paths are relative to `base`.
            pub fn build(&self, base: &Path) -> Result<AnySink, BuildError> {
                match self { $($(#[$only])? Self::$variant(config) => config.build(base).map(AnySink::$variant)),* }
            }
        }

        impl Sink for AnySink {
            async fn check(&self, test: &Message) -> Result<(), SinkError> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.check(test).await),* }
            }

            async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.deliver(batch).await),* }
            }

            async fn deliver_and_begin(&self, batch: &[Message], next: &[Message]) -> Result<Ack, SinkError> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.deliver_and_begin(batch, next).await),* }
            }

            fn begins_next(&self) -> bool {
                match self { $($(#[$only])? Self::$variant(sink) => sink.begins_next()),* }
            }

            async fn holds(&self, asked: &[Acked]) -> Result<Option<Held>, SinkError> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.holds(asked).await),* }
            }

            fn pack(&self) -> Pack {
                match self { $($(#[$only])? Self::$variant(sink) => sink.pack()),* }
            }

            fn records_max(&self) -> usize {
                match self { $($(#[$only])? Self::$variant(sink) => sink.records_max()),* }
            }

            fn fits(&self, batch: &[Message]) -> usize {
                match self { $($(#[$only])? Self::$variant(sink) => sink.fits(batch)),* }
            }

            fn one_at_a_time(&self) -> bool {
                match self { $($(#[$only])? Self::$variant(sink) => sink.one_at_a_time()),* }
            }

            fn json_only(&self) -> bool {
                match self { $($(#[$only])? Self::$variant(sink) => sink.json_only()),* }
            }

            fn kinds(&self) -> Option<&'static [Kind]> {
                match self { $($(#[$only])? Self::$variant(sink) => sink.kinds()),* }
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
    elasticsearch => Elasticsearch,
    #[cfg(feature = "kafka")]
    kafka => Kafka,
    #[cfg(feature = "nats")]
    nats => Nats,
    splunk_hec => SplunkHec,
    syslog => Syslog,
    #[cfg(feature = "otlp")]
    otlp => Otlp,
    azure_logs => AzureLogs,
    slack => Slack,
    teams => Teams,
    pagerduty => Pagerduty,
    #[cfg(feature = "smtp")]
    smtp => Smtp,
}

#[cfg(test)]
mod tests {
    use serde::de::value::Error;

    use super::*;

    #[test]
    fn a_sink_that_was_left_out_is_told_from_one_that_there_is_not() {
        let left_out: Error = no_such_type("kafka");
        assert!(left_out.to_string().contains("--features kafka`"), "{left_out}");
        let unknown: Error = no_such_type("kafak");
        assert!(unknown.to_string().contains("unknown variant `kafak`, expected one of `file`"), "{unknown}");
        let there: Vec<&str> = OPTIONAL.iter().copied().filter(|kind| SinkConfig::TYPES.contains(kind)).collect();
        let built = [cfg!(feature = "kafka"), cfg!(feature = "nats"), cfg!(feature = "otlp"), cfg!(feature = "smtp")];
        assert_eq!(there.len(), built.into_iter().filter(|built| *built).count());
    }
}
