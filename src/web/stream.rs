//! `/api/stream`: records as they are synced, as server-sent events. `id` is the seq, so that a client that was cut off
//! goes on where it was (`Last-Event-ID`); `?from=` starts elsewhere than at the end.

use std::{collections::VecDeque, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    admin::{Shared, starting},
    asked::Asked,
};
use crate::{
    ledger::read::{Item, Reader},
    record::Seq,
};

/// Records read at a time.
const CHUNK_RECORDS: usize = 256;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// A comment is sent this often, so that a client that has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where to start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    from: Option<Seq>,
}

struct Feed {
    reader: Option<Reader>,
    synced: watch::Receiver<Seq>,
    ready: VecDeque<Bytes>,
}

/// The handler.
pub async fn stream(request: HttpRequest, shared: web::Data<Shared>, Asked(query): Asked<From>) -> HttpResponse {
    let Some(ledger) = shared.ledger.get() else { return starting() };
    let last: Option<Seq> =
        request.headers().get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let synced = ledger.synced();
    let end = *synced.borrow();
    let from = last.map(|last| last.saturating_add(1)).or(query.from).unwrap_or(end + 1);
    let feed = Feed { reader: Some(ledger.reader(from)), synced, ready: VecDeque::new() };
    let body = stream::unfold(feed, |mut feed| async move {
        let chunk = feed.next().await?;
        Some((Ok::<_, std::io::Error>(chunk), feed))
    });
    HttpResponse::Ok().content_type("text/event-stream").insert_header(("cache-control", "no-store")).streaming(body)
}

impl Feed {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(chunk);
            }
            // Armed before reading, so that nothing synced in between is slept through.
            let until = *self.synced.borrow_and_update();
            let mut reader = self.reader.take()?;
            let (reader, items) = web::block(move || {
                let items = reader.read(until, CHUNK_RECORDS, CHUNK_BYTES);
                (reader, items)
            })
            .await
            .ok()?;
            self.reader = Some(reader);
            for item in items.ok()? {
                if let Item::Line { seq, text } = item {
                    let head = format!("id: {seq}\ndata: ");
                    self.ready.push_back([head.as_bytes(), &text, b"\n\n"].concat().into());
                }
            }
            if self.ready.is_empty() {
                match tokio::time::timeout(KEEP_ALIVE, self.synced.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
                }
            }
        }
    }
}
