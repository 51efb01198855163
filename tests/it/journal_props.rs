//! Properties of what reads a journal, over arbitrary damage: the crate's own reader, recovery and `verify`, on journals
//! that this file writes from the published format.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::{prelude::*, sample::Index};
use refresh_audit::ledger::{
    read::{Item, Reader},
    recovery, verify,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Lines of each segment; the middle one is compressed.
const SEGMENTS: [usize; 3] = [3, 4, 5];
/// Larger than any journal here.
const SEGMENT_BYTES: u64 = 1 << 20;

/// A journal on disk, and what is in it.
struct Written {
    dir: TempDir,
    /// Every line with its LF, by segment.
    segments: Vec<(PathBuf, Vec<Vec<u8>>)>,
}

/// The line of a seq, by the published format: `hash` is the SHA-256 of what is before the last `,"hash":`.
fn line(seq: usize, prev: &str) -> (Vec<u8>, String) {
    let body = format!(
        concat!(
            r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":{seq},"kind":"event","#,
            r#""received_at":"2026-11-22T06:40:00.{seq:06}Z","source":"s","event":{{"id":"id-{seq}","type":"t","#,
            r#""occurred_at":"2026-11-22T06:39:59.000Z","outcome":"attempted"}},"prev":"{prev}""#
        ),
        seq = seq,
        prev = prev
    );
    let hash = hex::encode(Sha256::digest(&body));
    (format!("{body},\"hash\":\"{hash}\"}}\n").into_bytes(), hash)
}

impl Written {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("journal")).unwrap();
        let (mut seq, mut prev, mut segments) = (1, "0".repeat(64), Vec::new());
        for (number, count) in SEGMENTS.into_iter().enumerate() {
            let mut lines = Vec::new();
            let first = seq;
            while seq < first + count {
                let (text, hash) = line(seq, &prev);
                lines.push(text);
                (seq, prev) = (seq + 1, hash);
            }
            let (end, bytes) = match number {
                1 => ("jsonl.zst", zstd::encode_all(&lines.concat()[..], 1).unwrap()),
                _ => ("jsonl", lines.concat()),
            };
            let path = dir.path().join(format!("journal/{first:020}.{end}"));
            fs::write(&path, bytes).unwrap();
            segments.push((path, lines));
        }
        Self { dir, segments }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// All lines, in order.
    fn lines(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.segments.iter().flat_map(|(_, lines)| lines)
    }

    fn last_seq(&self) -> u64 {
        self.lines().count() as u64
    }

    /// The seqs of the lines that a change of the plain segment `number` leaves whole.
    fn whole_after(&self, number: usize, changed: &[u8]) -> Vec<u64> {
        let lost = self.segments[number].1.iter().filter(|line| !changed.windows(line.len()).any(|part| part == *line));
        let lost: Vec<_> = lost.collect();
        (1..).zip(self.lines()).filter(|(_, line)| !lost.contains(line)).map(|(seq, _)| seq).collect()
    }

    /// The seqs of the lines that the crate's reader finds. Their bytes are as written, and every seq up to `until` comes
    /// once, in order, as a line or as damage.
    fn read(&self, until: u64) -> Vec<u64> {
        let mut reader = Reader::new(&self.path().join("journal"), 1);
        let (mut lines, mut next) = (Vec::new(), 1);
        loop {
            let items = reader.read(until, 2, usize::MAX).unwrap();
            if items.is_empty() {
                return lines;
            }
            for item in items {
                let (first, last) = match item {
                    Item::Line { seq, text } => {
                        let written = self.lines().nth(seq as usize - 1).unwrap();
                        assert!(written.strip_suffix(b"\n") == Some(&text[..]), "seq {seq} is not as written");
                        lines.push(seq);
                        (seq, seq)
                    }
                    Item::Damaged { first, last } => (first, last),
                    Item::Gone { first, last } => panic!("{first} to {last} are not gone"),
                };
                assert_eq!(first, next, "each seq once, in order");
                assert!(last >= first && last <= until);
                next = last + 1;
            }
        }
    }

    fn problems(&self) -> (u64, u64) {
        let report =
            verify::verify(self.path(), 1, u64::MAX, verify::Own::read(self.path(), None).unwrap(), &[], &mut |_| {})
                .unwrap();
        (report.problems_total, report.torn_bytes)
    }
}

/// A plain segment: the first or the last.
fn plain() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0_usize), Just(2)]
}

/// Some bytes to change: anywhere, or a line's end.
fn flips() -> impl Strategy<Value = Vec<(Index, u8, bool)>> {
    prop::collection::vec((any::<Index>(), 1_u8.., prop::bool::weighted(0.2)), 1..4)
}

fn flip(bytes: &mut [u8], flips: &[(Index, u8, bool)]) {
    let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
    for (index, change, at_end) in flips {
        let at = if *at_end { *index.get(&ends) } else { index.index(bytes.len()) };
        bytes[at] ^= change;
    }
}

fn check_recovery(written: &Written, whole: &[u64]) -> Result<(), TestCaseError> {
    let (journal, damaged) = (written.path().join("journal"), written.path().join("damaged"));
    let before = fs::read(&written.segments[2].0).unwrap();
    let recovered = recovery::recover(&journal, &damaged, SEGMENT_BYTES).unwrap();
    let after = fs::read(&written.segments[2].0).unwrap();
    prop_assert!(before.starts_with(&after), "nothing but the end is ever changed");
    if let Some(cut) = &recovered.cut {
        prop_assert!(fs::read(&cut.kept).unwrap() == before[after.len()..], "what is cut is kept");
        prop_assert_eq!(cut.bytes as usize, before.len() - after.len());
    } else {
        prop_assert_eq!(before.len(), after.len(), "nothing is cut without a word");
    }
    for one in &recovered.damage {
        prop_assert!(one.offset + one.bytes <= after.len() as u64, "tail or damage, never both");
    }
    let read = written.read(recovered.tail.next - 1);
    prop_assert_eq!(&read[..], whole, "never a lost good line");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_cut_anywhere_keeps_every_whole_line(at in any::<Index>()) {
        let written = Written::new();
        let path = &written.segments[2].0;
        let bytes = fs::read(path).unwrap();
        let kept = &bytes[..at.index(bytes.len() + 1)];
        fs::write(path, kept).unwrap();
        let whole = written.whole_after(2, kept);
        prop_assert_eq!(written.problems().0, 0, "a torn end is no damage");
        let torn = kept.len() - kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        prop_assert_eq!(written.problems().1, torn as u64);
        check_recovery(&written, &whole)?;
    }

    #[test]
    fn changed_bytes_cost_no_line_but_their_own((number, flips) in (plain(), flips())) {
        let written = Written::new();
        let path = &written.segments[number].0;
        let original = fs::read(path).unwrap();
        let mut bytes = original.clone();
        flip(&mut bytes, &flips);
        prop_assume!(bytes != original);
        fs::write(path, &bytes).unwrap();
        let whole = written.whole_after(number, &bytes);
        prop_assert_eq!(&written.read(written.last_seq())[..], &whole[..], "never a lost good line");
        let (problems, torn) = written.problems();
        prop_assert!(problems > 0 || torn > 0, "verify sees it");
        check_recovery(&written, &whole)?;
    }

    #[test]
    fn a_damaged_compressed_segment_costs_no_other_segment(flips in flips(), cut in any::<Index>(), cuts in any::<bool>()) {
        let written = Written::new();
        let path = &written.segments[1].0;
        let mut bytes = fs::read(path).unwrap();
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        } else {
            let len = bytes.len();
            for (index, change, _) in &flips {
                bytes[index.index(len)] ^= change;
            }
        }
        fs::write(path, &bytes).unwrap();
        let read = written.read(written.last_seq());
        prop_assert!([1, 2, 3, 8, 9, 10, 11, 12].iter().all(|seq| read.contains(seq)), "never a lost good line");
    }
}

#[test]
fn verify_finds_every_single_byte_change() {
    let written = Written::new();
    assert_eq!(written.problems(), (0, 0));
    for number in [0, 2] {
        let path = &written.segments[number].0;
        let original = fs::read(path).unwrap();
        for at in 0..original.len() {
            // The lowest bit, the case bit, the bit that leaves ASCII, and LF in its place.
            for changed in [original[at] ^ 1, original[at] ^ 0x20, original[at] ^ 0x80, b'\n'] {
                let mut bytes = original.clone();
                bytes[at] = changed;
                if bytes != original {
                    fs::write(path, &bytes).unwrap();
                    let (problems, torn) = written.problems();
                    assert!(problems > 0, "{}, byte {at} made {changed:#x}: {torn} torn bytes", path.display());
                }
            }
        }
        fs::write(path, &original).unwrap();
    }
}
