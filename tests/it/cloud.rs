//! Services of vendors, each as its documentation has it: Azure's Logs Ingestion API, Datadog, Sumo Logic, Loki.

mod loki;

use std::{fs, path::Path, time::Duration};

use refresh_audit::{
    record::{Head, Kind},
    sink::{AnySink, Message, Sink, SinkConfig, SinkError},
    time::ReceivedAt,
};
use serde_json::{Value, json};

use crate::{
    fake_http::{FakeHttp, Reply, Request},
    journal::World,
};

fn parsed(kind: &str, members: &str) -> SinkConfig {
    SinkConfig::parse(kind, toml::Deserializer::parse(members).unwrap()).unwrap()
}

fn error_of(kind: &str, base: &Path, members: &str) -> String {
    let Err(error) = parsed(kind, members).build(base) else { panic!("taken: {members}") };
    error.to_string()
}

/// 1,795,329,600.123456 s after 1970 is 2026-11-22T06:40:00.123456Z (`date -u -d @1795329600`).
fn message(seq: u64, kind: Kind, received: &str, more: &str) -> Message {
    let line = format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"audit-1","seq":{seq},"kind":"{}","received_at":"{received}",{more}"prev":"00","hash":"ab"}}"#,
        kind.as_str()
    );
    let head = Head::read(line.as_bytes()).unwrap().keep();
    Message {
        seq,
        kind,
        key: format!("k-{seq}"),
        head,
        line: line.clone().into(),
        body: line.into(),
        media_type: "application/json",
    }
}

const AT: &str = "2026-11-22T06:40:00.123456Z";
const EVENT: &str = r#""source":"fusionauth","event":{"id":"e","type":"jwt.refresh","occurred_at":"2026-11-22T06:39:59.000Z","outcome":"attempted","user_id":"u","session_id":"s","ip":"192.0.2.7"},"#;
const FINDING: &str = r#""findings":[{"rule":"RA401","name":"n","severity":"low","reason":"r","incident":"00"},{"rule":"RA101","name":"n","severity":"high","reason":"r","incident":"11"}],"verdict":{"action":"allow","would":"deny","risk":0.5},"#;
const ALARM: &str = r#""alarm":{"name":"disk_low","state":"raised","message":"m"},"#;

/// Answers a request for a token with a new one each time.
fn token(request: &Request, number: usize) -> Option<Reply> {
    let granted = format!(
        r#"{{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"fixture-{number}"}}"#
    );
    request
        .target
        .ends_with("/token")
        .then(|| Reply::Bytes(200, "content-type: application/json\r\n", granted.into_bytes()))
}

fn azure(server: &FakeHttp, base: &Path, more: &str) -> AnySink {
    fs::write(base.join("secret"), "fixture secret/+&=\n").unwrap();
    let members = format!(
        "endpoint = 'http://{0}'\nauthority = 'http://{0}'\nrule_id = 'dcr-000a00a000a00000a000000aa000a0aa'\n\
         stream = 'Custom-RefreshAudit_CL'\ntenant_id = '11111111-2222-3333-4444-555555555555'\n\
         client_id = 'fixture-client'\nclient_secret_file = 'secret'\n{more}",
        server.address
    );
    parsed("azure_logs", &members).build(base).unwrap()
}

#[tokio::test]
async fn an_azure_call_is_as_documented() {
    let server = FakeHttp::new().await;
    server.script(|request| token(request, 1).unwrap_or(Reply::Status(204, "", "")));
    server.up();
    let dir = tempfile::tempdir().unwrap();
    let sink = azure(&server, dir.path(), "");
    let mut text = message(9, Kind::Alarm, AT, ALARM);
    text.body = "CEF:0|a\\|b|\"".into();
    text.media_type = "text/plain; charset=utf-8";
    let later = message(8, Kind::Alarm, "2026-11-22T06:40:01.000000Z", ALARM);
    let batch = sink.pack().packed([message(7, Kind::Event, AT, EVENT), later, text]);
    let ack = sink.deliver(&batch).await.unwrap();
    assert!(ack.text.starts_with("204"), "{ack:?}");
    sink.deliver(&batch[..1]).await.unwrap();
    let requests = server.requests();
    let [asked, call, second] = &requests[..] else { panic!("one token for both: {requests:?}") };
    // The client credentials grant, first request with a shared secret.
    assert_eq!((&*asked.method, &*asked.target), ("POST", "/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token"));
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let form: std::collections::BTreeMap<_, _> =
        asked.body.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_id"], "fixture-client");
    assert_eq!(form["client_secret"], "fixture+secret%2F%2B%26%3D");
    assert_eq!(form["scope"], "https%3A%2F%2Fmonitor.azure.com%2F.default");
    // Upload: the path, the version, a bearer token, an array of objects, gzip allowed.
    assert_eq!(
        (&*call.method, &*call.target),
        (
            "POST",
            "/dataCollectionRules/dcr-000a00a000a00000a000000aa000a0aa/streams/Custom-RefreshAudit_CL?api-version=2023-01-01"
        )
    );
    for (name, value) in
        [("authorization", "Bearer fixture-1"), ("content-type", "application/json"), ("content-encoding", "gzip")]
    {
        assert_eq!(call.headers[name], value);
    }
    let records: Vec<Value> = serde_json::from_str(&call.body).unwrap();
    assert_eq!(records[0]["TimeGenerated"], AT);
    assert_eq!(
        (&records[0]["seq"], &records[0]["hash"], &records[0]["event"]["user_id"]),
        (&7.into(), &"ab".into(), &"u".into())
    );
    assert_eq!(records[1]["TimeGenerated"], "2026-11-22T06:40:01.000000Z");
    assert_eq!(records[2], json!({"TimeGenerated": AT, "Message": "CEF:0|a\\|b|\""}));
    assert_eq!(records.len(), 3);
    assert_eq!(second.headers["authorization"], "Bearer fixture-1");
}

#[tokio::test]
async fn a_token_that_is_not_taken_any_more_is_fetched_once_again() {
    let server = FakeHttp::new().await;
    let tokens = std::sync::atomic::AtomicUsize::new(0);
    server.script(move |request| {
        if request.target.ends_with("/token") {
            return token(request, tokens.fetch_add(1, std::sync::atomic::Ordering::SeqCst)).unwrap();
        }
        match request.headers["authorization"].as_str() {
            "Bearer fixture-1" => Reply::Status(204, "", ""),
            _ => Reply::Status(401, "", r#"{"error":{"code":"InvalidToken","message":"expired"}}"#),
        }
    });
    server.up();
    let dir = tempfile::tempdir().unwrap();
    let sink = azure(&server, dir.path(), "");
    let batch = sink.pack().packed([message(7, Kind::Event, AT, EVENT)]);
    sink.deliver(&batch).await.unwrap();
    assert_eq!(server.requests().iter().map(|request| request.status).collect::<Vec<_>>(), [200, 401, 200, 204]);
    // It is a secret as long as it is used.
    server.script(|request| {
        let said = format!("denied for {}", request.headers.get("authorization").map_or("", |value| value));
        token(request, 10_001).unwrap_or(Reply::Bytes(403, "", said.into_bytes()))
    });
    let error = sink.deliver(&batch).await.unwrap_err().to_string();
    assert!(error.contains("denied for") && !error.contains("fixture"), "{error}");
    // Where no token helps, it is asked for once a delivery, and somebody has to mend it.
    server.script(|request| token(request, 9).unwrap_or(Reply::Status(401, "", "no fixture-9")));
    let before = server.requests().len();
    let error = sink.deliver(&batch).await.unwrap_err();
    assert!(matches!(error, SinkError::Retry { fault: true, .. }), "{error}");
    assert_eq!(server.requests().len() - before, 3, "call, token, call");
}

#[tokio::test]
async fn an_authority_that_refuses_is_nobodys_record() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    let sink = azure(&server, dir.path(), "");
    let batch = sink.pack().packed([message(7, Kind::Event, AT, EVENT)]);
    for (status, fault) in [(400, true), (401, true), (404, true), (429, false), (503, false)] {
        server.script(move |_| {
            Reply::Status(status, "retry-after: 7\r\n", r#"{"error":"invalid_client","echo":"fixture secret/+&="}"#)
        });
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(!error.to_string().contains("secret/"), "{error}");
        let SinkError::Retry { after, fault: said, .. } = error else { panic!("{error}") };
        assert_eq!((after, said), (Some(Duration::from_secs(7)), fault), "{status}");
    }
    server.script(|request| Reply::Bytes(400, "", format!("bad: {}", request.body).into_bytes()));
    let error = sink.deliver(&batch).await.unwrap_err().to_string();
    assert!(error.contains("bad: grant_type") && !error.contains("secret%2F"), "{error}");
    // A 200 without a token, or with one that fits no header.
    for body in ["{}", r#"{"access_token":"a\nb"}"#, "no json fixture-token"] {
        server.script(move |_| Reply::Status(200, "", body));
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(
            matches!(error, SinkError::Retry { fault: true, .. }) && !error.to_string().contains("fixture"),
            "{error}"
        );
    }
    // One that lives longer than time goes.
    let granted = r#"{"access_token":"fixture-1","expires_in":18446744073709551615}"#;
    server.script(|request| Reply::Status(if request.target.ends_with("/token") { 200 } else { 204 }, "", granted));
    sink.deliver(&batch).await.unwrap();
}

#[tokio::test]
async fn an_azure_batch_is_cut_to_calls_of_one_megabyte() {
    let server = FakeHttp::new().await;
    server.script(|request| token(request, 1).unwrap_or(Reply::Status(204, "", "")));
    server.up();
    let mut world = World::new();
    // Each line is some 350 bytes: 6,000 are about 2 MB.
    world.events(6_000);
    let sink = azure(&server, world.dir.path(), "");
    let running = world.start("sentinel", "batch = { records = 100000, bytes = '64MiB', wait = '200ms' }", sink);
    let status = running.drained().await;
    running.stop().await;
    assert_eq!((status.delivered, status.parked), (6_000, 0));
    let requests = server.requests();
    let calls: Vec<_> = requests.iter().filter(|request| request.target.starts_with("/dataCollectionRules")).collect();
    let mut seqs = Vec::new();
    for call in &calls {
        assert!(call.bytes.len() <= 1_000_000, "{}", call.bytes.len());
        let records: Vec<Value> = serde_json::from_str(&call.body).unwrap();
        seqs.extend(records.iter().map(|record| record["seq"].as_u64().unwrap()));
    }
    assert_eq!(seqs, (1..=6_000).collect::<Vec<_>>(), "each once, in order");
    let total: usize = calls.iter().map(|call| call.bytes.len()).sum();
    assert!(calls.len() <= total / 1_000_000 + 2, "{} calls for {total} bytes", calls.len());
}

#[tokio::test]
async fn azures_statuses_are_decisions() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    let sink = azure(&server, dir.path(), "gzip = false");
    let batch = sink.pack().packed([message(7, Kind::Event, AT, EVENT)]);
    let answers = |status: u16| {
        server.script(move |request| {
            token(request, 1).unwrap_or(Reply::Status(status, "retry-after: 60\r\n", r#"{"error":{"code":"X"}}"#))
        });
    };
    for status in [400, 413] {
        answers(status);
        assert!(matches!(sink.deliver(&batch).await.unwrap_err(), SinkError::Refused { .. }), "{status}");
    }
    for (status, fault) in [(403, true), (404, true), (429, false), (500, false), (503, false)] {
        answers(status);
        let SinkError::Retry { after, fault: said, .. } = sink.deliver(&batch).await.unwrap_err() else {
            panic!("{status}")
        };
        assert_eq!((after, said), (Some(Duration::from_secs(60)), fault), "{status}");
    }
    let dir = tempfile::tempdir().unwrap();
    let rest = "endpoint = 'https://a.example.com'\nclient_id = 'c'\nclient_secret_file = 's'";
    fs::write(dir.path().join("s"), "fixture").unwrap();
    for (members, said) in [
        ("rule_id = 'dcr/../x'\nstream = 'Custom-A'\ntenant_id = 't'", "rule_id"),
        ("rule_id = 'dcr-0'\nstream = 'a?b'\ntenant_id = 't'", "stream"),
        ("rule_id = 'dcr-0'\nstream = 'Custom-A'\ntenant_id = '../t'", "tenant_id"),
        ("rule_id = 'dcr-0'\nstream = 'Custom-A'\ntenant_id = 't'\nauthority = 'http://192.0.2.1'", "authority"),
    ] {
        let error = error_of("azure_logs", dir.path(), &format!("{rest}\n{members}"));
        assert!(error.contains(said), "{members}: {error}");
    }
}

/// What a preset sends for a batch, and to whom.
async fn sent(members: &str, batch: &[Message]) -> Request {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), "fixture-api-key\n").unwrap();
    fs::write(dir.path().join("url"), format!("http://{}/receiver/v1/http/fixture==\n", server.address)).unwrap();
    let members = members.replace("URL", &format!("http://{}", server.address));
    let sink = parsed("http", &members).build(dir.path()).unwrap();
    sink.deliver(&sink.pack().packed(batch.iter().cloned())).await.unwrap();
    let [request] = &server.requests()[..] else { panic!("one request") };
    request.clone()
}

#[tokio::test]
async fn datadog_gets_an_array_of_logs() {
    let now = ReceivedAt::wall();
    let batch = [
        message(7, Kind::Event, &now.to_string(), &format!("{EVENT}{FINDING}")),
        message(8, Kind::Alarm, "2020-01-01T00:00:00.000000Z", ALARM),
    ];
    let members = "preset = 'datadog'\nurl = 'URL'\nheaders = { DD-API-KEY = { file = 'key' } }\nlabels = { env = 'prod', team = 'id' }";
    let request = sent(members, &batch).await;
    assert_eq!((&*request.method, &*request.target), ("POST", "/api/v2/logs"));
    for (name, value) in
        [("dd-api-key", "fixture-api-key"), ("content-type", "application/json"), ("content-encoding", "gzip")]
    {
        assert_eq!(request.headers[name], value);
    }
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let line = |at: usize| std::str::from_utf8(&batch[at].line).unwrap();
    let expected = json!([
        {"ddsource": "refresh-audit", "ddtags": "env:prod,team:id", "hostname": "audit-1", "service": "refresh-audit",
         "status": "error", "timestamp": now.micros() / 1_000, "message": line(0)},
        // Older than Datadog takes an instant: shown when it comes.
        {"ddsource": "refresh-audit", "ddtags": "env:prod,team:id", "hostname": "audit-1", "service": "refresh-audit",
         "status": "error", "message": line(1)},
    ]);
    assert_eq!(body, expected);
}

#[tokio::test]
async fn sumo_logic_gets_lines_and_its_headers() {
    let batch = [message(7, Kind::Event, AT, EVENT), message(8, Kind::Alarm, AT, ALARM)];
    let members = "preset = 'sumologic'\nurl_file = 'url'\nlabels = { env = 'prod', team = 'id' }\nheaders = { X-Sumo-Category = 'security/audit' }";
    let request = sent(members, &batch).await;
    assert_eq!(request.target, "/receiver/v1/http/fixture==");
    for (name, value) in [
        ("x-sumo-name", "refresh-audit"),
        ("x-sumo-category", "security/audit"),
        ("x-sumo-fields", "env=prod,team=id"),
        ("content-encoding", "gzip"),
    ] {
        assert_eq!(request.headers[name], value);
    }
    assert_eq!(request.bytes, [&batch[0].line[..], b"\n", &batch[1].line, b"\n"].concat());
}

#[tokio::test]
async fn no_request_is_larger_than_a_vendor_takes() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), "fixture-api-key").unwrap();
    let datadog =
        parsed("http", "preset = 'datadog'\nheaders = { DD-API-KEY = { file = 'key' } }").build(dir.path()).unwrap();
    let small: Vec<_> = (1..=1_500).map(|seq| message(seq, Kind::Event, AT, EVENT)).collect();
    let fits = |messages: Vec<Message>| datadog.fits(&datadog.pack().packed(messages));
    assert_eq!(fits(small), 1_000, "the documented number of logs");
    // 900 kB each: five are 4.5 MB, the sixth would pass 5 MB.
    let mut large = message(1, Kind::Event, AT, EVENT);
    large.body = vec![b'x'; 900_000].into();
    assert_eq!(fits(vec![large.clone(); 9]), 5);
    // In JSON a quote takes two bytes: 400 kB of them are 800 kB.
    large.body = vec![b'"'; 400_000].into();
    assert_eq!(fits(vec![large.clone(); 9]), 6);
    // One that is too large alone is sent alone, for the other side to refuse.
    large.body = vec![b'x'; 9_000_000].into();
    assert_eq!(fits(vec![large; 2]), 1);
}

#[test]
fn a_presets_mistakes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), "fixture").unwrap();
    for (members, said) in [
        ("preset = 'datadog'", "dd-api-key"),
        ("preset = 'datadog'\nheaders = { DD-API-KEY = 'hunter22' }", "file"),
        ("preset = 'datadog'\nsite = 'evil.invalid/x'\nheaders = { DD-API-KEY = { file = 'key' } }", "site"),
        ("preset = 'datadog'\nbody = 'lines'\nheaders = { DD-API-KEY = { file = 'key' } }", "body"),
        ("preset = 'datadog'\nlabels = { a = 'b,c' }\nheaders = { DD-API-KEY = { file = 'key' } }", "labels"),
        ("preset = 'sumologic'", "url_file"),
        ("preset = 'loki'", "url"),
        ("preset = 'loki'\nurl = 'https://a.example.com'\nlabels = { kind = 'x' }", "labels"),
        ("preset = 'loki'\nurl = 'https://a.example.com'\nlabels = { 'a-b' = 'x' }", "labels"),
        ("preset = 'loki'\nurl = 'https://a.example.com'\nsite = 'x'", "site"),
        ("url = 'https://a.example.com'\nlabels = { a = 'b' }", "labels"),
        ("url = 'https://a.example.com'\nurl_file = 'key'", "url_file"),
        ("body = 'lines'", "url"),
    ] {
        let error = error_of("http", dir.path(), members);
        assert!(error.contains(said) && !error.contains("hunter22"), "{members}: {error}");
    }
}
