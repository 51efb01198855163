//! A part of the journal, looked through for one answer of the admin API.

use std::io;

use actix_web::{HttpResponse, http::StatusCode, web};

use super::{admin::starting, refusal};
use crate::{
    ledger::{Ledger, read::Item},
    record::{Record, Seq},
};

/// Records looked at for one answer at most; the answer says where to go on.
const RECORDS_MAX: usize = 50_000;
/// Read at once: what comes after the last one that is wanted is read in vain.
const CHUNK_RECORDS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// Shows `take` the records from `from` to `synced` until it wants no more, or that was much. Returns what it made of them,
/// and the seq to go on at.
pub async fn scan<T: Send + 'static>(
    ledger: &Ledger,
    (from, synced): (Seq, Seq),
    mut state: T,
    take: impl Fn(&mut T, Record) -> bool + Send + 'static,
) -> Result<(T, Seq), HttpResponse> {
    let mut reader = ledger.reader(from);
    let read = web::block(move || {
        let mut looked_at = 0;
        while looked_at < RECORDS_MAX {
            let items = reader.read(synced, CHUNK_RECORDS, CHUNK_BYTES)?;
            if items.is_empty() {
                break;
            }
            looked_at += items.len();
            for item in items {
                let Item::Line { seq, text } = item else { continue };
                if let Ok(record) = serde_json::from_slice::<Record>(&text)
                    && !take(&mut state, record)
                {
                    return Ok((state, seq + 1));
                }
            }
        }
        Ok::<_, io::Error>((state, reader.next()))
    });
    match read.await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
        Err(_) => Err(starting()),
    }
}
