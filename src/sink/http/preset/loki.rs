//! Grafana Loki's push API (<https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>): JSON, one stream a
//! node and kind of record, the instant in nanoseconds, and what is searched for as structured metadata.
//!
//! Loki takes an entry with the instant, labels and line of one it has for the same entry, so what is sent again soon is not
//! there twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use bytes::Bytes;

use super::{Labels, NAME, check_labels};
use crate::{
    record::{Action, Brief, Severity},
    sink::{
        BuildError, Message, Pack,
        json::{self, array},
    },
    slice::{Slice, pieces},
    time::ReceivedAt,
};

/// Records and bytes of a request: under the 4 MiB that a default installation takes at once.
pub(super) const LIMITS: (usize, usize) = (usize::MAX, 3_000_000);
/// An older record is shown at its arrival, since Loki may refuse its own instant for good: it takes none that is behind the
/// newest of the stream by half of `max_chunk_age` (two hours by default; this fits one of a single hour, too), nor one older
/// than `reject_old_samples_max_age` (a week). Nothing of ours is newer than now, so what is younger than this is taken.
const PAST_MAX: std::time::Duration = std::time::Duration::from_secs(20 * 60);

pub(super) fn check(labels: &Labels) -> Result<(), BuildError> {
    let good = |name: &str, _: &str| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !OWN.contains(&name)
    };
    check_labels(labels, good, "a name is of A-Z a-z 0-9 _, not service_name, node or kind, which are set already")
}

/// Labels of our own.
const OWN: &[&str] = &["service_name", "node", "kind"];

/// Bytes of an entry beside its line: the metadata's names, three ids, a hash and an instant.
const AROUND_LEN: usize = 600;

/// An entry of a stream's `values`, a comma behind it: `["<nanoseconds>","<line>",{<metadata>}],`.
pub(super) fn pack() -> Pack {
    Pack::written(AROUND_LEN, |message, out| {
        // Writing to memory does not fail.
        let _ = out.write_all(begin(nanos(message.head.received_at())).as_bytes());
        json::text(out, &message.body);
        let _ = write!(out, ",{{\"seq\":\"{}\"", message.seq);
        metadata(out, message);
        out.extend_from_slice(b"}],");
    })
}

fn nanos(at: ReceivedAt) -> i128 {
    i128::from(at.micros()).saturating_mul(1_000)
}

fn begin(nanos: i128) -> String {
    format!("[\"{nanos}\",")
}

pub(super) fn body(batch: &[Message], labels: &Labels) -> Vec<Bytes> {
    let now = ReceivedAt::wall();
    // A stream has one writer: what is new of one node must not put off what another catches up with.
    let streams: BTreeSet<_> = batch.iter().map(|message| (message.head.node(), message.kind)).collect();
    let mut body = Vec::new();
    for (at, (node, kind)) in streams.into_iter().enumerate() {
        let configured = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = [("service_name", NAME), ("node", node), ("kind", kind.as_str())];
        let stream: BTreeMap<_, _> = configured.chain(own).collect();
        // Texts always serialize; without the labels the body is refused, not taken.
        let stream = serde_json::to_string(&stream).unwrap_or_default();
        let before = if at == 0 { "{\"streams\":[" } else { "," };
        body.push(format!("{before}{{\"stream\":{stream},\"values\":").into());
        let of_stream = batch.iter().filter(|message| (message.head.node(), message.kind) == (node, kind));
        body.extend(array(entries(of_stream, now)));
        body.push(Bytes::from_static(b"}"));
    }
    body.push(Bytes::from_static(b"]}"));
    body
}

/// As they were packed, but for the instant of what is old: that depends on when it is sent. Their order is kept by a
/// nanosecond each.
fn entries<'a>(messages: impl Iterator<Item = &'a Message>, now: ReceivedAt) -> Vec<Bytes> {
    let entry = |(at, message): (usize, &Message)| {
        let received = message.head.received_at();
        if now.since(received) < PAST_MAX {
            return [Slice::default(), message.body.clone()];
        }
        let packed = message.body.bytes();
        let old = begin(nanos(received)).len().min(packed.len());
        [begin(nanos(now) + at as i128).into(), packed.slice(old..).into()]
    };
    let entries: Vec<Slice> = messages.enumerate().flat_map(entry).collect();
    pieces(&entries)
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
    put("received_at", Some(&message.head.received_at().to_string()));
    let severity = message.head.severity();
    put("level", Some(level(severity)));
    put("severity", Some(severity.as_str()));
    // Its head was read as JSON before it came here; without the rest there is still the line.
    let Ok(record) = Brief::read(&message.line) else { return };
    put("source", record.source.as_deref());
    if let Some(event) = &record.event {
        put("user_id", event.user_id.as_deref());
        put("session_id", event.session_id.as_deref());
        put("tenant_id", event.tenant_id.as_deref());
        put("application_id", event.application_id.as_deref());
        put("ip", event.ip.as_deref());
    } else if let Some(incident) = &record.incident {
        put("user_id", incident.user_id.as_deref());
        put("session_id", incident.session_id.as_deref());
        put("tenant_id", incident.tenant_id.as_deref());
        put("application_id", incident.application_id.as_deref());
        put("ip", incident.ip.as_deref());
    }
    let rules = record.rules().collect::<Vec<_>>().join(",");
    put("rules", Some(rules.as_str()).filter(|rules| !rules.is_empty()));
    put("incident", record.incidents().first().copied());
    if let Some(verdict) = &record.verdict {
        put("verdict", Some(verdict.action.as_str()));
        put("would", verdict.would.map(Action::as_str));
    }
    put("alarm", record.alarm.as_ref().map(|alarm| &*alarm.name));
}

/// Words that Grafana knows and colours (`detected_level`); ours is `severity`.
const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info | Severity::Low => "info",
        Severity::Medium => "warn",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}
