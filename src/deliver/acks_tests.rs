//! The proof of delivery on disk: what a crash at any byte leaves, what is found, what is deleted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Journal, Start,
    acks::{AckLog, Acks, Entry, Fate},
    books::{Books, Progress},
};
use crate::{ledger::segment::plain_path, record::Seq, sink::Ack};

fn entry(first: Seq, last: Seq, ack: &str) -> Entry {
    Entry { first, last, ack: ack.to_owned(), attempt: 1, ..Entry::default() }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.join("acks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What the file of the first release holds, by hand.
const FIXTURE: &str = include_str!("../../fixtures/sinks/files/acks.jsonl");

#[test]
fn the_first_release_s_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("acks")).unwrap();
    fs::write(plain_path(&dir.path().join("acks"), 3), FIXTURE).unwrap();
    let log = AckLog::new(dir.path());
    let fates: Vec<_> = (2..=13).map(|seq| log.find(seq).unwrap().map(|entry| entry.fate(seq))).collect();
    let (delivered, skipped) = (Some(Fate::Delivered), Some(Fate::Skipped));
    let rest = [Some(Fate::Dropped), Some(Fate::Damaged), None];
    let parked = Some(Fate::Parked);
    let first = [None, delivered, skipped, skipped, delivered, parked, delivered, delivered, skipped];
    assert_eq!(fates, [&first[..], &rest].concat());
    let entry = log.find(6).unwrap().unwrap();
    assert_eq!((entry.ack_of(3), entry.ack_of(6), entry.attempt), ("HTTP 200", "partition 2 offset 41", 2));
    assert_eq!(entry.delivered(), 2);
    let mut again = Vec::new();
    log.each(|entry| serde_json::to_writer(&mut again, &entry).map(|()| again.push(b'\n')).unwrap()).unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), FIXTURE);
}

/// A directory, its journal's and the file of entries that end with 3, 6 and 9.
fn three_entries() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let mut acks = Acks::none(dir.path().join("acks"));
    acks.mend(1).unwrap();
    for first in [1, 4, 7] {
        acks.push(&entry(first, first + 2, "one"));
    }
    acks.save(&journal).unwrap();
    let path = plain_path(&dir.path().join("acks"), 1);
    (dir, journal, path)
}

#[test]
fn a_cut_at_any_byte_leaves_whole_entries_up_to_the_cursor() {
    let (dir, journal, path) = three_entries();
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        // The cursor was written after the second entry: the third, whole or not, was not settled.
        let mut acks = Acks::none(dir.path().join("acks"));
        acks.mend(7).unwrap();
        acks.push(&entry(7, 7, "two"));
        acks.save(&journal).unwrap();
        let log = AckLog::new(dir.path());
        assert_eq!(log.find(7).unwrap().unwrap(), entry(7, 7, "two"), "cut at {cut}");
        assert_eq!(log.find(6).unwrap().is_some(), cut >= ends[1], "cut at {cut}");
    }
}

#[test]
fn a_damaged_proof_costs_no_other() {
    let (dir, journal, path) = three_entries();
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes[second] = b'!';
    fs::write(&path, &bytes).unwrap();
    let go_on = |next: Seq| {
        let mut acks = Acks::none(dir.path().join("acks"));
        acks.mend(next).unwrap();
        acks.push(&entry(next, next, "two"));
        acks.save(&journal).unwrap();
        let log = AckLog::new(dir.path());
        [1, 4, 7, next].map(|seq| log.find(seq).ok().flatten().is_some())
    };
    assert_eq!(go_on(10), [true, false, true, true]);
    // A closed file that cannot be read stops nothing; what is after it is found.
    let text = fs::read(&path).unwrap();
    let mut closed = zstd::encode_all(&text[..], 3).unwrap();
    let middle = closed.len() / 2;
    closed[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(path.with_extension("jsonl.zst"), closed).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(go_on(11)[3]);
    assert!(path.with_extension("jsonl.zst").exists());
}

#[test]
fn full_files_are_closed_searched_and_deleted_with_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    fs::create_dir(&journal).unwrap();
    fs::write(plain_path(&journal, 1), "").unwrap();
    let mut acks = Acks::none(dir.path().join("acks"));
    acks.mend(1).unwrap();
    // 25,000 entries of about 200 bytes are more than 4 MiB.
    let text = "x".repeat(170);
    let mut next = 1;
    let mut fill = |acks: &mut Acks| {
        let start = next;
        for _ in 0..25_000 {
            acks.push(&entry(next, next + 1, &text));
            next += 2;
        }
        acks.save(&journal).unwrap();
        start
    };
    let starts = [fill(&mut acks), fill(&mut acks), fill(&mut acks)];
    assert_eq!(starts, [1, 50_001, 100_001]);
    let named = |first: u64, end: &str| format!("{first:020}.jsonl{end}");
    assert_eq!(files(dir.path()), [named(1, ".zst"), named(50_001, ".zst"), named(100_001, "")]);
    let log = AckLog::new(dir.path());
    for seq in [1, 2, 50_000, 50_001, 99_999, 100_002, 150_000] {
        let found = log.find(seq).unwrap().unwrap();
        assert!((found.first..=found.last).contains(&seq));
    }
    assert_eq!(log.find(150_001).unwrap(), None);
    // The cursor that was restored lies in a closed file: that is opened again.
    let mut restored = Acks::none(dir.path().join("acks"));
    restored.mend(50_003).unwrap();
    assert_eq!(files(dir.path()), [named(1, ".zst"), named(50_001, "")]);
    assert_eq!((log.find(50_002).unwrap().is_some(), log.find(50_003).unwrap()), (true, None));
    // The journal begins behind the first file by now.
    fs::remove_file(plain_path(&journal, 1)).unwrap();
    fs::write(plain_path(&journal, 50_001), "").unwrap();
    next = 50_003;
    let mut fill = |acks: &mut Acks| {
        for _ in 0..25_000 {
            acks.push(&entry(next, next + 1, &text));
            next += 2;
        }
        acks.save(&journal).unwrap();
    };
    fill(&mut restored);
    fill(&mut restored);
    assert_eq!(files(dir.path()), [named(50_001, ".zst"), named(100_003, "")]);
}

#[test]
fn what_is_kept_of_a_text_is_one_short_line() {
    let mut kept = entry(5, 6, "");
    let records = vec![(5, "a\u{1b}[31m\nb".to_owned()), (99, "not ours".to_owned())];
    kept.acknowledged(Ack { text: "é".repeat(1_000), records }, 3);
    assert_eq!((kept.ack.chars().count(), kept.attempt), (200, 3));
    assert_eq!(kept.records, [(5, "a [31m b".to_owned())]);
}

#[test]
fn no_cursor_moves_past_what_has_no_proof_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal { dir: dir.path().join("journal"), id: "3f9a1c2e".into(), synced: 0 };
    let mut books = Books::open(dir.path(), "s", &journal, Start::Oldest);
    let journal = Journal { synced: 9, ..journal };
    let acks = dir.path().join("sinks/s/acks");
    fs::remove_dir(&acks).unwrap();
    fs::write(&acks, "a file where the directory should be").unwrap();
    books.advance(Progress { stretch: entry(1, 4, "one"), ..Progress::default() }).unwrap();
    books.save().unwrap_err();
    assert_eq!(Books::load(dir.path(), "s", &journal, Start::Oldest).cursor().next, 1);
    fs::remove_file(&acks).unwrap();
    fs::create_dir(&acks).unwrap();
    books.save().unwrap();
    assert_eq!(Books::load(dir.path(), "s", &journal, Start::Oldest).cursor().next, 5);
    assert_eq!(AckLog::new(&dir.path().join("sinks/s")).find(4).unwrap().unwrap(), entry(1, 4, "one"));
}
