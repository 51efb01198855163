//! `verify`: checks the chain and the checkpoints and names the first record that does not hold.

use clap::Args;

use super::{
    Ended,
    admin::{self, Admin},
    block_on, print, printable, progress_bar, say,
};
use crate::{
    config::{Config, ConfigError},
    keys,
    ledger::{checkpoint::Verifier, verify},
    record::Seq,
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
    admin::expect_data(&config)?;
    let public = keys::public_path(&config.checkpoint_key_file());
    let public_key = match Verifier::from_file(&public) {
        Ok(key) => Some(key),
        Err(error) => {
            say(&format!("the checkpoints' signatures are not checked: {error}"));
            None
        }
    };
    let until = block_on(async { Admin::new(&config)?.synced().await }).ok().flatten();
    let bar = progress_bar(0);
    let mut bytes = 0;
    let mut progress = |more| {
        bytes += more;
        bar.set_position(bytes);
    };
    let report =
        verify::verify(&config.data_dir, given.from, until.unwrap_or(Seq::MAX), public_key.as_ref(), &mut progress)?;
    bar.finish_and_clear();
    let range = report.range.map_or_else(String::new, |(first, last)| format!(", seq {first} to {last}"));
    print(&format!(
        "{} records in {} segments{range}, {} checkpoints",
        report.records, report.segments, report.checkpoints
    ))?;
    if report.torn_bytes > 0 && until.is_none() {
        print(&format!(
            "{} bytes behind the last record were being written; a start cuts them off",
            report.torn_bytes
        ))?;
    }
    for problem in report.problems.iter().take(PROBLEMS_PRINTED_MAX) {
        print(&format!("record {}: {}", problem.seq, printable(&problem.what)))?;
    }
    match report.problems_total {
        0 => print("the chain holds")?,
        count if count > PROBLEMS_PRINTED_MAX as u64 => {
            print(&format!("{} more problems", count - PROBLEMS_PRINTED_MAX as u64))?;
        }
        _ => {}
    }
    Ok(Ended::well_if(report.problems.is_empty()))
}
