//! Housekeeping behind the ledger, on a thread of its own: compresses sealed segments, signs checkpoints, keeps durable
//! copies of the dedupe filters, deletes what retention lets go, looks for damage, and watches the disk.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Consumers, JournalConfig,
    checkpoint::Checkpoint,
    compress::compress,
    copies::{Copies, Why},
    disk::{Disk, Room},
    filter::{self, Filters},
    read::started,
    scrub::Scrub,
    seals::{Due, End, Signing},
    segment::{self, OpenFrom},
    spill::Needed,
    state,
};
use crate::{
    detect::judge::Memory,
    files,
    record::Seq,
    telemetry::{Alarms, Metrics},
    time::ReceivedAt,
};

/// Jobs that may wait.
const JOBS_MAX: usize = 256;
/// How often the disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// How often segments are compressed and retention is applied, when nothing was sealed.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// How long to wait for what a copy of detection's state needs: what was evicted before has to be written first.
const NEEDED_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often to look whether it is.
const NEEDED_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Priority of the thread (on Linux of the thread alone): 10 steps below the rest of the service.
const NICENESS: i32 = 10;

/// What the ledger hands over.
pub enum Job {
    /// A segment was sealed.
    Sealed,
    /// Room has become low.
    Look,
    /// Something is to be signed.
    Sign,
    /// Keep a copy of the filters.
    SaveFilters(Box<Filters>),
    /// Keep a copy of what detection remembers after this seq, with what it needs beside it.
    SaveState(Seq, Box<Memory>, Receiver<Needed>),
    /// End after what came before.
    Stop,
}

/// What the thread works on.
pub struct Home {
    /// `journal/`.
    pub journal_dir: PathBuf,
    /// `index/filters/`.
    pub filters_dir: PathBuf,
    /// `state/`.
    pub state_dir: PathBuf,
    /// The instance's name.
    pub node: String,
    /// The journal's id.
    pub journal: String,
    /// Width of a dedupe bucket.
    pub bucket_secs: u64,
    /// `[journal]`.
    pub config: JournalConfig,
    /// What is sealed.
    pub open: OpenFrom,
    /// Who still needs what.
    pub consumers: Consumers,
    /// Asks for copies of detection's state.
    pub copies: Copies,
    /// Where trouble goes.
    pub alarms: Alarms,
    /// Where numbers go.
    pub metrics: Arc<Metrics>,
}

/// The way to the thread.
pub struct Keeper {
    jobs: SyncSender<Job>,
    room: Room,
    open: OpenFrom,
    due: Due,
    copies: Copies,
    /// Whether a look at the disk is asked for already.
    looks: Arc<AtomicBool>,
    forgets_at: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

/// Retention has heard no instant yet.
const NEVER: i64 = i64::MIN;

impl Keeper {
    /// Looks at the disk once, then starts the thread.
    pub fn start(home: Home, signing: Signing, scrub: Scrub) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let mut work = Work::new(home, signing, scrub);
        let (room, due, looks) = (work.disk.room(), work.signing.due(), Arc::clone(&work.looks));
        let (open, copies) = (work.home.open.clone(), work.home.copies.clone());
        let forgets_at = Arc::clone(&work.forgets_at);
        work.watch_disk();
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(move || work.run(&inbox))?;
        Ok(Self { jobs, room, open, due, copies, looks, forgets_at, thread: Some(thread) })
    }

    /// The open segment begins with this seq: what is before it may be compressed, and deleted.
    pub fn opened(&self, first: Seq) {
        self.open.begins(first);
        self.hand(Job::Sealed);
    }

    /// A segment was closed, and this says with which record.
    pub fn sealed(&self, checkpoint: Checkpoint) {
        let first = checkpoint.seq + 1;
        self.due.seal(checkpoint);
        self.opened(first);
    }

    /// Whether the segment that was closed last is vouched for; no other is closed before.
    pub fn is_sealed(&self) -> bool {
        self.due.is_sealed()
    }

    /// Signs that this record has this hash.
    pub fn sign(&self, checkpoint: Checkpoint) {
        self.due.sign(checkpoint);
        self.hand(Job::Sign);
    }

    /// What is older than `retention` at this instant may go.
    pub fn forget_as_of(&self, at: ReceivedAt) {
        self.forgets_at.store(at.micros(), Ordering::Release);
    }

    /// Hands a job over; it is left undone where too many wait.
    pub fn hand(&self, job: Job) {
        let Err(TrySendError::Full(job)) = self.jobs.try_send(job) else { return };
        let what = match job {
            Job::SaveFilters(_) => "a copy of the dedupe filters",
            Job::SaveState(..) => {
                self.copies.end();
                "a copy of detection's state"
            }
            // The next look does it all.
            Job::Sealed | Job::Look | Job::Sign | Job::Stop => return,
        };
        tracing::warn!("housekeeping is behind: {what} is left out; the next one covers it");
    }

    /// Whether the journal may not grow by more than what is staged.
    pub fn is_full(&self, staged: usize) -> bool {
        self.room.is_used_up(staged)
    }

    /// So much was written.
    pub fn written(&self, bytes: usize) {
        if self.room.take(bytes) {
            self.look();
        }
    }

    /// Has room made, where it is used up; whether any may come.
    pub fn makes_room(&self) -> bool {
        let may_come = self.room.may_come();
        if may_come {
            self.look();
        }
        may_come
    }

    fn look(&self) {
        if !self.looks.swap(true, Ordering::AcqRel) {
            self.hand(Job::Look);
        }
    }

    /// Hands over a copy of what detection remembers after this seq, with what it needs beside it.
    pub fn save_state(&self, seq: Seq, memory: Box<Memory>, needed: Receiver<Needed>) {
        self.copies.begin();
        self.hand(Job::SaveState(seq, memory, needed));
    }

    /// Why a copy of detection's state is wanted, where it is.
    pub fn wants_copy(&self) -> Option<Why> {
        self.copies.wanted()
    }

    /// Finishes the jobs that wait, and ends.
    pub fn stop(&mut self) {
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    home: Home,
    signing: Signing,
    scrub: Scrub,
    disk: Disk,
    looks: Arc<AtomicBool>,
    /// By which instant retention goes: the ledger's, see [`Clock::tick_to_forget`](super::clock::Clock::tick_to_forget).
    forgets_at: Arc<AtomicI64>,
    /// A copy of detection's state whose needs are still being written.
    saving: Option<Saving>,
}

struct Saving {
    seq: Seq,
    memory: Box<Memory>,
    needed: Receiver<Needed>,
    since: Instant,
}

impl Work {
    fn new(home: Home, signing: Signing, scrub: Scrub) -> Self {
        let told = (home.alarms.clone(), Arc::clone(&home.metrics));
        let (dir, open) = (home.journal_dir.clone(), home.open.clone());
        let disk = Disk::new(dir, open, home.config.clone(), (home.consumers.clone(), home.copies.clone()), told);
        let (looks, forgets_at) = (Arc::default(), Arc::new(AtomicI64::new(NEVER)));
        Self { home, signing, scrub, disk, looks, forgets_at, saving: None }
    }

    fn run(&mut self, inbox: &Receiver<Job>) {
        // Behind everything that someone waits for. Where the system refuses, it is merely less polite.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let mut tidied: Option<Instant> = None;
        let mut watched = Some(Instant::now());
        let mut scrubbed = Instant::now();
        loop {
            let job = inbox.recv_timeout(if self.saving.is_some() { NEEDED_LOOK_EVERY } else { DISK_EVERY });
            self.signing.go_on();
            match job {
                Ok(Job::Sealed) => tidied = None,
                Ok(Job::Look) => watched = None,
                Ok(Job::SaveFilters(filters)) => self.save(&filters),
                Ok(Job::SaveState(seq, memory, needed)) => {
                    self.saving = Some(Saving { seq, memory, needed, since: Instant::now() });
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Job::Sign) | Err(RecvTimeoutError::Timeout) => {}
            }
            if self.save_state(Duration::ZERO) {
                // What waited for it may go.
                tidied = None;
            }
            if tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
                (tidied, watched) = (Some(Instant::now()), None);
                if let Err(error) = self.tidy() {
                    tracing::warn!(%error, "the journal cannot be tidied now; it is tried again");
                }
            }
            if watched.is_none_or(|watched| watched.elapsed() >= DISK_EVERY) {
                watched = Some(Instant::now());
                self.looks.store(false, Ordering::Release);
                self.watch_disk();
            }
            if scrubbed.elapsed() >= DISK_EVERY {
                scrubbed = Instant::now();
                if let Err(error) = self.scrub.go_on() {
                    tracing::warn!(%error, "looking for damage in the journal does not go on now; it is tried again");
                }
            }
        }
        self.save_state(NEEDED_WAIT_MAX);
    }

    fn save(&self, filters: &Filters) {
        let home = &self.home;
        if let Err(error) = filter::save(filters, &home.filters_dir, &home.journal, home.bucket_secs) {
            tracing::warn!(%error, "the dedupe filters cannot be saved; the next start reads the journal instead");
        }
    }

    /// Keeps the copy as soon as what it needs is written; nothing else waits for that, unless `wait` says so. True where that
    /// is over, one way or the other.
    fn save_state(&mut self, wait: Duration) -> bool {
        let Some(saving) = self.saving.take() else { return false };
        let needed = match saving.needed.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) if saving.since.elapsed() + wait < NEEDED_WAIT_MAX => {
                self.saving = Some(saving);
                return false;
            }
            needed => needed.map_err(|_| io::Error::other("what it needs is not known")),
        };
        let Saving { seq, memory, .. } = saving;
        let home = &self.home;
        let saved = needed.and_then(|needed| state::save(&home.state_dir, &home.journal, seq, &memory, &needed));
        self.disk.copied(saved.is_ok());
        match saved {
            Ok(()) => home.consumers.copied(seq),
            Err(error) => {
                tracing::warn!(%error, "detection's state cannot be saved; the next start learns it from the journal");
            }
        }
        home.copies.end();
        true
    }

    /// Compresses sealed segments and deletes what retention lets go. Whoever waits for room meanwhile waits for one file at
    /// most; who waits for a checkpoint does not wait: the open file would grow as long.
    fn tidy(&mut self) -> io::Result<()> {
        let mut compressed = Ok(());
        for plain in segment::list(&self.home.journal_dir)?.iter().filter(|segment| !segment.compressed) {
            if self.disk.is_low() {
                self.watch_disk();
            }
            // One that cannot be compressed is in the way of no other, and of nothing that may go.
            if self.home.open.is_behind(plain) && plain.path.exists() {
                let done = compress(&self.home.journal_dir, plain, &mut || self.signing.go_on());
                compressed = compressed.and(done);
            }
        }
        self.retain().and(compressed)
    }

    /// A segment has passed its retention when a later one began that long ago.
    fn retain(&mut self) -> io::Result<()> {
        let at = self.forgets_at.load(Ordering::Acquire);
        if at == NEVER {
            return Ok(());
        }
        let (now, needed) = (ReceivedAt::from_micros(at), self.home.consumers.undelivered().unwrap_or(Seq::MAX));
        let segments = segment::list(&self.home.journal_dir)?;
        let mut passed = 0;
        for (number, following) in segments.iter().enumerate().skip(1) {
            if following.first > needed || !self.home.open.is_behind(&segments[number - 1]) {
                break;
            }
            match started(following).map(|started| now.since(started) > self.home.config.retention.get()) {
                Some(true) => passed = number,
                Some(false) => break,
                // Its beginning is damaged: the one behind it tells.
                None => {}
            }
        }
        // Of what was before this one detection has a copy.
        let uncopied = self.home.consumers.uncopied();
        if passed > 0 && segments[passed].first > uncopied {
            self.home.copies.ask(Why::Retention);
            passed = segments.partition_point(|segment| segment.first <= uncopied).saturating_sub(1);
        }
        if let (Some(last), Some(first)) = (segments[..passed].last(), segments.get(passed)) {
            let mut end = End::of(&self.home, last, first.first - 1);
            // On a full disk it has to go all the same: then there is room to sign for it.
            let signed = end.let_go(&self.home, &mut self.signing.log);
            for old in &segments[..passed] {
                tracing::info!(first = old.first, "a segment has passed its retention");
                fs::remove_file(&old.path)?;
                files::sync_dir(&self.home.journal_dir)?;
            }
            if signed.is_err() {
                end.let_go(&self.home, &mut self.signing.log)?;
            }
        }
        Ok(())
    }

    fn watch_disk(&mut self) {
        let Self { home, signing, disk, .. } = self;
        let mut unsigned = None;
        let watched = disk.watch(|last, seq| {
            let mut end = End::of(home, last, seq);
            if end.let_go(home, &mut signing.log).is_err() {
                unsigned = Some(end);
            }
        });
        // Now there may be room for it.
        if let Some(Err(error)) = unsigned.map(|mut end| end.let_go(home, &mut signing.log)) {
            tracing::warn!(%error, "that records were deleted to make room is signed with the next ones");
        }
        if let Err(error) = watched {
            tracing::warn!(%error, "how full the disk is cannot be seen now; it is tried again");
        }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
