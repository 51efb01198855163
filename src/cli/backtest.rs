//! `backtest`: what the rules find in bodies of before. Reads, judges, prints; needs no key and stores nothing.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};

use super::{Ended, Format, OutputClosed, Usage, print, progress_bar, say, scan::parse_time, table};
use crate::{
    config::{Config, ConfigError},
    detect::{
        judge::{Case, Judge, Ruling},
        state::spilled::Cellar,
    },
    enrich::Enricher,
    event::RefreshEvent,
    ledger::chain,
    record::{Action, Draft, Evidence, Finding, Incident, IncidentChange, Kind, Replay, Seq, Severity},
    secret::Fingerprinter,
    source::{AnyDecoder, Authentic, Decoded},
    time::{EventTime, ReceivedAt},
};

mod clock;
mod hiding;
mod journal;
mod lines;

/// Judge raw bodies of before, or the journal's own records, by the configuration as it is now
///
/// Of bodies, one JSON a line, it prints the records they would become, incidents among them: scope, dedupe and enrichment
/// apply as in the service; what is filtered or a duplicate is left out. The clock is the latest createInstant so far. A file
/// may be `-` for the standard input. Of the journal (--journal) it prints what is found otherwise than it was then. Starts
/// with nothing known, unless --from-live. Stores nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit backtest events.jsonl --format table
  refresh-audit backtest events.jsonl --summary
  refresh-audit backtest --journal --since 14d --summary
  refresh-audit backtest --journal --config tried.toml | jq .would_now
  refresh-audit backtest events.jsonl | jq 'select(.findings) | {id: .event.id, risk: .verdict.risk, findings}'")]
pub(super) struct Arguments {
    /// Files of bodies, in order
    #[arg(value_name = "FILE", required_unless_present = "journal", conflicts_with = "journal")]
    files: Vec<PathBuf>,
    /// The journal's own events instead, as a difference to what was found then
    #[arg(long)]
    journal: bool,
    /// Of the journal, from then on: 14d (ago; ms, s, m, h or d), 2026-11-22 (its begin in UTC),
    /// 2026-11-22T08:00:00+01:00 or "2026-11-22 07:00:00Z"
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "journal", conflicts_with = "files")]
    since: Option<ReceivedAt>,
    /// Of the journal, up to then, not included; written as for --since
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "journal", conflicts_with = "files")]
    until: Option<ReceivedAt>,
    /// Start with what the service knows by now, of the journal with what it knew at --since: by its newest durable copy, if any,
    /// and the records since. Ids of bodies that it has recorded already are no duplicates
    #[arg(long)]
    from_live: bool,
    /// Whose bodies they are: the name of one of [[sources]]; default: the first
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Records as JSON lines, or columns (what --summary has unless told otherwise)
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only how many findings there are by rule and severity
    #[arg(long)]
    summary: bool,
}

impl Arguments {
    /// Whoever asks for sums wants to read them, who asks for records to work on them, unless they say so.
    fn format(&self) -> Format {
        self.format.unwrap_or(if self.summary { Format::Table } else { Format::Json })
    }
}

/// The journal's id in records that no journal has.
const NO_JOURNAL: &str = "00000000";

const COLUMNS: &[(&str, usize)] = &[("SEQ", 8), ("OCCURRED", 20), ("USER", 36), ("RISK", 8), ("FINDINGS", 0)];

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    if given.journal {
        return journal::run(given, &config);
    }
    let mut backtest = Backtest::new(given, &config)?;
    if given.format() == Format::Table && !given.summary {
        print(&table::line(COLUMNS.iter().copied(), backtest.width))?;
    }
    for file in &given.files {
        backtest.file(file)?;
    }
    backtest.finish()
}

struct Backtest<'a> {
    given: &'a Arguments,
    config: &'a Config,
    source: &'a str,
    decoder: AnyDecoder,
    enricher: Enricher,
    fingerprints: Fingerprinter,
    hiding: hiding::Hiding,
    judge: Judge,
    /// Where what does not fit into memory is.
    cellar: Box<dyn Cellar>,
    /// First record and the body's hash of every id, and whether a replay of it is recorded.
    seen: HashMap<String, (Seq, [u8; 32], bool, ReceivedAt)>,
    clock: clock::Clock,
    /// The event before the one that was read last: what follows it tells of a pause.
    pending: Option<(RefreshEvent, Evidence, [u8; 32])>,
    next: Seq,
    hash: chain::Hash,
    line: Vec<u8>,
    out: io::BufWriter<io::Stdout>,
    width: Option<usize>,
    unreadable: u64,
    opened: u64,
    denials: u64,
    counts: std::collections::BTreeMap<(String, Severity), u64>,
}

impl<'a> Backtest<'a> {
    fn new(given: &'a Arguments, config: &'a Config) -> anyhow::Result<Self> {
        let mut names = config.sources.iter().map(|entry| entry.name.as_str());
        // No configuration is without one.
        let asked = given.source.as_deref().or_else(|| names.next()).unwrap_or_default();
        let entry = config.sources.iter().find(|entry| entry.name == asked);
        let entry = entry.ok_or_else(|| Usage::unknown("source", asked, names))?;
        let (judge, cellar) = journal::start(given, config)?;
        Ok(Self {
            given,
            config,
            source: &entry.name,
            decoder: entry
                .config
                .decoder()
                .map_err(|error| ConfigError::from_member(&format!("source {}", entry.name), &error, &entry.at))?,
            enricher: config
                .enrich
                .build(&config.base)
                .map_err(|error| ConfigError::from_part("[enrich]", &error, &config.at))?,
            // What is remembered names tokens under the service's key.
            fingerprints: if given.from_live { config.fingerprinter()? } else { Fingerprinter::new(&[]) },
            hiding: hiding::Hiding::new(config)?,
            judge,
            cellar,
            seen: HashMap::new(),
            clock: clock::Clock::default(),
            pending: None,
            next: 1,
            hash: chain::GENESIS,
            line: Vec::new(),
            out: io::BufWriter::with_capacity(1 << 16, io::stdout()),
            width: table::terminal_width(),
            unreadable: 0,
            opened: 0,
            denials: 0,
            counts: std::collections::BTreeMap::new(),
        })
    }

    fn file(&mut self, path: &std::path::Path) -> anyhow::Result<()> {
        let named = || path.display().to_string();
        let (reader, len): (Box<dyn BufRead>, u64) = if path.as_os_str() == "-" {
            (Box::new(BufReader::new(io::stdin())), 0)
        } else {
            let file = File::open(path).with_context(|| format!("cannot open {}", named()))?;
            let len = file.metadata().map_or(0, |metadata| metadata.len());
            (Box::new(BufReader::with_capacity(1 << 16, file)), len)
        };
        let bar = progress_bar(len);
        let mut reader = bar.wrap_read(reader);
        let mut reader = BufReader::with_capacity(1 << 16, &mut reader);
        let mut line = Vec::new();
        for number in 1.. {
            let next = lines::next(&mut reader, number, &mut line);
            let Some(line) = next.with_context(|| format!("cannot read {}", named()))? else { break };
            let read = match line {
                lines::Line::Whole(body) => self.body(body)?,
                lines::Line::TooLong => Err("longer than 16 MiB, and so no event".to_owned()),
            };
            if let Err(problem) = read {
                self.unreadable += 1;
                say(&format!("{}:{number}: {problem}", named()));
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// One body; the inner error is what is wrong with it.
    fn body(&mut self, body: &[u8]) -> anyhow::Result<Result<(), String>> {
        if body.is_empty() {
            return Ok(Ok(()));
        }
        let authentic = Authentic::imported(body);
        let decoded = match self.decoder.decode(&authentic, &self.fingerprints) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let hash: [u8; 32] = Sha256::digest(body).into();
        for decoded in decoded {
            let Decoded::Event(event) = decoded else { continue };
            if self.config.scope.takes(&event) {
                let (id, occurred) = (event.id.clone(), event.occurred_at);
                if let Some(pending) = self.pending.replace((*event, authentic.evidence().clone(), hash)) {
                    let is_another = pending.0.id != id;
                    self.event(pending, is_another.then_some(occurred))?;
                }
            }
        }
        Ok(Ok(()))
    }

    fn event(
        &mut self,
        (mut event, evidence, hash): (RefreshEvent, Evidence, [u8; 32]),
        next: Option<EventTime>,
    ) -> anyhow::Result<()> {
        let (at, is_ahead) = self.clock.tick(event.occurred_at, next);
        self.enricher.enrich(&mut event);
        let facts = self.hiding.apply(&mut event);
        let evidence = Evidence { body_sha256: Some(hex::encode(hash)), ..evidence };
        let window = self.config.dedupe.window.get();
        let mut evidence = crate::ledger::judge_instant(evidence, event.occurred_at.millis(), at, window);
        evidence.clock_skew &= is_ahead || event.occurred_at <= at.event_time();
        let known = self.seen.get_mut(event.id.as_str()).filter(|(.., first)| at.since(*first) <= window);
        if let Some((of, body, replayed, _)) = known {
            if *body == hash || std::mem::replace(replayed, true) {
                return Ok(());
            }
            let of = *of;
            let case = Case { event: &event, facts: &facts, evidence: &evidence, at, seq: self.next };
            let findings = self.judge.replayed(case, of);
            self.record(Kind::Replay, at, &event, &evidence, (&findings, None, Some(Replay { of })))?;
            return self.incidents(at);
        }
        self.seen.insert(event.id.as_str().to_owned(), (self.next, hash, false, at));
        let case = Case { event: &event, facts: &facts, evidence: &evidence, at, seq: self.next };
        let guests = self.judge.fetch(case, &mut *self.cellar);
        let Ruling { findings, verdict, .. } = self.judge.event(case, guests, &|| false);
        self.judge.take_spilled().for_each(|entry| self.cellar.put(entry));
        self.record(Kind::Event, at, &event, &evidence, (&findings, verdict.as_ref(), None))?;
        self.incidents(at)
    }

    /// The incident records that follow from what was judged last.
    fn incidents(&mut self, at: ReceivedAt) -> anyhow::Result<()> {
        for incident in self.judge.take_unwritten() {
            let seq = self.next;
            self.next += 1;
            if incident.change == IncidentChange::Opened {
                self.opened += 1;
            }
            if self.given.summary {
                continue;
            }
            if self.given.format() == Format::Table {
                print(&incident_row(seq, &incident, self.width))?;
                continue;
            }
            let head = Draft::new(NO_JOURNAL, &self.config.node, seq, Kind::Incident, at);
            self.write(&Draft { incident: Some(&incident), ..head })?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        kind: Kind,
        at: ReceivedAt,
        event: &RefreshEvent,
        evidence: &Evidence,
        (findings, verdict, replay): (&[Finding], Option<&crate::record::Verdict>, Option<Replay>),
    ) -> anyhow::Result<()> {
        let seq = self.next;
        self.next += 1;
        for finding in findings {
            *self.counts.entry((finding.rule.clone(), finding.severity)).or_default() += 1;
        }
        self.denials += u64::from(verdict.is_some_and(|verdict| verdict.would == Some(Action::Deny)));
        if self.given.summary {
            return Ok(());
        }
        if self.given.format() == Format::Table {
            return print(&row(seq, event, findings, verdict, self.width));
        }
        let json = serde_json::to_string(event).and_then(RawValue::from_string)?;
        let head = Draft::new(NO_JOURNAL, &self.config.node, seq, kind, at);
        let draft = Draft {
            source: Some(self.source),
            evidence: Some(evidence),
            event: Some(&json),
            findings,
            verdict,
            replay,
            ..head
        };
        self.write(&draft)
    }

    fn write(&mut self, draft: &Draft<'_>) -> anyhow::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, draft)?;
        self.hash = chain::seal_line(&mut self.line, 0, &self.hash);
        written(self.out.write_all(&self.line))
    }

    fn finish(mut self) -> anyhow::Result<Ended> {
        if let Some(last) = self.pending.take() {
            self.event(last, None)?;
        }
        written(self.out.flush())?;
        if self.given.summary {
            self.print_sums()?;
        }
        if self.unreadable > 0 {
            say(&format!("{} lines were no readable events", self.unreadable));
        }
        Ok(Ended::well_if(self.unreadable == 0))
    }
}

impl Backtest<'_> {
    fn print_sums(&self) -> anyhow::Result<()> {
        let (records, opened, denials) = (self.next - 1, self.opened, self.denials);
        if self.given.format() == Format::Json {
            let of = |((rule, severity), count): (&(String, Severity), &u64)| json!({ "rule": rule, "severity": severity, "findings": count });
            let rules: Vec<Value> = self.counts.iter().map(of).collect();
            let sums = json!({ "records": records, "rules": rules, "incidents_opened": opened, "would_deny": denials });
            return print(&sums.to_string());
        }
        let mut rows = vec![["RULE", "SEVERITY", "FINDINGS"].map(str::to_owned).to_vec()];
        for ((rule, severity), count) in &self.counts {
            rows.push(vec![rule.clone(), severity.as_str().to_owned(), count.to_string()]);
        }
        for line in table::table(&rows, self.width) {
            print(&line)?;
        }
        print(&format!("{records} records, {opened} incidents opened, {denials} refreshes would be denied"))
    }
}

fn written(result: io::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => anyhow::Error::new(error).context("cannot write to the standard output"),
    })
}

fn row(
    seq: Seq,
    event: &RefreshEvent,
    findings: &[Finding],
    verdict: Option<&crate::record::Verdict>,
    width: Option<usize>,
) -> String {
    let risk = verdict.and_then(|verdict| verdict.risk).map_or_else(String::new, |risk| format!("{risk:.6}"));
    let said: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", finding.rule, finding.severity.as_str())).collect();
    let denied = verdict.filter(|verdict| verdict.would == Some(Action::Deny)).map(|_| "would deny".to_owned());
    let said: Vec<String> = denied.into_iter().chain(said).collect();
    let user = event.user_id.as_ref().map_or("-", |id| id.as_str());
    let cells = [seq.to_string(), event.occurred_at.to_string(), user.to_owned(), risk, said.join(", ")];
    table::line(cells.iter().map(String::as_str).zip(COLUMNS.iter().map(|(_, width)| *width)), width)
}

fn incident_row(seq: Seq, incident: &Incident, width: Option<usize>) -> String {
    let user = incident.user_id.as_ref().map_or("-", |id| id.as_str());
    let what = format!("incident {} {}: {}", incident.id, incident.change.as_str(), incident.summary);
    // To the second, as wide as an event's instant.
    let seen = incident.last_seen.to_string();
    let cells = [seq.to_string(), seen.get(..19).unwrap_or(&seen).to_owned(), user.to_owned(), String::new(), what];
    table::line(cells.iter().map(String::as_str).zip(COLUMNS.iter().map(|(_, width)| *width)), width)
}
