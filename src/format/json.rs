//! `json`: the journal's line itself, untouched, so that its hash can still be checked where it arrives.

use bytes::Bytes;

/// The line.
pub fn encode(line: &Bytes) -> serde_json::Result<Bytes> {
    Ok(line.clone())
}
