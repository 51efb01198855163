//! One incident that is open: what is counted of it, and what its records say.

use serde::{Deserialize, Serialize};

use super::{Happened, is_same_kind};
use crate::{
    detect::key::key,
    event::{ApplicationId, SessionId, TenantId, UserId},
    record::{Changed, Finding, Incident, IncidentChange, IncidentKey, IncidentKeyKind, Seq, Severity},
    time::ReceivedAt,
};

/// Rules named in one incident.
const RULES_MAX: usize = 64;

/// One that is open. Without the record's leave-outs, which the durable copy's format cannot have.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) id: String,
    key: Option<IncidentKey>,
    pub(super) severity: Option<Severity>,
    rules: Vec<String>,
    findings: u64,
    pub(super) events: u64,
    first_seen: i64,
    pub(super) last_seen: i64,
    pub(super) first_seq: Seq,
    last_seq: Seq,
    tenant: Option<TenantId>,
    application: Option<ApplicationId>,
    user: Option<UserId>,
    session: Option<SessionId>,
    ip: Option<String>,
    /// What, from, to.
    pub(super) changed: Vec<(String, Option<String>, String)>,
    /// When it was told last.
    pub(super) told: i64,
    /// What was told then, and how it stood.
    as_told: Option<(IncidentChange, Box<Self>)>,
    /// The worst finding's words.
    reason: String,
    /// Where it escalated last by evidence of another kind: the rule and its words; empty where it got worse.
    pub(super) news: String,
}

impl Open {
    pub(super) fn new(of: IncidentKey, number: u64, happened: Happened<'_>) -> Self {
        let event = happened.event;
        // Of the key and the place in the journal: no chance in it, and never the same twice.
        let id = key(&[&number.to_string(), &happened.seq.to_string()]);
        let mut open = Self {
            id: format!("{id:016x}"),
            first_seen: happened.at.micros(),
            first_seq: happened.seq,
            tenant: event.tenant_id.clone(),
            application: event.application_id.clone(),
            ..Self::default()
        };
        if !matches!(of.kind, IncidentKeyKind::Network | IncidentKeyKind::Application) {
            open.user = event.user_id.clone();
            open.session = event.session_id.clone().filter(|_| of.kind == IncidentKeyKind::Session);
        }
        open.key = Some(of);
        open
    }

    /// As a record says that it stood; what it does not say is in its summary.
    pub(super) fn of_record(incident: &Incident) -> Self {
        let mut open = Self {
            id: incident.id.clone(),
            key: Some(incident.key.clone()),
            severity: Some(incident.severity),
            rules: incident.rules.clone(),
            findings: incident.findings,
            events: incident.events,
            first_seen: incident.first_seen.micros(),
            last_seen: incident.last_seen.micros(),
            first_seq: incident.first_seq,
            last_seq: incident.last_seq,
            tenant: incident.tenant_id.clone(),
            application: incident.application_id.clone(),
            user: incident.user_id.clone(),
            session: incident.session_id.clone(),
            ip: incident.ip.clone(),
            changed: incident.changed.iter().map(|(what, c)| (what.clone(), c.from.clone(), c.to.clone())).collect(),
            told: incident.last_seen.micros(),
            reason: incident.summary.clone(),
            ..Self::default()
        };
        open.rules.sort_unstable();
        open.as_told = Some((incident.change, Box::new(open.clone())));
        open
    }

    pub(super) fn is_about_many(&self) -> bool {
        self.user.is_none() && self.session.is_none()
    }

    pub(super) fn happened(&mut self, happened: Happened<'_>) {
        let event = happened.event;
        self.events += 1;
        self.last_seen = happened.at.micros();
        self.last_seq = happened.seq;
        self.ip = event.ip.clone();
        if self.application != event.application_id {
            self.application = None;
        }
        if self.tenant != event.tenant_id {
            self.tenant = None;
        }
    }

    /// Counts a finding. True when it is of another kind than all before.
    pub(super) fn found(&mut self, finding: &Finding) -> bool {
        self.findings += 1;
        if self.severity < Some(finding.severity) {
            self.severity = Some(finding.severity);
            self.reason = finding.reason.clone();
        }
        let Err(at) = self.rules.binary_search(&finding.rule) else { return false };
        if self.rules.len() >= RULES_MAX {
            // It could not be told from the ones before the next time.
            return false;
        }
        let is_other = !self.rules.iter().any(|rule| is_same_kind(rule, &finding.rule));
        self.rules.insert(at, finding.rule.clone());
        is_other
    }

    /// Its record of a change; what it says is remembered.
    pub(super) fn tell(&mut self, change: IncidentChange) -> Option<Incident> {
        self.as_told = None;
        self.as_told = Some((change, Box::new(self.clone())));
        self.last_record()
    }

    /// What was told of it last.
    pub(super) fn last_record(&self) -> Option<Incident> {
        let (change, then) = self.as_told.as_ref()?;
        then.record(*change, "")
    }

    /// What its record says of a change; `why` it closed.
    pub(super) fn record(&self, change: IncidentChange, why: &str) -> Option<Incident> {
        let severity = self.severity?;
        Some(Incident {
            id: self.id.clone(),
            change,
            key: self.key.clone()?,
            severity,
            rules: self.rules.clone(),
            findings: self.findings,
            events: self.events,
            first_seen: ReceivedAt::from_micros(self.first_seen),
            last_seen: ReceivedAt::from_micros(self.last_seen),
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            tenant_id: self.tenant.clone(),
            application_id: self.application.clone(),
            user_id: self.user.clone(),
            session_id: self.session.clone(),
            ip: self.ip.clone(),
            summary: self.summary(change, severity, why),
            changed: self
                .changed
                .iter()
                .map(|(what, from, to)| (what.clone(), Changed { from: from.clone(), to: to.clone() }))
                .collect(),
        })
    }

    fn summary(&self, change: IncidentChange, severity: Severity, why: &str) -> String {
        let rules = self.rules.join(", ");
        let whose = match &self.key {
            Some(IncidentKey { kind: IncidentKeyKind::Session, .. }) => "a session",
            Some(IncidentKey { kind: IncidentKeyKind::User, .. }) => "a user",
            Some(IncidentKey { kind: IncidentKeyKind::Network, .. }) => "a network",
            _ => "an application",
        };
        let count = format!("{} findings in {} events", self.findings, self.events);
        let (severity, reason) = (severity.as_str(), &self.reason);
        let mut text = match change {
            IncidentChange::Opened => format!("{severity} for {whose}: {reason} ({rules})"),
            IncidentChange::Escalated if self.news.is_empty() => {
                format!("worse for {whose}, now {severity}: {reason} ({rules})")
            }
            IncidentChange::Escalated => {
                format!("{severity} for {whose}, now by evidence of another kind as well: {} ({rules})", self.news)
            }
            IncidentChange::Ongoing => format!("goes on for {whose}: {count}, {severity} ({rules})"),
            IncidentChange::Closed => format!("closed for {whose}, {why}: {count}, {severity} ({rules})"),
        };
        for (what, from, to) in &self.changed {
            text.push_str(&format!("; {what} {} -> {to}", from.as_deref().unwrap_or("unknown")));
        }
        text
    }
}
