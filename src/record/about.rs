//! Whom and what a record is about: the event's members, or the incident's; and looking for records by it.

use std::net::IpAddr;

use super::{Kind, Record};
use crate::{
    event::{SessionId, UserId},
    host::Addresses,
};

impl Record {
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
