//! Housekeeping behind the ledger, on a thread of its own: compresses sealed segments, signs checkpoints, keeps durable
//! copies of the dedupe filters, deletes what retention lets go, looks for damage, and watches the disk.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Consumers, JournalConfig, begin,
    chain::Hash,
    checkpoint::{self, Checkpoint},
    compress::compress,
    disk::{Disk, Room},
    filter::{self, Filters},
    read::started,
    recovery,
    scrub::Scrub,
    segment::{self, OpenFrom, Segment},
    spill::Needed,
    state,
};
use crate::{
    detect::judge::Memory,
    files,
    record::Seq,
    telemetry::{Alarm, Alarms, Metrics},
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
    /// Sign that this record has this hash.
    Checkpoint(Checkpoint),
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
    forgets_at: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

/// Retention has heard no instant yet.
const NEVER: i64 = i64::MIN;

impl Keeper {
    /// Looks at the disk once, then starts the thread.
    pub fn start(home: Home, checkpoints: Option<checkpoint::Log>, scrub: Scrub) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let mut work = Work::new(home, checkpoints, scrub);
        let (room, open, forgets_at) = (work.disk.room(), work.home.open.clone(), Arc::clone(&work.forgets_at));
        work.watch_disk();
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(move || work.run(&inbox))?;
        Ok(Self { jobs, room, open, forgets_at, thread: Some(thread) })
    }

    /// The open segment begins with this seq: what is before it may be compressed, and deleted.
    pub fn opened(&self, first: Seq) {
        self.open.begins(first);
        self.hand(Job::Sealed);
    }

    /// What is older than `retention` at this instant may go.
    pub fn forget_as_of(&self, at: ReceivedAt) {
        self.forgets_at.store(at.micros(), Ordering::Release);
    }

    /// Hands a job over; it is left undone where too many wait.
    pub fn hand(&self, job: Job) {
        let Err(TrySendError::Full(job)) = self.jobs.try_send(job) else { return };
        let what = match job {
            Job::Checkpoint(_) => "a checkpoint",
            Job::SaveFilters(_) => "a copy of the dedupe filters",
            Job::SaveState(..) => "a copy of detection's state",
            // The next look does it all.
            Job::Sealed | Job::Look | Job::Stop => return,
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
            self.hand(Job::Look);
        }
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
    checkpoints: Option<checkpoint::Log>,
    scrub: Scrub,
    disk: Disk,
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
    fn new(home: Home, checkpoints: Option<checkpoint::Log>, scrub: Scrub) -> Self {
        let told = (home.alarms.clone(), Arc::clone(&home.metrics));
        let (dir, open) = (home.journal_dir.clone(), home.open.clone());
        let disk = Disk::new(dir, open, home.config.clone(), home.consumers.clone(), told);
        Self { home, checkpoints, scrub, disk, forgets_at: Arc::new(AtomicI64::new(NEVER)), saving: None }
    }

    fn run(&mut self, inbox: &Receiver<Job>) {
        // Behind everything that someone waits for. Where the system refuses, it is merely less polite.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let mut tidied: Option<Instant> = None;
        let mut watched = Some(Instant::now());
        let mut scrubbed = Instant::now();
        if let Err(error) = self.vouch_for_last_sealed() {
            tracing::warn!(%error, "whether the last sealed segment has its checkpoint is not known");
        }
        loop {
            match inbox.recv_timeout(if self.saving.is_some() { NEEDED_LOOK_EVERY } else { DISK_EVERY }) {
                Ok(Job::Sealed) => (tidied, watched) = (None, None),
                Ok(Job::Look) => watched = None,
                Ok(Job::Checkpoint(checkpoint)) => self.checkpoint(&checkpoint),
                Ok(Job::SaveFilters(filters)) => self.save(&filters),
                Ok(Job::SaveState(seq, memory, needed)) => {
                    self.saving = Some(Saving { seq, memory, needed, since: Instant::now() });
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return self.save_state(NEEDED_WAIT_MAX),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.save_state(Duration::ZERO);
            if tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
                tidied = Some(Instant::now());
                if let Err(error) = self.tidy() {
                    tracing::warn!(%error, "the journal cannot be tidied now; it is tried again");
                }
            }
            if watched.is_none_or(|watched| watched.elapsed() >= DISK_EVERY) {
                watched = Some(Instant::now());
                self.watch_disk();
            }
            if scrubbed.elapsed() >= DISK_EVERY {
                scrubbed = Instant::now();
                if let Err(error) = self.scrub.go_on() {
                    tracing::warn!(%error, "looking for damage in the journal does not go on now; it is tried again");
                }
            }
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let Some(log) = &mut self.checkpoints else { return };
        if let Err(error) = log.append(checkpoint) {
            tracing::warn!(%error, seq = checkpoint.seq, "a checkpoint cannot be written; the next one covers it");
        }
    }

    fn save(&self, filters: &Filters) {
        let home = &self.home;
        if let Err(error) = filter::save(filters, &home.filters_dir, &home.journal, home.bucket_secs) {
            tracing::warn!(%error, "the dedupe filters cannot be saved; the next start reads the journal instead");
        }
    }

    /// Keeps the copy as soon as what it needs is written; nothing else waits for that, unless `wait` says so.
    fn save_state(&mut self, wait: Duration) {
        let Some(saving) = self.saving.take() else { return };
        let needed = match saving.needed.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) if saving.since.elapsed() + wait < NEEDED_WAIT_MAX => {
                self.saving = Some(saving);
                return;
            }
            needed => needed.map_err(|_| io::Error::other("what it needs is not known")),
        };
        let Saving { seq, memory, .. } = saving;
        let home = &self.home;
        match needed.and_then(|needed| state::save(&home.state_dir, &home.journal, seq, &memory, &needed)) {
            Ok(()) => home.consumers.copied(seq),
            Err(error) => {
                tracing::warn!(%error, "detection's state cannot be saved; the next start learns it from the journal");
            }
        }
    }

    /// Compresses sealed segments and deletes what retention lets go.
    fn tidy(&mut self) -> io::Result<()> {
        let (dir, open) = (&self.home.journal_dir, &self.home.open);
        let segments = segment::list(dir)?;
        let plain = segments.iter().filter(|segment| open.is_behind(segment) && !segment.compressed);
        // One that cannot be compressed is in the way of no other, and of nothing that may go.
        let compressed = plain.map(|segment| compress(dir, segment)).fold(Ok(()), Result::and);
        self.retain().and(compressed)
    }

    /// A segment has passed its retention when a later one began that long ago.
    fn retain(&mut self) -> io::Result<()> {
        let at = self.forgets_at.load(Ordering::Acquire);
        if at == NEVER {
            return Ok(());
        }
        let (now, needed) = (ReceivedAt::from_micros(at), self.home.consumers.lowest().unwrap_or(Seq::MAX));
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
        if let (Some(last), Some(first)) = (segments[..passed].last(), segments.get(passed)) {
            let mut end = End::of(&self.home, last, first.first - 1);
            // On a full disk it has to go all the same: then there is room to sign for it.
            let signed = end.let_go(&self.home, &mut self.checkpoints);
            for old in &segments[..passed] {
                tracing::info!(first = old.first, "a segment has passed its retention");
                fs::remove_file(&old.path)?;
                files::sync_dir(&self.home.journal_dir)?;
            }
            if signed.is_err() {
                end.let_go(&self.home, &mut self.checkpoints)?;
            }
        }
        Ok(())
    }

    /// Signs for the end of the segment that was sealed last, where a stop came before that. Only where what comes before it is
    /// vouched for: where older checkpoints are lost, that shows.
    fn vouch_for_last_sealed(&mut self) -> io::Result<()> {
        let segments = segment::list(&self.home.journal_dir)?;
        let [.., sealed, open] = &segments[..] else { return Ok(()) };
        let signed = checkpoint::read(&self.home.journal_dir, None)?;
        let ours = signed.iter().filter_map(|note| note.checkpoint.as_ref());
        let highest = ours.filter(|signed| signed.journal() == self.home.journal).map(|signed| signed.seq).max();
        let is_missing = (sealed.first - 1..open.first - 1).contains(&highest.unwrap_or(0));
        if is_missing {
            End::of(&self.home, sealed, open.first - 1).vouch(&self.home, &mut self.checkpoints)?;
        }
        Ok(())
    }

    fn watch_disk(&mut self) {
        let Self { home, checkpoints, disk, .. } = self;
        let mut unsigned = None;
        let watched = disk.watch(|last, seq| {
            let mut end = End::of(home, last, seq);
            if end.let_go(home, checkpoints).is_err() {
                unsigned = Some(end);
            }
        });
        // Now there may be room for it.
        if let Some(Err(error)) = unsigned.map(|mut end| end.let_go(home, checkpoints)) {
            tracing::warn!(%error, "that records were deleted to make room is signed with the next ones");
        }
        if let Err(error) = watched {
            tracing::warn!(%error, "how full the disk is cannot be seen now; it is tried again");
        }
    }
}

/// The last record of segments, and what has to be signed for it.
struct End {
    seq: Seq,
    /// None where it cannot be read.
    hash: Option<Hash>,
    /// Whether a checkpoint is there; where a stop or a full disk was in the way when it was sealed, it is not.
    is_vouched_for: bool,
}

impl End {
    fn of(home: &Home, last: &Segment, seq: Seq) -> Self {
        let hash = recovery::scan(last).ok().and_then(|scan| scan.hash_of_last(seq));
        let signed = recovery::checkpoints(&home.journal_dir);
        let mut ours = signed.iter().filter_map(|note| note.checkpoint.as_ref());
        let is_vouched_for = ours.any(|note| note.seq == seq && note.journal() == home.journal);
        Self { seq, hash, is_vouched_for }
    }

    /// Signs a checkpoint for it, so that what is left begins with what one vouches for.
    fn vouch(&mut self, home: &Home, log: &mut Option<checkpoint::Log>) -> io::Result<()> {
        let (Some(log), Some(hash), false) = (log, self.hash, self.is_vouched_for) else { return Ok(()) };
        log.append(&Checkpoint { origin: format!("{}/{}", home.node, home.journal), seq: self.seq, hash })?;
        self.is_vouched_for = true;
        Ok(())
    }

    /// Signs that everything up to it is let go; before it is, so that a stop in between accuses nobody.
    fn let_go(&mut self, home: &Home, log: &mut Option<checkpoint::Log>) -> io::Result<()> {
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
#[path = "keeper_tests.rs"]
mod tests;
