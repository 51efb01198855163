//! What a sink reads of a record beside its body: the few members that protocols have a place for. Read without making
//! the whole record. Not a sink; knows none.

use std::borrow::Cow;

use serde::{Deserialize, de::value::StrDeserializer};

use crate::{
    record::{AlarmState, Kind, Severity},
    time::ReceivedAt,
};

/// See the head of this file.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// The journal's id: 8 hex.
    #[serde(borrow)]
    pub journal: Cow<'a, str>,
    /// The instance that wrote it.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// What it is about.
    pub kind: Kind,
    /// When it was admitted, RFC 3339 in UTC with 6 decimals.
    #[serde(borrow)]
    pub received_at: Cow<'a, str>,
    /// The line's hash, hex.
    #[serde(borrow)]
    pub hash: Cow<'a, str>,
    #[serde(default)]
    findings: Vec<Rated>,
    alarm: Option<Alarm>,
    incident: Option<Rated>,
}

#[derive(Debug, Deserialize)]
struct Rated {
    severity: Severity,
}

#[derive(Debug, Deserialize)]
struct Alarm {
    state: AlarmState,
}

impl<'a> Head<'a> {
    /// Reads a line of the journal.
    pub fn read(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// Of the worst finding, or of the incident; `None` where there is neither.
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().chain(&self.incident).map(|rated| rated.severity).max()
    }

    /// Raised or cleared, for alarms.
    pub fn alarm(&self) -> Option<AlarmState> {
        self.alarm.as_ref().map(|alarm| alarm.state)
    }

    /// `received_at` as an instant.
    pub fn at(&self) -> Option<ReceivedAt> {
        ReceivedAt::deserialize(StrDeserializer::<serde::de::value::Error>::new(&self.received_at)).ok()
    }
}
