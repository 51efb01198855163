//! Compressed requests. Not a sink; knows none.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::task::spawn_blocking;

use super::SinkError;

/// The pieces as gzip, quickly rather than small: JSON shrinks to a tenth all the same. A megabyte takes milliseconds: not on
/// a thread that others wait for.
pub async fn gzip(pieces: Vec<Bytes>) -> Result<Bytes, SinkError> {
    let done = spawn_blocking(move || {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let mut encoder = GzEncoder::new(Vec::with_capacity(len / 4), Compression::fast());
        for piece in pieces {
            encoder.write_all(&piece)?;
        }
        encoder.finish()
    });
    match done.await {
        Ok(Ok(compressed)) => Ok(compressed.into()),
        Ok(Err(error)) => Err(SinkError::passing(format!("cannot compress: {error}"))),
        Err(error) => Err(SinkError::passing(format!("cannot compress: {error}"))),
    }
}
