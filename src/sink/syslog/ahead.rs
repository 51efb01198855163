//! What is sent of the next batch while the one before is not acknowledged.

use std::{collections::VecDeque, io};

use bytes::Bytes;

use super::link::Link;
use crate::{record::Seq, sink::Message};

/// See the head of this file. Of one link: another one knows nothing of it.
#[derive(Default)]
pub(super) struct Ahead {
    /// The batch: its first and last seq.
    of: Option<(Seq, Seq)>,
    /// Still to be written.
    pub(super) rest: VecDeque<Bytes>,
    /// Some of it is out.
    pub(super) begun: bool,
    /// All of it is: what the link had sent by then.
    pub(super) end: Option<u64>,
}

impl Ahead {
    pub(super) fn new(batch: &[Message], pieces: Vec<Bytes>) -> Self {
        let end = pieces.is_empty().then_some(0);
        Self { of: seqs(batch), rest: pieces.into(), begun: false, end }
    }

    /// Whether it is this batch.
    pub(super) fn is(&self, batch: &[Message]) -> bool {
        self.begun && self.of == seqs(batch)
    }

    /// Writes the rest of what was begun: half a message must be followed by its other half, whatever comes next. What the
    /// link had sent then.
    pub(super) async fn finish(&mut self, link: &mut Link) -> io::Result<u64> {
        loop {
            match self.end {
                Some(end) => return Ok(end),
                None => link.send_some(self).await?,
            }
        }
    }
}

fn seqs(batch: &[Message]) -> Option<(Seq, Seq)> {
    Some((batch.first()?.seq, batch.last()?.seq))
}
