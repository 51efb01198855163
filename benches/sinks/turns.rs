//! Two that do the same, in turns (A B A B …): rates, and the median of the turns' ratios.

use std::time::{Duration, Instant};

const TURNS: usize = 7;

/// The heading of what follows.
pub fn head() {
    println!(
        "| what | records/s | MB/s | bare client, records/s | of it (median of {TURNS} turns) |\n|---|---|---|---|---|"
    );
}

/// Runs both, `ours` first, and prints a row. Both must have done all of it when they return.
pub fn compare(what: &str, records: usize, bytes: usize, mut ours: impl FnMut(), mut bare: impl FnMut()) {
    // One turn each to warm up: connections, buffers, the allocator.
    ours();
    bare();
    let mut turns: Vec<(Duration, Duration)> = (0..TURNS).map(|_| (timed(&mut ours), timed(&mut bare))).collect();
    turns.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let (slow, fast) = (turns.iter().map(|turn| turn.0).max().unwrap(), turns.iter().map(|turn| turn.0).min().unwrap());
    let middle = &turns[TURNS / 2];
    let rate = |time: Duration| records as f64 / time.as_secs_f64();
    println!(
        "| {what} | {:.0} to {:.0} | {:.0} | {:.0} | {:.2} |",
        rate(slow),
        rate(fast),
        bytes as f64 / 1e6 / middle.0.as_secs_f64(),
        rate(middle.1),
        ratio(middle)
    );
}

/// Runs what has no bare counterpart, and prints a row.
pub fn alone(what: &str, records: usize, bytes: usize, mut run: impl FnMut()) {
    run();
    let mut turns: Vec<Duration> = (0..TURNS).map(|_| timed(&mut run)).collect();
    turns.sort();
    let rate = |time: Duration| records as f64 / time.as_secs_f64();
    println!(
        "| {what} | {:.0} to {:.0} | {:.0} | | |",
        rate(turns[TURNS - 1]),
        rate(turns[0]),
        bytes as f64 / 1e6 / turns[TURNS / 2].as_secs_f64()
    );
}

fn ratio((ours, bare): &(Duration, Duration)) -> f64 {
    bare.as_secs_f64() / ours.as_secs_f64()
}

fn timed(run: &mut impl FnMut()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}
