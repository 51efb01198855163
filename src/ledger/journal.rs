//! Writing the journal: append a batch, sync it once, seal at a size or an age.
//!
//! Any error leaves the file past its synced length in an unknown state. The owner then drops this writer and starts
//! over with [`super::recovery`]; it never syncs the same descriptor again (a second `fdatasync` may say yes to what
//! the first one lost).

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{chain::Hash, segment::plain_path};
use crate::{files, record::Seq, time::ReceivedAt};

/// A segment is sealed at this age at the latest.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The open end of the journal.
pub struct Writer {
    dir: PathBuf,
    file: File,
    first: Seq,
    started: Option<ReceivedAt>,
    len: u64,
    segment_bytes: u64,
}

/// Where the synced part of the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The seq that the next record gets.
    pub next: Seq,
    /// The hash that it follows.
    pub hash: Hash,
    /// When the last record was received.
    pub last_received: Option<ReceivedAt>,
}

impl Writer {
    /// Goes on at the end of an existing plain segment of `len` good bytes, or starts one that is not there.
    pub fn open(dir: &Path, first: Seq, len: u64, started: Option<ReceivedAt>, segment_bytes: u64) -> io::Result<Self> {
        let path = plain_path(dir, first);
        let file = files::open_or_make(&path)?;
        file.set_len(len)?;
        file.sync_all()?;
        files::sync_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), file, first, started, len, segment_bytes })
    }

    /// Fails where the open segment is not as it was left: deleted, or changed by somebody else.
    pub fn check(&self) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.nlink() == 0 {
            return Err(io::Error::other("the open journal file was deleted"));
        }
        if found.len() != self.len {
            let problem = format!("the open journal file has {} bytes, {} were written", found.len(), self.len);
            return Err(io::Error::other(problem));
        }
        Ok(())
    }

    /// Appends whole lines, not yet synced.
    pub fn append(&mut self, lines: &[u8], at: ReceivedAt) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(lines, self.len)?;
        self.len += lines.len() as u64;
        self.started.get_or_insert(at);
        Ok(())
    }

    /// Returns once what was appended is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether the next batch belongs into a new segment.
    pub fn is_full(&self, now: ReceivedAt) -> bool {
        self.len >= self.segment_bytes
            || (self.len > 0 && self.started.is_some_and(|started| now.since(started) >= SEGMENT_AGE_MAX))
    }

    /// Starts a new segment with `next`. Everything before it must be synced. Returns the sealed one's first seq.
    pub fn roll(&mut self, next: Seq) -> io::Result<Seq> {
        let sealed = self.first;
        *self = Self::open(&self.dir, next, 0, None, self.segment_bytes)?;
        Ok(sealed)
    }

    /// The open segment's first seq and its length.
    pub fn position(&self) -> (Seq, u64) {
        (self.first, self.len)
    }
}
