//! Whom and what a record is about: the event's members, or the incident's; and looking for records by it.

use std::net::IpAddr;

use super::{Kind, Record, Severity};
use crate::{
    event::{SessionId, UserId},
    host::Addresses,
    time::EventTime,
};

/// When the sender says it happened, where that can be believed: `None` if its clock or JSON is wrong (`clock_skew`), and
/// then when it was recorded counts. Decided here for every format and sink.
pub fn said_at(occurred_at: Option<EventTime>, clock_skew: bool) -> Option<EventTime> {
    occurred_at.filter(|_| !clock_skew)
}

/// The incidents that findings belong to, each once: of the worst finding first, of equals in the order of the findings.
pub fn incidents<'f>(findings: impl IntoIterator<Item = (Severity, Option<&'f str>)>) -> Vec<&'f str> {
    let mut rated: Vec<_> =
        findings.into_iter().filter_map(|(severity, incident)| Some((severity, incident?))).collect();
    // It keeps the order of equals.
    rated.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let mut all: Vec<&str> = Vec::new();
    for (_, incident) in rated {
        if !all.contains(&incident) {
            all.push(incident);
        }
    }
    all
}

impl Record {
    /// How bad it is as a whole: see [`Severity::of_record`].
    pub fn severity(&self) -> Severity {
        let incident = self.incident.as_ref().map(|incident| incident.severity);
        let worst = self.findings.iter().map(|finding| finding.severity).max();
        Severity::of_record(self.kind, incident, worst, self.alarm.as_ref().map(|alarm| alarm.state))
    }

    /// The person.
    pub fn user_id(&self) -> Option<&UserId> {
        match (&self.event, &self.incident) {
            (Some(event), _) => event.user_id.as_ref(),
            (None, incident) => incident.as_ref()?.user_id.as_ref(),
        }
    }

    /// The session.
    pub fn session_id(&self) -> Option<&SessionId> {
        match (&self.event, &self.incident) {
            (Some(event), _) => event.session_id.as_ref(),
            (None, incident) => incident.as_ref()?.session_id.as_ref(),
        }
    }

    /// The client's address, as recorded; of an incident that of its last event.
    pub fn ip(&self) -> Option<&str> {
        match (&self.event, &self.incident) {
            (Some(event), _) => event.ip.as_deref(),
            (None, incident) => incident.as_ref()?.ip.as_deref(),
        }
    }

    /// The same where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip()?.parse().ok()
    }

    /// Whether a rule spoke, whatever the case of its letters.
    pub fn has_rule(&self, id: &str) -> bool {
        let of_incident = self.incident.iter().flat_map(|incident| &incident.rules);
        let mut all = self.findings.iter().map(|finding| &finding.rule).chain(of_incident);
        all.any(|rule| rule.eq_ignore_ascii_case(id))
    }
}

/// What somebody looks for among records; what is absent is any.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// About this user, in any case.
    pub user: Option<String>,
    /// About this session, in any case.
    pub session: Option<String>,
    /// From there.
    pub ip: Option<Addresses>,
    /// Where this rule spoke.
    pub rule: Option<String>,
}

impl RecordFilter {
    /// Whether a record is what is looked for.
    pub fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| found.is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        };
        self.kind.is_none_or(|kind| kind == record.kind)
            && is(&self.user, record.user_id().map(|id| id.as_str()))
            && is(&self.session, record.session_id().map(|id| id.as_str()))
            && self.ip.is_none_or(|ip| record.address().is_some_and(|address| ip.contains(&address)))
            && self.rule.as_ref().is_none_or(|rule| record.has_rule(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::{Severity::*, *};

    #[test]
    fn the_worst_findings_incident_comes_first_and_each_once() {
        for (findings, expected) in [
            (vec![], vec![]),
            (vec![(Info, None)], vec![]),
            // The first of the findings is not the worst one.
            (vec![(Medium, Some("a")), (High, Some("b")), (Low, Some("c"))], vec!["b", "a", "c"]),
            // The worst has none: the worst that has one.
            (vec![(Low, Some("a")), (Critical, None), (High, Some("b"))], vec!["b", "a"]),
            (vec![(High, Some("a")), (High, Some("b")), (Low, Some("a"))], vec!["a", "b"]),
        ] {
            assert_eq!(incidents(findings.clone()), expected, "{findings:?}");
        }
    }
}
