//! Whom and what a record is about: the event's members, or the incident's.

use std::net::IpAddr;

use super::Record;
use crate::event::{SessionId, UserId};

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
