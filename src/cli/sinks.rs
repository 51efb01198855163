//! `sinks`: how far every sink is, what an operator can do about one, and the proof of what was delivered.
//! Through the admin API of a running service, else on the files.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Ended, Format, Usage,
    admin::{self, Admin, Told},
    block_on, print, table,
};
use crate::{
    config::{Config, ConfigError, SinkEntry},
    deliver::{Journal, RequestError, SinkFiles, Triage, Which, cursor::positions},
    ledger::{Meta, offline, recovery, segment},
    record::{OperatorAction, Seq},
};

mod parked;
mod proof;
mod reconcile;

/// Show how far every sink is; re-drive delivered or parked records
///
/// Per sink, over all records from its start on: recorded = delivered + skipped + parked + dropped + damaged + pending.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit sinks
  refresh-audit sinks --format json | jq '.[] | select(.pending > 0)'
  refresh-audit sinks redeliver audit-file --from 1000 --to 2000
  refresh-audit sinks redeliver audit-file --cancel
  refresh-audit sinks parked hook
  refresh-audit sinks parked hook --retry --all
  refresh-audit sinks proof ef73f801-92d6-4a7e-8d52-6c1f0b7e9a44
  refresh-audit sinks reconcile siem")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table, global = true)]
    format: Format,
}

#[derive(Subcommand)]
enum Action {
    /// Deliver a range of records once more; they keep their idempotency keys
    #[command(after_help = "\
Examples:
  refresh-audit sinks redeliver audit-file --from 1000 --to 2000
  refresh-audit sinks redeliver audit-file --cancel")]
    Redeliver {
        /// The sink
        name: String,
        /// The first record
        #[arg(long, value_name = "SEQ", required_unless_present = "cancel")]
        from: Option<Seq>,
        /// The last record; without it the last one there is
        #[arg(long, value_name = "SEQ")]
        to: Option<Seq>,
        /// Take back whatever waits to be delivered again, parked records that are tried again among it
        #[arg(long, conflicts_with_all = ["from", "to"])]
        cancel: bool,
    },
    /// Show for every sink when it took an event's record, in which batch, and what it said
    ///
    /// Reads the files, also beside a running service. Of an id that was recorded more than once, the newest record counts.
    #[command(after_help = "\
Examples:
  refresh-audit sinks proof ef73f801-92d6-4a7e-8d52-6c1f0b7e9a44
  refresh-audit sinks proof --seq 1017 --format json")]
    Proof {
        /// The event's id, or <source>/<id>
        #[arg(value_name = "EVENT_ID", required_unless_present = "seq")]
        id: Option<String>,
        /// The record's seq instead: for records of any kind, and quicker
        #[arg(long, value_name = "SEQ", conflicts_with = "id")]
        seq: Option<Seq>,
    },
    /// Check that every record of a sink is accounted for once, seq by seq
    ///
    /// Compares the cursor, the proofs of delivery and the parked records; then asks the other side whether it holds what
    /// it acknowledged, where it can be asked. Exits 1 where something is missing or does not add up.
    #[command(after_help = "\
Examples:
  refresh-audit sinks reconcile siem
  refresh-audit sinks reconcile siem --from 100000 --to 200000
  refresh-audit sinks reconcile siem --files-only --format json")]
    Reconcile {
        /// The sink
        name: String,
        /// Ask the other side from this record on
        #[arg(long, value_name = "SEQ", default_value_t = 1)]
        from: Seq,
        /// Ask the other side up to this record
        #[arg(long, value_name = "SEQ")]
        to: Option<Seq>,
        /// Do not ask the other side
        #[arg(long)]
        files_only: bool,
    },
    /// Show the records that a sink refused for good, try them again, give them up, or have one parked that holds up the rest
    #[command(after_help = "\
Examples:
  refresh-audit sinks parked hook
  refresh-audit sinks parked hook --retry 1017 1018
  refresh-audit sinks parked hook --drop --all
  refresh-audit sinks parked hook --park 1019")]
    Parked {
        /// The sink
        name: String,
        /// Try them again
        #[arg(long, group = "what", requires = "which")]
        retry: bool,
        /// Give them up; they stay in the journal
        #[arg(long, group = "what", requires = "which")]
        drop: bool,
        /// Go on without these, which the sink neither takes nor refuses for good: `sinks` shows as NEXT where it is
        #[arg(long, group = "what", requires = "which", conflicts_with = "all")]
        park: bool,
        /// Which
        #[arg(value_name = "SEQ", group = "which", requires = "what", conflicts_with = "all")]
        seqs: Vec<Seq>,
        /// All of them
        #[arg(long, group = "which", requires = "what")]
        all: bool,
    },
}

/// Members of a sink's status, in the order of the table's columns.
const STATUS_COLUMNS: &[&str] = &[
    "name",
    "type",
    "state",
    "start",
    "next",
    "recorded",
    "delivered",
    "skipped",
    "parked",
    "dropped",
    "damaged",
    "pending",
    "lag_seconds",
    "checkpoint",
    "last_error",
];

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    admin::expect_data(&config)?;
    block_on(act(given, &config))
}

async fn act(given: &Arguments, config: &Config) -> anyhow::Result<Ended> {
    let admin = Admin::new(config)?;
    match &given.action {
        None => {
            let rows = match admin.get("/api/sinks").await? {
                Some(rows) => rows,
                None => offline_status(config)?,
            };
            show(given.format, STATUS_COLUMNS, with_types(rows, config))
        }
        Some(Action::Redeliver { name, from: Some(from), to, .. }) => redeliver(config, &admin, name, *from, *to).await,
        Some(Action::Redeliver { name, from: None, .. }) => cancel(config, &admin, name).await,
        Some(Action::Proof { id, seq }) => proof::run(given.format, config, &admin, id.as_deref(), *seq).await,
        Some(Action::Reconcile { name, from, to, files_only }) => {
            let asked = (!files_only).then(|| *from..=to.unwrap_or(Seq::MAX));
            reconcile::run(given.format, config, &admin, sink(config, name)?, asked).await
        }
        Some(Action::Parked { name, retry, drop, park, seqs, all }) => {
            let sink = sink(config, name)?;
            let which = || if *all { Which::All } else { Which::Seqs(seqs.clone()) };
            let triage = match (retry, drop, park) {
                (true, ..) => Triage::Retry(which()),
                (_, true, _) => Triage::Drop(which()),
                (.., true) => Triage::Park(which()),
                _ => return parked::list(given.format, config, &admin, sink).await,
            };
            parked::change(config, &admin, sink, &triage).await
        }
    }
}

async fn redeliver(config: &Config, admin: &Admin, name: &str, from: Seq, to: Option<Seq>) -> anyhow::Result<Ended> {
    let entry = sink(config, name)?;
    let asked = admin.post(&format!("/api/sinks/{name}/redeliver"), &json!({ "from": from, "to": to })).await;
    let to_text = to.map_or_else(|| "the end".to_owned(), |to| to.to_string());
    let action = action("redeliver", name, format!("from {from} to {to_text}"));
    let check = |journal: &Journal| files(config, entry, journal).check_redeliver(from, to);
    let count =
        done(asked, config, check, |_| Some(action), |journal| files(config, entry, journal).redeliver(from, to))?;
    print(&format!("{name}: {count} records will be delivered again"))?;
    Ok(Ended::Well)
}

async fn cancel(config: &Config, admin: &Admin, name: &str) -> anyhow::Result<Ended> {
    let entry = sink(config, name)?;
    let asked = admin.post(&format!("/api/sinks/{name}/redeliver"), &json!({ "cancel": true })).await;
    let check = |journal: &Journal| files(config, entry, journal).check_cancel();
    // Where nothing waits, nothing is done.
    let said = |waiting| (waiting > 0).then(|| action("redeliver_cancel", name, format!("{waiting} records")));
    let count = done(asked, config, check, said, |journal| files(config, entry, journal).cancel())?;
    print(&format!("{name}: {count} records will not be delivered again"))?;
    Ok(Ended::Well)
}

/// What the journal says of a change, as a running service would say it.
fn action(action: &str, sink: &str, detail: String) -> OperatorAction {
    OperatorAction { action: action.to_owned(), subject: Some(sink.to_owned()), detail: Some(detail) }
}

/// How many records a running service says a change is about; without one, the change is journaled, unless it would be
/// refused, and then made on the files, under the data directory's lock. `said` is what the journal says of it, if it is
/// one, by the number of records that `check` finds.
fn done(
    asked: anyhow::Result<Option<Value>>,
    config: &Config,
    check: impl FnOnce(&Journal) -> Result<u64, RequestError>,
    said: impl FnOnce(u64) -> Option<OperatorAction>,
    change: impl FnOnce(&Journal) -> Result<u64, RequestError>,
) -> anyhow::Result<u64> {
    let _lock = match admin::told(asked, config)? {
        Told::Service(answer) => return Ok(answer["records"].as_u64().unwrap_or_default()),
        Told::Nobody(lock) => lock,
    };
    offline::renew_if_put_back(&config.data_dir, &positions(&config.data_dir))?;
    let before = journal(config)?;
    let Some(action) = said(check(&before)?) else { return Ok(0) };
    offline::record_operator(&config.data_dir, &config.node, &config.journal, &action)
        .context("the change cannot be journaled, so it is not made")?;
    Ok(change(&before)?)
}

/// The journal as its files say.
fn journal(config: &Config) -> anyhow::Result<Journal> {
    let dir = segment::journal_dir(&config.data_dir);
    let meta = Meta::read(&dir).with_context(|| format!("there is no journal in {}", dir.display()))?;
    Ok(Journal { synced: recovery::last_seq(&dir)?, id: meta.journal.into(), dir })
}

/// The journal up to where a running service has synced it.
async fn synced_journal(config: &Config, admin: &Admin) -> anyhow::Result<Journal> {
    let synced = admin.synced_or_all().await;
    let journal = journal(config)?;
    Ok(Journal { synced: journal.synced.min(synced), ..journal })
}

fn files<'a>(config: &'a Config, sink: &'a SinkEntry, journal: &'a Journal) -> SinkFiles<'a> {
    SinkFiles { data_dir: &config.data_dir, name: &sink.name, journal, start: sink.delivery.start }
}

fn offline_status(config: &Config) -> anyhow::Result<Vec<Value>> {
    let journal = journal(config)?;
    let status: Vec<_> = config.sinks.iter().map(|sink| files(config, sink, &journal).status()).collect();
    values(&status)
}

fn values(rows: &[impl Serialize]) -> anyhow::Result<Vec<Value>> {
    Ok(rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

/// Adds every sink's type, which the configuration knows.
fn with_types(mut rows: Vec<Value>, config: &Config) -> Vec<Value> {
    for row in &mut rows {
        let sink = config.sinks.iter().find(|sink| row["name"] == sink.name);
        if let (Some(sink), Some(members)) = (sink, row.as_object_mut()) {
            members.insert("type".to_owned(), sink.kind.clone().into());
        }
    }
    rows
}

fn sink<'c>(config: &'c Config, name: &str) -> anyhow::Result<&'c SinkEntry> {
    let found = config.sinks.iter().find(|sink| sink.name == name);
    found.ok_or_else(|| Usage::unknown("sink", name, config.sinks.iter().map(|sink| sink.name.as_str())).into())
}

/// Of `columns`, `checkpoint` is for sinks that get any.
fn show(format: Format, columns: &[&str], rows: Vec<Value>) -> anyhow::Result<Ended> {
    if format == Format::Json {
        print(&serde_json::to_string_pretty(&rows)?)?;
        return Ok(Ended::Well);
    }
    let any = rows.iter().any(|row| !row["checkpoint"].is_null());
    let columns: Vec<&str> = columns.iter().copied().filter(|column| any || *column != "checkpoint").collect();
    let heading = columns.iter().map(|column| column.replace('_', " ").to_uppercase()).collect();
    let cells = |row: &Value| columns.iter().map(|column| cell(&row[*column])).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
    for line in table::table(&lines, table::terminal_width()) {
        print(&line)?;
    }
    Ok(Ended::Well)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}
