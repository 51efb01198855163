//! OpenTelemetry: the wire as the specification has it, and a real receiver that is killed, restarted and unfit.

use std::{fs, path::Path, time::Duration};

use opentelemetry_proto::tonic::{collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value as Any};
use prost::Message as _;
use refresh_audit::{
    deliver::{DeliveryConfig, probe::probe},
    sink::{AnySink, Sink, SinkConfig, SinkError},
};

use crate::{
    fake_grpc::{Answer, FakeGrpc},
    fake_http::FakeHttp,
    journal::World,
    servers::{
        rotel::Rotel,
        stunnel::{Files, Stunnel},
    },
    sinks::{first_arrivals, otlp_seqs, retry_in_1s},
    support::{
        certs::Authority,
        proxy::{Fault, Proxy},
    },
};

fn sink(base: &Path, members: &str) -> AnySink {
    let config = SinkConfig::parse("otlp", toml::Deserializer::parse(members).unwrap()).unwrap();
    config.build(base).unwrap()
}

/// The journal's lines.
fn journal(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The bodies of a request, which are the journal's lines.
fn bodies(request: &ExportLogsServiceRequest) -> Vec<String> {
    let logs = &request.resource_logs[0].scope_logs[0].log_records;
    let body = |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| match &log.body.as_ref().unwrap().value {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    logs.iter().map(body).collect()
}

#[tokio::test]
async fn a_request_over_http_is_as_the_specification_says() {
    let server = FakeHttp::new().await;
    server.up();
    let mut world = World::new();
    world.events(3);
    fs::write(world.dir.path().join("token"), "Bearer fixture-token\n").unwrap();
    for gzip in [true, false] {
        let before = server.requests().len();
        let members = format!(
            "endpoint = 'http://{}'\ngzip = {gzip}\nheaders = {{ Authorization = {{ file = 'token' }}, x-scope = 'audit' }}",
            server.address
        );
        let running = world.start(&format!("otel-{gzip}"), "batch.wait = '0ms'", sink(world.dir.path(), &members));
        running.drained().await;
        running.stop().await;
        let requests = server.requests().split_off(before);
        let [request] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!((&*request.method, &*request.target), ("POST", "/v1/logs"));
        for (name, value) in [
            ("content-type", "application/x-protobuf"),
            ("authorization", "Bearer fixture-token"),
            ("x-scope", "audit"),
        ] {
            assert_eq!(request.headers[name], value);
        }
        assert_eq!(request.headers.get("content-encoding").map(String::as_str), gzip.then_some("gzip"));
        let export = ExportLogsServiceRequest::decode(&*request.bytes).unwrap();
        assert_eq!(otlp_seqs(&export), [1, 2, 3]);
        assert_eq!(bodies(&export), journal(&world));
    }
}

#[tokio::test]
async fn a_call_over_grpc_is_as_the_specification_says() {
    let server = FakeGrpc::new();
    server.up();
    let mut world = World::new();
    world.events(3);
    fs::write(world.dir.path().join("token"), "Bearer fixture-token\n").unwrap();
    for gzip in [true, false] {
        let before = server.calls().len();
        let members = format!(
            "endpoint = 'http://{}'\nprotocol = 'grpc'\ngzip = {gzip}\nheaders = {{ Authorization = {{ file = 'token' }} }}",
            server.address
        );
        let running = world.start(&format!("otel-{gzip}"), "batch.wait = '0ms'", sink(world.dir.path(), &members));
        running.drained().await;
        running.stop().await;
        let calls = server.calls().split_off(before);
        let [call] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!(call.path, "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
        assert_eq!((&call.headers["content-type"], call.compressed), (&"application/grpc".parse().unwrap(), gzip));
        assert_eq!(call.headers["authorization"], "Bearer fixture-token");
        assert_eq!(bodies(&call.request), journal(&world));
    }
}

#[tokio::test]
async fn what_the_receiver_asks_for_is_waited_and_nothing_of_ours_is_quoted() {
    let server = FakeGrpc::new();
    server.up();
    let mut world = World::new();
    world.events(1);
    fs::write(world.dir.path().join("token"), "fixture-token\n").unwrap();
    let members = format!(
        "endpoint = 'http://{}'\nprotocol = 'grpc'\nheaders = {{ x-api-key = {{ file = 'token' }} }}",
        server.address
    );
    server.script(|_| Answer::Status(8, "slow down fixture-token", retry_in_1s()));
    let sink = sink(world.dir.path(), &members);
    let line = journal(&world).remove(0);
    let message = refresh_audit::sink::Message {
        seq: 1,
        kind: refresh_audit::record::Kind::Event,
        key: "k".to_owned(),
        head: refresh_audit::record::Kept::default(),
        line: line.clone().into(),
        body: line.into(),
        media_type: "application/json",
    };
    let error = sink.deliver(&sink.pack().packed([message])).await.unwrap_err();
    assert!(!error.to_string().contains("fixture-token"), "{error}");
    let SinkError::Retry { after, fault, .. } = error else { panic!("{error}") };
    assert_eq!((after, fault), (Some(Duration::from_secs(1)), false));
}

#[tokio::test]
async fn a_connection_that_answers_no_more_is_left() {
    let server = FakeGrpc::new();
    server.up();
    let proxy = Proxy::new(server.address).await;
    let dir = tempfile::tempdir().unwrap();
    let sink =
        sink(dir.path(), &format!("endpoint = 'http://{}'\nprotocol = 'grpc'\ntimeout = '300ms'", proxy.address));
    let test = probe("n", "otel", &DeliveryConfig::default(), &sink).unwrap();
    sink.check(&test).await.unwrap();
    server.script(|_| Answer::Hang);
    let error = sink.check(&test).await.unwrap_err();
    assert!(matches!(&error, SinkError::Retry { fault: false, .. }), "{error:?}");
    server.script(|_| Answer::Ok(Vec::new()));
    sink.check(&test).await.unwrap();
    assert_eq!(proxy.connections(), 2);
}

#[test]
fn secrets_are_never_inline() {
    for (members, said) in [
        ("endpoint = 'http://127.0.0.1'\nheaders = { Authorization = 'Bearer hunter22' }", "file"),
        ("endpoint = 'http://u:hunter22@127.0.0.1'", "endpoint"),
        ("endpoint = 'http://192.0.2.1'", "clear"),
        ("endpoint = 'http://127.0.0.1'\nheaders = { content-type = 'x' }", "leave it out"),
        ("endpoint = 'https://127.0.0.1'\nprotocol = 'grpc'\nca_file = 'none'", "ca_file"),
    ] {
        let config = SinkConfig::parse("otlp", toml::Deserializer::parse(members).unwrap()).unwrap();
        let Err(error) = config.build(Path::new("/nonexistent")) else { panic!("taken: {members}") };
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains("hunter22"), "{members}: {error}");
    }
}

/// A real receiver over both protocols, killed in the middle of the stream and started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_receiver_gets_everything_in_order_though_it_is_killed() {
    for protocol in ["http", "grpc"] {
        let Some(mut rotel) = Rotel::start() else { return };
        let mut world = World::new();
        world.events(100);
        let address = if protocol == "http" { rotel.http } else { rotel.grpc };
        let members = format!("endpoint = 'http://{address}'\nprotocol = '{protocol}'\ntimeout = '5s'");
        let config = "batch = { records = 5, wait = '5ms' }";
        let running = world.start("otel", config, sink(world.dir.path(), &members));
        running.until("some delivered", |status| status.delivered >= 20).await;
        rotel.server.kill();
        // OTLP's answer says "taken", not "kept": what this receiver had taken and not yet printed dies with it.
        let printed = rotel.seqs().last().copied().unwrap_or(0);
        world.events(50);
        let taken = running.until("an error", |status| status.last_error.is_some()).await.delivered;
        rotel.server.restart();
        let status = running.drained().await;
        running.stop().await;
        assert_eq!((status.recorded, status.delivered, status.parked), (150, 150, 0), "{protocol}");
        crate::journal::eventually("the last record in the receiver's log", || {
            (rotel.seqs().last() == Some(&150)).then_some(())
        })
        .await;
        let seqs = rotel.seqs();
        let kept = |seq: &u64| *seq <= printed || *seq > taken;
        let arrived: Vec<u64> = first_arrivals(&seqs).into_iter().filter(kept).collect();
        assert_eq!(arrived, (1..=150).filter(kept).collect::<Vec<_>>(), "{protocol}");
        assert!(first_arrivals(&seqs).is_sorted(), "{protocol}: {seqs:?}");
        let log = rotel.server.log();
        for said in ["service.name: Str(refresh-audit)", "EventName: refresh_audit.event", "SEVERITY_NUMBER_INFO(9)"] {
            assert!(log.contains(said), "{protocol}: {said}");
        }
    }
}

/// Cut off in half-sent data, late, silent, frozen.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_receiver_gets_everything_in_order_whatever_happens_on_the_way() {
    for protocol in ["http", "grpc"] {
        let Some(rotel) = Rotel::start() else { return };
        let proxy = Proxy::new(if protocol == "http" { rotel.http } else { rotel.grpc }).await;
        let mut world = World::new();
        let members =
            format!("endpoint = 'http://{}'\nprotocol = '{protocol}'\ngzip = false\ntimeout = '1s'", proxy.address);
        let running = world.start("otel", "batch = { records = 20, wait = '0ms' }", sink(world.dir.path(), &members));
        let mut last = 0;
        // 20 records are some 20 kB.
        for fault in [
            Fault::None,
            Fault::ResetAfter(5_000),
            Fault::CutAfter(5_000),
            Fault::CutAfter(12_000),
            Fault::Swallow,
            Fault::Freeze,
            Fault::Refuse,
            Fault::Delay(Duration::from_millis(100)),
        ] {
            proxy.set(fault);
            last = world.events(60);
            if !matches!(fault, Fault::None | Fault::Delay(_)) {
                running.until("an error", |status| status.last_error.is_some()).await;
                proxy.set(Fault::None);
            }
            running.drained().await;
        }
        proxy.set(Fault::None);
        rotel.server.freeze();
        last = world.events(20).max(last);
        running.until("an error", |status| status.last_error.is_some()).await;
        rotel.server.thaw();
        running.drained().await;
        running.stop().await;
        let all = || first_arrivals(&rotel.seqs());
        crate::journal::eventually("the last record in the receiver's log", || {
            (all().last() == Some(&last)).then_some(())
        })
        .await;
        assert_eq!(all(), (1..=last).collect::<Vec<_>>(), "{protocol}");
    }
}

/// TLS in front of it: with its authority all is well, with another one nothing is sent, and it is trouble that is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_gets_nothing() {
    let Some(rotel) = Rotel::start() else { return };
    let mut world = World::new();
    world.events(3);
    let dir = world.dir.path().to_owned();
    let authority = Authority::new(&dir, "ca");
    authority.issue("server");
    authority.issue("client");
    authority.issue_for("elsewhere", &["elsewhere.invalid"]);
    Authority::new(&dir, "other");
    for (protocol, to) in [("http", rotel.http), ("grpc", rotel.grpc)] {
        let asking = Files::new(&dir, "server").only_of(authority.cert.clone());
        let Some(good) = Stunnel::before(to, &asking) else { return };
        let Some(named_wrong) = Stunnel::before(to, &Files::new(&dir, "elsewhere")) else { return };
        let client = "cert_file = 'client.crt'\nkey_file = 'client.key'";
        for (what, address, more) in [
            ("unknown authority", good.address, format!("ca_file = 'other.crt'\n{client}")),
            ("another name", named_wrong.address, "ca_file = 'ca.crt'".to_owned()),
            ("no client certificate", good.address, "ca_file = 'ca.crt'".to_owned()),
        ] {
            let before = rotel.seqs().len();
            let members = format!("endpoint = 'https://{address}'\nprotocol = '{protocol}'\n{more}");
            let name = format!("{protocol}-{}", what.replace(' ', "-"));
            let running = world.start(&name, "batch.wait = '0ms'", sink(&dir, &members));
            let status = running.until("an error", |status| status.last_error.is_some()).await;
            running.crash().await;
            assert_eq!((status.delivered, rotel.seqs().len()), (0, before), "{protocol}, {what}");
            // A client learns that its certificate is missed only after its first request, if the connection lives so long.
            let said = status.last_error.unwrap().to_lowercase();
            assert!(said.contains("certificate") || what == "no client certificate", "{protocol}, {what}: {said}");
        }
        let members =
            format!("endpoint = 'https://{}'\nprotocol = '{protocol}'\nca_file = 'ca.crt'\n{client}", good.address);
        let running = world.start(&format!("{protocol}-good"), "batch.wait = '0ms'", sink(&dir, &members));
        running.drained().await;
        running.stop().await;
    }
    assert_eq!(first_arrivals(&rotel.seqs()), [1, 2, 3]);
    assert_eq!(rotel.seqs().len(), 6, "once over each protocol");
}
