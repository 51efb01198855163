//! What is particular to the `nats` sink, against real servers, the newest and an old one: ids, order over lost
//! connections, limits, credentials, TLS.

mod creds;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use async_nats::jetstream::{Context, stream};
use refresh_audit::{
    record::{Kept, Kind},
    sink::{Acked, AnySink, Message, Sink, SinkConfig, SinkError},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    journal::World,
    servers::nats::Nats,
    sinks::jetstream::{client, create, seq, stored},
    support::{
        certs::Authority,
        proxy::{Fault, Proxy},
    },
};

const BATCH: &str = "batch = { records = 20, wait = '0ms' }";

fn sink(base: &Path, members: &str) -> AnySink {
    let members = format!("stream = 'AUDIT'\nsubject = 'audit.records'\ntimeout = '1s'\n{members}");
    let config = SinkConfig::parse("nats", toml::Deserializer::parse(&members).unwrap()).unwrap();
    config.build(base).unwrap_or_else(|error| panic!("{members}: {error}"))
}

fn to(address: SocketAddr, more: &str) -> AnySink {
    sink(Path::new("/"), &format!("servers = ['nats://{address}']\n{more}"))
}

fn message(seq: u64, key: &str, body: Vec<u8>) -> Message {
    Message {
        seq,
        kind: Kind::Event,
        key: key.to_owned(),
        head: Kept::default(),
        line: "{}".into(),
        body: body.into(),
        media_type: "application/json",
    }
}

fn small(seq: u64) -> Message {
    message(seq, &format!("k{seq}"), format!("{{\"seq\":{seq}}}").into_bytes())
}

/// Each event once, whole, in order, under its id.
async fn exactly_once_in_order(nats: &Nats, world: &World, events: u64) {
    let journal = fs::read_to_string(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    let stored = stored(nats).await;
    let seqs: Vec<u64> = stored.iter().map(seq).collect();
    assert_eq!(seqs, (1..=events).collect::<Vec<_>>());
    for ((id, payload), (line, seq)) in stored.iter().zip(journal.lines().zip(1..)) {
        assert_eq!((id, payload.as_slice()), (&World::event_id(seq), line.as_bytes()));
    }
}

async fn count(context: &Context) -> u64 {
    context.get_stream("AUDIT").await.unwrap().cached_info().state.messages
}

async fn survives(program: &'static str) {
    let Some(mut nats) = Nats::start(program, "") else { return };
    create(&nats, stream::Config::default()).await;
    let proxy = Proxy::new(nats.address).await;
    let mut world = World::new();
    let mut running = world.start("n", BATCH, to(proxy.address, ""));
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
        Fault::Delay(Duration::from_millis(200)),
    ] {
        proxy.set(fault);
        events = world.events(60);
        if !matches!(fault, Fault::None | Fault::Delay(_)) {
            running.until("an error", |status| status.last_error.is_some()).await;
        }
        if fault == Fault::Refuse {
            running.crash().await;
            running = world.start("n", BATCH, to(proxy.address, ""));
        }
        if !matches!(fault, Fault::Delay(_)) {
            proxy.set(Fault::None);
        }
        running.drained().await;
    }
    proxy.set(Fault::None);
    running.stop().await;
    // More than are in flight at once.
    let running = world.start("n", "batch = { records = 3000, bytes = '8MiB', wait = '0ms' }", to(proxy.address, ""));
    for round in 0..4 {
        let context = client(&nats).await;
        let before = count(&context).await;
        events = world.events(6_000);
        // Somewhere in a batch.
        while count(&context).await < before + 500 + 800 * round {}
        nats.server.kill();
        running.until("an error", |status| status.last_error.is_some()).await;
        nats.server.restart();
        running.drained().await;
    }
    nats.server.freeze();
    events = events.max(world.events(60));
    running.until("an error", |status| status.last_error.is_some()).await;
    nats.server.thaw();
    running.drained().await;
    let status = running.stop().await;
    assert_eq!((status.delivered, status.parked), (events, 0));
    exactly_once_in_order(&nats, &world, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_on_the_way_each_record_ends_once_and_in_order() {
    survives("nats-server").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_keeps_it_as_well() {
    survives("nats-server-old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_delivered_and_an_ack_says_where() {
    let Some(nats) = Nats::start("nats-server", "") else { return };
    // Creates the stream that does not exist, and only then.
    let error = to(nats.address, "").deliver(&[small(1)]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Partly { fault: true, .. }), "{error:?}");
    let sink = to(nats.address, "create = true");
    let ack = sink.deliver(&[small(1), small(2)]).await.unwrap();
    assert_eq!(ack.records, [(1, "1".to_owned()), (2, "2".to_owned())]);
    let ack = to(nats.address, "create = true").deliver(&[small(1), small(2), small(3)]).await.unwrap();
    let said = [(1, "1 duplicate".to_owned()), (2, "2 duplicate".to_owned()), (3, "3".to_owned())];
    assert_eq!(ack.records, said);
    let stream = client(&nats).await.get_stream("AUDIT").await.unwrap();
    assert_eq!(stream.cached_info().config.duplicate_window, Duration::from_secs(3_600));
    // Hostile keys are one header each.
    sink.deliver(&[message(4, "a\r\nx: y%é", b"{\"seq\":4}".to_vec())]).await.unwrap();
    assert_eq!(stored(&nats).await[3].0, "a%0D%0Ax:%20y%25%C3%A9");
    stream.delete_message(2).await.unwrap();
    let acked = |(seq, ack): (u64, String)| Acked { seq, key: format!("k{seq}"), ack };
    let held = sink.holds(&said.map(acked)).await.unwrap().unwrap();
    assert_eq!((held.missing, held.shared, held.total), (vec![2], vec![], Some(3)));
    // Another record with the key of the first, as an event id that comes again makes one.
    let ack = sink.deliver(&[message(9, "k1", b"{\"seq\":9}".to_vec())]).await.unwrap();
    assert_eq!(ack.records, [(9, "1 duplicate".to_owned())]);
    let again = Acked { seq: 9, key: "k1".to_owned(), ack: "1 duplicate".to_owned() };
    let held = sink.holds(&[again]).await.unwrap().unwrap();
    assert_eq!((held.missing, held.shared, held.total), (vec![], vec![9], Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_alone() {
    refuses_alone("nats-server").await;
    refuses_alone("nats-server-old").await;
}

async fn refuses_alone(program: &'static str) {
    let Some(nats) = Nats::start(program, "max_payload: 4096") else { return };
    create(&nats, stream::Config { max_message_size: 2_000, ..stream::Config::default() }).await;
    let large = |seq, len| {
        message(seq, &format!("k{seq}"), format!("{{\"seq\":{seq},\"x\":\"{}\"}}", "x".repeat(len)).into_bytes())
    };
    let sink = to(nats.address, "");
    // The server's own limit is known beforehand, the stream's is not.
    let error = sink.deliver(&[small(1), large(2, 5_000), small(3)]).await.unwrap_err();
    let SinkError::Reject { refused, .. } = error else { panic!("{error:?}") };
    assert!(matches!(&refused[..], [(2, reason)] if reason.contains("max_payload of 4096")), "{refused:?}");
    // Nor does it hold up what follows, though that names it: one, two in a row, the last.
    for (base, shared) in [(10, "shared = false"), (30, "shared = true")] {
        let is_large = |at: u64| [0, 3, 4, 9].contains(&at);
        let one = |at| if is_large(at) { large(base + at, 3_000) } else { small(base + at) };
        let sink = to(nats.address, shared);
        let error = sink.deliver(&(0..10).map(one).collect::<Vec<_>>()).await.unwrap_err();
        let SinkError::Reject { refused, ack } = error else { panic!("{shared}: {error:?}") };
        assert!(refused.iter().all(|(_, reason)| reason.contains("exceeds maximum")), "{shared}: {refused:?}");
        let seqs: Vec<u64> = refused.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, [0, 3, 4, 9].map(|at| base + at), "{shared}");
        let taken: Vec<u64> = ack.records.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(taken, [1, 2, 5, 6, 7, 8].map(|at| base + at), "{shared}");
    }
    let stored: Vec<u64> = stored(&nats).await.iter().map(seq).collect();
    assert_eq!(stored, [1, 3, 11, 12, 15, 16, 17, 18, 31, 32, 35, 36, 37, 38]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_publisher_is_noticed_or_allowed() {
    let Some(nats) = Nats::start("nats-server", "") else { return };
    create(&nats, stream::Config::default()).await;
    to(nats.address, "").deliver(&[small(1)]).await.unwrap();
    client(&nats).await.publish("audit.records", "{\"seq\":0}".into()).await.unwrap().await.unwrap();
    // The first is there already; between it and the second is somebody else's.
    let batch = [small(1), small(2)];
    let error = to(nats.address, "").deliver(&batch).await.unwrap_err();
    let SinkError::Partly { again, reason, .. } = error else { panic!("{error:?}") };
    assert!(again == [2] && reason.contains("shared = true"), "{again:?} {reason}");
    to(nats.address, "shared = true").deliver(&batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_cannot_send_us_to_another() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "fixture-password\n").unwrap();
    let (first, other) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let info = format!(
        "INFO {}\r\n",
        json!({
            "server_id": "X", "server_name": "x", "version": "2.10.0", "go": "", "host": "127.0.0.1", "port": 1, "proto": 1,
            "headers": true, "jetstream": true, "max_payload": 1_048_576, "client_id": 1,
            "connect_urls": [other.local_addr().unwrap().to_string()],
        })
    );
    let address = first.local_addr().unwrap();
    // Greets, takes the client's word, and hangs up.
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = first.accept().await.unwrap();
            stream.write_all(info.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(b"PONG\r\n").await;
        }
    });
    let user = "user = 'fixture'\npassword_file = 'password'";
    // Which address a client takes next it leaves to chance.
    for _ in 0..6 {
        let sink = sink(dir.path(), &format!("servers = ['nats://{address}']\n{user}"));
        assert!(matches!(sink.deliver(&[small(1)]).await, Err(SinkError::Retry { .. } | SinkError::Partly { .. })));
        let sent_on = tokio::time::timeout(Duration::from_millis(300), other.accept()).await;
        assert!(sent_on.is_err(), "the client went where the server sent it");
    }
}

/// What a server says is short where it is told, however long it is, and nothing of ours is in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_is_quoted_in_part() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "fixture-password\n").unwrap();
    let said = format!("Permissions Violation \u{1b}[31m fixture-password {}", "y".repeat(100_000));
    // In place of the word that connecting is done, of the answer to a record, and as that answer.
    for when in ["PING", "HPUB", "MSG"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let words = said.clone();
        let server = tokio::spawn(async move {
            loop {
                let mut stream = BufReader::new(listener.accept().await.unwrap().0);
                let _ = say(&mut stream, when, &words).await;
            }
        });
        let sink = sink(dir.path(), &format!("servers = ['nats://{address}']\nuser = 'u'\npassword_file = 'password'"));
        let error = sink.deliver(&[small(1)]).await.unwrap_err();
        let (SinkError::Retry { reason, .. } | SinkError::Partly { reason, .. }) = &error else {
            panic!("{when}: {error:?}")
        };
        assert!(reason.to_lowercase().contains("permissions violation"), "{when}: {reason}");
        assert!(reason.len() < 400 && !reason.contains('\u{1b}') && !reason.contains("fixture-"), "{when}: {reason}");
        server.abort();
    }
}

/// A conversation up to where the server has something to say.
async fn say(stream: &mut BufReader<TcpStream>, when: &str, said: &str) -> std::io::Result<()> {
    let info = json!({
        "server_id": "X", "server_name": "x", "version": "2.10.0", "go": "", "host": "127.0.0.1", "port": 1, "proto": 1,
        "headers": true, "jetstream": true, "max_payload": 1_048_576, "client_id": 1,
    });
    stream.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
    let complaint = format!("-ERR '{said}'\r\n");
    let mut sid = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["PING"] if when == "PING" => complaint.clone(),
            ["PING"] => "PONG\r\n".to_owned(),
            ["SUB", _, id] => {
                id.clone_into(&mut sid);
                continue;
            }
            ["HPUB", ..] if when == "HPUB" => complaint.clone(),
            ["HPUB", _, inbox, ..] => {
                let error = json!({ "error": { "code": 500, "err_code": 10_077, "description": said } }).to_string();
                format!("MSG {inbox} {sid} {}\r\n{error}\r\n", error.len())
            }
            _ => continue,
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_certificates_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (ours, other) = (Authority::new(dir.path(), "ca"), Authority::new(dir.path(), "other"));
    ours.issue("server");
    ours.issue("client");
    other.issue("stranger");
    fs::write(path("password"), "fixture-password\n").unwrap();
    fs::write(path("wrong"), "fixture-wrong-password\n").unwrap();
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n\
         authorization {{ users: [\n\
           {{ user: fixture, password: fixture-password }}\n\
           {{ user: reader, password: fixture-password, permissions: {{ publish: {{ deny: \"audit.>\" }} }} }}\n\
         ] }}",
        path("server.crt"),
        path("server.key"),
        path("ca.crt"),
    );
    let Some(nats) = Nats::start("nats-server", &config) else { return };
    let tls = "ca_file = 'ca.crt'\ncert_file = 'client.crt'\nkey_file = 'client.key'";
    let user = "user = 'fixture'\npassword_file = 'password'";
    let deliver = async |members: String| {
        let servers = format!("servers = ['tls://{}']\n{members}", nats.address);
        sink(dir.path(), &servers).deliver(&[small(1)]).await
    };
    deliver(format!("{tls}\n{user}\ncreate = true")).await.unwrap();
    for (members, what, fault) in [
        (format!("{tls}\nuser = 'fixture'\npassword_file = 'wrong'"), "a wrong password", true),
        (tls.to_owned(), "no password", true),
        (format!("{tls}\nuser = 'reader'\npassword_file = 'password'"), "no permission", true),
        (format!("ca_file = 'ca.crt'\n{user}"), "no client certificate", false),
        (
            format!("ca_file = 'ca.crt'\ncert_file = 'stranger.crt'\nkey_file = 'stranger.key'\n{user}"),
            "another's",
            false,
        ),
        (
            format!("ca_file = 'other.crt'\ncert_file = 'client.crt'\nkey_file = 'client.key'\n{user}"),
            "a server of another authority",
            false,
        ),
    ] {
        let error = deliver(members).await.unwrap_err();
        let (SinkError::Retry { fault: is_fault, .. } | SinkError::Partly { fault: is_fault, .. }) = &error else {
            panic!("{what}: {error:?}")
        };
        assert!(*is_fault || !fault, "{what}: {error:?}");
        assert!(!error.to_string().contains("fixture-"), "{what}: {error}");
    }
    // In the clear, to a server that wants TLS: nothing is sent.
    let plain = sink(dir.path(), &format!("servers = ['nats://{}']\n{user}", nats.address));
    assert!(matches!(plain.deliver(&[small(2)]).await, Err(SinkError::Retry { .. })));
}
