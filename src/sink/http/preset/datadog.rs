//! Datadog's logs intake, v2 (<https://docs.datadoghq.com/api/latest/logs/#send-logs>): a JSON array.

use serde::Serialize;

use super::{Labels, NAME, check_labels, severity};
use crate::{
    record::Severity,
    sink::{BuildError, Message},
    time::ReceivedAt,
};

/// Records and bytes of a request, as documented (5 MB).
pub(super) const LIMITS: (usize, usize) = (1_000, 5_000_000);
/// An instant longer ago is not taken (documented: 18 hours); such a record is shown at its arrival, and its own instants
/// are in the message. One hour is left for what a request may wait.
const PAST_MAX: std::time::Duration = std::time::Duration::from_secs(17 * 3_600);

/// Reserved attributes; `message` is JSON, which Datadog parses.
#[derive(Serialize)]
struct Log<'a> {
    ddsource: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ddtags: &'a str,
    hostname: &'a str,
    service: &'static str,
    status: &'static str,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    message: &'a str,
}

pub(super) fn url(site: &str) -> Result<String, BuildError> {
    if site.is_empty() || !site.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)) {
        return Err(BuildError("site is not one: write e.g. \"datadoghq.com\", \"datadoghq.eu\", \"us5.datadoghq.com\"".to_owned()));
    }
    Ok(format!("https://http-intake.logs.{site}/api/v2/logs"))
}

pub(super) fn check(labels: &Labels) -> Result<(), BuildError> {
    check_labels(labels, |name, value| !name.is_empty() && !format!("{name}{value}").contains(','), "tags hold no comma")
}

pub(super) fn body(batch: &[Message], labels: &Labels) -> Vec<u8> {
    let tags = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",");
    let now = ReceivedAt::wall();
    let mut body = vec![b'['];
    for (at, message) in batch.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        let received = message.head.received_at();
        let log = Log {
            ddsource: NAME,
            ddtags: &tags,
            hostname: message.head.node(),
            service: NAME,
            status: status(severity(message)),
            timestamp: (now.since(received) < PAST_MAX).then(|| received.micros() / 1_000),
            message: &String::from_utf8_lossy(&message.body),
        };
        // Texts and numbers always serialize.
        let _ = serde_json::to_writer(&mut body, &log);
    }
    body.push(b']');
    body
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
