//! One dead sink beside seven that live: it stalls nobody, costs nobody, and has everything once it is back.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_sink_stalls_only_itself() {
    let mut world = World::new();
    let config = "batch = { records = 100, wait = '5ms' }";
    let (dead, live) = (Scripted::new(fail), Scripted::new(accept));
    let stalled = world.start("dead", config, dead.clone());
    let running: Vec<_> = (0..LIVE).map(|nth| world.start(&format!("live-{nth}"), config, live.clone())).collect();
    for _ in 0..EVENTS / AT_ONCE {
        let last = world.events(AT_ONCE);
        let have_it = || running.iter().all(|sink| sink.handle.status().next == last + 1);
        eventually("the live ones have it", || have_it().then_some(())).await;
    }
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
