//! The journal read from end to end by a command: from an instant to another, up to what a running service has synced.

use std::path::Path;

use anyhow::Context as _;

use super::{
    admin::{self, Admin},
    block_on, progress_bar, say,
};
use crate::{
    config::Config,
    event::normalise_id,
    ledger::{
        read::{Item, Reader},
        search::{self, Wanted},
        segment,
    },
    record::{Kind, Record, Seq},
    time::ReceivedAt,
    units::Span,
};

/// Records read at a time.
pub(super) const CHUNK_RECORDS: usize = 4_096;
/// Bytes read at a time.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

/// What part of the journal is wanted.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    /// From then on.
    pub(super) since: Option<ReceivedAt>,
    /// Up to then, not included.
    pub(super) until: Option<ReceivedAt>,
}

/// The last seq that a running service has synced; without one, the greatest there can be.
pub(super) fn synced(config: &Config) -> anyhow::Result<Seq> {
    admin::expect_data(config)?;
    let admin = Admin::new(config)?;
    block_on(async { Ok(admin.synced_or_all().await) })
}

/// The newest record of these kinds under an event's id, or under `<source>/<id>`.
pub(super) fn find(dir: &Path, given: &str, kinds: &[Kind], until: Seq) -> anyhow::Result<Option<Seq>> {
    let bar = progress_bar(0);
    let find = |source: Option<&str>, id: &str| {
        let id = normalise_id(id.to_owned());
        search::event(dir, Wanted { id: &id, source, kinds }, until, &mut || bar.inc(1))
    };
    // Hardly an id has a slash in it.
    let of_source = given.split_once('/').map_or(Ok(None), |(source, id)| find(Some(source), id));
    let found = of_source.and_then(|found| found.map_or_else(|| find(None, given), |seq| Ok(Some(seq))));
    bar.finish_and_clear();
    found.context("cannot read the journal")
}

/// Shows every record of a part of the journal, oldest first. False where some are damaged.
pub(super) fn each(
    config: &Config,
    part: Part,
    take: impl FnMut(Record) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    admin::expect_data(config)?;
    let dir = segment::journal_dir(&config.data_dir);
    let start = part.since.map_or(Ok(1), |since| seq_before(&dir, since)).context("cannot read the journal")?;
    each_from(config, start, part, take)
}

/// The same from a seq on.
pub(super) fn each_from(
    config: &Config,
    start: Seq,
    part: Part,
    mut take: impl FnMut(Record) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let until = synced(config)?;
    let dir = segment::journal_dir(&config.data_dir);
    let mut reader = Reader::new(&dir, start);
    let bar = progress_bar(0);
    let mut whole = true;
    loop {
        let items = reader.read(until, CHUNK_RECORDS, CHUNK_BYTES).context("cannot read the journal")?;
        if items.is_empty() {
            break;
        }
        bar.inc(items.len() as u64);
        for item in items {
            match item {
                Item::Line { seq, text } => {
                    let record: Record =
                        serde_json::from_slice(&text).with_context(|| format!("record {seq} is not understood"))?;
                    if part.until.is_some_and(|until| record.received_at >= until) {
                        bar.finish_and_clear();
                        return Ok(whole);
                    }
                    if part.since.is_none_or(|since| record.received_at >= since) {
                        take(record)?;
                    }
                }
                Item::Damaged { first, last } => {
                    say(&format!("records {first} to {last} are damaged: see `refresh-audit verify`"));
                    whole = false;
                }
                Item::Gone { .. } => {}
            }
        }
    }
    bar.finish_and_clear();
    Ok(whole)
}

/// A seq before which nothing was received at or after `since`: the start of the last segment that begins earlier.
pub(super) fn seq_before(dir: &Path, since: ReceivedAt) -> std::io::Result<Seq> {
    let segments = segment::list(dir)?;
    let begins_earlier = |first: Seq| -> std::io::Result<bool> {
        let items = Reader::new(dir, first).read(first, 1, CHUNK_BYTES)?;
        let Some(Item::Line { text, .. }) = items.first() else { return Ok(true) };
        Ok(serde_json::from_slice::<Record>(text).map_or(true, |record| record.received_at < since))
    };
    for segment in segments.iter().rev() {
        if begins_earlier(segment.first)? {
            return Ok(segment.first);
        }
    }
    Ok(1)
}

/// A span before now, a date (its start in UTC), or an RFC 3339 time.
pub(super) fn parse_time(text: &str) -> Result<ReceivedAt, String> {
    if let Ok(span) = text.parse::<Span>() {
        let micros = i64::try_from(span.get().as_micros()).unwrap_or(i64::MAX);
        return Ok(ReceivedAt::from_micros(ReceivedAt::wall().micros().saturating_sub(micros)));
    }
    ReceivedAt::written(text).ok_or_else(|| {
        "a span such as 2h (ms, s, m, h, d), a date such as 2026-11-22, or a time with its offset such as \
         2026-11-22T08:00:00+01:00 or \"2026-11-22 07:00:00Z\""
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_date_says() {
        // date -u -d TEXT +%s
        for (text, seconds) in [
            ("2026-11-22", 1_795_305_600),
            ("9999-12-31", 253_402_214_400),
            ("2026-11-22T08:00:00+01:00", 1_795_330_800),
            ("2026-11-22T07:00:00Z", 1_795_330_800),
            ("2026-11-22 07:00:00Z", 1_795_330_800),
            ("2026-11-22 08:00:00+01:00", 1_795_330_800),
            ("2026-11-22T07:00Z", 1_795_330_800),
        ] {
            assert_eq!(parse_time(text).map(|at| at.micros() / 1_000_000), Ok(seconds), "{text}");
        }
        let two_hours_ago = || ReceivedAt::wall().micros() - 7_200_000_000;
        let (before, read, after) = (two_hours_ago(), parse_time("2h").unwrap().micros(), two_hours_ago());
        assert!((before..=after).contains(&read), "{before} {read} {after}");
        for bad in ["", "yesterday", "2026-13-01", "2026-11-22T08:00:00", "2026-11-22 08:00:00"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
