//! Records in the protocol's form, and what its answers mean.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, any_value::Value},
};

use super::*;
use crate::{
    record::{Head, Record},
    sink::SinkError,
};

/// `received_at` is 1,795,329,600.123456 s after 1970 (`date -u -d 2026-11-22T06:40:00Z +%s`).
fn message(event: &str, more: &str) -> Message {
    let line = format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"audit-1","seq":7,"kind":"event","received_at":"2026-11-22T06:40:00.123456Z","source":"fusionauth","event":{{{event}"id":"e-1","type":"jwt.refresh","outcome":"attempted"}},{more}"prev":"00","hash":"ab"}}"#
    );
    serde_json::from_str::<Record>(&line).unwrap();
    let head = Head::read(line.as_bytes()).unwrap();
    Message {
        seq: 7,
        kind: head.kind,
        key: "e-1".to_owned(),
        head: head.keep(),
        line: line.clone().into(),
        body: line.clone().into(),
        media_type: "application/json",
    }
}

/// As another implementation reads it.
fn request(message: Message, host: &str) -> ExportLogsServiceRequest {
    let packed = records::pack().packed([message]);
    ExportLogsServiceRequest::decode(&*records::request(&packed, host).concat()).unwrap()
}

const OCCURRED: &str = r#""occurred_at":"2026-11-22T06:39:59.000Z","#;

fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) })
}

#[test]
fn a_record_is_one_log_record_of_one_resource() {
    let event = format!(
        r#"{OCCURRED}"user_id":"u","session_id":"s","tenant_id":"t","application_id":"a","ip":"192.0.2.7","user_agent":"curl | = \" \u0001","location":{{"city":"Zürich","country":"CH","zipcode":"8001","latitude":47.4,"longitude":8.5}},"network":{{"asn":64500,"labels":["vpn"]}},"client":{{"browser":"curl","version":"8","os":"Linux"}},"#
    );
    let findings = r#""findings":[{"rule":"RA101","name":"n","severity":"low","reason":"r","incident":"00"},{"rule":"RA203","name":"n","severity":"critical","reason":"r","attack":["T1550.001"],"incident":"11"}],"verdict":{"action":"allow","would":"deny","risk":0.5},"#;
    let message = message(&event, findings);
    let request = request(message.clone(), "host-1");
    let [resource] = &request.resource_logs[..] else { panic!("{request:?}") };
    let named = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str| {
        let found: Vec<_> = attributes.iter().filter(|attribute| attribute.key == key).collect();
        assert_eq!(found.len(), 1, "{key}");
        found[0].value.clone()
    };
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    for (key, value) in
        [("service.name", "refresh-audit"), ("service.version", env!("CARGO_PKG_VERSION")), ("host.name", "host-1")]
    {
        assert_eq!(named(attributes, key), text(value), "{key}");
    }
    assert_eq!(resource.scope_logs[0].scope.as_ref().unwrap().name, "refresh_audit");
    let [log] = &resource.scope_logs[0].log_records[..] else { panic!("{request:?}") };
    assert_eq!(log.event_name, "refresh_audit.event");
    assert_eq!(
        (log.time_unix_nano, log.observed_time_unix_nano),
        (1_795_329_599_000_000_000, 1_795_329_600_123_456_000)
    );
    // 21 is FATAL in the data model's table.
    assert_eq!((log.severity_number, &*log.severity_text), (21, "critical"));
    assert_eq!(log.body, text(std::str::from_utf8(&message.line).unwrap()), "byte for byte, for its hash");
    for (key, value) in [
        ("log.record.uid", "e-1"),
        ("refresh_audit.key", "e-1"),
        ("refresh_audit.hash", "ab"),
        ("refresh_audit.journal", "3f9a1c2e"),
        ("refresh_audit.source", "fusionauth"),
        ("user.id", "u"),
        ("enduser.id", "u"),
        ("session.id", "s"),
        ("client.address", "192.0.2.7"),
        ("user_agent.original", "curl | = \" \u{1}"),
        ("user_agent.name", "curl"),
        ("user_agent.version", "8"),
        ("geo.locality.name", "Zürich"),
        ("geo.country.iso_code", "CH"),
        ("geo.postal_code", "8001"),
        ("refresh_audit.event.outcome", "attempted"),
        ("refresh_audit.verdict.action", "allow"),
        ("refresh_audit.verdict.would", "deny"),
        // Of the worst finding, which is the second.
        ("refresh_audit.incident.id", "11"),
    ] {
        assert_eq!(named(&log.attributes, key), text(value), "{key}");
    }
    for (key, value) in [
        ("refresh_audit.seq", Value::IntValue(7)),
        ("refresh_audit.network.asn", Value::IntValue(64_500)),
        ("geo.location.lat", Value::DoubleValue(47.4)),
        ("refresh_audit.risk", Value::DoubleValue(0.5)),
    ] {
        assert_eq!(named(&log.attributes, key).unwrap().value, Some(value), "{key}");
    }
    for (key, values) in
        [("refresh_audit.findings.rules", ["RA101", "RA203"]), ("refresh_audit.findings.incidents", ["11", "00"])]
    {
        let Some(Value::ArrayValue(found)) = named(&log.attributes, key).unwrap().value else { panic!("no {key}") };
        assert_eq!(found.values.into_iter().map(Some).collect::<Vec<_>>(), values.map(text), "{key}");
    }
}

/// What the record says of its own instant decides, as in every format: `received_at` where that is `clock_skew`.
#[test]
fn an_instant_that_cannot_be_believed_is_not_told_and_what_is_unknown_is_absent() {
    let skewed = r#""evidence":{"clock_skew":true},"#;
    for (occurred, evidence, nanos) in [
        ("2019-08-26T18:08:28.643Z", skewed, 1_795_329_600_123_456_000),
        ("2027-01-01T00:00:00.000Z", skewed, 1_795_329_600_123_456_000),
        // 1,795,329,599 s: a second before.
        ("2026-11-22T06:39:59.000Z", "", 1_795_329_599_000_000_000),
    ] {
        let event = format!(r#""occurred_at":"{occurred}","location":{{"country":"Switzerland"}},"#);
        let request = request(message(&event, evidence), "");
        let log = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(log.time_unix_nano, nanos, "{occurred}");
        assert_eq!(log.observed_time_unix_nano, 1_795_329_600_123_456_000);
        // 9 is INFO.
        assert_eq!((log.severity_number, &*log.severity_text), (9, "info"));
        assert!(!log.attributes.iter().any(|attribute| attribute.key.starts_with("geo.")), "a name is no ISO code");
        assert!(!request.resource_logs[0].resource.as_ref().unwrap().attributes.iter().any(|a| a.key == "host.name"));
    }
}

#[test]
fn the_path_is_put_behind_a_base_address() {
    for (endpoint, url) in [
        ("https://a.example.com:4318", "https://a.example.com:4318/v1/logs"),
        ("https://a.example.com/", "https://a.example.com/v1/logs"),
        ("https://a.example.com/otlp/", "https://a.example.com/otlp/v1/logs"),
        ("https://a.example.com/otlp/v1/logs", "https://a.example.com/otlp/v1/logs"),
    ] {
        assert_eq!(logs_url(&Url::parse(endpoint).unwrap()).as_str(), url);
    }
}

fn client() -> HttpClient {
    let connect =
        Connect { url: "http://127.0.0.1/", timeout: timeout(), allow_http: false, tls: TlsFiles::default() };
    connect.build(Path::new("/")).unwrap()
}

#[test]
fn only_the_protocols_own_statuses_pass_by_themselves() {
    let answer = |status: u16, body: &[u8]| Answer {
        status: reqwest::StatusCode::from_u16(status).unwrap(),
        after: Some(std::time::Duration::from_secs(7)),
        ack: Ack::none(),
        body: body.to_vec(),
        unread: None,
    };
    // google.rpc.Status { code: 3, message: "bad shape" }, byte by byte.
    let status = [&[0x08, 3, 0x12, 9][..], b"bad shape"].concat();
    for code in [429, 502, 503, 504] {
        let error = taken(&client(), answer(code, &status)).unwrap_err();
        let SinkError::Retry { reason, after, fault: false } = error else { panic!("{code}: {error:?}") };
        assert!(reason.ends_with(": bad shape") && after.is_some(), "{reason}");
    }
    for code in [400, 413, 422] {
        assert!(matches!(taken(&client(), answer(code, b"x")).unwrap_err(), SinkError::Refused { .. }), "{code}");
    }
    for code in [301, 401, 403, 404, 405, 408, 415, 500, 501, 505] {
        let error = taken(&client(), answer(code, b"x")).unwrap_err();
        assert!(matches!(error, SinkError::Retry { fault: true, .. }), "{code}: {error:?}");
    }
}

#[test]
fn grpc_codes_mean_what_the_protocols_table_says() {
    use tonic::{Code, Status};
    let meaning = |code, details: Vec<u8>, records| {
        grpc::meaning(&Status::with_details(code, "m", details.into()), &client(), records)
    };
    use Code::{
        Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument,
        NotFound, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented,
        Unknown,
    };
    for code in [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss] {
        assert!(matches!(meaning(code, vec![], 5), SinkError::Retry { fault: false, .. }), "{code:?}");
    }
    for code in [InvalidArgument, FailedPrecondition, AlreadyExists] {
        assert!(matches!(meaning(code, vec![], 5), SinkError::Refused { .. }), "{code:?}");
    }
    for code in [Unknown, Internal, Unimplemented, NotFound, PermissionDenied, Unauthenticated] {
        assert!(matches!(meaning(code, vec![], 5), SinkError::Retry { fault: true, .. }), "{code:?}");
    }
    // RESOURCE_EXHAUSTED: with RetryInfo { retry_delay: 90 s } it passes; without one a batch may be too large.
    let info = [&[0x0a, 2, 0x08, 90][..]].concat();
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let any = [&[0x0a, 40][..], url, &[0x12, 4], &info].concat();
    let details = [&[0x1a, u8::try_from(any.len()).unwrap()][..], &any].concat();
    let SinkError::Retry { after, fault: false, .. } = meaning(ResourceExhausted, details, 5) else { panic!() };
    assert_eq!(after, Some(std::time::Duration::from_secs(90)));
    assert!(matches!(meaning(ResourceExhausted, vec![], 5), SinkError::Refused { .. }));
    assert!(matches!(meaning(ResourceExhausted, vec![], 1), SinkError::Retry { fault: false, .. }));
}
