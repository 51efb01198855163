//! What delivery decides by, read from a line without building the whole record: a fifth of that work.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    event::{ApplicationId, TenantId},
    ledger::KeyScheme,
    record::{Kind, Seq, Severity},
    time::ReceivedAt,
};

/// The members of a record that filter, key and age need.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// The journal's id.
    #[serde(borrow)]
    pub journal: Cow<'a, str>,
    /// Its seq.
    pub seq: Seq,
    /// What it is about.
    pub kind: Kind,
    /// When it was admitted.
    pub received_at: ReceivedAt,
    /// The configured source.
    #[serde(borrow)]
    pub source: Option<Cow<'a, str>>,
    /// The refresh.
    #[serde(borrow)]
    pub event: Option<EventHead<'a>>,
    /// What the detectors found.
    #[serde(default)]
    pub findings: Vec<FindingHead>,
}

impl Head<'_> {
    /// The idempotency key at every sink: the event's for events, `<journal>-<seq>` for the other kinds; a checkpoint has the
    /// seq of the record that it vouches for, so it says what it is, too.
    pub fn key(&self, scheme: KeyScheme) -> String {
        match (&self.event, &self.source, scheme) {
            (Some(event), Some(source), KeyScheme::SourceAndEventId) if self.kind == Kind::Event => {
                format!("{source}/{}", event.id)
            }
            (Some(event), ..) if self.kind == Kind::Event => event.id.to_string(),
            _ if self.kind == Kind::Checkpoint => format!("{}-checkpoint-{}", self.journal, self.seq),
            _ => format!("{}-{}", self.journal, self.seq),
        }
    }
}

/// Of the event.
#[derive(Debug, Deserialize)]
pub struct EventHead<'a> {
    /// The sender's id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

/// Of a finding.
#[derive(Debug, Deserialize)]
pub struct FindingHead {
    /// How bad.
    pub severity: Severity,
}

/// What a scope decides by; read only where there is one.
#[derive(Debug, Deserialize)]
pub struct ScopeHead {
    /// The refresh.
    pub event: Option<ScopeEvent>,
}

/// Of the event.
#[derive(Debug, Deserialize)]
pub struct ScopeEvent {
    /// Its tenant.
    pub tenant_id: Option<TenantId>,
    /// Its application.
    pub application_id: Option<ApplicationId>,
}
