//! What is particular to the `syslog` sink: connections that break in every way there is, and both sides' certificates.

use std::{collections::BTreeSet, path::Path};

use refresh_audit::{
    deliver::{DeliveryConfig, SinkState, probe::probe},
    record::Seq,
    sink::{AnySink, Sink as _, SinkConfig, SinkError},
};
use syslog_rfc5424::SyslogMessage;

use crate::{
    fake_syslog::{FakeSyslog, Mode, Wire},
    http_sink::mutual_tls,
    journal::{World, eventually},
    support::{
        certs::Authority,
        proxy::{Fault, Proxy},
        seed,
    },
};

const SD: &str = "refreshAudit@32473";

fn syslog(members: &str) -> AnySink {
    SinkConfig::parse("syslog", toml::Deserializer::parse(members).unwrap()).unwrap().build(Path::new("/")).unwrap()
}

fn seq(message: &SyslogMessage) -> Seq {
    message.sd.find_tuple(SD, "seq").unwrap().parse().unwrap()
}

/// Each seq where it came first.
fn firsts(messages: &[SyslogMessage]) -> Vec<Seq> {
    let mut seen = BTreeSet::new();
    messages.iter().map(seq).filter(|seq| seen.insert(*seq)).collect()
}

/// The same seq always has the same id, hash and body.
fn same_again(messages: &[SyslogMessage]) {
    let mut seen = std::collections::BTreeMap::new();
    for message in messages {
        let key = (message.sd.find_tuple(SD, "id").unwrap(), message.sd.find_tuple(SD, "hash").unwrap(), &message.msg);
        assert_eq!(*seen.entry(seq(message)).or_insert(key), key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_half_sent_data_loses_and_splits_nothing() {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
    let mut random = StdRng::seed_from_u64(seed("a_cut_in_half_sent_data_loses_and_splits_nothing"));
    for (wire, members) in [(Wire::Octet, ""), (Wire::Lf, "framing = 'lf'")] {
        let server = FakeSyslog::new(wire);
        server.up();
        let proxy = Proxy::new(server.address).await;
        let mut world = World::new();
        let sink = syslog(&format!("address = '{}'\ntransport = 'tcp'\ntimeout = '2s'\n{members}", proxy.address));
        let running = world.start("s", "batch = { records = 9, wait = '1ms' }", sink);
        for round in 0..12 {
            // A message is about 600 bytes here: mostly within one, now and then at its end.
            let after = random.random_range(1..9_000);
            proxy.set(if round % 2 == 0 { Fault::ResetAfter(after) } else { Fault::CutAfter(after) });
            world.events(20);
            let before = proxy.connections();
            eventually("cut", || {
                let done = running.handle.status().pending == 0;
                (done || proxy.connections() > before + 1).then_some(())
            })
            .await;
            proxy.set(Fault::None);
            running.drained().await;
        }
        running.stop().await;
        // The proxy has it all; the server reads what is on its way from there.
        eventually("all have come", || (firsts(&server.messages()).len() == 240).then_some(())).await;
        let messages = server.messages();
        assert_eq!(firsts(&messages), (1..=240).collect::<Vec<_>>());
        same_again(&messages);
        assert!(server.torn() > 0, "no cut was within a message");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_noticed_before_the_next_write() {
    let server = FakeSyslog::new(Wire::Octet);
    server.up();
    let sink = syslog(&format!("address = '{}'\ntransport = 'tcp'", server.address));
    let mut keys = Vec::new();
    for _ in 0..5 {
        let message = probe("n", "s", &DeliveryConfig::default(), &sink).unwrap();
        // No error, not even one that a second attempt would mend.
        sink.deliver(std::slice::from_ref(&message)).await.unwrap();
        let arrived = || server.texts().iter().any(|text| text.contains(&message.key)).then_some(());
        eventually("arrived", arrived).await;
        keys.push(message.key.clone());
        server.down().await;
        server.up();
    }
    let mut arrived: Vec<_> =
        server.messages().iter().map(|message| message.sd.find_tuple(SD, "id").unwrap().clone()).collect();
    let mut seen = BTreeSet::new();
    arrived.retain(|key| seen.insert(key.clone()));
    assert_eq!(arrived, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_never_read_is_sent_again() {
    let server = FakeSyslog::new(Wire::Octet);
    server.up();
    let proxy = Proxy::new(server.address).await;
    // It takes every byte, as a server's kernel does, and dies before anybody reads them.
    proxy.set(Fault::Swallow);
    let mut world = World::new();
    let sink = syslog(&format!("address = '{}'\ntransport = 'tcp'", proxy.address));
    let running = world.start("s", "batch = { records = 5, wait = '0ms' }", sink);
    world.events(20);
    running.drained().await;
    assert!(server.messages().is_empty());
    proxy.set(Fault::Refuse);
    eventually("the server is dead", || (proxy.open() == 0).then_some(())).await;
    world.events(1);
    running.until("an error", |status| status.last_error.is_some()).await;
    proxy.set(Fault::None);
    running.drained().await;
    running.stop().await;
    assert_eq!(firsts(&server.messages()), (1..=21).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_late_is_not_lost() {
    let server = FakeSyslog::new(Wire::Octet);
    server.up();
    let proxy = Proxy::new(server.address).await;
    let mut world = World::new();
    let sink = syslog(&format!("address = '{}'\ntransport = 'tcp'", proxy.address));
    let running = world.start("s", "batch.wait = '0ms'", sink);
    proxy.set(Fault::Delay(std::time::Duration::from_millis(30)));
    world.events(3);
    running.drained().await;
    proxy.set(Fault::Drip(std::time::Duration::from_micros(100)));
    world.events(3);
    running.drained().await;
    eventually("all arrived", || (server.texts().len() == 6).then_some(())).await;
    assert_eq!(server.messages().iter().map(seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6], "nothing twice");
    assert!(proxy.bytes() > 0);
    // Half open: nothing is read any more, and nothing is said. Every buffer on the way fills up, then time is over.
    proxy.set(Fault::Freeze);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_prove_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let authority = Authority::new(dir.path(), "ca");
    authority.issue("server");
    authority.issue("client");
    Authority::new(dir.path(), "other-ca").issue("stranger");
    let server = FakeSyslog::new(Wire::Tls(mutual_tls(dir.path())));
    server.up();
    let client = |name: &str| {
        format!("cert_file = '{}'\nkey_file = '{}'", file(&format!("{name}.crt")), file(&format!("{name}.key")))
    };
    let (ca, other) = (format!("ca_file = '{}'", file("ca.crt")), format!("ca_file = '{}'", file("other-ca.crt")));
    for (what, members) in [
        ("no client certificate", ca.clone()),
        ("another authority's client", format!("{ca}\n{}", client("stranger"))),
        ("another authority's server", format!("{other}\n{}", client("client"))),
        ("a server of another name", format!("{ca}\n{}\nserver_name = 'siem.invalid'", client("client"))),
    ] {
        let members = format!("address = '{}'\n{members}", server.address);
        let sink = syslog(&members);
        let test = probe("n", "s", &DeliveryConfig::default(), &sink).unwrap();
        let error = sink.check(&test).await.unwrap_err();
        assert!(matches!(error, SinkError::Retry { fault: true, .. }), "{what}: {error}");
        let mut world = World::new();
        world.events(3);
        let running = world.start("s", "", syslog(&members));
        let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
        assert_eq!((status.delivered, status.pending), (0, 3), "{what}");
        running.stop().await;
    }
    assert!(server.texts().is_empty());
    let sink = syslog(&format!("address = '{}'\n{ca}\n{}", server.address, client("client")));
    let test = probe("n", "s", &DeliveryConfig::default(), &sink).unwrap();
    sink.check(&test).await.unwrap();
    eventually("the test", || (server.texts().len() == 1).then_some(())).await;
    let message = server.messages().remove(0);
    assert_eq!(message.sd.find_tuple(SD, "test").map(String::as_str), Some("true"));
    assert!(message.msg.contains("TEST"), "{}", message.msg);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_turns_us_away_gets_nothing_counted() {
    let server = FakeSyslog::new(Wire::Octet);
    server.mode(Mode::Closes);
    server.up();
    let mut world = World::new();
    world.events(50);
    let sink = syslog(&format!("address = '{}'\ntransport = 'tcp'", server.address));
    let running = world.start("s", "batch = { records = 1, wait = '0ms' }", sink);
    eventually("some attempts", || (running.handle.status().last_error.is_some()).then_some(())).await;
    server.mode(Mode::Reads);
    running.drained().await;
    running.stop().await;
    assert_eq!(firsts(&server.messages()), (1..=50).collect::<Vec<_>>());
}
