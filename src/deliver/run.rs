//! The sending half of a sink's loop: takes turns between the journal's batches and what is to be delivered again.

use std::{
    ops::Range,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Context, DeliveryConfig,
    again::Redo,
    batch::{Batch, Selection},
    books::{Books, Progress},
    check_name,
    checkpoints::Vouching,
    cursor::Last,
    feed::{Feed, POLL},
    handle::{Shared, SinkHandle},
    lane::{Lane, only_about_sinks},
    status::SinkState,
    unordered::Unordered,
    work::{Outcome, Work},
};
use crate::{
    ledger::read::Reader,
    record::Seq,
    sink::{Ack, AnySink, BuildError, Message, Sink, SinkError},
    telemetry::Alarm,
};

/// While records flow the cursor is written this often at most; a crash delivers that much again.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// What is written holds the seq of each parked record that is tried again: so many of them cost another [`SAVE_EVERY`], so
/// that the disk, on which answers to events wait, has the rest of the time.
const LISTED_PER_SAVE: usize = 10_000;
/// However many are tried again, a crash delivers no more again than this long brought.
const SAVE_EVERY_MAX: Duration = Duration::from_secs(10);

fn save_every(listed: usize) -> Duration {
    let times = u32::try_from(1 + listed / LISTED_PER_SAVE).unwrap_or(u32::MAX);
    SAVE_EVERY.saturating_mul(times).min(SAVE_EVERY_MAX)
}

/// One sink and its place in the journal.
pub struct Deliverer<S = AnySink> {
    pub(super) sink: Arc<S>,
    pub(super) shared: Arc<Shared>,
    pub(super) config: DeliveryConfig,
    pub(super) selection: Arc<Selection>,
    feed: Option<mpsc::Receiver<Result<Batch, String>>>,
    pub(super) work: Option<Work>,
    /// What comes after `work`, and whether the sink was told of it since.
    pub(super) next: Option<Work>,
    pub(super) begun: bool,
    pub(super) live: Lane,
    pub(super) unordered: Unordered,
    /// When moving the cursor past what is settled out of order may be tried again.
    pub(super) pass_retry_at: Option<Instant>,
    pub(super) redo: Option<Redo>,
    pub(super) again: Lane,
    pub(super) vouching: Vouching,
    /// Where the last part of a range ended. A mutex only because a reader cannot be shared between threads.
    pub(super) reader: Mutex<Option<Reader>>,
    saved_at: Instant,
    pub(super) unsaved: bool,
}

impl<S: Sink + Send + Sync + 'static> Deliverer<S> {
    /// Reads or creates the sink's files. Fails on a wrong configuration only: files that cannot be trusted halt this sink
    /// with an alarm, and nothing else. Blocking.
    pub fn new(
        name: &str,
        config: DeliveryConfig,
        sink: S,
        context: &Context,
    ) -> Result<(Self, SinkHandle), BuildError> {
        check_name(name)?;
        config.validate().map_err(|error| BuildError(format!("sink {name}: {error}")))?;
        config.suits(&sink).map_err(|error| BuildError(format!("sink {name}: {error}")))?;
        let books = Books::open(&context.data_dir, name, &context.journal(), config.start);
        let shared = Shared::new(name.into(), context.clone(), books);
        let handle = SinkHandle(Arc::clone(&shared));
        let selection = Selection::of_sink(&config, &sink, context.key_scheme);
        let vouching = Vouching::new(name, &config, context);
        let this = Self {
            sink: Arc::new(sink),
            selection: Arc::new(selection),
            shared,
            config,
            feed: None,
            work: None,
            next: None,
            begun: false,
            live: Lane::default(),
            unordered: Unordered::default(),
            pass_retry_at: None,
            redo: None,
            again: Lane::default(),
            vouching,
            reader: Mutex::default(),
            saved_at: Instant::now(),
            unsaved: false,
        };
        Ok((this, handle))
    }

    /// Delivers until `stop` is true or its sender is gone. The batch under way is finished first; the cursor is exact
    /// but for that batch from the moment `stop` is seen, so the caller may drop this at its deadline.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !stopped(&stop) {
            self.turn(&mut stop).await;
        }
        self.finish_begun(&mut stop).await;
        self.save().await;
        self.finish_unordered().await;
        self.last_checkpoints(&mut stop).await;
        self.sink.close().await;
    }

    async fn turn(&mut self, stop: &mut watch::Receiver<bool>) {
        let due = self.unsaved && self.save_at() <= Instant::now();
        if due && !self.save().await {
            // What is delivered and not written down would be delivered again: no more of it before the disk is back.
            return wait(stop, POLL).await;
        }
        let mut busy = false;
        if !self.shared.halted() {
            busy |= if self.config.ordered { self.live_turn(stop).await } else { self.unordered_turn().await };
            busy |= !stopped(stop) && self.again_turn(stop).await;
            busy |= !stopped(stop) && self.checkpoints_turn(stop).await;
        }
        if !busy {
            self.rest(stop).await;
        }
    }

    pub(super) fn feed(&mut self) -> &mut mpsc::Receiver<Result<Batch, String>> {
        let (shared, selection, limits) = (&self.shared, &self.selection, self.config.batch);
        let read_to = self.unordered.window.end();
        self.feed.get_or_insert_with(|| {
            let feed = Feed {
                journal_dir: shared.context.journal_dir.clone(),
                selection: Arc::clone(selection),
                limits,
                synced: shared.context.synced.clone(),
            };
            // What is read and not passed is at hand.
            feed.start(read_to.unwrap_or_else(|| shared.next()))
        })
    }

    /// What is read and not settled is read again from the cursor on, when the next batch is asked for.
    pub(super) fn read_again(&mut self) {
        (self.next, self.feed) = (None, None);
    }

    pub(super) fn received(&mut self, batch: Result<Batch, String>) {
        match batch {
            Ok(batch) if !self.config.ordered => {
                self.unordered.window.add(batch, |rest| self.sink.fits(rest));
                self.shared.oldest(self.unordered.window.oldest());
            }
            Ok(batch) if self.work.is_some() => self.next = Some(Work::new(batch, |rest| self.sink.fits(rest))),
            Ok(batch) => {
                self.shared.oldest(batch.oldest);
                self.work = Some(Work::new(batch, |rest| self.sink.fits(rest)));
            }
            Err(reason) => {
                tracing::error!(sink = &*self.shared.name, "{reason}");
                self.shared.state(SinkState::Retrying, Some(reason));
            }
        }
    }

    /// Whether nothing goes on before an operator has made room among the parked records.
    pub(super) fn stands_still(&self) -> bool {
        self.has_work() && self.shared.parked() >= self.config.parked_max as u64
    }

    /// The same, and tells of it.
    pub(super) fn too_much_parked(&self) -> bool {
        if !self.stands_still() {
            return false;
        }
        let parked = self.shared.parked();
        let name = &self.shared.name;
        let message = format!(
            "sink {name} stands still: {parked} records are parked, as many as parked_max allows; \
             `refresh-audit sinks parked {name} --retry --all` or `--drop --all` makes room"
        );
        self.shared.context.alarms.raise(Alarm::SinkStuck, Some(name), message.clone());
        self.shared.state(SinkState::Stuck, Some(message));
        true
    }

    /// One call of the sink, and what it came to. A part with nothing to send is settled without one. `next` is what is to
    /// be sent after it.
    pub(super) async fn attempt(
        &self,
        work: &mut Work,
        part: Range<usize>,
        next: &[Message],
        stop: &mut watch::Receiver<bool>,
    ) -> Outcome {
        let messages = work.open(part.clone());
        let seqs: Vec<Seq> = messages.iter().map(|message| message.seq).collect();
        let result = if seqs.is_empty() { Ok(Ack::none()) } else { self.deliver(&messages, next, stop).await };
        drop(messages);
        work.outcome(part, &seqs, result)
    }

    fn has_work(&self) -> bool {
        self.work.is_some() || self.next.is_some() || !self.unordered.window.hungry()
    }

    /// Waits for the sink, whatever else happens; keeps the numbers current and the cursor written, at once when a stop
    /// is seen.
    async fn deliver(
        &self,
        messages: &[Message],
        next: &[Message],
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ack, SinkError> {
        // A library that gives up on what the other side says must not end this sink's loop with nobody to tell of it.
        let delivery = AssertUnwindSafe(self.sink.deliver_and_begin(messages, next)).catch_unwind();
        tokio::pin!(delivery);
        let mut unsaved = true;
        loop {
            let due = async {
                tokio::select! {
                    () = stopping(stop) => {}
                    () = sleep_until(self.save_at()), if self.unsaved => {}
                }
            };
            tokio::select! {
                biased;
                result = &mut delivery => {
                    return result.unwrap_or_else(|_| Err(SinkError::passing("the sink panicked: the log says where")));
                }
                () = due, if unsaved => {
                    unsaved = false;
                    if let Some(Err(error)) = self.shared.books(Books::save).await {
                        tracing::error!(sink = &*self.shared.name, %error, "the cursor cannot be written");
                    }
                }
                () = sleep(POLL) => drop(self.shared.status()),
            }
        }
    }

    /// What a settled part means for the books.
    pub(super) fn progress(
        &self,
        batch: &Batch,
        part: Range<usize>,
        refused: &[(usize, String)],
        (ack, attempt): (Ack, u32),
    ) -> Progress {
        let sent = !part.is_empty();
        let last = batch.messages.get(part.clone()).and_then(<[_]>::last).map(Last::of);
        let refused: Vec<_> = refused.iter().filter_map(|(at, reason)| batch.parked(*at, reason)).collect();
        for record in &refused {
            tracing::warn!(sink = &*self.shared.name, seq = record.seq, reason = record.reason, "record parked");
        }
        let mut stretch = batch.stretch(part);
        if sent {
            stretch.acknowledged(ack, attempt);
        }
        Progress { stretch, refused, last }
    }

    /// Says that an attempt failed.
    pub(super) fn failed(&self, batch: &Batch, reason: String, stuck: bool) {
        let name = &self.shared.name;
        tracing::warn!(sink = &**name, reason, "delivery failed; trying again");
        // The alarm first: whoever sees the state finds the alarm raised.
        if stuck && !only_about_sinks(batch) {
            let message =
                format!("sink {name} does not take records: {reason}. Nothing is lost; it goes on when mended");
            self.shared.context.alarms.raise(Alarm::SinkStuck, Some(name), message);
        }
        let state = if stuck { SinkState::Stuck } else { SinkState::Retrying };
        self.shared.state(state, Some(reason));
    }

    /// Says that it goes well.
    pub(super) fn well(&self) {
        // What cannot be delivered again stays an alarm with its reason, or each new record would clear both.
        if self.again.stuck() {
            return;
        }
        let name = &self.shared.name;
        self.shared.context.alarms.clear(Alarm::SinkStuck, Some(name), format!("sink {name} takes records again"));
        self.shared.state(SinkState::Delivering, None);
    }

    /// When what is not written down yet is due.
    fn save_at(&self) -> Instant {
        self.saved_at + save_every(self.shared.listed())
    }

    pub(super) async fn save(&mut self) -> bool {
        self.saved_at = Instant::now();
        match self.shared.books(Books::save).await {
            Some(Ok(())) => {
                self.unsaved = false;
                true
            }
            Some(Err(error)) => {
                let reason = format!("cannot write the cursor: {error}");
                tracing::error!(sink = &*self.shared.name, "{reason}");
                self.shared.state(SinkState::Retrying, Some(reason));
                false
            }
            None => false,
        }
    }

    /// Nothing to do now: waits for whatever comes first.
    async fn rest(&mut self, stop: &mut watch::Receiver<bool>) {
        let status = self.shared.look().await;
        if status.pending == 0 && !self.shared.redriving() {
            self.shared.state(SinkState::Idle, None);
        }
        let now = Instant::now();
        let retries = [
            self.live.retry_at(),
            self.unordered.window.retry_at(),
            self.pass_retry_at,
            self.again.retry_at(),
            self.vouching.retry_at(),
            self.unsaved.then(|| self.save_at()),
        ];
        let due = retries.into_iter().flatten().filter(|at| *at > now).fold(now + POLL, Instant::min);
        let waiting = !self.has_work();
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            () = stopping(stop) => {}
            () = shared.wake.notified() => {}
            landed = self.unordered.landing() => self.landed(landed),
            batch = receive(&mut self.feed), if waiting => match batch {
                Some(batch) => self.received(batch),
                None => {
                    // Its task panicked: read on from the cursor, but not in a tight loop.
                    self.feed = None;
                    tracing::error!(sink = &*shared.name, "reading the journal ended; starting it again");
                    wait(stop, POLL).await;
                }
            },
            () = sleep_until(due) => {}
        }
    }
}

async fn receive(feed: &mut Option<mpsc::Receiver<Result<Batch, String>>>) -> Option<Result<Batch, String>> {
    match feed {
        Some(feed) => feed.recv().await,
        None => std::future::pending().await,
    }
}

pub(super) fn stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

async fn stopping(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn wait(stop: &mut watch::Receiver<bool>, time: Duration) {
    tokio::select! {
        () = stopping(stop) => {}
        () = sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_listed_the_less_often_it_is_written() {
        let millis = |listed| save_every(listed).as_millis();
        assert_eq!(
            [0, 9_999, 10_000, 100_000, 10_000_000, usize::MAX].map(millis),
            [100, 100, 200, 1_100, 10_000, 10_000]
        );
    }
}
