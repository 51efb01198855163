//! Delivering again what an operator asked for, in turns with the journal's batches. Changes no count but one: a parked
//! record that arrives is delivered.

use std::{ops::Range, sync::PoisonError, time::Duration};

use tokio::{sync::watch, task, time::Instant};

use super::{
    batch::{Batch, Selection},
    books::{Again, Books, Redriven},
    feed::read_range,
    run::Deliverer,
    status::SinkState,
    work::{Outcome, Work},
};
use crate::{
    ledger::read::Reader,
    record::Seq,
    sink::{Ack, Sink},
    slice::Slice,
};

/// A batch to be delivered again.
pub(super) struct Redo {
    work: Work,
    /// For a range: the seq after the batch.
    end: Option<Seq>,
    /// Asked for, but not to be had any more.
    missing: Vec<Seq>,
    /// [`Books::cancels`] when it was asked for.
    cancels: u64,
}

impl<S: Sink + Send + Sync + 'static> Deliverer<S> {
    /// Sends the next part. False when nothing is asked for, or it is not the time: what fails here waits alone, what
    /// fails on the way from the journal makes this wait, too.
    pub(super) async fn again_turn(&mut self, stop: &mut watch::Receiver<bool>) -> bool {
        // While it stands still, no attempt on the way from the journal can go well, and what is asked for here may end that.
        if self.failing() && !self.stands_still() {
            return false;
        }
        let cancelled = self.redo.as_ref().is_some_and(|redo| redo.cancels != self.shared.cancels());
        if cancelled || !self.shared.redriving() {
            // Done, or given up or taken back by an operator: nothing is left of it that could go well.
            self.redo = None;
            self.again_well();
        }
        if !self.shared.redriving() {
            return false;
        }
        if !self.again.ready(Instant::now()) {
            return false;
        }
        if self.redo.is_none() {
            match self.next_redo().await {
                Ok(redo) => self.redo = redo,
                Err(reason) => self.again_failed(&Batch::default(), reason, Duration::ZERO, None, false),
            }
        }
        let Some(mut redo) = self.redo.take() else {
            return false;
        };
        let (part, begun) = (redo.work.part(), Instant::now());
        match self.attempt(&mut redo.work, part.clone(), &[], stop).await {
            Outcome::Split => redo.work.halving.refused(),
            Outcome::Later(_, after) => {
                self.again.later(Instant::now(), after);
                self.redo = Some(redo);
                return true;
            }
            Outcome::Failed { reason, after, fault, got_on } => {
                if got_on {
                    self.again.got_on(Instant::now());
                }
                self.again_failed(&redo.work.batch, reason, begun.elapsed(), after, fault);
                self.redo = Some(redo);
                return true;
            }
            Outcome::Settled(refused, ack) => {
                let ack = (ack, self.again.attempt());
                redo.work.halving.settled();
                self.again_well();
                self.note(&redo, part, &refused, ack).await;
            }
        }
        if redo.work.halving.next().is_some() {
            self.redo = Some(redo);
        }
        true
    }

    fn again_failed(&mut self, batch: &Batch, reason: String, took: Duration, after: Option<Duration>, fault: bool) {
        let stuck = self.again.failed(Instant::now(), took, after, fault);
        self.failed(batch, reason, stuck);
    }

    fn again_well(&mut self) {
        let stuck = self.again.stuck();
        self.again.well();
        // Other alarms about the sink are not for this to clear: too much that is parked, say.
        if stuck {
            self.well();
        }
    }

    async fn next_redo(&mut self) -> Result<Option<Redo>, String> {
        let limits = self.config.batch;
        let next = self.shared.books(move |books| (books.cancels(), books.next_again(limits.records))).await;
        let (cancels, again) = next.unwrap_or_default();
        let selection = std::sync::Arc::clone(&self.selection);
        match again {
            None => Ok(None),
            Some(Again::Retry(seqs)) => {
                let bytes = limits.bytes.len();
                let read = self.shared.books(move |books| parked_batch(books, &seqs, &selection, bytes)).await;
                let (batch, missing) = read.ok_or("the sink's files could not be worked on")??;
                Ok(Some(Redo { work: Work::new(batch, |rest| self.sink.fits(rest)), end: None, missing, cancels }))
            }
            Some(Again::Range(range)) => {
                let (reader, dir) = (self.reader(None), self.shared.context.journal_dir.clone());
                let read =
                    task::spawn_blocking(move || read_range(reader, (&dir, range.next, range.to), &selection, limits));
                let (batch, reader) = read.await.map_err(|error| format!("reading the journal failed: {error}"))??;
                // No progress means that the journal does not have them: the range is done.
                let end = if reader.next() > range.next { reader.next() } else { range.to + 1 };
                self.reader(Some(reader));
                Ok(Some(Redo {
                    work: Work::new(batch, |rest| self.sink.fits(rest)),
                    end: Some(end),
                    missing: Vec::new(),
                    cancels,
                }))
            }
        }
    }

    /// Puts a reader by for the next part; the one put by before.
    fn reader(&mut self, next: Option<Reader>) -> Option<Reader> {
        std::mem::replace(self.reader.get_mut().unwrap_or_else(PoisonError::into_inner), next)
    }

    async fn note(&mut self, redo: &Redo, part: Range<usize>, refused: &[(usize, String)], ack: (Ack, u32)) {
        let batch = &redo.work.batch;
        let last = part.end == batch.messages.len();
        let seq_at = |at: usize| batch.seqs(at..at + 1).next();
        let mut step = Redriven { refused: redo.missing.clone(), ack, cancels: redo.cancels, ..Redriven::default() };
        for (at, reason) in refused {
            let seq = seq_at(*at).unwrap_or_default();
            tracing::warn!(sink = &*self.shared.name, seq, reason, "refused again; it stays what it was");
            step.refused.push(seq);
        }
        step.delivered = batch.seqs(part.clone()).filter(|seq| !step.refused.contains(seq)).collect();
        step.reached = match redo.end {
            Some(end) if last => Some(end),
            Some(_) => seq_at(part.end - 1).map(|seq| seq + 1),
            None => None,
        };
        self.shared.state(SinkState::Delivering, refused.first().map(|(_, reason)| reason.clone()));
        self.unsaved = true;
        if let Some(Err(error)) = self.shared.books(move |books| books.redriven(&step)).await {
            // It is written later; a crash before that delivers this one once more.
            tracing::error!(sink = &*self.shared.name, %error, "the progress of delivering again cannot be written");
        }
    }
}

/// Parked records as a batch of about `bytes`, and those that are parked no more.
fn parked_batch(
    books: &mut Books,
    seqs: &[Seq],
    selection: &Selection,
    bytes: usize,
) -> Result<(Batch, Vec<Seq>), String> {
    let (mut batch, mut missing) = (Batch::default(), Vec::new());
    for seq in seqs {
        let parked = books.parked().read(*seq).map_err(|error| format!("cannot read parked.jsonl: {error}"))?;
        let line = parked.map(|parked| Slice::from(String::from(Box::<str>::from(parked.record))));
        match line.map(|line| selection.message(&line)) {
            Some(Ok(message)) => batch.add(message),
            Some(Err(error)) => return Err(format!("the parked record {seq} is not readable: {error}")),
            None => missing.push(*seq),
        }
        if batch.bytes_left(bytes) == 0 {
            break;
        }
    }
    Ok((batch, missing))
}
