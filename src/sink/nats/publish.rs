//! Publishing a batch: pipelined, acknowledgements read in order, stopped at the first that is not one.

use std::collections::VecDeque;

use async_nats::{
    HeaderMap, header,
    jetstream::{
        ErrorCode,
        context::{PublishAckFuture, PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
    },
};

use super::{
    Ack, Message, Nats, SinkError,
    link::{IN_FLIGHT_MAX, Link},
};
use crate::{record::Seq, sink::visible::visible};

/// What the first line of headers and the last, empty one take, bytes.
const HEADERS_FRAME_LEN: usize = "NATS/1.0\r\n\r\n".len();

/// What became of a batch so far.
#[derive(Default)]
struct Progress {
    taken: Vec<(Seq, String)>,
    refused: Vec<(Seq, String)>,
}

/// Why publishing stopped.
enum Stop {
    /// It was refused for good.
    Refused(String),
    /// It is to be tried again.
    Again { reason: String, fault: bool },
}

impl Nats {
    pub(super) async fn publish(&self, link: &Link, batch: &[Message]) -> Result<Ack, SinkError> {
        let mut progress = Progress::default();
        let mut pending: VecDeque<(usize, PublishAckFuture)> = VecDeque::new();
        let mut last: Option<String> = None;
        // The first that was not acknowledged, and the first that could not be sent: an earlier one goes first.
        let (mut unacknowledged, mut unsent) = (None, None);
        for (at, message) in batch.iter().enumerate() {
            let id = visible(&message.key);
            let headers = self.headers(&id, last.as_deref());
            if let Some(reason) = too_large(link, &headers, message) {
                progress.refused.push((message.seq, reason));
                continue;
            }
            if pending.len() >= IN_FLIGHT_MAX {
                unacknowledged = self.settle(link, batch, &mut pending, &mut progress).await;
                if unacknowledged.is_some() {
                    break;
                }
            }
            let outgoing = PublishMessage::build().payload(message.body.bytes()).headers(headers);
            match link.context.send_publish(self.subject.clone(), outgoing).await {
                Ok(ack) => pending.push_back((at, ack)),
                Err(error) => {
                    unsent = Some((at, self.failed(link, &error)));
                    break;
                }
            }
            last = Some(id);
        }
        while unacknowledged.is_none() && !pending.is_empty() {
            unacknowledged = self.settle(link, batch, &mut pending, &mut progress).await;
        }
        self.result(batch, progress, unacknowledged.or(unsent))
    }

    fn headers(&self, id: &str, last: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, id);
        headers.insert(header::NATS_EXPECTED_STREAM, self.stream.as_str());
        if let Some(last) = last.filter(|_| !self.shared) {
            headers.insert(header::NATS_EXPECTED_LAST_MESSAGE_ID, last);
        }
        headers
    }

    /// Waits for the oldest acknowledgement.
    async fn settle(
        &self,
        link: &Link,
        batch: &[Message],
        pending: &mut VecDeque<(usize, PublishAckFuture)>,
        progress: &mut Progress,
    ) -> Option<(usize, Stop)> {
        let (at, ack) = pending.pop_front()?;
        let answer = tokio::select! {
            biased;
            answer = ack.into_future() => answer,
            () = link.in_trouble() => Err(PublishError::new(PublishErrorKind::BrokenPipe)),
        };
        match answer {
            Ok(PublishAck { sequence, duplicate, .. }) => {
                let said = if duplicate { format!("{sequence} duplicate") } else { sequence.to_string() };
                progress.taken.push((batch.get(at)?.seq, said));
                None
            }
            Err(error) => Some((at, self.failed(link, &error))),
        }
    }

    fn failed(&self, link: &Link, error: &PublishError) -> Stop {
        let (stream, subject) = (&self.stream, &self.subject);
        let again = |reason: String, fault| Stop::Again { reason, fault };
        if let Some(complaint) = link.complaint() {
            return again(format!("NATS complains: {complaint}"), true);
        }
        match error.kind() {
            PublishErrorKind::StreamNotFound => {
                again(format!("no stream takes {subject}: make {stream} take it, or set create = true"), true)
            }
            PublishErrorKind::WrongLastMessageId if self.shared => again("out of order".to_owned(), false),
            // Usual after a lost connection; for ever, when somebody else publishes.
            PublishErrorKind::WrongLastMessageId => again(
                format!(
                    "another message came between ours in {stream} (does somebody else publish to it? shared = true)"
                ),
                false,
            ),
            PublishErrorKind::MaxPayloadExceeded => Stop::Refused(self.quote(error)),
            PublishErrorKind::Other => self.answered(error),
            _ if link.is_lost() => again("the connection to NATS was lost".to_owned(), false),
            _ => again(format!("no acknowledgement: {}", self.quote(error)), false),
        }
    }

    /// An answer with an error of the JetStream API.
    fn answered(&self, error: &PublishError) -> Stop {
        let api =
            std::error::Error::source(error).and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
        let Some(api) = api else { return Stop::Again { reason: self.quote(error), fault: false } };
        let reason = format!("{}: {}", self.stream, self.quote(api));
        match api.error_code() {
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Stop::Refused(reason),
            ErrorCode::STREAM_NOT_MATCH => Stop::Again {
                reason: format!("another stream than {} takes {}", self.stream, self.subject),
                fault: true,
            },
            _ => Stop::Again { reason, fault: false },
        }
    }

    fn result(&self, batch: &[Message], progress: Progress, stop: Option<(usize, Stop)>) -> Result<Ack, SinkError> {
        let Progress { taken, mut refused } = progress;
        let ack = Ack { text: format!("stream {}", self.stream), records: taken };
        let (from, reason, fault) = match stop {
            None if refused.is_empty() => return Ok(ack),
            None => return Err(SinkError::Reject { refused, ack }),
            Some((at, Stop::Again { reason, fault })) => (at, reason, fault),
            Some((at, Stop::Refused(reason))) => {
                refused.extend(batch.get(at).map(|message| (message.seq, reason.clone())));
                (at + 1, format!("what follows a record that was refused: {reason}"), false)
            }
        };
        let again: Vec<Seq> = batch.get(from..).unwrap_or_default().iter().map(|message| message.seq).collect();
        refused.retain(|(seq, _)| !again.contains(seq));
        if again.is_empty() {
            return Err(SinkError::Reject { refused, ack });
        }
        Err(SinkError::Partly { again, refused, ack, reason, after: None, fault })
    }
}

/// Why a message cannot be sent, where it is larger than the server says it takes.
fn too_large(link: &Link, headers: &HeaderMap, message: &Message) -> Option<String> {
    let max = link.context.client().max_payload();
    let headers = headers.iter().map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + ": \r\n".len() + value.as_str().len()).sum::<usize>()
    });
    let size = headers.sum::<usize>() + HEADERS_FRAME_LEN + message.body.len();
    (max > 0 && size > max).then(|| format!("{size} bytes are more than the server's max_payload of {max}"))
}
