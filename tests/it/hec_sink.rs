//! What is particular to the `splunk_hec` sink: acknowledgements that come late, once, never, or not at all.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use refresh_audit::{
    deliver::{DeliveryConfig, SinkState, probe::probe},
    sink::{AnySink, Sink as _, SinkConfig},
};
use serde_json::{Value, json};

use crate::{
    fake_hec::{FakeHec, TOKEN, said},
    fake_http::Reply,
    journal::{World, adds_up, eventually},
};

fn hec(dir: &Path, members: &str) -> AnySink {
    fs::write(dir.join("token"), TOKEN).unwrap();
    let members = format!("token_file = 'token'\n{members}");
    SinkConfig::parse("splunk_hec", toml::Deserializer::parse(&members).unwrap()).unwrap().build(dir).unwrap()
}

fn keys(hec: &FakeHec) -> Vec<String> {
    hec.indexed().iter().map(|one| one.envelope["fields"]["record_key"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_moves_on_the_acknowledgement_only() {
    let server = FakeHec::new().await;
    server.set(|state| state.ack_after = None);
    server.server.up();
    let mut world = World::new();
    world.events(3);
    let sink = hec(world.dir.path(), &format!("url = {:?}\nack_timeout = '300ms'", server.url()));
    let running = world.start("s", "batch.wait = '0ms'", sink);
    // Taken twice, with 200 each time, and asked for: not delivered.
    eventually("sent again", || (server.posts().len() >= 2).then_some(())).await;
    let status = running.handle.status();
    adds_up(&status);
    assert_eq!((status.delivered, status.pending), (0, 3), "{status:?}");
    server.set(|state| state.ack_after = Some(2));
    let status = running.drained().await;
    assert_eq!((status.delivered, status.parked), (3, 0));
    running.stop().await;
    // What came twice has the same key.
    let (all, once): (Vec<_>, BTreeSet<_>) = (keys(&server), keys(&server).into_iter().collect());
    assert!(all.len() >= 6 && once.len() == 3, "{all:?}");
    assert_eq!(once.into_iter().collect::<Vec<_>>(), (1..=3).map(World::event_id).collect::<Vec<_>>());
    assert_eq!(server.set(|state| state.told), 1, "nobody asks again for what was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_acknowledgement_is_an_alarm() {
    let server = FakeHec::new().await;
    server.set(|state| state.acks = false);
    server.server.up();
    let mut world = World::new();
    world.events(3);
    let sink = hec(world.dir.path(), &format!("url = {:?}", server.url()));
    let running = world.start("s", "batch.wait = '0ms'", sink);
    let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert_eq!((status.delivered, status.pending), (0, 3));
    let said = format!("{:?}", world.context.alarms.raised());
    assert!(said.contains("indexer acknowledgement is off") && !said.contains(TOKEN), "{said}");
    // It asks whether that was mended before it sends anything again.
    eventually("asked", || (server.server.requests().len() >= 4).then_some(())).await;
    assert_eq!(server.posts().len(), 1);
    server.set(|state| state.acks = true);
    let status = running.drained().await;
    assert_eq!(status.delivered, 3);
    running.stop().await;
}

/// What lets only `/event` through: the records are taken, and nobody can be asked about them.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_not_sent_again_and_again_while_nobody_can_be_asked() {
    let server = FakeHec::new().await;
    server.server.up();
    let mut world = World::new();
    world.events(3);
    server.set(|state| {
        state.intercept =
            Box::new(|request| request.target.contains("/ack").then(|| said(404, 0, "Not Found", json!({}))));
    });
    let sink = hec(world.dir.path(), &format!("url = {:?}", server.url()));
    let running = world.start("s", "batch.wait = '0ms'", sink);
    // The batch, what came of it, and then only the question.
    eventually("asked", || (server.server.requests().len() >= 4).then_some(())).await;
    assert_eq!(server.posts().len(), 1);
    server.set(|state| state.intercept = Box::new(|_| None));
    assert_eq!(running.drained().await.delivered, 3);
    running.stop().await;
    assert_eq!(server.posts().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_was_told_and_lost_costs_a_repetition() {
    let server = FakeHec::new().await;
    server.server.up();
    let mut world = World::new();
    world.events(2);
    // More failures than are overlooked.
    let failures = std::sync::atomic::AtomicU32::new(0);
    server.set(|state| {
        state.intercept = Box::new(move |request| {
            let asks = request.target.contains("/ack");
            let fails = asks && failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 4;
            fails.then_some(Reply::Close)
        });
    });
    let sink = hec(world.dir.path(), &format!("url = {:?}", server.url()));
    let running = world.start("s", "batch.wait = '0ms'", sink);
    assert_eq!(running.drained().await.delivered, 2);
    running.stop().await;
    assert_eq!((keys(&server).len(), server.posts().len()), (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_as_documented() {
    for (gzip, encoding) in [(true, Some("gzip")), (false, None)] {
        let server = FakeHec::new().await;
        server.server.up();
        let mut world = World::new();
        world.events(5);
        let members = format!("url = {:?}\nindex = 'identity'\ngzip = {gzip}", server.url());
        let running = world.start("s", "batch = { records = 2, wait = '0ms' }", hec(world.dir.path(), &members));
        running.drained().await;
        running.stop().await;
        let requests = server.server.requests();
        let channels: BTreeSet<_> =
            requests.iter().map(|request| request.headers["x-splunk-request-channel"].clone()).collect();
        assert_eq!(channels.len(), 1, "one channel as long as the sink lives");
        for request in &requests {
            assert_eq!(request.method, "POST");
            assert_eq!(request.headers["authorization"], format!("Splunk {TOKEN}"));
            let asks = request.target == format!("/services/collector/ack?channel={}", channels.first().unwrap());
            assert!(asks || request.target == "/services/collector/event", "{}", request.target);
            let said = request.headers.get("content-encoding").map(String::as_str);
            assert_eq!(said, encoding.filter(|_| !asks));
        }
        let indexed = server.indexed();
        let seqs: Vec<_> = indexed.iter().map(|one| one.envelope["event"]["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
        for one in &indexed {
            assert_eq!((&one.envelope["index"], &one.envelope["host"]), (&"identity".into(), &"n".into()));
            assert!(one.envelope["time"].is_f64() && one.channel == *channels.first().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_configuration_park_nothing() {
    for (what, members, said) in
        [("a wrong index", "index = 'other'", "code 7"), ("a wrong token", "token_file = 'wrong'", "code 4")]
    {
        let server = FakeHec::new().await;
        server.set(|state| state.indexes = vec!["identity".to_owned()]);
        server.server.up();
        let mut world = World::new();
        world.events(3);
        fs::write(world.dir.path().join("wrong"), "99999999-fixture-token").unwrap();
        let members = format!("url = {:?}\n{members}", server.url());
        let sink = if members.contains("wrong") {
            SinkConfig::parse("splunk_hec", toml::Deserializer::parse(&members).unwrap())
                .unwrap()
                .build(world.dir.path())
                .unwrap()
        } else {
            hec(world.dir.path(), &members)
        };
        let test = probe("n", "s", &DeliveryConfig::default(), &sink).unwrap();
        let error = sink.check(&test).await.unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("99999999"), "{what}: {error}");
        let running = world.start("s", "", sink);
        let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
        assert_eq!((status.delivered, status.parked, status.pending), (0, 0, 3), "{what}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_sends_a_test_and_waits_for_it() {
    let server = FakeHec::new().await;
    server.server.up();
    let dir = tempfile::tempdir().unwrap();
    let sink = hec(dir.path(), &format!("url = {:?}\nack_timeout = '200ms'", server.url()));
    let test = probe("n", "s", &DeliveryConfig::default(), &sink).unwrap();
    sink.check(&test).await.unwrap();
    let indexed = server.indexed();
    let event: &Value = &indexed[0].envelope["event"];
    assert!(indexed.len() == 1 && event["operator"]["detail"].as_str().unwrap().starts_with("TEST"), "{event}");
    server.set(|state| state.ack_after = None);
    let started = std::time::Instant::now();
    assert!(sink.check(&test).await.unwrap_err().to_string().contains("did not acknowledge"));
    assert!(started.elapsed() < Duration::from_secs(30));
}
