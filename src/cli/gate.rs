//! `gate`: stop it and let it work again, through a running service or for the next start; and what it would have refused,
//! from the journal.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::{
    Ended, Format,
    admin::{self, Admin, Told},
    block_on, print, printable,
    scan::{self, Part, parse_time},
    table,
};
use crate::{
    config::{Config, ConfigError},
    deliver::cursor::positions,
    detect::{Facts, Policy, facts::Meaning, gate},
    ledger::{offline, search, segment},
    record::{Action, Finding, Kind, OperatorAction, Record, Seq},
    time::ReceivedAt,
};

/// Stop the gate, let it work again, or sum up what it would have refused
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit gate report --since 14d
  refresh-audit gate stop
  refresh-audit gate start")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Refuse no further event, from the next one on and until `gate start`, also over restarts
    #[command(after_help = "\
Examples:
  refresh-audit gate stop")]
    Stop,
    /// Refuse again what `[gate]` says
    #[command(after_help = "\
Examples:
  refresh-audit gate start")]
    Start,
    /// Count the refreshes that were, or would have been, denied: by rule, by application, by user; each by the policy of then
    #[command(after_help = "\
Examples:
  refresh-audit gate report --since 14d
  refresh-audit gate report --since 2026-11-01 --format json | jq .users")]
    Report {
        /// From then on: 14d (ago; ms, s, m, h or d), 2026-11-22 (its begin in UTC),
        /// 2026-11-22T08:00:00+01:00 or "2026-11-22 07:00:00Z"
        #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "14d")]
        since: ReceivedAt,
        /// How to print
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

/// Users shown in the table.
const USERS_SHOWN_MAX: usize = 20;

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    match &given.action {
        Do::Stop => change(
            &config,
            "stop",
            OperatorAction::GATE_STOP,
            "the gate is stopped: nothing is refused until `refresh-audit gate start`",
        ),
        Do::Start => change(&config, "start", OperatorAction::GATE_START, "the gate works again, as [gate] says"),
        Do::Report { since, format } => report(&config, *since, *format),
    }
}

/// Tells a running service; without one, the record alone, which the next start finds.
fn change(config: &Config, asked: &str, action: &str, done: &str) -> anyhow::Result<Ended> {
    admin::expect_data(config)?;
    let admin = Admin::new(config)?;
    let answer = block_on(admin.post("/api/gate", &json!({ "action": asked })));
    if let Told::Nobody(_lock) = admin::told(answer, config)? {
        let action = OperatorAction { action: action.to_owned(), subject: None, detail: None };
        offline::renew_if_put_back(&config.data_dir, &positions(&config.data_dir))?;
        offline::record_operator(&config.data_dir, &config.node, &config.journal, &action)
            .context("the change cannot be journaled, so it is not made")?;
    }
    print(done)?;
    Ok(Ended::Well)
}

/// What was counted.
#[derive(Default, Serialize)]
struct Report {
    /// Refreshes with a verdict, refused ones included.
    refreshes: u64,
    /// Refused.
    denied: u64,
    /// Let through though the policy would deny.
    would_deny: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_million: Option<f64>,
    rules: BTreeMap<String, Share>,
    applications: BTreeMap<String, Share>,
    users: BTreeMap<String, Share>,
}

/// Denials, real or not, and the sessions they are of.
#[derive(Default, Serialize)]
struct Share {
    denials: u64,
    sessions: u64,
    #[serde(skip)]
    seen: BTreeSet<String>,
}

impl Share {
    fn add(&mut self, session: &str) {
        self.denials += 1;
        if self.seen.insert(session.to_owned()) {
            self.sessions += 1;
        }
    }
}

impl Report {
    fn take(&mut self, policy: &gate::Config, record: &Record) {
        let (Kind::Event, Some(event), Some(verdict)) = (record.kind, &record.event, &record.verdict) else { return };
        if !matches!(Meaning::of(event), Meaning::Refresh | Meaning::Refused) {
            return;
        }
        self.refreshes += 1;
        if verdict.action == Action::Deny {
            self.denied += 1;
        } else if verdict.would == Some(Action::Deny) {
            self.would_deny += 1;
        } else {
            return;
        }
        let text = |id: Option<&str>| id.unwrap_or("-").to_owned();
        // Detection's own: where an event names no session, what its tokens belong to.
        let facts = Facts::of(event);
        let session = if facts.session == 0 { facts.user } else { facts.session }.to_string();
        let application = text(event.application_id.as_ref().map(|id| id.as_str()));
        let user = text(event.user_id.as_ref().map(|id| id.as_str()));
        for rule in spoke(policy, &record.findings) {
            self.rules.entry(rule).or_default().add(&session);
        }
        self.applications.entry(application).or_default().add(&session);
        self.users.entry(user).or_default().add(&session);
    }
}

/// The rules that spoke for refusing, by the list of then; where that is not known any more, all that were found.
fn spoke(policy: &gate::Config, findings: &[Finding]) -> BTreeSet<String> {
    let by_list: BTreeSet<String> =
        findings.iter().filter(|finding| policy.denies(finding)).map(|finding| finding.rule.clone()).collect();
    if by_list.is_empty() { findings.iter().map(|finding| finding.rule.clone()).collect() } else { by_list }
}

/// What applied before a record, by the journal; where retention took what says so, what applies now.
fn policy_before(seq: Seq, config: &Config) -> std::io::Result<Policy> {
    let dir = segment::journal_dir(&config.data_dir);
    let mut policy = Policy::default();
    match search::config(&dir, "gate", seq - 1)?.and_then(|record| record.config) {
        Some(change) => policy.apply(&change),
        None if segment::list(&dir)?.first().is_none_or(|segment| segment.first == 1) => {}
        None => policy.gate = config.policy.gate.clone(),
    }
    Ok(policy)
}

fn report(config: &Config, since: ReceivedAt, format: Format) -> anyhow::Result<Ended> {
    admin::expect_data(config)?;
    let mut report = Report::default();
    let start = scan::seq_before(&segment::journal_dir(&config.data_dir), since).context("cannot read the journal")?;
    let mut policy = policy_before(start, config).context("cannot read the journal")?;
    let whole = scan::each_from(config, start, Part::default(), |record| {
        if let Some(change) = &record.config {
            policy.apply(change);
        }
        if record.received_at >= since {
            report.take(&policy.gate, &record);
        }
        Ok(())
    })?;
    let all = report.denied + report.would_deny;
    report.per_million = (report.refreshes > 0).then(|| all as f64 * 1e6 / report.refreshes as f64);
    if format == Format::Json {
        print(&serde_json::to_string_pretty(&report)?)?;
        return Ok(Ended::well_if(whole));
    }
    print(&format!(
        "{} refreshes, {} denied, {} would have been denied{}",
        report.refreshes,
        report.denied,
        report.would_deny,
        report.per_million.map_or_else(String::new, |share| format!(" ({share:.1} in a million)")),
    ))?;
    for (what, shares, most) in [
        ("RULE", &report.rules, usize::MAX),
        ("APPLICATION", &report.applications, usize::MAX),
        ("USER", &report.users, USERS_SHOWN_MAX),
    ] {
        print("")?;
        let mut sorted: Vec<(&String, &Share)> = shares.iter().collect();
        sorted.sort_by_key(|(_, share)| std::cmp::Reverse(share.denials));
        let mut rows = vec![vec![what.to_owned(), "DENIALS".to_owned(), "SESSIONS".to_owned()]];
        rows.extend(
            sorted
                .iter()
                .take(most)
                .map(|(name, share)| vec![printable(name), share.denials.to_string(), share.sessions.to_string()]),
        );
        for line in table::table(&rows, table::terminal_width()) {
            print(&line)?;
        }
        if sorted.len() > most {
            print(&format!("and {} more: --format json has all", sorted.len() - most))?;
        }
    }
    Ok(Ended::well_if(whole))
}
