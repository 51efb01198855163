//! Checkpoints, for a sink that asks for them (`checkpoints = true`): what the journal's key signed goes out as messages of
//! its own, each once everything that it vouches for is settled, so that somebody else holds what shows a journal that was
//! cut off.
//!
//! In order, at least once, from the sink's start on; the cursor keeps which was taken last. The six counts are about
//! records of the journal, so none of them has checkpoints. One that is refused for good is left behind with an alarm:
//! the next one vouches for the same records and more.

use std::{io, ops::Range, sync::Arc};

use tokio::{sync::watch, task, time::Instant};

use super::{
    Context, DeliveryConfig,
    acks::Run,
    batch::{Batch, Selection},
    books::Books,
    feed::POLL,
    lane::Lane,
    run::Deliverer,
    status::{SinkState, Status},
    work::{Outcome, Work},
};
use crate::{
    ledger::{
        chain,
        notes::{Note, Notes},
    },
    record::{Draft, Kind, Seq, SignedNote},
    sink::{Message, Sink},
    slice::Slice,
    telemetry::Alarm,
    time::ReceivedAt,
};

/// Checkpoints on their way.
pub(super) struct Vouching {
    notes: Notes,
    /// The last one that was read.
    read: Seq,
    work: Option<Work>,
    /// Where `work` is from, if an operator asked for it again.
    again: Option<Run>,
    /// What the cursor should say.
    taken: Option<Seq>,
    lane: Lane,
    looked_at: Option<Instant>,
}

impl Vouching {
    pub(super) fn new(name: &str, config: &DeliveryConfig, context: &Context) -> Self {
        if !config.checkpoints {
            context.alarms.clear(Alarm::CheckpointsUndelivered, Some(name), "they are not asked for any more");
        }
        Self {
            notes: Notes::new(&context.journal_dir, &context.journal_id),
            read: 0,
            work: None,
            again: None,
            taken: None,
            lane: Lane::default(),
            looked_at: None,
        }
    }

    /// When the next attempt is due, after one that failed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.lane.retry_at()
    }

    fn is_due(&self) -> bool {
        self.looked_at.is_none_or(|at| at.elapsed() >= POLL)
    }
}

impl<S: Sink + Send + Sync + 'static> Deliverer<S> {
    /// Sends what is due. False when there is nothing to send, or not now: what fails here waits alone, what fails on the
    /// way from the journal makes this wait, too.
    pub(super) async fn checkpoints_turn(&mut self, stop: &mut watch::Receiver<bool>) -> bool {
        let may = self.config.checkpoints && !self.shared.halted() && !self.failing();
        if !may || !self.vouching.lane.ready(Instant::now()) {
            return false;
        }
        if self.vouching.work.is_none() && self.vouching.is_due() {
            self.look_for_checkpoints().await;
        }
        let Some(mut work) = self.vouching.work.take() else { return false };
        let (part, begun) = (work.part(), Instant::now());
        match self.attempt(&mut work, part.clone(), &[], stop).await {
            Outcome::Split => work.halving.refused(),
            Outcome::Later(_, after) => {
                self.vouching.lane.well();
                self.vouching.lane.later(Instant::now(), after);
            }
            Outcome::Failed { reason, after, fault, got_on } => {
                if got_on {
                    self.vouching.lane.got_on(Instant::now());
                }
                tracing::warn!(sink = &*self.shared.name, reason, "delivering checkpoints failed; trying again");
                if self.vouching.lane.failed(Instant::now(), begun.elapsed(), after, fault) {
                    self.checkpoints_stuck(&reason);
                }
                self.shared.state(SinkState::Retrying, Some(reason));
            }
            Outcome::Settled(refused, _) => {
                work.halving.settled();
                self.checkpoints_settled(&work.batch, part, &refused).await;
            }
        }
        if work.halving.next().is_some() {
            self.vouching.work = Some(work);
        }
        true
    }

    /// Once more at the end: the last checkpoint is signed after the last record.
    pub(super) async fn last_checkpoints(&mut self, stop: &mut watch::Receiver<bool>) {
        self.vouching.looked_at = None;
        if self.checkpoints_turn(stop).await {
            self.save().await;
        }
    }

    async fn look_for_checkpoints(&mut self) {
        let Status { start, checkpoint, .. } = self.shared.status();
        let next = self.shared.next();
        let again = self.shared.books(|books| books.cursor.checkpoints_again.first().copied()).await.flatten();
        let vouching = &mut self.vouching;
        if vouching.taken != checkpoint {
            // By an earlier run, or the cursor was set anew.
            vouching.notes.rewind();
            (vouching.taken, vouching.read) = (checkpoint, checkpoint.unwrap_or_default());
        }
        vouching.again = again;
        let (mut notes, after, until) = match again {
            Some((first, last)) => {
                let mut notes = vouching.notes.clone();
                notes.rewind();
                (notes, first.saturating_sub(1), last)
            }
            None => (vouching.notes.clone(), vouching.read.max(start.saturating_sub(1)), next.saturating_sub(1)),
        };
        let (selection, max) = (Arc::clone(&self.selection), self.config.batch.records);
        let read = task::spawn_blocking(move || {
            let mut batch = Batch::default();
            for note in notes.read(after, until, max)? {
                batch.add(message(&note, &selection)?);
            }
            io::Result::Ok((notes, batch))
        });
        match read.await.map_err(io::Error::other).flatten() {
            Ok((notes, batch)) => self.found_checkpoints(notes, batch, after).await,
            Err(error) => {
                self.vouching.looked_at = Some(Instant::now());
                tracing::error!(sink = &*self.shared.name, %error, "the checkpoints cannot be read; trying again");
            }
        }
    }

    /// What was read behind `after`: more of them, or none.
    async fn found_checkpoints(&mut self, notes: Notes, batch: Batch, after: Seq) {
        let vouching = &mut self.vouching;
        let last = batch.messages.last().map(|message| message.seq);
        if vouching.again.is_none() {
            vouching.notes = notes;
            vouching.read = last.unwrap_or(after);
            vouching.looked_at = last.is_none().then(Instant::now);
        } else if last.is_none() {
            self.again_vouched(Seq::MAX).await;
        }
        self.vouching.work = last.map(|_| Work::new(batch, |rest| self.sink.fits(rest)));
    }

    /// The stretch that is under way is done up to this one.
    async fn again_vouched(&mut self, seq: Seq) {
        let Some(run) = self.vouching.again else { return };
        self.shared.books(move |books| books.again_vouched(run, seq)).await;
        self.unsaved = true;
    }

    async fn checkpoints_settled(&mut self, batch: &Batch, part: Range<usize>, refused: &[(usize, String)]) {
        let name = &self.shared.name;
        self.vouching.lane.well();
        if let Some((_, reason)) = refused.last() {
            tracing::warn!(sink = &**name, reason, "checkpoints refused; later ones vouch for the same");
            self.checkpoints_stuck(reason);
        } else {
            let well = format!("sink {name} takes checkpoints again");
            self.shared.context.alarms.clear(Alarm::CheckpointsUndelivered, Some(name), well);
            if !self.again.stuck() {
                self.shared.state(SinkState::Delivering, None);
            }
        }
        if self.vouching.again.is_some() {
            let last = part.end.checked_sub(1).and_then(|at| batch.seqs(at..at + 1).next());
            return self.again_vouched(last.unwrap_or(Seq::MAX)).await;
        }
        let is_taken = |at: &usize| !refused.iter().any(|(refused, _)| refused == at);
        let Some(seq) = part.rev().find(is_taken).and_then(|at| batch.seqs(at..at + 1).next()) else { return };
        let before = self.vouching.taken.replace(seq);
        self.shared.books(move |books| books.vouched(before, seq)).await;
        self.unsaved = true;
    }

    fn checkpoints_stuck(&self, reason: &str) {
        let name = &self.shared.name;
        let message = format!(
            "sink {name} does not take checkpoints: {reason}. Records are not held up; mend it, or take `checkpoints = true` \
             out. `refresh-audit sinks redeliver {name} --from SEQ` sends earlier ones again"
        );
        self.shared.context.alarms.raise(Alarm::CheckpointsUndelivered, Some(name), message);
    }
}

impl Books {
    /// Checkpoints up to this one are taken, unless the cursor is not where they were read from: then they were set back.
    fn vouched(&mut self, before: Option<Seq>, seq: Seq) {
        if self.cursor.checkpoint == before {
            self.cursor.checkpoint = Some(seq);
            self.dirty = true;
        }
    }

    /// The first stretch to be delivered again, where it still is this one, begins behind `seq`.
    fn again_vouched(&mut self, (first, last): Run, seq: Seq) {
        let again = &mut self.cursor.checkpoints_again;
        let Some(run) = again.first_mut().filter(|run| (first..=last).contains(&run.0)) else { return };
        run.0 = run.0.max(seq.saturating_add(1));
        if run.0 > run.1 {
            again.remove(0);
        }
        self.dirty = true;
    }
}

/// A checkpoint as a record of its own, which the journal does not have: chained to the one that it vouches for, so that
/// it can be checked like any other.
fn message(note: &Note, selection: &Selection) -> serde_json::Result<Message> {
    let (checkpoint, signed) = (&note.checkpoint, SignedNote { note: note.text.clone() });
    let (journal, node) = (checkpoint.journal(), checkpoint.node());
    let mut draft = Draft::new(journal, node, checkpoint.seq, Kind::Checkpoint, ReceivedAt::wall());
    draft.checkpoint = Some(&signed);
    let mut line = serde_json::to_vec(&draft)?;
    chain::seal_line(&mut line, 0, &checkpoint.hash);
    line.pop();
    selection.message(&Slice::from(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{KeyScheme, checkpoint::Checkpoint},
        sink::Pack,
    };

    #[test]
    fn a_checkpoint_is_a_record_with_the_whole_note() {
        let checkpoint = Checkpoint { origin: "audit-1/3f9a1c2e".to_owned(), seq: 7, hash: [0xab; 32] };
        let note = Note { checkpoint, text: "audit-1/3f9a1c2e\n7\nab\n\n\u{2014} audit-1 AAAA\n".to_owned() };
        let selection = Selection::new(&DeliveryConfig::default(), None, Pack::Plain, KeyScheme::EventId);
        let message = message(&note, &selection).unwrap();
        assert_eq!((message.seq, message.kind, &*message.key), (7, Kind::Checkpoint, "3f9a1c2e-checkpoint-7"));
        let record = message.record().unwrap();
        assert_eq!((&*record.node, &*record.journal, record.seq), ("audit-1", "3f9a1c2e", 7));
        assert_eq!((record.prev, record.checkpoint.unwrap().note), ("ab".repeat(32), note.text));
        assert!(chain::check_line(&[&message.line[..], b"\n"].concat()).is_some());
    }
}
