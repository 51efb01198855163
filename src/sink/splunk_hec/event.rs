//! One record as one HEC event: `{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"event":…,"fields":…}`. Pure.

use std::io::Write as _;

use crate::sink::{BuildError, Message, json};

/// Of the names, an instant, a usual node and key, and a seq.
const AROUND_LEN: usize = 200;

/// What every event of a sink has in common.
#[derive(Clone)]
pub(super) struct Envelope {
    host: Option<String>,
    /// `"source":…,"sourcetype":…,"index":…`.
    middle: String,
}

impl Envelope {
    pub(super) fn new(
        host: Option<String>,
        source: &str,
        sourcetype: &str,
        index: Option<&str>,
    ) -> Result<Self, BuildError> {
        let mut middle = String::new();
        for (name, value) in [("source", Some(source)), ("sourcetype", Some(sourcetype)), ("index", index)] {
            let Some(value) = value else { continue };
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(BuildError(format!(
                    "{name} is empty or holds control characters: leave it out or name one"
                )));
            }
            let value = serde_json::to_string(value).map_err(|error| BuildError(format!("{name}: {error}")))?;
            middle.push_str(&format!("\"{name}\":{value},"));
        }
        Ok(Self { host, middle })
    }

    /// About how much longer an event is than its record.
    pub(super) fn len(&self) -> usize {
        self.host.as_deref().map_or(0, str::len) + self.middle.len() + AROUND_LEN
    }

    /// Appends it and a line feed. JSON goes in as it is, anything else as a text. The key, the same on every attempt, and
    /// the seq are indexed fields, so that a search can drop what came twice whatever the format.
    pub(super) fn write(&self, out: &mut Vec<u8>, message: &Message) {
        let micros = message.head.received_at().micros();
        out.push(b'{');
        if micros >= 0 {
            // Writing to memory does not fail.
            let _ = write!(out, "\"time\":{}.{:06},", micros / 1_000_000, micros % 1_000_000);
        }
        out.extend_from_slice(b"\"host\":");
        json::text(out, self.host.as_deref().unwrap_or(message.head.node()).as_bytes());
        out.push(b',');
        out.extend_from_slice(self.middle.as_bytes());
        out.extend_from_slice(b"\"event\":");
        if message.is_json() {
            out.extend_from_slice(&message.body);
        } else {
            json::text(out, &message.body);
        }
        out.extend_from_slice(b",\"fields\":{\"record_key\":");
        json::text(out, message.key.as_bytes());
        let _ = writeln!(out, ",\"record_seq\":\"{}\"}}}}", message.seq);
    }
}
