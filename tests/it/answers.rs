//! What both listeners answer, from outside: statuses and the order of checks, request ids, who may look at the operator's
//! listener, the page, TLS.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::{SeedableRng as _, rngs::StdRng};
use rcgen::{CertificateParams, KeyPair};

use crate::support::{
    app::{PATIENT, Settings, TestApp},
    certs::Authority,
    event::Event,
    eventually,
    http::Client,
    seed,
};

const PATH: &str = "/webhooks/fusionauth";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const SIGNATURE: &str = "X-FusionAuth-Signature-JWT";

#[test]
fn every_request_is_answered_as_the_contract_says() {
    let scope = "[scope]\nwhen_absent = \"keep\"\napplications = [\"6f1a7a3e-0000-4000-8000-000000000001\"]\n";
    let settings = Settings { server: format!("max_body = \"8KiB\"\n{PATIENT}"), ..Settings::new() };
    let app = TestApp::start(settings.and(scope));
    let mut rng = StdRng::seed_from_u64(seed("answers"));
    let text = |event: &Event| String::from_utf8(event.body.clone()).unwrap();
    // The generator's application is random, so its events are outside the scope unless it is taken out.
    let [one, two, other] =
        [Event::new(&mut rng), Event::new(&mut rng), Event::new(&mut rng)].map(|event| text(&event));
    let unnamed = |body: &str| body.replace("\"applicationId\":\"", "\"unknownMember\":\"");
    let (one, two) = (unnamed(&one), unnamed(&two));
    let login = one.replace("jwt.refresh", "user.login.success");
    let no_instant = two.replace("\"createInstant\":", "\"instant\":");
    let large = one.replace("desk", &"x".repeat(9_000));
    let sign = |body: &str| app.signer().sign(body.as_bytes());
    let json = |body: &str| {
        vec![
            ("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned()),
            (SIGNATURE.to_owned(), sign(body)),
        ]
    };
    let kind = |kind: &str| vec![("Content-Type".to_owned(), kind.to_owned())];
    let with = |mut headers: Vec<(String, String)>, name: &str, value: &str| {
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    let post = format!("POST {PATH}");
    for (head, headers, body, status, answer) in [
        // Earlier checks win: each of these is wrong in all that follows, too.
        ("GET /webhooks/nobody".to_owned(), vec![], large.as_str(), 404, r#"{"error":"no such source"}"#),
        ("POST /".to_owned(), json(&one), &one, 404, "error"),
        ("POST /webhooks/".to_owned(), json(&one), &one, 404, "error"),
        (format!("POST {PATH}/x"), json(&one), &one, 404, "error"),
        ("GET /metrics".to_owned(), vec![], "", 404, "error"),
        (format!("PUT {PATH}"), kind("text/plain"), &large, 405, "error"),
        (format!("GET {PATH}"), vec![], "", 405, "error"),
        (post.clone(), vec![], &large, 415, "error"),
        (post.clone(), kind("text/plain"), &large, 415, "error"),
        (post.clone(), with(json(&large), "Content-Encoding", "identity"), &large, 415, "error"),
        (post.clone(), kind("application/json"), &large, 413, "error"),
        (post.clone(), kind("application/json"), "{", 401, "error"),
        (post.clone(), json(&one), &two, 401, r#"{"error":"missing or wrong signature or credential"}"#),
        (post.clone(), json(&no_instant), &no_instant, 400, "event.createInstant"),
        (post.clone(), json("{}"), "{}", 400, r#"{"error":"event: is missing"}"#),
        (post.clone(), json(&login), &login, 200, r#"{"status":"ignored"}"#),
        (post.clone(), json(&other), &other, 200, r#"{"status":"filtered"}"#),
        (post.clone(), json(&one), &one, 200, r#"{"status":"accepted","seq":1}"#),
        (post.clone(), json(&one), &one, 200, r#"{"status":"duplicate","seq":1}"#),
        (post.clone(), json(&two), &two, 200, r#"{"status":"accepted","seq":2}"#),
    ] {
        // A connection each: what is refused early may be closed with its body unread.
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let found = Client::connect(app.listen).unwrap().request(&head, &headers, body.as_bytes()).unwrap();
        assert_eq!(found.status, status, "{head} {headers:?}: {}", found.text());
        assert!(found.text().contains(answer) && found.body.len() < 1_024, "{head}: {}", found.text());
        assert_eq!(found.header("allow"), (status == 405).then_some("POST"), "{head}");
        assert_eq!(found.header("content-type"), Some("application/json"), "{head}");
        assert!(found.header("x-request-id").is_some_and(|id| id.len() == 36), "{head}: an id is made");
    }
    assert_eq!(app.journal().seqs_by_id.len(), 2);
}

#[test]
fn a_request_id_is_echoed_if_it_is_one() {
    let app = TestApp::start(Settings::new());
    let longest = "a".repeat(64);
    for id in ["a", "A-z_0.9", &longest] {
        let answer = app.client().request(&format!("POST {PATH}"), &[JSON, ("X-Request-Id", id)], b"{}").unwrap();
        assert_eq!(answer.header("x-request-id"), Some(id));
    }
    let too_long = "a".repeat(65);
    for id in ["", "a b", "a/b", "\u{e9}", &too_long] {
        let answer = app.client().request(&format!("POST {PATH}"), &[JSON, ("X-Request-Id", id)], b"{}").unwrap();
        assert!(answer.header("x-request-id").is_some_and(|made| made != id && made.len() == 36), "{id}");
    }
}

/// Status line and rest of the answer to a `GET` with these header lines and no others.
fn raw(to: SocketAddr, path: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const GUARDED: [&str; 7] =
    ["/", "/page.js", "/metrics", "/api/records", "/api/sinks", "/api/alarms", "/api/sinks/audit-file/parked"];

#[test]
fn the_operators_listener_asks_for_its_token() {
    let token = "fixture-token-not-a-secret-0123456789";
    let mut app = TestApp::prepare(Settings::new());
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    fs::write(app.path("config.toml"), config.replace("[admin]\n", "[admin]\ntoken_file = \"admin.token\"\n")).unwrap();
    fs::write(app.path("admin.token"), format!("{token}\n")).unwrap();
    app.launch();
    let basic =
        |password: &str| format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("me:{password}")));
    for path in GUARDED {
        for wrong in
            [String::new(), "Authorization: Bearer x\r\n".to_owned(), format!("Authorization: {token}\r\n"), basic("x")]
        {
            let answer = raw(app.admin, path, &format!("Host: {}\r\n{wrong}", app.admin));
            assert!(
                answer.starts_with("HTTP/1.1 401 ") && answer.contains("Basic realm="),
                "{path}, {wrong}: {answer}"
            );
        }
        for right in [format!("Authorization: Bearer {token}\r\n"), basic(token)] {
            let answer = raw(app.admin, path, &format!("Host: anything.invalid\r\n{right}"));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert!(raw(app.admin, path, "Host: anything.invalid\r\n").starts_with("HTTP/1.1 200 "), "{path}");
    }
    // The commands find the token in the configuration.
    assert!(app.run(&["sinks"]).status.success());
}

#[test]
fn without_a_token_no_foreign_page_can_use_the_operators_listener() {
    let app = TestApp::start(Settings::new());
    for path in GUARDED {
        assert!(raw(app.admin, path, "Host: evil.example\r\n").starts_with("HTTP/1.1 403 "), "{path}");
        for host in
            [format!("Host: {}\r\n", app.admin), "Host: localhost\r\n".to_owned(), "Host: [::1]:9\r\n".to_owned()]
        {
            assert!(raw(app.admin, path, &host).starts_with("HTTP/1.1 200 "), "{path}, {host}");
        }
    }
    // What another page's form can send is not taken for a command.
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let headers = [("Content-Type", kind)];
        let mut client = Client::connect(app.admin).unwrap();
        let answer = client.request("POST /api/sinks/audit-file/redeliver", &headers, br#"{"from":1}"#).unwrap();
        assert!((400..500).contains(&answer.status), "{kind}: {}", answer.status);
    }
}

#[test]
fn the_operators_paths_are_read_with_head_and_refuse_other_methods() {
    let app = TestApp::start(Settings::new());
    let raw = |head: &str| {
        let mut stream = TcpStream::connect(app.admin).unwrap();
        let request = format!("{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/",
        "/api/records",
        "/api/alarms",
        "/api/sinks",
        "/api/findings",
        "/api/incidents",
        "/api/applications",
    ] {
        let (got, head) = (raw(&format!("GET {path}")), raw(&format!("HEAD {path}")));
        let (got, body) = got.split_once("\r\n\r\n").unwrap();
        let (head, nothing) = head.split_once("\r\n\r\n").unwrap();
        assert!(got.starts_with("HTTP/1.1 200 ") && head.starts_with("HTTP/1.1 200 "), "{path}: {got}, {head}");
        assert!(!body.is_empty() && nothing.is_empty(), "{path}");
        for method in ["PUT", "DELETE", "POST"] {
            assert!(raw(&format!("{method} {path}")).starts_with("HTTP/1.1 405 "), "{method} {path}");
        }
    }
    for path in ["/api/gate", "/api/sinks/audit-file/redeliver"] {
        assert!(raw(&format!("GET {path}")).starts_with("HTTP/1.1 405 "), "{path}");
    }
    assert!(raw("PUT /api/stream").starts_with("HTTP/1.1 405 "));
    assert!(raw("GET /api/nothing").starts_with("HTTP/1.1 404 "));
}

#[test]
fn the_operators_paths_say_as_json_what_is_wrong() {
    let app = TestApp::start(Settings::new());
    let json = ("Content-Type", "application/json");
    for (request, kind, body, status, says) in [
        ("GET /api/records?from=1&limit=ten", json, "", 400, "`limit`"),
        ("GET /api/records?kind=evnt", json, "", 400, "`kind`"),
        ("GET /api/records?ip=192.0.2.0/33", json, "", 400, "`ip`"),
        ("GET /api/findings?user=a&user=b", json, "", 400, "user"),
        ("GET /api/incidents?at_least=huge", json, "", 400, "`at_least`"),
        ("GET /api/incidents?sort=id", json, "", 400, "sort"),
        ("GET /api/stream?from=-1", json, "", 400, "`from`"),
        ("GET /api/nothing", json, "", 404, "path"),
        ("PUT /api/records", json, "", 405, "PUT"),
        ("POST /api/gate", json, "{}", 400, "`action`"),
        ("POST /api/gate", ("Content-Type", "text/plain"), r#"{"action":"stop"}"#, 400, "application/json"),
        ("GET /api/sinks/audit-file/parked?from=1&limit=ten", json, "", 400, "`limit`"),
        ("GET /api/sinks/audit-file/parked?full=yes", json, "", 400, "`full`"),
        ("GET /api/sinks/audit-file/parked?form=1", json, "", 400, "`form`"),
        ("POST /api/sinks/audit-file/redeliver", json, "{}", 400, "`from`"),
        ("POST /api/sinks/audit-file/redeliver", json, r#"{"from":1,"cancel":true}"#, 400, "`cancel`"),
        ("POST /api/sinks/none/redeliver", json, r#"{"cancel":true}"#, 404, "`none`"),
        ("POST /api/sinks/none/redeliver", json, r#"{"from":1}"#, 404, "`none`"),
    ] {
        let answer = Client::connect(app.admin).unwrap().request(request, &[kind], body.as_bytes()).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = said["error"].as_str().unwrap_or_default();
        assert!(answer.status == status && error.contains(says), "{request}: {} {said}", answer.status);
    }
}

#[test]
fn the_page_runs_nothing_but_its_own_files() {
    let app = TestApp::start(Settings::new());
    let page = raw(app.admin, "/", &format!("Host: {}\r\n", app.admin));
    let (head, html) = page.split_once("\r\n\r\n").unwrap();
    let policy =
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';";
    assert!(head.to_lowercase().contains(policy) && head.to_lowercase().contains("frame-ancestors 'none'"), "{head}");
    // The policy forbids inline code; the page has none that it would forbid.
    assert!(!html.contains("style=") && !html.contains(" on") && html.matches("<script").count() == 1, "{html}");
    for name in ["page.js", "page.css"] {
        assert!(html.contains(&format!("\"{name}\"")));
        let file = raw(app.admin, &format!("/{name}"), &format!("Host: {}\r\n", app.admin));
        assert!(file.starts_with("HTTP/1.1 200 ") && file.to_lowercase().contains("x-content-type-options: nosniff"));
        assert!(!file.contains("innerHTML") && !file.contains("http://") && !file.contains("https://"), "{name}");
    }
}

#[test]
fn webhooks_over_tls_and_a_sender_that_trusts_one_authority() {
    let server = "tls = { cert = \"server.crt\", key = \"server.key\" }\n";
    let mut app = TestApp::prepare(Settings { server: format!("{server}{PATIENT}"), ..Settings::new() });
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    for name in ["server.crt", "first.crt"] {
        fs::write(app.path(name), own.pem()).unwrap();
    }
    fs::write(app.path("server.key"), key.serialize_pem()).unwrap();
    app.launch();
    let body = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fusionauth/example/jwt-refresh.json");
    let trusting = app.run(&["send", "--ca-file", "server.crt", body]);
    assert!(trusting.status.success(), "{trusting:?}");
    assert!(String::from_utf8_lossy(&trusting.stdout).starts_with("200 accepted seq 1"), "{trusting:?}");
    let doubting = app.run(&["send", body]);
    assert_eq!(doubting.status.code(), Some(1), "{doubting:?}");
    // A renewed certificate is shown without a restart; files that do not fit each other change nothing.
    let (old, new) = (Authority::new(&app.path(""), "old"), Authority::new(&app.path(""), "new"));
    fs::write(app.path("server.key"), "nonsense").unwrap();
    eventually("that they cannot be used is said", || {
        assert!(app.run(&["send", "--ca-file", "first.crt", body]).status.success());
        app.log().contains("the certificate of before is still shown")
    });
    for (authority, name) in [(&old, "old.crt"), (&new, "new.crt")] {
        authority.issue("server");
        eventually("the new one is shown", || app.run(&["send", "--ca-file", name, body]).status.success());
    }
    let wrong = app.run(&["send", "--ca-file", "server.key", body]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("holds no PEM certificate"), "{wrong:?}");
}
