//! The one thread that admits: drains its queue, writes what is new as one batch, syncs once, answers all.
//!
//! A batch is a transaction: on any error everything held in memory is dropped and loaded again from disk, and every
//! waiter hears that nothing is known. The thread waits for the disk and for nothing else.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Admission, Command, Entry, QueueShare, Settings, Unavailable,
    asked::{Asked, Watched},
    cellar::SpillThread,
    chain,
    clock::{self, Clock},
    cold::{ColdQueue, Fetched},
    core::{Core, Places},
    dedupe::{Known, Lookup},
    filter::IdKey,
    keeper::Keeper,
    lookup::JournalLookup,
    reply::{Answer, Reply},
    room::Roomless,
};
use crate::{
    record::{Draft, Evidence, Kind, OperatorAction, Seq},
    time::ReceivedAt,
};

/// Entries in one batch at most: bounds how long the first waits for the last.
const BATCH_RECORDS_MAX: usize = 1_024;
/// A batch is closed at this size; with one record on top it stays below [`super::recovery::TAIL_BYTES_MAX`].
pub const BATCH_BYTES_MAX: usize = 2 << 20;
/// Priority of the thread (on Linux of the thread alone): 5 steps above the rest, where the process may.
const PRIORITY: i32 = -5;
/// A batch as large as this says that many send at once; then the next one waits for more.
const CROWD_MIN: usize = 4;
/// How long it waits. A sync takes longer and costs as much processor time as some ten records, so fewer and larger
/// batches serve everyone sooner; asleep, the thread is not woken by each that comes.
const LINGER: Duration = Duration::from_micros(100);
/// How often the thread looks around when nothing comes in.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// The same while entries wait for a look-up, or for room.
const ASKED_WAIT: Duration = Duration::from_millis(5);
/// The sender's instant may be this far ahead before it is called skewed.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// The sender's instant may be this far behind before it is called skewed.
const BEHIND_MAX: Duration = Duration::from_secs(30 * 86_400);

/// An entry and who waits for it.
pub struct Waiting {
    /// The entry.
    pub entry: Box<Entry>,
    /// The key of its id.
    pub key: IdKey,
    /// When it came.
    pub asked: Instant,
    /// What was brought for it, of what is not in memory.
    pub fetched: Fetched,
    /// What it takes of the queue, for as long as it is there: whether or not its sender waits.
    pub(super) _room: QueueShare,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What is staged and not yet synced.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    pub(super) first: Option<Seq>,
    /// The hash before the first record.
    pub(super) prev: chain::Hash,
    pub(super) at: Option<ReceivedAt>,
    pub(super) ids: Vec<(IdKey, Known)>,
    pub(super) answers: Vec<(Reply, Answer)>,
    /// The number of the last alarm change in it; 0 = none.
    pub(super) alarms: u64,
}

impl Batch {
    /// Puts one record behind the others; `None` when it cannot be written as JSON.
    pub(super) fn stage(&mut self, core: &mut Core, draft: &Draft<'_>) -> Option<Seq> {
        let start = self.lines.len();
        if let Err(error) = serde_json::to_writer(&mut self.lines, draft) {
            self.lines.truncate(start);
            tracing::error!(%error, "a record cannot be written as JSON and is refused");
            return None;
        }
        if self.first.is_none() {
            self.first = Some(draft.seq);
            self.prev = core.tail.hash;
        }
        core.tail.hash = chain::seal_line(&mut self.lines, start, &core.tail.hash);
        core.tail.next = draft.seq + 1;
        core.tail.last_received = Some(draft.received_at);
        self.at.get_or_insert(draft.received_at);
        Some(draft.seq)
    }
}

/// The thread's own.
pub struct Admitter {
    pub(super) settings: Settings,
    pub(super) places: Places,
    pub(super) core: Option<Core>,
    pub(super) clock: Clock,
    pub(super) synced: watch::Sender<Seq>,
    pub(super) keeper: Keeper,
    pub(super) index: Watched,
    pub(super) lookup: JournalLookup,
    pub(super) batch: Batch,
    /// Answers in the last batch.
    pub(super) committed: usize,
    pub(super) asked: Asked,
    /// Of what is not in memory.
    pub(super) spill: SpillThread,
    pub(super) cold: ColdQueue,
    pub(super) roomless: Roomless,
    /// Where the synced part of the open segment ends: what a failed batch is cut back to.
    pub(super) cut_to: (Seq, u64),
    pub(super) tried: Instant,
    /// It was opened again after a failure, and nothing was written since.
    pub(super) is_unproved: bool,
    pub(super) chores: Instant,
    pub(super) checked: Instant,
    pub(super) checkpointed: (Instant, Seq),
    pub(super) filters_saved: Seq,
    pub(super) state_saved: (Instant, Seq),
    /// When a copy of detection's state was made last because somebody had asked, and what it cost this thread.
    pub(super) state_asked: Option<(Instant, Duration)>,
}

impl Admitter {
    /// Everything is loaded; nothing has been admitted.
    pub fn new(
        settings: Settings,
        places: Places,
        core: Core,
        clock: Clock,
        synced: watch::Sender<Seq>,
        helpers: (Keeper, Watched, JournalLookup, SpillThread),
    ) -> Self {
        let now = Instant::now();
        let last = core.tail.next - 1;
        let (keeper, index, lookup, spill) = helpers;
        Self {
            cut_to: core.synced,
            settings,
            places,
            core: Some(core),
            clock,
            synced,
            keeper,
            index,
            lookup,
            batch: Batch::default(),
            committed: 0,
            asked: Asked::default(),
            spill,
            cold: ColdQueue::default(),
            roomless: Roomless::default(),
            tried: now,
            is_unproved: false,
            chores: now,
            checked: now,
            checkpointed: (now, last),
            filters_saved: 0,
            state_saved: (now, last),
            state_asked: None,
        }
    }

    /// Works until told to stop, or until nobody can ask any more.
    pub fn run(mut self, inbox: &Receiver<Command>) {
        // Every sender waits for this thread. Where the system does not allow it, it is as any other.
        let _ = rustix::process::setpriority_process(None, PRIORITY);
        let mut running = true;
        self.stage_config();
        while running {
            let nobody_waits = self.asked.is_empty() && self.cold.is_empty() && self.roomless.is_empty();
            match inbox.recv_timeout(if nobody_waits { IDLE_WAIT } else { ASKED_WAIT }) {
                Ok(command) => {
                    running = self.handle(command) && self.drain(inbox);
                    if running && self.is_crowded() {
                        thread::sleep(LINGER);
                        running = self.drain(inbox);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => running = false,
            }
            self.give_up_waiting();
            self.go_on_with_room();
            self.stage_alarms();
            self.commit();
            self.look_around();
        }
        self.finish();
    }

    /// Takes what waits, up to a full batch. False when it is time to stop.
    fn drain(&mut self, inbox: &Receiver<Command>) -> bool {
        while !self.batch_is_full() {
            let Ok(command) = inbox.try_recv() else { break };
            if !self.handle(command) {
                return false;
            }
        }
        true
    }

    /// Whether more is about to come: the last batch had many, and this one has few.
    fn is_crowded(&self) -> bool {
        self.committed >= CROWD_MIN && self.batch.answers.len() < 2 * self.committed && !self.batch_is_full()
    }

    pub(super) fn batch_is_full(&self) -> bool {
        self.batch.answers.len() >= BATCH_RECORDS_MAX || self.batch.lines.len() >= BATCH_BYTES_MAX
    }

    /// False when it is time to stop.
    fn handle(&mut self, command: Command) -> bool {
        match command {
            Command::Admit(waiting) => self.admit(waiting),
            Command::Operator(action, reply) => self.operator(&action, reply),
            Command::Applications(reply) => self.tell_applications(reply),
            Command::Incidents(reply) => self.tell_incidents(reply),
            Command::Index(generation, reply) => self.index_says(generation, reply),
            Command::Journal(answer) => self.journal_says(answer),
            Command::Cold(answer) => self.cold_says(answer),
            Command::Stop => return false,
        }
        true
    }

    pub(super) fn admit(&mut self, waiting: Waiting) {
        if waiting.reply.is_closed() {
            return;
        }
        if !self.is_open() {
            waiting.reply.send(Admission::Unavailable(Unavailable::StorageFailed));
            return;
        }
        let key = waiting.key;
        let Err(waiting) = self.asked.join(&key, waiting) else { return };
        let Some(core) = &self.core else { return };
        match core.dedupe.lookup(&key) {
            Lookup::New => self.record(waiting),
            Lookup::Known(known) => self.duplicate(waiting, known),
            Lookup::Ask(_) if !self.asked.has_room() => {
                waiting.reply.send(Admission::Unavailable(Unavailable::LookupFailed));
            }
            Lookup::Ask(stretches) => {
                let token = self.asked.open(key, stretches.clone(), waiting);
                if self.index.lookup(token, key, &stretches) {
                    if let Some(question) = self.asked.get(token) {
                        question.index_asked = Some(Instant::now());
                    }
                } else {
                    self.ask_journal(token);
                }
            }
        }
    }

    pub(super) fn record(&mut self, waiting: Waiting) {
        if waiting.reply.is_closed() {
            return;
        }
        if self.lacks_room() {
            self.wait_for_room(waiting);
            return;
        }
        let (at, entry) = (self.now(), &waiting.entry);
        let now = self.clock.judging(ReceivedAt::wall());
        let mut evidence =
            judge_instant(entry.evidence.clone(), entry.event.occurred_at.millis(), now, self.places.window);
        let Some((waiting, guests)) = self.with_guests(waiting, &mut evidence, at) else { return };
        let entry = waiting.entry;
        let ruling = self.judge(&entry, guests, &evidence, at);
        let Some(core) = &mut self.core else { return };
        let draft = Draft {
            source: Some(&entry.source),
            evidence: Some(&evidence),
            event: Some(&entry.event_json),
            findings: &ruling.findings,
            verdict: ruling.verdict.as_ref(),
            ..Draft::new(&self.places.journal, &self.settings.node, core.tail.next, Kind::Event, at)
        };
        let Some(seq) = self.batch.stage(core, &draft) else {
            core.judge.take_unwritten();
            return;
        };
        let denied = ruling.denies();
        let known =
            Known { seq, bucket: core.dedupe.bucket(at), body: cut(&entry.body_sha256), denied, replayed: false };
        core.dedupe.insert(waiting.key, known);
        self.batch.ids.push((waiting.key, known));
        let answer = if denied { Admission::Denied { seq } } else { Admission::Accepted { seq } };
        self.batch.answers.push((waiting.reply, (answer, Some(entry))));
        self.stage_incidents(at);
    }

    fn operator(&mut self, action: &OperatorAction, reply: Reply) {
        if !self.is_open() {
            reply.send(Admission::Unavailable(Unavailable::StorageFailed));
            return;
        }
        let at = self.now();
        let Some(core) = &mut self.core else { return };
        let head = Draft::new(&self.places.journal, &self.settings.node, core.tail.next, Kind::Operator, at);
        if let Some(seq) = self.batch.stage(core, &Draft { operator: Some(action), ..head }) {
            core.dedupe.pass(seq);
            self.batch.answers.push((reply, (Admission::Accepted { seq }, None)));
            self.operated(action);
        }
    }

    fn stage_alarms(&mut self) {
        if !self.settings.alarms.any_pending(self.batch.alarms) || !self.is_open() {
            return;
        }
        for (number, change) in self.settings.alarms.pending(self.batch.alarms) {
            let at = self.now();
            let Some(core) = &mut self.core else { return };
            let head = Draft::new(&self.places.journal, &self.settings.node, core.tail.next, Kind::Alarm, at);
            if let Some(seq) = self.batch.stage(core, &Draft { alarm: Some(&change), ..head }) {
                core.dedupe.pass(seq);
            }
            self.batch.alarms = number;
        }
    }

    pub(super) fn now(&mut self) -> ReceivedAt {
        self.clock.tick(ReceivedAt::wall(), clock::steady())
    }
}

/// What the ledger adds to the evidence: whether the sender's instant is too old to be sure of dedupe, or off.
pub fn judge_instant(evidence: Evidence, occurred_millis: i64, at: ReceivedAt, window: Duration) -> Evidence {
    let behind = (at.micros() / 1_000).saturating_sub(occurred_millis);
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Evidence {
        stale: behind > millis(window),
        clock_skew: behind > millis(BEHIND_MAX) || behind < -millis(AHEAD_MAX),
        ..evidence
    }
}

/// The part of a body's hash that dedupe remembers.
pub(super) fn cut(hash: &[u8; 32]) -> [u8; 8] {
    let mut cut = [0; 8];
    cut.copy_from_slice(&hash[..8]);
    cut
}
