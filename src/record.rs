//! The record: one line of the journal and one message to every sink.
//!
//! Owns the shape (`schema = "refresh-audit/1"`) and the bytes of a line. The shape is frozen once hashed into a chain:
//! members may be added, never renamed. Uses [`crate::event`], [`crate::host`] and
//! [`crate::time`] only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{event::RefreshEvent, time::ReceivedAt};

mod about;
mod brief;
mod evidence;
mod head;
mod incident;
mod severity;
mod text;

pub use about::{RecordFilter, incidents, said_at};
pub use brief::{Brief, EventBrief};
pub use evidence::Evidence;
pub use head::{EventHead, Head, IncidentHead, Kept};
pub use incident::{Changed, ConfigChange, Incident, IncidentChange, IncidentKey, IncidentKeyKind};
pub use severity::Severity;
pub use text::Text;

/// Position in the journal, from 1, over records of all kinds, without gaps.
pub type Seq = u64;

/// The value of the member `schema`.
pub const SCHEMA: &str = "refresh-audit/1";

/// `prev` of the first record.
pub const ZERO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A refresh.
    Event,
    /// Something is wrong with the service or its surroundings, or is well again.
    Alarm,
    /// The id of a recorded event came again with another body; at most one per id.
    Replay,
    /// An operator changed something by command.
    Operator,
    /// The configuration changed in a way that changes findings.
    Config,
    /// An incident opened, escalated or closed.
    Incident,
    /// What the journal's key signed, for those who keep it elsewhere. Made for sinks with `checkpoints = true`; the journal
    /// itself holds none.
    Checkpoint,
}

impl Kind {
    /// All that the journal holds.
    pub const ALL: &[Self] = &[Self::Event, Self::Alarm, Self::Replay, Self::Operator, Self::Config, Self::Incident];

    /// Its text in records and in `kinds = […]`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Alarm => "alarm",
            Self::Replay => "replay",
            Self::Operator => "operator",
            Self::Config => "config",
            Self::Incident => "incident",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A record as it is read back. Members absent when unknown, never null or empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Always `refresh-audit/1`.
    pub schema: String,
    /// 8 hex, made when the journal was created or restored.
    pub journal: String,
    /// The instance that wrote it.
    pub node: String,
    /// Position in the journal.
    pub seq: Seq,
    /// What it is about.
    pub kind: Kind,
    /// When the ledger admitted it; never decreases.
    pub received_at: ReceivedAt,
    /// The configured source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How much the event can be believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<RefreshEvent>,
    /// For `replay`: what it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// For `alarm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<AlarmChange>,
    /// For `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorAction>,
    /// For `config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigChange>,
    /// For `incident`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
    /// For `checkpoint`: then `seq` is the record that is vouched for, and `prev` that record's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<SignedNote>,
    /// What the detectors found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What was answered, and what the gate would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Hash of the record before; 64 zeros for the first.
    pub prev: String,
    /// Lower-case hex SHA-256 of the line's bytes before the last `,"hash":`.
    pub hash: String,
}

/// What a replay repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// The first record of that id.
    pub of: Seq,
}

/// One change of one alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmChange {
    /// Which, from the list in `telemetry.rs`.
    pub name: String,
    /// What it concerns: a sink, a source, a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Raised or cleared.
    pub state: AlarmState,
    /// What happened and what to do, in words.
    pub message: String,
}

/// Raised or cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// It is wrong now.
    Raised,
    /// It is well again.
    Cleared,
}

impl AlarmState {
    /// Its text in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }
}

/// Something an operator did by command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorAction {
    /// E.g. `redeliver`, `parked_drop`.
    pub action: String,
    /// What it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The rest in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl OperatorAction {
    /// The gate refuses nothing any more.
    pub const GATE_STOP: &str = "gate_stop";
    /// The gate works again.
    pub const GATE_START: &str = "gate_start";
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedNote {
    /// Byte for byte, line ends included: origin, seq and hash, an empty line, and the signature over the three lines before
    /// it, in the form of <https://c2sp.org/signed-note>.
    pub note: String,
}

/// What one rule found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule's id, e.g. `RA101`.
    pub rule: String,
    /// The rule's name.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// Why, in words.
    pub reason: String,
    /// MITRE ATT&CK techniques.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attack: Vec<String>,
    /// The numbers behind it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, serde_json::Value>,
    /// The incident it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// What was done.
    pub action: Action,
    /// What `enforce` would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Action>,
    /// Calibrated, 0 <= risk < 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<f64>,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// 2xx.
    Allow,
    /// 403.
    Deny,
}

impl Action {
    /// Its text in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A record on its way into the journal: the event already serialized (once, outside the ledger's thread).
#[derive(Serialize)]
pub struct Draft<'a> {
    /// See [`Record`].
    pub schema: &'static str,
    /// See [`Record`].
    pub journal: &'a str,
    /// See [`Record`].
    pub node: &'a str,
    /// See [`Record`].
    pub seq: Seq,
    /// See [`Record`].
    pub kind: Kind,
    /// See [`Record`].
    pub received_at: ReceivedAt,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<&'a Evidence>,
    /// The event's JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a RawValue>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<&'a AlarmChange>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<&'a OperatorAction>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<&'a ConfigChange>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<&'a Incident>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<&'a SignedNote>,
    /// See [`Record`].
    #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
    pub findings: &'a [Finding],
    /// See [`Record`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'a Verdict>,
}

impl<'a> Draft<'a> {
    /// A record with nothing but its head.
    pub fn new(journal: &'a str, node: &'a str, seq: Seq, kind: Kind, received_at: ReceivedAt) -> Self {
        Self {
            schema: SCHEMA,
            journal,
            node,
            seq,
            kind,
            received_at,
            source: None,
            evidence: None,
            event: None,
            replay: None,
            alarm: None,
            operator: None,
            config: None,
            incident: None,
            checkpoint: None,
            findings: &[],
            verdict: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_has_the_members_of_a_record_in_its_order() {
        let raw = RawValue::from_string(
            r#"{"id":"a","type":"t","occurred_at":"2019-08-26T18:08:28.643Z","outcome":"attempted"}"#.to_owned(),
        )
        .unwrap();
        let evidence = Evidence { stale: true, ..Evidence::default() };
        let mut draft = Draft::new("3f9a1c2e", "audit-1", 7, Kind::Event, ReceivedAt::from_micros(0));
        draft.source = Some("fusionauth");
        draft.evidence = Some(&evidence);
        draft.event = Some(&raw);
        draft.replay = Some(Replay { of: 1 });
        let text = serde_json::to_string(&draft).unwrap();
        let whole = format!(r#"{},"prev":"{ZERO_HASH}","hash":"00"}}"#, &text[..text.len() - 1]);
        let record: Record = serde_json::from_str(&whole).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), whole);
    }
}
