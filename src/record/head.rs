//! The head of a record: what delivery decides by and what protocols have a place for, read from a line once and without
//! making the whole record, which takes five times as long.

use std::borrow::Cow;

use serde::Deserialize;

use super::{AlarmState, Kind, Seq, Severity, text::Text};
use crate::time::ReceivedAt;

/// Some members of a line, most of them where they stand in it.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// See [`super::Record`].
    #[serde(borrow)]
    pub schema: Cow<'a, str>,
    /// See [`super::Record`].
    #[serde(borrow)]
    pub journal: Cow<'a, str>,
    /// See [`super::Record`].
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// See [`super::Record`].
    pub seq: Seq,
    /// See [`super::Record`].
    pub kind: Kind,
    /// See [`super::Record`].
    pub received_at: ReceivedAt,
    /// See [`super::Record`].
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    /// See [`super::Record`].
    #[serde(borrow)]
    pub event: Option<EventHead<'a>>,
    alarm: Option<AlarmHead>,
    /// See [`super::Record`].
    #[serde(borrow)]
    pub incident: Option<IncidentHead<'a>>,
    #[serde(default)]
    findings: Vec<Rated>,
    #[serde(borrow)]
    hash: Cow<'a, str>,
}

/// Of the event.
#[derive(Debug, Deserialize)]
pub struct EventHead<'a> {
    /// The sender's id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The tenant's id.
    #[serde(borrow)]
    pub tenant_id: Option<Text<'a>>,
    /// The application's id.
    #[serde(borrow)]
    pub application_id: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
}

/// Of the incident.
#[derive(Debug, Deserialize)]
pub struct IncidentHead<'a> {
    severity: Severity,
    /// The tenant's id, where it is one.
    #[serde(borrow)]
    pub tenant_id: Option<Text<'a>>,
    /// The application's id, where it is one.
    #[serde(borrow)]
    pub application_id: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct Rated {
    severity: Severity,
}

#[derive(Debug, Deserialize)]
struct AlarmHead {
    state: AlarmState,
}

impl<'a> Head<'a> {
    /// Reads a line of the journal.
    pub fn read(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// Of the worst finding.
    pub fn worst_finding(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Of the record as a whole.
    pub fn severity(&self) -> Severity {
        let incident = self.incident.as_ref().map(|incident| incident.severity);
        let alarm = self.alarm.as_ref().map(|alarm| alarm.state);
        Severity::of_record(self.kind, incident, self.worst_finding(), alarm)
    }

    /// What goes with a message to its sink, on its own.
    pub fn keep(&self) -> Kept {
        let of_incident = || self.incident.as_ref().and_then(|incident| incident.user_id.as_deref());
        let user = self.event.as_ref().map_or_else(of_incident, |event| event.user_id.as_deref());
        let mut kept = Kept { received_at: self.received_at, severity: self.severity(), ..Kept::default() };
        let texts = [&*self.schema, &self.journal, &self.node, &self.hash, user.unwrap_or_default()];
        let mut all = String::with_capacity(texts.iter().map(|text| text.len()).sum());
        for (text, end) in texts.into_iter().zip(&mut kept.ends) {
            all.push_str(text);
            *end = all.len();
        }
        kept.texts = all.into();
        kept
    }
}

/// What goes with a message to its sink.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// One after the other: an allocation for all.
    texts: Box<str>,
    /// Where each ends.
    ends: [usize; 5],
    received_at: ReceivedAt,
    severity: Severity,
}

impl Kept {
    fn text(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        self.texts.get(at.checked_sub(1).map_or(0, end)..end(at)).unwrap_or_default()
    }

    /// `refresh-audit/1`.
    pub fn schema(&self) -> &str {
        self.text(0)
    }

    /// The journal's id: 8 hex.
    pub fn journal(&self) -> &str {
        self.text(1)
    }

    /// The instance that wrote it.
    pub fn node(&self) -> &str {
        self.text(2)
    }

    /// The line's hash, hex.
    pub fn hash(&self) -> &str {
        self.text(3)
    }

    /// The event's person, or the incident's, where it names one.
    pub fn user_id(&self) -> Option<&str> {
        Some(self.text(4)).filter(|user| !user.is_empty())
    }

    /// When it was admitted.
    pub fn received_at(&self) -> ReceivedAt {
        self.received_at
    }

    /// Of the record as a whole: see [`Severity::of_record`].
    pub fn severity(&self) -> Severity {
        self.severity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(more: &str) -> String {
        format!(
            r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a\"1","seq":7,"kind":"event","received_at":"2026-11-22T06:40:00.123456Z",{more}"prev":"00","hash":"ab"}}"#
        )
    }

    #[test]
    fn what_is_kept_is_what_the_line_says() {
        let text = line(
            r#""event":{"id":"e","user_id":"u\u00e9"},"incident":{"severity":"high"},"findings":[{"severity":"low"},{"severity":"medium"}],"#,
        );
        let head = Head::read(text.as_bytes()).unwrap();
        assert_eq!((head.seq, head.kind, head.worst_finding()), (7, Kind::Event, Some(Severity::Medium)));
        let kept = head.keep();
        let texts = [kept.schema(), kept.journal(), kept.node(), kept.hash(), kept.user_id().unwrap()];
        assert_eq!(texts, ["refresh-audit/1", "3f9a1c2e", "a\"1", "ab", "ué"]);
        assert_eq!(kept.received_at().to_string(), "2026-11-22T06:40:00.123456Z");
        assert_eq!(kept.severity(), Severity::High);
    }

    #[test]
    fn what_a_line_does_not_say_is_not_there() {
        for (state, severity) in [("cleared", Severity::Info), ("raised", Severity::High)] {
            let text = line(&format!(r#""alarm":{{"state":"{state}"}},"#));
            let head = Head::read(text.as_bytes()).unwrap();
            let kept = head.keep();
            assert_eq!((head.worst_finding(), kept.user_id()), (None, None));
            assert_eq!((kept.severity(), kept.hash()), (severity, "ab"));
        }
        assert!(Head::read(b"{}").is_err());
    }
}
