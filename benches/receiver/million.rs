//! A journal of a million records: memory while it grows, its size, the time to be ready on it, the index made anew.

use std::{fs, time::Instant};

use crate::{
    generate::{play, requests},
    resident::resident_mb,
    support::{
        app::{Settings, TestApp},
        eventually, journal,
    },
};

const EVENTS: usize = 1_000_000;
/// Events made at a time: they take about 2.7 kB each.
const PART: usize = 50_000;
const CONNECTIONS: usize = 64;

/// Bytes and records of all sealed segments.
fn sealed(app: &TestApp) -> (u64, usize) {
    let sealed =
        journal::segments(&app.data()).into_iter().filter(|path| path.extension().is_some_and(|end| end == "zst"));
    let sizes = sealed.map(|path| {
        let records = journal::read_plain(&path).iter().filter(|byte| **byte == b'\n').count();
        (fs::metadata(&path).unwrap().len(), records)
    });
    sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Starts it and returns the seconds until it is ready.
fn ready(app: &mut TestApp) -> f64 {
    let begun = Instant::now();
    app.launch();
    begun.elapsed().as_secs_f64()
}

/// Runs it.
pub fn run() {
    let mut app = TestApp::start(Settings::new().and("[detect]\nenabled = false\n"));
    for part in 0..EVENTS / PART {
        let requests = requests(PART, &app.signer(), 1_000 + part as u64);
        play(app.listen, &requests, 1, CONNECTIONS);
        if part % 4 == 3 {
            println!("{:>9} events: {} MB resident", (part + 1) * PART, resident_mb(app.pid()));
        }
    }
    eventually("the file sink has everything", || {
        app.metric("refresh_audit_sink_records", &[("sink", "audit-file"), ("state", "pending")]) == Some(0.0)
    });
    println!("delivered: {} MB resident", resident_mb(app.pid()));
    let (bytes, records) = sealed(&app);
    println!("{records} records in sealed segments, {} bytes each", bytes / records.max(1) as u64);
    app.stop();
    println!("ready after {:.2} s on {EVENTS} records", ready(&mut app));
    println!("after that start: {} MB resident", resident_mb(app.pid()));
    app.kill();
    println!("ready after {:.2} s on them after a kill -9", ready(&mut app));
    app.stop();
    fs::remove_dir_all(app.path("data/index")).unwrap();
    let begun = Instant::now();
    println!("ready after {:.2} s without an index", ready(&mut app));
    let said = app.log().lines().count();
    eventually("the log says that the index is rebuilt", || {
        app.log().lines().skip(said.saturating_sub(20)).any(|line| line.contains("index") && line.contains("rebuilt"))
    });
    println!("index rebuilt after {:.2} s", begun.elapsed().as_secs_f64());
    println!("after that: {} MB resident", resident_mb(app.pid()));
}
