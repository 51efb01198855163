//! The ledger as a whole, on a real disk: what it says, what a restart says, and an index that hangs or lies broken.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{
    Admission, Command, Consumers, DedupeConfig, Entry, JournalConfig, KeyScheme, Ledger, Meta, QUEUE_ENTRIES_MAX,
    Running, Settings, Unavailable,
    asked::StartIndex,
    link::{Ask, Home, Index, Reply},
    read::Item,
    segment, verify,
};
use crate::{
    event::RefreshEvent,
    record::{Evidence, Kind, Record, Seq},
    telemetry::{Alarms, Metrics},
    units::{ByteSize, Span},
};

pub(super) fn settings(dir: &Path) -> Settings {
    let metrics = Metrics::new();
    let journal =
        JournalConfig { segment: ByteSize::new(64 << 10), min_free: ByteSize::new(1), ..JournalConfig::default() };
    Settings {
        data_dir: dir.to_owned(),
        node: "audit-1".to_owned(),
        dedupe: DedupeConfig { window: Span::from_days(7) },
        journal,
        policy: crate::detect::Policy::default(),
        key_scheme: KeyScheme::EventId,
        signer: None,
        consumers: Consumers::default(),
        alarms: Alarms::new(Arc::clone(&metrics)),
        metrics,
    }
}

fn start(dir: &Path) -> (Ledger, Running) {
    Ledger::start(settings(dir)).unwrap()
}

pub(super) fn entry(id: &str, body: u8) -> Entry {
    let json = format!(
        r#"{{"id":"{id}","type":"jwt.refresh","occurred_at":"2026-11-22T06:40:00.000Z","outcome":"attempted"}}"#
    );
    let event: RefreshEvent = serde_json::from_str(&json).unwrap();
    Entry {
        source: "fusionauth".into(),
        evidence: Evidence { body_sha256: Some(hex::encode([body; 32])), ..Evidence::default() },
        event_json: RawValue::from_string(serde_json::to_string(&event).unwrap()).unwrap(),
        facts: Some(Box::new(crate::detect::Facts::of(&event))),
        event: Box::new(event),
        body_sha256: [body; 32],
    }
}

fn records(ledger: &Ledger) -> Vec<Record> {
    let until = *ledger.synced().borrow();
    let mut reader = ledger.reader(1);
    let mut records = Vec::new();
    while reader.next() <= until {
        for item in reader.read(until, 1_000, 1 << 20).unwrap() {
            let Item::Line { text, .. } = item else { panic!("{item:?}") };
            records.push(serde_json::from_slice(&text).unwrap());
        }
    }
    records
}

const DUPLICATE_OF_1: Admission = Admission::Duplicate { seq: 1, denied: false };

#[tokio::test]
async fn an_id_is_recorded_once_across_restarts_and_its_replay_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running) = start(dir.path());
    assert_eq!(ledger.admit(entry("a", 1)).await, Admission::Accepted { seq: 1 });
    assert_eq!(ledger.admit(entry("a", 1)).await, DUPLICATE_OF_1);
    assert_eq!(ledger.admit(entry("b", 1)).await, Admission::Accepted { seq: 2 });
    running.stop();

    let (ledger, running) = start(dir.path());
    assert_eq!(ledger.admit(entry("a", 2)).await, DUPLICATE_OF_1);
    assert_eq!(ledger.admit(entry("a", 3)).await, DUPLICATE_OF_1);
    running.stop();

    let (ledger, running) = start(dir.path());
    assert_eq!(ledger.admit(entry("a", 3)).await, DUPLICATE_OF_1);
    let kinds: Vec<(Seq, Kind)> = records(&ledger).iter().map(|record| (record.seq, record.kind)).collect();
    assert_eq!(kinds, [(1, Kind::Event), (2, Kind::Event), (3, Kind::Replay)]);
    running.stop();
    let report =
        verify::verify(dir.path(), 1, Seq::MAX, verify::Own::read(dir.path(), None).unwrap(), &[], &mut |_| {})
            .unwrap();
    assert_eq!((report.records, report.problems), (3, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_across_segments_and_restarts_are_recorded_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut sent = std::collections::BTreeSet::new();
    for round in 0..3 {
        let (ledger, running) = start(dir.path());
        let id = move |task, n| format!("id-{}", (n * 7 + task * 13) % (200 + round * 100));
        sent.extend((0..8).flat_map(|task| (0..200).map(move |n| id(task, n))));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    for n in 0..200 {
                        let admission = ledger.admit(entry(&id(task, n), 1)).await;
                        assert!(!matches!(admission, Admission::Unavailable(_)), "{admission:?}");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        running.stop();
    }
    let (ledger, running) = start(dir.path());
    let mut ids: Vec<String> =
        records(&ledger).into_iter().filter_map(|record| Some(record.event?.id.to_string())).collect();
    let all = ids.len();
    ids.sort();
    assert_eq!(ids, sent.into_iter().collect::<Vec<_>>());
    running.stop();
    let report =
        verify::verify(dir.path(), 1, Seq::MAX, verify::Own::read(dir.path(), None).unwrap(), &[], &mut |_| {})
            .unwrap();
    assert_eq!((report.records, report.problems), (all as u64, vec![]));
    assert!(report.segments > 1);
}

#[tokio::test]
async fn an_index_that_never_answers_delays_a_duplicate_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running) = start(dir.path());
    for n in 1..=20 {
        ledger.admit(entry(&format!("old-{n}"), 1)).await;
    }
    running.stop();
    let hang: StartIndex = Box::new(|_, _| {
        let (index, inbox) = Index::stub();
        std::mem::forget(inbox);
        Ok(index)
    });
    let (ledger, running) = Ledger::start_with(settings(dir.path()), Some(hang)).unwrap();
    let answers = async {
        assert_eq!(ledger.admit(entry("new", 1)).await, Admission::Accepted { seq: 21 });
        assert_eq!(ledger.admit(entry("old-7", 1)).await, Admission::Duplicate { seq: 7, denied: false });
        assert_eq!(ledger.admit(entry("new", 1)).await, Admission::Duplicate { seq: 21, denied: false });
    };
    tokio::time::timeout(Duration::from_secs(5), answers).await.unwrap();
    running.stop();
}

#[tokio::test]
async fn a_panic_of_the_thread_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // The second index is started by the ledger's own thread.
    let panics: StartIndex = Box::new(|_, generation| {
        assert_eq!(generation, 1);
        Ok(Index::stub().0)
    });
    let (ledger, mut running) = Ledger::start_with(settings(dir.path()), Some(panics)).unwrap();
    assert_eq!(ledger.admit(entry("one", 1)).await, Admission::Accepted { seq: 1 });
    let early = tokio::time::timeout(Duration::from_millis(50), running.ended()).await;
    early.expect_err("it works");
    ledger.commands.send(Command::Index(1, Reply::Broken("for the test".to_owned()))).unwrap();
    tokio::time::timeout(Duration::from_secs(5), running.ended()).await.expect("it ended");
    assert_eq!(ledger.admit(entry("two", 1)).await, Admission::Unavailable(Unavailable::Stopping));
    running.stop();
}

#[tokio::test]
async fn an_index_that_catches_up_reads_what_came_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running) = start(dir.path());
    for n in 1..=40 {
        ledger.admit(entry(&n.to_string(), 1)).await;
    }
    running.stop();
    let (_synced, synced) = watch::channel(0);
    let home = Home {
        dir: dir.path().join("another"),
        journal_dir: ledger.journal_dir().to_owned(),
        journal: ledger.meta().journal.clone(),
        bucket_secs: 3_600,
        synced,
    };
    let (replies, heard) = std::sync::mpsc::channel();
    let index = Index::start(home, 1, move |reply| replies.send(reply).is_ok()).unwrap();
    // Both wait before it is open, and what was lost before each is in the journal.
    for seq in [20, 40] {
        assert!(index.ask(Ask::Insert { from: seq, to: seq, ids: Vec::new() }));
    }
    // Where it stands still it says so each second.
    assert!(heard.iter().take(5).any(|reply| matches!(reply, Reply::Indexed(40))));
    index.stop();
}

#[tokio::test]
async fn an_index_of_garbage_is_rebuilt_and_a_lost_one_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running) = start(dir.path());
    for n in 1..=20 {
        ledger.admit(entry(&format!("old-{n}"), 1)).await;
    }
    running.stop();
    let index = dir.path().join("index");
    for (round, ruin) in ["garbage", "nothing", "a file"].into_iter().enumerate() {
        std::fs::remove_dir_all(&index).unwrap();
        match ruin {
            "garbage" => {
                std::fs::create_dir_all(index.join("ids-1")).unwrap();
                for name in ["db", "conf", "snap.000000000000000F"] {
                    std::fs::write(index.join("ids-1").join(name), [0xA5; 4_096]).unwrap();
                }
            }
            "a file" => std::fs::write(&index, b"garbage").unwrap(),
            _ => {}
        }
        let (ledger, running) = start(dir.path());
        for n in 1..=20 {
            let admission = ledger.admit(entry(&format!("old-{n}"), 1)).await;
            assert_eq!(admission, Admission::Duplicate { seq: n, denied: false }, "{ruin}");
        }
        let fresh = ledger.admit(entry(&format!("new-{round}"), 1)).await;
        assert!(matches!(fresh, Admission::Accepted { .. }), "{ruin}: {fresh:?}");
        running.stop();
    }
}

#[test]
fn events_whose_senders_have_left_count_for_as_long_as_they_wait() {
    // A thread that is busy: its queue is there, and nobody looks at it.
    let (commands, inbox) = std::sync::mpsc::sync_channel(QUEUE_ENTRIES_MAX);
    let meta = Meta { journal: "3f9a1c2e".to_owned(), keys: KeyScheme::EventId, earlier: Vec::new() };
    let ledger = Ledger {
        commands,
        synced: watch::channel(0).1,
        journal_dir: Path::new("journal").into(),
        meta: Arc::new(meta),
        queued_bytes: Arc::default(),
    };
    let mib = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    // Asks, and leaves at once.
    let ask = |n: usize| {
        let event_json = RawValue::from_string(mib.clone()).unwrap();
        ledger.admit(Entry { event_json, ..entry(&format!("id-{n}"), 1) }).now_or_never()
    };
    // 64 MiB may wait.
    assert!((0..64).all(|n| ask(n).is_none()));
    assert_eq!(ask(64), Some(Admission::Unavailable(Unavailable::QueueFull)));
    drop(inbox.recv().unwrap());
    assert_eq!((ask(65), ask(66)), (None, Some(Admission::Unavailable(Unavailable::QueueFull))));
}

#[tokio::test]
async fn with_damaged_segments_and_nothing_else_it_starts_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, running) = start(dir.path());
    for n in 1..=600 {
        ledger.admit(entry(&format!("old-{n}"), 1)).await;
    }
    running.stop();
    let journal = segment::journal_dir(dir.path());
    let (id, mut sealed) = (Meta::read(&journal).unwrap().journal, segment::list(&journal).unwrap());
    let open = sealed.pop().unwrap();
    assert!(sealed.len() > 2 && sealed.iter().all(|segment| segment.compressed), "{sealed:?}");
    // The beginning of one cannot be read, all of another is gone; so are index, state and the journal's own name.
    std::fs::write(&sealed[0].path, b"damaged").unwrap();
    std::fs::write(&sealed[1].path, b"").unwrap();
    for derived in ["index", "state"] {
        std::fs::remove_dir_all(dir.path().join(derived)).unwrap();
    }
    std::fs::remove_file(journal.join("meta.json")).unwrap();
    let (ledger, running) = start(dir.path());
    assert_eq!(ledger.meta().journal, id);
    assert_eq!(ledger.admit(entry("old-600", 1)).await, Admission::Duplicate { seq: 600, denied: false });
    let again = ledger.admit(entry("old-1", 1)).await;
    assert!(matches!(again, Admission::Accepted { .. }), "nothing knows of it any more: {again:?}");
    running.stop();
    // The same where the last one is damaged: what is recorded from then on stays.
    for segment in segment::list(&journal).unwrap().iter().filter(|segment| segment.first >= open.first) {
        std::fs::remove_file(&segment.path).unwrap();
    }
    std::fs::write(&sealed.pop().unwrap().path, b"damaged").unwrap();
    std::fs::remove_file(journal.join("meta.json")).unwrap();
    let (ledger, running) = start(dir.path());
    let Admission::Accepted { seq } = ledger.admit(entry("new", 1)).await else { panic!() };
    running.stop();
    let (ledger, running) = start(dir.path());
    assert_eq!(ledger.admit(entry("new", 1)).await, Admission::Duplicate { seq, denied: false });
    running.stop();
}

#[tokio::test]
async fn what_detection_has_no_copy_of_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let begin = || {
        let settings = settings(dir.path());
        let consumers = settings.consumers.clone();
        let (ledger, running) = Ledger::start(settings).unwrap();
        consumers.complete();
        (ledger, running, consumers)
    };
    let (ledger, running, consumers) = begin();
    assert_eq!(consumers.lowest(), Some(1), "no copy yet");
    for n in 1..=3 {
        ledger.admit(entry(&format!("id-{n}"), 1)).await;
    }
    assert_eq!((consumers.lowest(), consumers.undelivered()), (Some(1), None));
    running.stop();
    // What a run left that ended before it made a copy.
    let left = dir.path().join("state/spill-0000000099");
    std::fs::write(&left, b"left").unwrap();
    let (_, running, consumers) = begin();
    assert_eq!(consumers.lowest(), Some(4), "the copy that the stop left");
    assert!(!left.exists());
    running.stop();
}

#[tokio::test]
async fn that_detection_is_switched_off_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let begin = |enabled| {
        let mut settings = settings(dir.path());
        settings.policy.detect.enabled = enabled;
        Ledger::start(settings).unwrap()
    };
    for (enabled, id, seq) in [(true, "a", 1), (false, "b", 3), (false, "c", 4), (true, "d", 6)] {
        let (ledger, running) = begin(enabled);
        assert_eq!(ledger.admit(entry(id, 1)).await, Admission::Accepted { seq }, "{id}");
        running.stop();
    }
    let (ledger, running) = begin(true);
    let changes: Vec<_> = records(&ledger)
        .into_iter()
        .filter_map(|record| Some((record.seq, record.config?.now?["enabled"].as_bool()?)))
        .collect();
    assert_eq!(changes, [(2, false), (5, true)]);
    running.stop();
}
