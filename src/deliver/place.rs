//! Where a cursor is in a journal: whether what it has passed is still there, and where a new one starts. Blocking.

use std::io;

use super::{
    Start,
    books::Journal,
    cursor::{Cursor, Last},
};
use crate::{
    ledger::{
        Meta,
        read::{Item, Reader},
    },
    record::{Head, Seq},
};

/// Says why the journal is not what the cursor has passed: another one, or without the end that it once had.
pub(super) fn compare(cursor: &Cursor, journal: &Journal) -> Result<(), String> {
    let (next, synced, other) = (cursor.next, journal.synced, &cursor.journal);
    if **other != *journal.id {
        let shared = Meta::read(&journal.dir).ok().and_then(|meta| meta.shared_with(other));
        let Some(shared) = shared else {
            return Err(format!("the cursor belongs to journal {other}, this is {} (a backup?)", journal.id));
        };
        if next > shared + 1 {
            return Err(format!(
                "the cursor is at {next} of journal {other}, of which this one was put back up to {shared} only"
            ));
        }
    }
    if next > synced + 1 {
        return Err(format!("the cursor is at {next}, the journal ends at {synced} (a restored backup?)"));
    }
    let Some(Last { seq, hash }) = &cursor.last else { return Ok(()) };
    match hash_at(journal, *seq) {
        Ok(Some(found)) if found != *hash => {
            Err(format!("the journal's record {seq} is not the one that was sent (a restored backup?)"))
        }
        // A journal that cannot be read now is not another one.
        _ => Ok(()),
    }
}

/// The hash of a record; none where it cannot be read any more.
fn hash_at(journal: &Journal, seq: Seq) -> io::Result<Option<String>> {
    let items = Reader::new(&journal.dir, seq).read(journal.synced, 1, 1)?;
    let Some(Item::Line { seq: found, text }) = items.first() else { return Ok(None) };
    let head = Head::read(text).ok().filter(|_| *found == seq);
    Ok(head.map(|head| head.keep().hash().to_owned()))
}

/// Where a new cursor starts.
pub(super) fn first(journal: &Journal, start: Start) -> io::Result<Seq> {
    if start == Start::Now {
        return Ok(journal.synced + 1);
    }
    if journal.synced == 0 {
        return Ok(1);
    }
    // What retention deleted before the sink existed was never the sink's.
    match Reader::new(&journal.dir, 1).read(journal.synced, 1, 1)?.first() {
        Some(Item::Gone { last, .. }) => Ok(last + 1),
        _ => Ok(1),
    }
}
