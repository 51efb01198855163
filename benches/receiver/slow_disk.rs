//! The answer at a steady 500 requests a second when every `fdatasync` takes 10 ms longer.

use std::{
    thread,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    stats::{micros, percentile},
    support::{
        app::{Settings, TestApp},
        event::Event,
        http::Client,
        shim::Shim,
    },
};

const RATE_PER_SECOND: u32 = 500;
const CONNECTIONS: u32 = 32;
const SECONDS: u32 = 20;
const SYNC_DELAY_MS: i64 = 10;

/// Sends at its own share of the instants, whether or not the answer before was late; latencies count from the instant.
fn steady(app: &TestApp, seed: i64, number: u32, begun: Instant) -> Vec<Duration> {
    let mut rng = StdRng::seed_from_u64(u64::from(number) + 1_000 * seed.unsigned_abs());
    let (mut client, signer) = (Client::connect(app.listen).unwrap(), app.signer());
    let mut latencies = Vec::new();
    for tick in (number..RATE_PER_SECOND * SECONDS).step_by(CONNECTIONS as usize) {
        let event = Event::new(&mut rng);
        let due = begun + Duration::from_secs(1) * tick / RATE_PER_SECOND;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let verdict = client.send(&event, &signer).unwrap();
        assert_eq!(verdict.word, "accepted", "{verdict:?}");
        latencies.push(due.elapsed());
    }
    latencies
}

/// Runs it.
pub fn run() {
    let shim = Shim::build();
    let app = TestApp::start(shim.under(Settings::new().and("[detect]\nenabled = false\n")));
    for delay_ms in [0, SYNC_DELAY_MS] {
        shim.delay_syncs(delay_ms);
        let begun = Instant::now() + Duration::from_millis(100);
        let mut latencies: Vec<Duration> = thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|number| (number, &app))
                .map(|(n, app)| scope.spawn(move || steady(app, delay_ms, n, begun)))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| micros(percentile(&mut latencies, share)));
        println!("{RATE_PER_SECOND} requests/s, fdatasync + {delay_ms} ms: p50 {p50}, p99 {p99}, p999 {p999}");
    }
}
