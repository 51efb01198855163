//! What protocols with members of their own say of a record beside its body: read from a line in one pass, texts borrowed
//! from it. A whole [`super::Record`] takes several times as long.

use serde::Deserialize;

use super::{Action, AlarmState, IncidentChange, Severity, about, text::Text};
use crate::{
    event::Outcome,
    record::Seq,
    time::{EventTime, ReceivedAt},
};

/// See [`super::Record`] for all of its members.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the record's")]
pub struct Brief<'a> {
    pub received_at: ReceivedAt,
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    #[serde(default)]
    pub evidence: EvidenceBrief,
    #[serde(borrow)]
    pub event: Option<EventBrief<'a>>,
    pub replay: Option<ReplayBrief>,
    #[serde(borrow)]
    pub alarm: Option<AlarmBrief<'a>>,
    #[serde(borrow)]
    pub incident: Option<IncidentBrief<'a>>,
    #[serde(borrow, default)]
    pub findings: Vec<FindingBrief<'a>>,
    pub verdict: Option<VerdictBrief>,
}

/// See [`super::Evidence`].
#[derive(Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "they are the evidence's")]
pub struct EvidenceBrief {
    #[serde(default)]
    pub clock_skew: bool,
}

/// See [`crate::event::RefreshEvent`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the event's")]
pub struct EventBrief<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    pub occurred_at: EventTime,
    pub outcome: Outcome,
    #[serde(borrow)]
    pub tenant_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub application_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub user_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub ip: Option<Text<'a>>,
    #[serde(borrow)]
    pub user_agent: Option<Text<'a>>,
    #[serde(borrow)]
    pub location: Option<LocationBrief<'a>>,
    #[serde(borrow)]
    pub network: Option<NetworkBrief<'a>>,
    #[serde(borrow)]
    pub client: Option<ClientBrief<'a>>,
}

/// See [`crate::event::Location`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the location's")]
pub struct LocationBrief<'a> {
    #[serde(borrow)]
    pub city: Option<Text<'a>>,
    #[serde(borrow)]
    pub country: Option<Text<'a>>,
    #[serde(borrow)]
    pub zipcode: Option<Text<'a>>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
}

/// See [`crate::event::Network`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the network's")]
pub struct NetworkBrief<'a> {
    pub asn: Option<u32>,
    #[serde(borrow)]
    pub org: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub labels: Vec<Text<'a>>,
}

/// See [`crate::event::Client`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the client's")]
pub struct ClientBrief<'a> {
    #[serde(borrow)]
    pub browser: Option<Text<'a>>,
    #[serde(borrow)]
    pub version: Option<Text<'a>>,
    #[serde(borrow)]
    pub os: Option<Text<'a>>,
}

/// See [`super::Replay`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the replay's")]
pub struct ReplayBrief {
    pub of: Seq,
}

/// See [`super::AlarmChange`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the alarm's")]
pub struct AlarmBrief<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub subject: Option<Text<'a>>,
    pub state: AlarmState,
}

/// See [`super::Incident`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the incident's")]
pub struct IncidentBrief<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    pub change: IncidentChange,
    #[serde(borrow)]
    pub rules: Vec<Text<'a>>,
    #[serde(borrow)]
    pub tenant_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub application_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub user_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub ip: Option<Text<'a>>,
}

/// See [`super::Finding`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the finding's")]
pub struct FindingBrief<'a> {
    #[serde(borrow)]
    pub rule: Text<'a>,
    pub severity: Severity,
    #[serde(borrow, default)]
    pub attack: Vec<Text<'a>>,
    #[serde(borrow)]
    pub incident: Option<Text<'a>>,
}

/// See [`super::Verdict`].
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are the verdict's")]
pub struct VerdictBrief {
    pub action: Action,
    pub would: Option<Action>,
    pub risk: Option<f64>,
}

impl<'a> Brief<'a> {
    /// Reads a line of the journal.
    pub fn read(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// When it happened, microseconds since 1970: as the sender says where that can be believed, else when it was recorded.
    pub fn happened(&self) -> i64 {
        let said = about::said_at(self.event.as_ref().map(|event| event.occurred_at), self.evidence.clock_skew);
        said.map_or(self.received_at.micros(), |at| at.millis().saturating_mul(1_000))
    }

    /// The incidents it is about, the worst first: its own, or those of its findings.
    pub fn incidents(&self) -> Vec<&str> {
        let of_findings = || about::incidents(self.findings.iter().map(|one| (one.severity, one.incident.as_deref())));
        self.incident.as_ref().map_or_else(of_findings, |incident| vec![&*incident.id])
    }

    /// The rules that fired.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        let of_incident = self.incident.iter().flat_map(|incident| &incident.rules).map(|rule| &**rule);
        self.findings.iter().map(|finding| &*finding.rule).chain(of_incident)
    }
}
