//! What is fixed when a journal is created: its id, and how sinks' idempotency keys are made. Put back from an older copy
//! it goes on under a new id: the seqs behind that copy's end name other records from then on.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{chain, read::LineReader, segment, state};
use crate::{
    files,
    record::{Head, Kind, Record, Seq},
};

/// How the idempotency key of an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScheme {
    /// The event id: one source was configured.
    EventId,
    /// `<source>/<event id>`: several were.
    SourceAndEventId,
}

impl KeyScheme {
    /// The idempotency key of a record at every sink: the event's for events, `<journal>-<seq>` for the other kinds; a
    /// checkpoint has the seq of the record that it vouches for, so it says what it is, too.
    pub fn key(self, head: &Head<'_>) -> String {
        match (&head.event, &head.source, self) {
            (Some(event), Some(source), Self::SourceAndEventId) if head.kind == Kind::Event => {
                format!("{}/{}", &**source, event.id)
            }
            (Some(event), ..) if head.kind == Kind::Event => event.id.to_string(),
            _ if head.kind == Kind::Checkpoint => format!("{}-checkpoint-{}", head.journal, head.seq),
            _ => format!("{}-{}", head.journal, head.seq),
        }
    }
}

const FILE: &str = "meta.json";

/// See the module. Kept in `journal/meta.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// 8 hex.
    pub journal: String,
    /// See [`KeyScheme`].
    pub keys: KeyScheme,
    /// The ids that it had before it was put back from an older copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// An id that a journal had once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// 8 hex.
    pub journal: String,
    /// The last seq that is still the same record.
    pub last: Seq,
}

impl Meta {
    /// Reads it.
    pub fn read(journal_dir: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(journal_dir.join(FILE))?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads it, or makes it for a new journal, and says whether it is new. A journal whose file was lost keeps the id that its
    /// records carry.
    pub fn open(journal_dir: &Path, keys: KeyScheme) -> io::Result<(Self, bool)> {
        match Self::read(journal_dir) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
            read => return read.map(|meta| (meta, false)),
        }
        let known = id_in_records(journal_dir)?;
        let is_new = known.is_none();
        let meta = Self { journal: known.unwrap_or_else(new_id), keys, earlier: Vec::new() };
        meta.write(journal_dir)?;
        Ok((meta, is_new))
    }

    fn write(&self, journal_dir: &Path) -> io::Result<()> {
        files::replace(&journal_dir.join(FILE), &serde_json::to_vec(self)?)
    }

    /// The last seq of which the journal of this id and this one are the same.
    pub fn shared_with(&self, journal: &str) -> Option<Seq> {
        if self.journal == journal {
            return Some(Seq::MAX);
        }
        self.earlier.iter().find(|earlier| earlier.journal == journal).map(|earlier| earlier.last)
    }

    /// The highest seq of this journal that was on disk once, as far as the copies of detection's state say and others have
    /// seen it: checkpoints (`vouched`), readers; each with the id of the journal that it was.
    pub fn highest_known(&self, data_dir: &Path, vouched: &BTreeMap<String, Seq>, read: &[(String, Seq)]) -> Seq {
        let copied = state::newest(&data_dir.join("state"), |journal| journal == self.journal).map(|(_, seq)| seq);
        let vouched = vouched.get(&self.journal).copied();
        let read = read.iter().filter(|(journal, _)| *journal == self.journal).map(|(_, seq)| *seq).max();
        copied.max(vouched).max(read).unwrap_or(0)
    }

    /// Gives the journal `id` behind `last`, which is its end.
    pub fn renew(&mut self, data_dir: &Path, id: String, last: Seq) -> io::Result<()> {
        self.earlier.iter_mut().for_each(|earlier| earlier.last = earlier.last.min(last));
        self.earlier.push(Earlier { journal: std::mem::replace(&mut self.journal, id), last });
        self.write(&segment::journal_dir(data_dir))
    }
}

/// Not had by any journal yet, as far as chance can tell.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// Of the last good line.
fn id_in_records(journal_dir: &Path) -> io::Result<Option<String>> {
    for segment in segment::list(journal_dir)?.iter().rev() {
        let Ok(mut lines) = LineReader::open(segment) else { continue };
        let mut last = None;
        // What cannot be read of it is another one's business.
        while let Ok(Some(line)) = lines.next_line() {
            last = chain::check_line(&line).map(|_| line).or(last);
        }
        if let Some(record) = last.and_then(|line| serde_json::from_slice::<Record>(&line).ok()) {
            return Ok(Some(record.journal));
        }
    }
    Ok(None)
}
