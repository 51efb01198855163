//! What people get: words, and how often.

use std::{fs, path::Path, time::Duration};

use refresh_audit::{
    deliver::{DeliveryConfig, SinkState, Status, probe::probe},
    record::{Head, Kind, Record},
    sink::{Ack, AnySink, Message, Sink, SinkConfig, SinkError},
};
use serde_json::Value;

use crate::{
    fake_http::{FakeHttp, Reply},
    journal::World,
    scripted::{CONFIG, Scripted, accept, counts, raised},
    sinks::told_seqs,
};

pub const CASES: &str = "fixtures/sinks/people";
pub const LINK: &str = "link = 'https://audit.example.com/incidents/{id}'";

pub fn build(base: &Path, kind: &str, members: &str) -> AnySink {
    let config = SinkConfig::parse(kind, toml::Deserializer::parse(members).unwrap()).unwrap();
    config.build(base).unwrap()
}

pub fn refused(base: &Path, kind: &str, members: &str) -> String {
    let config = SinkConfig::parse(kind, toml::Deserializer::parse(members).unwrap());
    match config
        .map_err(|error| error.to_string())
        .and_then(|config| config.build(base).map_err(|error| error.to_string()))
    {
        Ok(_) => panic!("taken: {members}"),
        Err(error) => error,
    }
}

/// The record of a case.
pub fn case(name: &str) -> Message {
    let line = fs::read_to_string(format!("{CASES}/{name}.json")).unwrap().trim_end().to_owned();
    let record: Record = serde_json::from_str(&line).unwrap();
    let key = format!("{}-{}", record.journal, record.seq);
    let head = Head::read(line.as_bytes()).unwrap().keep();
    Message {
        seq: record.seq,
        kind: record.kind,
        key,
        head,
        line: line.clone().into(),
        body: line.into(),
        media_type: "application/json",
    }
}

pub fn cases() -> Vec<String> {
    let names = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| name.matches('.').count() == 1)
        .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    assert_eq!(names.len(), 6, "{names:?}");
    names
}

/// A server and a sink that posts to it.
async fn posting(kind: &str, more: &str) -> (FakeHttp, tempfile::TempDir, AnySink) {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/hooks/fixture-path-secret?sig=fixture-sig", server.address);
    fs::write(dir.path().join("url"), format!("{url}\n")).unwrap();
    fs::write(dir.path().join("key"), "fixture-routing-key\n").unwrap();
    let members = match kind {
        "pagerduty" => {
            format!("url = 'http://{}/v2/enqueue'\nrouting_key_file = 'key'\n{LINK}\n{more}", server.address)
        }
        _ => format!("url_file = 'url'\n{LINK}\n{more}"),
    };
    let sink = build(dir.path(), kind, &members);
    (server, dir, sink)
}

#[tokio::test]
async fn every_case_reads_as_written_by_hand() {
    let (mut compared, mut silent) = (0, 0);
    for kind in ["slack", "teams", "pagerduty"] {
        let (server, _dir, sink) = posting(kind, "").await;
        for name in cases() {
            let before = server.requests().len();
            sink.deliver(&[case(&name)]).await.unwrap();
            let requests = server.requests().split_off(before);
            match fs::read_to_string(format!("{CASES}/{name}.{kind}.json")) {
                Ok(expected) => {
                    let [request] = &requests[..] else { panic!("{name} {kind}: {requests:?}") };
                    let expected: Value = serde_json::from_str(&expected).unwrap();
                    let sent: Value = serde_json::from_str(&request.body).unwrap();
                    assert_eq!(sent, expected, "{name} {kind}\n{sent:#}");
                    assert_eq!((&*request.method, &*request.headers["content-type"]), ("POST", "application/json"));
                    compared += 1;
                }
                Err(_) => {
                    assert!(requests.is_empty(), "{name} {kind}: {requests:?}");
                    silent += 1;
                }
            }
        }
    }
    assert_eq!((compared, silent), (15, 3));
}

#[tokio::test]
async fn without_resolved_nobody_is_told_that_it_is_over() {
    for kind in ["slack", "teams"] {
        let (server, _dir, sink) = posting(kind, "resolved = false").await;
        let batch: Vec<_> = cases().iter().map(|name| case(name)).collect();
        sink.deliver(&batch).await.unwrap();
        let seqs: Vec<_> = server.requests().iter().flat_map(|request| told_seqs(&request.body)).collect();
        assert_eq!(seqs, [21, 19, 17], "{kind}");
    }
}

#[tokio::test]
async fn what_was_told_is_not_told_again_when_the_rest_fails() {
    let (server, _dir, sink) = posting("slack", "").await;
    server.script(|request| match told_seqs(&request.body)[..] {
        [2] => Reply::Status(400, "", "invalid_blocks"),
        [4] => Reply::Status(429, "retry-after: 1\r\n", "rate_limited"),
        _ => Reply::OK,
    });
    let mut world = World::new();
    for name in ["clock_jump", "disk_low", "damage_found", "index_abandoned", "jwks_stale"] {
        world.alarm(name);
    }
    let running = world.start("chat", "batch.wait = '0ms'", sink);
    running.until("an error", |status| status.last_error.is_some()).await;
    server.script(|_| Reply::OK);
    let status = running.drained().await;
    running.stop().await;
    assert_eq!((status.delivered, status.parked), (4, 1));
    let seqs: Vec<_> = server.accepted().iter().flat_map(|request| told_seqs(&request.body)).collect();
    assert_eq!(seqs, [1, 3, 4, 5]);
}

#[tokio::test]
async fn the_address_is_a_secret() {
    let (server, dir, sink) = posting("slack", "").await;
    server.script(|_| Reply::Status(404, "", "no_service at /hooks/fixture-path-secret"));
    let error = sink.deliver(&[case("alarm-raised")]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Retry { fault: true, reason, .. } if reason.contains("404")), "{error}");
    assert!(!error.to_string().contains("fixture"), "{error}");
    for (members, said) in [
        ("", "url_file"),
        ("url_file = 'none'", "none"),
        ("url = 'https://hooks.slack.com/services/fixture'", "unknown field"),
        ("url_file = 'http'", "clear"),
        ("url_file = 'url'\nlink = 'javascript:alert(1)'", "link"),
        ("url_file = 'url'\nlink = 'https://audit.example.com/|x>'", "link"),
        ("url_file = 'url'\nmessages_per_hour = 0", "nonzero"),
    ] {
        fs::write(dir.path().join("http"), "http://192.0.2.1/hooks/fixture-path-secret").unwrap();
        for kind in ["slack", "teams"] {
            let error = refused(dir.path(), kind, members);
            assert!(error.contains(said) && !error.contains("fixture-path-secret"), "{members}: {error}");
        }
    }
    assert!(refused(dir.path(), "pagerduty", "").contains("routing_key_file"));
}

#[tokio::test]
async fn a_wrong_routing_key_is_not_the_records_fault() {
    let (server, _dir, sink) = posting("pagerduty", "").await;
    // The documented answer.
    let said = r#"{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect (should be 32 characters)"]}"#;
    server.script(move |_| Reply::Status(400, "", said));
    let error = sink.deliver(&[case("alarm-raised")]).await.unwrap_err();
    assert!(matches!(error, SinkError::Retry { fault: true, .. }), "{error}");
    server
        .script(|_| Reply::Status(400, "", r#"{"status":"invalid event","errors":["'payload.summary' is missing"]}"#));
    let error = sink.deliver(&[case("alarm-raised")]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Reject { refused, .. } if refused[0].0 == 21), "{error}");
}

#[tokio::test]
async fn over_the_cap_one_alert_is_triggered_and_resolves_still_go_out() {
    let (server, _dir, sink) = posting("pagerduty", "messages_per_hour = 1").await;
    let batch = ["incident-opened", "incident-escalated", "alarm-raised", "incident-closed"].map(case);
    sink.deliver(&batch).await.unwrap();
    let sent: Vec<(String, String)> = server
        .requests()
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            (body["event_action"].as_str().unwrap().to_owned(), body["dedup_key"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [
        ("trigger", "00112233445566ff"),
        ("trigger", "audit-1/more-than-the-cap"),
        ("trigger", "audit-1/more-than-the-cap"),
        ("resolve", "00112233445566ff"),
    ];
    assert_eq!(sent, expected.map(|(action, key)| (action.to_owned(), key.to_owned())));
}

/// What a test opened is over with it.
#[tokio::test]
async fn checking_leaves_no_alert_open() {
    let (server, _dir, sink) = posting("pagerduty", "").await;
    sink.check(&probe("n", "on-call", &DeliveryConfig::default(), &sink).unwrap()).await.unwrap();
    let sent: Vec<Value> =
        server.requests().iter().map(|request| serde_json::from_str(&request.body).unwrap()).collect();
    let [trigger, resolve] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&trigger["event_action"], &resolve["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!((&trigger["dedup_key"], &trigger["routing_key"]), (&resolve["dedup_key"], &resolve["routing_key"]));
}

/// A sink for people gets incidents and alarms, without being told; what is over the cap stays pending, without an alarm.
#[tokio::test]
async fn the_cap_holds_records_in_the_journal() {
    let (server, _dir, sink) = posting("slack", "messages_per_hour = 2").await;
    let mut world = World::new();
    world.events(3);
    for name in ["clock_jump", "disk_low", "damage_found", "index_abandoned"] {
        world.alarm(name);
    }
    let running = world.start("chat", "batch = { records = 3, wait = '0ms' }", sink);
    let status = running.until("waiting", |status| status.state == SinkState::Waiting).await;
    // Two alarms were told, then that more is to come.
    assert_eq!((status.skipped, status.delivered, status.pending), (3, 2, 2));
    assert!(status.last_error.unwrap().contains("cap"), "says why it waits");
    assert!(world.context.alarms.raised().is_empty());
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let last: Value = serde_json::from_str(&requests[2].body).unwrap();
    assert!(last["text"].as_str().unwrap().starts_with("More than 2 messages within an hour: "), "{last}");
    assert!(last["text"].as_str().unwrap().contains("Alarm raised: damage_found"), "{last}");
    // Stopping does not wait for the hour.
    let stopped = running.stop().await;
    assert_eq!((stopped.recorded, stopped.pending), (7, 2));
    assert_eq!(server.requests().len(), 3);
    // What was told is not told again after it.
    let (server, _dir, sink) = posting("slack", "messages_per_hour = 2").await;
    let running = world.start("chat", "batch = { records = 3, wait = '0ms' }", sink);
    running.drained().await;
    running.stop().await;
    let seqs: Vec<_> = server.requests().iter().flat_map(|request| told_seqs(&request.body)).collect();
    assert_eq!(seqs, [6, 7]);
}

#[tokio::test]
async fn what_was_put_off_comes_with_all_that_came_since() {
    let mut world = World::new();
    world.events(3);
    let sink = Scripted::new(|batch| {
        let again = batch[1..].iter().map(|message| message.seq).collect();
        let (reason, after) = ("the cap".to_owned(), Duration::from_millis(500));
        Err(SinkError::Later { again, refused: Vec::new(), ack: Ack::none(), reason, after })
    });
    let running = world.start("s", CONFIG, sink.clone());
    let status = running.until("waiting", |status| status.state == SinkState::Waiting).await;
    assert_eq!(counts(&status), [1, 0, 0, 0, 0, 2]);
    sink.now(accept);
    world.events(3);
    running.drained().await;
    assert_eq!(*sink.calls.lock().unwrap(), [vec![1, 2, 3], vec![2, 3, 4, 5], vec![6]]);
}

/// At the cap nobody is asked, so what counts in it without being taken must not end the alarm each hour.
#[tokio::test]
async fn what_is_put_off_ends_no_alarm_unless_something_was_taken() {
    let mut world = World::new();
    world.events(3);
    let put_off = |batch: &[Message], from: usize| {
        let again = batch[from..].iter().map(|message| message.seq).collect();
        let (reason, after) = ("the cap".to_owned(), Duration::from_millis(500));
        Err(SinkError::Later { again, refused: Vec::new(), ack: Ack::none(), reason, after })
    };
    let capped = |status: &Status| status.last_error.as_ref().is_some_and(|error| error.contains("the cap"));
    let sink = Scripted::new(|_| Err(SinkError::fault("no such mailbox")));
    let running = world.start("s", CONFIG, sink.clone());
    running.until("stuck", |status| status.state == SinkState::Stuck).await;
    sink.now(move |batch| put_off(batch, 0));
    let status = running.until("the cap", capped).await;
    assert_eq!((status.state, raised(&world)), (SinkState::Stuck, vec!["sink_stuck".to_owned()]));
    sink.now(move |batch| put_off(batch, 1));
    // The count moves before the alarm ends, and the state after it.
    let status = running.until("one taken", |status| status.state == SinkState::Waiting).await;
    assert_eq!((status.delivered, capped(&status), raised(&world)), (1, true, vec![]));
    sink.now(accept);
    running.drained().await;
}

#[test]
fn these_sinks_are_for_incidents_and_alarms() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("s"), "https://hooks.example.invalid/fixture").unwrap();
    for (kind, members) in [
        ("slack", "url_file = 's'"),
        ("teams", "url_file = 's'"),
        ("pagerduty", "routing_key_file = 's'"),
        #[cfg(feature = "smtp")]
        ("smtp", "server = 'mail'\nfrom = 'a@example.invalid'\nto = 'b@example.invalid'"),
    ] {
        assert_eq!(build(dir.path(), kind, members).kinds(), Some(&[Kind::Incident, Kind::Alarm][..]), "{kind}");
    }
    assert_eq!(build(dir.path(), "file", "path = 'f'").kinds(), None);
    // Nobody reads signatures.
    let config: DeliveryConfig = toml::from_str("checkpoints = true").unwrap();
    let error = config.suits(&build(dir.path(), "slack", "url_file = 's'")).unwrap_err().to_string();
    assert!(error.contains("for people"), "{error}");
    config.suits(&build(dir.path(), "file", "path = 'f'")).unwrap();
}
