//! `explain`: in words, which evidence led to each finding of an event. Reads the journal's files.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use memchr::memmem::Finder;

use super::{Ended, print, printable, progress_bar, scan};
use crate::{
    config::{Config, ConfigError},
    detect::{
        Facts, catalogue,
        facts::{Meaning, STOPPED},
    },
    event::{RefreshEvent, Token},
    ledger::{
        read::{Item, Reader},
        segment,
    },
    record::{Action, Finding, Kind, Record, Seq},
};

/// Say in words what was found in an event, and which evidence led to it
///
/// Of the newest record of that id: the findings with their numbers, the session's refreshes before it, and what became of
/// the token that was spent; and what its replay found, where the id came again with another body. Needs no running service
/// and takes no lock.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit explain ef73f801-92d6-4a7e-8d52-6c1f0b7e9a44
  refresh-audit explain fusionauth/ef73f801-92d6-4a7e-8d52-6c1f0b7e9a44
  refresh-audit records --kind event --rule RA101 --since 2h | jq -r .event.id | xargs -n1 refresh-audit explain")]
pub(super) struct Arguments {
    /// The event's id, or <source>/<id>, as sinks have it where several sources are configured
    #[arg(value_name = "EVENT_ID")]
    id: String,
}

/// The session's earlier refreshes that are shown.
const EARLIER_MAX: usize = 5;

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    let until = scan::synced(&config)?;
    let dir = segment::journal_dir(&config.data_dir);
    let Some(seq) = scan::find(&dir, &given.id, &[Kind::Event, Kind::Replay], until)? else {
        bail!(
            "the journal holds no event {}: `refresh-audit records --kind event` lists what it holds (member event.id); \
             what is older than journal.retention is gone",
            printable(&given.id)
        )
    };
    let newest = record_at(&dir, seq)?.with_context(|| format!("record {seq} cannot be read"))?;
    let first = newest.replay.as_ref().map(|replay| record_at(&dir, replay.of)).transpose()?.flatten();
    let (record, replay) = match first {
        Some(first) => (first, Some(newest)),
        None => (newest, None),
    };
    let Some(event) = &record.event else { bail!("record {} has no event", record.seq) };
    for line in head(&record, event) {
        print(&line)?;
    }
    found_in(&record, &config)?;
    if let Some(replay) = &replay {
        let from = replay.event.as_ref().map_or_else(String::new, where_from);
        let (seq, at) = (replay.seq, replay.received_at);
        print(&format!("\nrecord {seq}, {at}, is a replay of it: its id came again with another body, from {from}"))?;
        found_in(replay, &config)?;
    }
    print("")?;
    for line in History::before(record.seq, event, &config)?.said(event) {
        print(&line)?;
    }
    Ok(Ended::Well)
}

/// None where it is gone, or damaged.
fn record_at(dir: &Path, seq: Seq) -> anyhow::Result<Option<Record>> {
    let items = Reader::new(dir, seq).read(seq, 1, usize::MAX)?;
    let Some(Item::Line { text, .. }) = items.first() else { return Ok(None) };
    serde_json::from_slice(text).with_context(|| format!("record {seq} is not understood"))
}

fn found_in(record: &Record, config: &Config) -> anyhow::Result<()> {
    for finding in &record.findings {
        print("")?;
        for line in said(finding, config) {
            print(&line)?;
        }
    }
    Ok(())
}

fn head(record: &Record, event: &RefreshEvent) -> Vec<String> {
    let text = |id: Option<String>| id.map_or_else(|| "unknown".to_owned(), |id| printable(&id));
    let mut lines = vec![
        format!("event {}, record {}, {}", printable(event.id.as_str()), record.seq, record.received_at),
        format!(
            "user {}, application {}, session {}",
            text(event.user_id.as_ref().map(ToString::to_string)),
            text(event.application_id.as_ref().map(ToString::to_string)),
            text(event.session_id.as_ref().map(ToString::to_string)),
        ),
        format!("from {}", where_from(event)),
    ];
    if let Some(verdict) = &record.verdict {
        let risk = verdict.risk.map_or_else(String::new, |risk| format!("risk {risk:.6}; "));
        let what = match (verdict.action, verdict.would) {
            (Action::Deny, _) => "denied",
            (Action::Allow, Some(Action::Deny)) => "let through; the gate's policy would deny it",
            (Action::Allow, Some(Action::Allow)) => "let through; the gate's policy agrees",
            (Action::Allow, None) => "let through; the gate has no opinion",
        };
        lines.push(format!("{risk}{what}"));
    }
    if let Some(replay) = &record.replay {
        lines.push(format!("a replay of record {}, which is gone: its id came again with another body", replay.of));
    }
    if record.findings.is_empty() {
        lines.push("nothing was found in it".to_owned());
    }
    if record.evidence.as_ref().is_some_and(|evidence| evidence.stale) {
        lines.push("it was too old when it came to be judged (evidence.stale)".to_owned());
    }
    lines
}

fn where_from(event: &RefreshEvent) -> String {
    let location = event.location.as_ref();
    let network = event.network.as_ref();
    let client = event.client.as_ref();
    let mut parts = vec![event.ip.clone().unwrap_or_else(|| "an unknown address".to_owned())];
    parts.extend(network.and_then(|network| network.asn).map(|asn| format!("AS{asn}")));
    parts.extend(network.and_then(|network| network.org.clone()));
    parts.extend(location.and_then(|location| location.city.clone()));
    parts.extend(location.and_then(|l| l.country.clone()).or_else(|| network?.country.clone()));
    parts.extend(network.map(|network| network.labels.join(" ")).filter(|labels| !labels.is_empty()));
    let software = [client.and_then(|c| c.browser.clone()), client.and_then(|c| c.os.clone())];
    parts.extend(software.into_iter().flatten());
    printable(&parts.join(", "))
}

/// One finding: what it says, what its rule looks for, the numbers, and where the rule's thresholds stand now.
fn said(finding: &Finding, config: &Config) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {} ({}): {}",
        finding.rule,
        finding.name,
        finding.severity.as_str(),
        printable(&finding.reason)
    )];
    if let Some(rule) = catalogue::rule(&finding.rule) {
        lines.push(format!("  looks for: {}", rule.about.trim()));
    }
    if let Some(rule) = config.policy.rules.iter().find(|rule| rule.id == finding.rule) {
        lines.push(format!("  holds when: {}", printable(rule.when.trim())));
    }
    for (name, value) in &finding.evidence {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.push(format!("  {}: {}", name.replace('_', " "), printable(&value)));
    }
    let rules = serde_json::to_value(&config.policy.detect).unwrap_or_default();
    let thresholds: Vec<String> = rules[&finding.rule]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "enabled")
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    if !thresholds.is_empty() {
        lines.push(format!("  set now: {}", thresholds.join(", ")));
    }
    if !finding.attack.is_empty() {
        lines.push(format!("  ATT&CK: {}", finding.attack.join(", ")));
    }
    if let Some(incident) = &finding.incident {
        lines.push(format!("  incident: {incident}"));
    }
    lines
}

/// What the journal holds of the session before an event.
#[derive(Default)]
struct History {
    /// The session's last refreshes, oldest first.
    earlier: Vec<(Seq, String, String)>,
    /// How many there are in all.
    count: u64,
    /// How many of the user there are in all, and the instant of the first: of a new one rules say less.
    of_user: (u64, Option<String>),
    /// Where the spent token was issued.
    issued: Option<(Seq, String, String)>,
    /// Refreshes of the session, or with the same parent, that the gate refused.
    refused: u64,
    /// Where it was spent before, the last few.
    spent: Vec<(Seq, String, String)>,
    /// What revoked the session's tokens or stopped its user: the record, when, the event's type.
    stopped: Vec<(Seq, String, String)>,
}

/// What an event is looked up by in those before it.
struct Traces {
    session: Option<String>,
    user: Option<String>,
    /// The previous access token, under each key.
    parent: Vec<String>,
    /// The same in numbers, which tell whom a revocation concerns.
    facts: Facts,
}

impl Traces {
    fn of(event: &RefreshEvent) -> Self {
        Self {
            session: event.session_id.as_ref().map(ToString::to_string),
            user: event.user_id.as_ref().map(ToString::to_string),
            parent: event.tokens.access.previous.iter().flat_map(Token::names).map(ToString::to_string).collect(),
            facts: Facts::of(event),
        }
    }

    /// Whether a revocation is of this session or refresh token, else of this user, in this application if it names one, else of
    /// this application.
    fn is_stopped_by(&self, event: &RefreshEvent, theirs: &Facts) -> bool {
        let own = &self.facts;
        let is_of_application = event.application_id.is_some() && theirs.application == own.application;
        theirs.meaning == Meaning::Revocation
            && if event.session_id.is_some() || theirs.presented != 0 {
                let is_session = event.session_id.is_some() && theirs.session == own.session;
                is_session || theirs.presented != 0 && theirs.shows_as(own)
            } else if theirs.user == 0 {
                is_of_application
            } else {
                theirs.user == own.user && (event.application_id.is_none() || is_of_application)
            }
    }

    /// Whether a token is the one that this refresh names as its parent.
    fn names_parent(&self, token: Option<&Token>) -> bool {
        token.is_some_and(|token| token.names().any(|name| self.parent.contains(&name.to_string())))
    }
}

impl History {
    fn before(seq: Seq, event: &RefreshEvent, config: &Config) -> anyhow::Result<Self> {
        let dir = segment::journal_dir(&config.data_dir);
        let wanted = Traces::of(event);
        // The text first: of millions of lines few have it, and only those are worth a parse.
        let stops = STOPPED.iter().map(|kind| (*kind).to_owned());
        let needles: Vec<String> = [wanted.session.clone(), wanted.user.clone()]
            .into_iter()
            .flatten()
            .chain(wanted.parent.iter().cloned())
            .chain(stops)
            .filter_map(|text| serde_json::to_string(&text).ok())
            .collect();
        let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
        let mut history = Self::default();
        let mut reader = Reader::new(&dir, 1);
        let bar = progress_bar(0);
        while reader.next() < seq {
            let items = reader.read(seq - 1, scan::CHUNK_RECORDS, scan::CHUNK_BYTES)?;
            if items.is_empty() {
                break;
            }
            bar.inc(items.len() as u64);
            for item in items {
                let Item::Line { text, .. } = item else { continue };
                if finders.iter().any(|finder| finder.find(&text).is_some())
                    && let Ok(record) = serde_json::from_slice::<Record>(&text)
                {
                    history.take(&record, &wanted);
                }
            }
        }
        bar.finish_and_clear();
        Ok(history)
    }

    fn take(&mut self, record: &Record, wanted: &Traces) {
        // A replay is of an event that is told already, and what came too late was learned from by nobody.
        let is_stale = record.evidence.as_ref().is_some_and(|evidence| evidence.stale);
        let counts = record.kind == Kind::Event && !is_stale;
        let Some(event) = record.event.as_ref().filter(|_| counts) else { return };
        let session = wanted.session.as_deref();
        let line = || (record.seq, event.occurred_at.to_string(), where_from(event));
        let facts = Facts::of(event);
        if wanted.is_stopped_by(event, &facts) {
            self.stopped.push((record.seq, event.occurred_at.to_string(), event.kind.clone()));
        }
        let is_of_session = session.is_some() && event.session_id.as_ref().map(|id| id.as_str()) == session;
        let access = &event.tokens.access;
        if wanted.names_parent(access.issued.as_ref()) {
            self.issued = Some(line());
        }
        if record.verdict.as_ref().is_some_and(|verdict| verdict.action == Action::Deny) {
            // It has spent nothing, and nothing was learned from it.
            self.refused += u64::from(is_of_session || wanted.names_parent(access.previous.as_ref()));
            return;
        }
        if facts.meaning == Meaning::Refresh && facts.user != 0 && facts.user == wanted.facts.user {
            self.of_user.0 += 1;
            self.of_user.1.get_or_insert_with(|| event.occurred_at.to_string());
        }
        if wanted.names_parent(access.previous.as_ref()) {
            self.spent.push(line());
            if self.spent.len() > EARLIER_MAX {
                self.spent.remove(0);
            }
        }
        if facts.meaning == Meaning::Refresh && is_of_session {
            self.count += 1;
            self.earlier.push(line());
            if self.earlier.len() > EARLIER_MAX {
                self.earlier.remove(0);
            }
        }
    }

    fn said(&self, event: &RefreshEvent) -> Vec<String> {
        let told = |(seq, at, from): &(Seq, String, String)| format!("record {seq}, {at}, from {from}");
        let mut lines = Vec::new();
        match (&self.issued, event.tokens.access.previous.is_some()) {
            (_, false) => lines.push("no previous access token was sent".to_owned()),
            (Some(issued), true) => lines.push(format!("the previous access token was issued by {}", told(issued))),
            (None, true) => lines.push("who issued the previous access token is not in the journal".to_owned()),
        }
        lines.extend(self.spent.iter().map(|spent| format!("it was spent before by {}", told(spent))));
        let stopped = |(seq, at, kind): &(Seq, String, String)| {
            format!("revoked or stopped before it: record {seq}, {at}, {}", printable(kind))
        };
        lines.extend(self.stopped.iter().map(stopped));
        if let (count, Some(first)) = &self.of_user {
            lines.push(format!("refreshes of this user before it: {count}, the first {first}"));
        }
        if self.refused > 0 {
            lines.push(format!("refused by the gate before it, of this session or with this token: {}", self.refused));
        }
        if event.session_id.is_some() {
            lines.push(format!("refreshes of this session before it: {}", self.count));
            lines.extend(self.earlier.iter().map(|earlier| format!("  {}", told(earlier))));
        }
        lines
    }
}
