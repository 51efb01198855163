//! Ids and types that are no text, or a token.

use refresh_audit::source::{Decoded, SourceError};
use serde_json::json;

use super::{decode, event, keeping, with};

/// What stands for bytes that are no text is the same for all of them: two ids may not become one.
#[test]
fn an_id_that_is_no_text_is_refused_by_name() {
    let source = keeping(&[]);
    let mark = |body: &str, byte: &[u8]| {
        let parts: Vec<&[u8]> = body.as_bytes().split(|byte| *byte == b'~').collect();
        parts.join(byte)
    };
    for member in ["type", "id", "tenantId", "applicationId", "userId", "linkedObjectId"] {
        let body = with(member, "\"Z~\"");
        let result = decode(&source, &mark(&body, b"\xff"));
        let Err(SourceError::Unreadable { field, problem }) = result else { panic!("{member}: {result:?}") };
        assert_eq!((field, problem.as_str()), (format!("event.{member}"), "is not UTF-8"));
        // The mark itself is a character like any other.
        assert!(decode(&source, &mark(&body, "\u{fffd}".as_bytes())).is_ok(), "{member}");
    }
    let broken = mark(r#"{"event":{"createInstant":1e999,"info":"\ud83d","type":"t~"}}"#, b"\xff");
    assert!(matches!(decode(&source, &broken), Err(SourceError::Unreadable { field, .. }) if field == "event.type"));
    // Elsewhere in the body it says nothing of an id.
    let elsewhere = with("info", "{\"userAgent\":\"~\"}");
    assert_eq!(event(&source, &mark(&elsewhere, b"\xff")).id.as_str(), "e1");
}

#[test]
fn a_token_is_no_id_and_no_type_and_is_not_named() {
    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln";
    let source = keeping(&[]);
    for (id, token) in [("opaque-token", "opaque-token"), ("<opaque-token>", "opaque-token"), (JWT, "other")] {
        let body = json!({"event": {"type": "jwt.refresh", "id": id, "createInstant": 1, "token": token}});
        let result = decode(&source, body.to_string().as_bytes());
        let Err(SourceError::Unreadable { field, problem }) = result else { panic!("{id}: {result:?}") };
        assert_eq!((field.as_str(), problem.as_str()), ("event.id", "holds a token"));
    }
    let kept = |member: &str| json!({"event": {"type": "opaque-token", member: "opaque-token"}});
    let object = json!({"event": {"type": "opaque-token", "refreshToken": {"token": "opaque-token"}}});
    let jwt = json!({"event": {"type": JWT}});
    // Read by its type alone: what the tokens are is not known.
    let broken = r#"{"event":{"createInstant":1e999,"token":"opaque-token","type":"opaque-token"}}"#.to_owned();
    let bodies = [kept("original"), kept("token"), kept("refreshToken"), object, jwt].map(|body| body.to_string());
    for body in bodies.into_iter().chain([broken]) {
        match decode(&source, body.as_bytes()).unwrap() {
            Decoded::Ignored { kind } => assert_eq!(kind, "(not shown: it may be a token)", "{body}"),
            Decoded::Event(_) => panic!("{body} was taken"),
        }
    }
}

#[test]
fn minus_zero_is_an_integer() {
    let event = event(&keeping(&[]), with("createInstant", "-0").as_bytes());
    assert_eq!(serde_json::to_value(event.occurred_at).unwrap(), "1970-01-01T00:00:00.000Z");
}
