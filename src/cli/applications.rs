//! `applications`: what was learned of each application; of the running service, else of its newest durable copy.

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::{
    Ended, Format,
    admin::{self, Admin},
    block_on, print, printable, say, table,
};
use crate::{
    config::{Config, ConfigError},
    detect::overview::{Overview, overviews},
    ledger::{Meta, remembered, segment},
    record::Seq,
};

/// List applications: how many of their refreshes name the previous access token, and what else was learned of each
///
/// The rules about lineage see what names its parent, and nothing else. Of a service that does not run, it says how things
/// stood when it ended.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit applications
  refresh-audit applications --format json | jq 'select(.coverage < 0.9) | .application_id'")]
pub(super) struct Arguments {
    /// One JSON object a line, or columns
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What `/api/applications` answers.
#[derive(Deserialize)]
struct Answer {
    applications: Vec<Overview>,
}

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    admin::expect_data(&config)?;
    let admin = Admin::new(&config)?;
    let answer: Option<Answer> = block_on(admin.get("/api/applications"))?;
    let applications = match answer {
        Some(answer) => answer.applications,
        None => of_copy(&config)?,
    };
    if given.format == Format::Json {
        for one in &applications {
            print(&serde_json::to_string(one)?)?;
        }
        return Ok(Ended::Well);
    }
    let heading =
        ["APPLICATION", "TENANT", "REFRESHES", "WITH ORIGINAL", "REFRESH TOKENS", "BACK END", "USERS", "NETWORKS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(applications.iter().map(row));
    for line in table::table(&rows, table::terminal_width()) {
        print(&line)?;
    }
    Ok(Ended::Well)
}

fn of_copy(config: &Config) -> anyhow::Result<Vec<Overview>> {
    let dir = segment::journal_dir(&config.data_dir);
    let meta = Meta::read(&dir).with_context(|| format!("there is no journal in {}", dir.display()))?;
    let known = remembered(&config.data_dir, &meta.journal, Seq::MAX);
    let known = known.context("no service answers, and there is no durable copy in state/")?;
    say(&format!("no service answers: as of record {}", known.seq));
    Ok(overviews(&known.memory.state.applications))
}

fn row(one: &Overview) -> Vec<String> {
    let name = |id: &Option<String>| id.as_deref().map_or_else(|| "-".to_owned(), printable);
    let tokens = one.one_time.map_or("not known yet", |once| if once { "one-time" } else { "reusable" });
    vec![
        name(&one.application_id),
        name(&one.tenant_id),
        one.refreshes.to_string(),
        format!("{:.1} %", one.coverage * 100.0),
        tokens.to_owned(),
        if one.back_end { "yes" } else { "no" }.to_owned(),
        one.users.to_string(),
        one.networks.to_string(),
    ]
}
