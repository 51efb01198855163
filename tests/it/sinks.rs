//! The sinks' contract: one table, every sink in every situation, through the real loop over a real journal. Afterwards
//! the six counts add up, and every record that was not refused has arrived at least once, in order.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use refresh_audit::{
    deliver::probe::probe,
    record::Seq,
    sink::{AnySink, Sink as _, SinkConfig},
};

use crate::{
    fake_http::{FakeHttp, Reply, Request},
    journal::{World, adds_up, json},
    support::PATIENCE,
};

#[cfg(feature = "kafka")]
pub mod broker;
pub mod bulk;
#[cfg(feature = "otlp")]
mod grpc;
mod hec;
#[cfg(feature = "nats")]
pub mod jetstream;
mod local;
#[cfg(feature = "smtp")]
mod mail;
#[cfg(feature = "kafka")]
pub mod sasl;
mod syslog;
mod vendors;

#[cfg(feature = "otlp")]
pub use grpc::retry_in_1s;
use local::{FileReceiver, StdoutReceiver};
#[cfg(feature = "otlp")]
pub use vendors::otlp_seqs;
pub use vendors::told_seqs;

/// What the other side does for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    /// It accepts everything.
    Accepts,
    /// It asks to come later (429 with `Retry-After`).
    Throttles,
    /// It refuses one record in a batch for good, and with it the batch.
    Poison,
    /// It never answers.
    Hangs,
    /// It answers a byte at a time, without end.
    Drips,
    /// It is not there.
    Down,
    /// It breaks off in the middle.
    BreaksOff,
    /// It has no room.
    Full,
    /// It fails for everything (500, or whatever the protocol calls it).
    Fails,
    /// It accepts, and we crash in the middle and start again.
    WeCrash,
}

const SITUATIONS: &[Situation] = &[
    Situation::Accepts,
    Situation::Throttles,
    Situation::Poison,
    Situation::Hangs,
    Situation::Drips,
    Situation::Down,
    Situation::BreaksOff,
    Situation::Full,
    Situation::Fails,
    Situation::WeCrash,
];

/// Records of a run, and the one that is refused.
const RECORDS: u64 = 60;
const POISON: Seq = 17;

/// The other side of one kind of sink.
trait Receiver {
    /// A new sink that sends there.
    fn sink(&self) -> AnySink;
    /// Brings the situation about; false where the protocol does not have it.
    async fn begin(&self, situation: Situation) -> bool;
    /// Ends it.
    async fn end(&self);
    /// Seqs in the order of their arrival.
    async fn arrived(&self) -> Vec<Seq>;
    /// What a reason says of a record that was refused.
    fn refusal(&self) -> &'static str {
        "422"
    }
    /// Test records that are there after `check --connect`: one where the other side is another system.
    fn tests_kept(&self) -> usize {
        1
    }
    /// What the sink's entry has beside its own members.
    fn config(&self) -> &'static str {
        ""
    }
}

/// The table: a new sink is a line here.
#[tokio::test(flavor = "multi_thread")]
async fn every_sink_keeps_the_contract() {
    for situation in SITUATIONS {
        check("file", &FileReceiver::new(""), *situation).await;
        check("file-rotated", &FileReceiver::new("rotate_size = '4KiB'"), *situation).await;
        check("stdout", &StdoutReceiver::default(), *situation).await;
        check("http-single", &HttpReceiver::new("single").await, *situation).await;
        check("http-array", &HttpReceiver::new("array").await, *situation).await;
        check("http-lines", &HttpReceiver::new("lines").await, *situation).await;
        check("elasticsearch", &bulk::BulkReceiver::new(false).await, *situation).await;
        check("elasticsearch-gzip", &bulk::BulkReceiver::new(true).await, *situation).await;
        #[cfg(feature = "kafka")]
        if let Some(kafka) = broker::KafkaReceiver::new().await {
            check("kafka", &kafka, *situation).await;
        }
        #[cfg(feature = "nats")]
        if let Some(nats) = jetstream::NatsReceiver::new().await {
            check("nats", &nats, *situation).await;
        }
        for wire in ["octet", "lf", "tls", "udp"] {
            check(&format!("syslog-{wire}"), &syslog::SyslogReceiver::new(wire), *situation).await;
        }
        check("splunk_hec", &hec::HecReceiver::new(true).await, *situation).await;
        check("splunk_hec-no-acks", &hec::HecReceiver::new(false).await, *situation).await;
        check("unordered-http-single", &HttpReceiver::new("single").await, *situation).await;
        check("unordered-http-lines", &HttpReceiver::new("lines").await, *situation).await;
        vendors::check_all(*situation).await;
    }
}

async fn check(name: &str, receiver: &impl Receiver, situation: Situation) {
    if !receiver.begin(situation).await {
        return;
    }
    let case = format!("{name}, {situation:?}");
    let unordered = name.starts_with("unordered");
    let batch = "batch = { records = 7, wait = '5ms' }";
    let config = &format!("ordered = {}\n{batch}\n{}", !unordered, receiver.config());
    let mut world = World::new();
    world.events(RECORDS / 2);
    let mut running = world.start(name, config, receiver.sink());
    match situation {
        Situation::Accepts => {}
        Situation::Poison => drop(running.until("parked", |status| status.parked == 1).await),
        Situation::WeCrash => {
            running.until("some delivered", |status| status.delivered > 0).await;
            running.crash().await;
            running = world.start(name, config, receiver.sink());
        }
        _ => drop(running.until("an error", |status| status.last_error.is_some()).await),
    }
    receiver.end().await;
    world.events(RECORDS / 2);
    let status = running.drained().await;
    let stopped = running.stop().await;

    adds_up(&status);
    let refused = u64::from(situation == Situation::Poison);
    assert_eq!((status.recorded, status.delivered, status.parked), (RECORDS, RECORDS - refused, refused), "{case}");
    let cursor = json(&world.sink_file(name, "cursor"));
    assert_eq!((&cursor["next"], &cursor["delivered"]), (&(RECORDS + 1).into(), &stopped.delivered.into()), "{case}");
    let mut arrived = receiver.arrived().await;
    if unordered {
        arrived.sort_unstable();
    }
    let expected: Vec<Seq> = (1..=RECORDS).filter(|seq| refused == 0 || *seq != POISON).collect();
    assert_eq!(first_arrivals(&arrived), expected, "{case}");
    if situation == Situation::Accepts {
        assert_eq!(arrived.len(), expected.len(), "{case}: nothing twice where nothing went wrong");
        check_connect(name, receiver).await;
    }
    if refused == 1 {
        let parked = json(&world.sink_file(name, "parked.jsonl"));
        assert_eq!((&parked["seq"], &parked["record"]["seq"]), (&POISON.into(), &POISON.into()), "{case}");
        assert!(parked["reason"].as_str().unwrap().contains(receiver.refusal()), "{case}: {parked}");
    }
}

/// What `check --connect` does: the real write, of a record that says that it is a test, and has the seq 0.
async fn check_connect(name: &str, receiver: &impl Receiver) {
    let sink = receiver.sink();
    let test = probe("n", name, &toml::from_str(receiver.config()).unwrap(), &sink).unwrap();
    sink.check(&test).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let begun = Instant::now();
    // A datagram, or what TCP alone acknowledges, may take a while to be read.
    loop {
        let tests = receiver.arrived().await.into_iter().filter(|seq| *seq == 0).count();
        if tests == receiver.tests_kept() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{name}: {tests} test records");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each seq where it came first: in order, or something overtook something.
pub fn first_arrivals(arrived: &[Seq]) -> Vec<Seq> {
    let mut seen = BTreeSet::new();
    arrived.iter().copied().filter(|seq| seen.insert(*seq)).collect()
}

fn seqs(lines: &str) -> Vec<Seq> {
    let seq = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
    lines.lines().filter(|line| !line.is_empty()).map(seq).collect()
}

fn sink(kind: &str, members: &str) -> AnySink {
    SinkConfig::parse(kind, toml::Deserializer::parse(members).unwrap()).unwrap().build(Path::new("/")).unwrap()
}

struct HttpReceiver {
    server: FakeHttp,
    body: &'static str,
    /// Whether the sink gives up soon: only where that is what the situation is about.
    impatient: AtomicBool,
}

impl HttpReceiver {
    async fn new(body: &'static str) -> Self {
        Self { server: FakeHttp::new().await, body, impatient: AtomicBool::new(false) }
    }

    fn records(&self, request: &Request) -> Vec<Seq> {
        match self.body {
            "array" => {
                let records: Vec<serde_json::Value> = serde_json::from_str(&request.body).unwrap();
                records.iter().map(|record| record["seq"].as_u64().unwrap()).collect()
            }
            _ => seqs(&request.body),
        }
    }
}

impl Receiver for HttpReceiver {
    fn sink(&self) -> AnySink {
        let timeout = if self.impatient.load(Ordering::SeqCst) { "300ms" } else { "20s" };
        sink("http", &format!("url = {:?}\nbody = {:?}\ntimeout = '{timeout}'", self.server.url(), self.body))
    }

    async fn begin(&self, situation: Situation) -> bool {
        let poison = format!("\"seq\":{POISON},");
        self.impatient.store(matches!(situation, Situation::Hangs | Situation::Drips), Ordering::SeqCst);
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => {}
            Situation::Throttles => self.server.script(|_| Reply::Status(429, "retry-after: 1\r\n", "slow down")),
            Situation::Poison => self.server.script(move |request| {
                if request.body.contains(&poison) { Reply::Status(422, "", "bad") } else { Reply::OK }
            }),
            Situation::Hangs => self.server.script(|_| Reply::Hang),
            Situation::Drips => self.server.script(|_| Reply::Drip),
            Situation::BreaksOff => self.server.script(|_| Reply::Close),
            Situation::Full => self.server.script(|_| Reply::Status(507, "", "no room")),
            Situation::Fails => self.server.script(|_| Reply::Status(500, "", "oops")),
        }
        if situation != Situation::Down {
            self.server.up();
        }
        true
    }

    async fn end(&self) {
        // The poison stays one; everything else is well after a restart of the other side.
        if self.server.requests().iter().any(|request| request.status == 422) {
            return;
        }
        self.server.script(|_| Reply::OK);
        self.server.down().await;
        self.server.up();
    }

    async fn arrived(&self) -> Vec<Seq> {
        self.server.accepted().iter().flat_map(|request| self.records(request)).collect()
    }
}
