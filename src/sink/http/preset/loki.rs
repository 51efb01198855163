//! Grafana Loki's push API (<https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>): JSON, one stream a
//! kind of record, the instant in nanoseconds, and what is searched for as structured metadata.
//!
//! Loki takes an entry with the instant, labels and line of one it has for the same entry, so nothing is there twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use bytes::Bytes;

use super::{Labels, NAME, check_labels, severity};
use crate::{
    record::{Brief, Kind},
    sink::{
        BuildError, Message, Pack,
        json::{self, array},
    },
    slice::pieces,
};

/// Records and bytes of a request: under the 4 MiB that a default installation takes at once.
pub(super) const LIMITS: (usize, usize) = (usize::MAX, 3_000_000);

pub(super) fn check(labels: &Labels) -> Result<(), BuildError> {
    let good = |name: &str, _: &str| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !OWN.contains(&name)
    };
    check_labels(labels, good, "a name is of A-Z a-z 0-9 _, not service_name or kind, which are set already")
}

/// Labels of our own.
const OWN: &[&str] = &["service_name", "kind"];

/// Bytes of an entry beside its line: the metadata's names, three ids, a hash and an instant.
const AROUND_LEN: usize = 600;

/// An entry of a stream's `values`, a comma behind it: `["<nanoseconds>","<line>",{<metadata>}],`.
pub(super) fn pack() -> Pack {
    Pack::written(AROUND_LEN, |message, out| {
        let nanos = i128::from(message.head.received_at().micros()).saturating_mul(1_000);
        // Writing to memory does not fail.
        let _ = write!(out, "[\"{nanos}\",");
        json::text(out, &message.body);
        let _ = write!(out, ",{{\"seq\":\"{}\"", message.seq);
        metadata(out, message);
        out.extend_from_slice(b"}],");
    })
}

pub(super) fn body(batch: &[Message], labels: &Labels) -> Vec<Bytes> {
    let kinds: BTreeSet<Kind> = batch.iter().map(|message| message.kind).collect();
    let mut body = Vec::new();
    for (at, kind) in kinds.into_iter().enumerate() {
        let configured = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let stream: BTreeMap<_, _> = configured.chain([("service_name", NAME), ("kind", kind.as_str())]).collect();
        // Texts always serialize; without the labels the body is refused, not taken.
        let stream = serde_json::to_string(&stream).unwrap_or_default();
        let before = if at == 0 { "{\"streams\":[" } else { "," };
        body.push(format!("{before}{{\"stream\":{stream},\"values\":").into());
        let of_kind = batch.iter().filter(|message| message.kind == kind);
        body.extend(array(pieces(of_kind.map(|message| &message.body))));
        body.push(Bytes::from_static(b"}"));
    }
    body.push(Bytes::from_static(b"]}"));
    body
}

fn metadata(out: &mut Vec<u8>, message: &Message) {
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = write!(out, ",\"{name}\":");
            json::text(out, value.as_bytes());
        }
    };
    put("key", Some(&message.key));
    put("hash", Some(message.head.hash()));
    put("journal", Some(message.head.journal()));
    put("level", Some(severity(message).as_str()));
    // Its head was read as JSON before it came here; without the rest there is still the line.
    let Ok(record) = Brief::read(&message.line) else { return };
    put("source", record.source.as_deref());
    if let Some(event) = &record.event {
        put("user_id", event.user_id.as_deref());
        put("session_id", event.session_id.as_deref());
        put("tenant_id", event.tenant_id.as_deref());
        put("application_id", event.application_id.as_deref());
        put("ip", event.ip.as_deref());
    }
    put("incident", record.incident.as_ref().map(|incident| &*incident.id));
    put("alarm", record.alarm.as_ref().map(|alarm| &*alarm.name));
}
