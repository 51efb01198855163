//! Incidents and changes of what decides: the members `incident` and `config` of a record.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Seq, Severity};
use crate::{
    event::{ApplicationId, SessionId, TenantId, UserId},
    time::ReceivedAt,
};

/// What belongs together and is told to a person once: the state of one incident after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// 16 hex, the same in every record of the incident and in the findings that belong to it.
    pub id: String,
    /// What happened to it.
    pub change: IncidentChange,
    /// What the findings have in common.
    pub key: IncidentKey,
    /// The worst finding so far.
    pub severity: Severity,
    /// The rules that fired so far, sorted.
    pub rules: Vec<String>,
    /// How many findings so far.
    pub findings: u64,
    /// How many events with findings so far.
    pub events: u64,
    /// When the first event with a finding came.
    pub first_seen: ReceivedAt,
    /// When the last one came.
    pub last_seen: ReceivedAt,
    /// The record of the first event.
    pub first_seq: Seq,
    /// The record of the last event.
    pub last_seq: Seq,
    /// The tenant, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// The application, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_id: Option<ApplicationId>,
    /// The person, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The session, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The client's address at the last event, as recorded there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// One sentence for a person.
    pub summary: String,
    /// What differs from what was usual before, by member: `network`, `country`, `client`…
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, Changed>,
}

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentChange {
    /// It is new.
    Opened,
    /// A worse finding, or one of another kind of evidence.
    Escalated,
    /// It goes on; told rarely.
    Ongoing,
    /// Nothing more came for a while, or an operator closed it.
    Closed,
}

impl IncidentChange {
    /// Its text in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Ongoing => "ongoing",
            Self::Closed => "closed",
        }
    }
}

/// What the findings of an incident have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct IncidentKey {
    /// Of what kind `value` is.
    pub kind: IncidentKeyKind,
    /// The session's or user's id, the network (`192.0.2.0/24`), or the application's id.
    pub value: String,
}

/// Of what kind an incident's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKeyKind {
    /// One session.
    Session,
    /// One person.
    User,
    /// One network, for what is seen across users.
    Network,
    /// One application.
    Application,
}

impl IncidentKeyKind {
    /// Its text in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::Network => "network",
            Self::Application => "application",
        }
    }
}

/// What was usual, and what came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// Before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Now.
    pub to: String,
}

/// A change of what decides findings and verdicts; records after it were judged by the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// What changed: `detect`, `gate`, `rules`, `suppressions`.
    pub what: String,
    /// Lower-case hex SHA-256 of what applies from here on.
    pub digest: String,
    /// What applies from here on, as JSON, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<serde_json::Value>,
}
