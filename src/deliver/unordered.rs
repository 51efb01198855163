//! The sending half of a sink's loop where order does not matter (`ordered = false`): several batches under way at once,
//! as many as the other side takes well. The cursor stays the lowest seq that is not settled, so a crash delivers again
//! at most what was under way, and every count is as it is in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{self, JoinSet},
    time::Instant,
};

use super::{
    batch::Batch, books::Progress, concurrency::Concurrency, run::Deliverer, status::SinkState, window::Window,
    work::Outcome,
};
use crate::{
    record::Seq,
    sink::{Ack, Sink, SinkError},
};

/// Everything under way.
#[derive(Default)]
pub(super) struct Unordered {
    pub(super) window: Window,
    concurrency: Concurrency,
    sent: JoinSet<Answer>,
    units: BTreeMap<task::Id, u64>,
}

/// How long it took to come, and what it says.
type Answer = (Duration, Result<Ack, SinkError>);

/// One answer, and whose.
pub(super) type Landed = (u64, Duration, Result<Ack, SinkError>);

impl Unordered {
    /// The next answer; never, where nothing is under way.
    pub(super) async fn landing(&mut self) -> Landed {
        match self.sent.join_next_with_id().await {
            Some(joined) => self.landed(joined),
            None => std::future::pending().await,
        }
    }

    fn landed(&mut self, joined: Result<(task::Id, Answer), task::JoinError>) -> Landed {
        let (id, took, result) = match joined {
            Ok((id, (took, result))) => (id, took, result),
            Err(error) => (error.id(), Duration::ZERO, Err(SinkError::passing(format!("the sink panicked: {error}")))),
        };
        (self.units.remove(&id).unwrap_or_default(), took, result)
    }

    fn send<S: Sink + Send + Sync + 'static>(&mut self, sink: &Arc<S>, to_park: &BTreeSet<Seq>) -> bool {
        let limit = self.concurrency.limit();
        if self.sent.len() >= limit {
            return false;
        }
        let Some((of, parcel)) = self.window.send(Instant::now(), limit, to_park) else { return false };
        let sink = Arc::clone(sink);
        let task = self.sent.spawn(async move {
            let begun = Instant::now();
            let messages = parcel.messages();
            let result = if messages.is_empty() { Ok(Ack::none()) } else { sink.deliver(messages).await };
            (begun.elapsed(), result)
        });
        self.units.insert(task.id(), of);
        true
    }
}

impl<S: Sink + Send + Sync + 'static> Deliverer<S> {
    /// Sends what may be sent, takes the answers that are there. False when there is nothing to do now.
    pub(super) async fn unordered_turn(&mut self) -> bool {
        if self.unordered.window.hungry()
            && let Ok(batch) = self.feed().try_recv()
        {
            self.received(batch);
        }
        let mut busy = false;
        if !self.too_much_parked() {
            let to_park = self.shared.to_park();
            self.unordered.window.park(Instant::now(), &to_park);
            while self.unordered.send(&self.sink, &to_park) {
                busy = true;
            }
        }
        while let Some(joined) = self.unordered.sent.try_join_next_with_id() {
            let landed = self.unordered.landed(joined);
            self.landed(landed);
            busy = true;
        }
        busy | self.pass().await
    }

    /// One answer: what it means for its part, and for how many may be under way.
    pub(super) fn landed(&mut self, (id, took, result): Landed) {
        let now = Instant::now();
        let Unordered { window, concurrency, sent, .. } = &mut self.unordered;
        let in_flight = sent.len() + 1;
        let Some(unit) = window.landed(id) else { return };
        let part = unit.work.part();
        let seqs: Vec<Seq> = unit.work.open(part.clone()).iter().map(|message| message.seq).collect();
        match unit.work.outcome(part, &seqs, result) {
            Outcome::Settled(refused, ack) => {
                concurrency.answered(now, took, in_flight);
                unit.settled(refused, ack);
                if !window.failing() {
                    self.well();
                }
            }
            Outcome::Split => unit.work.halving.refused(),
            Outcome::Later(reason, after) => {
                unit.lane.well();
                unit.lane.later(now, after);
                self.shared.state(SinkState::Waiting, Some(reason));
            }
            Outcome::Failed { reason, after, fault, got_on } => {
                concurrency.failed();
                if got_on {
                    unit.lane.got_on(now);
                }
                let stuck = unit.lane.failed(now, took, after, fault);
                let batch = Arc::clone(&unit.work.batch);
                self.failed(&batch, reason, stuck);
            }
        }
    }

    /// Moves the cursor past what is settled without a gap. False when it stays.
    async fn pass(&mut self) -> bool {
        if self.pass_retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        let units = self.unordered.window.passable();
        let steps = units.flat_map(|unit| unit.steps.iter().map(|step| (&*unit.work.batch, step)));
        let steps: Vec<Progress> = steps
            .map(|(batch, step)| self.progress(batch, step.part.clone(), &step.refused, step.ack.clone()))
            .collect();
        if steps.is_empty() {
            return false;
        }
        self.unsaved = true;
        let done = self.shared.books(move |books| {
            let mut passed = 0;
            for step in steps {
                if let Err(error) = books.advance(step) {
                    return (passed, Some(format!("cannot write parked.jsonl: {error}")));
                }
                passed += 1;
            }
            (passed, None)
        });
        let (passed, trouble) = done.await.unwrap_or((0, Some("the sink's files could not be worked on".to_owned())));
        self.unordered.window.passed(passed);
        self.shared.oldest(self.unordered.window.oldest());
        self.pass_retry_at = trouble.is_some().then(|| Instant::now() + super::feed::POLL);
        if let Some(reason) = trouble {
            self.failed(&Batch::default(), reason, false);
        }
        passed > 0
    }

    /// Waits for what is under way, without sending more; the caller drops this at its deadline.
    pub(super) async fn finish_unordered(&mut self) {
        while !self.unordered.sent.is_empty() {
            let landed = self.unordered.landing().await;
            self.landed(landed);
            self.pass().await;
            self.save().await;
        }
    }

    /// Whether anything on the way from the journal fails now.
    pub(super) fn failing(&self) -> bool {
        self.live.failing() || self.unordered.window.failing()
    }
}
