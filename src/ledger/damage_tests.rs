//! Properties of a damaged journal: bad bytes are a tail or damage, never both; no good line is ever lost; and `verify`
//! finds every change of a single byte.

use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;

use super::{
    chain::{self, GENESIS},
    read::{Item, Reader},
    recovery::{TAIL_BYTES_MAX, recover},
    segment::{journal_dir, list, plain_path},
    verify::{Own, verify},
};
use crate::record::Seq;

const SEGMENT_BYTES: u64 = 1 << 20;

/// Lines 1 to `count`, chained, each with some text of its own.
fn lines(count: u64) -> Vec<Vec<u8>> {
    let mut prev = GENESIS;
    let line = |seq: u64| {
        let filler = "x".repeat(usize::try_from(seq % 7).unwrap() * 11);
        let mut line = format!(
            r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a","seq":{seq},"kind":"event","received_at":"2026-11-22T06:40:00.000000Z","source":"{filler}"}}"#
        )
        .into_bytes();
        prev = chain::seal_line(&mut line, 0, &prev);
        line
    };
    (1..=count).map(line).collect()
}

fn write(data_dir: &Path, segments: &[(Seq, Vec<u8>)]) {
    let dir = journal_dir(data_dir);
    fs::create_dir_all(&dir).unwrap();
    for (first, bytes) in segments {
        fs::write(plain_path(&dir, *first), bytes).unwrap();
    }
}

/// The seqs that a reader gives out, and those that it calls damaged.
fn read_all(data_dir: &Path, until: Seq) -> (BTreeSet<Seq>, BTreeSet<Seq>) {
    let mut reader = Reader::new(&journal_dir(data_dir), 1);
    let (mut good, mut damaged) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let items = reader.read(until, 3, 1 << 20).unwrap();
        if items.is_empty() {
            return (good, damaged);
        }
        for item in items {
            match item {
                Item::Line { seq, .. } => assert!(good.insert(seq), "seq {seq} came twice"),
                Item::Damaged { first, last } => damaged.extend(first..=last),
                Item::Gone { .. } => panic!("nothing was deleted"),
            }
        }
    }
}

/// The seqs of the lines that are still whole somewhere in these bytes: found without the reader.
fn whole(bytes: &[u8], lines: &[Vec<u8>]) -> BTreeSet<Seq> {
    (1..).zip(lines).filter(|(_, line)| memchr::memmem::find(bytes, line).is_some()).map(|(seq, _)| seq).collect()
}

#[derive(Clone, Debug)]
enum Harm {
    Cut(f64),
    Flip(f64, u8),
    Insert(f64, Vec<u8>),
    Zeros(f64, u16),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (0.0..1.0).prop_map(Harm::Cut),
        ((0.0..1.0), 1_u8..).prop_map(|(at, by)| Harm::Flip(at, by)),
        ((0.0..1.0), proptest::collection::vec(any::<u8>(), 1..200)).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        ((0.0..1.0), 1_u16..2_000).prop_map(|(at, count)| Harm::Zeros(at, count)),
    ]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a fraction")]
fn place(at: f64, len: usize) -> usize {
    (at * len as f64) as usize
}

fn apply(bytes: &mut Vec<u8>, harm: &Harm) {
    if bytes.is_empty() {
        return;
    }
    match harm {
        Harm::Cut(at) => bytes.truncate(place(*at, bytes.len())),
        Harm::Flip(at, by) => {
            let at = place(*at, bytes.len());
            bytes[at] ^= by;
        }
        Harm::Insert(at, more) => {
            let at = place(*at, bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Harm::Zeros(at, count) => {
            let at = place(*at, bytes.len());
            let end = (at + usize::from(*count)).min(bytes.len());
            bytes[at..end].fill(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bad_bytes_are_a_tail_or_damage_and_no_good_line_is_lost(
        harms in proptest::collection::vec(harm(), 1..4),
        count in 1_u64..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let lines = lines(count);
        let split = usize::try_from(count / 3).unwrap();
        let mut last = lines[split..].concat();
        for harm in &harms {
            apply(&mut last, harm);
        }
        let first = split as u64 + 1;
        let mut segments = vec![(first, last.clone())];
        if split > 0 {
            segments.push((1, lines[..split].concat()));
        }
        write(dir.path(), &segments);
        let expected: BTreeSet<Seq> = (1..first).chain(whole(&last, &lines)).collect();

        let recovered = recover(&journal_dir(dir.path()), &dir.path().join("damaged"), SEGMENT_BYTES).unwrap();
        let after = fs::read(plain_path(&journal_dir(dir.path()), first)).unwrap();
        // Good lines: all still there.
        prop_assert_eq!(whole(&after, &lines), whole(&last, &lines));
        // Bad bytes: those behind the last good line are cut and kept aside, those before it are untouched and listed.
        prop_assert!(last.starts_with(&after));
        let cut = &last[after.len()..];
        prop_assert_eq!(recovered.cut.as_ref().map_or(0, |cut| cut.bytes), cut.len() as u64);
        if let Some(kept) = &recovered.cut {
            prop_assert_eq!(&fs::read(&kept.kept).unwrap()[..], cut);
        }
        prop_assert!(whole(cut, &lines).is_empty());
        for damage in &recovered.damage {
            prop_assert!(damage.offset + damage.bytes <= after.len() as u64);
        }
        // The journal goes on behind everything that was ever good.
        let highest = expected.last().copied().unwrap_or(0);
        prop_assert!(recovered.tail.next > highest);
        let (good, damaged) = read_all(dir.path(), recovered.tail.next - 1);
        prop_assert_eq!(&good, &expected);
        prop_assert!(good.is_disjoint(&damaged));
        prop_assert_eq!(good.len() + damaged.len(), usize::try_from(recovered.tail.next - 1).unwrap());
        // A second recovery finds nothing new to cut.
        drop(recovered);
        let again = recover(&journal_dir(dir.path()), &dir.path().join("damaged"), SEGMENT_BYTES).unwrap();
        prop_assert_eq!(again.cut, None);
    }
}

#[test]
fn verify_finds_every_change_of_a_single_byte() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines(6);
    let (old, new) = (lines[..3].concat(), lines[3..].concat());
    write(dir.path(), &[(1, old.clone()), (4, new.clone())]);
    let report = verify(dir.path(), 1, Seq::MAX, Own::read(dir.path(), None).unwrap(), &[], &mut |_| {}).unwrap();
    assert_eq!((report.records, report.problems), (6, vec![]));
    for (first, bytes) in [(1, &old), (4, &new)] {
        let path = plain_path(&journal_dir(dir.path()), first);
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                fs::write(&path, &bad).unwrap();
                let report =
                    verify(dir.path(), 1, Seq::MAX, Own::read(dir.path(), None).unwrap(), &[], &mut |_| {}).unwrap();
                assert!(!report.problems.is_empty(), "segment {first} byte {at} xor {flip}");
            }
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_line_that_is_there_again_does_not_take_the_journal_back() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines(10);
    // A block of the file stands there twice: whole lines, and older ones.
    write(dir.path(), &[(1, [&lines[..], &lines[3..6]].concat().concat())]);
    let recovered = recover(&journal_dir(dir.path()), &dir.path().join("damaged"), SEGMENT_BYTES).unwrap();
    assert_eq!(recovered.tail.next, 11, "seqs 7 to 10 name the records that they named");
    assert_eq!(fs::read(recovered.cut.unwrap().kept).unwrap(), lines[3..6].concat());
    assert_eq!(fs::read(plain_path(&journal_dir(dir.path()), 1)).unwrap(), lines.concat());
}

#[test]
fn a_segment_of_which_nothing_is_left_keeps_its_name_and_its_bytes() {
    let lines = lines(3);
    let zeros = vec![0; usize::try_from(TAIL_BYTES_MAX).unwrap() + 1];
    let (plain, sealed) = ("00000000000000000004.jsonl", "00000000000000000004.jsonl.zst");
    for (name, bytes) in [(plain, &zeros[..]), (sealed, b"damaged"), (sealed, b"")] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[(1, lines.concat())]);
        let path = journal_dir(dir.path()).join(name);
        fs::write(&path, bytes).unwrap();
        for _ in 0..2 {
            let recovered = recover(&journal_dir(dir.path()), &dir.path().join("damaged"), SEGMENT_BYTES).unwrap();
            // What comes is found under another name: it had one record at least.
            assert_eq!((recovered.tail.next, recovered.writer.position()), (5, (5, 0)), "{name}");
            assert_eq!(recovered.tail.hash, chain::check_line(&lines[2]).unwrap().hash, "{name}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
            assert!(recovered.cut.is_none(), "{name}");
        }
    }
}

#[test]
fn a_torn_tail_that_cannot_be_kept_aside_holds_up_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines(4);
    let torn = [&lines[..3].concat()[..], &lines[3][..50]].concat();
    write(dir.path(), &[(1, torn.clone())]);
    // As on a full disk: nothing can be put there.
    fs::write(dir.path().join("damaged"), b"").unwrap();
    let recovered = recover(&journal_dir(dir.path()), &dir.path().join("damaged"), SEGMENT_BYTES).unwrap();
    // 4 may have been its seq; what comes goes into a file of its own.
    assert_eq!((recovered.cut, recovered.damage.len(), recovered.tail.next), (None, 1, 5));
    assert_eq!(recovered.tail.hash, chain::check_line(&lines[2]).unwrap().hash);
    assert_eq!(recovered.writer.position(), (5, 0));
    assert_eq!(fs::read(plain_path(&journal_dir(dir.path()), 1)).unwrap(), torn);
}

#[test]
fn bad_bytes_longer_than_a_batch_are_damage_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines(2);
    let mut bytes = lines.concat();
    bytes.resize(bytes.len() + usize::try_from(TAIL_BYTES_MAX).unwrap() + 1, b'x');
    write(dir.path(), &[(1, bytes.clone())]);
    let recovered = recover(&journal_dir(dir.path()), &dir.path().join("damaged"), SEGMENT_BYTES).unwrap();
    assert_eq!((recovered.cut, recovered.damage.len()), (None, 1));
    assert_eq!(fs::read(plain_path(&journal_dir(dir.path()), 1)).unwrap(), bytes);
    assert!(recovered.tail.next > 3);
    assert_eq!(list(&journal_dir(dir.path())).unwrap().len(), 2);
}
