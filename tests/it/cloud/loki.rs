//! Grafana Loki: streams, instants, and what stands beside a line.

use refresh_audit::{record::Kind, time::ReceivedAt};
use serde_json::{Value, json};

use super::{ALARM, EVENT, FINDING, message, sent};

/// That is over: as bad as it was.
const INCIDENT: &str = r#""incident":{"id":"11","change":"closed","key":{"kind":"session","value":"s"},"severity":"critical","rules":["RA101","RA401"],"findings":2,"events":1,"first_seen":"2026-11-22T06:40:00.123456Z","last_seen":"2026-11-22T06:40:00.123456Z","first_seq":9,"last_seq":9,"tenant_id":"t","application_id":"a","user_id":"u","session_id":"s","ip":"192.0.2.7","summary":"x"},"#;

#[tokio::test]
async fn loki_gets_streams_with_instants_and_metadata() {
    let now = ReceivedAt::wall();
    let half_an_hour_ago = ReceivedAt::from_micros(now.micros() - 1_800_000_000).to_string();
    let at = now.to_string();
    let batch = [
        message(7, Kind::Event, &at, EVENT),
        message(8, Kind::Alarm, &at, ALARM),
        message(9, Kind::Event, &at, &format!("{EVENT}{FINDING}")),
        message(10, Kind::Event, &half_an_hour_ago, EVENT),
        message(11, Kind::Event, "2020-01-01T00:00:00.000000Z", EVENT),
        message(12, Kind::Incident, &at, INCIDENT),
    ];
    let request =
        sent("preset = 'loki'\nurl = 'URL'\nlabels = { env = 'prod' }\nheaders = { X-Scope-OrgID = 'blue' }", &batch)
            .await;
    assert_eq!((&*request.target, &*request.headers["x-scope-orgid"]), ("/loki/api/v1/push", "blue"));
    assert_eq!(request.headers["content-type"], "application/json");
    let mut body: Value = serde_json::from_str(&request.body).unwrap();
    let (nanos, sent) = (format!("{}000", now.micros()), ReceivedAt::wall());
    // Loki takes neither what is older than a week nor what is an hour behind its stream: both are shown when they come.
    let mut last = i128::from(now.micros()) * 1_000 - 1;
    for old in [2, 3] {
        let shown = body["streams"][0]["values"][old][0].take();
        let shown: i128 = shown.as_str().unwrap().parse().unwrap();
        assert!(last < shown && shown < i128::from(sent.micros() + 1) * 1_000, "{shown}");
        last = shown;
    }
    let line = |at: usize| std::str::from_utf8(&batch[at].line).unwrap();
    // Grafana's words for levels, and ours beside.
    let metadata = |seq: u64, at: &str| {
        json!({"seq": seq.to_string(), "key": format!("k-{seq}"), "hash": "ab", "journal": "3f9a1c2e", "received_at": at,
               "level": "info", "severity": "info",
               "source": "fusionauth", "user_id": "u", "session_id": "s", "ip": "192.0.2.7"})
    };
    let mut found = metadata(9, &at);
    for (name, value) in [
        ("level", "error"),
        ("severity", "high"),
        ("rules", "RA401,RA101"),
        // The worst finding's.
        ("incident", "11"),
        ("verdict", "allow"),
        ("would", "deny"),
    ] {
        found[name] = value.into();
    }
    let incident = json!({"seq": "12", "key": "k-12", "hash": "ab", "journal": "3f9a1c2e", "received_at": at,
        "level": "critical", "severity": "critical", "rules": "RA101,RA401", "incident": "11",
        "tenant_id": "t", "application_id": "a", "user_id": "u", "session_id": "s", "ip": "192.0.2.7"});
    let alarm = json!({"seq": "8", "key": "k-8", "hash": "ab", "journal": "3f9a1c2e", "received_at": at,
        "level": "error", "severity": "high", "alarm": "disk_low"});
    let stream = |kind: &str| json!({"service_name": "refresh-audit", "node": "audit-1", "kind": kind, "env": "prod"});
    let expected = json!({"streams": [
        {"stream": stream("event"),
         "values": [[nanos, line(0), metadata(7, &at)], [nanos, line(2), found],
                    [null, line(3), metadata(10, &half_an_hour_ago)],
                    [null, line(4), metadata(11, "2020-01-01T00:00:00.000000Z")]]},
        {"stream": stream("alarm"), "values": [[nanos, line(1), alarm]]},
        {"stream": stream("incident"), "values": [[nanos, line(5), incident]]},
    ]});
    assert_eq!(body, expected);
}
