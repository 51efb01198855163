//! `sinks`: how far every sink is, and the two things an operator can do about one. Through the admin API of a running
//! service, else on the files.

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Ended,
    admin::{self, Admin},
    block_on, print, table,
};
use crate::{
    config::{Config, ConfigError, SinkEntry},
    deliver::{Journal, RequestError, SinkFiles, Which},
    ledger::{Meta, recovery, segment},
    record::Seq,
};

/// Show how far every sink is; re-drive delivered or parked records
///
/// Per sink, over all records from its start on: recorded = delivered + skipped + parked + dropped + damaged + pending.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit sinks
  refresh-audit sinks --format json | jq '.[] | select(.pending > 0)'
  refresh-audit sinks redeliver audit-file --from 1000 --to 2000
  refresh-audit sinks parked hook
  refresh-audit sinks parked hook --retry --all")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table, global = true)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Subcommand)]
enum Action {
    /// Deliver a range of records once more; they keep their idempotency keys
    #[command(after_help = "\
Examples:
  refresh-audit sinks redeliver audit-file --from 1000 --to 2000")]
    Redeliver {
        /// The sink
        name: String,
        /// The first record
        #[arg(long, value_name = "SEQ")]
        from: Seq,
        /// The last record; without it the last one there is
        #[arg(long, value_name = "SEQ")]
        to: Option<Seq>,
    },
    /// Show the records that a sink refused for good, or try them again, or give them up
    #[command(after_help = "\
Examples:
  refresh-audit sinks parked hook
  refresh-audit sinks parked hook --retry 1017 1018
  refresh-audit sinks parked hook --drop --all")]
    Parked {
        /// The sink
        name: String,
        /// Try them again
        #[arg(long, conflicts_with = "drop")]
        retry: bool,
        /// Give them up; they stay in the journal
        #[arg(long)]
        drop: bool,
        /// Which
        #[arg(value_name = "SEQ", conflicts_with = "all")]
        seqs: Vec<Seq>,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// Members of a sink's status, in the order of the table's columns.
const STATUS_COLUMNS: &[&str] = &[
    "name",
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
    "last_error",
];
/// Members of a parked record.
const PARKED_COLUMNS: &[&str] = &["seq", "parked_at", "status", "reason"];

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
            show(given.format, STATUS_COLUMNS, rows)
        }
        Some(Action::Redeliver { name, from, to }) => {
            expect_sink(config, name)?;
            let path = format!("/api/sinks/{name}/redeliver");
            let asked = admin.post::<Value>(&path, &json!({ "from": from, "to": to })).await;
            if let Some(_lock) = stopped(asked.map(|answer| answer.is_some()), config)? {
                on_files(config, name, |files| files.redeliver(*from, *to))?;
            }
            let to = to.map_or("the end".to_owned(), |to| to.to_string());
            print(&format!("{name}: records {from} to {to} will be delivered again"))?;
            Ok(Ended::Well)
        }
        Some(Action::Parked { name, retry, drop, seqs, all }) => {
            expect_sink(config, name)?;
            if !retry && !drop {
                let rows = match admin.get(&format!("/api/sinks/{name}/parked")).await? {
                    Some(rows) => rows,
                    None => on_files(config, name, |files| files.parked())?
                        .iter()
                        .map(serde_json::to_value)
                        .collect::<Result<_, _>>()?,
                };
                return show(given.format, PARKED_COLUMNS, rows);
            }
            if seqs.is_empty() && !all {
                bail!("say which: their seqs, or --all");
            }
            let action = if *retry { "retry" } else { "drop" };
            let which =
                if *all { json!({ "action": action, "all": true }) } else { json!({ "action": action, "seqs": seqs }) };
            let asked = admin.post::<Value>(&format!("/api/sinks/{name}/parked"), &which).await;
            if let Some(_lock) = stopped(asked.map(|answer| answer.is_some()), config)? {
                let which = if *all { Which::All } else { Which::Seqs(seqs.clone()) };
                on_files(config, name, |files| if *retry { files.retry(&which) } else { files.drop_parked(&which) })?;
            }
            print(&format!("{name}: done"))?;
            Ok(Ended::Well)
        }
    }
}

/// The lock, when no service runs that could be asked; `None` when one has done it.
fn stopped(asked: anyhow::Result<bool>, config: &Config) -> anyhow::Result<Option<admin::Lock>> {
    match asked {
        Ok(true) => Ok(None),
        Ok(false) => admin::lock(config).map(Some),
        // Something else may listen there: the lock tells.
        Err(error) => admin::lock(config).map(Some).map_err(|_| error),
    }
}

/// Works on one sink's files.
fn on_files<T>(
    config: &Config,
    name: &str,
    work: impl Fn(&SinkFiles<'_>) -> Result<T, RequestError>,
) -> anyhow::Result<T> {
    let Some(sink) = config.sinks.iter().find(|sink| sink.name == name) else { bail!("there is no sink `{name}`") };
    let start = sink.delivery.start;
    let journal = journal(config)?;
    Ok(work(&SinkFiles { data_dir: &config.data_dir, name, journal: &journal, start })?)
}

/// The journal as its files say, without a service.
fn journal(config: &Config) -> anyhow::Result<Journal> {
    let dir = segment::journal_dir(&config.data_dir);
    let id = Meta::read(&dir)?.journal.into();
    let synced = recovery::last_seq(&dir)?;
    Ok(Journal { dir, id, synced })
}

fn offline_status(config: &Config) -> anyhow::Result<Vec<Value>> {
    let status = |sink: &SinkEntry| {
        let status = on_files(config, &sink.name, |files| Ok(files.status()))?;
        Ok(serde_json::to_value(status)?)
    };
    config.sinks.iter().map(status).collect()
}

fn expect_sink(config: &Config, name: &str) -> anyhow::Result<()> {
    if config.sinks.iter().any(|sink| sink.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    bail!("there is no sink `{name}`; configured: {}", names.join(", "))
}

fn show(format: Format, columns: &[&str], rows: Vec<Value>) -> anyhow::Result<Ended> {
    if format == Format::Json {
        print(&serde_json::to_string_pretty(&rows)?)?;
        return Ok(Ended::Well);
    }
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
