//! Reading the journal forward from a seq, without a lock, while it is being written, sealed, compressed or expired.
//!
//! The caller says how far it may read (`until`, the synced seq). Bytes past that may still be cut off and written anew
//! with other content, so nothing read past it outlives one call. Blocking: call it off the runtime.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::Deserialize;

use super::{
    chain,
    segment::{self, Segment},
};
use crate::{record::Seq, slice::Slice, time::ReceivedAt};

/// One step of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A good line, without its LF.
    Line {
        /// Its seq.
        seq: Seq,
        /// The record's JSON, in what was read with it: the LF, and mostly the line after it.
        text: Slice,
    },
    /// These seqs were in the journal but are damaged.
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
    lines: LineReader,
    /// Whether it is known to grow no more.
    complete: bool,
}

/// Read at a time from a segment; grows while a line is longer.
const READ_BYTES: usize = 64 << 10;
/// A longer line is damage: a record is not much longer than its body, and bodies are bounded far below this.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// How every record begins.
pub(super) const RECORD_BEGIN: &[u8] = b"{\"schema\":\"";

/// Where the first line of these bytes ends, which end with an LF. That is the LF, unless the line is damaged and another
/// one begins inside: then its own LF was damaged, and that must not cost the line behind it.
fn whole_len(bytes: &[u8]) -> usize {
    match memchr::memmem::find(&bytes[1..], RECORD_BEGIN) {
        Some(at) if chain::check_line(bytes).is_none() => at + 1,
        _ => bytes.len(),
    }
}

/// Splits one segment into lines.
pub struct LineReader {
    from: Origin,
    /// Read at once, and where of it the next line begins.
    chunk: Bytes,
    start: usize,
    /// Offset in the (decompressed) segment of the next line.
    offset: u64,
}

enum Origin {
    Plain(File),
    Compressed(Box<zstd::Decoder<'static, io::BufReader<File>>>),
}

impl LineReader {
    /// From the start of a segment.
    pub fn open(segment: &Segment) -> io::Result<Self> {
        let (file, compressed) = segment.file()?;
        let from =
            if compressed { Origin::Compressed(Box::new(zstd::Decoder::new(file)?)) } else { Origin::Plain(file) };
        Ok(Self { from, chunk: Bytes::new(), start: 0, offset: 0 })
    }

    /// Offset in the (decompressed) segment of the next line.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what was read ahead from a file that may still change.
    fn forget(&mut self) {
        if matches!(self.from, Origin::Plain(_)) {
            (self.chunk, self.start) = (Bytes::new(), 0);
        }
    }

    /// The next line with its LF; `None` at the end (a last line without LF is not one: see [`LineReader::rest`]).
    pub fn next_line(&mut self) -> io::Result<Option<Slice>> {
        let mut searched = 0;
        loop {
            let rest = self.rest();
            if let Some(at) = memchr::memchr(b'\n', &rest[searched..]) {
                let begin = self.start;
                self.start += whole_len(&rest[..=searched + at]);
                self.offset += (self.start - begin) as u64;
                return Ok(Some(Slice::new(self.chunk.clone(), begin..self.start)));
            }
            searched = rest.len();
            if searched > LINE_BYTES_MAX || !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// What is left behind the last LF.
    pub fn rest(&self) -> &[u8] {
        self.chunk.get(self.start..).unwrap_or_default()
    }

    /// Reads on behind what is left; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let have = self.rest().len();
        let mut buffer = Vec::with_capacity(have + READ_BYTES.max(have));
        buffer.extend_from_slice(self.rest());
        buffer.resize(buffer.capacity(), 0);
        let mut filled = have;
        while filled < buffer.len() {
            let got = match &mut self.from {
                Origin::Plain(file) => file.read_at(&mut buffer[filled..], self.offset + filled as u64),
                Origin::Compressed(stream) => stream.read(&mut buffer[filled..]),
            };
            match got {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before the unreadable place is still good.
                Err(_) if filled > have => break,
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        (self.chunk, self.start) = (buffer.into(), 0);
        Ok(filled > have)
    }
}

/// When the first record of a segment was received; none where that cannot be read.
pub(super) fn started(segment: &Segment) -> Option<ReceivedAt> {
    #[derive(Deserialize)]
    struct First {
        received_at: ReceivedAt,
    }
    let line = LineReader::open(segment).and_then(|mut lines| lines.next_line()).ok()??;
    serde_json::from_slice::<First>(&line).ok().map(|first| first.received_at)
}

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
            let Some(line) = self.next_line() else {
                if !self.next_segment(until, &mut items)? {
                    break;
                }
                continue;
            };
            let Some(checked) = chain::check_line(&line) else { continue };
            if checked.seq < self.next {
                continue;
            }
            let damaged_to = (checked.seq - 1).min(until);
            if self.next <= damaged_to {
                items.push(Item::Damaged { first: self.next, last: damaged_to });
                self.next = damaged_to + 1;
            }
            if checked.seq > until {
                // Past the bound: found again by its seq next time.
                self.open = None;
                break;
            }
            self.next = checked.seq + 1;
            size += line.len();
            items.push(Item::Line { seq: checked.seq, text: line.but_last() });
        }
        if let Some(open) = &mut self.open {
            open.lines.forget();
        }
        Ok(items)
    }

    /// A line of the open segment. An unreadable place ends the segment; what follows it in later ones is still read.
    fn next_line(&mut self) -> Option<Slice> {
        let open = self.open.as_mut()?;
        open.lines.next_line().unwrap_or_else(|error| {
            tracing::warn!(%error, segment = open.first, "a journal segment cannot be read to its end");
            None
        })
    }

    /// Opens the segment that holds `next`; false when there is none.
    fn open_segment(&mut self, until: Seq, items: &mut Vec<Item>) -> io::Result<bool> {
        let segments = segment::list(&self.dir)?;
        let Some(oldest) = segments.first() else { return Ok(false) };
        if self.next < oldest.first {
            let last = (oldest.first - 1).min(until);
            items.push(Item::Gone { first: self.next, last });
            self.next = last + 1;
        }
        let Some(holds) = segments.iter().rev().find(|segment| segment.first <= self.next) else { return Ok(false) };
        self.open = Some(Open { first: holds.first, lines: LineReader::open(holds)?, complete: false });
        Ok(true)
    }

    /// At the end of a segment: goes on to the following one, if there is one. What is missing between is damage, unless the
    /// following one is the oldest by now: then those before it were deleted, this one too.
    fn next_segment(&mut self, until: Seq, items: &mut Vec<Item>) -> io::Result<bool> {
        let Some(current) = self.open.as_ref().map(|open| open.first) else { return Ok(false) };
        let segments = segment::list(&self.dir)?;
        let Some(following) = segments.iter().find(|segment| segment.first > current) else { return Ok(false) };
        if let Some(open) = self.open.as_mut().filter(|open| !open.complete) {
            // It may have grown between the last read and the listing; now that another follows it, it grows no more.
            open.complete = true;
            return Ok(true);
        }
        if following.first > self.next {
            let (first, last) = (self.next, (following.first - 1).min(until));
            let is_oldest = segments.first().is_some_and(|oldest| oldest.first == following.first);
            items.push(if is_oldest { Item::Gone { first, last } } else { Item::Damaged { first, last } });
            self.next = last + 1;
        }
        self.open = Some(Open { first: following.first, lines: LineReader::open(following)?, complete: false });
        Ok(true)
    }
}
