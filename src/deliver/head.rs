//! What delivery decides by, read from a line without building the whole record: a fifth of that work.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
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
    pub source: Option<String>,
    /// The refresh.
    #[serde(borrow)]
    pub event: Option<EventHead<'a>>,
    /// What the detectors found.
    #[serde(default)]
    pub findings: Vec<FindingHead>,
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
