//! What detection costs: requests a second with all rules on, in turns with `detect.enabled = false`; and memory with many
//! users and sessions.

use crate::{
    generate::{play, refreshes},
    resident::resident_mb,
    stats::{median, percentile},
    support::app::{Settings, TestApp},
};

/// Sessions, each of a user of its own, and refreshes of each: a first sight and then a chain.
const SESSIONS: usize = 40_000;
const TIMES: usize = 5;
const CONNECTIONS: usize = 64;
const TURNS: usize = 5;
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
