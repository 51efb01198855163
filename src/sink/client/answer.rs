//! Reading answers: how long to wait, what to quote, and nothing of ours in it.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use reqwest::{Response, StatusCode, header::HeaderValue};
use tokio::time::timeout;

use crate::{
    secret::Secret,
    sink::{Ack, SinkError},
};

/// Read of an answer that is quoted.
const READ_BYTES_MAX: usize = 4 << 10;
/// Quoted of it.
const CUT_CHARS_MAX: usize = 200;
/// Read of an answer to keep its connection; a longer one costs the connection.
const DRAIN_BYTES_MAX: usize = 64 << 10;
/// Waited for an answer that says nothing more of importance.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// A shorter piece of a secret is not looked for: it would be found everywhere.
const PIECE_LEN_MIN: usize = 6;

/// An answer, and what was read of it.
#[derive(Debug)]
pub struct Answer {
    /// Any status.
    pub status: StatusCode,
    /// What `Retry-After` said.
    pub after: Option<Duration>,
    /// Its status and request id.
    pub ack: Ack,
    /// All of it, unless `unread` says otherwise.
    pub body: Vec<u8>,
    /// Why that is not all: it broke off, took too long, or is longer than it may be.
    pub unread: Option<String>,
}

impl Answer {
    /// The body, where what it says decides: half of one says nothing, which may pass by itself.
    pub fn whole(&self) -> Result<&[u8], SinkError> {
        match &self.unread {
            None => Ok(&self.body),
            Some(why) => Err(SinkError::Retry { reason: why.clone(), after: self.after, fault: false }),
        }
    }
}

/// `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
pub fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default())
}

/// Headers that name a request on the other side, by which its operator finds it in a log.
const REQUEST_IDS: &[&str] =
    &["x-request-id", "request-id", "x-amzn-requestid", "x-ms-request-id", "x-correlation-id", "cf-ray"];

/// The status, and the other side's name for the request where it gives one.
pub fn ack(response: &Response, secrets: &[Secret]) -> Ack {
    let status = response.status().as_u16();
    let named = REQUEST_IDS.iter().find_map(|name| Some((name, response.headers().get(*name)?)));
    Ack::new(match named {
        Some((name, id)) => format!("HTTP {status} {name} {}", quote(id.as_bytes(), secrets)),
        None => format!("HTTP {status}"),
    })
}

/// The head of an answer's body in one line, without any of `secrets`.
pub async fn cut(response: Response, secrets: &[Secret]) -> String {
    let body = timeout(DRAIN_TIME, read(response, READ_BYTES_MAX)).await.unwrap_or_default();
    quote(&body, secrets)
}

/// Reads the rest of an answer, within reason.
pub async fn drain(response: Response) {
    let _ = timeout(DRAIN_TIME, read(response, DRAIN_BYTES_MAX)).await;
}

/// Why an answer was not read in full.
#[derive(Debug)]
pub enum Unread {
    /// It broke off, or took too long.
    Broken(reqwest::Error),
    /// It is longer than it may be.
    TooLong,
}

/// The whole answer, or its beginning and why that is not all.
pub async fn whole(mut response: Response, max: usize) -> (Vec<u8>, Option<Unread>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => match chunk.get(..max - body.len()) {
                Some(head) if head.len() < chunk.len() => {
                    body.extend_from_slice(head);
                    return (body, Some(Unread::TooLong));
                }
                _ => body.extend_from_slice(&chunk),
            },
            Ok(None) => return (body, None),
            Err(error) => return (body, Some(Unread::Broken(error))),
        }
    }
}

async fn read(mut response: Response, max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(chunk.get(..max - body.len()).unwrap_or(&chunk));
        if body.len() >= max {
            break;
        }
    }
    body
}

/// The head of a body in one line, without any of `secrets`.
pub fn quote<'a>(body: &[u8], secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets {
        let secret = String::from_utf8_lossy(secret.expose());
        // A password may be of short words, of which only the whole is looked for. `Bearer abc`: the other side may quote
        // the second word alone.
        let pieces = std::iter::once(secret.trim()).chain(secret.split_whitespace());
        for piece in pieces.filter(|piece| piece.len() >= PIECE_LEN_MIN) {
            text = text.replace(piece, "[redacted]");
        }
    }
    let words: Vec<&str> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(CUT_CHARS_MAX).collect()
}

/// An error's causes in one line, the first of which (it names the whole address) left out.
pub fn causes(error: &dyn Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() { "no further reason known".to_owned() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // RFC 9110's examples; Sun, 06 Nov 1994 08:49:37 GMT is 784,111,777 s after 1970 (`date -d`).
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        let after = |text| retry_after(&HeaderValue::from_static(text), now).map(|after| after.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(after("Sat, 29 Oct 1994 19:43:31 GMT"), Some(0));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn a_quote_is_one_short_line_without_secrets() {
        let secrets = [Secret::new(b"Bearer s3cr3t-value".to_vec()), Secret::new(b"a b".to_vec())];
        let said = quote(b"got <Bearer s3cr3t-value>,\r\n\x1b[31m s3cr3t-value a b \xff", &secrets);
        assert_eq!(said, "got <[redacted]>, [31m [redacted] a b \u{fffd}");
        assert_eq!(quote(&[b'x'; 5_000], &[]).chars().count(), 200);
    }
}
