//! `cef`: ArcSight's Common Event Format, for ArcSight, Microsoft Sentinel and whatever reads CEF over syslog.
//!
//! `CEF:0|vendor|product|version|class|name|severity|extension`, one line of UTF-8. In the header `\` and `|` are escaped;
//! in the extension `\` and `=`, and line ends are written `\n` and `\r`. Keys and lengths are those of the dictionary of
//! "Implementing ArcSight CEF", version 25; what has no key is `RefreshAudit…`, as that guide wants additions named.

use std::fmt::Display;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    gist::{Gist, PRODUCT, VERSION},
    plain::{self, Joined, Style, class, details, printable, value},
};
use crate::record::{Incident, Record};

/// It has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// One line.
pub const MEDIA_TYPE: &str = "text/plain; charset=utf-8";

/// Most keys' length.
const LENGTH: usize = 1_023;

/// One line.
pub fn encode(line: &Bytes, key: &str, _config: Config) -> serde_json::Result<Bytes> {
    let record: Record = serde_json::from_slice(line)?;
    let gist = Gist::of(&record);
    let mut out = Vec::with_capacity(line.len());
    out.extend_from_slice(b"CEF:0|");
    let header: [(&dyn Display, usize); 6] = [
        (&PRODUCT, 63),
        (&PRODUCT, 63),
        (&VERSION, 31),
        (&class(&gist), LENGTH),
        (&gist.title, 512),
        (&plain::severity(gist.severity), 2),
    ];
    for (field, limit) in header {
        value::<Field>(&mut out, limit, field);
        out.push(b'|');
    }
    let start = out.len();
    write_extension(&mut Extension { out: &mut out, start }, &gist, key);
    Ok(out.into())
}

/// A field of the header, which has no way to write a line's end.
struct Field;

impl Style for Field {
    fn carried(c: char) -> char {
        if matches!(c, '\n' | '\r') { ' ' } else { printable(c) }
    }

    fn escaped(c: char) -> Option<&'static str> {
        match c {
            '\\' => Some("\\\\"),
            '|' => Some("\\|"),
            _ => None,
        }
    }
}

/// A value of the extension.
struct Value;

impl Style for Value {
    fn carried(c: char) -> char {
        if matches!(c, '\n' | '\r') { c } else { printable(c) }
    }

    fn escaped(c: char) -> Option<&'static str> {
        match c {
            '\\' => Some("\\\\"),
            '=' => Some("\\="),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            _ => None,
        }
    }
}

struct Extension<'o> {
    out: &'o mut Vec<u8>,
    /// Where the first key is.
    start: usize,
}

impl Extension<'_> {
    /// A key with its value; neither where the value is empty.
    fn put(&mut self, key: &[&str], limit: usize, text: &dyn Display) {
        let before = self.out.len();
        if before > self.start {
            self.out.push(b' ');
        }
        for part in key {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.push(b'=');
        let empty = self.out.len();
        value::<Value>(self.out, limit, text);
        if self.out.len() == empty {
            self.out.truncate(before);
        }
    }

    fn maybe(&mut self, key: &str, limit: usize, text: Option<impl Display>) {
        if let Some(text) = text {
            self.put(&[key], limit, &text);
        }
    }

    /// A custom key and what it is called.
    fn labelled(&mut self, key: &str, label: &str, limit: usize, text: Option<impl Display>) {
        if let Some(text) = text {
            self.put(&[key], limit, &text);
            self.put(&[key, "Label"], LENGTH, &label);
        }
    }
}

fn write_extension(to: &mut Extension<'_>, gist: &Gist<'_>, key: &str) {
    let record = gist.record;
    to.put(&["rt"], 20, &record.received_at.event_time().millis());
    match (&record.event, &record.incident) {
        (Some(event), _) => to.put(&["end"], 20, &event.occurred_at.millis()),
        (None, Some(incident)) => write_incident(to, incident),
        (None, None) => {}
    }
    to.put(&["cat"], LENGTH, &record.kind.as_str());
    to.maybe("act", 63, gist.verdict());
    to.maybe("outcome", 63, record.event.as_ref().map(|event| event.outcome.as_str()));
    to.maybe("reason", LENGTH, record.event.as_ref().and_then(|event| event.failure.as_ref()).map(plain::reason));
    to.maybe("msg", LENGTH, gist.message.as_ref());
    match gist.ip() {
        Some(ip) if ip.is_ipv6() => to.labelled("c6a2", "Source IPv6 Address", 45, Some(ip)),
        Some(ip) => to.put(&["src"], 16, &ip),
        None => to.maybe("shost", LENGTH, gist.address()),
    }
    to.maybe("duid", LENGTH, gist.user());
    let agent = record.event.as_ref().and_then(|event| event.user_agent.as_ref());
    to.maybe("requestClientApplication", LENGTH, agent);
    to.maybe("sourceServiceName", LENGTH, record.source.as_ref());
    to.put(&["dvchost"], 100, &record.node);
    to.put(&["deviceExternalId"], 255, &record.journal);
    to.put(&["externalId"], 40, &format_args!("{}-{}", record.journal, record.seq));
    to.labelled("cn1", "Seq", 20, Some(record.seq));
    to.labelled("cs1", "Hash", 4_000, Some(&record.hash));
    to.labelled("cs2", "Key", 4_000, Some(key));
    to.labelled("cs3", "Rules", 4_000, gist.rules().next().map(|_| Joined(gist.rules())));
    to.labelled("cs4", "Session", 4_000, gist.session());
    to.labelled("cs5", "Application", 4_000, gist.application());
    to.labelled("cs6", "Tenant", 4_000, gist.tenant());
    to.labelled("cfp1", "Risk", 32, gist.risk());
    to.maybe("RefreshAuditCheckpoint", LENGTH, record.checkpoint.as_ref().map(|signed| &signed.note));
    details(gist, |name, text| to.put(&["RefreshAudit", name], LENGTH, text));
}

fn write_incident(to: &mut Extension<'_>, incident: &Incident) {
    to.put(&["start"], 20, &incident.first_seen.event_time().millis());
    to.put(&["end"], 20, &incident.last_seen.event_time().millis());
    // The dictionary's Integer has 32 bits.
    to.put(&["cnt"], 10, &incident.findings.min(i32::MAX as u64));
}
