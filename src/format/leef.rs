//! `leef`: IBM's Log Event Extended Format 2.0, for QRadar.
//!
//! `LEEF:2.0|vendor|product|version|event id|^|key=value^key=value…`, one line of UTF-8. LEEF has no escapes: what a value
//! cannot hold (the delimiter, in the header `|`) becomes U+FFFD, and line ends become spaces. The delimiter is the one
//! of IBM's own example, since syslog relays like to rewrite the default, a tab.
//! <https://www.ibm.com/docs/en/dsm?topic=overview-leef-event-components>

use std::fmt::{self, Display};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    gist::{Gist, PRODUCT, VERSION},
    plain::{self, Joined, Style, class, details, printable, push, value},
};
use crate::{record::Record, time::EventTime};

/// It has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// One line.
pub const MEDIA_TYPE: &str = "text/plain; charset=utf-8";

const DELIMITER: char = '^';
/// Of a value. QRadar cuts payloads at 4,096 bytes unless told otherwise; a longer value would push out all others.
const LENGTH: usize = 1_023;
/// Java's SimpleDateFormat, one of the patterns that IBM suggests.
const TIME_FORMAT: &str = "MMM dd yyyy HH:mm:ss.SSS z";

/// One line.
pub fn encode(line: &Bytes, key: &str, _config: Config) -> serde_json::Result<Bytes> {
    let record: Record = serde_json::from_slice(line)?;
    let gist = Gist::of(&record);
    let mut out = Vec::with_capacity(line.len());
    out.extend_from_slice(b"LEEF:2.0|");
    for field in [PRODUCT, PRODUCT, VERSION, class(&gist)] {
        value::<Field>(&mut out, LENGTH, &field);
        out.push(b'|');
    }
    push(DELIMITER, &mut out);
    out.push(b'|');
    let start = out.len();
    write_attributes(&mut Attributes { out: &mut out, start }, &gist, key);
    Ok(out.into())
}

/// A field of the header.
struct Field;

impl Style for Field {
    fn carried(c: char) -> char {
        if c == '|' { char::REPLACEMENT_CHARACTER } else { Value::carried(c) }
    }

    fn escaped(_: char) -> Option<&'static str> {
        None
    }
}

/// A value of an attribute.
struct Value;

impl Style for Value {
    fn carried(c: char) -> char {
        match c {
            '\n' | '\r' => ' ',
            DELIMITER => char::REPLACEMENT_CHARACTER,
            c => printable(c),
        }
    }

    fn escaped(_: char) -> Option<&'static str> {
        None
    }
}

struct Attributes<'o> {
    out: &'o mut Vec<u8>,
    /// Where the first key is.
    start: usize,
}

impl Attributes<'_> {
    /// A key with its value; neither where the value is empty. The key's first letter is written lower-case.
    fn put(&mut self, key: &str, text: &dyn Display) {
        let before = self.out.len();
        if before > self.start {
            push(DELIMITER, self.out);
        }
        let name = self.out.len();
        self.out.extend_from_slice(key.as_bytes());
        self.out[name..].iter_mut().take(1).for_each(u8::make_ascii_lowercase);
        self.out.push(b'=');
        let empty = self.out.len();
        value::<Value>(self.out, LENGTH, text);
        if self.out.len() == empty {
            self.out.truncate(before);
        }
    }

    fn maybe(&mut self, key: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.put(key, &text);
        }
    }
}

fn write_attributes(to: &mut Attributes<'_>, gist: &Gist<'_>, key: &str) {
    let record = gist.record;
    to.put("devTime", &Instant(gist.time));
    to.put("devTimeFormat", &TIME_FORMAT);
    to.put("sev", &plain::severity(gist.severity));
    to.put("cat", &record.kind.as_str());
    match gist.ip() {
        Some(ip) => to.put("src", &ip),
        None => to.maybe("address", gist.address()),
    }
    to.maybe("usrName", gist.user());
    to.maybe("policy", gist.rules().next().map(|_| Joined(gist.rules())));
    to.maybe("resource", gist.application());
    to.maybe("realm", gist.tenant());
    to.put("action", &gist.action);
    to.maybe("verdict", gist.verdict());
    if let Some(event) = &record.event {
        to.put("outcome", &event.outcome.as_str());
        to.maybe("reason", event.failure.as_ref().map(plain::reason));
    }
    to.put("title", &gist.title);
    to.maybe("msg", gist.message.as_ref());
    to.put("journal", &record.journal);
    to.put("node", &record.node);
    to.put("seq", &record.seq);
    to.put("hash", &record.hash);
    to.put("key", &key);
    to.put("receivedAt", &record.received_at);
    to.maybe("occurredAt", record.event.as_ref().map(|event| event.occurred_at));
    to.maybe("source", record.source.as_ref());
    to.maybe("session", gist.session());
    to.maybe("risk", gist.risk());
    if let Some(incident) = &record.incident {
        to.put("firstSeen", &incident.first_seen);
        to.put("lastSeen", &incident.last_seen);
        to.put("findings", &incident.findings);
    }
    // Its line ends cannot be written otherwise.
    to.maybe("checkpoint", record.checkpoint.as_ref().map(|signed| STANDARD.encode(&signed.note)));
    details(gist, |name, text| to.put(name, text));
    to.maybe("userAgent", record.event.as_ref().and_then(|event| event.user_agent.as_ref()));
}

/// An instant as [`TIME_FORMAT`] says.
struct Instant(EventTime);

impl Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The years 0001 to 9999, less the last day, are a timestamp's.
        let at = Timestamp::from_millisecond(self.0.millis()).map_err(|_| fmt::Error)?;
        write!(f, "{} GMT", at.strftime("%b %d %Y %H:%M:%S%.3f"))
    }
}
