//! Where a cursor is in a journal: whether what it has passed is still there, and where a new one starts. Blocking.

use std::{io, path::Path};

use super::{
    Start,
    acks::{AckLog, Run, total},
    books::Journal,
    cursor::{Cursor, Last},
    parked::Parked,
};
use crate::{
    ledger::{
        Meta,
        read::{Item, Reader},
        segment,
    },
    record::{Head, Seq},
    time::ReceivedAt,
};

/// A journal that is not what the cursor has passed: another one, or without the end that it once had.
pub(super) struct Other {
    /// In words.
    pub(super) reason: String,
    /// Up to this record it certainly is what the cursor has passed; 0 = none.
    pub(super) shared: Seq,
}

/// Says how the journal is not what the cursor has passed.
pub(super) fn compare(cursor: &Cursor, journal: &Journal) -> Result<(), Other> {
    let (next, synced, other) = (cursor.next, journal.synced, &cursor.journal);
    let fail = |reason: String, shared: Seq| Err(Other { reason, shared: shared.min(synced) });
    if **other != *journal.id {
        let shared = Meta::read(&journal.dir).ok().and_then(|meta| meta.shared_with(other));
        let Some(shared) = shared else {
            return fail(format!("the cursor belongs to journal {other}, this is {} (a backup?)", journal.id), 0);
        };
        if next > shared + 1 {
            let up_to = format!("of which this one was put back up to {shared} only");
            return fail(format!("the cursor is at {next} of journal {other}, {up_to}"), shared);
        }
    }
    if next > synced + 1 {
        return fail(format!("the cursor is at {next}, the journal ends at {synced} (a restored backup?)"), synced);
    }
    let Some(Last { seq, hash }) = &cursor.last else { return Ok(()) };
    match hash_at(journal, *seq) {
        Ok(Some(found)) if found != *hash => {
            // Nobody knows since when.
            fail(format!("the journal's record {seq} is not the one that was sent (a restored backup?)"), 0)
        }
        // A journal that cannot be read now is not another one.
        _ => Ok(()),
    }
}

/// What a cursor counts of a journal of which it has certainly passed no more than the records up to `shared`: of those, what
/// the sink's proofs of delivery say, up to their first gap. All else is still to come.
pub(super) fn certain(cursor: &Cursor, sink_dir: &Path, journal: &Journal, shared: Seq) -> Cursor {
    let first = segment::list(&journal.dir).ok().and_then(|segments| Some(segments.first()?.first)).unwrap_or(1);
    let start = if shared + 1 < first { first } else { cursor.start.min(shared + 1) };
    let mut certain = Cursor::new(&cursor.journal, start);
    let log = AckLog::new(sink_dir);
    // What cannot be read proves nothing.
    let parked = sink_dir.join("parked.jsonl");
    let mut kept = Parked::load(&parked).unwrap_or_else(|_| Parked::none(&parked));
    kept.reconcile(cursor.next, &cursor.settled);
    let again = log.again().unwrap_or_default();
    let is_again = |seq: Seq| again.iter().any(|entry| (entry.first..=entry.last).contains(&seq));
    let mut began = false;
    let read = log.each(|entry| {
        if !began && (start..=shared).contains(&entry.first) {
            // Proofs go with the records that they are about.
            (certain.start, certain.next) = (entry.first, entry.first);
        }
        began = true;
        let part = (certain.next, entry.last.min(shared));
        if entry.first > part.0 || part.0 > part.1 {
            return;
        }
        let count = |runs: &[Run]| total(&within(runs, part));
        certain.skipped += count(&entry.skipped);
        certain.dropped += count(&entry.dropped);
        certain.damaged += count(&entry.damaged);
        for seq in within(&entry.parked, part).into_iter().flat_map(|(first, last)| first..=last) {
            match kept.contains(seq) {
                true => certain.parked += 1,
                false if is_again(seq) => certain.delivered += 1,
                false => certain.dropped += 1,
            }
        }
        let passed = [&entry.skipped, &entry.dropped, &entry.damaged, &entry.parked].map(|runs| count(runs));
        certain.delivered += total(&[part]) - passed.iter().sum::<u64>();
        certain.next = part.1 + 1;
    });
    if let Err(error) = read {
        tracing::warn!(%error, "proofs of delivery cannot be read: what they are about counts as still to come");
    }
    Cursor { delivered_at: cursor.delivered_at, checkpoint: cursor.checkpoint, ..certain }
}

/// Of runs what lies in one.
fn within(runs: &[Run], (first, last): Run) -> Vec<Run> {
    let cut = runs.iter().map(|run| (run.0.max(first), run.1.min(last)));
    cut.filter(|run| run.0 <= run.1).collect()
}

/// When a record was received.
pub(super) fn received_at(journal: &Journal, seq: Seq) -> Option<ReceivedAt> {
    let items = Reader::new(&journal.dir, seq).read(journal.synced, 1, 1).ok()?;
    let Item::Line { text, .. } = items.first()? else { return None };
    Some(Head::read(text).ok()?.keep().received_at())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::{
        acks::Entry,
        books::{Books, Progress, Redriven},
        parked::ParkedRecord,
    };

    /// Delivered, skipped, parked, dropped, damaged; and from where on it is still to come.
    fn counts(cursor: &Cursor) -> ([u64; 5], Seq) {
        assert!(cursor.adds_up(), "{cursor:?}");
        ([cursor.delivered, cursor.skipped, cursor.parked, cursor.dropped, cursor.damaged], cursor.next)
    }

    #[test]
    fn of_a_journal_that_is_another_one_no_more_counts_than_both_share_and_is_proved() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { dir: dir.path().join("journal"), id: "3f9a1c2e".into(), synced: 0 };
        let sink_dir = dir.path().join("sinks/s");
        let mut books = Books::open(dir.path(), "s", &journal, Start::Oldest);
        let stretch = |first, last| Entry { first, last, ..Entry::default() };
        // 6 and 7 are parked, 8 is left out, 9 and 10 are damaged, 11 is gone.
        let passed = Entry { skipped: vec![(8, 8)], damaged: vec![(9, 10)], dropped: vec![(11, 11)], ..stretch(7, 12) };
        for (stretch, refused) in [
            (stretch(1, 4), vec![]),
            (stretch(5, 6), vec![ParkedRecord::example(6)]),
            (passed, vec![ParkedRecord::example(7)]),
        ] {
            books.advance(Progress { stretch, refused, last: None }).unwrap();
            books.save().unwrap();
        }
        let certain = |books: &Books, shared: Seq| counts(&certain(books.cursor(), &sink_dir, &journal, shared));
        for (shared, expected) in [
            (0, ([0, 0, 0, 0, 0], 1)),
            (3, ([3, 0, 0, 0, 0], 4)),
            (4, ([4, 0, 0, 0, 0], 5)),
            (6, ([5, 0, 1, 0, 0], 7)),
            (9, ([5, 1, 2, 0, 1], 10)),
            (12, ([6, 1, 2, 1, 2], 13)),
        ] {
            assert_eq!(certain(&books, shared), expected, "{shared}");
        }
        // By now 6 has arrived, and 7 was given up.
        books.redriven(&Redriven { delivered: vec![6], ..Redriven::default() }).unwrap();
        std::fs::write(sink_dir.join("parked.jsonl"), "").unwrap();
        assert_eq!(certain(&books, 9), ([6, 1, 0, 1, 1], 10));
        // What nothing proves any more counts as still to come; from where proofs begin, what they say.
        let proofs = sink_dir.join("acks/00000000000000000001.jsonl");
        let text = std::fs::read_to_string(&proofs).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        std::fs::write(&proofs, rest).unwrap();
        assert_eq!(certain(&books, 8), ([2, 1, 0, 1, 0], 9));
        std::fs::write(&proofs, format!("{first}\n{}", rest.split_once('\n').unwrap().1)).unwrap();
        assert_eq!(certain(&books, 8), ([4, 0, 0, 0, 0], 5), "behind a gap");
        std::fs::remove_file(&proofs).unwrap();
        assert_eq!(certain(&books, 8), ([0, 0, 0, 0, 0], 1));
    }
}
