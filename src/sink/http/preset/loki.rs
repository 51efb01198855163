//! Grafana Loki's push API (<https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>): JSON, one stream a
//! kind of record, the instant in nanoseconds, and what is searched for as structured metadata.
//!
//! Loki takes an entry with the instant, labels and line of one it has for the same entry, so nothing is there twice.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Labels, NAME, check_labels, severity};
use crate::{
    record::{Kind, Record},
    sink::{BuildError, Message},
};

/// Records and bytes of a request: under the 4 MiB that a default installation takes at once.
pub(super) const LIMITS: (usize, usize) = (usize::MAX, 3_000_000);

#[derive(Serialize)]
struct Push<'a> {
    streams: Vec<Stream<'a>>,
}

#[derive(Serialize)]
struct Stream<'a> {
    stream: BTreeMap<&'a str, &'a str>,
    values: Vec<(String, String, BTreeMap<&'static str, String>)>,
}

pub(super) fn check(labels: &Labels) -> Result<(), BuildError> {
    let good = |name: &str, _: &str| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !OWN.contains(&name)
    };
    check_labels(labels, good, "a name is of A-Z a-z 0-9 _, not service_name or kind, which are set already")
}

/// Labels of our own.
const OWN: &[&str] = &["service_name", "kind"];

pub(super) fn body(batch: &[Message], labels: &Labels) -> Vec<u8> {
    let mut streams: BTreeMap<Kind, Vec<_>> = BTreeMap::new();
    for message in batch {
        let record = message.record().ok();
        let micros = message.head.received_at().micros();
        let line = String::from_utf8_lossy(&message.body).into_owned();
        let value = (i128::from(micros).saturating_mul(1_000).to_string(), line, metadata(message, record.as_ref()));
        streams.entry(message.kind).or_default().push(value);
    }
    let stream = |(kind, values): (Kind, _)| {
        let configured = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let stream = configured.chain([("service_name", NAME), ("kind", kind.as_str())]).collect();
        Stream { stream, values }
    };
    let push = Push { streams: streams.into_iter().map(stream).collect() };
    // Texts always serialize; an empty body is refused, not taken.
    serde_json::to_vec(&push).unwrap_or_default()
}

fn metadata(message: &Message, record: Option<&Record>) -> BTreeMap<&'static str, String> {
    let mut metadata = BTreeMap::from([("seq", message.seq.to_string()), ("key", message.key.clone())]);
    let mut put = |name, value: Option<&str>| {
        if let Some(value) = value {
            metadata.insert(name, value.to_owned());
        }
    };
    put("hash", Some(message.head.hash()));
    put("journal", Some(message.head.journal()));
    put("level", Some(severity(message).as_str()));
    if let Some(record) = record {
        put("source", record.source.as_deref());
        if let Some(event) = &record.event {
            put("user_id", event.user_id.as_ref().map(|id| id.as_str()));
            put("session_id", event.session_id.as_ref().map(|id| id.as_str()));
            put("tenant_id", event.tenant_id.as_ref().map(|id| id.as_str()));
            put("application_id", event.application_id.as_ref().map(|id| id.as_str()));
            put("ip", event.ip.as_deref());
        }
        put("incident", record.incident.as_ref().map(|incident| &*incident.id));
        put("alarm", record.alarm.as_ref().map(|alarm| &*alarm.name));
    }
    metadata
}
