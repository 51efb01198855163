//! A second reader of the journal, written from the published format alone: files, lines, chain.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use memchr::memmem;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// One record, as far as the proofs need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    pub schema: String,
    pub journal: String,
    pub seq: u64,
    pub kind: String,
    pub received_at: String,
    #[serde(default)]
    pub event: Option<EventPart>,
    #[serde(default)]
    pub alarm: Option<AlarmPart>,
    pub prev: String,
    pub hash: String,
}

/// The event's id.
#[derive(Clone, Debug, Deserialize)]
pub struct EventPart {
    pub id: String,
}

/// The alarm's name and state.
#[derive(Clone, Debug, Deserialize)]
pub struct AlarmPart {
    pub name: String,
    pub state: String,
}

/// A whole journal whose chain is right.
#[derive(Debug, Default)]
pub struct Journal {
    pub lines: Vec<Line>,
    /// Event id to the seqs of its event records.
    pub seqs_by_id: HashMap<String, Vec<u64>>,
}

/// The segments of a data directory in order. Where both forms of one exist, the compressed one counts.
pub fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(data_dir.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((stem, end)) = name.split_once('.') else { continue };
        if stem.len() == 20 && (end == "jsonl.zst" || end == "jsonl" && !found.contains_key(stem)) {
            found.insert(stem.to_owned(), path);
        }
    }
    found.into_values().collect()
}

/// A file's bytes, decompressed where its name says so. A segment that was compressed since it was listed is found.
pub fn read_plain(path: &Path) -> Vec<u8> {
    let compressed = path.with_extension("jsonl.zst");
    let Ok(bytes) = fs::read(path) else { return read_plain(&compressed) };
    if path.extension().is_some_and(|end| end == "zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes }
}

/// Checks one line (without LF) by the published rule and reads it.
fn check_line(line: &[u8], place: &str) -> Line {
    assert!(line.ends_with(b"\"}"), "{place}: a line ends with \"}}");
    let at = memmem::rfind(line, b",\"hash\":").unwrap_or_else(|| panic!("{place}: hash"));
    let read: Line = serde_json::from_slice(line).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(read.hash, hex::encode(Sha256::digest(&line[..at])), "{place}: hash of seq {}", read.seq);
    assert_eq!(read.schema, "refresh-audit/1", "{place}");
    read
}

/// Reads a journal that nobody writes to at the moment. Panics where the chain, the order or a line is not right.
pub fn read(data_dir: &Path) -> Journal {
    let mut journal = Journal::default();
    for path in segments(data_dir) {
        let bytes = read_plain(&path);
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "{}: no LF at the end", path.display());
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let place = format!("{} line {}", path.display(), number + 1);
            let line = check_line(line, &place);
            journal.push(line, &path, number, &place);
        }
    }
    journal
}

impl Journal {
    fn push(&mut self, line: Line, path: &Path, number: usize, place: &str) {
        if number == 0 {
            let stem = format!("{:020}.", line.seq);
            assert!(path.file_name().unwrap().to_str().unwrap().starts_with(&stem), "{place}: named {stem}");
        }
        match self.lines.last() {
            None => {
                assert_eq!((line.seq, line.prev.as_str()), (1, "0".repeat(64).as_str()), "{place}: the first");
            }
            Some(before) => {
                assert_eq!(line.seq, before.seq + 1, "{place}: seq");
                assert_eq!(line.prev, before.hash, "{place}: prev");
                let had_before = || self.lines.iter().any(|earlier| earlier.journal == line.journal);
                assert!(line.journal == before.journal || !had_before(), "{place}: an id of the journal comes back");
                // RFC 3339 texts of one width sort as the instants do.
                assert!(line.received_at >= before.received_at, "{place}: received_at goes back");
            }
        }
        if let Some(event) = &line.event {
            self.seqs_by_id.entry(event.id.clone()).or_default().push(line.seq);
        }
        self.lines.push(line);
    }

    /// The seq of the one record of an event; panics when there is none or more.
    pub fn seq_of(&self, id: &str) -> u64 {
        match self.seqs_by_id.get(id).map(Vec::as_slice) {
            Some([seq]) => *seq,
            other => panic!("event {id} has the records {other:?}, not exactly one"),
        }
    }

    /// Whether an alarm changed to `state`.
    pub fn has_alarm(&self, name: &str, state: &str) -> bool {
        self.lines.iter().filter_map(|line| line.alarm.as_ref()).any(|alarm| alarm.name == name && alarm.state == state)
    }

    /// The last seq; 0 for none.
    pub fn last_seq(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.seq)
    }
}
