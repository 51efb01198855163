//! Compressed requests. Not a sink; knows none.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::SinkError;

/// The bytes as gzip, quickly rather than small: JSON shrinks to a tenth all the same.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, SinkError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| SinkError::passing(format!("cannot compress: {error}")))
}
