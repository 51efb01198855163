//! One dead sink beside seven that live: it stalls nobody, costs nobody, and has everything once it is back.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use refresh_audit::deliver::SinkState;

use crate::{
    journal::{World, eventually},
    scripted::{Scripted, accept, counts, fail},
};

/// Live sinks beside the dead one.
const LIVE: usize = 7;
/// Events in all, and how many at once.
const EVENTS: u64 = 6_000;
const AT_ONCE: u64 = 500;
/// No live sink may be further behind.
const LAG_MAX: f64 = 2.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_sink_stalls_only_itself() {
    let mut world = World::new();
    let config = "batch = { records = 100, wait = '5ms' }";
    let (dead, live) = (Scripted::new(fail), Scripted::new(accept));
    let stalled = world.start("dead", config, dead.clone());
    let running: Vec<_> = (0..LIVE).map(|nth| world.start(&format!("live-{nth}"), config, live.clone())).collect();
    let worst = Cell::new(0.0_f64);
    for _ in 0..EVENTS / AT_ONCE {
        let last = world.events(AT_ONCE);
        let begun = Instant::now();
        eventually("the live ones have it", || {
            let all: Vec<_> = running.iter().map(|sink| sink.handle.status()).collect();
            worst.set(all.iter().map(|status| status.lag_seconds).fold(worst.get(), f64::max));
            all.iter().all(|status| status.next == last + 1).then_some(())
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs_f64(LAG_MAX), "{:?}", begun.elapsed());
    }
    assert!(worst.get() < LAG_MAX, "a live sink was {:.2} s behind", worst.get());
    let status = stalled.handle.status();
    assert_eq!((counts(&status), status.state != SinkState::Idle), ([0, 0, 0, 0, 0, EVENTS], true));
    for sink in running {
        assert_eq!(counts(&sink.stop().await), [EVENTS, 0, 0, 0, 0, 0]);
    }
    // The journal is its queue: nothing of what it missed was kept in memory, or lost.
    dead.now(accept);
    assert_eq!(counts(&stalled.drained().await), [EVENTS, 0, 0, 0, 0, 0]);
    let mut taken = dead.taken();
    taken.dedup();
    assert_eq!(taken, (1..=EVENTS).collect::<Vec<_>>());
}
