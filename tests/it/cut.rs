//! Connections that are cut off in half-sent data, answer nothing, stand still: for the sinks whose other side is a fake
//! behind the proxy. (The others meet the same before real servers, in their own files.)

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use refresh_audit::{
    record::Seq,
    sink::{AnySink, SinkConfig},
};
use serde_json::Value;

use crate::{
    fake_hec::{FakeHec, TOKEN},
    fake_http::FakeHttp,
    journal::World,
    sinks::first_arrivals,
    support::proxy::{Fault, Proxy},
};

fn sink(base: &Path, kind: &str, members: &str) -> AnySink {
    let config = SinkConfig::parse(kind, toml::Deserializer::parse(members).unwrap()).unwrap();
    config.build(base).unwrap_or_else(|error| panic!("{members}: {error}"))
}

/// Everything arrives, in order but for what comes twice, and that with the same id. A batch has more than twice `part`
/// bytes; `arrived` gives seqs and ids.
async fn survives(
    world: &mut World,
    config: &str,
    part: usize,
    sink: AnySink,
    proxy: &Proxy,
    arrived: impl Fn() -> Vec<(Seq, String)>,
) {
    let running = world.start("s", &format!("batch = {{ records = 20, wait = '0ms' }}\n{config}"), sink);
    let mut last = 0;
    for fault in [
        Fault::None,
        Fault::ResetAfter(part),
        Fault::CutAfter(part),
        Fault::CutAfter(2 * part),
        Fault::Swallow,
        Fault::Freeze,
        Fault::Refuse,
        Fault::Delay(Duration::from_millis(50)),
    ] {
        proxy.set(fault);
        last = world.events(40);
        if !matches!(fault, Fault::None | Fault::Delay(_)) {
            running.until("an error", |status| status.last_error.is_some()).await;
            proxy.set(Fault::None);
        }
        running.drained().await;
    }
    let status = running.stop().await;
    assert_eq!((status.delivered, status.parked), (last, 0));
    let arrived = arrived();
    let seqs: Vec<Seq> = arrived.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(first_arrivals(&seqs), (1..=last).collect::<Vec<_>>());
    let mut ids = BTreeMap::new();
    for (seq, id) in arrived {
        assert_eq!(*ids.entry(seq).or_insert_with(|| id.clone()), id, "what comes twice has the same id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http() {
    let server = FakeHttp::new().await;
    server.up();
    let proxy = Proxy::new(server.address).await;
    let mut world = World::new();
    for body in ["array", "lines"] {
        let before = server.accepted().len();
        let members = format!("url = 'http://{}/x'\nbody = '{body}'\ntimeout = '1s'", proxy.address);
        let sink = sink(Path::new("/"), "http", &members);
        survives(&mut world, "", 3_000, sink, &proxy, || {
            let requests = server.accepted().split_off(before);
            let records = requests.iter().flat_map(|request| match body {
                "array" => serde_json::from_str::<Vec<Value>>(&request.body).unwrap(),
                _ => request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            });
            records.map(|record| (record["seq"].as_u64().unwrap(), record["event"]["id"].to_string())).collect()
        })
        .await;
        world = World::new();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn splunk_hec() {
    let hec = FakeHec::new().await;
    hec.server.up();
    let proxy = Proxy::new(hec.server.address).await;
    let mut world = World::new();
    fs::write(world.dir.path().join("token"), TOKEN).unwrap();
    let members = format!("url = 'http://{}'\ntoken_file = 'token'\ngzip = false\ntimeout = '1s'", proxy.address);
    let sink = sink(world.dir.path(), "splunk_hec", &members);
    survives(&mut world, "", 3_000, sink, &proxy, || {
        let events = hec.indexed().into_iter().map(|indexed| indexed.envelope);
        let event = |event: Value| (event["event"]["seq"].as_u64().unwrap(), event["fields"]["record_key"].to_string());
        events.map(event).collect()
    })
    .await;
}

#[cfg(feature = "smtp")]
#[tokio::test(flavor = "multi_thread")]
async fn smtp() {
    use crate::{
        fake_smtp::{FakeSmtp, Taken},
        sinks::told_seqs,
    };

    let server = FakeSmtp::new(None);
    server.up();
    let proxy = Proxy::new(server.address).await;
    let mut world = World::new();
    let members = format!(
        "server = '{}'\ntls = 'none'\nfrom = 'a@example.invalid'\nto = 'b@example.invalid'\nmessages_per_hour = 100000\ntimeout = '1s'",
        proxy.address
    );
    let sink = sink(Path::new("/"), "smtp", &members);
    // A mail that was taken, whose answer was cut off, comes again with the same id.
    let id = |mail: &Taken| mail.text.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned();
    survives(&mut world, "kinds = ['event']", 800, sink, &proxy, || {
        let mails = server.taken();
        mails.iter().flat_map(|mail| told_seqs(&mail.text).into_iter().map(|seq| (seq, id(mail)))).collect()
    })
    .await;
}
