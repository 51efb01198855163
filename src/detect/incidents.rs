//! Incidents: what belongs together, told to a person once. A stolen session has findings at each refresh; its incident
//! opens, escalates where something worse or of another kind comes, goes on quietly, and closes when nothing more does.
//!
//! Everything follows from the events and the ledger's clock, ids included, so that a replay ends in the same state.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use serde::{Deserialize, Serialize};

use super::{
    catalogue::{KEYED_BY, rule},
    key::key,
    policy::is_silent,
    state::table::{Limits, Table},
    usual::network_of,
};
use crate::{
    event::{RefreshEvent, TenantId},
    record::{Changed, Finding, Incident, IncidentChange, IncidentKey, IncidentKeyKind, Seq, Severity},
    time::ReceivedAt,
    units::Span,
};

mod open;

use open::Open;

/// 50 times what a refresh has that shows nothing: see [`Config::risk`].
const RISK: f64 = 0.005;
/// Open incidents; about 1.4 kB each, half of it what was told. Past it the one that is quiet for longest is closed.
const OPEN_MAX: usize = 20_000;
/// Incidents that are closed at once: the ledger writes and syncs their records together, while senders wait.
const CLOSED_AT_ONCE: usize = 256;
/// The table's own limit is never reached.
const NO_LIMIT: Limits = Limits { entries: usize::MAX >> 1, kept: u32::MAX };
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
        let counts = |finding: &Finding| finding.severity >= config.at_least && !is_silent(finding);
        for (at, finding) in findings.iter().enumerate().filter(|(_, finding)| counts(finding)) {
            if let Some(key) = key_for(&finding.rule, happened.event) {
                groups.entry(key).or_default().push(at);
            }
        }
        let speaks = |finding: &Finding| {
            let is_weighed = || rule(&finding.rule).is_some_and(|rule| rule.is_weighed);
            let is_ordinary = happened.risk.is_some_and(|risk| risk < config.risk) && is_weighed();
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
        let mut other_kind = None;
        for finding in members.iter().map(|at| &findings[*at]) {
            if open.found(finding) {
                other_kind.get_or_insert(finding);
            }
        }
        if open.changed.is_empty() && !open.is_about_many() {
            open.changed = changed.iter().map(|(what, c)| (what.clone(), c.from.clone(), c.to.clone())).collect();
        }
        let change = if is_new {
            IncidentChange::Opened
        } else if open.severity > before || other_kind.is_some() {
            // What is worse is told by its own words.
            let news = other_kind.filter(|_| open.severity == before);
            open.news = news.map_or_else(String::new, |finding| format!("{}: {}", finding.rule, finding.reason));
            IncidentChange::Escalated
        } else if now.saturating_sub(open.told) >= micros(config.told_every) {
            IncidentChange::Ongoing
        } else {
            return open.id.clone();
        };
        open.told = now;
        told.extend(open.tell(change));
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

    /// A record says that this one is open, and how it stood.
    pub fn recorded(&mut self, incident: &Incident) {
        let number = number_for(&incident.key, incident.tenant_id.as_ref());
        if let Some(derived) = self.open.get(number) {
            self.order.remove(&(derived.last_seen, number));
        }
        let open = Open::of_record(incident);
        let seen = open.last_seen;
        self.order.insert((seen, number));
        *self.open.entry(number, incident.last_seen.secs(), NO_LIMIT, Open::default) = open;
    }

    /// All of them, for whoever asks; costs next to nothing.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.open.clone())
    }

    /// How many are open.
    pub fn how_many(&self) -> usize {
        self.open.len()
    }
}

/// What was open at one moment.
pub struct Snapshot(Table<Open>);

impl Snapshot {
    /// The first of those that are `wanted` and whose first event is in `seqs`, by their last record, in the order of that
    /// event: `most`, and all that share the last one's event.
    pub fn first(&self, seqs: RangeInclusive<Seq>, most: usize, wanted: impl Fn(&Incident) -> bool) -> Vec<Incident> {
        let mut open: Vec<&Open> =
            self.0.iter().map(|(_, open)| open).filter(|open| seqs.contains(&open.first_seq)).collect();
        open.sort_unstable_by(|a, b| (a.first_seq, &a.id).cmp(&(b.first_seq, &b.id)));
        let mut found: Vec<Incident> = Vec::new();
        for incident in open.into_iter().filter_map(Open::last_record).filter(wanted) {
            if found.len() >= most && found.last().is_some_and(|last| last.first_seq != incident.first_seq) {
                break;
            }
            found.push(incident);
        }
        found
    }
}

fn micros(span: Span) -> i64 {
    i64::try_from(span.get().as_micros()).unwrap_or(i64::MAX)
}

/// What a finding's incident is kept under: the first of what its rule names that the event has.
fn key_for(of: &str, event: &RefreshEvent) -> Option<IncidentKey> {
    use IncidentKeyKind::{Application, Network, Session, User};
    let text = |kind| match kind {
        Session => event.session_id.as_ref().map(ToString::to_string),
        User => event.user_id.as_ref().map(ToString::to_string),
        // A pseudonym stands for the address it was made of.
        Network => network_of(event).map(|net| net.to_string()).or_else(|| event.ip.clone()),
        Application => event.application_id.as_ref().map(ToString::to_string),
    };
    rule(of).map_or(KEYED_BY, |rule| rule.keyed_by).iter().find_map(|kind| {
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
    number_for(of, event.tenant_id.as_ref())
}

fn number_for(of: &IncidentKey, tenant: Option<&TenantId>) -> u64 {
    let tenant = tenant.map_or("", |id| id.as_str());
    let tenant = if of.kind == IncidentKeyKind::Network { "" } else { tenant };
    key(&["incident", of.kind.as_str(), tenant, &of.value])
}

/// Whether two rules bring evidence of one kind: those of one family; each of an operator's own is a kind by itself.
fn is_same_kind(one: &str, other: &str) -> bool {
    match (rule(one), rule(other)) {
        (Some(one), Some(other)) => one.family == other.family,
        _ => one == other,
    }
}

#[cfg(test)]
#[path = "incidents_tests.rs"]
mod tests;
