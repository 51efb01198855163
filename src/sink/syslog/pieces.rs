//! A batch as the pieces that are written at once: messages in their frames, whole ones each. Pure.

use bytes::Bytes;

use super::{config::Framing, message::Writer};
use crate::{record::Seq, sink::Message};

/// Of a piece, about. Large enough that a write costs little beside its bytes, small enough that the other side begins to
/// read long before a batch of a megabyte is made, and that what is written is still in the processor's cache.
const PIECE_BYTES: usize = 128 << 10;
/// A frame's header and structured data are about this long.
const HEADER_LEN_USUAL: usize = 300;
/// Why a record is refused.
const LINE_FEED: &str = "it holds a line feed, which ends a message where framing = \"lf\"";

/// Made one at a time, as they are asked for.
pub(super) struct Pieces<'a> {
    writer: &'a Writer,
    framing: Framing,
    /// A piece is one message: a datagram.
    one_each: bool,
    rest: &'a [Message],
    /// A message without its body.
    header: Vec<u8>,
    /// Those of the records so far that cannot be a message, and why.
    pub(super) refused: Vec<(Seq, String)>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(writer: &'a Writer, framing: Framing, one_each: bool, batch: &'a [Message]) -> Self {
        Self { writer, framing, one_each, rest: batch, header: Vec::new(), refused: Vec::new() }
    }

    /// How many of the next messages are in a piece, and about how many bytes.
    fn fits(&self) -> (usize, usize) {
        let len = |message: &Message| message.body.len().min(self.writer.max) + HEADER_LEN_USUAL;
        let (mut count, mut bytes) = (0, 0);
        for message in self.rest {
            let more = len(message);
            if count > 0 && (self.one_each || bytes + more > PIECE_BYTES) {
                break;
            }
            count += 1;
            bytes += more;
        }
        (count, bytes)
    }

    fn push(&mut self, piece: &mut Vec<u8>, message: &Message) {
        if self.framing == Framing::Lf && memchr::memchr(b'\n', &message.body).is_some() {
            self.refused.push((message.seq, LINE_FEED.to_owned()));
            return;
        }
        self.header.clear();
        let body = self.writer.header(&mut self.header, message);
        if self.framing == Framing::Octet {
            // RFC 6587, section 3.4.1: MSG-LEN counts bytes.
            piece.extend_from_slice((self.header.len() + body.len()).to_string().as_bytes());
            piece.push(b' ');
        }
        piece.extend_from_slice(&self.header);
        piece.extend_from_slice(body);
        if self.framing == Framing::Lf {
            piece.push(b'\n');
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while !self.rest.is_empty() {
            let (count, bytes) = self.fits();
            let (messages, rest) = self.rest.split_at(count);
            self.rest = rest;
            let mut piece = Vec::with_capacity(bytes);
            for message in messages {
                self.push(&mut piece, message);
            }
            if !piece.is_empty() {
                return Some(piece.into());
            }
        }
        None
    }
}
