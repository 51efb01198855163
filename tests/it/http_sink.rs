//! What is particular to the `http` sink: signatures, headers, statuses, waiting, TLS.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use refresh_audit::{
    deliver::{DeliveryConfig, SinkState, probe::probe},
    record::{Kept, Kind},
    sink::{Ack, Message, Sink, SinkConfig, SinkError, http::Http},
};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use crate::{
    fake_http::{FakeHttp, Reply, serve},
    journal::World,
};

/// Not a secret: bytes for tests.
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const TOKEN: &str = "Bearer not-a-real-token";

fn http(base: &Path, members: &str) -> refresh_audit::sink::AnySink {
    SinkConfig::parse("http", toml::Deserializer::parse(members).unwrap()).unwrap().build(base).unwrap()
}

fn alone(base: &Path, members: &str) -> Http {
    toml::from_str::<refresh_audit::sink::http::Config>(members).unwrap().build(base).unwrap()
}

fn message(key: &str) -> Message {
    Message {
        seq: 7,
        kind: Kind::Alarm,
        key: key.to_owned(),
        head: Kept::default(),
        line: "{}".into(),
        body: "{}".into(),
        media_type: "application/json",
    }
}

/// Verifies as the Standard Webhooks specification says, with another implementation of HMAC than the sink's.
fn verifies(request: &crate::fake_http::Request) -> bool {
    let [id, timestamp, signature] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| request.headers[name].clone());
    let sent: u64 = timestamp.parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    let content = format!("{id}.{timestamp}.{}", request.body);
    now.abs_diff(sent) < 300 && hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, KEY), content.as_bytes(), &tag).is_ok()
}

#[tokio::test]
async fn every_attempt_is_signed_over_one_connection() {
    let server = FakeHttp::new().await;
    server.up();
    let mut world = World::new();
    world.events(3);
    let secret = world.dir.path().join("secret");
    fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(KEY))).unwrap();
    fs::write(world.dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    for (name, body, ids) in [
        ("one", "single", vec![World::event_id(1), World::event_id(2), World::event_id(3)]),
        ("array", "array", vec!["1-3".to_owned()]),
        ("lines", "lines", vec!["1-3".to_owned()]),
    ] {
        let before = server.requests().len();
        let members = format!(
            "url = {:?}\nbody = '{body}'\nsign = {{ secret_file = 'secret' }}\n\
             headers = {{ X-Tenant = 'blue', Authorization = {{ file = 'token' }} }}",
            server.url()
        );
        let running = world.start(name, "batch.wait = '0ms'", http(world.dir.path(), &members));
        running.drained().await;
        running.stop().await;
        let requests = server.requests().split_off(before);
        assert_eq!(requests.iter().map(|request| request.headers["webhook-id"].clone()).collect::<Vec<_>>(), ids);
        for request in &requests {
            assert!(verifies(request), "{request:?}");
            assert_eq!((request.method.as_str(), request.connection), ("POST", requests[0].connection));
            assert_eq!((&*request.headers["x-tenant"], &*request.headers["authorization"]), ("blue", TOKEN));
            let mut altered = request.clone();
            altered.body.push(' ');
            assert!(!verifies(&altered));
        }
        let kind = if body == "lines" { "application/x-ndjson" } else { "application/json" };
        assert_eq!(requests[0].headers["content-type"], kind);
    }
    // `json` is the journal's line, byte for byte.
    let journal = fs::read_to_string(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    let lines = server.requests().pop().unwrap().body;
    assert_eq!(lines, journal);
    assert_eq!(server.requests()[0].body, journal.lines().next().unwrap());
}

#[tokio::test]
async fn a_body_is_said_to_be_what_its_format_is() {
    let server = FakeHttp::new().await;
    server.up();
    let mut world = World::new();
    world.events(1);
    // RFC 8259; CloudEvents' HTTP binding 1.0, section 3.2 (structured mode); CEF and LEEF are lines of text.
    for (at, (format, body, more, kind)) in [
        ("json", "single", "", "application/json"),
        ("ecs", "single", "", "application/json"),
        ("cloudevents", "single", "", "application/cloudevents+json"),
        ("cef", "single", "", "text/plain; charset=utf-8"),
        ("leef", "single", "", "text/plain; charset=utf-8"),
        // Section 3.3 (batched mode).
        ("cloudevents", "array", "", "application/cloudevents-batch+json"),
        ("cef", "array", "", "application/json"),
        ("cef", "lines", "", "text/plain; charset=utf-8"),
        ("leef", "lines", "", "text/plain; charset=utf-8"),
        ("ecs", "lines", "", "application/x-ndjson"),
        ("cef", "single", "headers = { Content-Type = 'text/x-cef' }", "text/x-cef"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = server.requests().len();
        let sink = http(world.dir.path(), &format!("url = {:?}\nbody = '{body}'\n{more}", server.url()));
        let running = world.start(&format!("s{at}"), &format!("format = '{format}'\nbatch.wait = '0ms'"), sink);
        running.drained().await;
        running.stop().await;
        let requests = server.requests().split_off(before);
        assert_eq!((requests.len(), &*requests[0].headers["content-type"]), (1, kind), "{format} {body}");
        // Also what is not signed names itself.
        let journal = fs::read_to_string(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
        let record: serde_json::Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
        let id = if body == "single" { record["event"]["id"].as_str().unwrap() } else { "1-1" };
        assert_eq!(requests[0].headers["webhook-id"], id, "{format} {body}");
        assert!(!requests[0].headers.contains_key("webhook-signature"));
    }
}

#[tokio::test]
async fn each_status_is_one_decision() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    let sink = alone(dir.path(), &format!("url = {:?}", server.url()));
    let batch = [message("k")];
    for status in [200, 201, 202, 204] {
        server.script(move |_| Reply::Status(status, "", ""));
        sink.deliver(&batch).await.unwrap();
    }
    for status in [400, 409, 413, 422] {
        server.script(move |_| Reply::Status(status, "", "bad shape\r\n"));
        let error = sink.deliver(&batch).await.unwrap_err();
        let SinkError::Refused { reason } = error else { panic!("{status}: {error}") };
        assert!(reason.contains(&status.to_string()) && reason.ends_with(": bad shape"), "{reason}");
    }
    let faults = [301, 302, 307, 401, 403, 404, 405, 407, 410, 415];
    for status in faults.into_iter().chain([408, 425, 429, 500, 502, 503, 504]) {
        server.script(move |_| Reply::Status(status, "location: http://127.0.0.1:1/\r\nretry-after: 7\r\n", ""));
        let error = sink.deliver(&batch).await.unwrap_err();
        let SinkError::Retry { after, fault, reason } = error else { panic!("{status}: {error}") };
        assert_eq!((after, fault), (Some(Duration::from_secs(7)), faults.contains(&status)), "{status}: {reason}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed_and_nothing_of_ours_is_quoted() {
    let elsewhere = FakeHttp::new().await;
    elsewhere.up();
    let server = FakeHttp::new().await;
    let location: &'static str = Box::leak(format!("location: {}\r\n", elsewhere.url()).into_boxed_str());
    server.script(move |request| {
        // It echoes the whole request, as debugging proxies do.
        let echo: &'static str = Box::leak(format!("you sent {:?}", request.headers).into_boxed_str());
        Reply::Status(307, location, echo)
    });
    server.up();
    let mut world = World::new();
    world.events(1);
    fs::write(world.dir.path().join("token"), TOKEN).unwrap();
    let members = format!("url = {:?}\nheaders = {{ authorization = {{ file = 'token' }} }}", server.url());
    let running = world.start("s", "", http(world.dir.path(), &members));
    let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
    let said = format!("{status:?} {:?}", world.context.alarms.raised());
    assert!(said.contains("307") && said.contains("redirects are not followed"), "{said}");
    for secret in ["not-a-real-token", "in-the-query"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(elsewhere.requests().is_empty());
    running.stop().await;
    // No answer at all: the address' query stays out of the reason, too.
    server.down().await;
    let error = alone(world.dir.path(), &members).deliver(&[message("k")]).await.unwrap_err().to_string();
    assert!(error.contains("cannot connect") && !error.contains("in-the-query"), "{error}");
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = FakeHttp::new().await;
    let asked = Mutex::new(false);
    server.script(move |_| {
        if std::mem::replace(&mut asked.lock().unwrap(), true) {
            Reply::OK
        } else {
            Reply::Status(429, "retry-after: 2\r\n", "")
        }
    });
    server.up();
    let mut world = World::new();
    world.events(1);
    let running = world.start("s", "", http(world.dir.path(), &format!("url = {:?}", server.url())));
    running.drained().await;
    let requests = server.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(requests.len() == 2 && waited >= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test]
async fn a_hostile_key_stays_in_its_header() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), KEY).unwrap();
    let sink = alone(dir.path(), &format!("url = {:?}\nsign = {{ secret_file = 'secret' }}", server.url()));
    sink.deliver(&[message("a\r\nx-evil: 1\r\n\r\n")]).await.unwrap();
    let requests = server.requests();
    assert!(verifies(&requests[0]) && !requests[0].headers.contains_key("x-evil"), "{requests:?}");
}

#[tokio::test]
async fn check_writes_a_record_that_says_it_is_a_test() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), KEY).unwrap();
    let sink = alone(dir.path(), &format!("url = {:?}\nsign = {{ secret_file = 'secret' }}", server.url()));
    let test = probe("n", "hook", &DeliveryConfig::default(), &sink).unwrap();
    sink.check(&test).await.unwrap();
    let requests = server.requests();
    assert!(requests.len() == 1 && requests[0].method == "POST" && verifies(&requests[0]), "{requests:?}");
    let record: serde_json::Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!((&record["kind"], &record["operator"]["action"]), (&"operator".into(), &"check".into()));
    assert!(record["operator"]["detail"].as_str().unwrap().starts_with("TEST"), "{record}");
    for status in [302, 400, 401, 403, 404, 503] {
        server.script(move |_| Reply::Status(status, "", ""));
        let error = sink.check(&test).await.unwrap_err().to_string();
        assert!(error.contains(&status.to_string()), "{error}");
    }
    server.down().await;
    assert!(sink.check(&test).await.unwrap_err().to_string().contains("cannot connect"));
}

#[tokio::test]
async fn what_the_other_side_said_is_kept_and_nothing_of_ours() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "not-a-real-token").unwrap();
    let members = format!("url = {:?}\nheaders = {{ X-Api-Key = {{ file = 'token' }} }}", server.url());
    let sink = alone(dir.path(), &members);
    for (headers, body, said) in [
        ("x-request-id: fixture-7\r\n", "ok", "HTTP 202 x-request-id fixture-7"),
        ("x-request-id: not-a-real-token\r\n", "not-a-real-token", "HTTP 202 x-request-id [redacted]"),
        ("", "a body that nobody asked for", "HTTP 202"),
    ] {
        server.script(move |_| Reply::Status(202, headers, body));
        assert_eq!(sink.deliver(&[message("k")]).await.unwrap(), Ack::new(said));
    }
}

/// A certificate and its key in PEM, signed by the issuer or by itself.
fn certificate(dir: &Path, name: &str, issuer: Option<&Issuer<'static, KeyPair>>) -> Option<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let pem = match issuer {
        Some(issuer) => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.signed_by(&key, issuer).unwrap().pem()
        }
        None => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&key).unwrap().pem()
        }
    };
    fs::write(dir.join(format!("{name}.crt")), pem).unwrap();
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    issuer.is_none().then(|| Issuer::new(params, key))
}

/// A server's side, with the files of `dir`; asks for the client's certificate.
pub fn mutual_tls(dir: &Path) -> TlsAcceptor {
    let load = |name: &str| CertificateDer::from_pem_file(dir.join(name)).unwrap();
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(load("ca.crt")).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![load("server.crt")], PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn tls_proves_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificate(dir.path(), "ca", None);
    certificate(dir.path(), "server", ca.as_ref());
    certificate(dir.path(), "client", ca.as_ref());
    certificate(dir.path(), "other", None);
    let acceptor = mutual_tls(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url = 'https://{}/'", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let script: Box<dyn Fn(&crate::fake_http::Request) -> Reply + Send + Sync> = Box::new(|_| Reply::OK);
                tokio::spawn(serve(stream, 0, Arc::clone(&seen), Arc::new(Mutex::new(script))));
            }
        }
    });
    let client = "cert_file = 'client.crt'\nkey_file = 'client.key'";
    let deliver = async |members: String| alone(dir.path(), &members).deliver(&[message("k")]).await;
    deliver(format!("{url}\nca_file = 'ca.crt'\n{client}")).await.unwrap();
    assert_eq!(requests.lock().unwrap().len(), 1);
    for (members, what) in [
        (format!("{url}\nca_file = 'ca.crt'"), "without a client certificate"),
        (format!("{url}\nca_file = 'ca.crt'\ncert_file = 'other.crt'\nkey_file = 'other.key'"), "with another's"),
        (format!("{url}\nca_file = 'other.crt'\n{client}"), "to a server that another authority vouches for"),
    ] {
        let error = deliver(members).await.unwrap_err();
        assert!(matches!(error, SinkError::Retry { .. }), "{what}: {error}");
    }
    assert_eq!(requests.lock().unwrap().len(), 1);
}
