//! Batches under way where order does not matter: which part may be sent next, and what of it is settled without a gap,
//! so that the cursor is always the lowest seq that is not. Pure but for the dice of backing off.

use std::{
    borrow::Cow,
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{batch::Batch, halving::Halving, lane::Lane, work::Work};
use crate::{
    record::Seq,
    sink::{Ack, Message},
    time::ReceivedAt,
};

/// A part of a batch on its way.
pub(super) struct Unit {
    pub(super) id: u64,
    pub(super) work: Work,
    pub(super) lane: Lane,
    /// What is settled of it, in order.
    pub(super) steps: Vec<Step>,
    state: State,
}

/// A settled part: what was refused of it, by index in the batch, and what was said of the rest at which attempt.
pub(super) struct Step {
    pub(super) part: Range<usize>,
    pub(super) refused: Vec<(usize, String)>,
    pub(super) ack: (Ack, u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    Settled,
}

/// What to send: mostly the batch's own messages, so that they are not copied.
pub(super) enum Parcel {
    Part(Arc<Batch>, Range<usize>),
    Some(Vec<Message>),
}

impl Parcel {
    pub(super) fn messages(&self) -> &[Message] {
        match self {
            Self::Part(batch, part) => batch.messages.get(part.clone()).unwrap_or_default(),
            Self::Some(messages) => messages,
        }
    }
}

/// Units in the order of the journal, and the batch that the next ones are cut from.
#[derive(Default)]
pub(super) struct Window {
    units: VecDeque<Unit>,
    /// The batch, and its parts to come.
    backlog: Option<(Arc<Batch>, Halving)>,
    ids: u64,
}

impl Window {
    /// Whether another batch is needed.
    pub(super) fn hungry(&self) -> bool {
        self.backlog.is_none()
    }

    /// The next batch of the journal. `fits` says how many of the first of some messages one call of the sink takes.
    pub(super) fn add(&mut self, batch: Batch, fits: impl Fn(&[Message]) -> usize) {
        let part = |start| fits(batch.messages.get(start..).unwrap_or_default());
        let parts = Halving::new(batch.messages.len(), part);
        self.backlog = Some((Arc::new(batch), parts));
    }

    /// Something to send, if there is, and whose: what failed and is due, else the next part, as long as fewer than
    /// `limit` are not passed by the cursor. What is `to_park` is left out; that may leave nothing.
    pub(super) fn send(&mut self, now: Instant, limit: usize, to_park: &BTreeSet<Seq>) -> Option<(u64, Parcel)> {
        let due = self.units.iter().position(|unit| unit.state == State::Waiting && unit.lane.ready(now));
        let at = match due {
            Some(at) => at,
            None if self.units.len() < limit => self.cut()?,
            None => return None,
        };
        let unit = self.units.get_mut(at)?;
        unit.work.park(to_park);
        unit.state = State::Sent;
        let part = unit.work.part();
        let parcel = match unit.work.open(part.clone()) {
            Cow::Borrowed(_) => Parcel::Part(Arc::clone(&unit.work.batch), part),
            Cow::Owned(messages) => Parcel::Some(messages),
        };
        Some((unit.id, parcel))
    }

    /// Cuts the next part; where there is nothing to send in it, it is settled at once.
    fn cut(&mut self) -> Option<usize> {
        let (batch, mut parts) = self.backlog.take()?;
        let part = parts.next().unwrap_or(0..0);
        parts.settled();
        if parts.next().is_some() {
            self.backlog = Some((Arc::clone(&batch), parts));
        }
        let (state, steps) = if part.is_empty() {
            (State::Settled, vec![Step { part: part.clone(), refused: Vec::new(), ack: (Ack::none(), 0) }])
        } else {
            (State::Waiting, Vec::new())
        };
        self.ids += 1;
        let work = Work::of(batch, part);
        self.units.push_back(Unit { id: self.ids, work, lane: Lane::default(), steps, state });
        (state == State::Waiting).then(|| self.units.len() - 1)
    }

    /// One of them, whose answer has come: it waits until something else is said of it.
    pub(super) fn landed(&mut self, id: u64) -> Option<&mut Unit> {
        let unit = self.units.iter_mut().find(|unit| unit.id == id)?;
        unit.state = State::Waiting;
        Some(unit)
    }

    /// The units that the cursor may pass, in order.
    pub(super) fn passable(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().take_while(|unit| unit.state == State::Settled)
    }

    /// The cursor has passed this many steps of them.
    pub(super) fn passed(&mut self, mut steps: usize) {
        while let Some(unit) = self.units.front_mut().filter(|unit| unit.state == State::Settled) {
            if steps < unit.steps.len() {
                unit.steps.drain(..steps);
                return;
            }
            steps -= unit.steps.len();
            self.units.pop_front();
        }
    }

    /// What failed and holds something of this is due now.
    pub(super) fn park(&mut self, now: Instant, to_park: &BTreeSet<Seq>) {
        for unit in self.units.iter_mut().filter(|unit| unit.state == State::Waiting) {
            if unit.work.park(to_park) {
                unit.lane.later(now, Duration::ZERO);
            }
        }
    }

    /// Whether some part failed and is not taken yet.
    pub(super) fn failing(&self) -> bool {
        self.units.iter().any(|unit| unit.lane.failing())
    }

    /// When the next failed part is due.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let waiting = self.units.iter().filter(|unit| unit.state == State::Waiting);
        waiting.filter_map(|unit| unit.lane.retry_at()).min()
    }

    /// The oldest record that is read and not passed.
    pub(super) fn oldest(&self) -> Option<ReceivedAt> {
        self.batches().find_map(|batch| batch.oldest)
    }

    /// The seq behind everything that was read.
    pub(super) fn end(&self) -> Option<Seq> {
        self.batches().filter_map(|batch| batch.end()).max()
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        let backlog = self.backlog.iter().map(|(batch, ..)| batch);
        self.units.iter().map(|unit| &unit.work.batch).chain(backlog).map(AsRef::as_ref)
    }
}

impl Unit {
    /// The next part of it is settled; the rest, if there is any, is sent next.
    pub(super) fn settled(&mut self, refused: Vec<(usize, String)>, ack: Ack) {
        let attempt = self.lane.attempt();
        self.lane.well();
        self.steps.push(Step { part: self.work.part(), refused, ack: (ack, attempt) });
        self.work.halving.settled();
        if self.work.halving.next().is_none() {
            self.state = State::Settled;
        }
    }
}
