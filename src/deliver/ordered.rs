//! The sending half of a sink's loop where order matters, which is the default: a batch after the other.
//!
//! A sink that gains by it is told of the next batch, and may begin it; the cursor passes each when it is acknowledged.

use std::{ops::Range, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    batch::Batch,
    run::{Deliverer, stopped},
    status::SinkState,
    work::{Ahead, Outcome, Work},
};
use crate::sink::{Ack, Sink};

impl<S: Sink + Send + Sync + 'static> Deliverer<S> {
    /// Sends the next part of the journal. False when there is nothing to send, or not now.
    pub(super) async fn live_turn(&mut self, stop: &mut watch::Receiver<bool>) -> bool {
        self.work = self.work.take().or_else(|| self.next.take());
        self.park_asked();
        if !self.live.ready(Instant::now()) {
            return false;
        }
        if !stopped(stop) {
            self.take_in();
        }
        if self.too_much_parked() {
            return false;
        }
        let Some(mut work) = self.work.take() else {
            return false;
        };
        let part = work.part();
        let next = self.next.as_ref().filter(|_| part.end == work.batch.messages.len() && !stopped(stop));
        let next = next.map(|next| next.open(next.part())).unwrap_or_default();
        self.begun = !next.is_empty();
        let begun = Instant::now();
        let outcome = self.attempt(&mut work, part.clone(), &next, stop).await;
        let took = begun.elapsed();
        drop(next);
        match outcome {
            Outcome::Split => work.halving.refused(),
            Outcome::Failed { reason, after, fault, got_on } => {
                self.pass_ahead(&mut work).await;
                if got_on {
                    self.live.got_on(Instant::now());
                }
                self.live_failed(&work.batch, reason, took, after, fault);
            }
            Outcome::Later(reason, after) => {
                // Only what was taken shows that it goes well: at the cap nobody was asked.
                if self.pass_ahead(&mut work).await || !self.live.failing() {
                    self.live_well();
                }
                self.live.later(Instant::now(), after);
                let state = if self.live.stuck() { SinkState::Stuck } else { SinkState::Waiting };
                self.shared.state(state, Some(reason));
                if !work.is_ahead() {
                    // When it is due, what came meanwhile is one batch with it.
                    self.read_again();
                    return true;
                }
            }
            Outcome::Settled(refused, ack) => {
                match self.advance(&work.batch, part.clone(), &refused, ack.clone()).await {
                    Ok(()) => {
                        work.halving.settled();
                        self.live_well();
                    }
                    Err(reason) => {
                        work.put_back(part, refused, ack);
                        self.live_failed(&work.batch, reason, took, None, false);
                    }
                }
            }
        }
        let waits = self.live.retry_at().is_some();
        if waits || work.halving.next().is_some() {
            self.work = Some(work);
        } else {
            self.shared.oldest(self.next.as_ref().and_then(|next| next.batch.oldest));
        }
        true
    }

    /// The next batch, where it is wanted and there.
    fn take_in(&mut self) {
        let wanted = self.work.is_none() || (self.next.is_none() && self.sink.begins_next());
        if wanted && let Ok(batch) = self.feed().try_recv() {
            self.received(batch);
            self.park_asked();
        }
    }

    /// What an operator wants parked goes no further; what waited because of it is due now.
    fn park_asked(&mut self) {
        let to_park = self.shared.to_park();
        if to_park.is_empty() {
            return;
        }
        let mut parked = false;
        for work in self.work.iter_mut().chain(&mut self.next) {
            parked |= work.park(&to_park);
        }
        if parked {
            self.live.later(Instant::now(), Duration::ZERO);
        }
    }

    /// At the end: what the sink may have begun is delivered, so that it does not come twice.
    pub(super) async fn finish_begun(&mut self, stop: &mut watch::Receiver<bool>) {
        if self.begun && !self.shared.halted() && !self.live.failing() {
            self.live_turn(stop).await;
        }
    }

    /// Moves the cursor past what is settled of a part whose rest has to wait: a restart does not send it again.
    /// Whether it moved.
    async fn pass_ahead(&mut self, work: &mut Work) -> bool {
        let Some(Ahead { part, refused, ack }) = work.ahead() else { return false };
        match self.advance(&work.batch, part.clone(), &refused, ack).await {
            Ok(()) => {
                self.shared.oldest(work.batch.messages.get(part.end).map(|message| message.head.received_at()));
                work.passed(part);
                true
            }
            // The cursor passes it with the rest.
            Err(reason) => {
                tracing::error!(sink = &*self.shared.name, reason, "what is settled cannot be written down yet");
                false
            }
        }
    }

    async fn advance(
        &mut self,
        batch: &Batch,
        part: Range<usize>,
        refused: &[(usize, String)],
        ack: Ack,
    ) -> Result<(), String> {
        let progress = self.progress(batch, part, refused, (ack, self.live.attempt()));
        self.unsaved = true;
        match self.shared.books(move |books| books.advance(progress)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(format!("cannot write parked.jsonl: {error}")),
            None => Err("the sink's files could not be worked on".to_owned()),
        }
    }

    fn live_failed(&mut self, batch: &Batch, reason: String, took: Duration, after: Option<Duration>, fault: bool) {
        let stuck = self.live.failed(Instant::now(), took, after, fault);
        self.failed(batch, reason, stuck);
    }

    fn live_well(&mut self) {
        self.live.well();
        self.well();
    }
}
