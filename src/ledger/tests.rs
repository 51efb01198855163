//! The ledger as a whole, on a real disk: what it says, what a restart says, and an index that hangs or lies broken.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::value::RawValue;

use super::{
    Admission, Consumers, DedupeConfig, Entry, JournalConfig, KeyScheme, Ledger, Running, Settings, asked::StartIndex,
    link::Index, read::Item, verify,
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

fn entry(id: &str, body: u8) -> Entry {
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
    let report = verify::verify(dir.path(), 1, Seq::MAX, None, &[], &mut |_| {}).unwrap();
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
    let report = verify::verify(dir.path(), 1, Seq::MAX, None, &[], &mut |_| {}).unwrap();
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
