//! One dead sink beside seven that live, through the whole binary: how far behind the live ones are at worst, and what
//! memory does. Then the same with eight that live, so that what the dead one costs shows.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    generate::{play, requests},
    http::{created, hec},
    requests::Receiver,
    resident::resident_mb,
    support::app::{Settings, TestApp},
    syslog,
};

const EVENTS: usize = 100_000;
const CONNECTIONS: usize = 16;
/// Events a second: what a large installation sees at its worst, and no more than two cores take that also play the sender
/// and eight receivers. `None`: as fast as answers come.
const RATES: [Option<u32>; 2] = [Some(2_000), None];
/// Played at once, then waited for its time.
const PART: usize = 500;
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// A sink's counts at an instant.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    delivered: u64,
    pending: u64,
}

struct Sample {
    at: Instant,
    sinks: BTreeMap<String, Counts>,
    resident_mb: u64,
}

/// Accepts, reads what is sent, and never says a word.
fn mute() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while stream.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
        }
    });
    address
}

fn settings(is_dead: bool) -> Settings {
    let takes_all = Receiver::start(|_, _| String::new()).address;
    let (hec, bulk) = (Receiver::start(hec).address, Receiver::start(bulk).address);
    let (syslog, _) = syslog::receiver(None);
    let eighth = if is_dead { mute() } else { takes_all };
    let sinks = [
        ("eighth", "http", format!("url = 'http://{eighth}/'\nbody = 'array'")),
        ("http", "http", format!("url = 'http://{takes_all}/'\nbody = 'array'")),
        ("hec", "splunk_hec", format!("url = 'http://{hec}'\ntoken_file = 'hook.key'")),
        ("elastic", "elasticsearch", format!("url = 'http://{bulk}'\nindex = 'audit'\ntemplate = false\ngzip = false")),
        ("syslog", "syslog", format!("address = '{syslog}'\ntransport = 'tcp'")),
        ("cef", "http", format!("url = 'http://{takes_all}/'\nbody = 'lines'\nformat = 'cef'")),
        ("ecs", "http", format!("url = 'http://{takes_all}/'\nbody = 'lines'\nformat = 'ecs'")),
        ("file", "file", "path = 'data/audit.jsonl'".to_owned()),
    ];
    let table = |(name, kind, members): &(&str, &str, String)| {
        format!("[[sinks]]\nname = \"{name}\"\ntype = \"{kind}\"\n{members}\n")
    };
    // What detectors remember of so many people is more than all else, and not in question here.
    Settings::default().and("[detect]\nenabled = false\n").and(&sinks.iter().map(table).collect::<String>())
}

fn bulk(_: &str, body: &[u8]) -> String {
    created(body.iter().filter(|byte| **byte == b'\n').count() / 2)
}

fn sample(app: &TestApp) -> Sample {
    let (_, text) = app.get("/metrics").unwrap();
    let mut sinks: BTreeMap<String, Counts> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("refresh_audit_sink_records{")) {
        let value = line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        let label = |name: &str| line.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap();
        let counts = sinks.entry(label("sink").to_owned()).or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        match label("state") {
            "delivered" => counts.delivered = value as u64,
            "pending" => counts.pending = value as u64,
            _ => {}
        }
    }
    Sample { at: Instant::now(), sinks, resident_mb: resident_mb(app.pid()) }
}

/// How old, at worst, the oldest record was that a sink did not have: by when that many were recorded. To a sample's time.
fn worst_lag(samples: &[Sample], sink: &str) -> Duration {
    let recorded = |sample: &Sample| {
        sample.sinks.values().map(|counts| counts.delivered + counts.pending).max().unwrap_or_default()
    };
    let lag = |sample: &Sample| {
        let delivered = sample.sinks.get(sink).copied().unwrap_or_default().delivered;
        let since = samples.iter().find(|earlier| recorded(earlier) > delivered)?;
        sample.at.checked_duration_since(since.at)
    };
    samples.iter().filter_map(lag).max().unwrap_or_default()
}

fn load(app: &TestApp, rate: Option<u32>) -> Vec<Sample> {
    let events = requests(EVENTS, &app.signer(), 7);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampling = scope.spawn(|| {
            let mut samples = vec![sample(app)];
            let lives = |(name, counts): (&String, &Counts)| name != "eighth" && counts.pending > 0;
            // To the end, and until the live ones have everything.
            while !is_done.load(Ordering::Relaxed) || samples.last().unwrap().sinks.iter().any(lives) {
                thread::sleep(SAMPLE_EVERY);
                samples.push(sample(app));
            }
            samples
        });
        let begun = Instant::now();
        let mut parts = events;
        let mut played = 0;
        while !parts.is_empty() {
            let part = parts.split_off(parts.len().saturating_sub(rate.map_or(EVENTS, |_| PART)));
            played += part.len();
            play(app.listen, &part, 1, CONNECTIONS);
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64(played as f64 / f64::from(rate));
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
        }
        println!("{played} events in {:.1} s", begun.elapsed().as_secs_f64());
        is_done.store(true, Ordering::Relaxed);
        sampling.join().unwrap()
    })
}

pub fn run() {
    for rate in RATES {
        for is_dead in [true, false] {
            let rate_text = rate.map_or("as fast as answers come".to_owned(), |rate| format!("{rate}/s"));
            println!("\n{} sinks live, {} dead, {rate_text}", 8 - usize::from(is_dead), usize::from(is_dead));
            let app = TestApp::start(settings(is_dead));
            let samples = load(&app, rate);
            let last = samples.last().unwrap();
            for (name, counts) in &last.sinks {
                let lag = worst_lag(&samples, name).as_secs_f64();
                println!(
                    "{name:8} at worst {lag:.2} s behind; {} delivered, {} pending",
                    counts.delivered, counts.pending
                );
            }
            let max = samples.iter().map(|sample| sample.resident_mb).max().unwrap();
            let half = &samples[samples.len() / 2];
            println!(
                "resident: {} MB before, {} MB at half of it, {} MB at the end, {} MB at most",
                samples[0].resident_mb, half.resident_mb, last.resident_mb, max
            );
        }
    }
}
