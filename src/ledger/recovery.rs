//! Finding the end of the journal after any stop: a torn tail is cut (a copy is kept), damage is left where it is.
//!
//! Bad bytes that start within one batch of the end of the last segment, with no good line after them, are what a stop
//! in the middle of a write leaves: a tail. Anything else was once good, is evidence, and stays.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    chain::{self, GENESIS, Hash},
    checkpoint,
    journal::{Tail, Writer},
    read::LineReader,
    segment::{self, Segment},
};
use crate::{
    files,
    record::{Record, Seq},
    telemetry::{Alarm, Alarms},
    time::ReceivedAt,
};

/// The most that one batch writes, and so the longest possible tail: `admit::BATCH_BYTES_MAX` and one record.
pub const TAIL_BYTES_MAX: u64 = 8 << 20;

/// A damaged line's own word on its seq counts this far.
const LOST_MAX: Seq = 64 << 20;

/// The journal's end, ready to go on.
pub struct Recovered {
    /// Where it goes on.
    pub tail: Tail,
    /// The open end.
    pub writer: Writer,
    /// What was cut off, if anything.
    pub cut: Option<CutTail>,
    /// Damage in the last segment.
    pub damage: Vec<Damage>,
}

/// A tail that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// How many bytes.
    pub bytes: u64,
    /// Where they are kept.
    pub kept: PathBuf,
}

/// One line of `damaged/list.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The segment's file name.
    pub segment: String,
    /// Offset of the first bad byte.
    pub offset: u64,
    /// How many bad bytes; 0 where there is nothing to be read from there on, or lines are missing.
    pub bytes: u64,
    /// The seq that was expected there.
    pub seq: Seq,
}

/// What a segment holds.
pub(super) struct Scan {
    last_good: Option<Last>,
    /// When its first good line was received.
    started: Option<ReceivedAt>,
    /// Offset behind the last good line.
    good_end: u64,
    /// Total length.
    len: u64,
    /// Bad places in it.
    pub(super) damage: Vec<Damage>,
    /// Highest seq that bad bytes behind the last good line may have carried; at least one before the first where there is
    /// no good line.
    lost_to: Seq,
    /// Whether what comes behind it cannot be read.
    is_broken: bool,
}

impl Scan {
    /// The seq behind its last line; none where its end is bad.
    pub(super) fn ends_with(&self) -> Option<Seq> {
        let last = self.last_good.as_ref()?;
        self.damage.iter().all(|damage| damage.offset < self.good_end).then_some(last.seq + 1)
    }

    /// The hash of its last good line, if that is this one.
    pub(super) fn hash_of_last(&self, seq: Seq) -> Option<Hash> {
        self.last_good.as_ref().filter(|last| last.seq == seq).map(|last| last.hash)
    }
}

struct Last {
    seq: Seq,
    hash: Hash,
    line: crate::slice::Slice,
}

/// Finds the end, cuts a torn tail, syncs what survives, and opens the journal for writing.
pub fn recover(journal_dir: &Path, damaged_dir: &Path, segment_bytes: u64) -> io::Result<Recovered> {
    files::create_dir(journal_dir)?;
    remove_leftovers(journal_dir)?;
    let segments = segment::list(journal_dir)?;
    let Some(last) = segments.last() else {
        let tail = Tail { next: 1, hash: GENESIS, last_received: None };
        let writer = Writer::open(journal_dir, 1, 0, None, segment_bytes)?;
        return Ok(Recovered { tail, writer, cut: None, damage: Vec::new() });
    };
    let scan = scan(last)?;
    let bad = scan.len - scan.good_end;
    let mut damage = scan.damage;
    let mut cut = None;
    if bad > 0 && !last.compressed && bad <= TAIL_BYTES_MAX {
        match keep_tail(last, scan.good_end, scan.len, damaged_dir) {
            Ok(kept) => {
                cut_to(&last.path, scan.good_end)?;
                cut = Some(CutTail { bytes: bad, kept });
                damage.retain(|damage| damage.offset < scan.good_end);
            }
            // On a full disk it stays where it is, as damage: a start must not need the room that only it can make.
            Err(error) => tracing::warn!(%error, "a torn tail of the journal cannot be kept aside, so it is not cut"),
        }
    }
    let is_tail = cut.is_some();
    if let Err(error) = list_damage(damaged_dir, &damage) {
        tracing::warn!(%error, "damage in the journal cannot be listed");
    }
    let found = match scan.last_good {
        Some(found) => Some(found),
        None => last_before(&segments[..segments.len() - 1])?,
    };
    let is_damaged = scan.is_broken || bad > 0 && !is_tail;
    let mut next = found.as_ref().map_or(last.first, |found| found.seq + 1).max(last.first);
    if is_damaged {
        // And with a name of its own: what is damaged is not written over, nor taken for the rest of what comes.
        next = next.max(scan.lost_to + 1);
    }
    let tail = Tail {
        next,
        hash: found.as_ref().map_or(GENESIS, |found| found.hash),
        last_received: found.as_ref().and_then(|found| received_at(&found.line)),
    };
    let writer = if last.compressed || is_damaged {
        Writer::open(journal_dir, next, 0, None, segment_bytes)?
    } else {
        Writer::open(journal_dir, last.first, scan.good_end, scan.started, segment_bytes)?
    };
    Ok(Recovered { tail, writer, cut, damage })
}

/// The last good seq, without changing anything; 0 = none.
pub fn last_seq(journal_dir: &Path) -> io::Result<Seq> {
    Ok(last_before(&segment::list(journal_dir)?)?.map_or(0, |last| last.seq))
}

/// Files that a stop left half-made: temporary ones, and plain segments whose compressed form is complete.
fn remove_leftovers(journal_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(journal_dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let superseded = name.ends_with(".jsonl") && path.with_extension("jsonl.zst").exists();
        if name.ends_with(".tmp") || superseded {
            fs::remove_file(&path)?;
        }
    }
    files::sync_dir(journal_dir)
}

fn received_at(line: &[u8]) -> Option<ReceivedAt> {
    serde_json::from_slice::<Record>(line).ok().map(|record| record.received_at)
}

/// Reads a segment through.
pub(super) fn scan(segment: &Segment) -> io::Result<Scan> {
    let mut lines = LineReader::open(segment)?;
    let mut scan = Scan {
        last_good: None,
        started: None,
        good_end: 0,
        len: 0,
        damage: Vec::new(),
        lost_to: segment.first.saturating_sub(1),
        is_broken: false,
    };
    let name = segment.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut bad_from = None;
    loop {
        let from = lines.offset();
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            // It does not decompress: what comes behind is lost.
            Err(_) if segment.compressed => {
                scan.is_broken = true;
                break;
            }
            Err(error) => return Err(error),
        };
        // A line that does not go on from the one before it is a copy of another one: the journal never goes back.
        let last = scan.last_good.as_ref().map_or(segment.first.saturating_sub(1), |last| last.seq);
        let Some(checked) = chain::check_line(&line).filter(|checked| checked.seq > last) else {
            bad_from.get_or_insert(from);
            let least = scan.lost_to + 1;
            scan.lost_to = chain::seq_of(&line).unwrap_or(0).clamp(least, least + LOST_MAX);
            continue;
        };
        let expected = scan.last_good.as_ref().map_or(segment.first, |last| last.seq + 1);
        let bad_bytes = bad_from.take().map(|bad_from| (bad_from, from - bad_from));
        // Where lines are missing there is nothing bad to be seen: the next one tells.
        if let Some((offset, bytes)) = bad_bytes.or_else(|| (checked.seq > expected).then_some((from, 0))) {
            scan.damage.push(Damage { segment: name.clone(), offset, bytes, seq: expected });
        }
        if scan.last_good.is_none() {
            scan.started = received_at(&line);
        }
        scan.lost_to = checked.seq;
        scan.good_end = lines.offset();
        scan.last_good = Some(Last { seq: checked.seq, hash: checked.hash, line });
    }
    scan.len = lines.offset() + lines.rest().len() as u64;
    scan.lost_to += u64::from(scan.is_broken || !lines.rest().is_empty());
    if scan.is_broken || scan.len > scan.good_end {
        let expected = scan.last_good.as_ref().map_or(segment.first, |last| last.seq + 1);
        let (offset, bytes) = (scan.good_end, scan.len - scan.good_end);
        scan.damage.push(Damage { segment: name, offset, bytes, seq: expected });
    }
    Ok(scan)
}

/// The last good line of the segments before the last one.
fn last_before(segments: &[Segment]) -> io::Result<Option<Last>> {
    for segment in segments.iter().rev() {
        if let Some(last) = scan(segment)?.last_good {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

/// Copies a tail to `damaged/`.
fn keep_tail(segment: &Segment, from: u64, len: u64, damaged_dir: &Path) -> io::Result<PathBuf> {
    files::create_dir(damaged_dir)?;
    let mut bytes = vec![0; usize::try_from(len - from).unwrap_or(0)];
    File::open(&segment.path)?.read_exact_at(&mut bytes, from)?;
    let kept = damaged_dir.join(format!("tail-{:020}-{from}.bin", segment.first));
    files::replace(&kept, &bytes)?;
    Ok(kept)
}

fn cut_to(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// Adds to `damaged/list.jsonl` what is not listed yet.
pub fn list_damage(damaged_dir: &Path, damage: &[Damage]) -> io::Result<()> {
    if damage.is_empty() {
        return Ok(());
    }
    files::create_dir(damaged_dir)?;
    let path = damaged_dir.join("list.jsonl");
    let known = fs::read_to_string(&path).unwrap_or_default();
    let mut file = files::open_or_make(&path)?;
    file.seek(SeekFrom::End(0))?;
    for damage in damage {
        let line = serde_json::to_string(damage)?;
        if !known.lines().any(|listed| listed == line) {
            writeln!(file, "{line}")?;
        }
    }
    file.sync_all()?;
    files::sync_dir(damaged_dir)
}

/// Says so, where there is any.
pub(super) fn raise_damage(alarms: &Alarms, damage: &[Damage]) {
    let Some(first) = damage.first() else { return };
    let message = format!(
        "{} damaged place(s) in {}, the first at byte {} where seq {} was expected; they are left as they are and skipped; \
         see damaged/list.jsonl, and run `refresh-audit verify`",
        damage.len(),
        first.segment,
        first.offset,
        first.seq
    );
    alarms.raise(Alarm::DamageFound, Some("journal"), message);
}

/// Cuts back what a failed batch may have left: the open segment to its synced length, and segments begun after it. Fails
/// where not even that is there: what was synced and is gone is for an operator to see, and for the next start to name.
pub fn cut_back(journal_dir: &Path, first: Seq, synced_len: u64) -> io::Result<()> {
    let path = segment::plain_path(journal_dir, first);
    let file = OpenOptions::new().write(true).open(&path)?;
    if file.metadata()?.len() < synced_len {
        return Err(io::Error::other(format!("{} is shorter than what was synced", path.display())));
    }
    for segment in segment::list(journal_dir)? {
        if segment.first > first && !segment.compressed {
            fs::remove_file(&segment.path)?;
        }
    }
    file.set_len(synced_len)?;
    file.sync_all()?;
    files::sync_dir(journal_dir)
}

/// The journal's checkpoints; without any where the file cannot be read.
pub fn checkpoints(journal_dir: &Path) -> Vec<checkpoint::Found> {
    checkpoint::read(journal_dir, None).unwrap_or_else(|error| {
        tracing::warn!(%error, "the checkpoints cannot be read");
        Vec::new()
    })
}

/// The highest seq that a checkpoint vouches for, by journal: of this one, and of those that it was once.
pub fn vouched_for(found: &[checkpoint::Found]) -> BTreeMap<String, Seq> {
    let mut highest = BTreeMap::new();
    for checkpoint in found.iter().filter_map(|note| note.checkpoint.as_ref()) {
        let seq: &mut Seq = highest.entry(checkpoint.journal().to_owned()).or_default();
        *seq = checkpoint.seq.max(*seq);
    }
    highest
}

/// What stands in the file of checkpoints and is none.
pub(super) fn damage_among(found: &[checkpoint::Found]) -> Vec<Damage> {
    let (mut damage, mut seq) = (Vec::new(), 1);
    for note in found {
        match &note.checkpoint {
            Some(checkpoint) => seq = checkpoint.seq + 1,
            None => damage.push(Damage {
                segment: "checkpoints".to_owned(),
                offset: note.place.start as u64,
                bytes: note.place.len() as u64,
                seq,
            }),
        }
    }
    damage
}
