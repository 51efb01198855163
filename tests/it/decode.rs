//! What bodies mean, and what must never be stored of them.
//!
//! `fixtures/fusionauth/make_decoded.py` made the bodies and holds the expected events, written by hand. A new case is
//! an entry there.

use std::{fs, path::Path};

use proptest::prelude::*;
use refresh_audit::{
    event::RefreshEvent,
    secret::{Fingerprinter, Secret},
    source::{Authentic, Decoded, Source, SourceError, fusionauth::Fusionauth},
};
use serde_json::{Value, json};

use crate::signatures::source;

mod ids;

fn fingerprints() -> Fingerprinter {
    Fingerprinter::new(&[Secret::new(b"fixture-only-fingerprint-key-000".to_vec())])
}

fn keeping(keep: &[&str]) -> Fusionauth {
    let keys = json!([{"alg": "HS256", "secret_file": "HS256/secret.txt"}]);
    let events = ["jwt.refresh", "jwt.refresh-token.revoke", "user.deactivate", "user.delete.complete"];
    source(json!({"keys": keys, "keep": keep, "events": events})).unwrap()
}

fn decode(source: &Fusionauth, body: &[u8]) -> Result<Decoded, SourceError> {
    let mut decoded = source.decode(&Authentic::imported(body), &fingerprints())?;
    assert_eq!(decoded.len(), 1);
    Ok(decoded.remove(0))
}

fn event(source: &Fusionauth, body: &[u8]) -> RefreshEvent {
    match decode(source, body) {
        Ok(Decoded::Event(event)) => *event,
        Ok(Decoded::Ignored { kind }) => panic!("{kind} was ignored"),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(body)),
    }
}

#[test]
fn bodies_become_the_events_written_by_hand() {
    let source = keeping(&[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fusionauth/decoded");
    let mut cases = 0;
    for case in fs::read_dir(folder).unwrap() {
        let case = case.unwrap().path();
        let expected: Value = serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        let event = event(&source, &fs::read(case.join("body.json")).unwrap());
        assert_eq!(serde_json::to_value(event).unwrap(), expected, "{}", case.display());
        cases += 1;
    }
    assert!(cases >= 33);
}

/// The least that is taken, with one member put in or replaced.
fn with(member: &str, value: &str) -> String {
    let mut members = vec![("type", r#""jwt.refresh""#), ("id", r#""e1""#), ("createInstant", "1566842908643")];
    members.retain(|(name, _)| *name != member);
    members.push((member, value));
    let members: Vec<_> = members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!(r#"{{"event":{{{}}}}}"#, members.join(","))
}

#[test]
fn what_cannot_be_read_is_named_and_its_value_is_not() {
    let source = keeping(&[]);
    let (marked, long) = (r#""VALUE""#, format!(r#""{}""#, "V".repeat(129)));
    let mut table: Vec<(String, &str)> = [
        ("", "body"),
        ("VALUE", "body"),
        (r#""VALUE""#, "body"),
        ("[]", "body"),
        ("null", "body"),
        (r#"{"event":{"type":"jwt.refresh""#, "body"),
        (r#"{"event":{"type":"jwt.refresh"}} VALUE"#, "body"),
        ("{}", "event"),
        (r#"{"type":"jwt.refresh","id":"e1","createInstant":1}"#, "event"),
        (r#"{"event":null}"#, "event"),
        (r#"{"event":["VALUE"]}"#, "event"),
        (r#"{"event":"VALUE"}"#, "event"),
        (r#"{"event":{},"event":{}}"#, "event"),
        (r#"{"event":{}}"#, "event.type"),
        (r#"{"event":{"type":"user.create","type":"jwt.refresh","id":"e1","createInstant":1}}"#, "event.type"),
        (r#"{"event":{"type":"jwt.refresh","createInstant":1}}"#, "event.id"),
        (r#"{"event":{"type":"jwt.refresh","id":"e1"}}"#, "event.createInstant"),
        (r#"{"event":{"type":"jwt.refresh","id":"e1","\u0069d":"e1","createInstant":1}}"#, "event.id"),
        (r#"{"event":{"type":"jwt.refresh","id":"e1","createInstant":1,"token":null,"token":"VALUE"}}"#, "event.token"),
    ]
    .map(|(body, field)| (body.to_owned(), field))
    .to_vec();
    for (member, values, field) in [
        ("type", ["null", "7", r#""""#, "{}"].as_slice(), "event.type"),
        ("id", &["null", "7", r#""""#, "{}", &long, "true"], "event.id"),
        ("createInstant", &["null", "1.5", "1e3", "1.0", "-0.0", marked, "true", "[]"], "event.createInstant"),
        ("createInstant", &["1e999", "-1e999"], "event.createInstant"),
        ("createInstant", &["253402300800000", "-62135596800001", "18446744073709551615"], "event.createInstant"),
        ("info", &[r#"{"location":{"latitude":1e999}}"#], "event.info.location.latitude"),
        ("tenantId", &["7", "{}", "[\"VALUE\"]", "false", &long], "event.tenantId"),
        ("applicationId", &["7.5", &long], "event.applicationId"),
        ("userId", &["7", "1e999", &long], "event.userId"),
        ("linkedObjectId", &["7", &long], "event.linkedObjectId"),
        ("user", &["7", marked, "[]"], "event.user"),
        ("user", &[r#"{"id":7}"#, r#"{"id":{"VALUE":1}}"#, r#"{"id":"VALUE","id":"VALUE"}"#], "event.user.id"),
        ("original", &["7", "{}"], "event.original"),
        ("token", &["7", "[\"VALUE\",7]"], "event.token"),
        ("refreshToken", &["7", "{\"token\":\"VALUE\"}", "[]"], "event.refreshToken"),
        ("info", &["7", marked, "[]"], "event.info"),
        ("info", &[r#"{"ipAddress":7}"#], "event.info.ipAddress"),
        ("info", &[r#"{"ipAddress":"VALUE","ipAddress":"VALUE"}"#], "event.info.ipAddress"),
        ("info", &[r#"{"userAgent":["VALUE"]}"#], "event.info.userAgent"),
        ("info", &[r#"{"deviceName":1}"#], "event.info.deviceName"),
        ("info", &[r#"{"deviceType":1}"#], "event.info.deviceType"),
        ("info", &[r#"{"deviceDescription":1}"#], "event.info.deviceDescription"),
        ("info", &[r#"{"os":{"VALUE":1}}"#], "event.info.os"),
        ("info", &[r#"{"location":"VALUE"}"#], "event.info.location"),
        ("info", &[r#"{"location":{"city":1}}"#], "event.info.location.city"),
        ("info", &[r#"{"location":{"latitude":"VALUE"}}"#], "event.info.location.latitude"),
        ("info", &[r#"{"location":{"longitude":true}}"#], "event.info.location.longitude"),
        ("info", &[r#"{"location":{"city":"VALUE","city":"VALUE"}}"#], "event.info.location.city"),
    ] {
        table.extend(values.iter().map(|value| (with(member, value), field)));
    }
    for (body, field) in table {
        let Err(SourceError::Unreadable { field: named, problem }) = decode(&source, body.as_bytes()) else {
            panic!("{body} was read");
        };
        assert_eq!(named, field, "{body}: {named}, {problem}");
        assert!(
            !named.contains("VALUE") && !problem.contains("VALUE") && !problem.contains("VVV"),
            "{body}: {problem}"
        );
    }
}

#[test]
fn bytes_that_are_no_json_or_nest_for_ever_are_refused() {
    let source = keeping(&["info.data"]);
    let deep =
        |opening: &str, closing: &str| with("x", &format!("{}{}", opening.repeat(50_000), closing.repeat(50_000)));
    for body in [
        // Not even with marks in place of what is no UTF-8.
        b"{\"event\":\xff}".to_vec(),
        deep("[", "]").into_bytes(),
        with("info", &format!("{{\"data\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000))).into_bytes(),
        deep(r#"{"a":"#, "").into_bytes(),
        b"[".repeat(1_000_000),
        b"\xef\xbb\xbf{}".to_vec(),
        vec![0; 64],
    ] {
        assert!(matches!(decode(&source, &body), Err(SourceError::Unreadable { field, .. }) if field == "body"));
    }
}

/// A client chooses its user agent: nothing in it keeps its refresh from being recorded.
#[test]
fn what_is_no_text_is_read_with_marks_in_its_place() {
    let source = keeping(&["info.data"]);
    for (agent, expected) in [
        (&b"a\xff|\xc3(\xe2\x82b\xf0\x9f"[..], "a\u{fffd}|\u{fffd}(\u{fffd}b\u{fffd}"),
        (br"\ud83d|\uDE00x\ud83d\ude00", "\u{fffd}|\u{fffd}x\u{1f600}"),
        (b"\xff\\ud83d", "\u{fffd}\u{fffd}"),
    ] {
        let body = with("info", r#"{"userAgent":"AGENT","data":{"ticket":"AGENT"}}"#).replace("AGENT", "\0");
        let parts: Vec<&[u8]> = body.as_bytes().split(|byte| *byte == 0).collect();
        let event = event(&source, &parts.join(agent));
        assert_eq!((event.id.as_str(), event.user_agent.as_deref()), ("e1", Some(expected)));
        assert_eq!(serde_json::to_value(&event.kept).unwrap()["info.data"]["ticket"], expected);
    }
}

#[test]
fn a_type_that_is_not_taken_needs_only_its_type() {
    let source = keeping(&[]);
    for (body, kind) in [
        (r#"{"event":{"type":"user.create"}}"#.to_owned(), "user.create".to_owned()),
        (r#"{"event":{"id":7,"createInstant":"x","info":[],"type":"test"}}"#.to_owned(), "test".to_owned()),
        (r#"{"event":{"type":"JWT.refresh"}}"#.to_owned(), "JWT.refresh".to_owned()),
        (format!(r#"{{"event":{{"type":"{}"}}}}"#, "é".repeat(500)), "é".repeat(64)),
        (r#"{"event":{"createInstant":1e999,"info":"\ud83d","type":"test"}}"#.to_owned(), "test".to_owned()),
        (
            format!(r#"{{"event":{{"info":{0}{1},"type":"test"}}}}"#, "[".repeat(50_000), "]".repeat(50_000)),
            "test".to_owned(),
        ),
    ] {
        match decode(&source, body.as_bytes()).unwrap() {
            Decoded::Ignored { kind: found } => assert_eq!(found, kind),
            Decoded::Event(_) => panic!("{body} was taken"),
        }
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let source = keeping(&[]);
    let body = with("info", &format!(r#"{{"userAgent":"a{}","os":"{}"}}"#, "é".repeat(5_000), "x".repeat(2_000)));
    let event = event(&source, body.as_bytes());
    // 8,192 bytes at most: one of `a` and two of each `é`.
    assert_eq!(event.user_agent.unwrap(), format!("a{}", "é".repeat(4_095)));
    assert_eq!(event.device.unwrap().os.unwrap().len(), 1_024);
}

#[test]
fn members_named_in_keep_are_stored_and_no_secret_among_them() {
    let refresh = "fixture-only-refresh-token";
    let big = "x".repeat(1_100);
    let body = json!({"event": {"type": "jwt.refresh", "id": "e1", "createInstant": 1, "refreshToken": refresh,
        "reason": "support", "count": 3, "user": {"email": "unkept@fixture.invalid", "id": "u", "none": null, "no": ""},
        "info": {"data": {"ticket": "T-1", "list": [1, {"a": true}], "big": big, "mine": format!("<{refresh}>"),
                          "jwt": "eyJhbGciOiJub25lIn0.e30.", "inner": {"accessToken": "x"}}}}});
    let keep = [
        "reason",
        "count",
        "user.id",
        "user.none",
        "user.no",
        "user.absent",
        "info.data.ticket",
        "info.data.list",
        "info.data.big",
        "info.data.mine",
        "info.data.jwt",
        "info.data.inner",
        "info.data",
        "type.deeper",
    ];
    let event = event(&keeping(&keep), body.to_string().as_bytes());
    assert_eq!(
        serde_json::to_value(event.kept).unwrap(),
        json!({"reason": "support", "count": 3, "user.id": "u", "info.data.ticket": "T-1",
               "info.data.list": [1, {"a": true}]})
    );
}

/// Whether any 12 bytes of `secret` are in `text`.
fn leaks(text: &str, secret: &str) -> bool {
    let windows: Vec<_> = secret.as_bytes().windows(12).collect();
    windows.iter().any(|piece| memchr::memmem::find(text.as_bytes(), piece).is_some())
}

/// A JSON value of any shape.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,12}", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

/// A JWT with a claim of every kept name and others besides, or an opaque token.
fn any_token() -> impl Strategy<Value = String> {
    use base64::{
        Engine,
        engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD},
    };
    const KEPT: [&str; 12] =
        ["iss", "sub", "aud", "exp", "iat", "jti", "sid", "auth_time", "tid", "applicationId", "scope", "roles"];
    let kept = prop::collection::btree_map(
        prop::sample::select(&KEPT),
        prop_oneof![any_json(), "[a-z0-9-]{1,40}".prop_map(Value::from)],
        0..8,
    );
    let unkept = prop::collection::btree_map("(email|name|data|[a-z]{4,8}x)", "UNKEPT[a-z]{12,30}", 0..4);
    let jwt = (kept, unkept, any::<bool>()).prop_map(|(kept, unkept, padded)| {
        let mut claims = json!(kept);
        for (name, value) in unkept {
            claims[name] = json!({"inner": value});
        }
        let engine = if padded { URL_SAFE } else { URL_SAFE_NO_PAD };
        let part = |value: &Value| engine.encode(value.to_string());
        format!("{}.{}.bm90LWEtc2lnbmF0dXJl", part(&json!({"alg": "RS256", "x5t": "UNKEPTheader"})), part(&claims))
    });
    prop_oneof![jwt, "[A-Za-z0-9+/]{24,80}", "[ -~]{16,40}", "\\PC{16,30}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&keeping(&["info"]), &body);
    }

    #[test]
    fn a_damaged_body_is_read_or_refused_and_leaks_nothing(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 0..4),
    ) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fusionauth/decoded/full/body.json");
        let whole = fs::read(folder).unwrap();
        let intact: Value = serde_json::from_slice(&whole).unwrap();
        let mut body = whole;
        for (at, edit, byte) in edits {
            let at = at.index(body.len());
            match edit {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => { body.remove(at); }
            }
        }
        if let Ok(Decoded::Event(event)) = decode(&keeping(&[]), &body) {
            let stored = serde_json::to_string(&event).unwrap();
            for member in ["original", "token", "refreshToken"] {
                prop_assert!(!leaks(&stored, intact["event"][member].as_str().unwrap()), "{stored}");
            }
            prop_assert!(!stored.contains("unkept"), "{stored}");
        }
    }

    #[test]
    fn no_token_and_no_unkept_claim_is_ever_stored(
        tokens in (any_token(), any_token(), any_token()),
        info in any_json(),
        (before, after) in (".{0,10}", ".{0,10}"),
        spill in 0..3_usize,
        revoke in any::<bool>(),
    ) {
        let (original, token, refresh) = tokens;
        let spilled = [&original, &token, &refresh][spill];
        let text = format!("{before}{spilled}{after}");
        let refresh_member = if revoke { json!({"token": refresh, "id": "x"}) } else { json!(refresh) };
        let kind = if revoke { "jwt.refresh-token.revoke" } else { "jwt.refresh" };
        let body = json!({"event": {"type": kind, "id": "e1", "createInstant": 1, "userId": "u", "original": original,
            "token": token, "refreshToken": refresh_member, "linkedObjectId": spilled.chars().take(128).collect::<String>(),
            "other": info, "text": text,
            "info": {"userAgent": text, "deviceName": text, "data": {"text": text, "any": info}}}});
        let source = keeping(&["other", "text", "info.data", "info.userAgent"]);
        // A JWT of more than 128 characters is cut above, and the rest still looks like one.
        let stored = match decode(&source, body.to_string().as_bytes()) {
            Ok(Decoded::Event(event)) => serde_json::to_value(event).unwrap(),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        let mut strings = Vec::new();
        collect(&stored, &mut strings);
        for text in strings {
            for secret in [&original, &token, &refresh] {
                prop_assert!(!leaks(&text, secret), "{text} of {secret}");
            }
            prop_assert!(!text.contains("UNKEPT"), "{text}");
        }
    }
}

/// Every string and name in it, unescaped.
fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|item| collect(item, into)),
        Value::Object(members) => members.iter().for_each(|(name, item)| {
            into.push(name.clone());
            collect(item, into);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
