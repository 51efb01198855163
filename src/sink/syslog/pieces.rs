//! Messages in their frames, and a batch of them as what is written at once. Pure.

use bytes::Bytes;

use super::{config::Framing, message::Writer};
use crate::{
    record::Seq,
    sink::{Message, Pack},
    slice,
};

/// A frame's header and structured data are about this long.
const HEADER_LEN_USUAL: usize = 300;
/// Why a record is refused.
const LINE_FEED: &str = "it holds a line feed, which ends a message where framing = \"lf\"";

/// A message in its frame; nothing where it cannot be in one.
pub(super) fn pack(writer: &Writer, framing: Framing) -> Pack {
    let writer = writer.clone();
    Pack::written(HEADER_LEN_USUAL, move |message, out| write(&writer, framing, message, out))
}

fn write(writer: &Writer, framing: Framing, message: &Message, out: &mut Vec<u8>) {
    if framing == Framing::Lf && memchr::memchr(b'\n', &message.body).is_some() {
        return;
    }
    let mut header = Vec::with_capacity(HEADER_LEN_USUAL);
    let body = writer.header(&mut header, message);
    if framing == Framing::Octet {
        // RFC 6587, section 3.4.1: MSG-LEN counts bytes.
        out.extend_from_slice((header.len() + body.len()).to_string().as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(&header);
    out.extend_from_slice(body);
    if framing == Framing::Lf {
        out.push(b'\n');
    }
}

/// What to write at once each: a message where `one_each` (it is a datagram), else as many as lie beside each other.
pub(super) fn pieces(batch: &[Message], one_each: bool) -> Vec<Bytes> {
    if one_each {
        return batch.iter().map(|message| message.body.bytes()).collect();
    }
    slice::pieces(batch.iter().map(|message| &message.body))
}

/// Those of a batch that cannot be a message, and why.
pub(super) fn refused(batch: &[Message]) -> Vec<(Seq, String)> {
    let unframed = batch.iter().filter(|message| message.body.is_empty());
    unframed.map(|message| (message.seq, LINE_FEED.to_owned())).collect()
}
