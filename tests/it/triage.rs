//! A record that the other side neither takes nor refuses for good: an operator has it parked, and the rest goes on.

use std::time::Duration;

use refresh_audit::{
    deliver::{Triage, Which, parked::Page},
    record::Seq,
    sink::{Message, SinkError},
};

use crate::{
    journal::World,
    scripted::{CONFIG, Scripted, accept, counts, files, raised},
};

/// As a gateway that answers 403 to whatever holds one of these, and asks for a long time until the next attempt.
fn forbid(seqs: &'static [Seq]) -> impl Fn(&[Message]) -> Result<(), SinkError> {
    move |batch| match batch.iter().find(|message| seqs.contains(&message.seq)) {
        Some(_) => Err(SinkError::Retry { reason: "403".into(), after: Some(Duration::from_secs(3_600)), fault: true }),
        None => Ok(()),
    }
}

#[tokio::test]
async fn what_holds_up_the_rest_is_parked_on_an_operator_s_word() {
    for (config, before) in [
        (CONFIG, [4, 0, 0, 0, 0, 6]),
        ("batch = { records = 1, wait = '0ms' }", [5, 0, 0, 0, 0, 5]),
        ("ordered = false\nbatch = { records = 4, wait = '0ms' }", [4, 0, 0, 0, 0, 6]),
    ] {
        let mut world = World::new();
        world.events(10);
        let sink = Scripted::new(forbid(&[6, 9]));
        let running = world.start("s", config, sink.clone());
        let status =
            running.until("it is held up", |status| status.last_error.is_some() && status.delivered == before[0]).await;
        assert_eq!(counts(&status), before, "{config}");
        for (seq, why) in [(2, "2 does not wait to be delivered"), (11, "11 does not wait")] {
            let refused = running.handle.triage(Triage::Park(Which::Seqs(vec![6, seq]))).await.unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        for which in [Which::All, Which::Seqs(Vec::new())] {
            let refused = running.handle.triage(Triage::Park(which)).await.unwrap_err().to_string();
            assert!(refused.contains("by their seqs"), "{refused}");
        }

        // 9 is not read yet where records go one by one.
        assert_eq!(running.handle.triage(Triage::Park(Which::Seqs(vec![9, 6]))).await.unwrap(), 2);
        assert_eq!(counts(&running.drained().await), [8, 0, 2, 0, 0, 0], "{config}");
        let mut taken = sink.taken();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2, 3, 4, 5, 7, 8, 10], "{config}");
        let parked = running.handle.parked(Page::default()).await.unwrap();
        assert_eq!(parked.iter().map(|record| record.seq).collect::<Vec<_>>(), [6, 9]);
        assert!(parked[0].reason.contains("operator"), "{}", parked[0].reason);
        assert_eq!(raised(&world), ["record_parked"]);
        let refused = running.handle.triage(Triage::Park(Which::Seqs(vec![6]))).await.unwrap_err().to_string();
        assert!(refused.contains("6 is parked already; nothing does"), "{refused}");

        sink.now(accept);
        running.handle.triage(Triage::Retry(Which::All)).await.unwrap();
        let status = running.until("nothing parked", |status| status.parked == 0).await;
        assert_eq!(counts(&status), [10, 0, 0, 0, 0, 0], "{config}");
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_asked_without_a_service_is_done_by_the_next_run() {
    let mut world = World::new();
    world.events(10);
    let sink = Scripted::new(forbid(&[6]));
    let running = world.start("s", CONFIG, sink.clone());
    running.until("it is held up", |status| status.last_error.is_some()).await;
    running.stop().await;

    let journal = world.context.journal();
    assert_eq!(files(&world, &journal).triage(&Triage::Park(Which::Seqs(vec![6]))).unwrap(), 1);
    let running = world.start("s", CONFIG, sink.clone());
    assert_eq!(counts(&running.drained().await), [9, 0, 1, 0, 0, 0]);
    running.stop().await;
    assert_eq!(sink.taken(), [1, 2, 3, 4, 5, 7, 8, 9, 10]);
    let left = files(&world, &journal).load().cursor().to_park.clone();
    assert!(left.is_empty(), "whose turn has come is no longer named: {left:?}");
}
