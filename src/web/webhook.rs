//! The public listener: `POST /webhooks/{source}` and nothing else. Reads a bounded body, hands it to the intake, and
//! turns the outcome into a status. Decides nothing else.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, ContentType},
    },
    web,
};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::held::hold;
use crate::{
    intake::{Intake, Outcome, Slot},
    source::RawRequest,
    telemetry::RequestOutcome,
};

/// A sender has this long for its body.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Of a body this much is always read: an event is about 2 KiB.
const SMALL_BODY_BYTES: usize = 16 << 10;
/// What is past that of all bodies together, while they are read and judged: nobody has proved anything before its body is
/// whole, and there may be thousands of connections. Four of the largest that can be configured.
const LARGE_BODIES_BYTES_MAX: usize = 64 << 20;
/// When to come again while there is no room for a large body.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// What the handler needs.
pub struct Shared {
    /// The way in.
    pub intake: Arc<Intake>,
    /// `server.max_body`.
    pub body_bytes_max: usize,
    /// `server.ack_deadline`.
    pub ack_deadline: Duration,
    /// See [`room_for_large_bodies`].
    pub room: Semaphore,
}

/// Room for what is large of the bodies in memory: a permit a byte.
pub fn room_for_large_bodies() -> Semaphore {
    Semaphore::new(LARGE_BODIES_BYTES_MAX)
}

/// A connection on which no request has come. The server itself answers it 408 once the time for a head is over, asks no
/// handler and says nothing of it; so it is counted when it ends.
pub struct Unasked {
    opened: Instant,
    time_max: Duration,
    asked: Cell<bool>,
    shared: web::Data<Shared>,
}

/// The server's clock stands still for half a second at a time.
const CLOCK_STEP: Duration = Duration::from_millis(500);

impl Unasked {
    /// From now on, with this long for the head.
    pub fn new(shared: web::Data<Shared>, time_max: Duration) -> Self {
        Self { opened: Instant::now(), time_max, asked: Cell::new(false), shared }
    }
}

impl Drop for Unasked {
    fn drop(&mut self) {
        // Who hung up before was not answered.
        if !self.asked.get() && self.opened.elapsed() + CLOCK_STEP >= self.time_max {
            self.shared.intake.count(None, RequestOutcome::Refused);
        }
    }
}

/// Every request of the public listener ends here.
pub async fn handle(request: HttpRequest, mut payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    if let Some(connection) = request.conn_data::<Unasked>() {
        connection.asked.set(true);
    }
    let request_id = super::request_id(&request);
    let received = receive(&request, &request_id, &mut payload, &shared).await;
    let is_stranger = matches!(received, Err(_) | Ok(Outcome::Unauthenticated | Outcome::Unverified(..)));
    let mut response = received.map_or_else(|refusal| refusal, |outcome| respond(&outcome));
    if is_stranger {
        // Who has proved nothing keeps no connection open.
        response = hold(response, payload.into_inner());
    }
    if let Ok(value) = header::HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(super::REQUEST_ID, value);
    }
    response
}

async fn receive(
    request: &HttpRequest,
    id: &str,
    payload: &mut web::Payload,
    shared: &Shared,
) -> Result<Outcome, HttpResponse> {
    let slot = accept(request, shared)?;
    let refuse = |response: HttpResponse| {
        let is_ours = response.status().is_server_error();
        shared.intake.count(Some(slot), if is_ours { RequestOutcome::Unavailable } else { RequestOutcome::Refused });
        response
    };
    let (body, _room) = tokio::time::timeout(BODY_TIME_MAX, read_body(request, payload, shared))
        .await
        .unwrap_or_else(|_| Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")))
        .map_err(refuse)?;
    let arrived = Instant::now();
    let headers: Vec<(&str, &[u8])> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let Some(peer) = request.peer_addr() else {
        return Err(refuse(error(StatusCode::BAD_REQUEST, "the connection has no peer address")));
    };
    let raw = RawRequest {
        headers: &headers,
        body: &body,
        id,
        peer: peer.ip().to_canonical(),
        arrived,
        deadline: arrived + shared.ack_deadline,
    };
    Ok(shared.intake.receive(slot, raw).await)
}

/// 404, 405, 415: what can be told from the head.
fn accept<'a>(request: &HttpRequest, shared: &'a Shared) -> Result<&'a Slot, HttpResponse> {
    let slot = request.path().strip_prefix("/webhooks/").and_then(|name| shared.intake.source(name));
    let refuse = |response| {
        shared.intake.count(slot, RequestOutcome::Refused);
        Err(response)
    };
    let Some(slot) = slot else { return refuse(error(StatusCode::NOT_FOUND, "no such source")) };
    if request.method() != Method::POST {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "only POST");
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        return refuse(response);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return refuse(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"));
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return refuse(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not taken"));
    }
    Ok(slot)
}

/// The body, and the room that it takes as long as it is there.
async fn read_body<'a>(
    request: &HttpRequest,
    payload: &mut web::Payload,
    Shared { body_bytes_max: max, room, .. }: &'a Shared,
) -> Result<(BytesMut, SemaphorePermit<'a>), HttpResponse> {
    let too_large = || error(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than server.max_body");
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > *max) {
        return Err(too_large());
    }
    // No more than what comes: what is announced costs nothing.
    let mut body = BytesMut::with_capacity(length.unwrap_or(0).min(SMALL_BODY_BYTES));
    let mut taken = take(room, 0)?;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| error(StatusCode::BAD_REQUEST, "the body cannot be read"))?;
        let len = body.len() + chunk.len();
        if len > *max {
            return Err(too_large());
        }
        let large = len.saturating_sub(SMALL_BODY_BYTES);
        if large > taken.num_permits() {
            taken.merge(take(room, large - taken.num_permits())?);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, taken))
}

fn take(room: &Semaphore, bytes: usize) -> Result<SemaphorePermit<'_>, HttpResponse> {
    let taken = u32::try_from(bytes).ok().and_then(|bytes| room.try_acquire_many(bytes).ok());
    taken.ok_or_else(|| unavailable("too many large bodies at once", ROOM_AFTER))
}

fn respond(outcome: &Outcome) -> HttpResponse {
    let json = |code, text: String| HttpResponse::build(code).content_type(ContentType::json()).body(text);
    // These words need no escaping.
    let status = |status: &str| json(StatusCode::OK, format!(r#"{{"status":"{status}"}}"#));
    let with_seq = |code, status: &str, seq: u64| json(code, format!(r#"{{"status":"{status}","seq":{seq}}}"#));
    match outcome {
        Outcome::Accepted(seq) => with_seq(StatusCode::OK, "accepted", *seq),
        Outcome::Duplicate(seq) => with_seq(StatusCode::OK, "duplicate", *seq),
        Outcome::Denied(seq) => with_seq(StatusCode::FORBIDDEN, "denied", *seq),
        Outcome::Filtered => status("filtered"),
        Outcome::Ignored => status("ignored"),
        Outcome::Unrecorded => status("unrecorded"),
        Outcome::Unauthenticated => error(StatusCode::UNAUTHORIZED, "missing or wrong signature or credential"),
        Outcome::Unreadable(problem) => error(StatusCode::BAD_REQUEST, problem),
        Outcome::Unavailable(reason, after) | Outcome::Unverified(reason, after) => unavailable(reason, *after),
    }
}

fn unavailable(reason: &str, after: Duration) -> HttpResponse {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, reason);
    let after = header::HeaderValue::from(after.as_secs().max(1));
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
}

/// An answer stays below 1 kB, whatever is in it.
const ERROR_CHARS_MAX: usize = 300;

fn error(code: StatusCode, text: &str) -> HttpResponse {
    let text: String = text.chars().take(ERROR_CHARS_MAX).collect();
    super::refusal(code, &text)
}
