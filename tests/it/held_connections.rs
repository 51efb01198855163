//! A stranger's connection ends with the answer, whatever of the request is still to come.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    app::{Settings, TestApp},
    eventually,
};

/// How long a connection is watched: a body has 10 s, and a refused one lingers for a second.
const WATCHED: Duration = Duration::from_secs(60);

/// Sends `begun`, and `drip` again and again; what was answered by the time that the other side closed.
fn until_closed(to: SocketAddr, begun: &str, drip: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream.write_all(begun.as_bytes()).unwrap();
    let (since, mut answer, mut part) = (Instant::now(), Vec::new(), [0; 4_096]);
    while since.elapsed() < WATCHED {
        match stream.read(&mut part) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(len) => answer.extend_from_slice(&part[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // Whether it is still open shows the next read.
                let _ = stream.write_all(drip.as_bytes());
            }
            Err(_) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
    Err(format!("still open after {WATCHED:?}: {}", String::from_utf8_lossy(&answer)))
}

#[test]
fn a_refused_request_s_body_keeps_no_connection() {
    let app = TestApp::start(Settings { server: "max_body = \"64KiB\"\n".to_owned(), ..Settings::new() });
    let chunked =
        |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n{more}Transfer-Encoding: chunked\r\n\r\n");
    let json = "Content-Type: application/json\r\n";
    let webhook = "POST /webhooks/fusionauth";
    let large = format!("{}11000\r\n{}", chunked(webhook, json), "x".repeat(0x11000));
    let cases = [
        ("404", chunked("POST /webhooks/nope", json)),
        ("405", chunked("PUT /webhooks/fusionauth", json)),
        ("415", chunked(webhook, "")),
        ("413", large),
        ("408", chunked(webhook, json)),
        ("404", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".to_owned()),
    ];
    thread::scope(|scope| {
        for (status, begun) in &cases {
            for drip in ["", "1\r\na\r\n"] {
                let to = app.listen;
                scope.spawn(move || match until_closed(to, begun, drip) {
                    Ok(answer) => assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}"),
                    Err(open) => panic!("{status}, {drip:?}: {open}"),
                });
            }
        }
    });
}

/// As many as the operator's listener takes.
const OPERATORS: usize = 128;

#[test]
fn strangers_keep_no_operator_out() {
    let app = TestApp::start(Settings::new());
    let chunked = "POST /api/sinks/x/parked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = until_closed(app.admin, chunked, "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 411 ") && answer.contains("Content-Length"), "{answer}");
    // A request for what anybody may see, and the beginning of another one.
    let strangers: Vec<TcpStream> = (0..OPERATORS)
        .map(|_| {
            let mut stream = TcpStream::connect(app.admin).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            assert_ne!(stream.read(&mut [0; 4_096]).unwrap(), 0);
            let _ = stream.write_all(b"G");
            stream
        })
        .collect();
    eventually("an operator is answered while they are there", || {
        app.metric("refresh_audit_alarm", &[("name", "sink_stuck")]) == Some(0.0)
    });
    drop(strangers);
}
