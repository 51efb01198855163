//! Datadog's logs intake, v2 (<https://docs.datadoghq.com/api/latest/logs/#send-logs>): a JSON array.

use bytes::Bytes;

use super::{BEHIND_BYTES, Labels, NAME, check_labels};
use crate::{
    record::Severity,
    sink::{BuildError, Message, Pack, json},
    time::ReceivedAt,
};

/// Records and bytes of a request, as documented (5 MB).
pub(super) const LIMITS: (usize, usize) = (1_000, 5_000_000);
/// An instant longer ago is not taken (documented: 18 hours); such a record is shown at its arrival, and its own instants
/// are in the message. One hour is left for what a request may wait.
const PAST_MAX: std::time::Duration = std::time::Duration::from_secs(17 * 3_600);

pub(super) fn url(site: &str) -> Result<String, BuildError> {
    if site.is_empty()
        || !site.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    {
        return Err(BuildError(
            "site is not one: write e.g. \"datadoghq.com\", \"datadoghq.eu\", \"us5.datadoghq.com\"".to_owned(),
        ));
    }
    Ok(format!("https://http-intake.logs.{site}/api/v2/logs"))
}

pub(super) fn check(labels: &Labels) -> Result<(), BuildError> {
    check_labels(
        labels,
        |name, value| !name.is_empty() && !format!("{name}{value}").contains(','),
        "tags hold no comma",
    )
}

/// Bytes of the reserved attributes' names, our own values and a usual node.
const AROUND_LEN: usize = 160;

/// Reserved attributes; `message` is JSON, which Datadog parses. The object stays open for its instant, which depends on
/// when it is sent.
pub(super) fn pack(labels: &Labels) -> Pack {
    let mut head = format!("{{\"ddsource\":\"{NAME}\",");
    if !labels.is_empty() {
        let tags = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",");
        head.push_str(&format!("\"ddtags\":{},", serde_json::Value::from(tags)));
    }
    head.push_str(&format!("\"service\":\"{NAME}\",\"hostname\":"));
    Pack::written(head.len() + AROUND_LEN, move |message, out| {
        out.extend_from_slice(head.as_bytes());
        json::text(out, message.head.node().as_bytes());
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(status(message.head.severity()).as_bytes());
        out.extend_from_slice(b"\",\"message\":");
        json::text(out, &message.body);
    })
}

pub(super) fn body(batch: &[Message]) -> Vec<Bytes> {
    let now = ReceivedAt::wall();
    let mut body = Vec::with_capacity(batch.iter().map(|message| message.body.len() + BEHIND_BYTES).sum());
    let mut before = b'[';
    for message in batch {
        body.push(before);
        body.extend_from_slice(&message.body);
        let received = message.head.received_at();
        if now.since(received) < PAST_MAX {
            body.extend_from_slice(format!(",\"timestamp\":{}", received.micros() / 1_000).as_bytes());
        }
        body.push(b'}');
        before = b',';
    }
    body.push(b']');
    vec![body.into()]
}

/// Datadog's words.
fn status(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "notice",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}
