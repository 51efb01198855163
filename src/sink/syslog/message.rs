//! RFC 5424: one record as one SYSLOG-MSG. Pure.
//!
//! ```text
//! <PRI>1 TIMESTAMP HOSTNAME APP-NAME - MSGID [SD-ID seq="…" kind="…" journal="…" id="…" hash="…" severity="…"] MSG
//! ```

use std::{io::Write as _, str};

use crate::{record::Severity, sink::Message};

/// Characters of HOSTNAME (RFC 5424, section 6).
pub(super) const HOSTNAME_LEN_MAX: usize = 255;
/// What a text in UTF-8 begins with (RFC 5424, section 6.4).
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What every message of a sink has in common.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    /// 0 to 23.
    pub(super) facility: u8,
    /// APP-NAME, valid.
    pub(super) app_name: String,
    /// HOSTNAME, valid; `None` = the record's node.
    pub(super) hostname: Option<String>,
    /// `name@enterprise number`, valid.
    pub(super) sd_id: String,
    /// A text that is not ASCII begins with a byte order mark, as the RFC asks.
    pub(super) bom: bool,
    /// Bytes of a message; a longer body is cut and marked.
    pub(super) max: usize,
}

impl Writer {
    /// Appends the message of a record to `out`, which is empty, all but its body: that is returned, or as much of it as
    /// there is room for.
    pub(super) fn header<'m>(&self, out: &mut Vec<u8>, message: &'m Message) -> &'m [u8] {
        let head = &message.head;
        let level = level(head.severity());
        // Writing to memory does not fail.
        let _ = write!(out, "<{}>1 {} ", self.facility * 8 + level, head.received_at());
        printable(out, self.hostname.as_deref().unwrap_or(head.node()));
        let (kind, seq) = (message.kind.as_str(), message.seq);
        let _ = write!(out, " {} - {kind} [{} seq=\"{seq}\" kind=\"{kind}\" journal=\"", self.app_name, self.sd_id);
        value(out, head.journal());
        out.extend_from_slice(b"\" id=\"");
        value(out, &message.key);
        out.extend_from_slice(b"\" hash=\"");
        value(out, head.hash());
        let _ = write!(out, "\" severity=\"{}\"", head.severity().as_str());
        if message.seq == 0 {
            // No journal has a seq 0: `check --connect` sends it.
            out.extend_from_slice(b" test=\"true\"");
        }
        self.cut(out, &message.body)
    }

    /// The end of the structured data, with a mark where the body is cut that says how long it was.
    fn cut<'m>(&self, out: &mut Vec<u8>, body: &'m [u8]) -> &'m [u8] {
        let bom = if self.bom && !body.is_ascii() { BOM } else { b"" };
        let mut take = body.len();
        if out.len() + b"] ".len() + bom.len() + body.len() > self.max {
            let _ = write!(out, " truncated=\"{}\"", body.len());
            let used = out.len() + b"] ".len() + bom.len();
            take = boundary(body, self.max.saturating_sub(used));
        }
        out.extend_from_slice(b"] ");
        out.extend_from_slice(bom);
        &body[..take]
    }
}

/// The longest beginning of at most `max` bytes that cuts no character.
fn boundary(body: &[u8], max: usize) -> usize {
    let cut = body.get(..max).unwrap_or(body);
    match str::from_utf8(cut) {
        Ok(_) => cut.len(),
        // What is not text at all is cut anywhere.
        Err(error) if error.error_len().is_some() => cut.len(),
        Err(error) => error.valid_up_to(),
    }
}

/// Severity of RFC 5424, table 2: 2 critical, 3 error, 4 warning, 5 notice, 6 informational.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Info => 6,
    }
}

/// A PARAM-VALUE: `"`, `\` and `]` escaped (RFC 5424, section 6.3.3). Control characters, which receivers rewrite each in
/// their own way and one of which ends a line, become `?`.
fn value(out: &mut Vec<u8>, text: &str) {
    // Hardly any value has one, and looking at bytes without a branch is ten times as fast as looking at characters.
    let plain = |byte: u8| !matches!(byte, b'"' | b'\\' | b']' | 0..=0x1f | 0x7f..);
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return out.extend_from_slice(text.as_bytes());
    }
    let mut rest = text;
    let special = |c: char| matches!(c, '"' | '\\' | ']') || c.is_control();
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| special(*c)) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        if c.is_control() {
            out.push(b'?');
        } else {
            out.push(b'\\');
            out.extend_from_slice(&rest.as_bytes()[at..=at]);
        }
        rest = &rest[at + c.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
}

/// HOSTNAME: visible ASCII, `-` for none.
fn printable(out: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        out.push(b'-');
    }
    out.extend(text.chars().take(HOSTNAME_LEN_MAX).map(|c| if c.is_ascii_graphic() { c as u8 } else { b'?' }));
}
