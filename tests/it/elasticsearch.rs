//! What is particular to the `elasticsearch` sink: single items, credentials, the template; and all of it against a real
//! server, in front of which faults happen.

mod held;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use refresh_audit::{
    deliver::SinkState,
    ledger::KeyScheme,
    record::{Kept, Kind},
    sink::{Ack, AnySink, Message, Sink, SinkConfig, SinkError},
};

use crate::{
    fake_http::{FakeHttp, Reply},
    journal::World,
    scripted::files,
    servers::{
        osmem::Osmem,
        stunnel::{Files, Stunnel},
    },
    sinks::bulk::{Index, create, operations},
    support::{
        certs::Authority,
        proxy::{Fault, Proxy},
    },
};

const BATCH: &str = "batch = { records = 20, wait = '0ms' }";

fn sink(base: &Path, members: &str) -> AnySink {
    let config = SinkConfig::parse("elasticsearch", toml::Deserializer::parse(members).unwrap()).unwrap();
    config.build(base).unwrap_or_else(|error| panic!("{members}: {error}"))
}

fn to(address: SocketAddr, more: &str) -> AnySink {
    sink(Path::new("/"), &format!("url = 'http://{address}'\nindex = 'audit'\ntimeout = '2s'\n{more}"))
}

fn message(seq: u64, body: &str) -> Message {
    Message {
        seq,
        kind: Kind::Event,
        key: format!("k{seq}"),
        head: Kept::default(),
        line: "{}".into(),
        body: body.to_owned().into(),
        media_type: "application/json",
    }
}

async fn deliver(sink: &AnySink, batch: impl IntoIterator<Item = Message>) -> Result<Ack, SinkError> {
    sink.deliver(&sink.pack().packed(batch)).await
}

async fn check(sink: &AnySink, message: Message) -> Result<(), SinkError> {
    sink.check(&sink.pack().packed([message])[0]).await
}

#[tokio::test]
async fn items_that_failed_are_tried_again_alone() {
    let server = FakeHttp::new().await;
    let index = Index::default();
    let times = Arc::new(Mutex::new(0));
    let (there, tried) = (Arc::clone(&index), Arc::clone(&times));
    server.script(move |request| {
        *tried.lock().unwrap() += 1;
        let first = *tried.lock().unwrap() == 1;
        create(&there, request, |document| match document["seq"].as_u64().unwrap() % 3 {
            0 if first => Some((429, "es_rejected_execution_exception")),
            1 => Some((400, "document_parsing_exception")),
            _ => None,
        })
    });
    server.up();
    let mut world = World::new();
    world.events(9);
    let running = world.start("es", BATCH, to(server.address, ""));
    let status = running.drained().await;
    assert_eq!((status.delivered, status.parked), (6, 3));
    running.stop().await;
    let sent: Vec<Vec<u64>> = server
        .requests()
        .iter()
        .map(|request| operations(request).iter().map(|(_, document)| document["seq"].as_u64().unwrap()).collect())
        .collect();
    assert_eq!(sent, [(1..=9).collect::<Vec<_>>(), vec![3, 6, 9]]);
    let request = &server.requests()[0];
    assert!(request.target.starts_with("/audit/_bulk"), "{}", request.target);
    assert_eq!(operations(request)[0].0, World::event_id(1), "the key is the id");
}

#[tokio::test]
async fn credentials_are_sent_and_never_quoted() {
    let server = FakeHttp::new().await;
    server.up();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), "bm90LWFuOmFwaS1rZXk=\n").unwrap();
    fs::write(dir.path().join("password"), "fixture-password\n").unwrap();
    let url = format!("url = 'http://{}'\nindex = 'audit'\n", server.address);
    // RFC 7617: base64 of user:password, made by `printf fixture:fixture-password | base64`.
    for (members, value) in [
        ("api_key_file = 'key'", "ApiKey bm90LWFuOmFwaS1rZXk="),
        ("basic_auth = { username = 'fixture', password_file = 'password' }", "Basic Zml4dHVyZTpmaXh0dXJlLXBhc3N3b3Jk"),
    ] {
        let sink = sink(dir.path(), &format!("{url}{members}"));
        server.script(|request| {
            let echo = format!("no: {:?} fixture-password", request.headers);
            Reply::Bytes(401, "", echo.into_bytes())
        });
        let error = deliver(&sink, [message(1, "{}")]).await.unwrap_err();
        assert!(matches!(error, SinkError::Retry { fault: true, .. }), "{error:?}");
        let (said, secret) = (error.to_string(), value.split(' ').next_back().unwrap());
        assert!(said.contains("401") && !said.contains(secret) && !said.contains("fixture-password"), "{said}");
        assert_eq!(server.requests().pop().unwrap().headers["authorization"], value);
    }
}

/// A data stream as Elasticsearch documents it: documents are created and never changed, and each has its `@timestamp`.
#[tokio::test]
async fn a_data_stream_gets_what_it_takes() {
    let server = FakeHttp::new().await;
    let index = Index::default();
    let there = Arc::clone(&index);
    server.script(move |request| {
        let (path, _) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if (&*request.method, path) != ("POST", "/logs-refresh_audit.audit-default/_bulk") {
            return Reply::Status(405, "", "only creating is supported");
        }
        // Every operation must be `create`: `operations` reads no other.
        create(&there, request, |document| {
            let at = document["@timestamp"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
            at.is_none().then_some((400, "document_parsing_exception"))
        })
    });
    server.up();
    let members =
        format!("url = 'http://{}'\nindex = 'logs-refresh_audit.audit-default'\ndata_stream = true", server.address);
    let sink = |more: &str| sink(Path::new("/"), &format!("{members}\n{more}"));
    let mut world = World::new();
    world.events(9);
    for (name, format, timestamp) in [("json", "json", "/received_at"), ("ecs", "ecs", "/refresh_audit/occurred_at")] {
        index.lock().unwrap().clear();
        let running = world.start(name, &format!("{BATCH}\nformat = '{format}'"), sink(""));
        let status = running.drained().await;
        assert_eq!((status.delivered, status.parked), (9, 0), "{format}");
        running.stop().await;
        let documents = index.lock().unwrap().clone();
        for (seq, (id, document)) in (1..).zip(&documents) {
            assert_eq!((id, &document["@timestamp"]), (&World::event_id(seq), document.pointer(timestamp).unwrap()));
        }
        assert_eq!(documents.len(), 9);
    }
    // What cannot be deleted stays, marked as a test.
    let before = server.requests().len();
    check(&sink(""), message(9, r#"{"test":true}"#)).await.unwrap();
    assert_eq!(server.requests().len(), before + 1);
    // A document without an instant is what such a stream refuses.
    let bare = message(10, r#"{"@timestamp":"soon"}"#);
    assert!(matches!(deliver(&sink(""), [bare]).await, Err(SinkError::Reject { .. })));
}

/// Every event is one document, whole, under its id.
fn exactly_once(osmem: &Osmem, world: &World, events: u64) {
    let journal = fs::read_to_string(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    let mut documents = osmem.documents("audit");
    documents.sort_by_key(|(_, document)| document["seq"].as_u64());
    assert_eq!(documents.len() as u64, events);
    for ((id, document), line) in documents.into_iter().zip(journal.lines()) {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["@timestamp"] = record["received_at"].clone();
        assert_eq!((id.as_str(), &document), (record["event"]["id"].as_str().unwrap(), &record));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_on_the_way_each_record_ends_as_one_document() {
    let Some(osmem) = Osmem::start() else { return };
    let proxy = Proxy::new(osmem.address).await;
    let mut world = World::new();
    let mut running = world.start("es", BATCH, to(proxy.address, ""));
    let mut events = 0;
    // 20 records are some 10 kB.
    for fault in [
        Fault::None,
        Fault::ResetAfter(4_000),
        Fault::CutAfter(4_000),
        Fault::CutAfter(14_000),
        Fault::Swallow,
        Fault::Freeze,
        Fault::Refuse,
        Fault::Drip(Duration::from_millis(100)),
        Fault::Delay(Duration::from_millis(500)),
    ] {
        let errors = running.handle.status().last_error.is_some();
        assert!(!errors, "{fault:?}");
        proxy.set(fault);
        events = world.events(60);
        if !matches!(fault, Fault::None | Fault::Delay(_)) {
            running.until("an error", |status| status.last_error.is_some()).await;
        }
        if fault == Fault::Refuse {
            running.crash().await;
            running = world.start("es", BATCH, to(proxy.address, ""));
        }
        if !matches!(fault, Fault::Delay(_)) {
            proxy.set(Fault::None);
        }
        running.drained().await;
    }
    osmem.server.freeze();
    events = events.max(world.events(60));
    running.until("an error", |status| status.last_error.is_some()).await;
    osmem.server.thaw();
    running.drained().await;
    let status = running.stop().await;
    assert_eq!((status.delivered, status.parked), (events, 0));
    assert!(proxy.connections() > 5 && proxy.bytes() > 0, "the faults hit");
    exactly_once(&osmem, &world, events);
}

/// In memory: a killed server has nothing any more of what it had taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_lost_is_missed_and_sent_again() {
    let Some(mut osmem) = Osmem::start() else { return };
    let mut world = World::new();
    world.events(200);
    let running = world.start("s", BATCH, to(osmem.address, ""));
    running.until("in the middle", |status| status.delivered >= 40).await;
    osmem.server.kill();
    world.events(50);
    running.until("an error", |status| status.last_error.is_some()).await;
    let taken = running.handle.status().delivered;
    osmem.server.restart();
    running.drained().await;
    assert_eq!(running.stop().await.delivered, 250);

    let journal = world.context.journal();
    let held = async || {
        let mut delivered = files(&world, &journal).delivered(KeyScheme::EventId, 1);
        let asked = delivered.next(1_000).unwrap().unwrap();
        to(osmem.address, "").holds(&asked).await.unwrap().unwrap()
    };
    // A batch whose answer the kill took was sent again.
    let missing = held().await.missing;
    assert_eq!(missing, (1..=taken).collect::<Vec<_>>());
    let running = world.start("s", BATCH, to(osmem.address, ""));
    running.handle.redeliver(1, Some(taken)).await.unwrap();
    running.until("sent again", |status| status.redriving == 0).await;
    running.stop().await;
    assert_eq!(held().await.missing, [0; 0]);
    exactly_once(&osmem, &world, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_mapping_error_parks_its_record_only() {
    let Some(osmem) = Osmem::start() else { return };
    // The server's own strictness: this instant is no date of that format.
    osmem.ask("PUT", "/audit", r#"{"mappings":{"properties":{"seq":{"type":"byte"}}}}"#);
    let mut world = World::new();
    // A byte ends at 127.
    world.events(130);
    let running = world.start("es", BATCH, to(osmem.address, ""));
    let status = running.drained().await;
    assert_eq!((status.delivered, status.parked), (127, 3));
    running.stop().await;
    let parked = fs::read_to_string(world.sink_file("es", "parked.jsonl")).unwrap();
    assert!(parked.lines().all(|line| line.contains("400 ") && line.contains("parsing_exception")), "{parked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_proves_both_sides() {
    let Some(osmem) = Osmem::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(dir.path(), "ca"), Authority::new(dir.path(), "other"));
    ours.issue("server");
    ours.issue("client");
    other.issue("stranger");
    ours.issue_for("elsewhere", &["elsewhere.invalid"]);
    let files = |name| Files::new(dir.path(), name).only_of(ours.cert.clone());
    let Some(stunnel) = Stunnel::before(osmem.address, &files("server")) else { return };
    let Some(misnamed) = Stunnel::before(osmem.address, &files("elsewhere")) else { return };
    let at = |address: SocketAddr, members: &str| {
        sink(dir.path(), &format!("url = 'https://{address}'\nindex = 'audit'\ntimeout = '3s'\n{members}"))
    };
    let client = "cert_file = 'client.crt'\nkey_file = 'client.key'";
    deliver(&at(stunnel.address, &format!("ca_file = 'ca.crt'\n{client}")), [message(1, "{}")]).await.unwrap();
    for (address, members, what) in [
        (stunnel.address, "ca_file = 'ca.crt'".to_owned(), "without a client certificate"),
        (
            stunnel.address,
            "ca_file = 'ca.crt'\ncert_file = 'stranger.crt'\nkey_file = 'stranger.key'".to_owned(),
            "with another authority's",
        ),
        (stunnel.address, format!("ca_file = 'other.crt'\n{client}"), "a server of another authority"),
        (misnamed.address, format!("ca_file = 'ca.crt'\n{client}"), "a server of another name"),
        (stunnel.address, client.to_owned(), "a server that the system does not know"),
    ] {
        let error = deliver(&at(address, &members), [message(2, "{}")]).await.unwrap_err();
        assert!(matches!(error, SinkError::Retry { .. }), "{what}: {error}");
    }
    assert_eq!(osmem.documents("audit").len(), 1);
    // And from a journal: it waits for the right certificate, and loses nothing.
    let mut world = World::new();
    world.events(10);
    let running = world.start("tls", BATCH, at(stunnel.address, "ca_file = 'other.crt'"));
    running.until("an error", |status| status.last_error.is_some()).await;
    assert_ne!(running.handle.status().state, SinkState::Idle);
    running.crash().await;
    let running = world.start("tls", BATCH, at(stunnel.address, &format!("ca_file = 'ca.crt'\n{client}")));
    assert_eq!(running.drained().await.delivered, 10);
    running.stop().await;
    assert_eq!(osmem.documents("audit").len(), 11);
}
