//! Refused records: parked, tried again, dropped; and ranges that an operator wants delivered again.

use std::{fs, time::Duration};

use refresh_audit::{
    deliver::{SinkState, Status, Triage, Which, parked::Page},
    sink::{Ack, SinkError},
};
use tokio::sync::Semaphore;

use crate::{
    journal::{World, eventually, json},
    scripted::{CONFIG, Scripted, accept, counts, fail, files, raised, refuse},
    support::PATIENCE,
};

#[tokio::test]
async fn a_partial_refusal_parks_those_and_no_others() {
    let mut world = World::new();
    world.events(8);
    let sink = Scripted::new(|batch| {
        let odd = batch.iter().map(|message| message.seq).filter(|seq| seq % 2 == 1);
        let refused = odd.chain([99]).map(|seq| (seq, format!("odd {seq}"))).collect();
        Err(SinkError::Reject { refused, ack: Ack::none() })
    });
    let running = world.start("s", CONFIG, sink.clone());
    assert_eq!(counts(&running.drained().await), [4, 0, 4, 0, 0, 0]);
    assert_eq!((sink.taken(), sink.calls()), (vec![2, 4, 6, 8], 2));
    let parked = running.handle.parked(Page { full: true, ..Page::default() }).await.unwrap();
    let said: Vec<_> = parked.iter().map(|record| (record.seq, record.reason.as_str(), record.key.clone())).collect();
    assert_eq!(said[1], (3, "odd 3", World::event_id(3)));
    assert!(
        parked[1]
            .record
            .as_ref()
            .unwrap()
            .get()
            .starts_with(r#"{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":3,"#)
    );
}

#[tokio::test]
async fn parked_records_are_tried_again_or_dropped() {
    let mut world = World::new();
    world.events(8);
    let sink = Scripted::new(refuse(&[2, 5, 6]));
    let running = world.start("s", CONFIG, sink.clone());
    assert_eq!(counts(&running.drained().await), [5, 0, 3, 0, 0, 0]);
    assert_eq!(raised(&world), ["record_parked"]);
    assert!(
        running
            .handle
            .triage(Triage::Retry(Which::Seqs(vec![4])))
            .await
            .unwrap_err()
            .to_string()
            .contains("4 is not parked")
    );

    sink.now(refuse(&[5, 6]));
    assert_eq!(running.handle.triage(Triage::Retry(Which::All)).await.unwrap(), 3);
    let status = running.until("done again", |status| status.redriving == 0).await;
    assert_eq!(counts(&status), [6, 0, 2, 0, 0, 0]);
    assert_eq!(running.handle.triage(Triage::Drop(Which::Seqs(vec![6]))).await.unwrap(), 1);
    assert_eq!(counts(&running.handle.status()), [6, 0, 1, 1, 0, 0]);
    assert_eq!(raised(&world), ["record_parked"]);
    running.stop().await;

    // The same without a service; what it asks for is done by the next run.
    let journal = world.context.journal();
    let parked = files(&world, &journal).load().parked_page(Page::default()).unwrap();
    assert_eq!(parked.iter().map(|record| record.seq).collect::<Vec<_>>(), [5]);
    assert_eq!(files(&world, &journal).triage(&Triage::Retry(Which::All)).unwrap(), 1);
    sink.now(accept);
    let running = world.start("s", CONFIG, sink.clone());
    let status = running.until("nothing parked", |status| status.parked == 0).await;
    assert_eq!(counts(&status), [7, 0, 0, 1, 0, 0]);
    assert_eq!(sink.taken(), [1, 3, 4, 7, 8, 2, 5]);
    running.stop().await;
    assert_eq!(raised(&world), [""; 0]);
    assert!(!world.sink_file("s", "parked.jsonl").exists());
    assert!(!world.sink_file("s", "redrive.json").exists());
}

#[tokio::test]
async fn too_many_parked_records_stop_the_sink_until_somebody_decides() {
    let mut world = World::new();
    world.events(8);
    let sink = Scripted::new(|_| Err(SinkError::Refused { reason: "no".into() }));
    let config = format!("{CONFIG}\nparked_max = 3");
    let running = world.start("s", &config, sink.clone());
    let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert_eq!(counts(&status), [0, 0, 3, 0, 0, 5]);
    assert!(status.last_error.unwrap().contains("sinks parked s --retry --all"));
    assert_eq!(raised(&world), ["sink_stuck", "record_parked"]);
    let calls = sink.calls();
    sink.now(accept);
    running.handle.triage(Triage::Drop(Which::Seqs(vec![1]))).await.unwrap();
    let status = running.until("idle", |status| status.state == SinkState::Idle).await;
    assert_eq!(counts(&status), [5, 0, 2, 1, 0, 0]);
    assert_eq!(raised(&world), ["record_parked"]);
    assert!(sink.calls() > calls);
}

#[tokio::test]
async fn what_makes_room_among_the_parked_is_done_though_the_rest_of_a_batch_failed() {
    let mut world = World::new();
    world.events(4);
    // The first is refused for good, the others are to come again: with one parked, nothing more is sent.
    let sink = Scripted::new(|batch| {
        let refused = batch.iter().filter(|message| message.seq == 1).map(|message| (message.seq, "no".to_owned()));
        Err(SinkError::Partly {
            refused: refused.collect(),
            again: batch.iter().map(|message| message.seq).filter(|seq| *seq != 1).collect(),
            ack: Ack::none(),
            reason: "later".into(),
            after: None,
            fault: false,
        })
    });
    let running = world.start("s", &format!("{CONFIG}\nparked_max = 1"), sink.clone());
    running.until("stuck", |status| status.state == SinkState::Stuck && status.parked == 1).await;
    sink.now(accept);
    running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
    let status = running.until("idle", |status| status.state == SinkState::Idle).await;
    assert_eq!(counts(&status), [4, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_range_is_delivered_again_without_counting_again() {
    let mut world = World::new();
    world.events(10);
    let sink = Scripted::new(refuse(&[4]));
    let running = world.start("s", CONFIG, sink.clone());
    let before = counts(&running.drained().await);
    assert_eq!(before, [9, 0, 1, 0, 0, 0]);
    for (from, to) in [(0, Some(0)), (11, None), (5, Some(3))] {
        assert!(running.handle.redeliver(from, to).await.is_err(), "{from} {to:?}");
    }
    sink.taken.lock().unwrap().clear();
    assert_eq!(running.handle.redeliver(2, Some(99)).await.unwrap(), 9);
    let status = running.until("done again", |status| status.redriving == 0).await;
    assert_eq!(counts(&status), before);
    assert_eq!(sink.taken(), [2, 3, 5, 6, 7, 8, 9, 10]);

    // A parked record that arrives on the way is delivered.
    sink.now(accept);
    running.handle.redeliver(4, Some(4)).await.unwrap();
    let status = running.until("done again", |status| status.redriving == 0).await;
    assert_eq!(counts(&status), [10, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn no_crash_loses_a_request_to_deliver_again() {
    let mut world = World::new();
    world.events(10);
    let sink = Scripted::new(accept);
    let running = world.start("s", CONFIG, sink.clone());
    eventually("a saved cursor", || (world.context.consumers.lowest() == Some(11)).then_some(())).await;
    // Two batches are let through, the third hangs.
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    sink.gate.add_permits(2);
    sink.taken.lock().unwrap().clear();
    assert_eq!(running.handle.redeliver(1, None).await.unwrap(), 10);
    let redrive = world.sink_file("s", "redrive.json");
    assert_eq!(json(&redrive)["ranges"][0]["to"], 10);
    // The journal keeps what is asked for.
    assert_eq!(world.context.consumers.lowest(), Some(1));
    // Both: what works on files outlives this kind of crash, and must not have the last word of what the journal keeps.
    let is_half = || json(&redrive)["ranges"][0]["next"] == 9 && world.context.consumers.lowest() == Some(9);
    eventually("half of it", || is_half().then_some(())).await;
    running.crash().await;
    assert_eq!(sink.taken(), [1, 2, 3, 4, 5, 6, 7, 8]);

    sink.gate.add_permits(1_000);
    let running = world.start("s", CONFIG, sink.clone());
    running.until("done again", |status| status.redriving == 0).await;
    assert_eq!(sink.taken(), (1..=10).collect::<Vec<_>>());
    assert_eq!(counts(&running.stop().await), [10, 0, 0, 0, 0, 0]);
    assert_eq!(world.context.consumers.lowest(), Some(11));
}

#[tokio::test]
async fn delivering_again_and_new_records_take_turns() {
    let mut world = World::new();
    world.events(6);
    let sink = Scripted::new(refuse(&[2]));
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    // What fails again and again on its second way does not hold up new records.
    sink.now(|batch| if batch[0].seq < 6 { fail(batch) } else { Ok(()) });
    running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
    running.until("an error", |status| status.last_error.is_some()).await;
    world.events(50);
    assert_eq!(counts(&running.drained().await), [55, 0, 1, 0, 0, 0]);
    sink.now(accept);
    running.until("nothing parked", |status| status.parked == 0).await;
    eventually("a saved cursor", || (world.context.consumers.lowest() == Some(57)).then_some(())).await;

    // And a long way back does not, either: between any two of its batches there is room for one of theirs.
    let calls = sink.calls();
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    running.handle.redeliver(1, None).await.unwrap();
    eventually("under way", || (sink.calls() > calls).then_some(())).await;
    world.events(20);
    // Each batch takes its time, as with a real sink: meanwhile the new records are read from the journal.
    let done = |status: &Status| status.pending == 0 && status.redriving == 0;
    let turns = async {
        while !done(&running.handle.status()) {
            sink.gate.add_permits(1);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, turns).await.expect("all of it, again and anew");
    let all = sink.calls.lock().unwrap()[calls..].to_vec();
    let first_new = all.iter().position(|call| call[0] > 56).unwrap();
    let last_again = all.iter().rposition(|call| call[0] <= 56).unwrap();
    assert!(first_new < last_again, "new records waited: {all:?}");
    let turns = all[first_new..last_again].iter().filter(|call| call[0] <= 56).count();
    assert!(turns > 0, "what is asked for again waited: {all:?}");
}

#[tokio::test]
async fn what_cannot_be_delivered_again_is_an_alarm_until_it_is() {
    let mut world = World::new();
    world.events(6);
    let sink = Scripted::new(accept);
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    sink.now(|batch| if batch[0].seq < 7 { Err(no_such_key()) } else { Ok(()) });
    running.handle.redeliver(1, None).await.unwrap();
    let status = running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert!(status.last_error.unwrap().contains("no such key"));
    assert_eq!(raised(&world), ["sink_stuck"]);
    // What goes well meanwhile changes nothing about it.
    world.events(4);
    let status = running.drained().await;
    assert_eq!(raised(&world), ["sink_stuck"]);
    assert!(status.last_error.is_some_and(|error| error.contains("no such key")), "says why");
    sink.now(accept);
    running.until("done again", |status| status.redriving == 0).await;
    eventually("no alarm", || raised(&world).is_empty().then_some(())).await;
    assert_eq!(running.handle.status().last_error, None);
}

/// A fault that leaves time to see what goes on between two attempts.
fn no_such_key() -> SinkError {
    SinkError::Retry { reason: "no such key".into(), after: Some(Duration::from_secs(1)), fault: true }
}

#[tokio::test]
async fn what_is_given_up_is_an_alarm_no_more() {
    let mut world = World::new();
    world.events(6);
    let sink = Scripted::new(refuse(&[2]));
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    sink.now(|batch| if batch[0].seq == 2 { Err(no_such_key()) } else { Ok(()) });
    running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
    running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert_eq!(raised(&world), ["sink_stuck", "record_parked"]);
    let calls = sink.calls();
    running.handle.triage(Triage::Drop(Which::All)).await.unwrap();
    eventually("no alarm", || raised(&world).is_empty().then_some(())).await;
    // Longer than it would have waited.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(sink.calls(), calls, "what is given up is not sent");
    world.events(2);
    assert_eq!(counts(&running.drained().await), [7, 0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn what_is_taken_back_is_an_alarm_no_more_and_lets_the_journal_go() {
    let mut world = World::new();
    world.events(6);
    let sink = Scripted::new(refuse(&[2]));
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    sink.now(|batch| if batch[0].seq < 7 { Err(no_such_key()) } else { Ok(()) });
    running.handle.redeliver(1, None).await.unwrap();
    running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
    running.until("stuck", |status| status.state == SinkState::Stuck).await;
    assert_eq!(raised(&world), ["sink_stuck", "record_parked"]);
    assert_eq!(world.context.consumers.lowest(), Some(1));
    let calls = sink.calls();
    // Six of the range, and the parked one.
    assert_eq!(running.handle.cancel().await.unwrap(), 7);
    eventually("no more stuck", || (raised(&world) == ["record_parked"]).then_some(())).await;
    assert_eq!((running.handle.status().redriving, world.context.consumers.lowest()), (0, Some(7)));
    // Longer than it would have waited.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(sink.calls(), calls, "what is taken back is not sent");
    assert_eq!(running.handle.cancel().await.unwrap(), 0);
    world.events(2);
    assert_eq!(counts(&running.drained().await), [7, 0, 1, 0, 0, 0]);
    // It can be asked for again, from its beginning.
    sink.taken.lock().unwrap().clear();
    sink.now(accept);
    running.handle.redeliver(2, Some(6)).await.unwrap();
    let status = running.until("done again", |status| status.redriving == 0).await;
    assert_eq!((sink.taken(), counts(&status)), (vec![2, 3, 4, 5, 6], [8, 0, 0, 0, 0, 0]));
}

#[tokio::test]
async fn what_is_under_way_when_it_is_taken_back_may_arrive_and_moves_no_later_request() {
    let mut world = World::new();
    world.events(10);
    let sink = Scripted::new(accept);
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    let calls = sink.calls();
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    sink.taken.lock().unwrap().clear();
    running.handle.redeliver(1, None).await.unwrap();
    eventually("under way", || (sink.calls() > calls).then_some(())).await;
    assert_eq!(running.handle.cancel().await.unwrap(), 10);
    running.handle.redeliver(2, Some(6)).await.unwrap();
    sink.gate.add_permits(1_000);
    let status = running.until("done again", |status| status.redriving == 0).await;
    assert_eq!((sink.taken(), counts(&status)), (vec![1, 2, 3, 4, 2, 3, 4, 5, 6], [10, 0, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_crash_while_many_are_tried_again_counts_each_once() {
    let mut world = World::new();
    world.events(60);
    let sink = Scripted::new(|_| Err(SinkError::Refused { reason: "no".into() }));
    let config = "batch = { records = 1, wait = '0ms' }";
    let running = world.start("s", config, sink.clone());
    assert_eq!(counts(&running.drained().await), [0, 0, 60, 0, 0, 0]);
    sink.now(accept);
    sink.gate.forget_permits(Semaphore::MAX_PERMITS);
    sink.gate.add_permits(30);
    running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
    eventually("half of it", || (sink.taken().len() == 30).then_some(())).await;
    running.crash().await;
    sink.gate.add_permits(1_000);
    let running = world.start("s", config, sink.clone());
    let status = running.until("nothing parked", |status| status.parked == 0).await;
    assert_eq!(counts(&status), [60, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&running.stop().await), [60, 0, 0, 0, 0, 0]);
    let mut taken = sink.taken();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken, (1..=60).collect::<Vec<_>>());
    assert!(!world.sink_file("s", "parked.jsonl").exists() && !world.sink_file("s", "redrive.json").exists());
}

#[tokio::test]
async fn what_is_delivered_again_has_a_backoff_of_its_own() {
    let mut world = World::new();
    world.events(6);
    let sink = Scripted::new(refuse(&[2]));
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    sink.now(|batch| match batch[0].seq {
        2 => Err(SinkError::Retry { reason: "later".into(), after: Some(Duration::from_secs(500)), fault: false }),
        _ => Ok(()),
    });
    running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
    running.until("an error", |status| status.last_error.is_some()).await;
    for _ in 0..10 {
        world.events(4);
        running.drained().await;
    }
    let calls = sink.calls.lock().unwrap();
    assert_eq!(calls.iter().filter(|call| **call == [2]).count(), 2, "once refused, once again: {calls:?}");
}

/// On a full disk, say: what was taken must not come again with each try.
#[tokio::test]
async fn what_was_taken_is_not_sent_again_while_parked_records_cannot_be_written() {
    let mut world = World::new();
    world.events(3);
    let parked = world.sink_file("s", "parked.jsonl");
    let in_the_way = parked.clone();
    let sink = Scripted::new(move |_| {
        fs::create_dir_all(&in_the_way).unwrap();
        Err(SinkError::Reject { refused: vec![(2, "no".to_owned())], ack: Ack::none() })
    });
    let running = world.start("s", CONFIG, sink.clone());
    let cannot = |error: &String| error.contains("cannot write parked.jsonl");
    running.until("trouble", |status| status.last_error.as_ref().is_some_and(cannot)).await;
    fs::remove_dir(&parked).unwrap();
    let status = running.drained().await;
    assert_eq!(counts(&status), [2, 0, 1, 0, 0, 0]);
    assert_eq!(*sink.calls.lock().unwrap(), [vec![1, 2, 3]]);
    assert_eq!(json(&parked)["seq"], 2);
    running.stop().await;
}
