//! Checking a journal from outside: every line, the chain, the checkpoints. Reads only; needs no lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use super::{
    begin,
    chain::{self, GENESIS, Hash},
    checkpoint::{self, Checkpoint, Found, Verifier},
    read::LineReader,
    segment::{self, Segment, journal_dir},
};
use crate::record::Seq;

/// Problems listed at most; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Good records.
    pub records: u64,
    /// Segments read.
    pub segments: usize,
    /// First and last good seq.
    pub range: Option<(Seq, Seq)>,
    /// Checkpoints that fit, with right signatures.
    pub checkpoints: usize,
    /// Of the checkpoints that were kept elsewhere, those that fit.
    pub held: usize,
    /// And those about records that were let go since.
    pub let_go: usize,
    /// Bytes behind the last whole line, as a stop in the middle of a write leaves them; cut at the next start.
    pub torn_bytes: u64,
    /// What is wrong, the first `PROBLEMS_MAX`.
    pub problems: Vec<Problem>,
    /// How many problems in all.
    pub problems_total: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The record it concerns, or where it should be.
    pub seq: Seq,
    /// What is wrong, and where.
    pub what: String,
}

struct Check<'a> {
    report: Report,
    /// What the next line must follow: its seq and the hash before it.
    expected: Option<(Seq, Hash)>,
    /// Whether that hash is vouched for (by the line before, the start of the journal, or a checkpoint).
    checkpoints: BTreeMap<Seq, (Hash, Option<bool>)>,
    /// Ends of closed files that have none.
    unsigned: BTreeSet<Seq>,
    /// Those that were kept elsewhere and are not met yet.
    held: BTreeMap<Seq, Hash>,
    /// Up to here records may be missing.
    let_go: Seq,
    until: Seq,
    progress: &'a mut dyn FnMut(u64),
}

/// The journal's checkpoints, and who checked their signatures.
pub struct Own<'a> {
    found: Vec<Found>,
    public_key: Option<&'a Verifier>,
}

impl<'a> Own<'a> {
    /// Reads them. `public_key` checks their signatures; without it only their hashes are compared.
    pub fn read(data_dir: &Path, public_key: Option<&'a Verifier>) -> io::Result<Self> {
        Ok(Self { found: checkpoint::read(&journal_dir(data_dir), public_key)?, public_key })
    }
}

/// Checks everything from the segment that holds `from` up to `until` (a running service's synced seq; `Seq::MAX`
/// otherwise). `own` was read before `until` was asked for: checkpoints are signed for what is synced only, so each that is
/// past the end tells of an end that was cut off. `progress` hears of every segment's bytes. `held` are checkpoints that were
/// kept elsewhere: of each, the record must be there and be the one that it vouches for.
pub fn verify(
    data_dir: &Path,
    from: Seq,
    until: Seq,
    own: Own<'_>,
    held: &[Found],
    progress: &mut dyn FnMut(u64),
) -> io::Result<Report> {
    let dir = journal_dir(data_dir);
    let segments = segment::list(&dir)?;
    let mut check = Check {
        report: Report::default(),
        expected: None,
        checkpoints: BTreeMap::new(),
        unsigned: BTreeSet::new(),
        held: BTreeMap::new(),
        let_go: 0,
        until,
        progress,
    };
    let has_none = own.found.is_empty();
    if own.public_key.is_some() && has_none && segments.len() > 1 {
        // One is signed whenever a segment is sealed.
        check.problem(segments[1].first - 1, "no checkpoint is left, although there are closed files".to_owned());
    }
    check.read_checkpoints(own.found);
    if let Some(public_key) = own.public_key {
        // Behind the list of files: it is signed before any of them goes.
        check.read_begin(begin::read(&dir, Some(public_key))?);
        check.missing(segments.first().map_or(1, |oldest| oldest.first));
        if !has_none {
            check.unsigned_ends(&dir, &segments, public_key)?;
        }
    }
    check.read_held(held);
    let start = segments.iter().rposition(|segment| segment.first <= from.max(1)).unwrap_or(0);
    if let Some(first) = segments.first() {
        check.begin(&segments[start], first.first);
    }
    for (nth, segment) in segments.iter().enumerate().skip(start) {
        check.end_before(segment);
        check.segment(segment, nth + 1 == segments.len())?;
    }
    check.finish();
    let last = check.report.range.map_or(0, |(_, last)| last);
    if from > last.max(1) {
        check.problem(from, format!("there is no such record: the last one is {last}"));
    }
    Ok(check.report)
}

impl Check<'_> {
    fn problem(&mut self, seq: Seq, what: String) {
        self.report.problems_total += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(Problem { seq, what });
        }
    }

    fn read_checkpoints(&mut self, found: Vec<Found>) {
        for note in found {
            match note.checkpoint {
                Some(_) if note.signed == Some(false) => {
                    let seq = note.checkpoint.map_or(0, |checkpoint| checkpoint.seq);
                    self.problem(seq, "the checkpoint's signature is wrong".to_owned());
                }
                Some(checkpoint) => {
                    self.checkpoints.insert(checkpoint.seq, (checkpoint.hash, note.signed));
                }
                None => {
                    let (from, to) = (note.place.start, note.place.end);
                    self.problem(0, format!("bytes {from} to {to} of the file `checkpoints` are no checkpoint"));
                }
            }
        }
    }

    fn read_held(&mut self, found: &[Found]) {
        for note in found {
            match &note.checkpoint {
                Some(Checkpoint { seq, .. }) if note.signed == Some(false) => {
                    self.problem(*seq, "the signature of the checkpoint that was kept elsewhere is wrong".to_owned());
                }
                Some(Checkpoint { seq, hash, .. }) => {
                    if self.held.insert(*seq, *hash).is_some_and(|other| other != *hash) {
                        self.problem(*seq, "checkpoints that were kept elsewhere contradict each other".to_owned());
                    }
                }
                None => self.problem(0, "what was kept elsewhere holds something that is no checkpoint".to_owned()),
            }
        }
    }

    /// The record that a checkpoint kept elsewhere vouches for has this hash.
    fn compare_held(&mut self, seq: Seq, hash: Hash, place: &str) {
        match self.held.remove(&seq) {
            Some(held) if held == hash => self.report.held += 1,
            Some(_) => {
                let what =
                    format!("the record at {place} is not what the checkpoint that was kept elsewhere vouches for");
                self.problem(seq, what);
            }
            None => {}
        }
    }

    /// What the first line must follow: the start, or after retention a sealed segment's checkpoint.
    fn begin(&mut self, start: &Segment, oldest: Seq) {
        let before = start.first.saturating_sub(1);
        self.expected = if start.first == 1 {
            Some((1, GENESIS))
        } else if let Some((hash, _)) = self.checkpoints.get(&before) {
            Some((start.first, *hash))
        } else {
            if start.first == oldest {
                self.problem(start.first, "no checkpoint vouches for what came before the oldest segment".to_owned());
            }
            None
        };
        if let Some((first, prev)) = self.expected {
            self.compare_held(first - 1, prev, "the end of what retention deleted");
        }
    }

    /// The note of what was let go vouches for its last record, as a checkpoint does.
    fn read_begin(&mut self, begin: Result<Option<Checkpoint>, &'static str>) {
        match begin {
            Ok(None) => {}
            Ok(Some(Checkpoint { seq, hash, .. })) => {
                self.let_go = seq;
                if hash == begin::UNREADABLE {
                    return;
                }
                let (known, _) = *self.checkpoints.entry(seq).or_insert((hash, Some(true)));
                if known != hash {
                    self.problem(seq, "its checkpoint and the file `begins` contradict each other".to_owned());
                }
            }
            Err(what) => self.problem(0, what.to_owned()),
        }
    }

    /// What is missing at the beginning must have been let go. `oldest`: the first seq that is there.
    fn missing(&mut self, oldest: Seq) {
        let first = self.let_go.saturating_add(1);
        // Only what is not there any more.
        self.let_go = self.let_go.min(oldest - 1);
        if oldest > first {
            let last = oldest - 1;
            self.problem(first, format!("seq {first} to {last} are missing: nobody signed that they were let go"));
        }
    }

    /// Which closed files have no checkpoint for their end. The one that was closed last may not have it yet; a running service
    /// has signed for the others since `own` was read, where it is not there.
    fn unsigned_ends(&mut self, dir: &Path, segments: &[Segment], public_key: &Verifier) -> io::Result<()> {
        let ends: Vec<Seq> = segments.iter().skip(1).map(|following| following.first - 1).collect();
        let is_unsigned = |end: &Seq| *end <= self.until && !self.checkpoints.contains_key(end);
        self.unsigned = ends.iter().copied().filter(is_unsigned).collect();
        let last = ends.last().copied().unwrap_or(0);
        if self.checkpoints.keys().next_back().is_none_or(|highest| *highest < last) {
            self.unsigned.remove(&last);
        }
        if self.unsigned.is_empty() {
            return Ok(());
        }
        for note in checkpoint::read(dir, Some(public_key))?.into_iter().filter(|note| note.signed == Some(true)) {
            if let Some(Checkpoint { seq, hash, .. }) = note.checkpoint
                && self.unsigned.remove(&seq)
            {
                self.checkpoints.insert(seq, (hash, note.signed));
            }
        }
        Ok(())
    }

    /// Behind a damaged end it is that which counts.
    fn end_before(&mut self, segment: &Segment) {
        let end = segment.first.saturating_sub(1);
        if self.unsigned.contains(&end) && self.expected.is_some_and(|(seq, _)| seq == segment.first) {
            let what = format!(
                "no checkpoint vouches for it, although it ends a closed file: the next is {}",
                name_of(segment)
            );
            self.problem(end, what);
        }
    }

    fn segment(&mut self, segment: &Segment, is_last: bool) -> io::Result<()> {
        let name = name_of(segment);
        let mut lines = LineReader::open(segment)?;
        self.report.segments += 1;
        let mut is_first = true;
        loop {
            let offset = lines.offset();
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    let seq = self.expected.map_or(segment.first, |(seq, _)| seq);
                    self.problem(seq, format!("{name} cannot be read past byte {offset}: {error}"));
                    break;
                }
            };
            let place = format!("{name} byte {offset}");
            if self.past_until(&line) {
                return Ok(());
            }
            self.line(&line, &place, is_first.then_some(segment.first));
            is_first = false;
            (self.progress)(line.len() as u64);
        }
        self.rest(lines.rest(), &name, is_last && !segment.compressed);
        Ok(())
    }

    fn past_until(&self, line: &[u8]) -> bool {
        chain::seq_of(line).is_some_and(|seq| seq > self.until)
            || self.expected.is_some_and(|(seq, _)| seq > self.until)
    }

    fn line(&mut self, line: &[u8], place: &str, named: Option<Seq>) {
        let seq = self.expected.map_or(0, |(seq, _)| seq);
        let Some(checked) = chain::check_line(line) else {
            self.problem(seq, format!("the line at {place} is damaged: its hash is not that of its bytes"));
            return;
        };
        if let Some(named) = named.filter(|named| *named != checked.seq) {
            self.problem(checked.seq, format!("the segment at {place} should begin with seq {named}"));
        }
        if let Some((expected, prev)) = self.expected {
            if checked.seq != expected {
                self.problem(expected, format!("seq {expected} is missing: {place} holds seq {}", checked.seq));
            }
            if checked.prev != prev {
                self.problem(checked.seq, format!("the record at {place} does not follow the one before it"));
            }
        }
        if let Some((hash, signed)) = self.checkpoints.remove(&checked.seq) {
            if hash == checked.hash {
                self.report.checkpoints += usize::from(signed != Some(false));
            } else {
                self.problem(
                    checked.seq,
                    format!("the record at {place} is not the one that its checkpoint vouches for"),
                );
            }
        }
        self.compare_held(checked.seq, checked.hash, place);
        self.expected = Some((checked.seq + 1, checked.hash));
        self.report.records += 1;
        self.report.range = Some((self.report.range.map_or(checked.seq, |(first, _)| first), checked.seq));
    }

    fn rest(&mut self, rest: &[u8], name: &str, is_open: bool) {
        if rest.is_empty() {
            return;
        }
        if is_open && is_torn(rest) {
            self.report.torn_bytes = rest.len() as u64;
        } else if self.expected.is_none_or(|(seq, _)| seq <= self.until) {
            let seq = self.expected.map_or(0, |(seq, _)| seq);
            self.problem(seq, format!("{name} ends in {} bytes that are not a line", rest.len()));
        }
    }

    /// A checkpoint past the end means that the end was cut off.
    fn finish(&mut self) {
        let last = self.report.range.map_or(0, |(_, last)| last);
        if let Some((&seq, _)) = self.checkpoints.iter().next_back()
            && seq > last
        {
            self.problem(seq, format!("a checkpoint vouches for seq {seq}, but the journal ends at {last}"));
        }
        for seq in std::mem::take(&mut self.held).into_keys() {
            if seq <= self.let_go {
                self.report.let_go += 1;
                continue;
            }
            let what = if seq > last {
                format!("a checkpoint that was kept elsewhere vouches for seq {seq}, but the journal ends at {last}")
            } else {
                format!("seq {seq}, which a checkpoint that was kept elsewhere vouches for, is not among what was read")
            };
            self.problem(seq, what);
        }
    }
}

fn name_of(segment: &Segment) -> String {
    segment.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether bytes without LF can be the beginning of a line whose writing was cut short: they begin like a record, and
/// do not go on behind what ends one.
fn is_torn(rest: &[u8]) -> bool {
    const BEGIN: &[u8] = b"{\"schema\":\"refresh-audit/1\",";
    let begins = rest.starts_with(&BEGIN[..BEGIN.len().min(rest.len())]);
    let ended = memchr::memmem::rfind(rest, b",\"hash\":\"").is_some_and(|at| rest.len() > at + 9 + 64 + 2);
    begins && !ended
}
