//! Records as OpenTelemetry log records
//! (<https://opentelemetry.io/docs/specs/otel/logs/data-model/>, semantic conventions 1.38). Pure.
//!
//! The body is the record in the sink's `format`, as a string, so that with `json` the journal's hash can be checked where
//! it arrives (a map would lose the order of members). What is searched for stands in attributes beside it.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};

use crate::{
    event::RefreshEvent,
    record::{AlarmState, IncidentChange, Kind, Record, Severity},
    sink::Message,
};

/// The sender's instant counts within this of ours; outside of it somebody's clock or JSON is wrong. Milliseconds.
const BEHIND_MAX_MS: i64 = 30 * 86_400_000;
/// See [`BEHIND_MAX_MS`].
const AHEAD_MAX_MS: i64 = 5 * 60_000;

/// Attributes of one thing, without those that are not known.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn put(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(key, Value::StringValue(value.to_owned()));
        }
    }

    fn texts<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        let one = |value: &str| AnyValue { value: Some(Value::StringValue(value.to_owned())) };
        let values: Vec<AnyValue> = values.map(one).collect();
        if !values.is_empty() {
            self.put(key, Value::ArrayValue(ArrayValue { values }));
        }
    }

    fn number(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(key, Value::DoubleValue(value));
        }
    }

    fn count(&mut self, key: &str, value: u64) {
        self.put(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

/// A batch as one request of one resource and scope.
pub(super) fn request(batch: &[Message], host: &str) -> ExportLogsServiceRequest {
    let mut resource = Attributes::default();
    resource.text("service.name", Some("refresh-audit"));
    resource.text("service.version", Some(env!("CARGO_PKG_VERSION")));
    resource.text("host.name", Some(host).filter(|host| !host.is_empty()));
    let scope = InstrumentationScope {
        name: "refresh_audit".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let log_records = batch.iter().map(log_record).collect();
    let logs = ScopeLogs { scope: Some(scope), log_records, schema_url: String::new() };
    let resource = Resource { attributes: resource.0, ..Resource::default() };
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource), scope_logs: vec![logs], schema_url: String::new() }];
    ExportLogsServiceRequest { resource_logs }
}

fn log_record(message: &Message) -> LogRecord {
    let body = AnyValue { value: Some(Value::StringValue(String::from_utf8_lossy(&message.body).into_owned())) };
    let mut attributes = Attributes::default();
    // Records with the same uid are the same record: how a receiver tells what came twice.
    attributes.text("log.record.uid", Some(&message.key));
    attributes.text("refresh_audit.key", Some(&message.key));
    attributes.count("refresh_audit.seq", message.seq);
    let mut log = LogRecord {
        event_name: format!("refresh_audit.{}", message.kind.as_str()),
        body: Some(body),
        ..LogRecord::default()
    };
    // Its head was read as JSON before it came here; without the rest there is still the body.
    if let Ok(record) = message.record() {
        let received = record.received_at.micros();
        log.time_unix_nano = nanos(happened(&record));
        log.observed_time_unix_nano = nanos(received);
        let (number, text) = severity(&record);
        (log.severity_number, log.severity_text) = (number.into(), text.to_owned());
        describe(&mut attributes, &record);
    }
    log.attributes = attributes.0;
    log
}

/// Microseconds since 1970: the event's instant where it can be, else when it was recorded.
fn happened(record: &Record) -> i64 {
    let received = record.received_at.micros();
    record.event.as_ref().map_or(received, |event| {
        let clamped = |ms: i64| ms.clamp(received / 1_000 - BEHIND_MAX_MS, received / 1_000 + AHEAD_MAX_MS);
        clamped(event.occurred_at.millis()).saturating_mul(1_000)
    })
}

/// Nothing before 1970 or after 2554 can be said.
fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)
}

/// By the worst finding; a record without one is information, an alarm an error.
fn severity(record: &Record) -> (SeverityNumber, &'static str) {
    let incident = record.incident.as_ref().filter(|incident| incident.change != IncidentChange::Closed);
    let raised = record.alarm.as_ref().is_some_and(|alarm| alarm.state == AlarmState::Raised);
    let found = record.findings.iter().map(|finding| finding.severity);
    let worst = found.chain(incident.map(|incident| incident.severity)).chain(raised.then_some(Severity::High)).max();
    match worst {
        None | Some(Severity::Info) => (SeverityNumber::Info, "info"),
        Some(Severity::Low) => (SeverityNumber::Info2, "low"),
        Some(Severity::Medium) => (SeverityNumber::Warn, "medium"),
        Some(Severity::High) => (SeverityNumber::Error, "high"),
        Some(Severity::Critical) => (SeverityNumber::Fatal, "critical"),
    }
}

fn describe(attributes: &mut Attributes, record: &Record) {
    attributes.text("refresh_audit.hash", Some(&record.hash));
    attributes.text("refresh_audit.journal", Some(&record.journal));
    attributes.text("refresh_audit.node", Some(&record.node));
    attributes.text("refresh_audit.kind", Some(record.kind.as_str()));
    attributes.text("refresh_audit.source", record.source.as_deref());
    if let Some(event) = &record.event {
        describe_event(attributes, event);
    }
    let rules = || record.findings.iter().map(|finding| &*finding.rule);
    attributes.texts("refresh_audit.findings.rules", rules());
    attributes.texts(
        "refresh_audit.findings.attack",
        record.findings.iter().flat_map(|finding| finding.attack.iter().map(|technique| &**technique)),
    );
    attributes.number("refresh_audit.risk", record.verdict.as_ref().and_then(|verdict| verdict.risk));
    if let Some(alarm) = &record.alarm {
        attributes.text("refresh_audit.alarm.name", Some(&alarm.name));
        attributes.text("refresh_audit.alarm.subject", alarm.subject.as_deref());
        attributes.text("refresh_audit.alarm.state", Some(alarm.state.as_str()));
    }
    if let Some(incident) = &record.incident {
        attributes.text("refresh_audit.incident.id", Some(&incident.id));
        attributes.text("refresh_audit.incident.change", Some(incident.change.as_str()));
        attributes.texts("refresh_audit.incident.rules", incident.rules.iter().map(|rule| &**rule));
        attributes.text("user.id", incident.user_id.as_ref().map(|id| id.as_str()));
        attributes.text("session.id", incident.session_id.as_ref().map(|id| id.as_str()));
        attributes.text("client.address", incident.ip.as_deref());
    }
    if record.kind == Kind::Replay
        && let Some(replay) = &record.replay
    {
        attributes.count("refresh_audit.replay.of", replay.of);
    }
}

fn describe_event(attributes: &mut Attributes, event: &RefreshEvent) {
    let user = event.user_id.as_ref().map(|id| id.as_str());
    attributes.text("user.id", user);
    attributes.text("enduser.id", user);
    attributes.text("session.id", event.session_id.as_ref().map(|id| id.as_str()));
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
    attributes.text("refresh_audit.event.id", Some(event.id.as_str()));
    attributes.text("refresh_audit.event.type", Some(&event.kind));
    attributes.text("refresh_audit.event.outcome", Some(event.outcome.as_str()));
    attributes.text("refresh_audit.tenant.id", event.tenant_id.as_ref().map(|id| id.as_str()));
    attributes.text("refresh_audit.application.id", event.application_id.as_ref().map(|id| id.as_str()));
}

/// ISO 3166-1 alpha-2, as the convention asks; senders also write names.
fn is_iso_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

