//! What the rest of the program sees of a running sink: how it stands, and an operator's commands.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, task};

use super::{
    Context,
    books::Books,
    parked::{Listed, Page},
    place,
    requests::{RequestError, Triage},
    status::{SinkState, Status},
};
use crate::{record::Seq, telemetry::Alarm, time::ReceivedAt};

/// What the loop and its handles share.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) context: Context,
    /// Rings when a command changed the books.
    pub(super) wake: Notify,
    books: Mutex<Books>,
    view: Mutex<View>,
    redriving: AtomicBool,
    cancels: AtomicU64,
    listed: AtomicUsize,
}

/// How the sink stands as of the last change; read without waiting for a disk.
#[derive(Default)]
struct View {
    status: Status,
    /// The oldest record that is read and not settled.
    oldest: Option<ReceivedAt>,
    /// To be parked unsent.
    to_park: Arc<BTreeSet<Seq>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(name: Arc<str>, context: Context, books: Books) -> Arc<Self> {
        let shared = Self {
            name,
            context,
            wake: Notify::new(),
            view: Mutex::default(),
            redriving: AtomicBool::new(false),
            cancels: AtomicU64::new(0),
            listed: AtomicUsize::new(0),
            books: Mutex::new(books),
        };
        shared.after(&lock(&shared.books));
        Arc::new(shared)
    }

    /// Works on the books off the runtime, then shows how they stand.
    pub(super) async fn books<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = Arc::clone(self);
        let done = task::spawn_blocking(move || {
            let mut books = lock(&shared.books);
            let result = work(&mut books);
            shared.after(&books);
            result
        });
        // `None` only where the work panicked or the runtime is going down.
        done.await.inspect_err(|error| tracing::error!(%error, "work on a sink's files was cut short")).ok()
    }

    /// Everything that follows from the books as they are now.
    fn after(&self, books: &Books) {
        let name = Some(&*self.name);
        self.context.consumers.set(&self.name, books.needed());
        self.redriving.store(!books.redriving().is_empty(), Ordering::Relaxed);
        self.cancels.store(books.cancels(), Ordering::Relaxed);
        self.listed.store(books.listed(), Ordering::Relaxed);
        let alarms = &self.context.alarms;
        match books.halted() {
            Some(reason) => {
                alarms.raise(Alarm::CursorAhead, name, format!("sink {} stands still: {reason}", self.name))
            }
            None => alarms.clear(Alarm::CursorAhead, name, format!("sink {} goes on", self.name)),
        }
        let parked = books.cursor().parked;
        if parked > 0 {
            let message = format!(
                "sink {0} refused {parked} records for good: `refresh-audit sinks parked {0}` lists them, `--retry` or \
                 `--drop` decides",
                self.name
            );
            alarms.raise(Alarm::RecordParked, name, message);
        } else if books.halted().is_none() {
            alarms.clear(Alarm::RecordParked, name, format!("sink {} has no parked record", self.name));
        }
        let mut view = lock(&self.view);
        let before = std::mem::take(&mut view.status);
        let mut status = Status::of(&self.name, books, *self.context.synced.borrow());
        if status.state != SinkState::Halted {
            if before.state != SinkState::Halted {
                status.state = before.state;
            }
            status.last_error = before.last_error.filter(|_| before.state != SinkState::Halted);
        }
        view.status = status;
        if *view.to_park != books.cursor().to_park {
            view.to_park = Arc::new(books.cursor().to_park.clone());
        }
    }

    /// Records that an operator wants parked unsent.
    pub(super) fn to_park(&self) -> Arc<BTreeSet<Seq>> {
        Arc::clone(&lock(&self.view).to_park)
    }

    pub(super) fn redriving(&self) -> bool {
        self.redriving.load(Ordering::Relaxed)
    }

    /// As [`Books::cancels`].
    pub(super) fn cancels(&self) -> u64 {
        self.cancels.load(Ordering::Relaxed)
    }

    /// As [`Books::listed`].
    pub(super) fn listed(&self) -> usize {
        self.listed.load(Ordering::Relaxed)
    }

    pub(super) fn parked(&self) -> u64 {
        lock(&self.view).status.parked
    }

    pub(super) fn halted(&self) -> bool {
        lock(&self.view).status.state == SinkState::Halted
    }

    /// Notes what the loop is doing; `error` stays until the next call without one that says it went well.
    pub(super) fn state(&self, state: SinkState, error: Option<String>) {
        let mut view = lock(&self.view);
        if view.status.state == SinkState::Halted {
            return;
        }
        view.status.state = state;
        view.status.last_error = match (state, error) {
            (_, Some(error)) => Some(error),
            (SinkState::Idle | SinkState::Delivering, None) => None,
            (_, None) => view.status.last_error.take(),
        };
    }

    /// Notes the oldest record at hand.
    pub(super) fn oldest(&self, oldest: Option<ReceivedAt>) {
        lock(&self.view).oldest = oldest;
    }

    /// Where its books say that it is.
    pub(super) fn next(&self) -> Seq {
        lock(&self.view).status.next
    }

    /// The same; of a sink that stands still it looks up how old the oldest record is, which nobody else reads then.
    pub(super) async fn look(&self) -> Status {
        let status = self.status();
        if status.state == SinkState::Halted && status.pending > 0 && lock(&self.view).oldest.is_none() {
            let (journal, next) = (self.context.journal(), status.next);
            let oldest = task::spawn_blocking(move || place::received_at(&journal, next)).await;
            self.oldest(oldest.ok().flatten());
        }
        status
    }

    /// How it stands now; brings the metrics up to date, too.
    pub(super) fn status(&self) -> Status {
        let view = lock(&self.view);
        let (mut status, oldest, synced) = (view.status.clone(), view.oldest, *self.context.synced.borrow());
        drop(view);
        status.follow(synced);
        status.begins_with(self.context.consumers.begins(), synced);
        let oldest = oldest.filter(|_| status.pending > 0);
        status.lag_seconds = oldest.map_or(0.0, |oldest| ReceivedAt::wall().since(oldest).as_secs_f64());
        status.publish(&self.context.metrics);
        status
    }
}

/// One running sink. Cheap to clone.
#[derive(Clone)]
pub struct SinkHandle(pub(super) Arc<Shared>);

impl SinkHandle {
    /// The configured name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it stands. Never waits; also brings the sink's metrics up to date, so call it before they are read.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Delivers a range again; `to` = the last settled seq where it is not given. On disk when it returns: how many
    /// records that is at most. Where the sink is halted, it starts again at `from` instead, counted anew.
    pub async fn redeliver(&self, from: Seq, to: Option<Seq>) -> Result<u64, RequestError> {
        let journal = self.0.context.journal();
        self.ask(move |books| books.redeliver(from, to, &journal)).await
    }

    /// Says why [`SinkHandle::redeliver`] would not be done.
    pub async fn check_redeliver(&self, from: Seq, to: Option<Seq>) -> Result<u64, RequestError> {
        let journal = self.0.context.journal();
        self.ask(move |books| books.check_redeliver(from, to, &journal)).await
    }

    /// Says why [`SinkHandle::triage`] would not be done.
    pub async fn check_triage(&self, triage: Triage) -> Result<u64, RequestError> {
        let synced = self.0.context.journal().synced;
        self.ask(move |books| books.check_triage(&triage, synced)).await
    }

    /// Decides about single records. On disk when it returns: how many.
    pub async fn triage(&self, triage: Triage) -> Result<u64, RequestError> {
        let synced = self.0.context.journal().synced;
        self.ask(move |books| books.triage(&triage, synced)).await
    }

    /// How many records [`SinkHandle::cancel`] would be about; says why it would not be done.
    pub async fn check_cancel(&self) -> Result<u64, RequestError> {
        self.ask(|books| books.check_cancel()).await
    }

    /// Takes back whatever waits to be delivered again. On disk when it returns: how many records.
    pub async fn cancel(&self) -> Result<u64, RequestError> {
        self.ask(Books::cancel).await
    }

    /// What is parked, a page of it: the loop works on between two.
    pub async fn parked(&self, page: Page) -> Result<Vec<Listed>, RequestError> {
        self.ask(move |books| books.parked_page(page)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let result = self.0.books(work).await;
        self.0.wake.notify_one();
        result.unwrap_or_else(|| {
            Err(RequestError::Refused("the service is stopping: ask again when it is up".to_owned()))
        })
    }
}
