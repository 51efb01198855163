//! The durable cursor of one sink: how far it has come and what became of every record since its start.
//!
//! `start + delivered + skipped + parked + dropped + damaged == next`, always: each seq is counted once. The file is
//! small JSON, replaced whole; one that does not add up is damage, and is never guessed at.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{acks::Run, batch::Passed};
use crate::{files, record::Seq, sink::Message, time::ReceivedAt};

/// What `sinks/<name>/cursor` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The journal it belongs to: 8 hex.
    pub journal: String,
    /// The first seq that counts.
    pub start: Seq,
    /// The first seq that is not settled yet.
    pub next: Seq,
    /// The sink has them.
    pub delivered: u64,
    /// The sink's scope, kinds or findings leave them out.
    pub skipped: u64,
    /// Refused for good by the other side, kept in `parked.jsonl`.
    pub parked: u64,
    /// Given up: by an operator, or deleted from the journal before the sink had them.
    pub dropped: u64,
    /// Not readable in the journal.
    pub damaged: u64,
    /// When the sink last took something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<ReceivedAt>,
    /// The last record that was sent: tells this journal from another one that has the same seqs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// Where checkpoints are delivered, too: the seq of the last one that the sink took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Seq>,
    /// Checkpoints of these stretches are to be delivered again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints_again: Vec<Run>,
    /// No longer parked, though `parked.jsonl` may still hold them: this file decides, that one is tidied after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<Seq>,
    /// Still to come, and to be parked unsent on an operator's word.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub to_park: BTreeSet<Seq>,
}

/// One record, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its seq.
    pub seq: Seq,
    /// Its hash: 64 hex.
    pub hash: String,
}

impl Last {
    /// Of a message.
    pub fn of(message: &Message) -> Self {
        Self { seq: message.seq, hash: message.head.hash().to_owned() }
    }
}

/// What the cursors under a data directory have passed, of sinks that are configured and others: the journal's id and the
/// last seq.
pub fn positions(data_dir: &Path) -> Vec<(String, Seq)> {
    let sinks = fs::read_dir(data_dir.join("sinks")).into_iter().flatten().flatten();
    let cursors = sinks.filter_map(|sink| match Cursor::load(&sink.path().join("cursor")) {
        Ok(Loaded::Good(cursor)) => Some((cursor.journal, cursor.next - 1)),
        _ => None,
    });
    cursors.collect()
}

/// What the file says.
#[derive(Debug)]
pub enum Loaded {
    /// There is none yet.
    Absent,
    /// A cursor that adds up.
    Good(Cursor),
    /// Not a cursor, or one that does not add up; says why.
    Corrupt(String),
}

impl Cursor {
    /// At the start, with nothing counted.
    pub fn new(journal: &str, start: Seq) -> Self {
        Self {
            journal: journal.to_owned(),
            start,
            next: start,
            delivered: 0,
            skipped: 0,
            parked: 0,
            dropped: 0,
            damaged: 0,
            delivered_at: None,
            last: None,
            checkpoint: None,
            checkpoints_again: Vec::new(),
            settled: Vec::new(),
            to_park: BTreeSet::new(),
        }
    }

    /// Moves past records that are settled one way or the other.
    pub fn advance(&mut self, passed: Passed, delivered: u64, parked: u64) {
        self.skipped += passed.skipped;
        self.dropped += passed.dropped;
        self.damaged += passed.damaged;
        self.delivered += delivered;
        self.parked += parked;
        self.next += passed.total() + delivered + parked;
        self.to_park = self.to_park.split_off(&self.next);
    }

    /// Whether every seq from `start` on is counted once.
    pub fn adds_up(&self) -> bool {
        let counts = [self.delivered, self.skipped, self.parked, self.dropped, self.damaged];
        self.start >= 1 && counts.iter().try_fold(self.start, |sum, count| sum.checked_add(*count)) == Some(self.next)
    }

    /// Reads the file.
    pub fn load(path: &Path) -> io::Result<Loaded> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Absent),
            Err(error) => return Err(error),
        };
        Ok(match serde_json::from_slice::<Self>(&bytes) {
            Ok(cursor) if cursor.adds_up() => Loaded::Good(cursor),
            Ok(_) => Loaded::Corrupt("its counts do not add up".to_owned()),
            Err(error) => Loaded::Corrupt(error.to_string()),
        })
    }

    /// Writes the file: a crash leaves the old content or the new.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        files::replace(path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file as the first release writes it, by hand.
    const FIXTURE: &str = include_str!("../../fixtures/sinks/files/cursor");

    #[test]
    fn the_first_release_s_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        fs::write(&path, FIXTURE).unwrap();
        let Loaded::Good(cursor) = Cursor::load(&path).unwrap() else { panic!("not good") };
        // 3 + 10 + 5 + 2 + 1 + 4 = 25.
        assert_eq!((cursor.start, cursor.next, cursor.parked), (3, 25, 2));
        assert_eq!(cursor.settled, [7]);
        cursor.save(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), FIXTURE);
    }

    #[test]
    fn the_last_checkpoint_is_kept_where_there_was_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        let with = FIXTURE.replace("\"settled\"", "\"checkpoint\":24,\"settled\"");
        fs::write(&path, &with).unwrap();
        let Loaded::Good(cursor) = Cursor::load(&path).unwrap() else { panic!("not good") };
        assert_eq!(cursor.checkpoint, Some(24));
        cursor.save(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), with);
    }

    #[test]
    fn the_last_record_s_hash_is_kept_where_there_was_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sinks/s/cursor");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let hash = "ab".repeat(32);
        let with = FIXTURE.replace("\"settled\"", &format!("\"last\":{{\"seq\":23,\"hash\":\"{hash}\"}},\"settled\""));
        fs::write(&path, &with).unwrap();
        let Loaded::Good(cursor) = Cursor::load(&path).unwrap() else { panic!("not good") };
        assert_eq!(cursor.last, Some(Last { seq: 23, hash }));
        cursor.save(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), with);
        assert_eq!(positions(dir.path()), [(cursor.journal, 24)]);
    }

    #[test]
    fn no_torn_or_changed_cursor_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        assert!(matches!(Cursor::load(&path).unwrap(), Loaded::Absent));
        let whole = FIXTURE.trim_end().as_bytes();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(matches!(Cursor::load(&path).unwrap(), Loaded::Corrupt(_)), "cut at {len}");
        }
        for count in
            ["\"start\":3", "\"next\":25", "\"delivered\":10", "\"skipped\":5", "\"parked\":2", "\"damaged\":4"]
        {
            fs::write(&path, FIXTURE.replace(count, &format!("{count}1"))).unwrap();
            assert!(matches!(Cursor::load(&path).unwrap(), Loaded::Corrupt(_)), "{count} changed");
        }
        fs::write(&path, FIXTURE.replace("\"delivered\":10", "\"delivered\":18446744073709551615")).unwrap();
        assert!(matches!(Cursor::load(&path).unwrap(), Loaded::Corrupt(_)));
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        Cursor::new("3f9a1c2e", 1).save(&path).unwrap();
        fs::write(files::temporary(&path), "{\"journal\":\"3f9a").unwrap();
        let Loaded::Good(cursor) = Cursor::load(&path).unwrap() else { panic!("not good") };
        assert_eq!(cursor, Cursor::new("3f9a1c2e", 1));
        cursor.save(&path).unwrap();
        assert!(!files::temporary(&path).exists());
    }
}
