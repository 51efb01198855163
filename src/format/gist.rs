//! What every schema asks of a record, whatever its kind: how bad, what happened, in words, when. The mapping of kinds
//! is here, once, so that the formats agree.

use std::{borrow::Cow, net::IpAddr};

use crate::{
    event::{ApplicationId, RefreshEvent, SessionId, TenantId, UserId},
    record::{Action, AlarmState, Finding, Incident, IncidentChange, Kind, Record, Severity, incidents, said_at},
    time::EventTime,
};

/// What this service is called where a schema asks for vendor and product.
pub const PRODUCT: &str = "refresh-audit";
/// And its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A record as a reader of alerts sees it.
pub struct Gist<'r> {
    /// The record.
    pub record: &'r Record,
    /// The worst finding, of several the first.
    pub worst: Option<&'r Finding>,
    /// How bad it is as a whole.
    pub severity: Severity,
    /// What happened, in one word: few values, fixed, for rules to compare with.
    pub action: &'static str,
    /// What happened, for a person; a short one.
    pub title: Cow<'r, str>,
    /// What is to be said about it, for a person; nothing about a plain refresh.
    pub message: Option<Cow<'r, str>>,
    /// When it happened: the sender's instant, unless that is far from the service's clock.
    pub time: EventTime,
}

impl<'r> Gist<'r> {
    /// Of a record.
    pub fn of(record: &'r Record) -> Self {
        // `max_by_key` gives the last of equals.
        let worst = record.findings.iter().rev().max_by_key(|finding| finding.severity);
        Self {
            record,
            worst,
            severity: record.severity(),
            action: action(record),
            title: title(record, worst),
            message: message(record, worst),
            time: time(record),
        }
    }

    /// Whether somebody should look: a finding above `info`, or an incident that begins or grows.
    pub fn is_alert(&self) -> bool {
        let told = |change| matches!(change, IncidentChange::Opened | IncidentChange::Escalated);
        match &self.record.incident {
            Some(incident) => told(incident.change),
            None => self.worst.is_some_and(|worst| worst.severity > Severity::Info),
        }
    }

    /// The calibrated risk.
    pub fn risk(&self) -> Option<f64> {
        self.record.verdict.as_ref().and_then(|verdict| verdict.risk)
    }

    /// Whether the gate let it pass.
    pub fn verdict(&self) -> Option<&'static str> {
        self.record.verdict.as_ref().map(|verdict| verdict.action.as_str())
    }

    /// Whether the gate would have let it pass, had it been told to enforce.
    pub fn would(&self) -> Option<&'static str> {
        self.record.verdict.as_ref().and_then(|verdict| verdict.would).map(Action::as_str)
    }

    /// The user, of the event or of the incident.
    pub fn user(&self) -> Option<&'r str> {
        self.of_both(|event| event.user_id.as_ref(), |incident| incident.user_id.as_ref()).map(UserId::as_str)
    }

    /// The tenant, likewise.
    pub fn tenant(&self) -> Option<&'r str> {
        self.of_both(|event| event.tenant_id.as_ref(), |incident| incident.tenant_id.as_ref()).map(TenantId::as_str)
    }

    /// The application, likewise.
    pub fn application(&self) -> Option<&'r str> {
        self.of_both(|event| event.application_id.as_ref(), |incident| incident.application_id.as_ref())
            .map(ApplicationId::as_str)
    }

    /// The session, likewise.
    pub fn session(&self) -> Option<&'r str> {
        self.of_both(|event| event.session_id.as_ref(), |incident| incident.session_id.as_ref()).map(SessionId::as_str)
    }

    /// The client's address as recorded, likewise.
    pub fn address(&self) -> Option<&'r str> {
        self.of_both(|event| event.ip.as_deref(), |incident| incident.ip.as_deref())
    }

    /// The client's address where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().and_then(|text| text.parse().ok())
    }

    fn of_both<T: ?Sized>(
        &self,
        event: impl Fn(&'r RefreshEvent) -> Option<&'r T>,
        incident: impl Fn(&'r Incident) -> Option<&'r T>,
    ) -> Option<&'r T> {
        let of_event = self.record.event.as_ref().and_then(event);
        of_event.or_else(|| self.record.incident.as_ref().and_then(incident))
    }

    /// The incident's id: of the incident, or of the worst finding that has one.
    pub fn incident(&self) -> Option<&'r str> {
        self.incidents().first().copied()
    }

    /// The ids of all incidents that it is about, the worst finding's first.
    pub fn incidents(&self) -> Vec<&'r str> {
        let of_findings = || incidents(self.record.findings.iter().map(|one| (one.severity, one.incident.as_deref())));
        self.record.incident.as_ref().map_or_else(of_findings, |incident| vec![incident.id.as_str()])
    }

    /// The rules that fired.
    pub fn rules(&self) -> impl Iterator<Item = &'r str> + Clone + use<'r> {
        let of_incident = self.record.incident.iter().flat_map(|incident| &incident.rules).map(String::as_str);
        self.record.findings.iter().map(|finding| finding.rule.as_str()).chain(of_incident)
    }

    /// The ATT&CK techniques of all findings, each once.
    pub fn techniques(&self) -> Vec<&'r str> {
        let mut all: Vec<&str> = Vec::new();
        for technique in self.record.findings.iter().flat_map(|finding| &finding.attack) {
            if !all.contains(&technique.as_str()) {
                all.push(technique);
            }
        }
        all
    }
}

fn action(record: &Record) -> &'static str {
    match (record.kind, &record.alarm, &record.incident) {
        (Kind::Event, ..) => "token-refresh",
        (Kind::Replay, ..) => "token-refresh-replay",
        (Kind::Alarm, Some(alarm), _) if alarm.state == AlarmState::Cleared => "alarm-cleared",
        (Kind::Alarm, ..) => "alarm-raised",
        (Kind::Operator, ..) => "operator-action",
        (Kind::Config, ..) => "config-change",
        (Kind::Incident, _, Some(incident)) => match incident.change {
            IncidentChange::Opened => "incident-opened",
            IncidentChange::Escalated => "incident-escalated",
            IncidentChange::Ongoing => "incident-ongoing",
            IncidentChange::Closed => "incident-closed",
        },
        (Kind::Incident, ..) => "incident",
        (Kind::Checkpoint, ..) => "checkpoint",
    }
}

fn title<'r>(record: &'r Record, worst: Option<&'r Finding>) -> Cow<'r, str> {
    match (&record.alarm, &record.operator, &record.config, &record.incident) {
        (Some(alarm), ..) => format!("Alarm {}: {}", alarm.state.as_str(), alarm.name).into(),
        (_, Some(operator), ..) => format!("Operator: {}", operator.action).into(),
        (.., Some(config), _) => format!("Configuration changed: {}", config.what).into(),
        (.., Some(incident)) => format!("Incident {}", incident.change.as_str()).into(),
        _ => match (record.kind, worst) {
            (_, Some(worst)) => worst.name.as_str().into(),
            (Kind::Replay, _) => "Token refresh sent again with another body".into(),
            (Kind::Checkpoint, _) => "Checkpoint".into(),
            _ => "Token refresh".into(),
        },
    }
}

fn message<'r>(record: &'r Record, worst: Option<&'r Finding>) -> Option<Cow<'r, str>> {
    if let Some(alarm) = &record.alarm {
        return Some(alarm.message.as_str().into());
    }
    if let Some(incident) = &record.incident {
        return Some(incident.summary.as_str().into());
    }
    if let Some(operator) = &record.operator {
        let parts = [Some(&operator.action), operator.subject.as_ref(), operator.detail.as_ref()];
        return Some(parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ").into());
    }
    if let Some(config) = &record.config {
        return Some(format!("{} now has the SHA-256 {}", config.what, config.digest).into());
    }
    if record.checkpoint.is_some() {
        return Some(
            format!("the journal is signed up to record {}, whose hash is {}", record.seq, record.prev).into(),
        );
    }
    match (worst, &record.replay) {
        (Some(worst), _) => Some(worst.reason.as_str().into()),
        (None, Some(replay)) => {
            Some(format!("the event id of record {} came again with another body", replay.of).into())
        }
        (None, None) => None,
    }
}

fn time(record: &Record) -> EventTime {
    let skewed = record.evidence.as_ref().is_some_and(|evidence| evidence.clock_skew);
    let said = said_at(record.event.as_ref().map(|event| event.occurred_at), skewed);
    said.unwrap_or_else(|| record.received_at.event_time())
}
