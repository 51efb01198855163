//! Checkpoints at a sink (`checkpoints = true`): that they come, when and how often, and that whoever has them can check
//! them, and the journal by them, without any of the service's own code.

mod held;

use std::{
    fs,
    sync::{Arc, Mutex},
};

use refresh_audit::{
    ledger::checkpoint::{Checkpoint, Log, Signer, generate},
    record::{Kind, Seq},
    sink::{Message, SinkError},
};

use crate::{
    journal::{ID, World, eventually, json},
    scripted::{Scripted, accept, counts, raised},
};

const CONFIG: &str = "checkpoints = true\nbatch = { records = 4, wait = '0ms' }";

/// A sink that notes what it takes, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Kind, Seq, String)>>>);

impl Seen {
    /// Takes everything but checkpoints, which `answer` decides on.
    fn sink(&self, answer: impl Fn() -> Result<(), SinkError> + Send + Sync + 'static) -> Scripted {
        let seen = self.clone();
        Scripted::new(move |batch| seen.take(batch, &answer))
    }

    fn take(&self, batch: &[Message], answer: impl Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
        let are_checkpoints = batch.iter().any(|message| message.kind == Kind::Checkpoint);
        if are_checkpoints {
            assert!(batch.iter().all(|message| message.kind == Kind::Checkpoint), "none in a batch with its record");
            answer()?;
        }
        let taken = batch.iter().map(|message| (message.kind, message.seq, message.key.clone()));
        self.0.lock().unwrap().extend(taken);
        Ok(())
    }

    fn checkpoints(&self) -> Vec<Seq> {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|(kind, ..)| *kind == Kind::Checkpoint).map(|(_, seq, _)| *seq).collect()
    }

    /// Every checkpoint came after the records that it vouches for, with a key of its own.
    fn in_order(&self) {
        let seen = self.0.lock().unwrap();
        for (at, (kind, seq, key)) in seen.iter().enumerate() {
            if *kind == Kind::Checkpoint {
                assert_eq!(*key, format!("{ID}-checkpoint-{seq}"));
                let before = seen[..at].iter().filter(|(kind, ..)| *kind == Kind::Event).map(|(_, seq, _)| *seq);
                let mut before: Vec<Seq> = before.filter(|before| before <= seq).collect();
                before.sort_unstable();
                assert_eq!(before, (1..=*seq).collect::<Vec<_>>(), "before the checkpoint of {seq}");
            }
        }
    }
}

/// What the ledger's housekeeping does.
struct Signing(Log);

impl Signing {
    fn new(world: &World) -> Self {
        let (key, _) = generate("n").unwrap();
        Self(Log::open(&world.context.journal_dir, Signer::parse(&key).unwrap()).unwrap())
    }

    fn sign(&mut self, seqs: &[Seq]) {
        for seq in seqs {
            self.0.append(&Checkpoint { origin: format!("n/{ID}"), seq: *seq, hash: [7; 32] }).unwrap();
        }
    }
}

#[tokio::test]
async fn each_comes_once_and_after_what_it_vouches_for() {
    for ordered in ["", "\nordered = false"] {
        let (mut world, seen) = (World::new(), Seen::default());
        let mut signing = Signing::new(&world);
        world.events(10);
        signing.sign(&[3, 8, 10, 10]);
        let running = world.start("s", &format!("{CONFIG}{ordered}"), seen.sink(|| Ok(())));
        let status = running.until("all of them", |status| status.checkpoint == Some(10)).await;
        assert_eq!((counts(&status), seen.checkpoints()), ([10, 0, 0, 0, 0, 0], vec![3, 8, 10]), "not in the counts");
        // One whose record the sink does not have yet.
        signing.sign(&[12]);
        world.events(1);
        running.drained().await;
        assert_eq!(seen.checkpoints(), [3, 8, 10]);
        world.events(1);
        running.until("the next", |status| status.checkpoint == Some(12)).await;
        assert_eq!(seen.checkpoints(), [3, 8, 10, 12]);
        seen.in_order();
        // The last one, signed while the service stops.
        world.events(1);
        running.drained().await;
        signing.sign(&[13]);
        assert_eq!(running.stop().await.checkpoint, Some(13));
        assert_eq!(
            (seen.checkpoints().last(), json(&world.sink_file("s", "cursor"))["checkpoint"].clone()),
            (Some(&13), 13.into())
        );
    }
}

#[tokio::test]
async fn they_begin_where_the_sink_does_and_come_whatever_it_leaves_out() {
    let (mut world, seen) = (World::new(), Seen::default());
    let mut signing = Signing::new(&world);
    world.events(5);
    signing.sign(&[2, 5]);
    let config = format!("{CONFIG}\nstart = 'now'\nkinds = ['alarm']");
    let running = world.start("s", &config, seen.sink(|| Ok(())));
    world.events(5);
    signing.sign(&[9]);
    let status = running.until("one", |status| status.checkpoint.is_some() && status.pending == 0).await;
    assert_eq!((counts(&status), seen.checkpoints()), ([0, 5, 0, 0, 0, 0], vec![9]));
    running.stop().await;
    // A sink that did not ask for them gets none.
    let (other, without) = (Seen::default(), CONFIG.replace("true", "false"));
    let running = world.start("other", &without, other.sink(|| Ok(())));
    running.drained().await;
    assert_eq!(running.stop().await.checkpoint, None);
    assert!(other.checkpoints().is_empty());
}

#[tokio::test]
async fn a_crash_repeats_at_most_what_the_cursor_does_not_know() {
    let (mut world, seen) = (World::new(), Seen::default());
    let mut signing = Signing::new(&world);
    world.events(4);
    let cursor = world.sink_file("s", "cursor");
    let running = world.start("s", CONFIG, seen.sink(|| Ok(())));
    eventually("every record", || (json(&cursor)["next"] == 5).then_some(())).await;
    // With no record after it that would have the cursor written.
    signing.sign(&[2, 4]);
    eventually("a durable cursor", || (json(&cursor)["checkpoint"] == 4).then_some(())).await;
    running.crash().await;
    let running = world.start("s", CONFIG, seen.sink(|| Ok(())));
    signing.sign(&[4]);
    world.events(1);
    signing.sign(&[5]);
    running.until("the next", |status| status.checkpoint == Some(5)).await;
    assert_eq!(seen.checkpoints(), [2, 4, 5]);
    // A write that a crash does not wait for would take back what follows.
    eventually("a durable cursor", || (json(&cursor)["checkpoint"] == 5).then_some(())).await;
    running.crash().await;
    // A crash in front of the cursor's write.
    let text = fs::read_to_string(&cursor).unwrap();
    assert!(text.contains("\"checkpoint\":"), "{text}");
    let older = text.replace("\"checkpoint\":5", "\"checkpoint\":2").replace("\"checkpoint\":4", "\"checkpoint\":2");
    fs::write(&cursor, older).unwrap();
    let running = world.start("s", CONFIG, seen.sink(|| Ok(())));
    running.until("again", |status| status.checkpoint == Some(5)).await;
    assert_eq!(seen.checkpoints(), [2, 4, 5, 4, 5]);
}

#[tokio::test]
async fn a_sink_that_stands_still_gets_none_not_even_at_the_end() {
    let (mut world, seen) = (World::new(), Seen::default());
    world.events(4);
    Signing::new(&world).sign(&[2]);
    // A restored backup: the cursor is of another journal.
    let cursor = world.sink_file("s", "cursor");
    fs::create_dir_all(cursor.parent().unwrap()).unwrap();
    let other =
        r#"{"journal":"00000000","start":1,"next":4,"delivered":3,"skipped":0,"parked":0,"dropped":0,"damaged":0}"#;
    fs::write(&cursor, other).unwrap();
    let running = world.start("s", CONFIG, seen.sink(|| Ok(())));
    assert_eq!(running.stop().await.checkpoint, None);
    assert!(seen.checkpoints().is_empty());
}

#[tokio::test]
async fn refused_ones_are_alarmed_and_left_behind_and_an_operator_has_them_again() {
    let (mut world, seen) = (World::new(), Seen::default());
    let mut signing = Signing::new(&world);
    world.events(4);
    signing.sign(&[4]);
    let sink = seen.sink(|| Err(SinkError::Refused { reason: "400".into() }));
    let running = world.start("s", CONFIG, sink.clone());
    eventually("an alarm", || (raised(&world) == ["checkpoints_undelivered"]).then_some(())).await;
    world.events(4);
    let status = running.drained().await;
    assert_eq!((counts(&status), status.checkpoint), ([8, 0, 0, 0, 0, 0], None), "records go on");
    assert_eq!((seen.checkpoints(), raised(&world).len()), (vec![], 1));
    let takes = seen.clone();
    sink.now(move |batch| takes.take(batch, || Ok(())));
    signing.sign(&[8]);
    running.until("taken", |status| status.checkpoint == Some(8)).await;
    assert_eq!((seen.checkpoints(), raised(&world)), (vec![8], vec![]));
    // From 3 on: the records, and what vouches for them.
    assert_eq!(running.handle.redeliver(3, None).await.unwrap(), 6);
    eventually("again", || (seen.checkpoints() == [8, 4, 8]).then_some(())).await;
    running.until("the records, too", |status| status.redriving == 0).await;
    // From 3 to 5: no checkpoint behind that, and the next one as ever; a crash in between forgets nothing.
    assert_eq!(running.handle.redeliver(3, Some(5)).await.unwrap(), 3);
    running.crash().await;
    let running = world.start("s", CONFIG, sink.clone());
    // What a crash kept from being noted comes once more.
    let taken = || {
        let mut taken = seen.checkpoints();
        taken.dedup();
        taken
    };
    eventually("those of the range", || (taken() == [8, 4, 8, 4]).then_some(())).await;
    world.events(1);
    signing.sign(&[9]);
    running.until("the next", |status| status.checkpoint == Some(9)).await;
    assert_eq!(taken(), [8, 4, 8, 4, 9]);
    assert_eq!(counts(&running.stop().await), [9, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn ones_that_fail_are_tried_again_and_hold_nothing_up() {
    let (mut world, seen) = (World::new(), Seen::default());
    let mut signing = Signing::new(&world);
    world.events(4);
    signing.sign(&[4]);
    let sink = seen.sink(|| Err(SinkError::fault("403")));
    let running = world.start("s", CONFIG, sink.clone());
    eventually("an alarm", || (raised(&world) == ["checkpoints_undelivered"]).then_some(())).await;
    world.events(4);
    assert_eq!(counts(&running.drained().await), [8, 0, 0, 0, 0, 0]);
    assert_eq!(running.handle.status().checkpoint, None);
    sink.now(accept);
    running.until("taken", |status| status.checkpoint == Some(4)).await;
    eventually("no alarm", || raised(&world).is_empty().then_some(())).await;
    running.stop().await;
    // Raised when it was taken out of the configuration: it is nobody's any more.
    signing.sign(&[8]);
    sink.now(|batch| if batch[0].kind == Kind::Checkpoint { Err(SinkError::fault("403")) } else { Ok(()) });
    let running = world.start("s", CONFIG, sink.clone());
    eventually("an alarm", || (raised(&world) == ["checkpoints_undelivered"]).then_some(())).await;
    running.stop().await;
    world.start("s", "", sink).stop().await;
    assert_eq!(raised(&world), [""; 0]);
}
