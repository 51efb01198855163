//! The proof of delivery: what became of every stretch of the journal, when, and what the other side said.
//!
//! `sinks/<name>/acks/<first seq, 20 digits>.jsonl` (closed: `.jsonl.zst`), one [`Entry`] a line, in the order of the
//! journal and without gaps; what an operator had delivered again is in `again.jsonl` beside them. Written and synced
//! right before the cursor, which decides what counts: entries past it are cut. Pruned with the journal. Blocking.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::batch::Passed;
use crate::{files, ledger::segment, record::Seq, sink::Ack, time::ReceivedAt};

/// Seqs from the first to the last.
pub type Run = (Seq, Seq);

/// One stretch of the journal, settled at once. What is in none of the lists was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its first seq.
    pub first: Seq,
    /// Its last seq.
    pub last: Seq,
    /// When the other side had said yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<ReceivedAt>,
    /// Which attempt that was, from 1; 0 where nothing was sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Left out by scope, kinds or findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Run>,
    /// Refused for good, and kept then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Run>,
    /// Deleted from the journal before their turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Run>,
    /// Not readable in the journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Run>,
    /// What the other side said of the whole batch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ack: String,
    /// What it said of single records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<(Seq, String)>,
}

/// What became of one seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The other side took it.
    Delivered,
    /// See [`Entry::skipped`].
    Skipped,
    /// See [`Entry::parked`].
    Parked,
    /// See [`Entry::dropped`].
    Dropped,
    /// See [`Entry::damaged`].
    Damaged,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How many seqs.
pub fn total(runs: &[Run]) -> u64 {
    runs.iter().map(|(first, last)| last - first + 1).sum()
}

/// Adds a seq behind the others.
pub fn extend(runs: &mut Vec<Run>, (first, last): Run) {
    match runs.last_mut() {
        Some(run) if run.1 + 1 == first => run.1 = last,
        _ => runs.push((first, last)),
    }
}

impl Entry {
    /// Seqs in it.
    pub fn len(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the cursor passes without sending.
    pub fn passed(&self) -> Passed {
        Passed { skipped: total(&self.skipped), dropped: total(&self.dropped), damaged: total(&self.damaged) }
    }

    /// Delivered of it.
    pub fn delivered(&self) -> u64 {
        self.len().saturating_sub(self.passed().total() + total(&self.parked))
    }

    /// Notes what the other side said, cut to what is kept and in one line.
    pub fn acknowledged(&mut self, ack: Ack, attempt: u32) {
        let line = |text: String| -> String {
            let mend = |c: char| if c.is_control() { ' ' } else { c };
            text.chars().take(Ack::TEXT_CHARS_MAX).map(mend).collect()
        };
        let Ack { text, mut records } = ack;
        records.retain(|(seq, _)| (self.first..=self.last).contains(seq));
        (self.at, self.attempt, self.ack) = (Some(ReceivedAt::wall()), attempt, line(text));
        self.records = records.into_iter().map(|(seq, text)| (seq, line(text))).collect();
    }

    /// What became of a seq in it.
    pub fn fate(&self, seq: Seq) -> Fate {
        let lists = [
            (&self.skipped, Fate::Skipped),
            (&self.parked, Fate::Parked),
            (&self.dropped, Fate::Dropped),
            (&self.damaged, Fate::Damaged),
        ];
        let holds = |runs: &[Run]| runs.iter().any(|(first, last)| (*first..=*last).contains(&seq));
        lists.into_iter().find(|(runs, _)| holds(runs)).map_or(Fate::Delivered, |(_, fate)| fate)
    }

    /// What the other side said of one record.
    pub fn ack_of(&self, seq: Seq) -> &str {
        self.records.iter().find(|(of, _)| *of == seq).map_or(&self.ack, |(_, text)| text)
    }
}

/// Size at which a file is closed: a look-up reads one whole.
const FILE_BYTES: u64 = 4 << 20;
/// A closed file holds text much like itself; more effort gains little.
const ZSTD_LEVEL: i32 = 3;
const AGAIN: &str = "again.jsonl";
const AGAIN_BEFORE: &str = "again.before.jsonl";

/// The writing end.
#[derive(Debug)]
pub struct Acks {
    dir: PathBuf,
    open: Option<Open>,
    /// Entries not written yet, and the first seq of the first.
    buffer: Vec<u8>,
    first: Seq,
    again: Vec<u8>,
}

/// The open file: its first seq, and the bytes of it that count.
#[derive(Clone, Copy, Debug)]
struct Open {
    first: Seq,
    len: u64,
}

fn push(buffer: &mut Vec<u8>, entry: &Entry) {
    // Numbers and texts in a struct always have a JSON.
    if serde_json::to_writer(&mut *buffer, entry).is_ok() {
        buffer.push(b'\n');
    }
}

impl Acks {
    /// Touches nothing; writes nothing before it was [`Acks::mend`]ed.
    pub fn none(dir: PathBuf) -> Self {
        Self { dir, open: None, buffer: Vec::new(), first: 0, again: Vec::new() }
    }

    /// Cuts what a crash left past the cursor's `next`, and goes on behind it.
    pub fn mend(&mut self, next: Seq) -> io::Result<()> {
        files::create_dir(&self.dir)?;
        self.open = None;
        for file in list(&self.dir)?.into_iter().rev() {
            if file.first >= next {
                fs::remove_file(&file.path)?;
                continue;
            }
            let bytes = match file.read() {
                Err(error) if file.closed => {
                    tracing::warn!(file = %file.path.display(), %error, "proofs of delivery are damaged, and stay as they are");
                    break;
                }
                read => read?,
            };
            let len = good_len(&bytes, next);
            if !file.closed || len < bytes.len() {
                self.reopen(&file, &bytes[..len])?;
            }
            break;
        }
        files::sync_parent(&self.dir.join(AGAIN))
    }

    fn reopen(&mut self, file: &AckFile, good: &[u8]) -> io::Result<()> {
        let path = plain(&self.dir, file.first);
        if file.closed {
            files::replace(&path, good)?;
            fs::remove_file(&file.path)?;
        }
        self.open = Some(Open { first: file.first, len: good.len() as u64 });
        Ok(())
    }

    /// Puts everything aside, as belonging to an earlier cursor.
    pub fn set_aside(&mut self) -> io::Result<()> {
        *self = Self::none(std::mem::take(&mut self.dir));
        if self.dir.exists() {
            let aside = self.dir.with_file_name(format!("acks.{}", ReceivedAt::wall().micros()));
            files::rename(&self.dir, &aside)?;
            tracing::warn!(path = %aside.display(), "proofs of delivery of an earlier cursor are set aside");
        }
        files::create_dir(&self.dir)
    }

    /// Adds the next stretch.
    pub fn push(&mut self, entry: &Entry) {
        if self.buffer.is_empty() {
            self.first = entry.first;
        }
        push(&mut self.buffer, entry);
    }

    /// Adds what was delivered again.
    pub fn push_again(&mut self, entry: &Entry) {
        push(&mut self.again, entry);
    }

    /// On disk when it returns. After an error everything is written by the next call.
    pub fn save(&mut self, journal_dir: &Path) -> io::Result<()> {
        if !self.buffer.is_empty() {
            if let Some(full) = self.open.filter(|open| open.len >= FILE_BYTES) {
                self.close(full, journal_dir)?;
            }
            let open = self.open.unwrap_or(Open { first: self.first, len: 0 });
            write_at(&plain(&self.dir, open.first), open.len, &self.buffer)?;
            self.open = Some(Open { len: open.len + self.buffer.len() as u64, ..open });
            self.buffer.clear();
        }
        if !self.again.is_empty() {
            let path = self.dir.join(AGAIN);
            let mut len = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if len >= FILE_BYTES {
                files::rename(&path, &self.dir.join(AGAIN_BEFORE))?;
                len = 0;
            }
            write_at(&path, len, &self.again)?;
            self.again.clear();
        }
        Ok(())
    }

    /// Compresses a full file, and deletes those whose records the journal no longer has.
    fn close(&mut self, full: Open, journal_dir: &Path) -> io::Result<()> {
        let path = plain(&self.dir, full.first);
        let mut bytes = fs::read(&path)?;
        bytes.truncate(usize::try_from(full.len).unwrap_or(usize::MAX));
        files::replace(&closed(&self.dir, full.first), &zstd::encode_all(&bytes[..], ZSTD_LEVEL)?)?;
        fs::remove_file(&path)?;
        self.open = None;
        let oldest = segment::list(journal_dir)?.first().map_or(0, |segment| segment.first);
        let kept = list(&self.dir)?;
        // What begins the next file ends this one.
        for pair in kept.windows(2).filter(|pair| pair[1].first <= oldest) {
            fs::remove_file(&pair[0].path)?;
        }
        Ok(())
    }
}

fn write_at(path: &Path, len: u64, bytes: &[u8]) -> io::Result<()> {
    let new = !path.exists();
    let file = files::open_or_make(path)?;
    // Whatever a failed attempt or a crash left behind goes first.
    file.set_len(len)?;
    file.write_all_at(bytes, len)?;
    file.sync_data()?;
    if new { files::sync_parent(path) } else { Ok(()) }
}

fn plain(dir: &Path, first: Seq) -> PathBuf {
    segment::plain_path(dir, first)
}

fn closed(dir: &Path, first: Seq) -> PathBuf {
    segment::compressed_path(dir, first)
}

/// Bytes up to the end of the last whole, readable line that ends before `next`. What is damaged before it stays: readers pass it.
fn good_len(bytes: &[u8], next: Seq) -> usize {
    let (mut read, mut len) = (0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        read += line.len();
        if line.ends_with(b"\n") && serde_json::from_slice::<Entry>(line).is_ok_and(|entry| entry.last < next) {
            len = read;
        }
    }
    len
}

/// One file of the log.
struct AckFile {
    first: Seq,
    closed: bool,
    path: PathBuf,
}

impl AckFile {
    fn read(&self) -> io::Result<Vec<u8>> {
        match fs::read(&self.path) {
            Ok(bytes) if self.closed => zstd::decode_all(&bytes[..]),
            // It was closed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.closed => {
                zstd::decode_all(&fs::read(self.path.with_extension("jsonl.zst"))?[..])
            }
            read => read,
        }
    }
}

/// In order. They are named as the journal's segments are.
fn list(dir: &Path) -> io::Result<Vec<AckFile>> {
    let found = match segment::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    Ok(found.into_iter().map(|file| AckFile { first: file.first, closed: file.compressed, path: file.path }).collect())
}

/// The reading end: of a running sink, too.
#[derive(Debug)]
pub struct AckLog {
    dir: PathBuf,
}

impl AckLog {
    /// Of a sink's directory.
    pub fn new(sink_dir: &Path) -> Self {
        Self { dir: sink_dir.join("acks") }
    }

    /// The entry that a seq is in.
    pub fn find(&self, seq: Seq) -> io::Result<Option<Entry>> {
        let entry = self.around(seq)?.into_iter().find(|entry| entry.last >= seq);
        Ok(entry.filter(|entry| entry.first <= seq))
    }

    /// The entries of the file that a seq would be in: for reading on behind it.
    pub fn around(&self, seq: Seq) -> io::Result<Vec<Entry>> {
        let files = list(&self.dir)?;
        let at = files.partition_point(|file| file.first <= seq);
        match at.checked_sub(1).and_then(|at| files.get(at)) {
            Some(file) => Ok(entries(&file.read()?).collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Every entry, in order.
    pub fn each(&self, mut take: impl FnMut(Entry)) -> io::Result<()> {
        for file in list(&self.dir)? {
            entries(&file.read()?).for_each(&mut take);
        }
        Ok(())
    }

    /// What was delivered again, oldest first; as far back as is kept.
    pub fn again(&self) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for name in [AGAIN_BEFORE, AGAIN] {
            match fs::read(self.dir.join(name)) {
                Ok(bytes) => found.extend(entries(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// A line that is not whole yet is left out.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}
