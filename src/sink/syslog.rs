//! `syslog`: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. Over TCP and TLS a batch counts as delivered once the other side's TCP has acknowledged
//! every byte of it and the connection is still there; after a broken connection the last batches are sent again before
//! the next one, since the other side may have lost what it had acknowledged but not read. UDP promises nothing.

use std::{
    collections::VecDeque,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Ack, BuildError, Message, Sink, SinkError, head::Head, tls::TlsFiles};
use crate::{
    record::Seq,
    units::{ByteSize, Span},
};

mod config;
mod link;
mod message;
mod unacked;

pub use config::Config;
use config::Framing;
use link::{Frames, Link, Target};
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
    recent: Recent,
}

/// What was delivered last, in case the other side loses it with the connection.
#[derive(Default)]
struct Recent {
    batches: VecDeque<Arc<Frames>>,
    bytes: usize,
}

/// Of what was delivered, this much is kept to be sent again after a broken connection, and the last batch in any case.
/// More than a receiver leaves unread when it keeps up; a second's work to send.
const RECENT_BYTES: usize = 1 << 20;

impl Recent {
    fn push(&mut self, frames: Arc<Frames>) {
        self.bytes += frames.bytes.len();
        self.batches.push_back(frames);
        while self.bytes > RECENT_BYTES && self.batches.len() > 1 {
            self.bytes -= self.batches.pop_front().map_or(0, |oldest| oldest.bytes.len());
        }
    }
}

impl Sink for Syslog {
    /// There is one connection.
    fn one_at_a_time(&self) -> bool {
        true
    }

    /// Connects anew and sends the test.
    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        let (frames, refused) = self.frames(std::slice::from_ref(test));
        if let Some((_, reason)) = refused.into_iter().next() {
            return Err(SinkError::Refused { reason });
        }
        let attempt = async {
            let mut link = self.target.connect().await?;
            link.send(&frames).await?;
            link.taken().await?;
            link.close().await;
            Ok(())
        };
        self.in_time(attempt).await
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let (frames, refused) = self.frames(batch);
        let mut ack = Ack::none();
        if !frames.each.is_empty() {
            let taken = self.in_time(self.send(Arc::new(frames))).await?;
            ack = taken.map_or(ack, |bytes| Ack::new(format!("TCP acknowledged {bytes} bytes")));
        }
        if refused.is_empty() { Ok(ack) } else { Err(SinkError::Reject { refused, ack }) }
    }

    async fn close(&self) {
        let link = self.state().link.take();
        if let Some(link) = link {
            link.close().await;
        }
    }
}

impl Syslog {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record as a frame, but for those that cannot be one.
    fn frames(&self, batch: &[Message]) -> (Frames, Vec<(Seq, String)>) {
        let mut frames = Bodies::default();
        frames.bytes.reserve(batch.iter().map(|message| message.body.len() + HEADER_LEN_USUAL).sum());
        let mut refused = Vec::new();
        let mut text = Vec::new();
        for message in batch {
            if self.framing == Framing::Lf && memchr::memchr(b'\n', &message.body).is_some() {
                refused.push((message.seq, LINE_FEED.to_owned()));
                continue;
            }
            match Head::read(&message.line) {
                Ok(head) => {
                    text.clear();
                    self.writer.record(&mut text, message, &head);
                    frames.push(&text, self.framing);
                }
                Err(error) => refused.push((message.seq, format!("it is not a record: {error}"))),
            }
        }
        (frames.done(), refused)
    }

    /// How many bytes TCP has acknowledged, where it can be known.
    async fn send(&self, frames: Arc<Frames>) -> io::Result<Option<usize>> {
        let mut link = self.link().await?;
        link.send(&frames).await?;
        let known = link.taken().await?.then_some(frames.bytes.len());
        let mut state = self.state();
        state.recent.push(frames);
        state.link = Some(link);
        Ok(known)
    }

    /// The link there is, if it is alive; else a new one, by which everything that may be lost is sent again.
    async fn link(&self) -> io::Result<Link> {
        let kept = self.state().link.take();
        if let Some(mut link) = kept {
            match link.alive().await {
                Ok(()) => return Ok(link),
                Err(error) => tracing::info!(address = self.target.address(), %error, "connecting to the syslog server again"),
            }
        }
        let mut link = self.target.connect().await?;
        let recent: Vec<_> = self.state().recent.batches.iter().map(Arc::clone).collect();
        for frames in recent {
            link.send(&frames).await?;
        }
        Ok(link)
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

/// Why a record is refused.
const LINE_FEED: &str = "it holds a line feed, which ends a message where framing = \"lf\"";
/// A frame's header and structured data are about this long.
const HEADER_LEN_USUAL: usize = 300;
/// `EMSGSIZE`: a datagram is longer than the way takes.
const TOO_LONG: i32 = 90;

/// What is worth an alarm at once: what only a change of the configuration mends.
fn trouble(address: &str, error: &io::Error) -> SinkError {
    if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
        return SinkError::fault(format!("{address}: TLS: {error} (check ca_file, cert_file, key_file and server_name)"));
    }
    if error.raw_os_error() == Some(TOO_LONG) {
        return SinkError::fault(format!("{address}: a datagram is too long for the way there: lower max_size"));
    }
    SinkError::passing(format!("{address}: {error}"))
}

/// Frames in the making.
#[derive(Default)]
struct Bodies {
    bytes: Vec<u8>,
    each: Vec<std::ops::Range<usize>>,
}

impl Bodies {
    fn push(&mut self, text: &[u8], framing: Framing) {
        let start = self.bytes.len();
        match framing {
            // RFC 6587, section 3.4.1: MSG-LEN counts bytes.
            Framing::Octet => {
                self.bytes.extend_from_slice(text.len().to_string().as_bytes());
                self.bytes.push(b' ');
                self.bytes.extend_from_slice(text);
            }
            Framing::Lf => {
                self.bytes.extend_from_slice(text);
                self.bytes.push(b'\n');
            }
            Framing::None => self.bytes.extend_from_slice(text),
        }
        self.each.push(start..self.bytes.len());
    }

    fn done(&mut self) -> Frames {
        Frames { bytes: mem::take(&mut self.bytes).into(), each: mem::take(&mut self.each) }
    }
}

#[cfg(test)]
mod tests;
