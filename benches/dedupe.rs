//! The dedupe window at scale, through the ledger's own handle: `cargo bench --bench dedupe -- scale 10000000` and
//! `cargo bench --bench dedupe -- expiry`.
//!
//! Events are as small as they can be, so that ids and not bytes are what is measured. A second process then opens the
//! same directory, so that its memory and its time to be ready are those of a restart.
#![expect(clippy::print_stdout, reason = "its figures are its output")]

#[path = "resident.rs"]
mod resident;

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use refresh_audit::{
    detect,
    event::RefreshEvent,
    ledger::{
        Admission, Consumers, DedupeConfig, Entry, JournalConfig, KeyScheme, Ledger, Running, Settings, lock::DataLock,
    },
    record::Evidence,
    telemetry::{Alarms, Metrics},
    units::{ByteSize, Span},
};

use resident::resident_mb;
use serde_json::value::RawValue;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Entries under way at once.
const TASKS: u64 = 64;
/// The window of `expiry`: short, so that buckets expire while it runs.
const EXPIRY_WINDOW: Span = Span::from_secs(16);
/// How long each part of `expiry` runs.
const EXPIRY_RUN: Duration = Duration::from_secs(60);
/// Entries a second in `expiry`: so few that an entry waits for nothing but its sync, and for the expiry.
const RATE: u64 = 5_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["scale", ids] => scale(ids.parse()?),
        ["expiry"] => expiry(),
        ["reopen", dir, last] => reopen(Path::new(dir), last.parse()?),
        _ => {
            println!("usage: cargo bench --bench dedupe -- scale IDS | expiry");
            Ok(())
        }
    }
}

fn start(dir: &Path, window: Span) -> Outcome<(Ledger, Running)> {
    let metrics = Metrics::new();
    let settings = Settings {
        data_dir: dir.to_owned(),
        node: "bench".to_owned(),
        dedupe: DedupeConfig { window },
        journal: JournalConfig { min_free: ByteSize::new(1), ..JournalConfig::default() },
        policy: detect::Policy {
            detect: detect::Config { enabled: false, ..detect::Config::default() },
            ..detect::Policy::default()
        },
        key_scheme: KeyScheme::EventId,
        signer: None,
        consumers: Consumers::default(),
        alarms: Alarms::new(Arc::clone(&metrics)),
        metrics,
    };
    Ok(Ledger::start(settings)?)
}

fn entry(n: u64) -> Outcome<Entry> {
    // A UUID of its own for every n, spread as random ones are.
    let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let id = format!("{:08x}-{:04x}-4000-8000-{n:012x}", spread >> 32, spread >> 16 & 0xFFFF);
    let json = format!(
        r#"{{"id":"{id}","type":"jwt.refresh","occurred_at":"2026-11-22T06:40:00.000Z","outcome":"attempted"}}"#
    );
    let event: RefreshEvent = serde_json::from_str(&json)?;
    Ok(Entry {
        source: "fusionauth".into(),
        evidence: Evidence { body_sha256: Some(hex::encode([7; 32])), ..Evidence::default() },
        facts: None,
        event: Box::new(event),
        event_json: RawValue::from_string(json)?,
        body_sha256: [7; 32],
    })
}

/// Admits `from..to`, and says how long that took and the longest that one entry waited.
async fn admit(ledger: &Ledger, from: u64, to: u64) -> Outcome<(Duration, Duration)> {
    let (next, slowest) = (Arc::new(AtomicU64::new(from)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (ledger, next, slowest) = (ledger.clone(), Arc::clone(&next), Arc::clone(&slowest));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= to {
                        return;
                    }
                    let Ok(entry) = entry(n) else { return };
                    let asked = Instant::now();
                    let admission = ledger.admit(entry).await;
                    slowest
                        .fetch_max(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                    if !matches!(admission, Admission::Accepted { .. }) {
                        println!("{n}: {admission:?}");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    Ok((started.elapsed(), Duration::from_micros(slowest.load(Ordering::Relaxed))))
}

#[tokio::main(worker_threads = 2)]
async fn scale(ids: u64) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let (ledger, running) = start(dir.path(), Span::from_days(7))?;
    let step = (ids / 10).max(1);
    for from in (0..ids).step_by(usize::try_from(step)?) {
        let to = (from + step).min(ids);
        let (took, slowest) = admit(&ledger, from, to).await?;
        println!(
            "{to:>10} ids  {:>8.0} ids/s  slowest answer {:>6.1} ms  resident {:>4} MB",
            (to - from) as f64 / took.as_secs_f64(),
            slowest.as_secs_f64() * 1e3,
            resident_mb("self")
        );
    }
    running.stop();
    println!("index on disk: {} bytes an id", bytes_in(&dir.path().join("index"))? / ids);
    let status = Command::new(env::current_exe()?).args(["reopen"]).arg(dir.path()).arg(ids.to_string()).status()?;
    assert!(status.success());
    Ok(())
}

/// Opens what `scale` wrote, as a restart would.
#[tokio::main(worker_threads = 2)]
async fn reopen(dir: &Path, ids: u64) -> Outcome<()> {
    let _lock = DataLock::acquire(dir)?;
    let started = Instant::now();
    let (ledger, running) = start(dir, Span::from_days(7))?;
    println!("ready after {:.2} s", started.elapsed().as_secs_f64());
    let asked = Instant::now();
    let fresh = ledger.admit(entry(ids + 1)?).await;
    println!("first new id: {fresh:?} after {:.1} ms", asked.elapsed().as_secs_f64() * 1e3);
    // The index opens behind the ledger; until then the journal is searched, which may take longer than a sender waits.
    let known = loop {
        match ledger.admit(entry(ids / 2)?).await {
            Admission::Unavailable(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            known => break known,
        }
    };
    println!("an old id: {known:?}, {:.2} s after the start", started.elapsed().as_secs_f64());
    let (mut slowest, mut unknown) = (Duration::ZERO, 0);
    for n in (0..ids).step_by(usize::try_from((ids / 1_000).max(1))?) {
        let asked = Instant::now();
        // While the index catches up, neither it nor a search of the journal may know in time: the sender hears 503.
        match ledger.admit(entry(n)?).await {
            Admission::Duplicate { .. } => slowest = slowest.max(asked.elapsed()),
            Admission::Unavailable(_) => unknown += 1,
            wrong => return Err(format!("{n}: {wrong:?}").into()),
        }
    }
    let slowest = slowest.as_secs_f64() * 1e3;
    println!("1,000 old ids: {unknown} answered 503 while the index caught up, the others duplicates");
    println!("slowest of those {slowest:.1} ms; resident {} MB", resident_mb("self"));
    running.stop();
    Ok(())
}

/// Admits at `RATE` for `time`, and returns how long each entry waited after it was due, sorted.
async fn steady(ledger: &Ledger, from: u64, time: Duration) -> Outcome<Vec<Duration>> {
    let started = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                for tick in (task..RATE * time.as_secs()).step_by(TASKS as usize) {
                    let due = started + Duration::from_secs(1) * u32::try_from(tick)? / u32::try_from(RATE)?;
                    tokio::time::sleep_until(due).await;
                    match ledger.admit(entry(from + tick).map_err(|error| error.to_string())?).await {
                        Admission::Accepted { .. } => waits.push(due.elapsed()),
                        wrong => return Err(format!("{tick}: {wrong:?}").into()),
                    }
                }
                Ok::<_, Box<dyn Error + Send + Sync>>(waits)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await?.map_err(|error| error.to_string())?);
    }
    all.sort_unstable();
    Ok(all)
}

/// The same rate with a window that nothing leaves, and with one so short that buckets expire all the time: the
/// difference is the expiry's.
#[tokio::main(worker_threads = 2)]
async fn expiry() -> Outcome<()> {
    for window in [Span::from_days(7), EXPIRY_WINDOW] {
        let dir = tempfile::tempdir()?;
        let (ledger, running) = start(dir.path(), window)?;
        let waits = steady(&ledger, 0, EXPIRY_RUN).await?;
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "window {window}: {} ids at {RATE}/s; p50 {:.1} ms, p99 {:.1} ms, p999 {:.1} ms, slowest {:.1} ms; resident {} MB",
            waits.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            resident_mb("self")
        );
        println!("index on disk: {} MB", bytes_in(&dir.path().join("index"))? >> 20);
        running.stop();
    }
    Ok(())
}

fn bytes_in(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
