//! The `syslog` sink against rsyslog and syslog-ng themselves: killed, restarted, frozen, cut off in half-sent data, and
//! with every wrong certificate.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use refresh_audit::{
    deliver::{DeliveryConfig, SinkState, probe::probe},
    record::Seq,
    sink::{AnySink, Sink as _, SinkConfig, SinkError, stdout::Stdout},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    journal::{World, eventually},
    servers::{Server, rsyslog::Rsyslog, syslog_ng::SyslogNg},
    support::{
        certs::Authority,
        proxy::{Fault, Proxy},
    },
};

/// Certificates of both sides, and strangers'.
fn certificates() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    authority.issue("server");
    authority.issue_for("client", &["client.invalid"]);
    Authority::new(dir.path(), "other-ca").issue("stranger");
    dir
}

fn sink(address: SocketAddr, members: &str) -> AnySink {
    let members = format!("address = '{address}'\n{members}");
    SinkConfig::parse("syslog", toml::Deserializer::parse(&members).unwrap()).unwrap().build(Path::new("/")).unwrap()
}

fn tls(certs: &Path, ca: &str, client: Option<&str>) -> String {
    let file = |name: &str| certs.join(name).display().to_string();
    let client = client.map_or_else(String::new, |name| {
        format!("cert_file = '{}'\nkey_file = '{}'", file(&format!("{name}.crt")), file(&format!("{name}.key")))
    });
    format!("transport = 'tls'\nca_file = '{}'\n{client}", file(&format!("{ca}.crt")))
}

/// What a server wrote: every record it understood in full, and how many messages it took that are none.
fn records(out: &Path) -> (Vec<Value>, usize) {
    let text = String::from_utf8_lossy(&fs::read(out).unwrap_or_default()).into_owned();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let (mut records, mut pieces) = (Vec::new(), 0);
    for line in whole.lines() {
        // A kill may leave half a line of the server's own file.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let msg = line["msg"].as_str().or(line["MESSAGE"].as_str()).unwrap_or_default();
        match serde_json::from_str::<Value>(msg.trim_start_matches('\u{feff}').trim()) {
            Ok(record) if record["hash"].is_string() => records.push(record),
            _ => pieces += 1,
        }
    }
    (records, pieces)
}

/// Seqs where they came first.
fn firsts(out: &Path) -> Vec<Seq> {
    let mut seen = BTreeSet::new();
    let (records, _) = records(out);
    records.iter().map(|record| record["seq"].as_u64().unwrap()).filter(|seq| seen.insert(*seq)).collect()
}

async fn all_arrived(out: &Path, last: Seq) {
    eventually(&format!("{last} records in {}", out.display()), || (firsts(out).len() as u64 >= last).then_some(()))
        .await;
    assert_eq!(firsts(out), (1..=last).collect::<Vec<_>>(), "in order");
}

/// Kill in the middle of a stream, freeze, restart: everything comes, in order.
async fn survives(server: &mut Server, address: SocketAddr, members: &str, out: PathBuf) {
    let mut world = World::new();
    let members = format!("timeout = '3s'\n{members}");
    let running = world.start("s", "batch = { records = 20, wait = '1ms' }", sink(address, &members));
    let mut last = 0;
    for round in 0..3_u64 {
        last = world.events(150);
        running.until("in the middle", |status| status.delivered > last - 100).await;
        if round == 1 {
            // What its kernel still acknowledges, nobody reads any more.
            server.freeze();
            last = world.events(50);
            let delivered = running.handle.status().delivered;
            running
                .until("acknowledged or not", |status| status.delivered > delivered || status.last_error.is_some())
                .await;
        }
        server.kill();
        last = world.events(50).max(last);
        server.restart();
    }
    running.drained().await;
    all_arrived(&out, last).await;
    running.stop().await;
}

/// Cut off in half-sent data, by FIN and by RST.
async fn cut_off(address: SocketAddr, members: &str, out: PathBuf) -> usize {
    let proxy = Proxy::new(address).await;
    let mut world = World::new();
    let running = world.start("s", "batch = { records = 9, wait = '1ms' }", sink(proxy.address, members));
    for (round, after) in [700, 1_500, 3_333, 5_001, 2_222, 901].into_iter().enumerate() {
        proxy.set(if round % 2 == 0 { Fault::CutAfter(after) } else { Fault::ResetAfter(after) });
        let before = proxy.connections();
        world.events(20);
        eventually("cut", || (running.handle.status().pending == 0 || proxy.connections() > before + 1).then_some(()))
            .await;
        proxy.set(Fault::None);
        running.drained().await;
    }
    running.stop().await;
    all_arrived(&out, 120).await;
    records(&out).1
}

/// None of those is let in, or lets us in; nothing counts as delivered.
async fn certificates_count(certs: &Path, address: SocketAddr, out: PathBuf) {
    for (what, members) in [
        ("no client certificate", tls(certs, "ca", None)),
        ("another authority's client", tls(certs, "ca", Some("stranger"))),
        ("another authority's server", tls(certs, "other-ca", Some("client"))),
        ("another server's name", format!("server_name = 'siem.invalid'\n{}", tls(certs, "ca", Some("client")))),
    ] {
        let ours = sink(address, &members);
        let test = probe("n", "s", &DeliveryConfig::default(), &ours).unwrap();
        let error = ours.check(&test).await.unwrap_err();
        assert!(matches!(error, SinkError::Retry { .. }), "{what}: {error}");
        let mut world = World::new();
        world.events(3);
        let running = world.start("s", "", sink(address, &members));
        let status = running.until("an error", |status| status.last_error.is_some()).await;
        assert_eq!((status.delivered, status.pending), (0, 3), "{what}: {status:?}");
        assert_ne!(status.state, SinkState::Idle);
        running.stop().await;
    }
    let sink = sink(address, &tls(certs, "ca", Some("client")));
    let test = probe("n", "s", &DeliveryConfig::default(), &sink).unwrap();
    sink.check(&test).await.unwrap();
    eventually("the test", || (records(&out).0.len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_loses_nothing_over_tcp() {
    let certs = certificates();
    for members in ["transport = 'tcp'", "transport = 'tcp'\nframing = 'lf'"] {
        let Some(mut rsyslog) = Rsyslog::start(certs.path()) else { return };
        let (address, out) = (rsyslog.tcp, rsyslog.out());
        survives(&mut rsyslog.server, address, members, out).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_loses_nothing_over_tls() {
    let certs = certificates();
    let Some(mut rsyslog) = Rsyslog::start(certs.path()) else { return };
    let (address, out) = (rsyslog.tls, rsyslog.out());
    survives(&mut rsyslog.server, address, &tls(certs.path(), "ca", Some("client")), out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_cut_off_in_half_sent_data() {
    let certs = certificates();
    for members in ["transport = 'tcp'", "transport = 'tcp'\nframing = 'lf'"] {
        let Some(rsyslog) = Rsyslog::start(certs.path()) else { return };
        let pieces = cut_off(rsyslog.tcp, members, rsyslog.out()).await;
        eprintln!("rsyslog, {members}: {pieces} pieces of messages taken for messages");
        if !members.contains("lf") {
            assert_eq!(pieces, 0, "with its length before it, half a message is none");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_lets_in_whom_it_should() {
    let certs = certificates();
    let Some(rsyslog) = Rsyslog::start(certs.path()) else { return };
    certificates_count(certs.path(), rsyslog.tls, rsyslog.out()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_takes_datagrams() {
    let certs = certificates();
    let Some(rsyslog) = Rsyslog::start(certs.path()) else { return };
    let mut world = World::new();
    world.events(40);
    let running = world.start("s", "batch.records = 10", sink(rsyslog.udp, "transport = 'udp'"));
    running.drained().await;
    all_arrived(&rsyslog.out(), 40).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_ng_loses_nothing() {
    let certs = certificates();
    let Some(mut ng) = SyslogNg::start(certs.path()) else { return };
    let (address, out) = (ng.tls, ng.out());
    survives(&mut ng.server, address, &tls(certs.path(), "ca", Some("client")), out).await;
    let Some(mut ng) = SyslogNg::start(certs.path()) else { return };
    let (address, out) = (ng.tcp, ng.out());
    survives(&mut ng.server, address, "transport = 'tcp'", out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_ng_cut_off_in_half_sent_data() {
    let certs = certificates();
    let Some(ng) = SyslogNg::start(certs.path()) else { return };
    let pieces = cut_off(ng.tcp, "transport = 'tcp'", ng.out()).await;
    assert_eq!(pieces, 0, "with its length before it, half a message is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_ng_lets_in_whom_it_should() {
    let certs = certificates();
    let Some(ng) = SyslogNg::start(certs.path()) else { return };
    certificates_count(certs.path(), ng.tls, ng.out()).await;
}

/// syslog-ng takes structured data apart by itself: what it reads is what was meant.
#[tokio::test(flavor = "multi_thread")]
async fn syslog_ng_reads_structured_data_as_it_was_meant() {
    let certs = certificates();
    let Some(ng) = SyslogNg::start(certs.path()) else { return };
    let sink = sink(ng.tcp, "transport = 'tcp'");
    let keys = [r#"q"\]x"#, r"ends in \", "a=b [c] \u{202e}é", "]]\"\"\\\\", "tab\tand\nline"];
    let mut last = Duration::ZERO;
    for key in keys {
        let mut message = probe("n", "s", &DeliveryConfig::default(), &Stdout::to(Vec::new())).unwrap();
        message.key = key.to_owned();
        let batch = sink.pack().packed([message]);
        let begun = std::time::Instant::now();
        sink.deliver(&batch).await.unwrap();
        last = begun.elapsed();
    }
    assert!(last < Duration::from_secs(1), "an acknowledgement by TCP is not waited for long: {last:?}");
    eventually("all", || (records(&ng.out()).0.len() == keys.len()).then_some(())).await;
    let text = fs::read_to_string(ng.out()).unwrap();
    for (line, key) in text.lines().zip(keys) {
        let line: Value = serde_json::from_str(line).unwrap();
        let data = &line["_SDATA"]["refreshAudit@32473"];
        let shown: String = key.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        assert_eq!(data["id"], shown, "{line}");
        let record: Value = serde_json::from_str(line["MESSAGE"].as_str().unwrap()).unwrap();
        assert_eq!((&data["hash"], &data["journal"], &data["seq"]), (&record["hash"], &record["journal"], &"0".into()));
        assert_eq!((&line["PROGRAM"], &line["HOST"]), (&"refresh-audit".into(), &"n".into()));
    }
}
