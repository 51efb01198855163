//! What detection costs: requests a second with all rules on, in turns with `detect.enabled = false`; and memory with many
//! users and sessions.

use crate::{
    generate::{Requests, play, refreshes},
    resident::resident_mb,
    stats::{median, percentile},
    support::app::{Settings, TestApp},
};

/// Sessions, each of a user of its own, and refreshes of each: a first sight and then a chain.
const SESSIONS: usize = 40_000;
const TIMES: usize = 5;
const CONNECTIONS: usize = 64;
const TURNS: usize = 5;
/// Sessions that refresh often beside ten times as many that refresh now and then, as many refreshes of both.
const BUSY: usize = 4_000;
/// Room for the busy ones and what passes between two of their refreshes, not for the others.
const LITTLE: &str = "[detect]\nsessions_max = 24576\nusers_max = 24576\n";
/// As many users and sessions as a large customer's.
const MANY: usize = 120_000;

const OFF: &str = "[detect]\nenabled = false\n";

/// Runs it.
pub fn run() {
    let signer = TestApp::prepare(Settings::default()).signer();
    println!("making {} signed events of {SESSIONS} sessions", SESSIONS * TIMES);
    let requests = refreshes(SESSIONS, TIMES, &signer, 7);
    let rate = |settings: Settings, name: &str| {
        let app = TestApp::start(settings);
        let mut run = play(app.listen, &requests, 1, CONNECTIONS);
        let p99 = percentile(&mut run.latencies, 0.99);
        println!("  detection {name:3} {:>9.0}/s  p99 {p99:?}  {} MB resident", run.rate(), resident_mb(app.pid()));
        run.rate()
    };
    let ratios = (0..TURNS).map(|_| {
        let on = rate(Settings::default(), "on");
        on / rate(Settings::default().and(OFF), "off")
    });
    println!("with detection, of the rate without: {:.3} (median of {TURNS})", median(ratios.collect()));

    println!("making {} signed events of {MANY} sessions", MANY * 2);
    let requests = refreshes(MANY, 2, &signer, 8);
    let app = TestApp::start(Settings::default());
    println!("  {:>9} sessions: {} MB resident", 0, resident_mb(app.pid()));
    play(app.listen, &requests, 1, CONNECTIONS);
    println!("  {MANY:>9} sessions: {} MB resident", resident_mb(app.pid()));
}

/// Half of the refreshes are of sessions and users that are on disk, in turns with room for all.
pub fn cold() {
    let signer = TestApp::prepare(Settings::default()).signer();
    println!("making {} signed events of {} sessions", 20 * 5 * BUSY, 11 * BUSY);
    let mut busy = refreshes(BUSY, 50, &signer, 9).into_iter();
    let mut others = refreshes(10 * BUSY, 5, &signer, 10).into_iter();
    let first: Requests = busy.by_ref().take(BUSY).chain(others.by_ref().take(10 * BUSY)).collect();
    let then: Requests = busy.zip(others).flat_map(|(one, other)| [one, other]).collect();
    let rate = |settings: Settings, name: &str| {
        let app = TestApp::start(settings);
        play(app.listen, &first, 1, CONNECTIONS);
        let metric = |name: &str| app.metric(name, &[]).unwrap();
        let before = metric("refresh_audit_state_fetched_total");
        let mut run = play(app.listen, &then, 1, CONNECTIONS);
        let p99 = percentile(&mut run.latencies, 0.99);
        println!(
            "  {name:12} {:>9.0}/s  p99 {p99:?}  {} of {} fetched, {} judged without  {} MB resident",
            run.rate(),
            metric("refresh_audit_state_fetched_total") - before,
            then.len(),
            metric("refresh_audit_state_cold_total"),
            resident_mb(app.pid())
        );
        run.rate()
    };
    let ratios = (0..TURNS).map(|_| {
        let cold = rate(Settings::default().and(LITTLE), "half on disk");
        cold / rate(Settings::default(), "in memory")
    });
    println!("with half on disk, of the rate without: {:.3} (median of {TURNS})", median(ratios.collect()));
}
