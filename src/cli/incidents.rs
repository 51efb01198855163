//! `incidents`: what was told of incidents, the newest state of each. Reads the journal's files.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Ended, Format, print, printable,
    scan::{self, Part, parse_time},
    table,
};
use crate::{
    config::{Config, ConfigError},
    record::{Incident, IncidentChange, Severity},
    time::ReceivedAt,
};

/// List incidents: what belongs together of what was found, oldest first
///
/// Shows how each stands by its last record; needs no running service and takes no lock.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit incidents --since 7d
  refresh-audit incidents --open --at-least high
  refresh-audit incidents --format json | jq 'select(.user_id) | {id, user_id, summary}'")]
pub(super) struct Arguments {
    /// With a record from then on: 2h (ago; ms, s, m, h or d), 2026-11-22 (its begin in UTC),
    /// 2026-11-22T08:00:00+01:00 or "2026-11-22 07:00:00Z"
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<ReceivedAt>,
    /// Only those that are not closed
    #[arg(long)]
    open: bool,
    /// Only from this severity on: info, low, medium, high, critical
    #[arg(long, value_name = "SEVERITY", value_parser = parse_severity)]
    at_least: Option<Severity>,
    /// One JSON object a line, or columns
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    let mut latest: BTreeMap<(u64, String), Incident> = BTreeMap::new();
    let whole = scan::each(&config, Part { since: given.since, until: None }, |record| {
        if let Some(incident) = record.incident {
            latest.insert((incident.first_seq, incident.id.clone()), incident);
        }
        Ok(())
    })?;
    let wanted = |incident: &&Incident| {
        !(given.open && incident.change == IncidentChange::Closed)
            && given.at_least.is_none_or(|at_least| incident.severity >= at_least)
    };
    let found = latest.values().filter(wanted);
    if given.format == Format::Json {
        for incident in found {
            print(&serde_json::to_string(incident)?)?;
        }
        return Ok(Ended::well_if(whole));
    }
    let heading = ["ID", "STATE", "SEVERITY", "FIRST SEEN", "LAST SEEN", "EVENTS", "KEY", "WHAT"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(found.map(row));
    for line in table::table(&rows, table::terminal_width()) {
        print(&line)?;
    }
    Ok(Ended::well_if(whole))
}

fn row(incident: &Incident) -> Vec<String> {
    let second = |at: ReceivedAt| format!("{}Z", at.to_string().get(..19).unwrap_or_default());
    vec![
        incident.id.clone(),
        incident.change.as_str().to_owned(),
        incident.severity.as_str().to_owned(),
        second(incident.first_seen),
        second(incident.last_seen),
        incident.events.to_string(),
        printable(&format!("{} {}", incident.key.kind.as_str(), incident.key.value)),
        printable(&incident.summary),
    ]
}

pub(super) fn parse_severity(text: &str) -> Result<Severity, String> {
    serde_json::from_value(text.to_lowercase().into())
        .map_err(|_| "one of info, low, medium, high, critical".to_owned())
}
