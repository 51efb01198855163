//! `ordered = false`: several batches under way at once, and the same promises but for the order.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use refresh_audit::{
    deliver::{Deliverer, parked::Page},
    record::Seq,
    sink::{Ack, Message, Sink, SinkConfig, SinkError},
};
use tokio::sync::Semaphore;

use crate::{
    journal::{World, eventually, json},
    scripted::{CONFIG, Scripted, accept, counts, fail, files, raised, refuse},
    support::PATIENCE,
};

const UNORDERED: &str = "ordered = false\nbatch = { records = 4, wait = '0ms' }";

fn problems(world: &World) -> Vec<String> {
    files(world, &world.context.journal()).reconcile().unwrap().problems
}

/// Answers after some milliseconds; how many calls were under way at once.
#[derive(Clone, Default)]
struct Slow {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<Seq>>>,
}

impl Sink for Slow {
    async fn check(&self, _: &Message) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.taken.lock().unwrap().extend(batch.iter().map(|message| message.seq));
        Ok(Ack::none())
    }
}

#[tokio::test]
async fn it_widens_while_answers_stay_fast_and_in_order_it_never_does() {
    let mut world = World::new();
    let (narrow, wide) = (Slow::default(), Slow::default());
    let first = world.start("ordered", CONFIG, narrow.clone());
    let second = world.start("s", UNORDERED, wide.clone());
    // A busy machine answers slowly now and then, which makes it narrower: it is given as much as it needs.
    let mut last = 0;
    let widens = async {
        while wide.most.load(Ordering::SeqCst) < 4 {
            last = world.events(200);
            second.drained().await;
        }
    };
    tokio::time::timeout(PATIENCE, widens).await.expect("four under way");
    assert_eq!(counts(&second.drained().await), [last, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&first.drained().await), [last, 0, 0, 0, 0, 0]);
    second.stop().await;
    let most = wide.most.load(Ordering::SeqCst);
    assert!(most <= 32, "{most}");
    assert_eq!(narrow.most.load(Ordering::SeqCst), 1);
    let mut taken = wide.taken.lock().unwrap().clone();
    taken.sort_unstable();
    assert_eq!(taken, (1..=last).collect::<Vec<_>>(), "each once");
    assert_eq!(problems(&world), [""; 0]);
}

/// Answers after some milliseconds, but hangs on one batch: the first that others are already under way beside.
#[derive(Clone)]
struct Hanging {
    now: Arc<AtomicUsize>,
    /// The first seq of the batch that hangs.
    stuck: Arc<OnceLock<Seq>>,
    gate: Arc<Semaphore>,
    taken: Arc<Mutex<Vec<Seq>>>,
}

impl Sink for Hanging {
    async fn check(&self, _: &Message) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let first = batch[0].seq;
        if self.now.fetch_add(1, Ordering::SeqCst) >= 2 {
            self.stuck.get_or_init(|| first);
        }
        if self.stuck.get() == Some(&first) {
            self.gate.acquire().await.unwrap().forget();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.taken.lock().unwrap().extend(batch.iter().map(|message| message.seq));
        Ok(Ack::none())
    }
}

#[tokio::test]
async fn the_cursor_is_the_lowest_that_is_not_settled_and_a_crash_delivers_no_more_than_that_again() {
    let mut world = World::new();
    world.events(2_000);
    let sink = Hanging {
        now: Arc::default(),
        stuck: Arc::default(),
        gate: Arc::new(Semaphore::new(0)),
        taken: Arc::default(),
    };
    let running = world.start("s", UNORDERED, sink.clone());
    // Others overtake the one that hangs, but only so far: 32 batches of 4 are under way or wait for it at most.
    let cursor = world.sink_file("s", "cursor");
    let past = |stuck: Seq| sink.taken.lock().unwrap().iter().filter(|seq| **seq > stuck).count();
    let stuck = eventually("one that hangs, overtaken", || {
        let stuck = *sink.stuck.get()?;
        (past(stuck) > 0 && json(&cursor)["next"] == stuck).then_some(stuck)
    })
    .await;
    let status = running.handle.status();
    assert_eq!((status.next, counts(&status)), (stuck, [stuck - 1, 0, 0, 0, 0, 2_001 - stuck]));
    running.crash().await;
    let overtook = past(stuck);
    assert!((4..=31 * 4).contains(&overtook), "{overtook}");
    assert_eq!(problems(&world), [""; 0]);

    sink.gate.add_permits(1);
    let running = world.start("s", UNORDERED, sink.clone());
    assert_eq!(counts(&running.drained().await), [2_000, 0, 0, 0, 0, 0]);
    running.stop().await;
    let taken = sink.taken.lock().unwrap().clone();
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 2_000, "nothing lost");
    assert_eq!(taken.len() - 2_000, overtook, "only what the cursor had not passed came again");
    assert_eq!(problems(&world), [""; 0]);
}

#[tokio::test]
async fn refusals_are_parked_alone_and_failures_wait_alone() {
    let mut world = World::new();
    world.events(60);
    let sink = Scripted::new(|batch| match batch {
        _ if batch.iter().any(|message| [17, 30, 31].contains(&message.seq)) => refuse(&[17, 30, 31])(batch),
        // These fail until told otherwise, and hold up nobody.
        _ if batch.iter().any(|message| message.seq == 41) => Err(SinkError::fault("503")),
        _ => Ok(()),
    });
    let running = world.start("s", UNORDERED, sink.clone());
    running.until("stuck", |status| status.next == 41 && status.last_error.is_some()).await;
    eventually("an alarm", || raised(&world).contains(&"sink_stuck".to_owned()).then_some(())).await;
    sink.now(|batch| if batch[0].seq >= 41 { accept(batch) } else { fail(batch) });
    let status = running.drained().await;
    assert_eq!(counts(&status), [57, 0, 3, 0, 0, 0]);
    let parked: Vec<Seq> =
        running.handle.parked(Page::default()).await.unwrap().iter().map(|record| record.seq).collect();
    assert_eq!((parked, raised(&world)), (vec![17, 30, 31], vec!["record_parked".to_owned()]));
    running.stop().await;
    let expected: Vec<Seq> = (1..=60).filter(|seq| ![17, 30, 31].contains(seq)).collect();
    let mut taken = sink.taken();
    taken.sort_unstable();
    assert_eq!((taken, problems(&world)), (expected, vec![]));
}

/// A bulk request that a busy cluster takes in part, say: 429 for the rest.
#[tokio::test]
async fn what_gets_on_with_every_attempt_is_not_stuck_and_does_not_wait_ever_longer() {
    let one = |batch: &[Message]| match batch {
        [_] => Ok(()),
        [_, rest @ ..] => Err(SinkError::Partly {
            again: rest.iter().map(|message| message.seq).collect(),
            refused: Vec::new(),
            ack: Ack::none(),
            reason: "429".into(),
            after: None,
            // What would be worth an alarm the second time.
            fault: true,
        }),
        [] => Ok(()),
    };
    for ordered in [true, false] {
        let mut world = World::new();
        world.events(15);
        let sink = Scripted::new(one);
        let config = format!("ordered = {ordered}\nbatch = {{ records = 15, wait = '0ms' }}");
        let running = world.start("s", &config, sink.clone());
        // 14 waits of 100 ms at most. Doubled each time, they were half of 100 * (2^14 - 1) ms, 13 minutes.
        assert_eq!(counts(&running.drained().await), [15, 0, 0, 0, 0, 0], "{ordered}");
        running.handle.redeliver(1, None).await.unwrap();
        running.until("done again", |status| status.redriving == 0).await;
        assert_eq!((sink.calls(), world.context.alarms.pending(0).len()), (30, 0), "{ordered}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_what_is_under_way_and_counts_it() {
    let mut world = World::new();
    world.events(40);
    let sink = Scripted::new(accept);
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    let running = world.start("s", UNORDERED, sink.clone());
    eventually("one under way", || (sink.calls() == 1).then_some(())).await;
    running.ask_to_stop();
    sink.gate.add_permits(100);
    let status = running.stop().await;
    assert_eq!(counts(&status)[0], 4, "no new one is begun");
    assert_eq!(json(&world.sink_file("s", "cursor"))["next"], 5);
}

#[tokio::test]
async fn a_sink_that_takes_one_batch_at_a_time_says_so() {
    let world = World::new();
    let members = toml::Deserializer::parse("address = '127.0.0.1:6514'\ntransport = 'tcp'").unwrap();
    let sink = SinkConfig::parse("syslog", members).unwrap().build(Path::new("/")).unwrap();
    let config = toml::from_str("ordered = false").unwrap();
    let refused = Deliverer::new("s", config, sink, &world.context).err().unwrap().to_string();
    assert!(refused.contains("leave ordered = false out"), "{refused}");
}
