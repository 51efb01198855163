//! JSON put together of what is packed. Not a sink; knows none.

use bytes::Bytes;
use serde_json::Value;

use crate::record::Seq;

/// Where the formats have a record's seq: `json`, `ecs`, `ocsf`, `cloudevents`.
pub const SEQS: &[&str] = &["seq", "event.sequence", "metadata.sequence", "sequence"];

/// Of the record that a document was made of, where it says so; `cloudevents` has it as a text.
pub fn seq(document: &Value) -> Option<Seq> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    SEQS.iter().find_map(|path| document.pointer(&format!("/{}", path.replace('.', "/"))).and_then(number))
}

/// Appends bytes as a JSON text: what is not UTF-8 becomes U+FFFD.
pub fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let bytes = text.as_bytes();
    // Looked at without a branch: no record and hardly any key has a control character.
    if bytes.iter().fold(false, |any, byte| any | (*byte < 0x20)) {
        // Neither a text nor memory has a way to fail.
        let _ = serde_json::to_writer(out, &*text);
        return;
    }
    out.reserve(bytes.len() + bytes.len() / 8 + 2);
    out.push(b'"');
    let mut begin = 0;
    for at in memchr::memchr2_iter(b'"', b'\\', bytes) {
        out.extend_from_slice(&bytes[begin..at]);
        out.push(b'\\');
        begin = at;
    }
    out.extend_from_slice(&bytes[begin..]);
    out.push(b'"');
}

/// An array of what has a comma behind each.
pub fn array(mut packed: Vec<Bytes>) -> Vec<Bytes> {
    if let Some(last) = packed.last_mut() {
        last.truncate(last.len().saturating_sub(1));
    }
    packed.insert(0, Bytes::from_static(b"["));
    packed.push(Bytes::from_static(b"]"));
    packed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn made(bytes: &[u8]) -> String {
        let mut out = b"x".to_vec();
        text(&mut out, bytes);
        String::from_utf8(out).unwrap().split_off(1)
    }

    proptest! {
        #[test]
        fn it_is_what_serde_makes_of_it(text in "\\PC{0,60}|[a\\\\\"\\x00-\\x1f\\x7fé😀]{0,60}|[a\\\\\"]{0,60}") {
            prop_assert_eq!(made(text.as_bytes()), serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn what_is_no_text_is_marked() {
        assert_eq!(made(b"a\"\xff"), "\"a\\\"\u{fffd}\"");
        assert_eq!(made(b""), "\"\"");
    }

    /// As `docs/formats.md` says of `seq`.
    #[test]
    fn a_document_says_whose_it_is() {
        for (document, expected) in [
            (json!({ "seq": 7, "event": { "id": "e" } }), Some(7)),
            (json!({ "event": { "sequence": 7 } }), Some(7)),
            (json!({ "metadata": { "sequence": 7 } }), Some(7)),
            (json!({ "sequence": "00000000000000000007", "data": { "seq": 7 } }), Some(7)),
            (json!({ "n": 1 }), None),
            (json!(null), None),
        ] {
            assert_eq!(seq(&document), expected, "{document}");
        }
    }
}
