//! Texts meant to break out of their place, in every free text of a record at once: each format must stay one well-formed
//! record, and hold the text where it belongs as far as its line can carry it.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

use super::{FORMATS, cef, encode, leef, records, schema};

/// Free texts of each kind of record, as JSON pointers.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "event",
        &[
            "/source",
            "/evidence/alg",
            "/evidence/key_id",
            "/evidence/authenticity",
            "/event/id",
            "/event/type",
            "/event/tenant_id",
            "/event/application_id",
            "/event/user_id",
            "/event/session_id",
            "/event/linked_object_id",
            "/event/ip",
            "/event/user_agent",
            "/event/device/name",
            "/event/device/type",
            "/event/device/description",
            "/event/device/os",
            "/event/location/city",
            "/event/location/region",
            "/event/location/country",
            "/event/location/zipcode",
            "/event/location/display",
            "/event/network/org",
            "/event/network/labels/0",
            "/event/client/browser",
            "/event/client/version",
            "/event/client/os",
            "/event/client/kind",
            "/event/correlation_id",
            "/event/grant/scope",
            "/event/kept/info.data.ticket",
            "/findings/0/reason",
            "/findings/1/rule",
            "/findings/1/name",
            "/findings/1/reason",
            "/findings/1/attack/0",
            "/findings/0/incident",
            "/findings/1/incident",
        ],
    ),
    ("alarm", &["/alarm/name", "/alarm/subject", "/alarm/message"]),
    ("incident", &["/incident/summary", "/incident/ip", "/incident/id", "/incident/session_id", "/incident/rules/0"]),
    ("replay", &["/event/failure/class", "/event/failure/code", "/event/ip", "/event/user_id", "/source"]),
    ("operator", &["/operator/action", "/operator/subject", "/operator/detail"]),
    ("config", &["/config/what", "/config/digest"]),
    ("checkpoint", &["/checkpoint/note"]),
];

/// What means something to some format, terminal, editor or parser.
pub const PIECES: &[&str] = &[
    "|",
    "=",
    "\\",
    "\\\\",
    "\\n",
    "\\|",
    "\"",
    "'",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{2029}",
    "\u{202e}",
    "\u{200f}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "^",
    " ",
    "  ",
    "é",
    "📱",
    "a",
    "0",
    "x1",
    " cs1=",
    " src=192.0.2.66 ",
    "^src=192.0.2.66^",
    "CEF:0|a|b|c|d|e|9|",
    "LEEF:2.0|a|b|c|d|^|",
    "{",
    "}",
    "\",\"event\":{",
    "<34>1 ",
    "&",
    "%0a",
    "$(x)",
    "</script>",
];

/// The record of a kind with `text` in every one of its free texts.
fn poisoned(kind: &str, text: &str) -> (Value, String) {
    let mut record: Value = serde_json::from_str(&records()[kind]).unwrap();
    for pointer in TEXTS.iter().find(|(name, _)| *name == kind).unwrap().1 {
        *record.pointer_mut(pointer).unwrap_or_else(|| panic!("{kind} has no {pointer}")) = text.into();
    }
    let line = record.to_string();
    (record, line)
}

/// What one line of CEF or LEEF can carry of a text, at most `limit` bytes, after the rules in `docs/formats.md`.
pub fn carried(text: &str, limit: usize, keeps: &[char], lost: &[char]) -> String {
    let map = |c: char| match c {
        c if keeps.contains(&c) => c,
        '\n' | '\r' | '\t' => ' ',
        '\u{2028}' | '\u{2029}' => '\u{fffd}',
        c if c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c) || lost.contains(&c) => '\u{fffd}',
        c => c,
    };
    let mut whole: String = text.chars().map(map).collect();
    if whole.len() > limit {
        while whole.len() > limit - 3 {
            whole.pop();
        }
        whole.push('…');
    }
    whole
}

/// Name of the text, the pointer it comes from, bytes at most.
type Place = (&'static str, &'static str, usize);

const CEF_PLACES: &[(&str, &[Place])] = &[
    (
        "event",
        &[
            ("msg", "/findings/1/reason", 1_023),
            ("shost", "/event/ip", 1_023),
            ("duid", "/event/user_id", 1_023),
            ("requestClientApplication", "/event/user_agent", 1_023),
            ("sourceServiceName", "/source", 1_023),
            ("cs2", "/event/id", 4_000),
            ("cs4", "/event/session_id", 4_000),
            ("cs5", "/event/application_id", 4_000),
            ("cs6", "/event/tenant_id", 4_000),
            ("RefreshAuditIncident", "/findings/1/incident", 1_023),
            ("RefreshAuditDevice", "/event/device/name", 1_023),
            ("RefreshAuditCity", "/event/location/city", 1_023),
            ("RefreshAuditNetwork", "/event/network/org", 1_023),
            ("RefreshAuditCorrelation", "/event/correlation_id", 1_023),
        ],
    ),
    ("alarm", &[("msg", "/alarm/message", 1_023), ("RefreshAuditSubject", "/alarm/subject", 1_023)]),
    ("incident", &[("msg", "/incident/summary", 1_023), ("RefreshAuditIncident", "/incident/id", 1_023)]),
    ("replay", &[("shost", "/event/ip", 1_023)]),
    ("operator", &[("RefreshAuditSubject", "/operator/subject", 1_023)]),
    ("config", &[]),
    ("checkpoint", &[("RefreshAuditCheckpoint", "/checkpoint/note", 1_023)]),
];

const LEEF_PLACES: &[(&str, &[Place])] = &[
    (
        "event",
        &[
            ("msg", "/findings/1/reason", 1_023),
            ("address", "/event/ip", 1_023),
            ("usrName", "/event/user_id", 1_023),
            ("userAgent", "/event/user_agent", 1_023),
            ("key", "/event/id", 1_023),
            ("title", "/findings/1/name", 1_023),
            ("incident", "/findings/1/incident", 1_023),
            ("device", "/event/device/name", 1_023),
            ("city", "/event/location/city", 1_023),
        ],
    ),
    ("alarm", &[("msg", "/alarm/message", 1_023), ("subject", "/alarm/subject", 1_023)]),
    ("incident", &[("msg", "/incident/summary", 1_023)]),
    ("replay", &[("address", "/event/ip", 1_023)]),
    ("operator", &[("subject", "/operator/subject", 1_023)]),
    ("config", &[]),
    // In base64, since it has line ends.
    ("checkpoint", &[]),
];

/// Every place of a kind holds what its line can carry of the record's text.
fn hold(
    places: &[(&str, &[Place])],
    kind: &str,
    record: &Value,
    get: impl Fn(&str) -> Option<String>,
    rules: [&[char]; 2],
) {
    for (key, pointer, limit) in places.iter().find(|(name, _)| *name == kind).unwrap().1 {
        let expected = carried(record.pointer(pointer).unwrap().as_str().unwrap(), *limit, rules[0], rules[1]);
        let found = get(key).unwrap_or_default();
        assert_eq!(found, expected, "{key} of {kind}");
    }
}

fn check(kind: &str, text: &str) {
    let (record, line) = poisoned(kind, text);
    for format in FORMATS {
        let encoded = encode(format, &line);
        assert!(!encoded.contains(['\n', '\r', '\0']), "{format} of {kind} is not one line");
        match *format {
            "'cef'" => {
                let parsed = cef::parse(&encoded).unwrap_or_else(|error| panic!("{kind}: {error}\n{encoded:?}"));
                cef::check(&parsed).unwrap();
                hold(CEF_PLACES, kind, &record, |key| parsed.get(key).map(str::to_owned), [&['\n', '\r'], &[]]);
                if kind == "event" && !text.is_empty() {
                    assert_eq!(parsed.header[4], carried(text, 1_023, &[], &[]));
                    assert_eq!(parsed.header[5], carried(text, 512, &[], &[]));
                }
            }
            "'leef'" => {
                let parsed = leef::parse(&encoded).unwrap_or_else(|error| panic!("{kind}: {error}\n{encoded:?}"));
                hold(LEEF_PLACES, kind, &record, |key| parsed.get(key).map(str::to_owned), [&[], &['^']]);
                if kind == "event" {
                    assert_eq!(parsed.header[4], carried(text, 1_023, &[], &['^', '|']));
                }
            }
            format => {
                let document: Value = serde_json::from_str(&encoded).unwrap();
                let wrong = match format {
                    "'ecs'" => schema::ecs(&document),
                    "'cloudevents'" => schema::cloudevent(&document),
                    _ => schema::ocsf(&document),
                };
                assert_eq!(wrong, [""; 0], "{format} of {kind}");
                json_holds(format, kind, text, &document, &record);
            }
        }
    }
}

/// JSON carries every text whole.
fn json_holds(format: &str, kind: &str, text: &str, document: &Value, record: &Value) {
    let pointers: &[&str] = match (format, kind) {
        ("'cloudevents'", _) => return assert_eq!(document["data"], *record),
        ("'ecs'", "event") => {
            &["/user_agent/original", "/user/id", "/source/address", "/rule/name", "/refresh_audit/device/name"]
        }
        ("'ecs'", "alarm") => &["/message", "/refresh_audit/alarm/message"],
        ("{ type = 'ocsf', findings = true }", "event") => {
            &["/finding_info/title", "/evidences/0/http_request/user_agent"]
        }
        (_, "event") => {
            &["/http_request/user_agent", "/user/uid", "/src_endpoint/name", "/unmapped/device/description"]
        }
        _ => &["/message"],
    };
    for pointer in pointers.iter().filter(|_| ["event", "alarm"].contains(&kind)) {
        assert_eq!(document.pointer(pointer).unwrap(), text, "{pointer} in {format}");
    }
}

#[test]
fn each_piece_alone_and_eight_kilobytes_of_it() {
    for piece in PIECES {
        for (kind, _) in TEXTS {
            check(kind, piece);
        }
        for kind in ["event", "alarm"] {
            check(kind, &piece.repeat(8_192 / piece.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn whatever_the_texts_are_a_record_stays_one_record(pieces in vec(select(PIECES), 1..40), kind in 0..TEXTS.len()) {
        check(TEXTS[kind].0, &pieces.concat());
    }

    #[test]
    fn any_unicode_stays_one_record(text in "\\PC{1,60}|(?s).{1,60}", kind in 0..TEXTS.len()) {
        check(TEXTS[kind].0, &text);
    }
}

/// What a decoder made of bytes that were no UTF-8 travels as U+FFFD, whole.
#[test]
fn replaced_bytes_stay_replaced() {
    let text = String::from_utf8_lossy(b"a\xff|\xc3(\xe2\x82b\xf0\x9f").into_owned();
    assert_eq!(text, "a\u{fffd}|\u{fffd}(\u{fffd}b\u{fffd}");
    for (kind, _) in TEXTS {
        check(kind, &text);
    }
}
