//! Reading the journal forward from a seq, without a lock, while it is being written, sealed, compressed or expired.
//!
//! The caller says how far it may read (`synced`); bytes past that are never shown. Blocking: call it off the runtime.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{chain, segment};
use crate::record::Seq;

/// One step of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A good line, without its LF.
    Line {
        /// Its seq.
        seq: Seq,
        /// The record's JSON.
        text: Bytes,
    },
    /// These seqs are in the journal but damaged.
    Damaged {
        /// The first of them.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
    /// These seqs are no longer there: their segments were deleted.
    Gone {
        /// The first of them.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
}

/// A place in the journal. Lazy: nothing is opened before the first read.
pub struct Reader {
    dir: PathBuf,
    next: Seq,
    open: Option<Open>,
}

struct Open {
    first: Seq,
    lines: BufReader<Box<dyn Read + Send>>,
    /// A line read only in part so far (the writer was in the middle of it).
    partial: Vec<u8>,
}

/// Read at a time from a segment.
const READ_BYTES: usize = 256 << 10;
/// A longer line is damage: bodies are at most `server.max_body`, and a record is not much longer than its body.
const LINE_BYTES_MAX: usize = 64 << 20;

impl Reader {
    /// From `next` on (1 = from the start).
    pub fn new(dir: &Path, next: Seq) -> Self {
        Self { dir: dir.to_owned(), next: next.max(1), open: None }
    }

    /// The seq that the next read starts at.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Up to `records` items or about `bytes` of lines, none past `until`. Empty = nothing more up to `until`.
    pub fn read(&mut self, until: Seq, records: usize, bytes: usize) -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut size = 0;
        while self.next <= until && items.len() < records && size < bytes {
            if self.open.is_none() && !self.open_segment(until, &mut items)? {
                break;
            }
            let Some(line) = self.next_line()? else {
                if !self.next_segment(until, &mut items)? {
                    break;
                }
                continue;
            };
            let Some(checked) = chain::check_line(&line) else {
                continue;
            };
            if checked.seq < self.next {
                continue;
            }
            if checked.seq > until {
                // The writer is ahead of the caller's bound, which is only possible past damage: start over next time.
                self.open = None;
                self.push_damaged(until, &mut items);
                break;
            }
            if checked.seq > self.next {
                self.push_damaged(checked.seq - 1, &mut items);
            }
            self.next = checked.seq + 1;
            size += line.len();
            let mut text = Bytes::from(line);
            text.truncate(text.len() - 1);
            items.push(Item::Line { seq: checked.seq, text });
        }
        Ok(items)
    }

    fn push_damaged(&mut self, last: Seq, items: &mut Vec<Item>) {
        items.push(Item::Damaged { first: self.next, last });
        self.next = last + 1;
    }

    /// Opens the segment that holds `next`; false when there is none yet.
    fn open_segment(&mut self, until: Seq, items: &mut Vec<Item>) -> io::Result<bool> {
        let segments = segment::list(&self.dir)?;
        let Some(oldest) = segments.first() else {
            return Ok(false);
        };
        if self.next < oldest.first {
            let last = (oldest.first - 1).min(until);
            items.push(Item::Gone { first: self.next, last });
            self.next = last + 1;
        }
        let Some(holds) = segments.iter().rev().find(|segment| segment.first <= self.next) else {
            return Ok(false);
        };
        self.open = Some(Open {
            first: holds.first,
            lines: BufReader::with_capacity(READ_BYTES, holds.open()?),
            partial: Vec::new(),
        });
        Ok(true)
    }

    /// At the end of a segment: goes on to the next one, if there is one. What is missing between them is damage.
    fn next_segment(&mut self, until: Seq, items: &mut Vec<Item>) -> io::Result<bool> {
        let Some(open) = &self.open else {
            return Ok(false);
        };
        let current = open.first;
        let segments = segment::list(&self.dir)?;
        let Some(following) = segments.iter().find(|segment| segment.first > current) else {
            return Ok(false);
        };
        if following.first > self.next {
            // The segment may have grown between our read and its sealing: read on unless it is really at its end.
            if let Some(line) = self.next_line()? {
                self.reopen_with(line);
                return Ok(true);
            }
            let last = (following.first - 1).min(until);
            self.push_damaged(last, items);
        }
        self.open = Some(Open {
            first: following.first,
            lines: BufReader::with_capacity(READ_BYTES, following.open()?),
            partial: Vec::new(),
        });
        Ok(true)
    }

    /// Puts a line back in front.
    fn reopen_with(&mut self, line: Vec<u8>) {
        if let Some(open) = &mut self.open {
            let rest = std::mem::replace(&mut open.lines, BufReader::new(Box::new(io::empty())));
            let chained: Box<dyn Read + Send> = Box::new(io::Cursor::new(line).chain(rest));
            open.lines = BufReader::with_capacity(READ_BYTES, chained);
        }
    }

    /// The next whole line with its LF; `None` at the end of what is there.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        loop {
            match open.lines.read_until(b'\n', &mut open.partial) {
                Ok(0) => return Ok(None),
                Ok(_) if open.partial.last() == Some(&b'\n') => {
                    return Ok(Some(std::mem::take(&mut open.partial)));
                }
                Ok(_) if open.partial.len() > LINE_BYTES_MAX => open.partial.clear(),
                Ok(_) => {}
                // A damaged compressed segment ends early; what follows it is still readable.
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::warn!(%error, segment = open.first, "a journal segment cannot be read to its end");
                    return Ok(None);
                }
                Err(_) => {}
            }
        }
    }
}
