//! Room that is made in time, and what is only deleted once detection has a copy of it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use crate::{
    ledger::{
        Admission, Consumers, Ledger, Running, Unavailable, WhenFull, segment, state,
        tests::{entry, settings},
    },
    record::Seq,
    units::{ByteSize, Span},
};

fn start(dir: &Path, when_full: WhenFull, max_bytes: u64, retention: Span) -> (Ledger, Running, Consumers) {
    let mut settings = settings(dir);
    (settings.journal.when_full, settings.journal.max_bytes) = (when_full, ByteSize::new(max_bytes));
    settings.journal.retention = retention;
    let consumers = settings.consumers.clone();
    let (ledger, running) = Ledger::start(settings).unwrap();
    consumers.complete();
    (ledger, running, consumers)
}

/// The first seq that is there, and the last one of which there is a copy.
fn oldest_and_copied(dir: &Path) -> (Seq, Seq) {
    let oldest = segment::list(&segment::journal_dir(dir)).unwrap().first().map_or(0, |oldest| oldest.first);
    (oldest, state::newest(&dir.join("state"), |_| true).map_or(0, |(_, seq)| seq))
}

/// Admits many at once, again and again; how many were refused.
async fn admit(ledger: &Ledger, dir: &Path, rounds: usize) -> usize {
    let mut refused = 0;
    for round in 0..rounds {
        let admissions = join_all((0..16).map(|n| ledger.admit(entry(&format!("id-{round}-{n}"), 1)))).await;
        refused += admissions.iter().filter(|one| **one == Admission::Unavailable(Unavailable::DiskFull)).count();
        // In this order: what went before is covered by what is there now.
        let (oldest, copied) = oldest_and_copied(dir);
        assert!(
            oldest <= copied + 1,
            "what detection learned up to {} is in no copy, but in one up to {copied}",
            oldest - 1
        );
    }
    refused
}

#[tokio::test]
async fn the_oldest_give_way_before_anybody_is_refused_and_after_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running, consumers) = start(dir.path(), WhenFull::DropUndelivered, 256 << 10, Span::from_days(365));
    // A sink that takes nothing.
    consumers.set("dead", 1);
    assert_eq!(admit(&ledger, dir.path(), 300).await, 0);
    running.stop();
    assert!(oldest_and_copied(dir.path()).0 > 100, "{:?}", oldest_and_copied(dir.path()));
}

#[tokio::test]
async fn where_nothing_gives_way_the_answer_comes_at_once() {
    for (when_full, max_bytes) in [(WhenFull::Refuse, 64 << 10), (WhenFull::DropUndelivered, 16 << 10)] {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, running, _) = start(dir.path(), when_full, max_bytes, Span::from_days(365));
        assert!(admit(&ledger, dir.path(), 40).await > 16, "{when_full:?}");
        let begun = Instant::now();
        let refused = join_all((0..50).map(|n| ledger.admit(entry(&format!("late-{n}"), 1)))).await;
        assert!(refused.iter().all(|one| *one == Admission::Unavailable(Unavailable::DiskFull)), "{when_full:?}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{when_full:?}: {:?}", begun.elapsed());
        running.stop();
    }
}

#[tokio::test]
async fn what_has_passed_its_retention_goes_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running, _) = start(dir.path(), WhenFull::Refuse, 1 << 30, Span::from_secs(1));
    admit(&ledger, dir.path(), 20).await;
    assert!(segment::list(ledger.journal_dir()).unwrap().len() > 2);
    let begun = Instant::now();
    // Its clock is asked every ten seconds, and one segment more is closed meanwhile.
    while oldest_and_copied(dir.path()).0 == 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is deleted");
        tokio::time::sleep(Duration::from_millis(200)).await;
        ledger.admit(entry(&format!("{:?}", begun.elapsed()), 1)).await;
    }
    let (oldest, copied) = oldest_and_copied(dir.path());
    assert!(oldest > 1 && oldest <= copied + 1, "{oldest} {copied}");
    running.stop();
}
