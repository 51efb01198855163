//! Configuration, events, codes. Requests and answers: see the sinks' contract test.

use reqwest::StatusCode;

use crate::{record::Head, sink::client::Answer};

use super::*;

fn build(config: &str) -> Result<SplunkHec, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "hunter22\n").unwrap();
    let config: Config = toml::from_str(config).map_err(|error| error.to_string())?;
    config.build(dir.path()).map_err(|error| error.to_string())
}

fn hec(more: &str) -> SplunkHec {
    build(&format!("url = 'http://127.0.0.1:8088'\ntoken_file = 'token'\n{more}")).map_err(drop).unwrap()
}

/// The line itself, or a body in another format.
fn message(line: &str, other: Option<(&'static str, &str)>) -> Message {
    let head = Head::read(line.as_bytes()).unwrap();
    let (media_type, body) = other.unwrap_or(("application/json", line));
    Message {
        seq: 7,
        kind: head.kind,
        key: "k\"1".to_owned(),
        head: head.keep(),
        line: line.to_owned().into(),
        body: body.to_owned().into(),
        media_type,
    }
}

fn event(sink: &SplunkHec, message: &Message) -> Vec<u8> {
    let packed = sink.pack().packed([message.clone()]);
    packed[0].body.strip_suffix(b"\n").unwrap().to_vec()
}

const LINE: &str = r#"{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"audit-1","seq":7,"kind":"event","received_at":"2026-11-22T06:40:00.123456Z","prev":"00","hash":"ab"}"#;

#[test]
fn an_event_is_as_documented() {
    // By hand after "Format events for HTTP Event Collector"; 1795329600 by `date -u -d 2026-11-22T06:40:00Z +%s`.
    let made = event(&hec("index = 'identity'"), &message(LINE, None));
    let expected = format!(
        "{{\"time\":1795329600.123456,\"host\":\"audit-1\",\"source\":\"refresh-audit\",\"sourcetype\":\"refresh_audit\",\
         \"index\":\"identity\",\"event\":{LINE},\"fields\":{{\"record_key\":\"k\\\"1\",\"record_seq\":\"7\"}}}}"
    );
    assert_eq!(String::from_utf8(made).unwrap(), expected);
    // The journal's line is in there byte for byte, so that its hash can be checked.
    assert!(expected.contains(LINE));
    let own = event(&hec("host = 'h'\nsource = 's'\nsourcetype = 't'"), &message(LINE, None));
    let own: serde_json::Value = serde_json::from_slice(&own).unwrap();
    assert_eq!(
        (&own["host"], &own["source"], &own["sourcetype"], &own["index"]),
        (&"h".into(), &"s".into(), &"t".into(), &serde_json::Value::Null)
    );
}

#[test]
fn what_is_no_json_is_a_text() {
    for body in ["CEF:0|a|b|c|d=\"e\\|\u{202e}", "{not json", "{} {}"] {
        let made = event(&hec(""), &message(LINE, Some(("text/plain; charset=utf-8", body))));
        let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(made["event"], body);
    }
    let event = event(&hec(""), &message(LINE, Some(("application/cloudevents+json", "{\"a\":1}"))));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&event).unwrap()["event"]["a"], 1);
}

#[test]
fn the_address_may_have_the_path_or_not() {
    for (url, event) in [
        ("https://h:8088", "https://h:8088/services/collector/event"),
        ("https://h:8088/", "https://h:8088/services/collector/event"),
        ("https://h:8088/services/collector", "https://h:8088/services/collector/event"),
        ("https://h:8088/services/collector/event/", "https://h:8088/services/collector/event"),
        ("https://h/splunk", "https://h/splunk/services/collector/event"),
    ] {
        assert_eq!(endpoint(&Url::parse(url).unwrap(), "event").unwrap().as_str(), event, "{url}");
    }
    assert!(endpoint(&Url::parse("https://h/services/collector/raw").unwrap(), "event").is_err());
    let acks = hec("").acks.unwrap();
    assert_eq!(acks.url.as_str(), format!("http://127.0.0.1:8088/services/collector/ack?channel={}", acks.channel));
}

#[test]
fn every_code_is_one_decision() {
    let sink = hec("");
    let of = |status: u16, body: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        meaning(
            &sink.client,
            &Answer { status, after: None, ack: Ack::none(), body: body.as_bytes().to_vec(), unread: None },
        )
    };
    let code = |status, code: i64| of(status, &format!("{{\"text\":\"t hunter22\",\"code\":{code}}}"));
    // Statuses and codes as in Splunk's table of them.
    assert_eq!(code(200, 0).unwrap(), Meaning::Taken(None));
    assert_eq!(of(200, "{\"text\":\"Success\",\"code\":0,\"ackId\":5}").unwrap(), Meaning::Taken(Some(5)));
    for (status, number) in
        [(403, 1), (401, 2), (401, 3), (403, 4), (400, 7), (400, 10), (400, 11), (400, 14), (400, 16)]
    {
        let Err(SinkError::Retry { fault: true, reason, .. }) = code(status, number) else { panic!("{number}") };
        assert!(reason.contains(&format!("code {number}")) && !reason.contains("hunter22"), "{reason}");
    }
    for (status, number) in [(500, 8), (503, 9), (503, 18), (503, 19), (503, 20), (503, 23), (429, 26)] {
        assert!(matches!(code(status, number), Err(SinkError::Retry { fault: false, .. })), "{number}");
    }
    for (status, number) in [(400, 5), (400, 6), (400, 12), (400, 13), (400, 15), (413, 27)] {
        assert!(matches!(code(status, number), Err(SinkError::Refused { .. })), "{number}");
    }
    let Ok(Meaning::Culprit { at: 3, .. }) = of(400, "{\"text\":\"t\",\"code\":6,\"invalid-event-number\":3}") else {
        panic!("no culprit")
    };
    // Which event met a wrong index is of no interest: all have the same.
    assert!(matches!(
        of(400, "{\"text\":\"t\",\"code\":7,\"invalid-event-number\":0}"),
        Err(SinkError::Retry { fault: true, .. })
    ));
    // What a proxy says.
    assert!(matches!(of(502, "<html>"), Err(SinkError::Retry { fault: false, .. })));
    assert!(matches!(of(404, ""), Err(SinkError::Retry { fault: true, .. })));
    assert!(matches!(of(200, "welcome"), Err(SinkError::Retry { fault: true, .. })));
}

#[test]
fn nonsense_is_refused() {
    for (config, said) in [
        ("url = 'https://h'", "token_file or token_env"),
        ("url = 'https://h'\ntoken_file = 'token'\ntoken_env = 'T'", "not both"),
        ("url = 'https://h'\ntoken_file = 'token'\nindex = ''", "index"),
        ("url = 'https://h'\ntoken_file = 'token'\nack_timeout = '0s'", "ack_timeout"),
        ("url = 'http://10.0.0.1'\ntoken_file = 'token'", "allow_http"),
        ("url = 'https://h/services/collector/raw'\ntoken_file = 'token'", "raw"),
        ("url = 'https://h'\ntoken_file = 'token'\nindexes = 'x'", "indexes"),
        ("url = 'https://h'\ntoken = 'hunter22'", "token"),
    ] {
        let error = build(config).map(drop).unwrap_err();
        assert!(error.contains(said), "{config}: {error}");
    }
}
