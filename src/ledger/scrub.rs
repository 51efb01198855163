//! Looking for damage in sealed segments, behind everything else: each is read through after a start and once a day, and
//! what is found there, or missing between two of them, is listed in `damaged/list.jsonl`.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    recovery::{self, Damage},
    segment::{self, Segment, plain_path},
};
use crate::{
    record::Seq,
    telemetry::{Alarm, Alarms},
};

/// From the end of one round to the next.
const ROUND_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Segments are read one after the other for so long at a time, of a second: other work waits meanwhile.
const SLICE: Duration = Duration::from_millis(20);

/// One round after the other over the sealed segments.
pub struct Scrub {
    journal_dir: PathBuf,
    damaged_dir: PathBuf,
    alarms: Alarms,
    /// Whether the open segment was damaged at the start: then no round is without damage.
    is_open_damaged: bool,
    /// First seq of the segment that was read last.
    read: Seq,
    /// What the next segment has to begin with, where the last one's end could be read.
    expected: Option<Seq>,
    /// Damaged places of this round.
    places: u64,
    ended: Option<Instant>,
}

impl Scrub {
    /// Has read nothing yet.
    pub fn new(journal_dir: PathBuf, damaged_dir: PathBuf, alarms: Alarms, is_open_damaged: bool) -> Self {
        Self { journal_dir, damaged_dir, alarms, is_open_damaged, read: 0, expected: None, places: 0, ended: None }
    }

    /// Reads on for a while, where a round is due.
    pub fn go_on(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while self.ended.is_none_or(|ended| ended.elapsed() >= ROUND_EVERY) && begun.elapsed() < SLICE {
            self.step()?;
        }
        Ok(())
    }

    /// Reads the next segment, or ends the round.
    fn step(&mut self) -> io::Result<()> {
        self.ended = None;
        let segments = segment::list(&self.journal_dir)?;
        let at = segments.partition_point(|segment| segment.first <= self.read);
        if let Some(following) = segments.get(at) {
            let missing = self.expected.take().filter(|expected| *expected < following.first);
            if let Some(seq) = missing {
                let name = name_of(&plain_path(&self.journal_dir, seq));
                self.found(vec![Damage { segment: name, offset: 0, bytes: 0, seq }])?;
            }
            self.read = following.first;
        }
        match segments.get(at) {
            Some(sealed) if at + 1 < segments.len() => self.segment(sealed),
            _ => {
                if self.places == 0 && !self.is_open_damaged {
                    self.alarms.clear(
                        Alarm::DamageFound,
                        Some("journal"),
                        "all segments were read, and hold no damage",
                    );
                }
                (self.read, self.expected, self.places, self.ended) = (0, None, 0, Some(Instant::now()));
                Ok(())
            }
        }
    }

    fn segment(&mut self, segment: &Segment) -> io::Result<()> {
        let scan = match recovery::scan(segment) {
            // Retention was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            scan => scan?,
        };
        self.expected = scan.ends_with();
        self.found(scan.damage)
    }

    fn found(&mut self, damage: Vec<Damage>) -> io::Result<()> {
        self.places += damage.len() as u64;
        recovery::raise_damage(&self.alarms, &damage);
        recovery::list_damage(&self.damaged_dir, &damage)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        ledger::chain::{self, GENESIS},
        telemetry::Metrics,
    };

    /// Ten segments of ten lines, all but the last sealed.
    fn journal(dir: &Path) -> Vec<PathBuf> {
        let mut prev = GENESIS;
        let segments = (0..10_u64).map(|number| {
            let mut lines = Vec::new();
            for seq in number * 10 + 1..=number * 10 + 10 {
                let start = lines.len();
                let text = format!(r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a","seq":{seq},"received_at":"2026-11-22T06:40:00.000000Z","kind":"alarm"}}"#);
                lines.extend_from_slice(text.as_bytes());
                prev = chain::seal_line(&mut lines, start, &prev);
            }
            let first = number * 10 + 1;
            if number == 9 {
                fs::write(plain_path(dir, first), lines).unwrap();
                return plain_path(dir, first);
            }
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            io::Write::write_all(&mut encoder, &lines).unwrap();
            let path = segment::compressed_path(dir, first);
            fs::write(&path, encoder.finish().unwrap()).unwrap();
            path
        });
        segments.collect()
    }

    #[test]
    fn what_is_damaged_or_missing_between_is_listed_once_and_alarmed() {
        let dir = tempfile::tempdir().unwrap();
        let (journal_dir, damaged_dir) = (dir.path().join("journal"), dir.path().join("damaged"));
        fs::create_dir(&journal_dir).unwrap();
        let segments = journal(&journal_dir);
        let alarms = Alarms::new(Metrics::new());
        let mut scrub = Scrub::new(journal_dir, damaged_dir.clone(), alarms.clone(), false);
        let round = |scrub: &mut Scrub| {
            scrub.step().unwrap();
            while scrub.ended.is_none() {
                scrub.step().unwrap();
            }
        };
        round(&mut scrub);
        assert!(alarms.raised().is_empty() && !damaged_dir.exists());

        // One that does not decompress to its end, two that are gone, one with a changed line.
        let mut bytes = fs::read(&segments[2]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&segments[2], bytes).unwrap();
        fs::remove_file(&segments[5]).unwrap();
        fs::remove_file(&segments[6]).unwrap();
        let mut lines = zstd::decode_all(&fs::read(&segments[8]).unwrap()[..]).unwrap();
        lines[30] ^= 1;
        fs::write(&segments[8], zstd::encode_all(&lines[..], 1).unwrap()).unwrap();
        for _ in 0..2 {
            round(&mut scrub);
            let listed = fs::read_to_string(damaged_dir.join("list.jsonl")).unwrap();
            let listed: Vec<serde_json::Value> =
                listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let of = |name: &str| -> Vec<u64> {
                let found = listed.iter().filter(|damage| damage["segment"].as_str().unwrap().starts_with(name));
                found.map(|damage| damage["seq"].as_u64().unwrap()).collect()
            };
            assert!(of("00000000000000000021").iter().all(|seq| (21..=31).contains(seq)), "{listed:?}");
            assert!(!of("00000000000000000021").is_empty(), "{listed:?}");
            assert_eq!((of("00000000000000000051"), of("00000000000000000061")), (vec![51], vec![]), "{listed:?}");
            assert_eq!(of("00000000000000000081"), [81], "{listed:?}");
            assert_eq!(alarms.raised().len(), 1);
        }
    }

    #[test]
    fn what_was_mended_is_no_alarm_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let segments = journal(dir.path());
        let alarms = Alarms::new(Metrics::new());
        let good = fs::read(&segments[4]).unwrap();
        fs::remove_file(&segments[4]).unwrap();
        for open_is_damaged in [true, false] {
            let mut scrub =
                Scrub::new(dir.path().to_owned(), dir.path().join("damaged"), alarms.clone(), open_is_damaged);
            let round = |scrub: &mut Scrub| {
                scrub.step().unwrap();
                while scrub.ended.is_none() {
                    scrub.step().unwrap();
                }
            };
            round(&mut scrub);
            assert_eq!(alarms.raised().len(), 1 - usize::from(segments[4].exists() && !open_is_damaged));
            fs::write(&segments[4], &good).unwrap();
            round(&mut scrub);
            assert_eq!(alarms.raised().len(), usize::from(open_is_damaged));
        }
    }
}
