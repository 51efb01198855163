//! Incidents: what belongs together, told to a person once. A stolen session has findings at each refresh; its incident
//! opens, escalates where something worse or of another kind comes, goes on quietly, and closes when nothing more does.
//!
//! Everything follows from the events and the ledger's clock, ids included, so that a replay ends in the same state.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    key::key,
    state::table::{Limits, Table},
    usual::network_of,
};
use crate::{
    event::{ApplicationId, RefreshEvent, SessionId, TenantId, UserId},
    record::{Changed, Finding, Incident, IncidentChange, IncidentKey, IncidentKeyKind, Seq, Severity},
    time::ReceivedAt,
    units::Span,
};

/// 50 times what a refresh has that shows nothing: see [`Config::risk`].
const RISK: f64 = 0.005;
/// Open incidents; about 700 bytes each. Past it the one that is quiet for longest is closed.
const OPEN_MAX: usize = 20_000;
/// Incidents that are closed at once: the ledger writes and syncs their records together, while senders wait.
const CLOSED_AT_ONCE: usize = 256;
/// The table's own limit is never reached.
const NO_LIMIT: Limits = Limits { entries: usize::MAX >> 1, kept: u32::MAX };
/// Rules named in one incident.
const RULES_MAX: usize = 64;
/// Characters of an id that is a key; an id of the provider's is far shorter.
const VALUE_CHARS_MAX: usize = 256;

/// `incidents` of `[detect]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Findings below this belong to none.
    pub at_least: Severity,
    /// What is below `critical`, and of what the score weighs too, opens one only from this `verdict.risk` on.
    pub risk: f64,
    /// An incident closes when nothing came for this long.
    pub idle: Span,
    /// One that goes on is told again this rarely.
    pub told_every: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { at_least: Severity::Medium, risk: RISK, idle: Span::from_days(1), told_every: Span::from_days(1) }
    }
}

/// All that are open.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Incidents {
    open: Table<Open>,
    /// (last seen, key): the quietest first.
    order: BTreeSet<(i64, u64)>,
}

/// One that is open. Without the record's leave-outs, which the durable copy's format cannot have.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Open {
    id: String,
    key: Option<IncidentKey>,
    severity: Option<Severity>,
    rules: Vec<String>,
    findings: u64,
    events: u64,
    first_seen: i64,
    last_seen: i64,
    first_seq: Seq,
    last_seq: Seq,
    tenant: Option<TenantId>,
    application: Option<ApplicationId>,
    user: Option<UserId>,
    session: Option<SessionId>,
    ip: Option<String>,
    /// What, from, to.
    changed: Vec<(String, Option<String>, String)>,
    /// When it was told last.
    told: i64,
    /// The worst finding's words.
    reason: String,
}

/// Where and when findings came.
#[derive(Clone, Copy)]
pub struct Happened<'a> {
    /// The event.
    pub event: &'a RefreshEvent,
    /// Its record.
    pub seq: Seq,
    /// When its record was made.
    pub at: ReceivedAt,
    /// What the score says of it; none where it says nothing.
    pub risk: Option<f64>,
}

impl Incidents {
    /// Puts the findings of one event into their incidents; what has to be told of it goes into `told`.
    pub fn take(
        &mut self,
        config: &Config,
        happened: Happened<'_>,
        findings: &mut [Finding],
        changed: impl FnOnce() -> BTreeMap<String, Changed>,
        told: &mut Vec<Incident>,
    ) {
        let mut groups: BTreeMap<IncidentKey, Vec<usize>> = BTreeMap::new();
        for (at, finding) in findings.iter().enumerate().filter(|(_, finding)| finding.severity >= config.at_least) {
            if let Some(key) = key_for(&finding.rule, happened.event) {
                groups.entry(key).or_default().push(at);
            }
        }
        let speaks = |finding: &Finding| {
            let is_ordinary = happened.risk.is_some_and(|risk| risk < config.risk) && is_weighed(&finding.rule);
            finding.severity == Severity::Critical || !is_ordinary
        };
        groups.retain(|key, members| {
            let is_open = self.open.get(number_of(key, happened.event)).is_some();
            is_open || members.iter().any(|at| speaks(&findings[*at]))
        });
        if groups.is_empty() {
            return;
        }
        let changed = changed();
        for (key, members) in groups {
            let id = self.update(config, happened, key, (findings, &members), &changed, told);
            for at in members {
                findings[at].incident = Some(id.clone());
            }
        }
        while self.open.len() > OPEN_MAX {
            let Some(quietest) = self.order.first().copied() else { break };
            told.extend(self.close(quietest, "closed to make room for newer ones"));
        }
    }

    fn update(
        &mut self,
        config: &Config,
        happened: Happened<'_>,
        key: IncidentKey,
        (findings, members): (&[Finding], &[usize]),
        changed: &BTreeMap<String, Changed>,
        told: &mut Vec<Incident>,
    ) -> String {
        let (number, now) = (number_of(&key, happened.event), happened.at.micros());
        let secs = u32::try_from(now.div_euclid(1_000_000)).unwrap_or(0);
        let open = self.open.entry(number, secs, NO_LIMIT, || Open::new(key, number, happened));
        self.order.remove(&(open.last_seen, number));
        self.order.insert((now, number));
        let is_new = open.events == 0;
        let before = open.severity;
        open.happened(happened);
        let mut other_kind = false;
        for finding in members.iter().map(|at| &findings[*at]) {
            other_kind |= open.found(finding);
        }
        if open.changed.is_empty() && !open.is_about_many() {
            open.changed = changed.iter().map(|(what, c)| (what.clone(), c.from.clone(), c.to.clone())).collect();
        }
        let change = if is_new {
            IncidentChange::Opened
        } else if open.severity > before || other_kind {
            IncidentChange::Escalated
        } else if now.saturating_sub(open.told) >= micros(config.told_every) {
            IncidentChange::Ongoing
        } else {
            return open.id.clone();
        };
        open.told = now;
        told.extend(open.record(change, ""));
        open.id.clone()
    }

    /// Closes what was quiet for long enough; where that is much, some of it.
    pub fn close_idle(&mut self, config: &Config, at: ReceivedAt, told: &mut Vec<Incident>) {
        let idle = micros(config.idle);
        for _ in 0..CLOSED_AT_ONCE {
            let quietest = self.order.first().copied().filter(|(last, _)| at.micros() - last >= idle);
            let Some(quietest) = quietest else { break };
            told.extend(self.close(quietest, "nothing more came"));
        }
    }

    fn close(&mut self, (last, number): (i64, u64), why: &str) -> Option<Incident> {
        self.order.remove(&(last, number));
        let record = self.open.get(number).and_then(|open| open.record(IncidentChange::Closed, why));
        self.open.remove(number);
        record
    }

    /// A record says that this one was closed.
    pub fn closed(&mut self, incident: &Incident) {
        let is_it = |(_, open): &(u64, &Open)| open.id == incident.id;
        let found = self.open.iter().find(is_it).map(|(number, open)| (open.last_seen, number));
        if let Some(found) = found {
            self.close(found, "");
        }
    }

    /// How many are open.
    pub fn how_many(&self) -> usize {
        self.open.len()
    }
}

fn micros(span: Span) -> i64 {
    i64::try_from(span.get().as_micros()).unwrap_or(i64::MAX)
}

/// Whether the score weighs what this rule is about: when, from where, by what, and without which token. A parent that is
/// spent twice (RA101, RA102) is seldom enough to be told each time.
fn is_weighed(rule: &str) -> bool {
    let unweighed = ["RA405", "RA504", "RA505"];
    let is_of = |family: &&str| rule.len() == 5 && rule.starts_with(*family);
    ["RA103", "RA104", "RA3", "RA4", "RA5"].iter().any(is_of) && !unweighed.contains(&rule)
}

/// What a finding's incident is kept under: rules that look across users have the network or the application, all others
/// the session, else the user, else the network.
fn key_for(rule: &str, event: &RefreshEvent) -> Option<IncidentKey> {
    use IncidentKeyKind::{Application, Network, Session, User};
    let text = |kind| match kind {
        Session => event.session_id.as_ref().map(ToString::to_string),
        User => event.user_id.as_ref().map(ToString::to_string),
        // A pseudonym stands for the address it was made of.
        Network => network_of(event).map(|net| net.to_string()).or_else(|| event.ip.clone()),
        Application => event.application_id.as_ref().map(ToString::to_string),
    };
    let kinds: &[IncidentKeyKind] = match rule {
        "RA405" | "RA505" => &[Network, Session, User],
        "RA602" => &[Application, Session, User],
        _ => &[Session, User, Network],
    };
    kinds.iter().find_map(|kind| {
        let value = text(*kind)?.chars().take(VALUE_CHARS_MAX).collect();
        Some(IncidentKey { kind: *kind, value })
    })
}

/// The number of what a finding of a rule is about: a session, else a user, else a network.
pub fn subject(rule: &str, event: &RefreshEvent) -> Option<u64> {
    key_for(rule, event).map(|key| number_of(&key, event))
}

/// The key's number; one user id may stand for two people of two tenants.
fn number_of(of: &IncidentKey, event: &RefreshEvent) -> u64 {
    let tenant = event.tenant_id.as_ref().map_or("", |id| id.as_str());
    let tenant = if of.kind == IncidentKeyKind::Network { "" } else { tenant };
    key(&["incident", of.kind.as_str(), tenant, &of.value])
}

/// The kind of evidence: the hundreds of our own rules, each other rule by itself.
fn family(rule: &str) -> &str {
    if rule.len() == 5 && rule.starts_with("RA") { rule.get(..3).unwrap_or(rule) } else { rule }
}

impl Open {
    fn new(of: IncidentKey, number: u64, happened: Happened<'_>) -> Self {
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

    fn is_about_many(&self) -> bool {
        self.user.is_none() && self.session.is_none()
    }

    fn happened(&mut self, happened: Happened<'_>) {
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
    fn found(&mut self, finding: &Finding) -> bool {
        self.findings += 1;
        if self.severity < Some(finding.severity) {
            self.severity = Some(finding.severity);
            self.reason = finding.reason.clone();
        }
        let Err(at) = self.rules.binary_search(&finding.rule) else { return false };
        let is_other = !self.rules.iter().any(|rule| family(rule) == family(&finding.rule));
        if self.rules.len() < RULES_MAX {
            self.rules.insert(at, finding.rule.clone());
        }
        is_other
    }

    fn record(&self, change: IncidentChange, why: &str) -> Option<Incident> {
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
            IncidentChange::Escalated => format!("worse for {whose}, now {severity}: {reason} ({rules})"),
            IncidentChange::Ongoing => format!("goes on for {whose}: {count}, {severity} ({rules})"),
            IncidentChange::Closed => format!("closed for {whose}, {why}: {count}, {severity} ({rules})"),
        };
        for (what, from, to) in &self.changed {
            text.push_str(&format!("; {what} {} -> {to}", from.as_deref().unwrap_or("unknown")));
        }
        text
    }
}

#[cfg(test)]
#[path = "incidents_tests.rs"]
mod tests;
