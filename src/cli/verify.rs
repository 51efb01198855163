//! `verify`: checks the chain and the checkpoints and names the first record that does not hold.

use clap::Args;

use super::{Ended, print, printable, progress_bar};
use crate::{
    config::{Config, ConfigError},
    ledger::verify,
};

/// Check the journal's chain of hashes and its signed checkpoints
///
/// Needs no running service and takes no lock; beside one, it checks up to what is synced. Exits 1 naming the first
/// bad record. What was cut off after the last checkpoint that someone else holds cannot be seen.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit verify
  refresh-audit verify --from 120000
  refresh-audit verify && cp data/journal/checkpoints /mnt/elsewhere/")]
pub(super) struct Arguments {
    /// Begin with this record
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
}

/// Problems printed; the first is what matters, thousands follow from one.
const PROBLEMS_PRINTED_MAX: usize = 20;

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    let bar = progress_bar(0);
    let report = verify::verify(&config.data_dir, given.from, |seq| bar.set_position(seq))?;
    bar.finish_and_clear();
    print(&format!(
        "{} records in {} segments, seq {} to {}, {} checkpoints",
        report.records, report.segments, report.first, report.last, report.checkpoints
    ))?;
    for problem in report.problems.iter().take(PROBLEMS_PRINTED_MAX) {
        print(&format!("record {}: {}", problem.seq, printable(&problem.what)))?;
    }
    match report.problems.len() {
        0 => print("the chain holds")?,
        count if count > PROBLEMS_PRINTED_MAX => print(&format!("{} more problems", count - PROBLEMS_PRINTED_MAX))?,
        _ => {}
    }
    Ok(Ended::well_if(report.problems.is_empty()))
}
