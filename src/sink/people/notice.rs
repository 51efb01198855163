//! A record in words. Pure: the same record always reads the same.

use super::text::{clean, utc};
use crate::{
    event::RefreshEvent,
    record::{AlarmChange, AlarmState, Finding, Incident, IncidentChange, Record, Seq, Severity},
    sink::{BuildError, Message},
    time::ReceivedAt,
};

/// A name in a headline: an alarm, a sink, a source.
const NAME_CHARS_MAX: usize = 80;
/// The sentence.
const TEXT_CHARS_MAX: usize = 600;
/// One fact.
const FACT_CHARS_MAX: usize = 160;
/// A message with more of them is a wall; services that show them take 10.
const FACTS_MAX: usize = 10;

/// What people are told of one record, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The last record that it is about.
    pub seq: Seq,
    /// The same for all messages about one thing: the incident's id; for an alarm instance, name and subject.
    pub key: String,
    /// Where in the course of it.
    pub phase: Phase,
    /// How bad.
    pub severity: Severity,
    /// A few words: `HIGH incident opened`.
    pub headline: String,
    /// A sentence.
    pub text: String,
    /// What is known, in the order of importance.
    pub facts: Vec<(&'static str, String)>,
    /// Where to see more.
    pub link: Option<String>,
    /// The instance that wrote the record.
    pub node: String,
    /// When it was admitted.
    pub at: ReceivedAt,
    /// Who says so, and where it stands in the journal.
    pub footer: String,
}

/// Where in the course of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It begins, or got worse.
    On,
    /// It is over.
    Over,
    /// It just is.
    Once,
    /// That no more may be told for a while; about a record that is told itself later on.
    Full,
}

/// The member `link`: where people find an incident.
#[derive(Clone, Debug)]
pub struct Link(String);

impl Link {
    /// `{id}` stands for the incident's id.
    pub fn new(template: &str) -> Result<Self, BuildError> {
        let address = template.replace("{id}", "0");
        let good = (address.starts_with("https://") || address.starts_with("http://"))
            && address.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>|\"\\^`{}".contains(&byte));
        if good && reqwest::Url::parse(&address).is_ok() {
            return Ok(Self(template.to_owned()));
        }
        Err(BuildError(
            "link is not an address: it should look like https://audit.example.com/incidents/{id}".to_owned(),
        ))
    }

    /// The incident's address.
    fn to(&self, id: &str) -> String {
        // Ids are hex; whatever else could break out of an address stays out.
        let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        self.0.replace("{id}", &id)
    }

    /// Where all are: the part before `{id}`.
    pub fn of_all(&self) -> &str {
        self.0.split("{id}").next().unwrap_or_default()
    }
}

impl Notice {
    /// What a record says to people. `None`: nothing that they have to know now.
    pub fn of(message: &Message, link: Option<&Link>) -> serde_json::Result<Option<Self>> {
        let record = message.record()?;
        let parts = match (&record.incident, &record.alarm) {
            (Some(incident), _) if incident.change == IncidentChange::Ongoing => return Ok(None),
            (Some(incident), _) => of_incident(incident),
            (None, Some(alarm)) => of_alarm(alarm, &record.node),
            (None, None) => of_other(&record, &message.key),
        };
        let Parts { key, phase, severity, headline, text, mut facts } = parts;
        facts.retain(|(_, value)| !value.is_empty());
        facts.truncate(FACTS_MAX);
        let link = record.incident.as_ref().and_then(|incident| Some(link?.to(&incident.id)));
        let node = clean(&record.node, NAME_CHARS_MAX);
        let footer = format!(
            "refresh-audit {node}, record {} of journal {}, {}",
            record.seq,
            clean(&record.journal, NAME_CHARS_MAX),
            utc(record.received_at)
        );
        let (seq, at) = (record.seq, record.received_at);
        let text = clean(&text, TEXT_CHARS_MAX);
        Ok(Some(Self { seq, key, phase, severity, headline, text, facts, link, node, at, footer }))
    }
}

/// What differs by kind.
struct Parts {
    key: String,
    phase: Phase,
    severity: Severity,
    headline: String,
    text: String,
    facts: Vec<(&'static str, String)>,
}

/// A severity as a headline says it.
pub fn loud(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "INFO",
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

fn fact(value: &str) -> String {
    clean(value, FACT_CHARS_MAX)
}

fn optional(value: Option<&str>) -> String {
    value.map(fact).unwrap_or_default()
}

fn of_incident(incident: &Incident) -> Parts {
    let (phase, headline) = match incident.change {
        IncidentChange::Closed => (Phase::Over, "Incident closed".to_owned()),
        change => (Phase::On, format!("{} incident {}", loud(incident.severity), change.as_str())),
    };
    let changed = incident.changed.iter().map(|(name, change)| match &change.from {
        Some(from) => format!("{name}: {from} -> {}", change.to),
        None => format!("{name}: {}", change.to),
    });
    let facts = vec![
        ("User", optional(incident.user_id.as_ref().map(|id| id.as_str()))),
        ("Session", optional(incident.session_id.as_ref().map(|id| id.as_str()))),
        ("Address", optional(incident.ip.as_deref())),
        ("Changed", fact(&changed.collect::<Vec<_>>().join("; "))),
        ("Rules", fact(&incident.rules.join(", "))),
        ("Findings", format!("{} in {} events", incident.findings, incident.events)),
        ("Seen", format!("{} to {}", utc(incident.first_seen), utc(incident.last_seen))),
        ("Application", optional(incident.application_id.as_ref().map(|id| id.as_str()))),
        ("Tenant", optional(incident.tenant_id.as_ref().map(|id| id.as_str()))),
        ("Incident", fact(&incident.id)),
    ];
    let text = incident.summary.clone();
    Parts { key: incident.id.clone(), phase, severity: incident.severity, headline, text, facts }
}

fn of_alarm(alarm: &AlarmChange, node: &str) -> Parts {
    let (phase, severity, change) = match alarm.state {
        AlarmState::Raised => (Phase::On, Severity::High, "raised"),
        AlarmState::Cleared => (Phase::Over, Severity::Info, "cleared"),
    };
    let about = alarm.subject.as_ref().map(|subject| format!(" ({subject})")).unwrap_or_default();
    let headline = clean(&format!("Alarm {change}: {}{about}", alarm.name), NAME_CHARS_MAX);
    // Two instances raise the same alarms, each its own.
    let key = [node, &alarm.name, alarm.subject.as_deref().unwrap_or_default()].join("/");
    let key = clean(key.trim_end_matches('/'), FACT_CHARS_MAX);
    Parts { key, phase, severity, headline, text: alarm.message.clone(), facts: Vec::new() }
}

/// Records that are not for these sinks unless somebody asks for them.
fn of_other(record: &Record, key: &str) -> Parts {
    let worst = record.findings.iter().max_by_key(|finding| finding.severity);
    let severity = record.severity();
    let (headline, text) = match (worst, &record.event, &record.operator, &record.config) {
        (Some(Finding { rule, name, reason, .. }), ..) => {
            (format!("{} finding {rule} {name}", loud(severity)), reason.clone())
        }
        (None, Some(event), ..) => {
            ("Token refresh".to_owned(), format!("Outcome as the source tells it: {}", event.outcome.as_str()))
        }
        (None, None, Some(operator), _) => {
            (format!("Operator: {}", operator.action), operator.detail.clone().unwrap_or_default())
        }
        (None, None, None, Some(config)) => (format!("Changed: {}", config.what), format!("sha256 {}", config.digest)),
        (None, None, None, None) => (format!("Record of kind {}", record.kind.as_str()), String::new()),
    };
    let facts = record.event.as_ref().map(of_event).unwrap_or_default();
    let headline = clean(&headline, NAME_CHARS_MAX);
    let text = if text.is_empty() { headline.clone() } else { text };
    Parts { key: key.to_owned(), phase: Phase::Once, severity, headline, text, facts }
}

fn of_event(event: &RefreshEvent) -> Vec<(&'static str, String)> {
    vec![
        ("User", optional(event.user_id.as_ref().map(|id| id.as_str()))),
        ("Session", optional(event.session_id.as_ref().map(|id| id.as_str()))),
        ("Address", optional(event.ip.as_deref())),
        ("User agent", optional(event.user_agent.as_deref())),
        ("Application", optional(event.application_id.as_ref().map(|id| id.as_str()))),
        ("Tenant", optional(event.tenant_id.as_ref().map(|id| id.as_str()))),
        ("Event", fact(event.id.as_str())),
    ]
}
