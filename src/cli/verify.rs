//! `verify`: checks the chain and the checkpoints and names the first record that does not hold.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{
    Ended,
    admin::{self, Admin},
    block_on, print, printable, progress_bar, say,
};
use crate::{
    config::{Config, ConfigError},
    keys,
    ledger::{
        checkpoint::{self, Found, Verifier},
        segment,
        verify::{self, Own},
    },
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
  refresh-audit verify && cp data/journal/checkpoints /mnt/elsewhere/
  refresh-audit verify --checkpoint /mnt/elsewhere/checkpoints
  jq -r 'select(.kind == \"checkpoint\").checkpoint.note' from-the-siem.jsonl | refresh-audit verify --checkpoint /dev/stdin")]
pub(super) struct Arguments {
    /// Begin with this record
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// Also check against checkpoints that were kept elsewhere: signed notes, as the journal has them or a sink got them
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// Problems printed; the first is what matters, thousands follow from one.
const PROBLEMS_PRINTED_MAX: usize = 20;

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    admin::expect_data(&config)?;
    let public = keys::public_path(&config.checkpoint_key_file());
    // Whoever wrote something else there must not get a pass for it.
    let verifier = keys::verifier(&config.checkpoint_key_file()).map_err(|error| {
        anyhow::anyhow!("{error}; put checkpoint.pub back, or take the file away to check no signatures, only hashes")
    })?;
    if verifier.is_none() {
        let public = public.display();
        say(&format!("note: the checkpoints' signatures are not checked, only their hashes: there is no {public}"));
    }
    let own = Own::read(&config.data_dir, verifier.as_ref()).context("cannot read the checkpoints")?;
    let until = block_on(async { Ok(Admin::new(&config)?.synced_or_all().await) })?;
    let held = given.checkpoint.as_deref().map(|file| held(file, verifier.as_ref())).transpose()?.unwrap_or_default();
    // A sink may have got one more than once.
    let seqs: BTreeSet<_> = held.iter().map(|note| note.checkpoint.as_ref().map(|checkpoint| checkpoint.seq)).collect();
    let bar = progress_bar(journal_bytes(&config));
    let report = verify::verify(&config.data_dir, given.from, until, own, &held, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let report = report.context("cannot read the journal")?;
    let range = report.range.map_or("none".to_owned(), |(first, last)| format!("seq {first} to {last}"));
    let (records, segments, checkpoints) = (report.records, report.segments, report.checkpoints);
    print(&format!("records {records} ({range}), segments {segments}, checkpoints {checkpoints}"))?;
    if given.checkpoint.is_some() {
        let let_go = match report.let_go {
            0 => String::new(),
            some => format!(", {some} are about records that were let go since (retention, or room)"),
        };
        print(&format!("checkpoints kept elsewhere: {} of {} fit{let_go}", report.held, seqs.len()))?;
    }
    if report.torn_bytes > 0 {
        print(&format!(
            "the end is torn ({} bytes of a write that was cut short): the next start cuts it",
            report.torn_bytes
        ))?;
    }
    for problem in report.problems.iter().take(PROBLEMS_PRINTED_MAX) {
        print(&format!("record {}: {}", problem.seq, printable(&problem.what)))?;
    }
    match report.problems_total.saturating_sub(PROBLEMS_PRINTED_MAX as u64) {
        0 if report.problems_total == 0 => print("the chain holds")?,
        0 => {}
        more => print(&format!("{more} more problems"))?,
    }
    Ok(Ended::well_if(report.problems_total == 0))
}

/// Checkpoints that were kept elsewhere.
fn held(file: &Path, verifier: Option<&Verifier>) -> anyhow::Result<Vec<Found>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = checkpoint::parse(&bytes, verifier);
    if found.is_empty() {
        bail!("{} holds no checkpoint: write signed notes to it, with an empty line between two", file.display());
    }
    Ok(found)
}

/// Bytes of all segments, as they are on disk: what the bar runs to (it runs past it where they are compressed).
fn journal_bytes(config: &Config) -> u64 {
    let segments = segment::list(&segment::journal_dir(&config.data_dir)).unwrap_or_default();
    segments.iter().filter_map(|segment| fs::metadata(&segment.path).ok()).map(|file| file.len()).sum()
}
