//! `json`: the journal's line itself, untouched, so that its hash can still be checked where it arrives.

use bytes::Bytes;

use crate::record::Record;

/// The line.
pub fn encode(line: &Bytes, _record: &Record) -> Bytes {
    line.clone()
}
