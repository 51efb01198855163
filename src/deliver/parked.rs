//! `sinks/<name>/parked.jsonl`: full copies of the records that the other side refused for good, one JSON object a line.
//!
//! Appended and synced before the cursor moves past them. The cursor decides which of its lines still count: see
//! [`Parked::reconcile`]. Blocking.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{files, record::Seq, time::ReceivedAt};

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParkedRecord {
    /// Its seq.
    pub seq: Seq,
    /// Its idempotency key.
    pub key: String,
    /// When it was parked.
    pub parked_at: ReceivedAt,
    /// Why: status and a cut of the answer.
    pub reason: String,
    /// The journal's line, untouched.
    pub record: Box<RawValue>,
}

#[cfg(test)]
impl ParkedRecord {
    /// One of which only the seq matters.
    pub(super) fn example(seq: Seq) -> Self {
        Self {
            seq,
            key: "k".to_owned(),
            parked_at: ReceivedAt::from_micros(0),
            reason: "r".to_owned(),
            record: RawValue::NULL.to_owned(),
        }
    }
}

/// Which of them a list is to hold.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// From this seq on.
    pub from: Seq,
    /// So many at most, and [`PAGE_MAX`].
    pub limit: usize,
    /// With the records themselves.
    pub full: bool,
}

/// Parked records in one list at most: there may be millions of them.
pub const PAGE_MAX: usize = 1_000;
/// About so many bytes of records are in one list, however few those are.
const PAGE_BYTES: usize = 4 << 20;

impl Default for Page {
    fn default() -> Self {
        Self { from: 1, limit: 100, full: false }
    }
}

/// A [`ParkedRecord`] in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its seq.
    pub seq: Seq,
    /// Its idempotency key.
    pub key: String,
    /// When it was parked.
    pub parked_at: ReceivedAt,
    /// Why.
    pub reason: String,
    /// The journal's line, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
}

/// Where a line is in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    len: usize,
}

/// The file and what is in it.
#[derive(Debug)]
pub struct Parked {
    path: PathBuf,
    index: BTreeMap<Seq, Place>,
    /// Bytes of whole lines; what lies past them was torn by a crash.
    len: u64,
    /// Lines in the file that no longer count.
    stale: usize,
}

/// The least number of lines that no longer count for which the file is written anew while more is to come.
const STALE_MIN: usize = 1_000;

impl Parked {
    /// No record, no file.
    pub fn none(path: &Path) -> Self {
        Self { path: path.to_owned(), index: BTreeMap::new(), len: 0, stale: 0 }
    }

    /// Reads the file; changes nothing. A torn last line is left out. Fails with `InvalidData` where a line inside is
    /// not readable.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut parked = Self::none(path);
        let mut lines = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(parked),
            Err(error) => return Err(error),
        };
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let seq = seq_of(&line).map_err(|error| {
                let problem = format!("{}: the line at byte {} is not readable: {error}", path.display(), parked.len);
                io::Error::new(io::ErrorKind::InvalidData, problem)
            })?;
            let place = Place { offset: parked.len, len: line.len() };
            if parked.index.insert(seq, place).is_some() {
                parked.stale += 1;
            }
            parked.len += line.len() as u64;
            line.clear();
        }
        Ok(parked)
    }

    /// Leaves out what the cursor says is not parked: records at or past `next` (a crash came between parking them and
    /// moving the cursor; they are delivered or parked again) and the `settled` ones.
    pub fn reconcile(&mut self, next: Seq, settled: &[Seq]) {
        self.stale += self.index.split_off(&next).len();
        self.remove(settled);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether this one is parked.
    pub fn contains(&self, seq: Seq) -> bool {
        self.index.contains_key(&seq)
    }

    /// All of them, in order.
    pub fn seqs(&self) -> impl Iterator<Item = Seq> + '_ {
        self.index.keys().copied()
    }

    /// Adds records for good. On an error none is added. One that is parked already stays as it is.
    pub fn append(&mut self, records: &[ParkedRecord]) -> io::Result<()> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for record in records.iter().filter(|record| !self.contains(record.seq)) {
            let start = bytes.len();
            serde_json::to_writer(&mut bytes, record)?;
            bytes.push(b'\n');
            places.push((record.seq, Place { offset: self.len + start as u64, len: bytes.len() - start }));
        }
        let new = !self.path.exists();
        let file = files::open_or_make(&self.path)?;
        // Whatever a failed attempt or a crash left behind goes first.
        file.set_len(self.len)?;
        file.write_all_at(&bytes, self.len)?;
        file.sync_data()?;
        if new {
            files::sync_parent(&self.path)?;
        }
        self.len += bytes.len() as u64;
        self.index.extend(places);
        Ok(())
    }

    /// One record in full.
    pub fn read(&self, seq: Seq) -> io::Result<Option<ParkedRecord>> {
        let Some(place) = self.index.get(&seq) else {
            return Ok(None);
        };
        read_at(&File::open(&self.path)?, *place).map(Some)
    }

    /// Some of them, in order. No more than [`PAGE_MAX`], and fewer where they are large: an empty list is the end.
    pub fn page(&self, page: Page) -> io::Result<Vec<Listed>> {
        let mut places = self.index.range(page.from..).take(page.limit.clamp(1, PAGE_MAX)).peekable();
        if places.peek().is_none() {
            return Ok(Vec::new());
        }
        let (file, mut bytes, mut listed) = (File::open(&self.path)?, 0, Vec::new());
        for (_, place) in places {
            let ParkedRecord { seq, key, parked_at, reason, record } = read_at(&file, *place)?;
            listed.push(Listed { seq, key, parked_at, reason, record: page.full.then_some(record) });
            bytes += if page.full { place.len } else { 0 };
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(listed)
    }

    /// No longer parked; how many of them were. The file is tidied later, by [`Parked::tidy`].
    pub fn remove(&mut self, seqs: &[Seq]) -> usize {
        let removed = seqs.iter().filter(|seq| self.index.remove(seq).is_some()).count();
        self.stale += removed;
        removed
    }

    /// Whether [`Parked::tidy`] is worth its writing; `more` = more removals are to come soon.
    pub fn untidy(&self, more: bool) -> bool {
        self.stale > if more { self.index.len().max(STALE_MIN) } else { 0 }
    }

    /// Writes the file anew with nothing but what is parked; deletes it when that is nothing.
    pub fn tidy(&mut self) -> io::Result<()> {
        if self.index.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => files::sync_parent(&self.path)?,
            }
            (self.len, self.stale) = (0, 0);
            return Ok(());
        }
        let (old, temporary) = (File::open(&self.path)?, files::temporary(&self.path));
        let mut new = files::make_anew(&temporary)?;
        let (mut index, mut len, mut line) = (BTreeMap::new(), 0, Vec::new());
        for (seq, place) in &self.index {
            line.resize(place.len, 0);
            old.read_exact_at(&mut line, place.offset)?;
            new.write_all(&line)?;
            index.insert(*seq, Place { offset: len, len: place.len });
            len += place.len as u64;
        }
        new.sync_data()?;
        files::rename(&temporary, &self.path)?;
        (self.index, self.len, self.stale) = (index, len, 0);
        Ok(())
    }
}

fn read_at(file: &File, place: Place) -> io::Result<ParkedRecord> {
    let mut line = vec![0; place.len];
    file.read_exact_at(&mut line, place.offset)?;
    Ok(serde_json::from_slice(&line)?)
}

fn seq_of(line: &[u8]) -> serde_json::Result<Seq> {
    #[derive(Deserialize)]
    struct Head {
        seq: Seq,
    }
    serde_json::from_slice::<Head>(line).map(|head| head.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file as the first release writes it, by hand.
    const FIXTURE: &str = include_str!("../../fixtures/sinks/files/parked.jsonl");

    fn record(seq: Seq, reason: &str) -> ParkedRecord {
        ParkedRecord {
            seq,
            key: format!("k{seq}"),
            parked_at: ReceivedAt::from_micros(0),
            reason: reason.to_owned(),
            record: RawValue::from_string(format!("{{\"seq\":{seq}}}")).unwrap(),
        }
    }

    #[test]
    fn the_first_release_s_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parked.jsonl");
        fs::write(&path, FIXTURE).unwrap();
        let mut parked = Parked::load(&path).unwrap();
        assert_eq!(parked.seqs().collect::<Vec<_>>(), [9, 12]);
        assert_eq!(parked.read(12).unwrap().unwrap().key, "3f9a1c2e-12");
        parked.remove(&[9]);
        parked.tidy().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), FIXTURE.lines().nth(1).unwrap().to_owned() + "\n");
        parked.remove(&[12]);
        parked.tidy().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_crash_between_parking_and_the_cursor_parks_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parked.jsonl");
        let mut parked = Parked::load(&path).unwrap();
        parked.append(&[record(4, "one"), record(8, "one")]).unwrap();
        // The cursor still says 8, so 8 is tried and refused again.
        let mut parked = Parked::load(&path).unwrap();
        parked.reconcile(8, &[]);
        assert_eq!(parked.seqs().collect::<Vec<_>>(), [4]);
        parked.append(&[record(8, "two"), record(4, "again")]).unwrap();
        let mut parked = Parked::load(&path).unwrap();
        assert_eq!(parked.len(), 2);
        assert_eq!(parked.read(4).unwrap().unwrap().reason, "one");
        assert_eq!(parked.read(8).unwrap().unwrap().reason, "two");
        assert!(parked.untidy(false));
        parked.tidy().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(parked.read(8).unwrap().unwrap().reason, "two");
    }

    #[test]
    fn a_torn_last_line_is_cut_and_a_bad_one_inside_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parked.jsonl");
        fs::write(&path, format!("{FIXTURE}{{\"seq\":13,\"ke")).unwrap();
        let mut parked = Parked::load(&path).unwrap();
        assert_eq!(parked.len(), 2);
        parked.append(&[record(14, "r")]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains("\"seq\":13"));
        fs::write(&path, format!("garbage\n{FIXTURE}")).unwrap();
        assert_eq!(Parked::load(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_page_is_bounded_by_number_and_by_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut parked = Parked::none(&dir.path().join("parked.jsonl"));
        assert!(parked.page(Page::default()).unwrap().is_empty(), "no file");
        // 1,500 records of a megabyte each would be 1.5 GB: five of them are large, every third seq is parked.
        let large = |seq| ParkedRecord {
            record: RawValue::from_string(format!("\"{}\"", "x".repeat(1 << 20))).unwrap(),
            ..record(seq, "r")
        };
        let records: Vec<_> = (1..=1_500).map(|at| if at <= 5 { large(3 * at) } else { record(3 * at, "r") }).collect();
        parked.append(&records).unwrap();
        let seqs = |from, limit, full| {
            let page = parked.page(Page { from, limit, full }).unwrap();
            assert!(page.iter().all(|listed| listed.record.is_some() == full));
            (page.len(), page.first().map(|listed| listed.seq), page.last().map(|listed| listed.seq))
        };
        assert_eq!(seqs(1, 2, false), (2, Some(3), Some(6)));
        assert_eq!(seqs(7, 2, false), (2, Some(9), Some(12)));
        assert_eq!(seqs(1, usize::MAX, false), (1_000, Some(3), Some(3_000)));
        assert_eq!(seqs(3_001, 1_000, true), (500, Some(3_003), Some(4_500)));
        assert_eq!(seqs(4_501, 1_000, true), (0, None, None));
        assert_eq!(seqs(1, 0, true), (1, Some(3), Some(3)));
        // Four whole megabytes are enough.
        assert_eq!(seqs(1, 1_000, true), (4, Some(3), Some(12)));
    }
}
