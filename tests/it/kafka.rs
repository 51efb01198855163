//! What is particular to the `kafka` sink, against a real broker: keys, headers, order for each user over lost
//! connections, throttling, single partitions, topics, TLS, SASL.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use refresh_audit::{
    record::{Head, Seq},
    sink::{Acked, AnySink, Message, Sink, SinkConfig, SinkError},
};

use crate::{
    journal::World,
    servers::{
        stunnel::{Files, Stunnel},
        tansu::Tansu,
    },
    sinks::{
        broker::{Fate, NOT_ENOUGH_REPLICAS_AFTER_APPEND, PARTITIONS, TOPIC, Wire, seq, stored},
        sasl::Login,
    },
    support::{
        app::free_port,
        certs::Authority,
        proxy::{Fault, Proxy},
    },
};

const BATCH: &str = "batch = { records = 20, wait = '0ms' }";
const USERS: u64 = 7;

fn sink(base: &Path, members: &str) -> AnySink {
    let members = format!("topic = '{TOPIC}'\ntimeout = '1s'\n{members}");
    let config = SinkConfig::parse("kafka", toml::Deserializer::parse(&members).unwrap()).unwrap();
    config.build(base).unwrap_or_else(|error| panic!("{members}: {error}"))
}

fn to(address: SocketAddr, more: &str) -> AnySink {
    sink(Path::new("/"), &format!("brokers = ['{address}']\n{more}"))
}

fn message(seq: Seq, user: &str) -> Message {
    let line = format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":{seq},"kind":"event","received_at":"2026-11-22T06:40:00.123456Z","event":{{"id":"k{seq}","user_id":"{user}"}},"hash":"ab"}}"#
    );
    let head = Head::read(line.as_bytes()).unwrap();
    Message {
        seq,
        kind: head.kind,
        key: format!("k{seq}"),
        head: head.keep(),
        line: line.clone().into(),
        body: line.into(),
        media_type: "application/json",
    }
}

/// Every seq is there; each user's, in one partition, in order but for what came twice. How many came twice.
async fn all_in_order(address: SocketAddr, events: u64) -> usize {
    let partitions = stored(address).await;
    let mut users: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut ids: BTreeMap<Seq, Vec<u8>> = BTreeMap::new();
    let mut twice = 0;
    for (partition, records) in partitions.iter().enumerate() {
        let mut last: BTreeMap<&[u8], Seq> = BTreeMap::new();
        for record in records {
            let key = record.record.key.as_deref().unwrap();
            assert_eq!(*users.entry(key.to_vec()).or_insert(partition), partition, "a user has one partition");
            let id = record.record.headers["event_id"].clone();
            if let Some(before) = ids.insert(seq(record), id.clone()) {
                assert_eq!(before, id);
                twice += 1;
                continue;
            }
            let before = last.insert(key, seq(record)).unwrap_or_default();
            assert!(before < seq(record), "{before} before {}", seq(record));
        }
    }
    assert_eq!(ids.keys().copied().collect::<Vec<_>>(), (1..=events).collect::<Vec<_>>());
    twice
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_as_told() {
    let Some(wire) = Wire::start().await else { return };
    // Topics are not made by asking for them.
    let error = to(wire.address, "").deliver(&[message(1, "u1")]).await.unwrap_err();
    assert!(
        matches!(&error, SinkError::Retry { fault: true, reason, .. } if reason.contains("create_topic")),
        "{error:?}"
    );
    let sink = to(wire.address, "create_topic = true\npartitions = 3");
    let batch = [message(1, "abc"), message(2, "21"), message(3, "abc")];
    // One by one: this broker's last offset counts requests, not records.
    let mut places = BTreeMap::new();
    for message in &batch {
        let ack = sink.deliver(std::slice::from_ref(message)).await.unwrap();
        places.extend(ack.records);
    }
    let partitions = stored(wire.address).await;
    assert_eq!(partitions.len(), PARTITIONS as usize);
    // murmur2("abc") = 479,470,107 and murmur2("21") without its sign = 1,173,551,340 in the Java client's tests; both
    // are divisible by 3.
    assert_eq!(partitions[0].iter().map(seq).collect::<Vec<_>>(), [1, 2, 3]);
    let record = &partitions[0][1].record;
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"21"[..]), Some(&*batch[1].body)));
    let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected: [(&str, &[u8]); 4] =
        [("content-type", b"application/json"), ("event_id", b"k2"), ("schema", b"refresh-audit/1"), ("seq", b"2")];
    assert_eq!(headers, expected);
    // 2026-11-22T06:40:00.123Z, `date -d … +%s`.
    assert_eq!(record.timestamp.timestamp_millis(), 1_795_329_600_123);
    assert_eq!(places[&2], "0@1");
    let acked = |seq, ack: &str| Acked { seq, key: format!("k{seq}"), ack: ack.to_owned() };
    let held =
        sink.holds(&[acked(1, "0@0"), acked(3, "0@2"), acked(4, "0@3"), acked(5, "9@0")]).await.unwrap().unwrap();
    assert_eq!((held.missing, held.total), (vec![4, 5], Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_on_the_way_nothing_is_lost_and_each_user_is_in_order() {
    let address = free_port();
    let proxy = Proxy::new(address).await;
    let Some(tansu) = Tansu::advertised(address, &proxy.address.to_string()) else { return };
    tansu.create_topic(TOPIC, PARTITIONS);
    let mut world = World::new();
    let mut running = world.start("k", BATCH, to(proxy.address, "compression = 'none'"));
    let mut events = 0;
    // 20 records are some 12 kB.
    for fault in [
        Fault::None,
        Fault::ResetAfter(5_000),
        Fault::CutAfter(5_000),
        Fault::CutAfter(17_000),
        Fault::Swallow,
        Fault::Freeze,
        Fault::Refuse,
        Fault::Drip(Duration::from_millis(20)),
        Fault::Delay(Duration::from_millis(100)),
    ] {
        proxy.set(fault);
        events = world.user_events(60, USERS);
        if !matches!(fault, Fault::None | Fault::Delay(_)) {
            running.until("an error", |status| status.last_error.is_some()).await;
        }
        if fault == Fault::Refuse {
            running.crash().await;
            running = world.start("k", BATCH, to(proxy.address, ""));
        }
        if !matches!(fault, Fault::Delay(_)) {
            proxy.set(Fault::None);
        }
        running.drained().await;
    }
    proxy.set(Fault::None);
    tansu.server.freeze();
    events = events.max(world.user_events(60, USERS));
    running.until("an error", |status| status.last_error.is_some()).await;
    tansu.server.thaw();
    running.drained().await;
    let status = running.stop().await;
    assert_eq!((status.delivered, status.parked), (events, 0));
    let twice = all_in_order(proxy.address, events).await;
    // A batch whose answer was lost, and what a batch on its way at our crash had delivered.
    assert!(twice <= 20 * 9, "{twice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_batch_is_not_sent_again() {
    let Some(wire) = Wire::start().await else { return };
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    wire.script(|_| Fate::Throttled(50));
    let mut world = World::new();
    world.user_events(60, USERS);
    let running = world.start("k", BATCH, to(wire.address, ""));
    running.drained().await;
    running.stop().await;
    assert_eq!(all_in_order(wire.address, 60).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_failed_is_tried_again_alone() {
    let Some(wire) = Wire::start().await else { return };
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    wire.script(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Fate::Misreported(1, NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        _ => Fate::Passes,
    });
    let mut world = World::new();
    world.user_events(40, USERS);
    let running = world.start("k", "batch = { records = 40, wait = '0ms' }", to(wire.address, ""));
    running.drained().await;
    running.stop().await;
    let twice = all_in_order(wire.address, 40).await;
    let partitions = stored(wire.address).await;
    // What that partition had already appended is there twice, and nothing else.
    let distinct: BTreeSet<Seq> = partitions[1].iter().map(seq).collect();
    assert!(!distinct.is_empty() && distinct.len() < 40);
    assert_eq!((twice, partitions[1].len()), (distinct.len(), 2 * distinct.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_cannot_send_us_to_another_machine_in_the_clear() {
    let address = free_port();
    // An address that is this machine's, but not by its name.
    let elsewhere = format!("0.0.0.0:{}", address.port());
    let Some(tansu) = Tansu::advertised(address, &elsewhere) else { return };
    tansu.create_topic(TOPIC, PARTITIONS);
    let error = to(address, "").deliver(&[message(1, "u")]).await.unwrap_err();
    let SinkError::Retry { reason, fault: true, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains(&elsewhere) && reason.contains("allow_plaintext"), "{reason}");
    to(address, "allow_plaintext = true").deliver(&[message(1, "u")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_vanished_is_a_fault_until_it_is_back() {
    let Some(mut wire) = Wire::start().await else { return };
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    let mut world = World::new();
    world.user_events(20, USERS);
    let running = world.start("k", BATCH, to(wire.address, ""));
    running.drained().await;
    // In memory: a restart loses the topic.
    wire.tansu.server.kill();
    wire.tansu.server.restart();
    world.user_events(20, USERS);
    let gone = |status: &refresh_audit::deliver::Status| {
        status.last_error.as_deref().is_some_and(|error| error.contains("does not exist"))
    };
    running.until("it says so", gone).await;
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    running.drained().await;
    running.stop().await;
    let seqs: BTreeSet<Seq> = stored(wire.address).await.iter().flatten().map(seq).collect();
    assert_eq!(seqs, (21..=40).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_middle_gets_the_rest_in_order() {
    let Some(mut wire) = Wire::start().await else { return };
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    let mut world = World::new();
    let mut events = world.user_events(400, USERS);
    let running = world.start("k", BATCH, to(wire.address, ""));
    running.until("in the middle", |status| status.delivered >= 60).await;
    wire.tansu.server.kill();
    running.until("an error", |status| status.last_error.is_some()).await;
    let taken = running.handle.status().delivered;
    events = events.max(world.user_events(50, USERS));
    wire.tansu.server.restart();
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    running.drained().await;
    assert_eq!(running.stop().await.delivered, events);
    // In memory: what it had acknowledged is gone, of the batch that was under way too.
    let mut seqs = Vec::new();
    for records in stored(wire.address).await {
        let mut last: BTreeMap<&[u8], Seq> = BTreeMap::new();
        for record in &records {
            let before = last.insert(record.record.key.as_deref().unwrap(), seq(record)).unwrap_or_default();
            assert!(before < seq(record), "{before} before {}", seq(record));
        }
        seqs.extend(records.iter().map(seq));
    }
    seqs.sort_unstable();
    assert!(seqs.first().is_some_and(|first| (taken + 1..=taken + 20).contains(first)), "{taken}: {seqs:?}");
    let rest: Vec<Seq> = seqs.into_iter().filter(|seq| *seq > taken + 20).collect();
    assert_eq!(rest, (taken + 21..=events).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(dir.path(), "ca"), Authority::new(dir.path(), "other"));
    ours.issue("server");
    ours.issue("client");
    other.issue("stranger");
    let (plain, tls) = (free_port(), free_port());
    let Some(tansu) = Tansu::advertised(plain, &tls.to_string()) else { return };
    tansu.create_topic(TOPIC, PARTITIONS);
    let files = Files::new(dir.path(), "server").only_of(ours.cert.clone());
    let Some(_stunnel) = Stunnel::at(tls, plain, &files) else { return };
    let client = "ca_file = 'ca.crt'\ncert_file = 'client.crt'\nkey_file = 'client.key'";
    let deliver = async |members: &str| {
        sink(dir.path(), &format!("brokers = ['{tls}']\n{members}")).deliver(&[message(1, "u")]).await
    };
    deliver(client).await.unwrap();
    for (members, what) in [
        ("ca_file = 'ca.crt'", "no client certificate"),
        ("ca_file = 'ca.crt'\ncert_file = 'stranger.crt'\nkey_file = 'stranger.key'", "another's"),
        ("ca_file = 'other.crt'\ncert_file = 'client.crt'\nkey_file = 'client.key'", "another server"),
        ("", "in the clear"),
    ] {
        let error = deliver(members).await.unwrap_err();
        assert!(matches!(&error, SinkError::Retry { .. }), "{what}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "fixture-password\n").unwrap();
    std::fs::write(dir.path().join("wrong"), "fixture-wrong-password\n").unwrap();
    let Some(wire) = Wire::start().await else { return };
    wire.tansu.create_topic(TOPIC, PARTITIONS);
    let reader = wire.address;
    let deliver = async |mechanism: &str, file: &str| {
        let sasl = format!("sasl = {{ mechanism = '{mechanism}', username = 'fixture', password_file = '{file}' }}");
        sink(dir.path(), &format!("brokers = ['{reader}']\n{sasl}")).deliver(&[message(1, "u")]).await
    };
    // The real broker knows no mechanism; the one in front of it knows one.
    assert!(matches!(deliver("PLAIN", "password").await.unwrap_err(), SinkError::Retry { fault: true, .. }));
    let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    for (taken, mechanism) in mechanisms.into_iter().enumerate() {
        let login = Login { mechanism, password: "fixture-password", is_impostor: false };
        wire.login(Some(login));
        let others = mechanisms.into_iter().filter(|other| *other != mechanism).map(|other| (other, "password"));
        for (other, file) in others.chain([(mechanism, "wrong")]) {
            let error = deliver(other, file).await.unwrap_err();
            assert!(matches!(&error, SinkError::Retry { fault: true, .. }), "{mechanism}, {other}: {error:?}");
            assert!(error.to_string().contains("check sasl") && !error.to_string().contains("fixture-"), "{error}");
        }
        assert!(to(reader, "").deliver(&[message(1, "u")]).await.is_err(), "without a password");
        if mechanism != "PLAIN" {
            // One that cannot prove that it knows the password, too, gets nothing.
            wire.login(Some(Login { is_impostor: true, ..login }));
            let error = deliver(mechanism, "password").await.unwrap_err();
            assert!(matches!(&error, SinkError::Retry { fault: true, .. }), "{mechanism}: {error:?}");
        }
        wire.login(None);
        assert_eq!(stored(reader).await.iter().flatten().count(), taken, "nothing but what was let in");
        wire.login(Some(login));
        deliver(mechanism, "password").await.unwrap();
    }
}
