//! `check`: builds every source and sink and reads every file without starting anything and, when asked, tries what they talk to.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use tokio::time::timeout;

use super::{Ended, block_on, print, printable};
use crate::{
    config::{Config, ConfigError},
    deliver::probe::probe,
    files, keys,
    secret::Secret,
    sink::{AnySink, Message, Sink as _, SinkError, tls},
    source::{AnySource, BuildError, Source as _},
    time::ReceivedAt,
};

/// Check the configuration, the key files and, with --connect, every sink and JWKS
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit check
  refresh-audit check --connect --config /etc/refresh-audit/config.toml")]
pub(super) struct Arguments {
    /// Also fetch every JWKS and send every sink but files and stdout a record that is marked as a test (kind operator, action check)
    #[arg(long)]
    connect: bool,
}

/// Longer than the sinks' own limits by default (30 s), so that they can say more than that nothing came.
const SINK_WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    print("ok   configuration")?;
    let writable = files::expect_writable(&config.data_dir.join("lock"));
    writable.with_context(|| format!("data_dir ({}) cannot be written by this user", config.data_dir.display()))?;
    let missing = missing_default_keys(&config);
    for file in &missing {
        print(&format!("note {} does not exist yet: `refresh-audit serve` makes it", file.display()))?;
    }
    for (number, one) in config.policy.suppressions.iter().enumerate() {
        if one.until.0 <= ReceivedAt::wall() {
            print(&format!("note [[suppress]] {} ended at {} and silences nothing any more", number + 1, one.until.0))?;
        }
    }
    for note in config.policy.idle_gate() {
        print(&format!("note {note}"))?;
    }
    let enricher =
        config.enrich.build(&config.base).map_err(|error| ConfigError::from_part("[enrich]", &error, &config.at))?;
    for file in enricher.summary() {
        print(&format!("ok   enrichment from {}", printable(&file)))?;
    }
    let mut sources = Vec::new();
    for entry in &config.sources {
        let what = format!("source {}", entry.name);
        let source = entry.config.build(&config.base, &missing);
        let source = source.map_err(|error| ConfigError::from_member(&what, &error, &entry.at))?;
        for note in source.notes() {
            print(&format!("note {what}: {}", printable(note)))?;
        }
        sources.push((what.clone(), source));
        print(&format!("ok   {what}"))?;
    }
    let mut sinks = Vec::new();
    for entry in &config.sinks {
        let what = format!("sink {}", entry.name);
        let sink =
            entry.config.build(&config.base).map_err(|error| ConfigError::from_part(&what, &error, &entry.at))?;
        entry.delivery.suits(&sink).map_err(|error| ConfigError::from_part(&what, &error, &entry.at))?;
        let test = probe(&config.node, &entry.name, &entry.delivery, &sink)?;
        sinks.push((what.clone(), sink, test));
        print(&format!("ok   {what}"))?;
    }
    keys_of_ours(&config, &missing)?;
    if given.connect { block_on(connect(sources, sinks)) } else { Ok(Ended::Well) }
}

/// Reads what else `serve` reads before it listens.
fn keys_of_ours(config: &Config, missing: &[PathBuf]) -> anyhow::Result<()> {
    let part = |what: &str, error: &dyn std::error::Error| ConfigError::from_part(what, error, &config.at);
    for file in config.fingerprint.previous_key_files.iter().map(|file| config.path(file)) {
        Secret::from_file(&file).map_err(|error| part("fingerprint.previous_key_files", &error))?;
    }
    if !missing.contains(&config.fingerprint_key_file()) {
        config.fingerprint_key().map_err(|error| part("fingerprint.key_file", &error))?;
    }
    if !missing.contains(&config.checkpoint_key_file()) {
        keys::signer(&config.checkpoint_key_file()).map_err(|error| part("journal.checkpoint_key_file", &error))?;
    }
    config.admin_token().map_err(|error| part("admin.token_file", &error))?;
    config.tls().map_err(|error| part("[server]", &BuildError(error)))?;
    Ok(())
}

/// The key files that `serve` would make: those that the configuration uses and that are not there.
fn missing_default_keys(config: &Config) -> Vec<PathBuf> {
    // One that cannot be seen is for its reader to report.
    keys::default_keys(config).into_iter().filter(|file| matches!(file.try_exists(), Ok(false))).collect()
}

async fn connect(sources: Vec<(String, AnySource)>, sinks: Vec<(String, AnySink, Message)>) -> anyhow::Result<Ended> {
    let mut well = true;
    for (what, source) in &sources {
        let problem = source.connect().await.err().map(|error| error.to_string());
        let advised = |problem: String| match tls::advice(&problem) {
            Some(advice) => format!("{problem}. {advice}"),
            None => problem,
        };
        well &= report(what, problem.map(advised))?;
    }
    for (what, sink, test) in &sinks {
        let problem = match timeout(SINK_WAIT_MAX, sink.check(test)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error}. {}", advice(sink, &error))),
            Err(_) => Some(format!(
                "no answer within {} s. Is the other side up, and reachable from here?",
                SINK_WAIT_MAX.as_secs()
            )),
        };
        well &= report(what, problem)?;
    }
    Ok(Ended::well_if(well))
}

/// What to do about a sink that did not take the test.
fn advice(sink: &AnySink, error: &SinkError) -> &'static str {
    if let Some(advice) = tls::advice(&error.to_string()) {
        return advice;
    }
    match error {
        SinkError::Retry { fault: true, .. } | SinkError::Partly { fault: true, .. } => {
            "This does not pass by itself: mend the sink's settings, credentials or rights"
        }
        SinkError::Retry { .. } if matches!(sink, AnySink::File(_)) => {
            "This may pass: is the disk there, and is there room on it?"
        }
        SinkError::Retry { .. } | SinkError::Partly { .. } => {
            "This may pass: is the other side up, and reachable from here?"
        }
        SinkError::Later { .. } => "Nothing is wrong: it goes on by itself",
        SinkError::Refused { .. } | SinkError::Reject { .. } => {
            "It answers, but does not take this record: check the sink's `format` and what the other side expects"
        }
    }
}

fn report(what: &str, problem: Option<String>) -> anyhow::Result<bool> {
    match problem {
        None => print(&format!("ok   {what} answers"))?,
        Some(ref problem) => print(&format!("FAIL {what}: {}", printable(problem)))?,
    }
    Ok(problem.is_none())
}
