//! What is to be signed, and the ends of closed files: each has a checkpoint of its own, and no file is closed before the one
//! that was closed last has it. So a stop at the wrong moment leaves one without at most; any other that is missing was taken
//! away, and nobody signs over that.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Meta, begin,
    chain::Hash,
    checkpoint::{Checkpoint, Found, Log},
    keeper::Home,
    recovery,
    segment::{self, Segment},
};
use crate::{
    record::Seq,
    telemetry::{Alarm, Alarms},
};

/// Of the alarm `damage_found` where closed files have no checkpoint.
const SUBJECT: Option<&str> = Some("closed files");

/// The same where none can be written.
const UNWRITTEN: Option<&str> = Some("checkpoints unwritten");
/// A full disk is told of by itself, and mostly over sooner.
const FAILING_MAX: Duration = Duration::from_secs(60);

/// What is to be signed and is not yet: nothing of it is lost, it is tried until it succeeds.
#[derive(Clone, Default)]
pub struct Due {
    /// Whether anybody signs.
    is_on: bool,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    /// For the end of the file that was closed last.
    seal: Option<Checkpoint>,
    /// For the end of the journal, as of lately.
    latest: Option<Checkpoint>,
}

impl Due {
    /// A file was closed with this record.
    pub fn seal(&self, checkpoint: Checkpoint) {
        if self.is_on {
            // What came before is vouched for with it.
            *self.notes() = Notes { seal: Some(checkpoint), latest: None };
        }
    }

    /// So much is synced; where an earlier one waits, this one takes its place.
    pub fn sign(&self, checkpoint: Checkpoint) {
        if self.is_on {
            self.notes().latest = Some(checkpoint);
        }
    }

    /// Whether the file that was closed last has its checkpoint.
    pub fn is_sealed(&self) -> bool {
        self.notes().seal.is_none()
    }

    /// A seal first: whoever has a later one knows that it is there.
    fn first(&self) -> Option<Checkpoint> {
        let notes = self.notes();
        notes.seal.clone().or_else(|| notes.latest.clone())
    }

    fn signed(&self, checkpoint: &Checkpoint) {
        let mut notes = self.notes();
        let Notes { seal, latest } = &mut *notes;
        for due in [seal, latest] {
            due.take_if(|due| *due == *checkpoint);
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who signs it.
pub struct Signing {
    /// Where it is kept; none where there is no key.
    pub log: Option<Log>,
    due: Due,
    alarms: Alarms,
    /// Since when none could be written.
    failing: Option<Instant>,
}

impl Signing {
    /// Begins with the end of the file that was closed last, if that has no checkpoint yet.
    pub fn new(log: Option<Log>, unsigned: Option<Checkpoint>, alarms: Alarms) -> Self {
        let due = Due { is_on: log.is_some(), notes: Arc::default() };
        unsigned.into_iter().for_each(|checkpoint| due.seal(checkpoint));
        Self { log, due, alarms, failing: None }
    }

    /// Where others put what is to be signed.
    pub fn due(&self) -> Due {
        self.due.clone()
    }

    /// Signs what is due. What cannot be written is tried again by the next call.
    pub fn go_on(&mut self) {
        let Some(log) = &mut self.log else { return };
        while let Some(checkpoint) = self.due.first() {
            if let Err(error) = log.append(&checkpoint) {
                let seq = checkpoint.seq;
                if self.failing.is_none() {
                    tracing::warn!(%error, seq, "a checkpoint cannot be written; it is tried again");
                }
                if self.failing.get_or_insert_with(Instant::now).elapsed() >= FAILING_MAX {
                    let message = format!(
                        "no checkpoint can be written: {error}; records are taken, and the open file of the journal grows \
                         until one can; check journal/checkpoints"
                    );
                    self.alarms.raise(Alarm::DamageFound, UNWRITTEN, message);
                }
                return;
            }
            self.failing = None;
            self.alarms.clear(Alarm::DamageFound, UNWRITTEN, "checkpoints are written again");
            self.due.signed(&checkpoint);
        }
    }
}

/// At a start: which closed files have no checkpoint for their end, among these notes of this journal. Those that were taken
/// away are told of; the one that a stop kept from being signed comes back.
pub fn at_start(
    journal_dir: &Path,
    (node, meta): (&str, &Meta),
    notes: &[Found],
    open: Seq,
    alarms: &Alarms,
) -> io::Result<Option<Checkpoint>> {
    let is_ours = |note: &&Checkpoint| meta.shared_with(note.journal()).is_some_and(|end| note.seq <= end);
    let ours = notes.iter().filter_map(|note| note.checkpoint.as_ref()).filter(is_ours);
    let signed: BTreeSet<Seq> = ours.map(|note| note.seq).collect();
    let segments = segment::list(journal_dir)?;
    let closed = segments.iter().zip(segments.iter().skip(1)).filter(|(_, following)| following.first <= open);
    let mut missing: Vec<(&Segment, Seq)> = closed
        .map(|(closed, following)| (closed, following.first - 1))
        .filter(|(_, end)| !signed.contains(end))
        .collect();
    // Only where what comes before it is vouched for, and nothing behind it.
    let highest = signed.last().copied().unwrap_or(0);
    let last = missing.pop_if(|(last, end)| *end + 1 == open && (last.first - 1..*end).contains(&highest));
    // An end that is damaged or gone is told of as that.
    let hash_of = |(closed, end): (&Segment, Seq)| recovery::scan(closed).ok()?.hash_of_last(end);
    match missing.iter().find(|missing| hash_of(**missing).is_some()) {
        Some((_, seq)) => {
            let message = format!(
                "no checkpoint is left for the end of {} closed file(s) in {}, the first at seq {seq}: they were taken away, and \
                 records may have been changed; or a copy was put back whose checkpoints are older than its files; nothing is \
                 signed in their place; run `refresh-audit verify`, and compare with a sink or a backup",
                missing.len(),
                journal_dir.display()
            );
            alarms.raise(Alarm::DamageFound, SUBJECT, message);
        }
        None => alarms.clear(Alarm::DamageFound, SUBJECT, "every closed file has its checkpoint"),
    }
    let signs = |(seq, hash)| Checkpoint { origin: format!("{node}/{}", meta.journal), seq, hash };
    Ok(last.and_then(|last| Some(signs((last.1, hash_of(last)?)))))
}

/// The last record of segments that go, and what has to be signed for it.
pub struct End {
    seq: Seq,
    /// None where it cannot be read.
    hash: Option<Hash>,
    /// Whether a checkpoint is there; where a stop or a full disk was in the way when it was sealed, it is not.
    is_vouched_for: bool,
}

impl End {
    /// Reads it.
    pub fn of(home: &Home, last: &Segment, seq: Seq) -> Self {
        let hash = recovery::scan(last).ok().and_then(|scan| scan.hash_of_last(seq));
        let signed = recovery::checkpoints(&home.journal_dir);
        let mut ours = signed.iter().filter_map(|note| note.checkpoint.as_ref());
        let is_vouched_for = ours.any(|note| note.seq == seq && note.journal() == home.journal);
        Self { seq, hash, is_vouched_for }
    }

    /// Signs a checkpoint for it, so that what is left begins with what one vouches for.
    fn vouch(&mut self, home: &Home, log: &mut Option<Log>) -> io::Result<()> {
        let (Some(log), Some(hash), false) = (log, self.hash, self.is_vouched_for) else { return Ok(()) };
        log.append(&Checkpoint { origin: format!("{}/{}", home.node, home.journal), seq: self.seq, hash })?;
        self.is_vouched_for = true;
        Ok(())
    }

    /// Signs that everything up to it is let go; before it is, so that a stop in between accuses nobody.
    pub fn let_go(&mut self, home: &Home, log: &mut Option<Log>) -> io::Result<()> {
        self.vouch(home, log)?;
        if let Some(log) = log {
            let end = (self.seq, self.hash.unwrap_or(begin::UNREADABLE));
            begin::write(&home.journal_dir, log.signer(), (&home.node, &home.journal), end)?;
            home.alarms.clear(Alarm::DamageFound, Some(begin::SUBJECT), "what is left begins where it should");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "seals_tests.rs"]
mod tests;
