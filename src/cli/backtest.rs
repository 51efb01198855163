//! `backtest`: what the rules find in bodies of before. Reads, judges, prints; needs no key and stores nothing.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Ended, OutputClosed, print, progress_bar, say, table};
use crate::{
    config::{Config, ConfigError},
    detect::{
        Facts,
        judge::{Judge, Memory, Ruling},
    },
    enrich::Enricher,
    event::RefreshEvent,
    ledger::chain,
    record::{Draft, Evidence, Finding, Kind, Replay, Seq, Severity},
    secret::Fingerprinter,
    source::{AnyDecoder, Authentic, Decoded},
    time::ReceivedAt,
};

/// Judge raw bodies of before, one JSON a line, and print the records they would become
///
/// Scope, dedupe and enrichment apply as in the service; what is filtered or a duplicate is left out. The clock is the latest
/// createInstant so far. Starts with nothing known. A file may be `-` for the standard input.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit backtest events.jsonl --format table
  refresh-audit backtest events.jsonl --summary
  refresh-audit backtest events.jsonl | jq 'select(.findings) | {id: .event.id, risk: .verdict.risk, findings}'")]
pub(super) struct Arguments {
    /// Files of bodies, in order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Whose bodies they are: the name of one of [[sources]]; default: the first
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Records as JSON lines, or columns
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Only how many findings there are by rule and severity
    #[arg(long)]
    summary: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Table,
}

/// The clock moves at most this far with one event.
const STEP_MICROS_MAX: i64 = 86_400 * 1_000_000;
/// Longer lines are no bodies.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// The journal's id in records that no journal has.
const NO_JOURNAL: &str = "00000000";

const COLUMNS: &[(&str, usize)] = &[("SEQ", 8), ("OCCURRED", 20), ("USER", 36), ("RISK", 8), ("FINDINGS", 0)];

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    let mut backtest = Backtest::new(given, &config)?;
    if given.format == Format::Table && !given.summary {
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
    judge: Judge,
    /// First record and the body's hash of every id, and whether a replay of it is recorded.
    seen: HashMap<String, (Seq, [u8; 32], bool, ReceivedAt)>,
    clock: Option<ReceivedAt>,
    next: Seq,
    hash: chain::Hash,
    line: Vec<u8>,
    out: io::BufWriter<io::Stdout>,
    width: Option<usize>,
    unreadable: u64,
    counts: std::collections::BTreeMap<(String, Severity), u64>,
}

impl<'a> Backtest<'a> {
    fn new(given: &'a Arguments, config: &'a Config) -> anyhow::Result<Self> {
        let entry = match &given.source {
            None => config.sources.first(),
            Some(name) => config.sources.iter().find(|entry| entry.name == *name),
        };
        let entry =
            entry.with_context(|| format!("no source is called {:?}", given.source.as_deref().unwrap_or("")))?;
        Ok(Self {
            given,
            config,
            source: &entry.name,
            decoder: entry.config.decoder().with_context(|| format!("sources `{}`", entry.name))?,
            enricher: config.enrich.build(&config.base).map_err(|error| ConfigError::from_part("[enrich]", &error))?,
            fingerprints: Fingerprinter::new(&[]),
            judge: Judge::new(&config.detect, Memory::default()),
            seen: HashMap::new(),
            clock: None,
            next: 1,
            hash: chain::GENESIS,
            line: Vec::new(),
            out: io::BufWriter::with_capacity(1 << 16, io::stdout()),
            width: table::terminal_width(),
            unreadable: 0,
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
            line.clear();
            let read = io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.with_context(|| format!("cannot read {}", named()))? == 0 {
                break;
            }
            if let Err(problem) = self.body(line.trim_ascii())? {
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
            if let Decoded::Event(event) = decoded
                && self.config.scope.takes(&event)
            {
                self.event(*event, authentic.evidence(), hash)?;
            }
        }
        Ok(Ok(()))
    }

    fn event(&mut self, mut event: RefreshEvent, evidence: &Evidence, hash: [u8; 32]) -> anyhow::Result<()> {
        let at = self.tick(&event);
        self.enricher.enrich(&mut event);
        self.config.privacy.apply(&mut event, &self.fingerprints);
        let evidence = Evidence { body_sha256: Some(hex::encode(hash)), ..evidence.clone() };
        let window = self.config.dedupe.window.get();
        let evidence = crate::ledger::judge_instant(evidence, event.occurred_at.millis(), at, window);
        let known = self.seen.get_mut(event.id.as_str()).filter(|(.., first)| at.since(*first) <= window);
        if let Some((of, body, replayed, _)) = known {
            if *body == hash || std::mem::replace(replayed, true) {
                return Ok(());
            }
            let of = *of;
            let findings = self.judge.replayed(of);
            return self.record(Kind::Replay, at, &event, &evidence, (&findings, None, Some(Replay { of })));
        }
        self.seen.insert(event.id.as_str().to_owned(), (self.next, hash, false, at));
        let Ruling { findings, verdict, .. } = self.judge.event(&event, &Facts::of(&event), &evidence, at);
        self.record(Kind::Event, at, &event, &evidence, (&findings, verdict.as_ref(), None))
    }

    /// The latest instant so far, no more than a day after the one before.
    fn tick(&mut self, event: &RefreshEvent) -> ReceivedAt {
        let instant = event.occurred_at.millis().saturating_mul(1_000);
        let now = match self.clock {
            None => instant,
            Some(before) => instant.clamp(before.micros(), before.micros().saturating_add(STEP_MICROS_MAX)),
        };
        let now = ReceivedAt::from_micros(now);
        self.clock = Some(now);
        now
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
        if self.given.summary {
            return Ok(());
        }
        if self.given.format == Format::Table {
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
        self.line.clear();
        serde_json::to_writer(&mut self.line, &draft)?;
        self.hash = chain::seal_line(&mut self.line, 0, &self.hash);
        written(self.out.write_all(&self.line))
    }

    fn finish(mut self) -> anyhow::Result<Ended> {
        written(self.out.flush())?;
        if self.given.summary {
            let mut rows = vec![["RULE", "SEVERITY", "FINDINGS"].map(str::to_owned).to_vec()];
            for ((rule, severity), count) in &self.counts {
                rows.push(vec![rule.clone(), severity.as_str().to_owned(), count.to_string()]);
            }
            for line in table::table(&rows, self.width) {
                print(&line)?;
            }
            print(&format!("{} records", self.next - 1))?;
        }
        if self.unreadable > 0 {
            say(&format!("{} lines were no readable events", self.unreadable));
        }
        Ok(Ended::well_if(self.unreadable == 0))
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
    let user = event.user_id.as_ref().map_or("-", |id| id.as_str());
    let cells = [seq.to_string(), event.occurred_at.to_string(), user.to_owned(), risk, said.join(", ")];
    table::line(cells.iter().map(String::as_str).zip(COLUMNS.iter().map(|(_, width)| *width)), width)
}
