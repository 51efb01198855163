//! What is fixed when a journal is created: its id, and how sinks' idempotency keys are made.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{read::LineReader, segment};
use crate::{
    files,
    record::{Head, Kind, Record},
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
}

impl Meta {
    /// Reads it.
    pub fn read(journal_dir: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(journal_dir.join(FILE))?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads it, or makes it for a new journal. A journal whose file was lost keeps the id that its records carry.
    pub fn open(journal_dir: &Path, keys: KeyScheme) -> io::Result<Self> {
        match Self::read(journal_dir) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
            read => return read,
        }
        let journal = match id_in_records(journal_dir)? {
            Some(id) => id,
            None => uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
        };
        let meta = Self { journal, keys };
        files::replace(&journal_dir.join(FILE), &serde_json::to_vec(&meta)?)?;
        Ok(meta)
    }
}

fn id_in_records(journal_dir: &Path) -> io::Result<Option<String>> {
    for segment in segment::list(journal_dir)?.iter().rev() {
        let line = LineReader::open(segment)?.next_line()?;
        if let Some(record) = line.and_then(|line| serde_json::from_slice::<Record>(&line).ok()) {
            return Ok(Some(record.journal));
        }
    }
    Ok(None)
}
