//! One record as one HEC event: `{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"event":…,"fields":…}`. Pure.

use std::io::Write as _;

use serde_json::value::RawValue;

use crate::sink::{BuildError, Message, head::Head};

/// What every event of a sink has in common.
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
                return Err(BuildError(format!("{name} is empty or holds control characters: leave it out or name one")));
            }
            let value = serde_json::to_string(value).map_err(|error| BuildError(format!("{name}: {error}")))?;
            middle.push_str(&format!("\"{name}\":{value},"));
        }
        Ok(Self { host, middle })
    }

    /// JSON goes in as it is, anything else as a text. The key, the same on every attempt, and the seq are indexed fields,
    /// so that a search can drop what came twice whatever the format.
    pub(super) fn of(&self, message: &Message) -> serde_json::Result<Vec<u8>> {
        let head = Head::read(&message.line)?;
        let mut event = Vec::with_capacity(message.body.len() + 300);
        event.push(b'{');
        if let Some(at) = head.at().filter(|at| at.micros() >= 0) {
            // Writing to memory does not fail.
            let _ = write!(event, "\"time\":{}.{:06},", at.micros() / 1_000_000, at.micros() % 1_000_000);
        }
        event.extend_from_slice(b"\"host\":");
        serde_json::to_writer(&mut event, self.host.as_deref().unwrap_or(&head.node))?;
        event.push(b',');
        event.extend_from_slice(self.middle.as_bytes());
        event.extend_from_slice(b"\"event\":");
        if is_object(message) {
            event.extend_from_slice(&message.body);
        } else {
            serde_json::to_writer(&mut event, &String::from_utf8_lossy(&message.body))?;
        }
        event.extend_from_slice(b",\"fields\":{\"record_key\":");
        serde_json::to_writer(&mut event, &message.key)?;
        let _ = write!(event, ",\"record_seq\":\"{}\"}}}}", message.seq);
        Ok(event)
    }
}

fn is_object(message: &Message) -> bool {
    // The journal's line was read as JSON when the batch was made.
    let is_line = message.body.as_ptr() == message.line.as_ptr() && message.body.len() == message.line.len();
    is_line || message.body.starts_with(b"{") && serde_json::from_slice::<&RawValue>(&message.body).is_ok()
}
