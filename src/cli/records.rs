//! `records`: prints what the journal holds, filtered. Reads the files; takes no lock, and beside a running service shows
//! nothing that is not synced.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{
    Ended, Format, Usage,
    admin::{self, Admin},
    block_on, print, printable, say,
    scan::{CHUNK_BYTES, CHUNK_RECORDS, parse_time, seq_before},
    table,
};
use crate::{
    config::{Config, ConfigError, suggest},
    detect::catalogue::CATALOGUE,
    host::Addresses,
    ledger::{
        read::{Item, Reader},
        segment,
    },
    record::{Action, Kind, Record, RecordFilter},
    time::ReceivedAt,
};

/// Print records of the journal, oldest first
///
/// Instants for --since and --until are compared with `received_at`. Incidents have the user, the session, the address of
/// their last event, and the rules that spoke, as far as these are one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit records --since 2h --format table
  refresh-audit records --follow --kind alarm --format table
  refresh-audit records --user 0f2c3a51-92d6-4a7e-8d52-6c1f0b7e9a44 --kind event --since 2026-11-01 | jq .event.ip
  refresh-audit records --ip 203.0.113.0/24 --until 2026-11-22T08:00:00+01:00 --limit 100")]
pub(super) struct Arguments {
    /// Go on with what comes
    #[arg(long)]
    follow: bool,
    /// Only of this user id
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only of this session id
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only from this address or network
    #[arg(long, value_name = "IP|CIDR")]
    ip: Option<Addresses>,
    /// Only where this rule spoke
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Only of this kind: event, alarm, replay, operator, config, incident
    #[arg(long, value_parser = parse_kind)]
    kind: Option<Kind>,
    /// From then on: 2h (ago; ms, s, m, h or d), 2026-11-22 (its begin in UTC),
    /// 2026-11-22T08:00:00+01:00 or "2026-11-22 07:00:00Z"
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<ReceivedAt>,
    /// Up to then, not included; written as for --since
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<ReceivedAt>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The journal's lines, or columns cut to the terminal's width
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

impl Arguments {
    fn wanted(&self) -> RecordFilter {
        let (user, session, rule) = (self.user.clone(), self.session.clone(), self.rule.clone());
        RecordFilter { kind: self.kind, user, session, ip: self.ip, rule }
    }
}

/// How often `--follow` looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Headings and widths of the table; the last column takes what is left.
const COLUMNS: &[(&str, usize)] =
    &[("SEQ", 8), ("RECEIVED", 20), ("KIND", 8), ("OUTCOME", 9), ("USER", 36), ("IP", 15), ("WHAT", 0)];

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    if let Some(rule) = &given.rule {
        expect_rule(rule, &config)?;
    }
    admin::expect_data(&config)?;
    block_on(records(given, &config))
}

/// Ours are all known. One of the operator's own may have spoken, and be configured no more: that is worth a word only.
fn expect_rule(rule: &str, config: &Config) -> anyhow::Result<()> {
    let ours = CATALOGUE.iter().map(|one| one.id);
    let all: Vec<&str> = ours.chain(config.policy.rules.iter().map(|rule| rule.id.as_str())).collect();
    let is_like_ours = rule.len() >= 2 && rule.is_char_boundary(2) && rule[..2].eq_ignore_ascii_case("RA");
    match all.iter().any(|known| known.eq_ignore_ascii_case(rule)) {
        true => {}
        false if is_like_ours => {
            return Err(Usage(format!("there is no rule `{rule}`; {}", suggest(rule, &all))).into());
        }
        false => say(&format!("note: no rule `{rule}` is configured; {}", suggest(rule, &all))),
    }
    Ok(())
}

async fn records(given: &Arguments, config: &Config) -> anyhow::Result<Ended> {
    let admin = Admin::new(config)?;
    let dir = segment::journal_dir(&config.data_dir);
    let start = given.since.map_or(Ok(1), |since| seq_before(&dir, since));
    let mut reader = Reader::new(&dir, start.context("cannot read the journal")?);
    let mut printer = Printer::new(given)?;
    loop {
        let until = admin.synced_or_all().await;
        loop {
            let items = reader.read(until, CHUNK_RECORDS, CHUNK_BYTES).context("cannot read the journal")?;
            if items.is_empty() {
                break;
            }
            for item in &items {
                if printer.take(item)? == Next::Stop {
                    return Ok(Ended::well_if(!printer.damage));
                }
            }
        }
        if !given.follow {
            return Ok(Ended::well_if(!printer.damage));
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

struct Printer<'a> {
    given: &'a Arguments,
    /// Whether lines have to be parsed at all.
    parse: bool,
    wanted: RecordFilter,
    left: u64,
    width: Option<usize>,
    damage: bool,
}

impl<'a> Printer<'a> {
    fn new(given: &'a Arguments) -> anyhow::Result<Self> {
        let filtered = given.user.is_some()
            || given.session.is_some()
            || given.ip.is_some()
            || given.rule.is_some()
            || given.kind.is_some()
            || given.since.is_some()
            || given.until.is_some();
        let table = given.format == Format::Table;
        let width = table::terminal_width();
        if table {
            print(&table::line(COLUMNS.iter().copied(), width))?;
        }
        let left = given.limit.unwrap_or(u64::MAX);
        Ok(Self { given, parse: filtered || table, wanted: given.wanted(), left, width, damage: false })
    }

    fn take(&mut self, item: &Item) -> anyhow::Result<Next> {
        let (seq, text) = match item {
            Item::Line { seq, text } => (*seq, text),
            Item::Damaged { first, last } => {
                say(&format!("records {first} to {last} are damaged: see `refresh-audit verify`"));
                self.damage = true;
                return Ok(Next::GoOn);
            }
            // What retention deleted is missing by design.
            Item::Gone { .. } => return Ok(Next::GoOn),
        };
        if self.left == 0 {
            return Ok(Next::Stop);
        }
        if !self.parse {
            return self.print(&String::from_utf8_lossy(text));
        }
        let record: Record = serde_json::from_slice(text).with_context(|| format!("record {seq} is not understood"))?;
        if self.given.until.is_some_and(|until| record.received_at >= until) {
            return Ok(Next::Stop);
        }
        if self.given.since.is_some_and(|since| record.received_at < since) || !self.wanted.takes(&record) {
            return Ok(Next::GoOn);
        }
        match self.given.format {
            Format::Json => self.print(&String::from_utf8_lossy(text)),
            Format::Table => self.print(&row(&record, self.width)),
        }
    }

    fn print(&mut self, line: &str) -> anyhow::Result<Next> {
        print(line)?;
        self.left -= 1;
        Ok(if self.left == 0 { Next::Stop } else { Next::GoOn })
    }
}

fn row(record: &Record, width: Option<usize>) -> String {
    let event = record.event.as_ref();
    let is_denied = record.verdict.as_ref().is_some_and(|verdict| verdict.action == Action::Deny);
    let outcome = match event {
        Some(_) if is_denied => "denied".to_owned(),
        Some(event) => event.outcome.as_str().to_owned(),
        None => String::new(),
    };
    let received = record.received_at.to_string();
    let cells = [
        record.seq.to_string(),
        // To the second.
        format!("{}Z", received.get(..19).unwrap_or(&received)),
        record.kind.as_str().to_owned(),
        outcome,
        record.user_id().map(ToString::to_string).unwrap_or_default(),
        record.ip().unwrap_or_default().to_owned(),
        what(record),
    ];
    table::line(cells.iter().map(String::as_str).zip(COLUMNS.iter().map(|(_, width)| *width)), width)
}

/// The last column: what there is to say.
fn what(record: &Record) -> String {
    if let Some(alarm) = &record.alarm {
        let subject = alarm.subject.as_ref().map(|subject| format!(" {subject}")).unwrap_or_default();
        return format!("{}{subject} {}: {}", alarm.name, alarm.state.as_str(), alarm.message);
    }
    if let Some(operator) = &record.operator {
        return [Some(&operator.action), operator.subject.as_ref(), operator.detail.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| printable(text))
            .collect::<Vec<_>>()
            .join(" ");
    }
    if let Some(incident) = &record.incident {
        return format!("{} {}: {}", incident.id, incident.change.as_str(), printable(&incident.summary));
    }
    if let Some(config) = &record.config {
        return format!("{} changed, SHA-256 {}", config.what, config.digest);
    }
    if let Some(replay) = &record.replay {
        return format!("another body under the id of {}", replay.of);
    }
    let mut parts: Vec<String> =
        record.findings.iter().map(|finding| format!("{} {}", finding.rule, finding.name)).collect();
    if let Some(event) = &record.event {
        parts.extend(event.failure.as_ref().map(|failure| failure.class.clone()));
        parts.push(event.kind.clone());
    }
    parts.join(", ")
}

/// Of the kinds a sink may ask for, one is no record: checkpoints stand beside the journal.
fn parse_kind(text: &str) -> Result<Kind, String> {
    let kind = serde_json::from_value(text.to_lowercase().into()).ok();
    kind.filter(|kind| *kind != Kind::Checkpoint)
        .ok_or_else(|| "one of event, alarm, replay, operator, config, incident".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        given: Arguments,
    }

    const INCIDENT: &str = include_str!("../../fixtures/formats/records/incident.json");
    const CONFIG: &str = include_str!("../../fixtures/formats/records/config.json");
    const EVENT: &str = include_str!("../../fixtures/formats/records/event.json");

    #[test]
    fn who_asks_for_a_user_gets_their_incidents_too() {
        let incident: Record = serde_json::from_str(INCIDENT).unwrap();
        for (flags, expected) in [
            ("--user 00000000-0000-0001-0000-000000000000", true),
            ("--user someone-else", false),
            ("--session FIXTURE-SESSION", true),
            ("--session other", false),
            ("--ip 2001:db8::/32 --rule ra401 --kind incident", true),
            ("--ip 192.0.2.0/24", false),
            ("--rule RA102", false),
        ] {
            let words = ["records"].into_iter().chain(flags.split(' '));
            let given = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).given;
            assert_eq!(given.wanted().takes(&incident), expected, "{flags}");
        }
    }

    #[test]
    fn an_address_is_found_however_it_is_written() {
        let mut event: Record = serde_json::from_str(EVENT).unwrap();
        for (recorded, asked) in [("192.0.2.10", "::ffff:192.0.2.10"), ("2001:db8::a", "2001:DB8:0::A")] {
            event.event.as_mut().unwrap().ip = Some(recorded.to_owned());
            let given =
                Line::try_parse_from(["records", "--ip", asked]).unwrap_or_else(|error| panic!("{error}")).given;
            assert!(given.wanted().takes(&event), "{asked}");
        }
    }

    #[test]
    fn every_kind_says_something_in_the_table() {
        let said = |line: &str| what(&serde_json::from_str(line).unwrap());
        assert_eq!(said(INCIDENT), "00112233aabbccdd opened: One session, two places.");
        assert!(said(CONFIG).contains(" changed, SHA-256 "), "{}", said(CONFIG));
        let row = row(&serde_json::from_str(INCIDENT).unwrap(), None);
        assert!(row.contains("00000000-0000-0001-0000-000000000000") && row.contains("2001:db8::a"), "{row}");
    }
}
