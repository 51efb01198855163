//! What a sink makes of each message before any is sent: its protocol's form of one record. Not a sink; knows none.
//!
//! The messages of a batch are packed one behind the other into one buffer, on the thread that reads the journal and while
//! the sink sends the batch before. So a request's body is mostly one piece, whichever part of the batch it is for.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::Message;
use crate::slice::Slice;

/// Appends what is sent of a message, whose `body` is the record in the sink's format.
type Write = dyn Fn(&Message, &mut Vec<u8>) + Send + Sync;

/// How a message becomes what is sent of it.
#[derive(Clone, Default)]
pub enum Pack {
    /// As it is.
    #[default]
    Plain,
    /// With a line feed behind it: the journal's own lines are not even copied.
    Line,
    /// Written by the sink, about so many bytes longer than it is.
    Written(usize, Arc<Write>),
}

impl Pack {
    /// About `around` bytes longer.
    pub fn written(around: usize, write: impl Fn(&Message, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::Written(around, Arc::new(write))
    }

    /// Makes them ready to be sent.
    pub fn pack(&self, messages: &mut [Message]) {
        match self {
            Self::Plain => {}
            Self::Line => lines(messages),
            Self::Written(around, write) => written(messages, *around, &**write),
        }
    }

    /// The same of some.
    pub fn packed(&self, messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
        let mut messages: Vec<Message> = messages.into_iter().collect();
        self.pack(&mut messages);
        messages
    }
}

/// Lines that have an LF behind them keep their memory.
fn lines(messages: &mut [Message]) {
    let whole = |message: &Message| message.body.is_before(b'\n');
    for run in messages.chunk_by_mut(|one, next| whole(one) == whole(next)) {
        if !run.iter().all(whole) {
            written(run, 1, &|message, out| {
                out.extend_from_slice(&message.body);
                out.push(b'\n');
            });
            continue;
        }
        for message in run {
            message.body.grow();
        }
    }
}

fn written(messages: &mut [Message], around: usize, write: &Write) {
    let mut out = Vec::with_capacity(messages.iter().map(|message| message.body.len() + around).sum());
    let mut ends = Vec::with_capacity(messages.len());
    for message in &*messages {
        write(message, &mut out);
        ends.push(out.len());
    }
    let whole = Bytes::from(out);
    let mut begin = 0;
    for (message, end) in messages.iter_mut().zip(ends) {
        message.body = Slice::new(whole.clone(), begin..end);
        begin = end;
    }
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Line => "Line",
            Self::Written(..) => "Written",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Kept, Kind},
        slice::pieces,
    };

    fn message(body: Slice) -> Message {
        let head = Kept::default();
        Message { seq: 1, kind: Kind::Event, key: "k".into(), head, line: "{}".into(), body, media_type: "text/plain" }
    }

    fn bodies(pack: &Pack, bodies: &[Slice]) -> Vec<Bytes> {
        let messages = pack.packed(bodies.iter().cloned().map(message));
        pieces(messages.iter().map(|message| &message.body))
    }

    #[test]
    fn a_batch_is_one_piece() {
        let apart: Vec<Slice> = ["a", "bc", "d"].map(Slice::from).into();
        assert_eq!(bodies(&Pack::Plain, &apart), ["a", "bc", "d"]);
        assert_eq!(bodies(&Pack::Line, &apart), ["a\nbc\nd\n"]);
        let quoted = Pack::written(2, |message, out| {
            out.push(b'<');
            out.extend_from_slice(&message.body);
            out.push(b'>');
        });
        assert_eq!(bodies(&quoted, &apart), ["<a><bc><d>"]);
        let one = quoted.packed([message("x".into())]);
        assert_eq!(&*one[0].body, b"<x>");
    }

    #[test]
    fn lines_that_were_read_are_not_copied() {
        let read = Bytes::from_static(b"a\nbc\nd\n");
        let line = |at| Slice::new(read.clone(), at);
        let made = bodies(&Pack::Line, &[line(0..1), line(2..4), line(5..6)]);
        assert_eq!(made, ["a\nbc\nd\n"]);
        assert_eq!(made[0].as_ptr(), read.as_ptr());
        // One that was read without its LF, or made anew, is written beside them.
        let made = bodies(&Pack::Line, &[line(0..1), "x".into(), "y".into(), line(2..4), "z".into()]);
        assert_eq!(made, ["a\n", "x\ny\n", "bc\n", "z\n"]);
    }
}
