//! `sinks reconcile`: whether every record of a sink is accounted for once, and whether the other side has what it said
//! it took.

use std::ops::RangeInclusive;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Ended, Format, files, journal, synced_journal};
use crate::{
    cli::{admin::Admin, print, printable, progress_bar},
    config::{Config, SinkEntry},
    deliver::reconcile::Reconciled,
    ledger::{KeyScheme, Meta},
    record::Seq,
    sink::Sink as _,
};

/// Asked about at a time: what one request of any protocol can hold.
const ASKED_AT_ONCE: usize = 500;
/// Missing records listed at most.
const MISSING_MAX: usize = 1_000;
/// Of them in a line for people.
const MISSING_SHOWN: usize = 20;

const COLUMNS: &[&str] = &["what", "records", "seqs"];
/// Ranges in a row of the table.
const RANGES_SHOWN: usize = 8;

/// What the other side said.
#[derive(Default, Serialize)]
struct Held {
    /// Records it was asked about.
    asked: u64,
    /// Acknowledged once, and not there.
    missing: u64,
    /// Which, the first [`MISSING_MAX`].
    missing_seqs: Vec<Seq>,
    /// Acknowledged, and there as the document of another record with the same key, which it takes once.
    shared: u64,
    /// What it holds in all, ours or not, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

impl Held {
    /// Documents that there must be at least: one for each record, but those that share one.
    fn documents(&self) -> u64 {
        self.asked.saturating_sub(self.missing).saturating_sub(self.shared)
    }

    /// Whether nothing is missing, and the number of documents fits that.
    fn is_whole(&self) -> bool {
        self.missing == 0 && self.total.is_none_or(|total| total >= self.documents())
    }

    /// What is to be said of it.
    fn verdict(&self) -> String {
        let (asked, in_all) = (self.asked, self.total.map(|total| format!(" (it holds {total} in all)")));
        let in_all = in_all.unwrap_or_default();
        if self.missing > 0 {
            let seqs: Vec<String> = self.missing_seqs.iter().take(MISSING_SHOWN).map(Seq::to_string).collect();
            let more = if self.missing > MISSING_SHOWN as u64 { ", …" } else { "" };
            return format!(
                "FAIL the other side lacks {} of {asked} records that it had acknowledged{in_all}: {}{more}; `sinks \
                 redeliver` sends them again",
                self.missing,
                seqs.join(", "),
            );
        }
        let shared = match self.shared {
            0 => String::new(),
            shared => format!(
                "; {shared} of them share their key with an earlier record, whose document is the one that is there: an \
                 event id that came again after dedupe.window"
            ),
        };
        if !self.is_whole() {
            return format!(
                "FAIL the other side holds fewer documents than the {} that the {asked} records it was asked about must \
                 be{in_all}{shared}",
                self.documents(),
            );
        }
        format!("ok   the other side has all {asked} records it was asked about{in_all}{shared}")
    }
}

pub(super) async fn run(
    format: Format,
    config: &Config,
    admin: &Admin,
    sink: &SinkEntry,
    asked: Option<RangeInclusive<Seq>>,
) -> anyhow::Result<Ended> {
    let journal = synced_journal(config, admin).await?;
    let found = files(config, sink, &journal).reconcile().context("the sink's files cannot be read")?;
    let keys = Meta::read(&journal.dir)?.keys;
    let held = match asked {
        Some(range) if found.problems.is_empty() || found.delivered.records > 0 => {
            ask(config, sink, keys, range).await?
        }
        _ => None,
    };
    let well = found.problems.is_empty() && held.as_ref().is_none_or(Held::is_whole);
    match format {
        Format::Json => {
            let mut whole = serde_json::to_value(&found)?;
            whole["other_side"] = serde_json::to_value(&held)?;
            print(&serde_json::to_string_pretty(&whole)?)?;
        }
        Format::Table => show(&found, held.as_ref())?,
    }
    Ok(Ended::well_if(well))
}

/// `None` where the other side cannot be asked.
async fn ask(
    config: &Config,
    sink: &SinkEntry,
    keys: KeyScheme,
    range: RangeInclusive<Seq>,
) -> anyhow::Result<Option<Held>> {
    let built = sink.config.build(&config.base).with_context(|| format!("sink {}", sink.name))?;
    let journal = journal(config)?;
    let mut delivered = files(config, sink, &journal).delivered(keys, *range.start());
    let mut held = Held::default();
    let bar = progress_bar(journal.synced.min(*range.end()).saturating_sub(range.start().saturating_sub(1)));
    while let Some(mut some) = delivered.next(ASKED_AT_ONCE)? {
        bar.inc(ASKED_AT_ONCE as u64);
        let done = some.iter().any(|one| one.seq > *range.end());
        some.retain(|one| range.contains(&one.seq));
        if !some.is_empty() {
            let answer = built.holds(&some).await.map_err(|error| anyhow::anyhow!("sink {}: {error}", sink.name))?;
            let Some(answer) = answer else { return Ok(None) };
            held.asked += some.len() as u64;
            held.missing += answer.missing.len() as u64;
            held.shared += answer.shared.len() as u64;
            held.missing_seqs.extend(answer.missing);
            held.missing_seqs.truncate(MISSING_MAX);
            held.total = answer.total.or(held.total);
        }
        if done {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(Some(held))
}

fn show(found: &Reconciled, held: Option<&Held>) -> anyhow::Result<()> {
    let shares = [
        ("delivered", &found.delivered),
        ("skipped", &found.skipped),
        ("parked", &found.parked),
        ("dropped", &found.dropped),
        ("damaged", &found.damaged),
        ("pending", &found.pending),
    ];
    let mut rows: Vec<Value> = shares
        .iter()
        .map(|(what, share)| json!({ "what": what, "records": share.records, "seqs": ranges(&share.ranges) }))
        .collect();
    rows.push(json!({ "what": "= recorded", "records": found.recorded }));
    if found.not_kept.records > 0 {
        let seqs = ranges(&found.not_kept.ranges);
        rows.push(json!({ "what": "(no proof kept)", "records": found.not_kept.records, "seqs": seqs }));
    }
    super::show(Format::Table, COLUMNS, rows)?;
    for problem in &found.problems {
        print(&format!("FAIL {}", printable(problem)))?;
    }
    match held {
        None => print("the other side was not asked, or cannot be"),
        Some(held) => print(&held.verdict()),
    }
}

fn ranges(runs: &[(Seq, Seq)]) -> String {
    let text =
        |(first, last): &(Seq, Seq)| if first == last { first.to_string() } else { format!("{first} to {last}") };
    let mut shown: Vec<String> = runs.iter().take(RANGES_SHOWN).map(text).collect();
    if runs.len() > RANGES_SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_documents_than_records_are_whole_only_where_shared_keys_explain_it() {
        let held = |missing, shared, total| Held { asked: 9, missing, shared, total, ..Held::default() };
        for (held, well, said) in [
            (held(0, 0, None), true, "ok   the other side has all 9 records"),
            (held(0, 0, Some(9)), true, "(it holds 9 in all)"),
            // Others' documents are there, too.
            (held(0, 0, Some(12)), true, "(it holds 12 in all)"),
            (held(0, 2, Some(7)), true, "2 of them share their key"),
            // 9 records, 2 of them with another's key: 7 documents.
            (held(0, 2, Some(6)), false, "FAIL the other side holds fewer documents than the 7"),
            (held(0, 0, Some(8)), false, "FAIL the other side holds fewer documents than the 9"),
            (held(1, 0, Some(9)), false, "FAIL the other side lacks 1 of 9"),
        ] {
            assert_eq!(held.is_whole(), well, "{}", held.verdict());
            assert!(held.verdict().contains(said), "{}", held.verdict());
        }
    }
}
