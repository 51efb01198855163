//! One record without the thread: what an operator did while no service runs. The caller holds the data directory's lock.

use std::{io, path::Path};

use super::{JournalConfig, Meta, chain::seal_line, meta, recovery, segment::journal_dir, state};
use crate::{
    record::{Draft, Kind, OperatorAction, Seq},
    time::ReceivedAt,
};

/// Gives a journal that was put back from an older copy its new id, as a start would; see [`Meta::highest_known`] for `read`.
pub fn renew_if_put_back(data_dir: &Path, read: &[(String, Seq)]) -> io::Result<()> {
    let journal_dir = journal_dir(data_dir);
    let (mut meta, last) = (Meta::read(&journal_dir)?, recovery::last_seq(&journal_dir)?);
    let vouched = recovery::vouched_for(&recovery::checkpoints(&journal_dir));
    if meta.highest_known(data_dir, &vouched, read) > last {
        meta.renew(data_dir, meta::new_id(), last)?;
        state::forget_after(&data_dir.join("state"), last)?;
    }
    Ok(())
}

/// Appends and syncs the record behind the journal's end, which is found and cut as at a start. Returns its seq.
pub fn record_operator(
    data_dir: &Path,
    node: &str,
    config: &JournalConfig,
    action: &OperatorAction,
) -> io::Result<Seq> {
    let journal_dir = journal_dir(data_dir);
    let meta = Meta::read(&journal_dir)?;
    let mut journal = recovery::recover(&journal_dir, &data_dir.join("damaged"), config.segment.get())?;
    let at = journal.tail.last_received.map_or_else(ReceivedAt::wall, |last| last.max(ReceivedAt::wall()));
    let seq = journal.tail.next;
    let draft = Draft { operator: Some(action), ..Draft::new(&meta.journal, node, seq, Kind::Operator, at) };
    let mut line = serde_json::to_vec(&draft)?;
    seal_line(&mut line, 0, &journal.tail.hash);
    journal.writer.append(&line, at)?;
    journal.writer.sync()?;
    Ok(seq)
}
