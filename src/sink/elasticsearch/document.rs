//! Records as documents: their ids, and the lines of a bulk request. Pure.

use std::{borrow::Cow, io::Write as _};

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};
use sha2::{Digest, Sha256};

use super::{Message, Pack, SinkError};
use crate::slice::pieces;

/// Both servers refuse a longer `_id`.
const ID_BYTES_MAX: usize = 512;
/// What is around a document and its id, bytes.
const AROUND_LEN: usize = 120;
/// How the id of a longer key begins.
const HASHED: &str = "sha256-";

/// A key as `_id`: URLs carry it unescaped (RFC 3986, section 2.3), and no two keys share one. A UUID stays as it is;
/// other bytes are `~` and two hex digits; what would be too long is its SHA-256.
pub(super) fn id(key: &str) -> Cow<'_, str> {
    let stays = |byte: u8| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    if key.bytes().all(stays) && key.len() <= ID_BYTES_MAX && !key.starts_with(HASHED) {
        return key.into();
    }
    let mut id = String::with_capacity(key.len());
    for byte in key.bytes() {
        if stays(byte) {
            id.push(char::from(byte));
        } else {
            id.push_str(&format!("~{byte:02X}"));
        }
    }
    if id.len() > ID_BYTES_MAX || id.starts_with(HASHED) {
        return format!("{HASHED}{}", hex::encode(Sha256::digest(key))).into();
    }
    id.into()
}

/// A document and the line before it, as a bulk request has them.
pub(super) fn pack() -> Pack {
    Pack::written(AROUND_LEN, write)
}

/// The body of a bulk request. Fails on a format that is not JSON.
pub(super) fn bulk(batch: &[Message]) -> Result<Vec<Bytes>, SinkError> {
    if !batch.iter().all(Message::is_json) {
        return Err(SinkError::fault("Elasticsearch takes JSON only: choose another format for this sink"));
    }
    Ok(pieces(batch.iter().map(|message| &message.body)))
}

fn write(message: &Message, body: &mut Vec<u8>) {
    body.extend_from_slice(br#"{"create":{"_id":""#);
    body.extend_from_slice(id(&message.key).as_bytes());
    body.extend_from_slice(b"\"}}\n{");
    let members = message.body.get(1..).unwrap_or_default();
    if !has_timestamp(&message.body) {
        // In front, and nothing else touched: without it the line of the journal is as it was. Writing to memory does not
        // fail.
        let _ = write!(body, r#""@timestamp":"{}""#, message.head.received_at());
        if members.trim_ascii_start() != b"}" {
            body.push(b',');
        }
    }
    body.extend_from_slice(members);
    body.push(b'\n');
}

/// Whether the document has an instant of its own, as Kibana and data streams want one.
fn has_timestamp(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Stamped {
        #[serde(rename = "@timestamp")]
        at: Option<IgnoredAny>,
    }
    // Few documents that name it at all do so further down only.
    memmem::find(body, br#""@timestamp""#).is_some()
        && serde_json::from_slice::<Stamped>(body).is_ok_and(|stamped| stamped.at.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Head;

    const LINE: &str = r#"{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":1,"kind":"event","received_at":"2026-11-22T06:40:00.123456Z","hash":"ab"}"#;

    fn message(key: &str, body: &str) -> Message {
        let head = Head::read(LINE.as_bytes()).unwrap();
        Message {
            seq: 1,
            kind: head.kind,
            key: key.into(),
            head: head.keep(),
            line: LINE.into(),
            body: body.to_owned().into(),
            media_type: "application/json",
        }
    }

    #[test]
    fn ids_are_safe_and_told_apart() {
        let uuid = "ef73f801-0000-4000-8000-000000000001";
        assert_eq!(id(uuid), uuid);
        assert_eq!(id("3f9a1c2e-7"), "3f9a1c2e-7");
        // `~` is 7E, `/` 2F, `%` 25, `"` 22, `é` C3 A9.
        assert_eq!(id("a/b"), "a~2Fb");
        assert_eq!(id("a~2Fb"), "a~7E2Fb");
        assert_eq!(id("%\"\né"), "~25~22~0A~C3~A9");
        assert_eq!(id(&"a".repeat(512)), "a".repeat(512));
        // printf '%0513d' 0 | tr 0 a | sha256sum
        assert_eq!(id(&"a".repeat(513)), "sha256-02425c0f5b0dabf3d2b9115f3f7723a02ad8bcfb1534a0d231614fd42b8188f6");
        // An id made to look like the hash of another is hashed itself.
        assert_ne!(id("sha256-02425c0f5b0dabf3d2b9115f3f7723a02ad8bcfb1534a0d231614fd42b8188f6"), id(&"a".repeat(513)));
    }

    #[test]
    fn a_document_gets_an_instant_where_it_has_none() {
        let text =
            |body: &str| String::from_utf8(bulk(&pack().packed([message("k", body)])).unwrap().concat()).unwrap();
        let head = "{\"create\":{\"_id\":\"k\"}}\n";
        let stamp = r#""@timestamp":"2026-11-22T06:40:00.123456Z","#;
        assert_eq!(text(r#"{"a":1}"#), format!("{head}{{{stamp}\"a\":1}}\n"));
        assert_eq!(text(r#"{"@timestamp":"x","a":1}"#), format!("{head}{{\"@timestamp\":\"x\",\"a\":1}}\n"));
        assert_eq!(text(r#"{"a":{"@timestamp":"x"}}"#), format!("{head}{{{stamp}\"a\":{{\"@timestamp\":\"x\"}}}}\n"));
        assert_eq!(text("{}"), format!("{head}{{\"@timestamp\":\"2026-11-22T06:40:00.123456Z\"}}\n"));
        let other = Message { media_type: "text/plain; charset=utf-8", ..message("k", "CEF:0|x") };
        let refused = bulk(&pack().packed([message("k", "{}"), other]));
        assert!(matches!(refused, Err(SinkError::Retry { fault: true, .. })), "{refused:?}");
    }
}
