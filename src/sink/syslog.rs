//! `syslog`: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. Over TCP and TLS a batch counts as delivered once the other side's TCP has acknowledged
//! every byte of it and the connection is still there; while that is waited for, the next batch is begun. After a broken
//! connection the last batches are sent again before the next one, since the other side may have lost what it had
//! acknowledged but not read. UDP promises nothing.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Ack, BuildError, Message, Pack, Sink, SinkError, tls::TlsFiles};
use crate::units::{ByteSize, Span};

mod ahead;
mod config;
mod counted;
mod link;
mod message;
mod pieces;
mod unacked;

use ahead::Ahead;
pub use config::Config;
use config::Framing;
use link::{CLOSE_TIME, Link, Target};
use message::Writer;

/// See the head of this file.
pub struct Syslog {
    target: Target,
    framing: Framing,
    writer: Writer,
    timeout: Span,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Taken out while it is used, so that one whose use was broken off is never used again.
    link: Option<Link>,
    /// By that link.
    ahead: Ahead,
    recent: Recent,
}

/// What was delivered last, in case the other side loses it with the connection.
#[derive(Default)]
struct Recent {
    batches: VecDeque<Arc<[Bytes]>>,
    bytes: usize,
}

/// Of what was delivered, this much is kept to be sent again after a broken connection, and the last batch in any case.
/// More than a receiver leaves unread when it keeps up; a second's work to send.
const RECENT_BYTES: usize = 1 << 20;

impl State {
    /// The link and what was begun by it.
    fn take(&mut self) -> Option<(Link, Ahead)> {
        let ahead = std::mem::take(&mut self.ahead);
        self.link.take().map(|link| (link, ahead))
    }
}

impl Recent {
    fn push(&mut self, batch: Vec<Bytes>) {
        self.bytes += len(&batch);
        self.batches.push_back(batch.into());
        while self.bytes > RECENT_BYTES && self.batches.len() > 1 {
            self.bytes -= self.batches.pop_front().map_or(0, |oldest| len(&oldest));
        }
    }
}

fn len(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

impl Sink for Syslog {
    /// There is one connection.
    fn one_at_a_time(&self) -> bool {
        true
    }

    fn pack(&self) -> Pack {
        pieces::pack(&self.writer, self.framing)
    }

    /// Connects anew and sends the test.
    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        if let Some((_, reason)) = pieces::refused(std::slice::from_ref(test)).pop() {
            return Err(SinkError::Refused { reason });
        }
        let attempt = async {
            let mut link = self.target.connect().await?;
            link.send(&test.body).await?;
            link.taken(link.sent(), &mut Ahead::default()).await?;
            link.close().await;
            Ok(())
        };
        self.in_time(attempt).await
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        self.deliver_and_begin(batch, &[]).await
    }

    fn begins_next(&self) -> bool {
        !matches!(self.target, Target::Udp { .. })
    }

    async fn deliver_and_begin(&self, batch: &[Message], next: &[Message]) -> Result<Ack, SinkError> {
        let taken = self.in_time(self.send(batch, next)).await?;
        let ack = taken.map_or_else(Ack::none, |bytes| Ack::new(format!("TCP acknowledged {bytes} bytes")));
        let refused = pieces::refused(batch);
        if refused.is_empty() { Ok(ack) } else { Err(SinkError::Reject { refused, ack }) }
    }

    async fn close(&self) {
        let kept = self.state().take();
        if let Some((mut link, mut ahead)) = kept {
            if ahead.begun {
                let _ = timeout(CLOSE_TIME, ahead.finish(&mut link)).await;
            }
            link.close().await;
        }
    }
}

impl Syslog {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pieces(&self, batch: &[Message]) -> Vec<Bytes> {
        pieces::pieces(batch, matches!(self.target, Target::Udp { .. }))
    }

    /// How many bytes TCP has acknowledged, where it can be known and there was something to send.
    async fn send(&self, batch: &[Message], next: &[Message]) -> io::Result<Option<usize>> {
        let pieces = self.pieces(batch);
        if pieces.is_empty() {
            return Ok(None);
        }
        let (mut link, mut ahead) = self.link().await?;
        let begun = if ahead.begun { Some(ahead.finish(&mut link).await?) } else { None };
        let end = match begun.filter(|_| ahead.is(batch)) {
            Some(end) => end,
            None => {
                for piece in &pieces {
                    link.send(piece).await?;
                }
                link.sent()
            }
        };
        if !ahead.begun || ahead.is(batch) {
            ahead = Ahead::new(next, self.pieces(next));
        }
        let known = link.taken(end, &mut ahead).await?.then(|| len(&pieces));
        let mut state = self.state();
        state.recent.push(pieces);
        (state.link, state.ahead) = (Some(link), ahead);
        Ok(known)
    }

    /// The link there is, if it is alive; else a new one, by which everything that may be lost is sent again.
    async fn link(&self) -> io::Result<(Link, Ahead)> {
        let kept = self.state().take();
        if let Some((mut link, ahead)) = kept {
            match link.alive().await {
                Ok(()) => return Ok((link, ahead)),
                Err(error) => {
                    tracing::info!(address = self.target.address(), %error, "connecting to the syslog server again")
                }
            }
        }
        let mut link = self.target.connect().await?;
        let recent: Vec<_> = self.state().recent.batches.iter().map(Arc::clone).collect();
        for piece in recent.iter().flat_map(|batch| batch.iter()) {
            link.send(piece).await?;
        }
        Ok((link, Ahead::default()))
    }

    async fn in_time<T>(&self, attempt: impl Future<Output = io::Result<T>>) -> Result<T, SinkError> {
        let address = self.target.address();
        match timeout(self.timeout.get(), attempt).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(trouble(address, &error)),
            Err(_) => Err(SinkError::passing(format!("{address} did not take everything within {}", self.timeout))),
        }
    }
}

/// A datagram is longer than the way takes.
const TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// What is worth an alarm at once: what only a change of the configuration mends.
fn trouble(address: &str, error: &io::Error) -> SinkError {
    if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
        return SinkError::fault(format!(
            "{address}: TLS: {error} (check ca_file, cert_file, key_file and server_name)"
        ));
    }
    if error.raw_os_error() == Some(TOO_LONG) {
        return SinkError::fault(format!("{address}: a datagram is too long for the way there: lower max_size"));
    }
    SinkError::passing(format!("{address}: {error}"))
}

#[cfg(test)]
mod tests;
