//! Proofs of delivery and whether they add up: what became of every record, in the other side's words, after refusals,
//! crashes, and hands in the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use refresh_audit::{
    deliver::{Triage, Which, proof::ProofState, reconcile::Reconciled},
    ledger::{KeyScheme, search},
    record::{Kind, Seq},
    sink::{Ack, SinkError},
};
use tokio::sync::Semaphore;

use crate::{
    journal::{World, eventually, json},
    scripted::{CONFIG, Scripted, accept, counts, fail, files, refuse},
};

/// What one proof says: state, batch, attempt, acknowledgement or reason.
fn says(world: &World, seq: Seq) -> (ProofState, Option<(Seq, Seq)>, Option<u32>, String) {
    let proof = files(world, &world.context.journal()).proof(seq).unwrap();
    assert_eq!(proof.delivered_at.is_some(), proof.state == ProofState::Delivered, "{proof:?}");
    (proof.state, proof.batch, proof.attempt, proof.ack.or(proof.reason).unwrap_or_default())
}

fn reconciled(world: &World) -> Reconciled {
    files(world, &world.context.journal()).reconcile().unwrap()
}

/// Shares in the order of the six counts, as records and ranges.
fn shares(found: &Reconciled) -> [(u64, Vec<(Seq, Seq)>); 6] {
    let Reconciled { delivered, skipped, parked, dropped, damaged, pending, .. } = found;
    [delivered, skipped, parked, dropped, damaged, pending].map(|share| (share.records, share.ranges.clone()))
}

fn seq_of(world: &World, id: &str, until: Seq) -> Option<Seq> {
    let wanted = search::Wanted { id, source: None, kinds: &[Kind::Event] };
    search::event(&world.context.journal_dir, wanted, until, &mut || ()).unwrap()
}

#[tokio::test]
async fn every_record_has_its_proof_and_they_add_up() {
    let mut world = World::new();
    world.events(3);
    world.new_segment();
    world.events(3);
    world.alarm("disk_low");
    world.damaged();
    world.damaged();
    world.events(4);
    let sink = Scripted::new(fail);
    let config = "kinds = ['event']\nbatch = { records = 2, wait = '0ms' }";
    let running = world.start("s", config, sink.clone());
    running.until("an error", |status| status.last_error.is_some()).await;
    running.crash().await;
    fs::remove_file(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
    sink.now(refuse(&[5]));
    let calls = sink.calls();
    let running = world.start("s", config, sink.clone());
    let status = running.until("one refused", |status| status.parked == 1).await;
    drop(status);
    running.drained().await;
    running.stop().await;
    // Two events that the sink does not have yet.
    world.events(2);

    let found = reconciled(&world);
    assert_eq!(found.problems, [""; 0]);
    let expected = [
        (6, vec![(4, 4), (6, 6), (10, 13)]),
        (1, vec![(7, 7)]),
        (1, vec![(5, 5)]),
        (3, vec![(1, 3)]),
        (2, vec![(8, 9)]),
        (2, vec![(14, 15)]),
    ];
    assert_eq!(shares(&found), expected);
    assert_eq!((found.recorded, found.not_kept.records), (15, 0));

    // 4 and 5 were refused together, then one by one; 6 goes with 10, 11 with 12.
    let call = |nth: usize| format!("call {}", calls + nth);
    assert_eq!(
        says(&world, 2),
        (ProofState::Dropped, Some((1, 4)), None, "deleted from the journal before its turn".into())
    );
    assert_eq!(says(&world, 4), (ProofState::Delivered, Some((1, 4)), Some(1), call(2)));
    let (state, batch, attempt, reason) = says(&world, 5);
    assert_eq!((state, batch, attempt), (ProofState::Parked, Some((5, 5)), None));
    assert!(reason.starts_with("refused at 20") && reason.ends_with(": no"), "{reason}");
    assert_eq!(says(&world, 6), (ProofState::Delivered, Some((6, 10)), Some(1), call(4)));
    assert_eq!(says(&world, 7).0, ProofState::Skipped);
    assert_eq!(says(&world, 9).0, ProofState::Damaged);
    assert_eq!(says(&world, 12), (ProofState::Delivered, Some((11, 12)), Some(1), call(5)));
    assert_eq!(says(&world, 14).0, ProofState::Pending);
    // The way from the event's id.
    let find = |id: &str, until| seq_of(&world, id, until);
    assert_eq!((find(&World::event_id(12), 13), find(&World::event_id(12), 11)), (Some(12), None));
    assert_eq!(find("00000000-0000-4000-8000-00000000000", 13), None, "the beginning of an id is no id");

    // Whom the other side would be asked about.
    let journal = world.context.journal();
    let mut asked = files(&world, &journal).delivered(KeyScheme::EventId, 1);
    let mut seen = Vec::new();
    while let Some(some) = asked.next(3).unwrap() {
        seen.extend(some.into_iter().map(|one| (one.seq, one.key, one.ack)));
    }
    let seqs: Vec<Seq> = seen.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(seqs, [4, 6, 10, 11, 12, 13]);
    assert_eq!(seen[1], (6, World::event_id(6), call(4)));
}

#[tokio::test]
async fn an_attempt_a_retry_and_a_second_delivery_are_told() {
    let mut world = World::new();
    world.events(8);
    let sink = Scripted::new(refuse(&[2, 3]));
    let running = world.start("s", CONFIG, sink.clone());
    assert_eq!(counts(&running.drained().await), [6, 0, 2, 0, 0, 0]);
    sink.now(accept);
    running.handle.triage(Triage::Retry(Which::Seqs(vec![2]))).await.unwrap();
    running.until("tried again", |status| status.redriving == 0).await;
    let retried = sink.calls();
    running.handle.triage(Triage::Drop(Which::Seqs(vec![3]))).await.unwrap();
    running.handle.redeliver(7, Some(8)).await.unwrap();
    running.until("delivered again", |status| status.redriving == 0).await;
    // Fails twice before it is taken.
    sink.now(fail);
    let calls = sink.calls();
    world.events(1);
    eventually("two attempts", || (sink.calls() >= calls + 2).then_some(())).await;
    sink.now(accept);
    running.drained().await;
    running.stop().await;

    let (state, _, _, ack) = says(&world, 2);
    assert_eq!((state, ack), (ProofState::Delivered, format!("call {retried}")));
    assert_eq!(says(&world, 3).0, ProofState::Dropped);
    let journal = world.context.journal();
    let again = files(&world, &journal).proof(8).unwrap();
    assert_eq!((again.state, again.again.len()), (ProofState::Delivered, 1));
    assert_eq!(again.again[0].ack, format!("call {}", retried + 1));
    let last = files(&world, &journal).proof(9).unwrap();
    assert!(last.attempt.unwrap() >= 3, "{last:?}");
    let found = reconciled(&world);
    assert_eq!(found.problems, [""; 0]);
    assert_eq!(shares(&found)[0], (8, vec![(1, 2), (4, 9)]), "the one that was retried among them");
    assert_eq!(shares(&found)[3], (1, vec![(3, 3)]), "and the one that was given up");
}

#[tokio::test]
async fn single_records_keep_their_own_words() {
    let mut world = World::new();
    world.events(4);
    let sink = Scripted::new(|batch| {
        let records = batch.iter().map(|message| (message.seq, format!("offset {}", message.seq * 10))).collect();
        let ack = Ack { text: "partition 3".into(), records };
        Err(SinkError::Reject { refused: vec![(2, "no".into())], ack })
    });
    let running = world.start("s", CONFIG, sink);
    assert_eq!(counts(&running.drained().await), [3, 0, 1, 0, 0, 0]);
    running.stop().await;
    assert_eq!(says(&world, 3), (ProofState::Delivered, Some((1, 4)), Some(1), "offset 30".into()));
    assert_eq!(says(&world, 2).0, ProofState::Parked);
}

#[tokio::test]
async fn no_crash_makes_a_gap_or_an_overlap() {
    let mut world = World::new();
    let sink = Scripted::new(refuse(&[20, 41]));
    for round in 0..12_u64 {
        world.events(7);
        sink.gate.forget_permits(Semaphore::MAX_PERMITS);
        let running = world.start("s", CONFIG, sink.clone());
        // One call more in each round, then a cut, mostly between a delivery and its cursor.
        sink.gate.add_permits(usize::try_from(round % 4).unwrap());
        let calls = sink.calls();
        eventually("a call", || (sink.calls() > calls).then_some(())).await;
        running.crash().await;
        assert_eq!(reconciled(&world).problems, [""; 0], "round {round}");
    }
    sink.gate.add_permits(1_000);
    let running = world.start("s", CONFIG, sink.clone());
    running.drained().await;
    running.stop().await;
    let found = reconciled(&world);
    assert_eq!(found.problems, [""; 0]);
    assert_eq!(shares(&found)[0], (82, vec![(1, 19), (21, 40), (42, 84)]));
}

/// A settled sink: 12 records in three batches, and its log.
async fn settled() -> (World, PathBuf) {
    let mut world = World::new();
    world.events(12);
    let running = world.start("s", CONFIG, Scripted::new(accept));
    running.drained().await;
    running.stop().await;
    let log = world.sink_file("s", "acks").join("00000000000000000001.jsonl");
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3);
    (world, log)
}

fn edit(log: &Path, lines: impl Fn(Vec<&str>) -> Vec<&str>) {
    let text = fs::read_to_string(log).unwrap();
    fs::write(log, lines(text.lines().collect()).join("\n") + "\n").unwrap();
}

#[tokio::test]
async fn a_hand_in_the_files_shows() {
    let (world, log) = settled().await;
    edit(&log, |lines| vec![lines[0], lines[2]]);
    let found = reconciled(&world);
    assert_eq!(found.problems, ["gap: nothing says what became of seqs 5 to 8"]);
    assert_eq!(says(&world, 6).0, ProofState::NotKept);

    let (world, log) = settled().await;
    edit(&log, |lines| vec![lines[0], lines[1], lines[1], lines[2]]);
    assert_eq!(reconciled(&world).problems, ["overlap: seqs 5 to 8 are settled twice"]);

    let (world, log) = settled().await;
    edit(&log, |lines| vec![lines[0], lines[1]]);
    assert_eq!(reconciled(&world).problems, ["gap: nothing says what became of seqs 9 to 12"]);

    let (world, _) = settled().await;
    let cursor = world.sink_file("s", "cursor");
    let text = fs::read_to_string(&cursor).unwrap();
    let moved = text.replace("\"delivered\":12,\"skipped\":0", "\"delivered\":11,\"skipped\":1");
    assert_ne!(moved, text);
    fs::write(&cursor, moved).unwrap();
    let problems = reconciled(&world).problems;
    assert!(
        problems.iter().any(|problem| problem.starts_with("skipped: the cursor counts 1, the proofs 0")),
        "{problems:?}"
    );

    // A log that is gone, as after an update from a version without one, is not a contradiction.
    let (mut world, log) = settled().await;
    fs::remove_dir_all(log.parent().unwrap()).unwrap();
    let running = world.start("s", CONFIG, Scripted::new(accept));
    world.events(4);
    running.drained().await;
    running.stop().await;
    let found = reconciled(&world);
    assert_eq!((found.problems.as_slice(), found.not_kept.ranges.as_slice()), (&[][..], &[(1, 12)][..]));
    assert_eq!((says(&world, 3).0, says(&world, 14).0), (ProofState::NotKept, ProofState::Delivered));
}

#[tokio::test]
async fn a_new_life_of_a_cursor_begins_a_new_log() {
    let (world, _) = settled().await;
    fs::write(world.sink_file("s", "cursor"), "no cursor").unwrap();
    let running = world.start("s", CONFIG, Scripted::new(accept));
    assert!(!reconciled(&world).problems.is_empty());
    running.handle.redeliver(5, None).await.unwrap();
    running.drained().await;
    running.stop().await;
    let found = reconciled(&world);
    assert_eq!((found.problems.as_slice(), &shares(&found)[0]), (&[][..], &(8, vec![(5, 12)])));
    assert_eq!(says(&world, 4).0, ProofState::BeforeStart);
    assert_eq!(json(&world.sink_file("s", "cursor"))["start"], 5);
    let aside = fs::read_dir(world.dir.path().join("sinks/s")).unwrap();
    let aside =
        aside.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("acks.")).count();
    assert_eq!(aside, 1, "the old proofs are kept");
}
