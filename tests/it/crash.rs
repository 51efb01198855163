//! Proof: kill -9 at any instant loses no acknowledged event and records none twice; SIGTERM leaves cursors exact.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::support::{
    app::{Settings, TestApp},
    env_number, eventually,
    load::{Book, Load},
    receiver::Receiver,
    seed,
};

/// Kills in a plain `cargo test`; `REFRESH_AUDIT_CRASH_ROUNDS` asks for more.
const ROUNDS: u64 = 40;
/// Small segments, so that kills also fall into sealing, compressing and renaming.
const JOURNAL: &str = "[journal]\nsegment = \"256KiB\"\ncheckpoint_every = \"1s\"\n";

/// How often the file sink holds each event id.
fn file_sink_counts(app: &TestApp) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for line in app.file_sink_lines() {
        let record: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(id) = record["event"]["id"].as_str() {
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_records_nothing_twice() {
    let mut rng = StdRng::seed_from_u64(seed("kill -9"));
    let mut left = env_number("REFRESH_AUDIT_CRASH_ROUNDS", ROUNDS);
    while left > 0 {
        // A journal of its own for each so many: every round reads all of it.
        kill_and_check(left.min(ROUNDS), &mut rng);
        left = left.saturating_sub(ROUNDS);
    }
}

fn kill_and_check(rounds: u64, rng: &mut StdRng) {
    let receiver = Receiver::start(false);
    let mut app = TestApp::start(Settings::new().and(&receiver.sink()).and(JOURNAL));
    let mut book = Book::default();
    for round in 0..rounds {
        let load = Load::start(app.listen, &app.signer(), 4, rng.random());
        // The instant of the kill is what is random here; nothing is waited for.
        thread::sleep(Duration::from_micros(rng.random_range(5_000..300_000)));
        app.kill();
        book.enter(load.end());
        if round % 4 == 3 {
            app.spawn();
            thread::sleep(Duration::from_micros(rng.random_range(0..150_000)));
            app.kill();
        }
        app.launch();
        book.check(&app.journal());
        book.settle(&app);
        book.resend(&app, 20, rng);
    }
    eprintln!("{} events acknowledged", book.len());
    book.check(&app.journal());
    eventually("the HTTP sink holds every acknowledged event", || {
        receiver.look(|seen| book.ids().all(|id| seen.count_by_id.contains_key(id)))
    });
    eventually("the file sink holds every acknowledged event", || {
        let counts = file_sink_counts(&app);
        book.ids().all(|id| counts.contains_key(id))
    });
    app.verify();
    app.stop();
    app.verify();
}

#[test]
fn sigterm_under_load_loses_nothing_and_leaves_cursors_exact() {
    let seed = seed("SIGTERM");
    let mut rng = StdRng::seed_from_u64(seed);
    let receiver = Receiver::start(false);
    let mut app = TestApp::start(Settings::new().and(&receiver.sink()).and(JOURNAL));
    let mut book = Book::default();
    for _ in 0..5 {
        let load = Load::start(app.listen, &app.signer(), 8, rng.random());
        eventually("some are recorded", || load.recorded() > 50);
        thread::sleep(Duration::from_micros(rng.random_range(0..200_000)));
        app.terminate();
        let status = app.wait();
        assert!(status.success(), "SIGTERM ended it with {status}");
        book.enter(load.end());
        book.check(&app.journal());
        app.launch();
        book.settle(&app);
    }
    let ids: HashSet<String> = app.journal().seqs_by_id.into_keys().collect();
    eventually("both sinks hold every event", || {
        let counts = file_sink_counts(&app);
        ids.iter().all(|id| counts.contains_key(id))
            && receiver.look(|seen| ids.iter().all(|id| seen.count_by_id.contains_key(id)))
    });
    app.stop();
    let twice: Vec<_> = file_sink_counts(&app).into_iter().filter(|(_, count)| *count != 1).collect();
    assert!(twice.is_empty(), "the file sink's cursor was not exact: {twice:?}");
    let twice = receiver.look(|seen| seen.count_by_id.values().filter(|count| **count != 1).count());
    assert_eq!(twice, 0, "the HTTP sink's cursor was not exact");
    app.verify();
}
