//! `backtest --journal`: what today's configuration would have found in recorded events, as a difference to what was found
//! then. Fingerprints suffice; nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Arguments, Ended, Format, print, table};
use crate::{
    cli::scan::{self, Part},
    config::Config,
    detect::{
        Facts, Policy,
        judge::{Case, Judge, Memory},
        state::spilled::{Cellar, InMemory},
    },
    ledger::{Meta, recovery, remembered, segment, spill::Borrowed},
    record::{Action, Finding, Incident, IncidentChange, Kind, Record, Seq, Severity},
    time::ReceivedAt,
};

type Found = BTreeSet<(String, Severity)>;

/// One record that is judged otherwise now.
#[derive(Serialize)]
struct Difference<'a> {
    seq: Seq,
    received_at: ReceivedAt,
    event_id: &'a str,
    then: Vec<String>,
    now: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_then: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_now: Option<Action>,
}

/// How often something was, and is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Count {
    then: u64,
    now: u64,
    only_then: u64,
    only_now: u64,
}

#[derive(Default)]
struct Sums {
    events: u64,
    rules: BTreeMap<(String, Severity), Count>,
    /// Incidents opened, by day.
    days: BTreeMap<String, (u64, u64)>,
    /// Would-be and real denials.
    denials: Count,
}

pub(super) fn run(given: &Arguments, config: &Config) -> anyhow::Result<Ended> {
    let part = Part { since: given.since, until: given.until };
    let (mut judge, mut cellar) = start(given, config)?;
    let mut sums = Sums::default();
    let whole = scan::each(config, part, |record| {
        if let Some(line) = compare((&mut judge, &mut *cellar), &mut sums, &record)?.filter(|_| !given.summary) {
            print(&line_of(given.format(), &line))?;
        }
        Ok(())
    })?;
    match given.format() {
        Format::Json if given.summary => print(&sums.to_json().to_string())?,
        Format::Json => {}
        Format::Table => sums.print()?,
    }
    Ok(Ended::well_if(whole))
}

/// Knows nothing, or what the service knew when the part begins, of bodies what it knows by now; judges by today's
/// configuration.
pub(super) fn start(given: &Arguments, config: &Config) -> anyhow::Result<(Judge, Box<dyn Cellar>)> {
    // Before the whole journal nothing was known.
    let is_whole_journal = given.journal && given.since.is_none();
    let (mut judge, cellar): (_, Box<dyn Cellar>) = match given.from_live && !is_whole_journal {
        true => known_at(config, given.since).map(|(judge, cellar)| (judge, Box::new(cellar) as _))?,
        false => (Judge::new(&config.policy, Memory::default()), Box::new(InMemory::default())),
    };
    judge.configure(&config.policy);
    Ok((judge, cellar))
}

/// What the service knew at an instant, or at the journal's end: by its newest durable copy from before it, where there is one,
/// and the records since that copy.
fn known_at(config: &Config, since: Option<ReceivedAt>) -> anyhow::Result<(Judge, Borrowed)> {
    let dir = segment::journal_dir(&config.data_dir);
    let meta = Meta::read(&dir).with_context(|| format!("there is no journal in {}", dir.display()))?;
    let mut last = 0;
    let before = Part { since: None, until: since };
    match since {
        None => last = recovery::last_seq(&dir)?,
        Some(since) => drop(scan::each_from(config, scan::seq_before(&dir, since)?, before, |record| {
            last = record.seq;
            Ok(())
        })?),
    }
    let known = remembered(&config.data_dir, &meta.journal, last).unwrap_or_default();
    let mut cellar = known.borrowed(&config.data_dir);
    let mut judge = Judge::new(&Policy::default(), known.memory);
    scan::each_from(config, known.seq + 1, before, |record| {
        judge.remember(&record, &mut cellar);
        Ok(())
    })?;
    // What was told of then is not told again.
    judge.take_unwritten();
    Ok((judge, cellar))
}

/// A difference, as (its JSON, its words).
fn compare(
    (judge, cellar): (&mut Judge, &mut dyn Cellar),
    sums: &mut Sums,
    record: &Record,
) -> anyhow::Result<Option<(String, String)>> {
    if let Some(incident) = &record.incident {
        sums.incident(record.received_at, incident, |day| &mut day.0);
        return Ok(None);
    }
    let Some(event) = record.event.as_ref().filter(|_| matches!(record.kind, Kind::Event | Kind::Replay)) else {
        return Ok(None);
    };
    sums.events += 1;
    let evidence = record.evidence.clone().unwrap_or_default();
    let facts = Facts::of(event);
    let case = Case { event, facts: &facts, evidence: &evidence, at: record.received_at, seq: record.seq };
    let (findings, would_now) = match &record.replay {
        Some(replay) => (judge.replayed(case, replay.of), None),
        None => {
            let answered = record.verdict.as_ref().map_or(Action::Allow, |verdict| verdict.action);
            let guests = judge.fetch(case, cellar);
            let ruling = judge.again(case, guests, answered);
            judge.take_spilled().for_each(|entry| cellar.put(entry));
            (ruling.findings, ruling.verdict.and_then(|verdict| verdict.would))
        }
    };
    for incident in judge.take_unwritten() {
        sums.incident(record.received_at, &incident, |day| &mut day.1);
    }
    let would_then = record.verdict.as_ref().and_then(|verdict| match verdict.action {
        Action::Deny => Some(Action::Deny),
        Action::Allow => verdict.would,
    });
    let (then, now) = (found(&record.findings), found(&findings));
    sums.add(&then, &now, (would_then == Some(Action::Deny), would_now == Some(Action::Deny)));
    if then == now && (would_then == Some(Action::Deny)) == (would_now == Some(Action::Deny)) {
        return Ok(None);
    }
    let difference = Difference {
        seq: record.seq,
        received_at: record.received_at,
        event_id: event.id.as_str(),
        then: words(&then),
        now: words(&now),
        would_then,
        would_now,
    };
    let signed = |sign: &str, these: &Found, those: &Found| -> Vec<String> {
        these.difference(those).map(|(rule, severity)| format!("{sign}{rule} {}", severity.as_str())).collect()
    };
    let mut changes = [signed("-", &then, &now), signed("+", &now, &then)].concat();
    match (would_then == Some(Action::Deny), would_now == Some(Action::Deny)) {
        (true, false) => changes.push("-deny".to_owned()),
        (false, true) => changes.push("+deny".to_owned()),
        _ => {}
    }
    let text = format!("{:<8}  {}  {}", record.seq, event.id, changes.join(", "));
    Ok(Some((serde_json::to_string(&difference)?, crate::cli::printable(&text))))
}

fn line_of(format: Format, (json, text): &(String, String)) -> String {
    if format == Format::Json { json.clone() } else { text.clone() }
}

fn found(findings: &[Finding]) -> Found {
    findings.iter().map(|finding| (finding.rule.clone(), finding.severity)).collect()
}

fn words(found: &Found) -> Vec<String> {
    found.iter().map(|(rule, severity)| format!("{rule} {}", severity.as_str())).collect()
}

impl Count {
    fn add(&mut self, then: bool, now: bool) {
        self.then += u64::from(then);
        self.now += u64::from(now);
        self.only_then += u64::from(then && !now);
        self.only_now += u64::from(now && !then);
    }

    fn cells(self) -> [String; 4] {
        [self.then, self.now, self.only_then, self.only_now].map(|count| count.to_string())
    }
}

impl Sums {
    fn add(&mut self, then: &Found, now: &Found, (denied_then, denied_now): (bool, bool)) {
        for one in then.union(now) {
            self.rules.entry(one.clone()).or_default().add(then.contains(one), now.contains(one));
        }
        self.denials.add(denied_then, denied_now);
    }

    fn incident(&mut self, at: ReceivedAt, incident: &Incident, side: impl Fn(&mut (u64, u64)) -> &mut u64) {
        if incident.change == IncidentChange::Opened {
            let day = at.to_string().get(..10).unwrap_or_default().to_owned();
            *side(self.days.entry(day).or_default()) += 1;
        }
    }

    fn to_json(&self) -> Value {
        let of = |((rule, severity), count): (&(String, Severity), &Count)| {
            let Count { then, now, only_then, only_now } = count;
            json!({
                "rule": rule, "severity": severity,
                "then": then, "now": now, "only_then": only_then, "only_now": only_now,
            })
        };
        let rules: Vec<Value> = self.rules.iter().map(of).collect();
        let days = self.days.iter().map(|(day, (then, now))| (day.clone(), json!({ "then": then, "now": now })));
        let days: serde_json::Map<String, Value> = days.collect();
        json!({ "events": self.events, "rules": rules, "denials": self.denials, "incidents_opened": days })
    }

    fn print(&self) -> anyhow::Result<()> {
        let heading = ["RULE", "SEVERITY", "THEN", "NOW", "ONLY THEN", "ONLY NOW"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for ((rule, severity), count) in &self.rules {
            rows.push([vec![rule.clone(), severity.as_str().to_owned()], count.cells().to_vec()].concat());
        }
        rows.push([vec!["denied or would be".to_owned(), String::new()], self.denials.cells().to_vec()].concat());
        for line in table::table(&rows, table::terminal_width()) {
            print(&line)?;
        }
        print("")?;
        let mut rows = vec![["INCIDENTS OPENED ON", "THEN", "NOW"].map(str::to_owned).to_vec()];
        rows.extend(self.days.iter().map(|(day, (then, now))| vec![day.clone(), then.to_string(), now.to_string()]));
        for line in table::table(&rows, table::terminal_width()) {
            print(&line)?;
        }
        print(&format!("{} events", self.events))
    }
}
