//! `rules test`: the examples that stand beside the operator's own rules, and whether they hold.

use clap::{Args, Subcommand};

use super::{Ended, print, printable};
use crate::{
    config::{Config, ConfigError},
    detect::rules,
};

/// Test the rules of your own, [[rules]]
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit rules test
  refresh-audit rules test --config tried.toml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Check each rule and run its tests; a start does the same, and refuses what fails
    #[command(after_help = "\
Examples:
  refresh-audit rules test")]
    Test,
}

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let Do::Test = given.action;
    let config = load()?;
    let all = &config.policy.rules;
    let failed = rules::run(all).map_err(|(_, error)| error)?;
    for (number, rule) in all.iter().enumerate() {
        let state = match (rule.enabled, rule.shadow) {
            (false, _) => ", not enabled",
            (true, true) => ", shadow",
            (true, false) => "",
        };
        print(&format!("{} ({}{state})", rule.id, rule.severity.as_str()))?;
        if rule.tests.is_empty() {
            print("  no tests")?;
        }
        for (at, case) in rule.tests.iter().enumerate() {
            let wrong = failed.iter().find(|failed| (failed.rule, failed.case) == (number, at));
            let outcome = wrong.map_or_else(|| "ok".to_owned(), |failed| format!("FAILED: {}", failed.what));
            print(&format!("  {}: {}", printable(&case.title(at)), printable(&outcome)))?;
        }
    }
    let tests: usize = all.iter().map(|rule| rule.tests.len()).sum();
    print(&format!("{} rules, {tests} tests, {} failed", all.len(), failed.len()))?;
    Ok(Ended::well_if(failed.is_empty()))
}
