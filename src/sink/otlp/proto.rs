//! The messages of OpenTelemetry's logs as bytes, written once and in one pass. Their field numbers are those of
//! `opentelemetry-proto` 1.x (`logs.proto`, `common.proto`, `resource.proto`, `logs_service.proto`), their form is
//! <https://protobuf.dev/programming-guides/encoding/>. Knows no record.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// `ScopeLogs.log_records`.
pub(super) const LOG_RECORDS: u32 = 2;
/// `Resource.attributes`.
pub(super) const RESOURCE_ATTRIBUTES: u32 = 1;
/// `ExportLogsServiceRequest.resource_logs`.
const RESOURCE_LOGS: u32 = 1;
/// Of `ResourceLogs`.
const RESOURCE: u32 = 1;
const SCOPE_LOGS: u32 = 2;
/// Of `ScopeLogs` and `InstrumentationScope`.
const SCOPE: u32 = 1;
const SCOPE_NAME: u32 = 1;
const SCOPE_VERSION: u32 = 2;
/// Of `KeyValue`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// Of `AnyValue` and `ArrayValue`.
const STRING: u32 = 1;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;
const ARRAY_VALUES: u32 = 1;

/// Most messages that are written before their length is known have one of two bytes.
const LEN_LEN_USUAL: usize = 2;

/// A number; none where it is 0, which is what is not there.
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
}

/// A number of 8 bytes; none where it is 0.
pub(super) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        encode_key(field, WireType::SixtyFourBit, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// A text, or a message that is ready.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    head(out, field, value.len());
    out.extend_from_slice(value);
}

/// An `AnyValue` with a text.
pub(super) fn any_text(out: &mut Vec<u8>, field: u32, text: &str) {
    head(out, field, field_len(text.len()));
    bytes(out, STRING, text.as_bytes());
}

/// A message that `write` writes.
pub(super) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(field, WireType::LengthDelimited, out);
    let at = out.len();
    let begin = at + LEN_LEN_USUAL;
    out.resize(begin, 0);
    write(out);
    let mut len = Vec::with_capacity(LEN_LEN_USUAL);
    encode_varint((out.len() - begin) as u64, &mut len);
    out.splice(at..begin, len);
}

/// Everything of an `ExportLogsServiceRequest` before its log records, which are `records` bytes.
pub(super) fn request_head(
    records: usize,
    write_resource: impl FnOnce(&mut Vec<u8>),
    (name, version): (&str, &str),
) -> Vec<u8> {
    let (mut resource, mut scope, mut out) = (Vec::new(), Vec::new(), Vec::new());
    message(&mut resource, RESOURCE, write_resource);
    message(&mut scope, SCOPE, |scope| {
        bytes(scope, SCOPE_NAME, name.as_bytes());
        bytes(scope, SCOPE_VERSION, version.as_bytes());
    });
    let scope_logs = scope.len() + records;
    head(&mut out, RESOURCE_LOGS, resource.len() + field_len(scope_logs));
    out.extend_from_slice(&resource);
    head(&mut out, SCOPE_LOGS, scope_logs);
    out.extend_from_slice(&scope);
    out
}

fn head(out: &mut Vec<u8>, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// Bytes of a field with so many in it. All fields here have numbers below 16: a key of one byte.
fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// Attributes of one thing, without those that are not known.
pub(super) struct Attributes<'o> {
    out: &'o mut Vec<u8>,
    field: u32,
}

impl<'o> Attributes<'o> {
    /// As this field of the message that is being written.
    pub(super) fn new(out: &'o mut Vec<u8>, field: u32) -> Self {
        Self { out, field }
    }

    /// A name and an `AnyValue` of so many bytes, which are to be written behind it.
    fn named(&mut self, key: &str, len: usize) {
        head(self.out, self.field, field_len(key.len()) + field_len(len));
        bytes(self.out, KEY, key.as_bytes());
        head(self.out, VALUE, len);
    }

    pub(super) fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.named(key, field_len(value.len()));
            bytes(self.out, STRING, value.as_bytes());
        }
    }

    pub(super) fn texts<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str> + Clone) {
        let len: usize = values.clone().map(|value| field_len(field_len(value.len()))).sum();
        if len > 0 {
            self.named(key, field_len(len));
            head(self.out, ARRAY, len);
            for value in values {
                any_text(self.out, ARRAY_VALUES, value);
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.named(key, 1 + size_of::<f64>());
            encode_key(DOUBLE, WireType::SixtyFourBit, self.out);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn count(&mut self, key: &str, value: u64) {
        let value = value.min(i64::MAX.unsigned_abs());
        self.named(key, 1 + encoded_len_varint(value));
        encode_key(INT, WireType::Varint, self.out);
        encode_varint(value, self.out);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource};
    use prost::Message as _;

    use super::*;

    #[test]
    fn lengths_of_any_size_are_right() {
        // A length takes 1 byte below 128, 2 below 16,384, then 3: read and written again by another implementation.
        for len in [0, 1, 100, 126, 127, 128, 16_000, 16_383, 16_384, 100_000] {
            let text = "é".repeat(len / 2) + if len % 2 == 1 { "x" } else { "" };
            let mut made = Vec::new();
            let mut attributes = Attributes::new(&mut made, RESOURCE_ATTRIBUTES);
            attributes.text("text", Some(&text));
            attributes.texts("texts", [&*text, "b"].into_iter());
            attributes.texts("none", [].into_iter());
            attributes.count("count", len as u64);
            attributes.count("large", u64::MAX);
            attributes.number("number", Some(-0.5));
            let read = Resource::decode(&made[..]).unwrap();
            let keys: Vec<&str> = read.attributes.iter().map(|KeyValue { key, .. }| &**key).collect();
            assert_eq!(keys, ["text", "texts", "count", "large", "number"], "{len}");
            assert_eq!(read.encode_to_vec(), made, "{len}");
            let mut nested = Vec::new();
            message(&mut nested, 1, |out| out.extend_from_slice(text.as_bytes()));
            let mut expected = Vec::new();
            prost::encoding::string::encode(1, &text, &mut expected);
            assert_eq!(nested, expected, "{len}");
        }
    }
}
