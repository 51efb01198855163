//! Whoever can connect, and proves nothing, takes nothing from those who can: no file of the journal's, no place in the queue.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    http::Client,
    seed,
};

/// Descriptors that the service may have.
const FILES: usize = 256;
/// Connections of strangers, half of them with a whole request, half of them with a part of one.
const STRANGERS: usize = 400;

#[test]
fn connections_of_strangers_leave_the_journal_its_files() {
    let limit = format!("ulimit -n {FILES}; \"$@\"; exit $?");
    let under = ["sh", "-c", limit.as_str(), "sh"].map(str::to_owned).to_vec();
    // A worker's connections are bounded one by one, and there are as many workers as processors.
    let server = "workers = 2\nack_deadline = \"20s\"\n".to_owned();
    let settings = Settings { under, server, ..Settings::new() }.and("[journal]\nsegment = \"64KiB\"\n");
    let mut app = TestApp::start(settings);
    let mut rng = StdRng::seed_from_u64(seed("strangers"));
    let mut client = app.client();
    assert!(client.send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    let strangers: Vec<TcpStream> = (0..STRANGERS)
        .map(|number| {
            let mut stream = TcpStream::connect(app.listen).unwrap();
            let end = if number % 2 == 0 { "\r\n" } else { "" };
            // It may be closed already.
            let _ = write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{end}");
            stream
        })
        .collect();
    // 150 events of 2 kB are several segments.
    for _ in 0..150 {
        let verdict = client.send(&Event::new(&mut rng), &app.signer()).unwrap();
        assert!(verdict.is_recorded(), "{verdict:?}\n{}", app.log());
    }
    eventually("a new connection is served while they are still there", || {
        app.client().send(&Event::new(&mut rng), &app.signer()).is_ok_and(|verdict| verdict.is_recorded())
    });
    drop(strangers);
    app.stop();
    app.verify();
}

#[test]
fn only_who_proves_something_keeps_a_connection() {
    let app = TestApp::start(Settings::new());
    let mut rng = StdRng::seed_from_u64(seed("strangers' connections"));
    let event = Event::new(&mut rng);
    let close = |client: &mut Client, head: &str, headers: &[(&str, &str)]| {
        client.request(head, headers, b"{}").unwrap().header("connection") == Some("close")
    };
    for (head, headers) in [
        ("GET /", vec![]),
        ("PUT /webhooks/fusionauth", vec![]),
        ("POST /webhooks/fusionauth", vec![]),
        ("POST /webhooks/fusionauth", vec![("Content-Type", "application/json")]),
    ] {
        assert!(close(&mut app.client(), head, &headers), "{head} {headers:?}");
    }
    let mut client = app.client();
    for body in [b"{}".to_vec(), event.body.clone(), event.body.clone()] {
        let answer = client.post(&body, &app.signer().sign(&body)).unwrap();
        assert_eq!(answer.header("connection"), None, "{}", answer.text());
    }
}

#[test]
fn malformed_requests_are_counted_and_few_of_them_logged() {
    let app = TestApp::start(Settings::new());
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let mut answered = 0;
    for number in 0..60 {
        let mut stream = TcpStream::connect(app.listen).unwrap();
        let request = if number % 2 == 0 { "nonsense\r\n\r\n" } else { long.as_str() };
        let _ = stream.write_all(request.as_bytes());
        // To the end: who goes early may not be told, and is not counted then.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if !answer.is_empty() {
            answered += 1;
            assert!(matches!(&answer[9..12], b"400" | b"431"), "{}", String::from_utf8_lossy(&answer));
        }
    }
    assert!(answered >= 30, "{answered}");
    let refused = [("source", "unknown"), ("outcome", "refused")];
    let counted = || app.metric("refresh_audit_events_total", &refused).unwrap_or_default();
    eventually(&format!("each of {answered} is counted"), || (f64::from(answered)..=60.0).contains(&counted()));
    let lines = app.log().matches("stream error").count();
    assert!((1..=20).contains(&lines), "{lines} lines");
}
