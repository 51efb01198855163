//! Requests a second and their percentiles, in turns with the empty handler, and beside a bare append + `fdatasync`.

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    empty::Empty,
    generate::{Requests, Run, play, requests},
    stats::{median, micros, percentile, syncs},
    support::{
        app::{Settings, TestApp},
        journal,
    },
};

/// Events a run; each run has a service and a journal of its own, so that the same events are new to it.
const EVENTS: usize = 200_000;
/// The empty handler is several times as fast: more rounds, so that its runs are not too short.
const EMPTY_ROUNDS: usize = 4;
pub const TURNS: usize = 5;
/// Numbers of connections.
pub const CONNECTIONS: &[usize] = &[16, 64];

/// Prints one run, and returns its rate and p99.
fn report(name: &str, run: &mut Run) -> (f64, Duration) {
    let rate = run.rate();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| percentile(&mut run.latencies, share));
    println!("{name:34} {rate:>9.0}/s  p50 {:>8}  p99 {:>8}  p999 {:>9}", micros(p50), micros(p99), micros(p999));
    (rate, p99)
}

/// Appends as many batches of as many bytes as the service did, and syncs each; the p99 of that.
fn bare(app: &TestApp, batches: usize, batch_bytes: usize) -> Duration {
    let mut file = File::create(app.path("bare")).unwrap();
    let batch = vec![b'x'; batch_bytes];
    let times = (0..batches).map(|_| {
        let begun = Instant::now();
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
        begun.elapsed()
    });
    percentile(&mut times.collect::<Vec<_>>(), 0.99)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts far below 2^52")]
fn service(settings: Settings, requests: &Requests, connections: usize) -> (f64, Duration, Duration) {
    let mut app = TestApp::start(settings);
    let (syncs_before, _) = syncs(&app);
    let mut run = play(app.listen, requests, 1, connections);
    let (syncs_after, sync_mean) = syncs(&app);
    let batches = (syncs_after - syncs_before) as usize;
    // So that no segment is compressed while it is read.
    app.stop();
    let journal_bytes: usize = journal::segments(&app.data()).iter().map(|path| journal::read_plain(path).len()).sum();
    let (rate, p99) = report("  refresh-audit", &mut run);
    let bare = bare(&app, batches.min(20_000), journal_bytes / batches.max(1));
    println!(
        "{:34} {batches} syncs of {} records, mean {}; bare append + fdatasync of the same size p99 {}",
        "",
        run.answers / batches.max(1),
        micros(sync_mean),
        micros(bare)
    );
    (rate, p99, bare)
}

/// Runs it.
pub fn run(connections: &[usize], turns: usize) {
    let signer = TestApp::prepare(Settings::default()).signer();
    println!("making {EVENTS} signed events");
    let requests = requests(EVENTS, &signer, 1);
    let bytes = requests.iter().map(|request| request.len()).sum::<usize>() / requests.len();
    println!("{bytes} bytes a request, head and body");
    let detection_off = "[detect]\nenabled = false\n";
    let settings = [("no sink", Settings::default()), ("file sink", Settings::new())];
    for (sinks, settings) in settings.map(|(sinks, settings)| (sinks, settings.and(detection_off))) {
        for connections in connections.iter().copied() {
            println!("\n{connections} connections, {sinks}");
            let (mut ratios, mut p99_ratios) = (Vec::new(), Vec::new());
            for _ in 0..turns {
                let (rate, p99, bare) = service(settings.clone(), &requests, connections);
                let empty = Empty::start();
                let mut run = play(empty.address, &requests, EMPTY_ROUNDS, connections);
                let (empty_rate, _) = report("  empty handler", &mut run);
                ratios.push(rate / empty_rate);
                p99_ratios.push(p99.as_secs_f64() / bare.as_secs_f64());
            }
            println!(
                "{connections} connections, {sinks}: {:.3} of the empty handler (median of {turns})",
                median(ratios)
            );
            println!(
                "{connections} connections, {sinks}: p99 {:.2} times the bare append's (median)",
                median(p99_ratios)
            );
        }
    }
}
