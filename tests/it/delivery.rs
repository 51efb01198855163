//! The loop itself: counts, cursors, trouble, stopping.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use refresh_audit::{
    deliver::{SinkState, Triage, Which, parked::Page},
    record::Kind,
    sink::{Ack, Message, Sink, SinkError},
};
use tokio::sync::Semaphore;

use crate::{
    journal::{ID, World, eventually, json},
    scripted::{CONFIG, Scripted, accept, counts, fail, files, raised, refuse},
};

#[tokio::test]
async fn every_seq_is_counted_once() {
    let mut world = World::new();
    world.events(3);
    world.new_segment();
    world.events(3);
    world.alarm("disk_low");
    world.damaged();
    world.damaged();
    world.events(2);
    let sink = Scripted::new(fail);
    let config = "kinds = ['event']\nbatch = { records = 2, wait = '0ms' }";
    let running = world.start("s", config, sink.clone());
    running.until("an error", |status| status.last_error.is_some()).await;
    running.crash().await;
    // Retention took the first segment before the sink had it.
    fs::remove_file(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    sink.now(refuse(&[5]));
    let running = world.start("s", config, sink.clone());
    let status = running.drained().await;
    // 4, 6, 10, 11 delivered; 7 skipped; 5 parked; 1 to 3 dropped; 8, 9 damaged.
    assert_eq!(counts(&status), [4, 1, 1, 3, 2, 0]);
    assert_eq!((status.start, status.next, status.recorded), (1, 12, 11));
    assert_eq!(sink.taken(), [4, 6, 10, 11]);
    let metrics = world.context.metrics.text();
    for (state, count) in
        [("delivered", 4), ("skipped", 1), ("parked", 1), ("dropped", 3), ("damaged", 2), ("pending", 0)]
    {
        let line = format!("refresh_audit_sink_records{{sink=\"s\",state=\"{state}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let stopped = running.stop().await;
    assert_eq!(world.context.consumers.lowest(), Some(12));
    let journal = world.context.journal();
    let offline = files(&world, &journal).status();
    assert_eq!(counts(&offline), counts(&stopped));
    assert_eq!(offline.last_delivered_at, stopped.last_delivered_at);
}

/// Its library gives up the first time.
struct Breaks(Arc<AtomicUsize>);

impl Sink for Breaks {
    async fn check(&self, _: &Message) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&self, _: &[Message]) -> Result<Ack, SinkError> {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 0, "a fault in a library");
        Ok(Ack::none())
    }
}

#[tokio::test]
async fn a_sink_that_panics_is_told_of_and_tried_again() {
    for config in [CONFIG.to_owned(), format!("{CONFIG}\nordered = false")] {
        let mut world = World::new();
        world.events(3);
        let calls = Arc::new(AtomicUsize::new(0));
        let running = world.start("s", &config, Breaks(Arc::clone(&calls)));
        let status = running.drained().await;
        assert_eq!((counts(&status), calls.load(Ordering::SeqCst)), ([3, 0, 0, 0, 0, 0], 2), "{config}");
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_deleted_while_a_sink_stands_in_it_is_dropped_and_not_damaged() {
    let mut world = World::new();
    let sink = Scripted::new(fail);
    for _ in 0..4 {
        world.events(3);
        world.new_segment();
    }
    let last = world.events(3);
    let running = world.start("s", "batch = { records = 1, wait = '0ms' }", sink.clone());
    running.until("an error", |status| status.last_error.is_some()).await;
    for first in [1, 4, 7] {
        fs::remove_file(world.context.journal_dir.join(format!("{first:020}.jsonl"))).unwrap();
    }
    world.context.consumers.begins_with(10);
    // It stands in the first segment, has read three of it, and has none.
    assert_eq!(counts(&running.handle.status()), [0, 0, 0, 9, 0, 6]);
    sink.now(accept);
    let status = running.drained().await;
    assert_eq!(counts(&status)[4], 0, "{status:?}");
    let journal = world.context.journal();
    running.stop().await;
    let found = files(&world, &journal).reconcile().unwrap();
    assert_eq!((found.problems, found.damaged.records, found.dropped.ranges.last()), (vec![], 0, Some(&(4, 9))));
    assert_eq!(found.delivered.records + found.dropped.records, last);
}

#[tokio::test]
async fn a_cursor_that_cannot_be_trusted_stops_its_sink_only() {
    let mut world = World::new();
    world.events(5);
    let good =
        r#"{"journal":"3f9a1c2e","start":1,"next":4,"delivered":3,"skipped":0,"parked":0,"dropped":0,"damaged":0}"#;
    for (cursor, said) in [
        (good.replace("3f9a1c2e", "00000000"), "belongs to journal 00000000"),
        (good.replace("\"next\":4,\"delivered\":3", "\"next\":9,\"delivered\":8"), "the journal ends at 5"),
        (good.replace("\"delivered\":3", "\"delivered\":2"), "damaged"),
        (good[..40].to_owned(), "damaged"),
        (String::new(), "damaged"),
    ] {
        let path = world.sink_file("s", "cursor");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &cursor).unwrap();
        fs::write(world.sink_file("s", "parked.jsonl"), "{\"seq\":2}\n").unwrap();
        let sink = Scripted::new(accept);
        let running = world.start("s", CONFIG, sink.clone());
        let other = world.start("other", CONFIG, Scripted::new(accept));
        other.drained().await;
        other.stop().await;
        let status = running.handle.status();
        assert_eq!(status.state, SinkState::Halted, "{cursor}");
        let error = status.last_error.unwrap();
        assert!(error.contains(said) && error.contains("refresh-audit sinks redeliver s --from SEQ"), "{error}");
        assert_eq!(raised(&world), ["cursor_ahead"]);
        // Nobody knows what it still needs: the journal keeps everything.
        assert_eq!(world.context.consumers.lowest(), Some(1));
        assert!(running.handle.triage(Triage::Retry(Which::All)).await.is_err());
        assert_eq!((sink.calls(), fs::read_to_string(&path).unwrap()), (0, cursor));

        assert!(running.handle.redeliver(7, None).await.is_err(), "past the end");
        assert_eq!(running.handle.redeliver(3, None).await.unwrap(), 3);
        assert_eq!(counts(&running.drained().await), [3, 0, 0, 0, 0, 0]);
        assert_eq!((sink.taken(), raised(&world)), (vec![3, 4, 5], vec![]));
        assert_eq!(running.stop().await.start, 3);
        // Parked copies of the old cursor are kept, aside.
        let aside = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("parked.")).collect();
        assert_eq!(fs::read_to_string(&aside[0]).unwrap(), "{\"seq\":2}\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_new_sink_starts_where_it_is_told() {
    let mut world = World::new();
    world.events(3);
    world.new_segment();
    world.events(2);
    // Gone before the sink was there: never its own.
    fs::remove_file(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    let (oldest, now) = (Scripted::new(accept), Scripted::new(accept));
    let first = world.start("oldest", CONFIG, oldest.clone());
    let second = world.start("now", &format!("{CONFIG}\nstart = 'now'"), now.clone());
    second.stop().await;
    world.events(1);
    // What `now` meant was fixed when the cursor was made.
    let second = world.start("now", &format!("{CONFIG}\nstart = 'now'"), now.clone());
    assert_eq!(counts(&first.drained().await), [3, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&second.drained().await), [1, 0, 0, 0, 0, 0]);
    assert_eq!((oldest.taken(), now.taken()), (vec![4, 5, 6], vec![6]));
}

#[tokio::test]
async fn a_stop_leaves_the_cursor_exact_whatever_the_sink_does() {
    let mut world = World::new();
    world.events(10);
    let sink = Scripted::new(accept);
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    sink.gate.add_permits(1);
    let running = world.start("s", CONFIG, sink.clone());
    eventually("the second batch under way", || (sink.calls() == 2).then_some(())).await;
    // The batch hangs, the caller's deadline passes, all is dropped: the first batch is on record.
    let cursor = world.sink_file("s", "cursor");
    running.ask_to_stop();
    eventually("an exact cursor", || (json(&cursor)["next"] == 5).then_some(())).await;
    running.crash().await;
    assert_eq!(json(&cursor)["delivered"], 4);
    // A batch that ends in time is counted, and no further one is begun.
    sink.gate.add_permits(1);
    let running = world.start("s", CONFIG, sink.clone());
    eventually("the next batch under way", || (sink.calls() >= 4).then_some(())).await;
    running.ask_to_stop();
    sink.gate.add_permits(1);
    assert_eq!(counts(&running.stop().await), [10, 0, 0, 0, 0, 0]);
    assert_eq!((json(&cursor)["next"].clone(), sink.taken()), (11.into(), (1..=10).collect()));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_backoff() {
    let mut world = World::new();
    world.events(1);
    let sink = Scripted::new(|_| {
        Err(SinkError::Retry { reason: "later".into(), after: Some(Duration::from_secs(500)), fault: false })
    });
    let running = world.start("s", CONFIG, sink.clone());
    running.until("retrying", |status| status.state == SinkState::Retrying).await;
    assert_eq!(counts(&running.stop().await), [0, 0, 0, 0, 0, 1]);
    assert_eq!(sink.calls(), 1);
}

#[tokio::test]
async fn a_fault_is_alarmed_once_and_cleared() {
    let mut world = World::new();
    world.events(1);
    let sink = Scripted::new(|_| Err(SinkError::fault("401")));
    let running = world.start("s", CONFIG, sink.clone());
    running.until("stuck", |status| status.state == SinkState::Stuck).await;
    let calls = sink.calls();
    eventually("more attempts", || (sink.calls() > calls + 1).then_some(())).await;
    assert_eq!(raised(&world), ["sink_stuck"]);
    assert_eq!(world.context.alarms.pending(0).len(), 1, "one change, however many attempts");
    sink.now(accept);
    // The counts move before the state does; when it says idle, everything else has been said.
    let status = running.until("idle", |status| status.state == SinkState::Idle).await;
    assert_eq!((raised(&world), status.last_error, status.pending), (vec![], None, 0));
}

#[tokio::test]
async fn alarms_about_sinks_that_fail_raise_no_more_alarms() {
    let mut world = World::new();
    world.alarm("sink_stuck");
    world.alarm("record_parked");
    let sink = Scripted::new(|_| Err(SinkError::fault("401")));
    let running = world.start("s", CONFIG, sink.clone());
    running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert_eq!((raised(&world), world.context.alarms.pending(0).len()), (vec![], 0));
    sink.now(accept);
    running.until("idle", |status| status.state == SinkState::Idle).await;
    sink.now(|_| Err(SinkError::fault("401")));
    world.alarm("disk_low");
    running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert_eq!(raised(&world), ["sink_stuck"]);
}

#[tokio::test]
async fn an_unwritable_directory_stops_nothing_else_and_loses_nothing() {
    let mut world = World::new();
    world.events(3);
    fs::create_dir(world.dir.path().join("sinks")).unwrap();
    // A file where the sink's directory should be.
    fs::write(world.dir.path().join("sinks/s"), "").unwrap();
    let sink = Scripted::new(accept);
    let running = world.start("s", CONFIG, sink.clone());
    let status = running.handle.status();
    assert_eq!((status.state, sink.calls()), (SinkState::Halted, 0));
    running.stop().await;
    fs::remove_file(world.dir.path().join("sinks/s")).unwrap();
    let running = world.start("s", CONFIG, sink.clone());
    assert_eq!(counts(&running.drained().await), [3, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn kinds_have_their_keys() {
    let mut world = World::new();
    world.events(1);
    world.alarm("disk_low");
    let sink = Scripted::new(|batch| {
        for message in batch {
            let expected = if message.kind == Kind::Event { World::event_id(1) } else { format!("{ID}-2") };
            assert_eq!(message.key, expected);
        }
        Ok(())
    });
    let running = world.start("s", CONFIG, sink);
    assert_eq!(counts(&running.drained().await), [2, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn an_idle_sink_has_its_cursor_on_disk() {
    let mut world = World::new();
    world.events(10);
    let sink = Scripted::new(accept);
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    let cursor = world.sink_file("s", "cursor");
    eventually("an exact cursor", || (json(&cursor)["next"] == 11).then_some(())).await;
    running.crash().await;
    // Neither does one that waits for a slow answer keep its cursor to itself.
    let running = world.start("s", CONFIG, sink.clone());
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    sink.gate.add_permits(1);
    world.events(8);
    eventually("a cursor that is as far as it can be", || (json(&cursor)["next"] == 15).then_some(())).await;
    running.crash().await;
    assert_eq!(sink.taken(), (1..=14).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_for_a_while_is_read_on() {
    let mut world = World::new();
    world.events(5);
    let sink = Scripted::new(accept);
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    running.stop().await;
    world.events(5);
    let aside = world.dir.path().join("aside");
    fs::rename(&world.context.journal_dir, &aside).unwrap();
    let running = world.start("s", CONFIG, sink.clone());
    let status = running.until("an error", |status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("cannot read the journal"));
    fs::rename(&aside, &world.context.journal_dir).unwrap();
    assert_eq!(counts(&running.drained().await), [10, 0, 0, 0, 0, 0]);
    assert_eq!(sink.taken(), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_settled_in_part_is_not_sent_again_but_after_a_crash() {
    let mut world = World::new();
    world.events(4);
    let partly = |again: &[u64], refused: &[u64]| {
        let refused = refused.iter().map(|seq| (*seq, "no".to_owned())).collect();
        let ack = Ack::none();
        Err(SinkError::Partly { again: again.to_vec(), refused, ack, reason: "some".into(), after: None, fault: false })
    };
    let sink = Scripted::new(move |batch| if batch.len() > 2 { partly(&[2, 4], &[1]) } else { fail(batch) });
    let running = world.start("s", CONFIG, sink.clone());
    eventually("a second attempt", || (sink.calls() >= 2).then_some(())).await;
    assert_eq!(sink.calls.lock().unwrap()[..2], [vec![1, 2, 3, 4], vec![2, 4]]);
    let status = running.handle.status();
    assert_eq!(
        (status.next, counts(&status)),
        (2, [0, 0, 1, 0, 0, 3]),
        "the cursor passes what is settled without a gap"
    );
    running.crash().await;
    let running = world.start("s", CONFIG, sink.clone());
    let calls = sink.calls();
    eventually("two more attempts", || (sink.calls() >= calls + 2).then_some(())).await;
    assert_eq!(sink.calls.lock().unwrap()[calls..calls + 2], [vec![2, 3, 4], vec![2, 4]]);
    sink.now(accept);
    let status = running.drained().await;
    assert_eq!(counts(&status), [3, 0, 1, 0, 0, 0]);
    assert_eq!(sink.taken(), [3, 3, 2, 4]);
    assert_eq!(json(&world.sink_file("s", "parked.jsonl"))["seq"], 1);
}

#[tokio::test]
async fn no_reason_is_told_at_any_length() {
    let mut world = World::new();
    world.events(2);
    let reason = || format!("no\u{1b}[31m {}", "y".repeat(100_000));
    let sink = Scripted::new(move |batch| {
        let refused = vec![(batch[0].seq, reason())];
        match batch.len() {
            2 => Err(SinkError::Partly {
                again: vec![2],
                refused,
                ack: Ack::none(),
                reason: reason(),
                after: None,
                fault: true,
            }),
            _ => Err(SinkError::fault(reason())),
        }
    });
    let running = world.start("s", CONFIG, sink.clone());
    let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
    let parked = running.handle.parked(Page::default()).await.unwrap();
    let alarm = world.context.alarms.raised().iter().find(|alarm| alarm.name == "sink_stuck").unwrap().message.clone();
    for told in [&status.last_error.unwrap(), &parked[0].reason, &alarm] {
        assert!(told.len() < 1_200 && !told.contains('\u{1b}') && told.contains("no [31m yy"), "{told}");
    }
}
