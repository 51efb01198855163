//! Records as OpenTelemetry log records
//! (<https://opentelemetry.io/docs/specs/otel/logs/data-model/>, semantic conventions 1.38). Pure.
//!
//! The body is the record in the sink's `format`, as a string, so that with `json` the journal's hash can be checked where
//! it arrives (a map would lose the order of members). What is searched for stands in attributes beside it.

use bytes::Bytes;

use super::proto::{self, Attributes};
use crate::{
    record::{Action, Brief, EventBrief, Kind, Severity},
    sink::{Message, Pack},
    slice::pieces,
};

/// Bytes of a record beside its body: some 30 attributes.
const AROUND_LEN: usize = 1_500;

/// Field numbers of `opentelemetry.proto.logs.v1.LogRecord`.
mod field {
    pub(super) const TIME: u32 = 1;
    pub(super) const SEVERITY_NUMBER: u32 = 2;
    pub(super) const SEVERITY_TEXT: u32 = 3;
    pub(super) const BODY: u32 = 5;
    pub(super) const ATTRIBUTES: u32 = 6;
    pub(super) const OBSERVED_TIME: u32 = 11;
    pub(super) const EVENT_NAME: u32 = 12;
}

/// `SeverityNumber` of the same file.
const INFO: u64 = 9;
const INFO2: u64 = 10;
const WARN: u64 = 13;
const ERROR: u64 = 17;
const FATAL: u64 = 21;

/// A log record as a field of its scope.
pub(super) fn pack() -> Pack {
    Pack::written(AROUND_LEN, |message, out| proto::message(out, proto::LOG_RECORDS, |out| log_record(out, message)))
}

/// A batch as one request (`ExportLogsServiceRequest`) of one resource and scope.
pub(super) fn request(batch: &[Message], host: &str) -> Vec<Bytes> {
    let records = pieces(batch.iter().map(|message| &message.body));
    let len = records.iter().map(Bytes::len).sum();
    let resource = |resource: &mut Vec<u8>| {
        let mut attributes = Attributes::new(resource, proto::RESOURCE_ATTRIBUTES);
        attributes.text("service.name", Some("refresh-audit"));
        attributes.text("service.version", Some(env!("CARGO_PKG_VERSION")));
        attributes.text("host.name", Some(host).filter(|host| !host.is_empty()));
    };
    let mut request = vec![proto::request_head(len, resource, ("refresh_audit", env!("CARGO_PKG_VERSION"))).into()];
    request.extend(records);
    request
}

fn log_record(out: &mut Vec<u8>, message: &Message) {
    // Its head was read as JSON before it came here; without the rest there is still the body.
    let record = Brief::read(&message.line).ok();
    if let Some(record) = &record {
        let severity = message.head.severity();
        proto::fixed64(out, field::TIME, nanos(record.happened()));
        proto::number(out, field::SEVERITY_NUMBER, number(severity));
        proto::bytes(out, field::SEVERITY_TEXT, severity.as_str().as_bytes());
        proto::fixed64(out, field::OBSERVED_TIME, nanos(record.received_at.micros()));
    }
    proto::any_text(out, field::BODY, &String::from_utf8_lossy(&message.body));
    let mut attributes = Attributes::new(out, field::ATTRIBUTES);
    // Records with the same uid are the same record: how a receiver tells what came twice.
    attributes.text("log.record.uid", Some(&message.key));
    attributes.text("refresh_audit.key", Some(&message.key));
    attributes.count("refresh_audit.seq", message.seq);
    if let Some(record) = &record {
        describe(&mut attributes, message, record);
    }
    proto::bytes(out, field::EVENT_NAME, format!("refresh_audit.{}", message.kind.as_str()).as_bytes());
}

/// Nothing before 1970 or after 2554 can be said.
fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)
}

const fn number(severity: Severity) -> u64 {
    match severity {
        Severity::Info => INFO,
        Severity::Low => INFO2,
        Severity::Medium => WARN,
        Severity::High => ERROR,
        Severity::Critical => FATAL,
    }
}

fn describe(attributes: &mut Attributes<'_>, message: &Message, record: &Brief<'_>) {
    attributes.text("refresh_audit.hash", Some(message.head.hash()));
    attributes.text("refresh_audit.journal", Some(message.head.journal()));
    attributes.text("refresh_audit.node", Some(message.head.node()));
    attributes.text("refresh_audit.kind", Some(message.kind.as_str()));
    attributes.text("refresh_audit.source", record.source.as_deref());
    if let Some(event) = &record.event {
        describe_event(attributes, event);
    }
    attributes.texts("refresh_audit.findings.rules", record.findings.iter().map(|finding| &*finding.rule));
    attributes.texts(
        "refresh_audit.findings.attack",
        record.findings.iter().flat_map(|finding| finding.attack.iter().map(|technique| &**technique)),
    );
    if let Some(verdict) = &record.verdict {
        attributes.number("refresh_audit.risk", verdict.risk);
        attributes.text("refresh_audit.verdict.action", Some(verdict.action.as_str()));
        attributes.text("refresh_audit.verdict.would", verdict.would.map(Action::as_str));
    }
    let incidents = record.incidents();
    attributes.text("refresh_audit.incident.id", incidents.first().copied());
    if incidents.len() > 1 {
        attributes.texts("refresh_audit.findings.incidents", incidents.into_iter());
    }
    if let Some(alarm) = &record.alarm {
        attributes.text("refresh_audit.alarm.name", Some(&alarm.name));
        attributes.text("refresh_audit.alarm.subject", alarm.subject.as_deref());
        attributes.text("refresh_audit.alarm.state", Some(alarm.state.as_str()));
    }
    if let Some(incident) = &record.incident {
        attributes.text("refresh_audit.incident.change", Some(incident.change.as_str()));
        attributes.texts("refresh_audit.incident.rules", incident.rules.iter().map(|rule| &**rule));
        attributes.text("user.id", incident.user_id.as_deref());
        attributes.text("session.id", incident.session_id.as_deref());
        attributes.text("client.address", incident.ip.as_deref());
    }
    if message.kind == Kind::Replay
        && let Some(replay) = &record.replay
    {
        attributes.count("refresh_audit.replay.of", replay.of);
    }
}

fn describe_event(attributes: &mut Attributes<'_>, event: &EventBrief<'_>) {
    let user = event.user_id.as_deref();
    attributes.text("user.id", user);
    attributes.text("enduser.id", user);
    attributes.text("session.id", event.session_id.as_deref());
    attributes.text("client.address", event.ip.as_deref());
    attributes.text("user_agent.original", event.user_agent.as_deref());
    if let Some(client) = &event.client {
        attributes.text("user_agent.name", client.browser.as_deref());
        attributes.text("user_agent.version", client.version.as_deref());
        attributes.text("user_agent.os.name", client.os.as_deref());
    }
    if let Some(place) = &event.location {
        attributes.text("geo.locality.name", place.city.as_deref());
        attributes.text("geo.country.iso_code", place.country.as_deref().filter(|text| is_iso_country(text)));
        attributes.text("geo.postal_code", place.zipcode.as_deref());
        attributes.number("geo.location.lat", place.latitude);
        attributes.number("geo.location.lon", place.longitude);
    }
    if let Some(network) = &event.network {
        if let Some(asn) = network.asn {
            attributes.count("refresh_audit.network.asn", asn.into());
        }
        attributes.text("refresh_audit.network.org", network.org.as_deref());
        attributes.texts("refresh_audit.network.labels", network.labels.iter().map(|label| &**label));
    }
    attributes.text("refresh_audit.event.id", Some(&event.id));
    attributes.text("refresh_audit.event.type", Some(&event.kind));
    attributes.text("refresh_audit.event.outcome", Some(event.outcome.as_str()));
    attributes.text("refresh_audit.tenant.id", event.tenant_id.as_deref());
    attributes.text("refresh_audit.application.id", event.application_id.as_deref());
}

/// ISO 3166-1 alpha-2, as the convention asks; senders also write names.
fn is_iso_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}
