//! Whoever can connect, and proves nothing, takes nothing from those who can: no file of the journal's, no place in the queue.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::{SeedableRng as _, rngs::StdRng};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{
    PATIENCE,
    app::{Settings, TestApp, free_port},
    certs::Authority,
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

#[test]
fn who_cannot_be_verified_keeps_no_connection() {
    // Nobody listens there: whether such a key is published cannot be told.
    let source = format!("jwks_url = \"http://{}/jwks.json\"", free_port());
    let app = TestApp::start(Settings { source, ..Settings::new() });
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let stranger = format!("{}.{}.AAAA", part(r#"{"alg":"RS256","kid":"made-up"}"#), part("{}"));
    let answer = app.client().post(b"{}", &stranger).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")), "{}", answer.text());
}

/// A connection that is open, and says this much.
fn half_open(to: SocketAddr, says: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(says).unwrap();
    stream
}

#[test]
fn connections_that_ask_nothing_are_answered_and_counted() {
    let app = TestApp::start(Settings::new());
    drop(half_open(app.listen, b"POST /webhooks/fus"));
    let mut silent =
        [&b""[..], b"POST /webhooks/fus", b"POST / HTTP/1.1\r\nHost: x\r\n"].map(|says| half_open(app.listen, says));
    for stream in &mut silent {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    // Whoever asked something is counted by what was answered, however long the connection lasts.
    let mut client = app.client();
    assert_eq!(client.request("GET /", &[], b"").unwrap().status, 404);
    drop(client);
    let counted = || app.metric("refresh_audit_events_total", &[("source", "unknown"), ("outcome", "refused")]);
    eventually("each is counted once", || counted() == Some(4.0));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(counted(), Some(4.0), "and nobody else");
}

/// More than [`LARGE`] bodies that are not whole find room for.
const LARGE_BODIES: usize = 90;
/// 90 of them are 81 MB; there is room for 64 MiB.
const LARGE: usize = 900_000;

#[test]
fn large_bodies_of_strangers_have_little_room() {
    let app = TestApp::start(Settings::new());
    let mut rng = StdRng::seed_from_u64(seed("large bodies"));
    let head = "POST /webhooks/fusionauth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let body = [head.as_bytes(), &vec![b' '; LARGE]].concat();
    let mut strangers: Vec<TcpStream> = Vec::new();
    let refused = [("source", "fusionauth"), ("outcome", "unavailable")];
    let turned_away = || app.metric("refresh_audit_events_total", &refused).unwrap_or_default();
    for _ in 0..LARGE_BODIES {
        let mut stream = TcpStream::connect(app.listen).unwrap();
        // Who is turned away in the middle is not read to the end.
        let _ = stream.write_all(&body);
        strangers.push(stream);
    }
    eventually("some are turned away", || turned_away() >= 1.0);
    // An event is small: it is always read.
    assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded(), "{}", app.log());
    let mut answers = 0;
    for mut stream in strangers {
        stream.set_nonblocking(true).unwrap();
        let mut answer = [0; 400];
        let Ok(len) = stream.read(&mut answer) else { continue };
        let answer = String::from_utf8_lossy(&answer[..len]).to_lowercase();
        answers += usize::from(answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"));
    }
    assert!(answers > 0, "nobody was told when to come again");
    // With them their room is gone.
    let event = Event::new(&mut rng);
    let large = String::from_utf8(event.body).unwrap().replace("desk", &"x".repeat(LARGE)).into_bytes();
    eventually("a large body is read again", || {
        app.client().post(&large, &app.signer().sign(&large)).is_ok_and(|answer| answer.verdict().is_recorded())
    });
}

/// Past what one worker shakes hands with at once by default (256).
const STALLED: usize = 300;

#[test]
fn handshakes_that_stand_still_keep_nobody_waiting_and_end() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let server = "workers = 1\nack_deadline = \"20s\"\ntls = { cert = \"server.crt\", key = \"server.key\" }\n";
    let mut app = TestApp::prepare(Settings { server: server.to_owned(), ..Settings::new() });
    Authority::new(&app.path(""), "ca").issue("server");
    app.launch();
    let body = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fusionauth/example/jwt-refresh.json");
    // A record's head, and the first byte of a ClientHello (RFC 8446, sections 5.1 and 4).
    let begun: &[u8] = &[22, 3, 1, 2, 0, 1];
    let waits = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let waits = stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        waits
    };
    let mut answered_meanwhile = false;
    // A handshake has 3 s; a machine may be too busy for the first round.
    for _ in 0..5 {
        let stalled: Vec<TcpStream> =
            (0..STALLED).map(|number| half_open(app.listen, if number % 2 == 0 { b"" } else { begun })).collect();
        let sent = app.run(&["send", "--ca-file", "ca.crt", body]);
        assert!(sent.status.success(), "{sent:?}");
        answered_meanwhile = stalled.iter().all(waits);
        for mut stream in stalled {
            // Closed, or reset: not once the patience is over.
            let ended = stream.read_to_end(&mut Vec::new());
            assert!(!ended.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)));
        }
        if answered_meanwhile {
            break;
        }
    }
    assert!(answered_meanwhile, "the sender waited until handshakes were given up");
}
