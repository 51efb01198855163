//! `cloudevents`: CloudEvents 1.0 in structured JSON mode, for event brokers.
//!
//! `data` is the journal's line, byte for byte, so that its hash can still be checked where it arrives. `sequence` and
//! `partitionkey` are documented extensions. <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::{gist::Gist, members::object};
use crate::record::{Kind, Record};

/// It has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// One event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// One event.
pub fn encode(line: &Bytes, key: &str, _config: Config) -> serde_json::Result<Bytes> {
    let record: Record = serde_json::from_slice(line)?;
    let gist = Gist::of(&record);
    object(line.len() + 512, |all| {
        all.put("specversion", "1.0");
        all.put("id", &text(key));
        all.put("source", &format_args!("urn:refresh-audit:{}", record.journal));
        all.put("type", kind(record.kind));
        let of_alarm = record.alarm.as_ref().map(|alarm| alarm.name.as_str());
        all.maybe("subject", gist.user().or(gist.incident()).or(of_alarm).filter(|subject| !subject.is_empty()).map(text));
        all.put("time", &gist.time);
        all.put("datacontenttype", "application/json");
        all.put("dataschema", "urn:refresh-audit:record:1");
        // As texts, they sort as the numbers do.
        all.put("sequence", &format_args!("{:020}", record.seq));
        all.put("recordhash", &record.hash);
        all.maybe("partitionkey", gist.user().filter(|user| !user.is_empty()).map(text));
        all.raw("data", line);
    })
}

/// A text as an attribute may have it: the specification's type String holds no control characters and no noncharacters.
/// One that does is percent-encoded where it does, and at each `%`, so that two texts never become one.
fn text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_disallowed) {
        return text.into();
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '%' || is_disallowed(c) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| encoded.push_str(&format!("%{byte:02X}")));
        } else {
            encoded.push(c);
        }
    }
    encoded.into()
}

fn is_disallowed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

/// `type`; the version of the record's shape is in `dataschema`.
const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Event => "refresh-audit.event",
        Kind::Alarm => "refresh-audit.alarm",
        Kind::Replay => "refresh-audit.replay",
        Kind::Operator => "refresh-audit.operator",
        Kind::Config => "refresh-audit.config",
        Kind::Incident => "refresh-audit.incident",
        Kind::Checkpoint => "refresh-audit.checkpoint",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_hold_no_control_and_no_noncharacters() {
        // CloudEvents 1.0.2, "Type System", String: U+0000-1F, U+007F-9F and noncharacters MUST NOT be there.
        for (given, expected) in [
            ("ef73f801-92d6", "ef73f801-92d6"),
            ("50%/é\u{202e}", "50%/é\u{202e}"),
            ("a\n%", "a%0A%25"),
            ("\0\u{7f}\u{85}", "%00%7F%C2%85"),
            ("\u{fdd0}\u{ffff}\u{1fffe}", "%EF%B7%90%EF%BF%BF%F0%9F%BF%BE"),
        ] {
            assert_eq!(text(given), expected, "{given:?}");
        }
    }
}
