//! Publishing a batch: pipelined, acknowledgements read in order, stopped at the first that is to come again.

use std::collections::{BTreeMap, VecDeque};

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

/// A batch on its way, by index; each message is in one of these.
#[derive(Default)]
struct OnWay {
    /// To be sent, in order.
    open: VecDeque<usize>,
    /// Sent, in order.
    pending: VecDeque<(usize, PublishAckFuture)>,
    taken: BTreeMap<usize, String>,
    refused: BTreeMap<usize, String>,
    /// The id that the next one names as the stream's last.
    last: Option<String>,
    /// How many may be pending.
    room: usize,
}

/// Why one is not acknowledged.
enum Stop {
    /// It was refused for good.
    Refused(String),
    /// It is to be tried again, and all that follow.
    Again(Again),
}

struct Again {
    reason: String,
    fault: bool,
}

impl Nats {
    pub(super) async fn publish(&self, link: &Link, batch: &[Message]) -> Result<Ack, SinkError> {
        let mut on_way = OnWay { open: (0..batch.len()).collect(), room: IN_FLIGHT_MAX, ..OnWay::default() };
        let mut unsent = None;
        loop {
            let may_send = unsent.is_none() && on_way.pending.len() < on_way.room;
            let next = if may_send { on_way.open.pop_front() } else { None };
            if let Some(at) = next {
                unsent = self.send(link, batch, at, &mut on_way).await;
                continue;
            }
            if on_way.pending.is_empty() {
                return self.result(batch, on_way, unsent);
            }
            // One that was sent before what could not be sent goes first.
            if let Some(stop) = self.settle(link, batch, &mut on_way).await {
                return self.result(batch, on_way, Some(stop));
            }
        }
    }

    /// Sends one; what it says is why none can be sent now.
    async fn send(&self, link: &Link, batch: &[Message], at: usize, on_way: &mut OnWay) -> Option<Again> {
        let message = batch.get(at)?;
        let id = visible(&message.key);
        let headers = self.headers(&id, on_way.last.as_deref());
        if let Some(reason) = too_large(link, &headers, message) {
            on_way.refused.insert(at, reason);
            return None;
        }
        let outgoing = PublishMessage::build().payload(message.body.bytes()).headers(headers);
        match link.context.send_publish(self.subject.clone(), outgoing).await {
            Ok(ack) => {
                on_way.pending.push_back((at, ack));
                on_way.last = Some(id);
                None
            }
            Err(error) => match self.failed(link, &error) {
                Stop::Refused(reason) => {
                    on_way.refused.insert(at, reason);
                    None
                }
                Stop::Again(again) => {
                    on_way.open.push_front(at);
                    Some(again)
                }
            },
        }
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

    /// Waits for the oldest acknowledgement; what it says is why the rest has to wait.
    async fn settle(&self, link: &Link, batch: &[Message], on_way: &mut OnWay) -> Option<Again> {
        let (at, ack) = on_way.pending.pop_front()?;
        match answer(link, ack).await {
            Ok(ack) => {
                on_way.taken.insert(at, said(&ack));
                on_way.room = (on_way.room * 2).min(IN_FLIGHT_MAX);
                None
            }
            Err(error) => match self.failed(link, &error) {
                Stop::Refused(reason) => {
                    on_way.refused.insert(at, reason);
                    if self.shared { None } else { self.begin_behind(link, batch, on_way).await }
                }
                Stop::Again(again) => {
                    on_way.open.push_front(at);
                    Some(again)
                }
            },
        }
    }

    /// After one that was refused: what was sent behind it named it, or one that did, and was refused for that. All of it
    /// is sent once more, a few at first, since the next may be refused as well.
    async fn begin_behind(&self, link: &Link, batch: &[Message], on_way: &mut OnWay) -> Option<Again> {
        let mut behind = Vec::new();
        let mut stop = None;
        while let Some((at, ack)) = on_way.pending.pop_front() {
            let error = match answer(link, ack).await {
                Ok(ack) => {
                    on_way.taken.insert(at, said(&ack));
                    continue;
                }
                Err(error) => error,
            };
            match self.failed(link, &error) {
                Stop::Refused(reason) => {
                    on_way.refused.insert(at, reason);
                }
                Stop::Again(_) if error.kind() == PublishErrorKind::WrongLastMessageId => behind.push(at),
                Stop::Again(again) => {
                    behind.push(at);
                    stop = Some(again);
                    break;
                }
            }
        }
        for at in behind.into_iter().rev() {
            on_way.open.push_front(at);
        }
        let last = on_way.taken.last_key_value().and_then(|(at, _)| batch.get(*at));
        on_way.last = last.map(|message| visible(&message.key));
        on_way.room = 1;
        stop
    }

    fn failed(&self, link: &Link, error: &PublishError) -> Stop {
        let (stream, subject) = (&self.stream, &self.subject);
        let again = |reason: String, fault| Stop::Again(Again { reason, fault });
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
        let Some(api) = api else { return Stop::Again(Again { reason: self.quote(error), fault: false }) };
        let reason = format!("{}: {}", self.stream, self.quote(api));
        match api.error_code() {
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Stop::Refused(reason),
            ErrorCode::STREAM_NOT_MATCH => Stop::Again(Again {
                reason: format!("another stream than {} takes {}", self.stream, self.subject),
                fault: true,
            }),
            _ => Stop::Again(Again { reason, fault: false }),
        }
    }

    fn result(&self, batch: &[Message], on_way: OnWay, stop: Option<Again>) -> Result<Ack, SinkError> {
        // From the first that has to wait, all are to come again.
        let from = on_way.open.front().copied().unwrap_or(batch.len());
        let before = |said: BTreeMap<usize, String>| -> Vec<(Seq, String)> {
            let said = said.into_iter().take_while(|(at, _)| *at < from);
            said.filter_map(|(at, said)| Some((batch.get(at)?.seq, said))).collect()
        };
        let ack = Ack { text: format!("stream {}", self.stream), records: before(on_way.taken) };
        let refused = before(on_way.refused);
        if let Some(Again { reason, fault }) = stop {
            let again = batch.iter().skip(from).map(|message| message.seq).collect();
            return Err(SinkError::Partly { again, refused, ack, reason, after: None, fault });
        }
        if refused.is_empty() { Ok(ack) } else { Err(SinkError::Reject { refused, ack }) }
    }
}

async fn answer(link: &Link, ack: PublishAckFuture) -> Result<PublishAck, PublishError> {
    tokio::select! {
        biased;
        answer = ack.into_future() => answer,
        () = link.in_trouble() => Err(PublishError::new(PublishErrorKind::BrokenPipe)),
    }
}

fn said(PublishAck { sequence, duplicate, .. }: &PublishAck) -> String {
    if *duplicate { format!("{sequence} duplicate") } else { sequence.to_string() }
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
