//! What the ledger holds in memory, and how it comes back from disk: the journal's end and the dedupe window. Loaded the
//! same way at start and after a failed write, so that memory never says more than a restart would.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    dedupe::{self, Dedupe, IdLine},
    filter::{self, Filters},
    journal::{Tail, Writer},
    read::{Item, Reader, started},
    recovery::{self, CutTail, Damage},
    segment::{self, journal_dir},
    spill::Store,
    state::{self, Remembered},
};
use crate::{
    detect::{Policy, judge::Judge},
    record::{Kind, Record, Seq},
    time::ReceivedAt,
};

/// Records read at a time while the window is being read.
const REPLAY_RECORDS: usize = 4_096;
/// Bytes read at a time while the window is being read.
const REPLAY_BYTES: usize = 4 << 20;
/// How often reading the window says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Where things are and how wide the window is.
#[derive(Clone)]
pub struct Places {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The journal's id.
    pub journal: String,
    /// `dedupe.window`.
    pub window: Duration,
    /// `journal.segment`.
    pub segment_bytes: u64,
    /// `[detect]`, `[gate]` and `[[suppress]]`.
    pub policy: Policy,
}

impl Places {
    /// `journal/`.
    pub fn journal_dir(&self) -> PathBuf {
        journal_dir(&self.data_dir)
    }

    /// `damaged/`.
    pub fn damaged_dir(&self) -> PathBuf {
        self.data_dir.join("damaged")
    }

    /// `state/alarms.json`: what is raised, so that a restart does not raise it again.
    pub fn alarms_file(&self) -> PathBuf {
        self.data_dir.join("state").join("alarms.json")
    }

    /// `state/`.
    pub fn state_dir(&self) -> PathBuf {
        self.data_dir.join("state")
    }

    /// `index/`.
    pub fn index_dir(&self) -> PathBuf {
        self.data_dir.join("index")
    }

    /// `index/filters/`.
    pub fn filters_dir(&self) -> PathBuf {
        self.index_dir().join("filters")
    }
}

/// See the module.
pub struct Core {
    /// Where the next record goes.
    pub tail: Tail,
    /// The open end of the journal.
    pub writer: Writer,
    /// The dedupe window.
    pub dedupe: Dedupe,
    /// What detection remembers.
    pub judge: Judge,
    /// First seq and length of the open segment, as far as it is synced.
    pub synced: (Seq, u64),
}

/// What loading found that someone should know.
#[derive(Default)]
pub struct Found {
    /// A torn tail that was cut.
    pub cut: Option<CutTail>,
    /// Damage in the last segment.
    pub damage: Vec<Damage>,
    /// Sessions and users that should be on disk and are not.
    pub lost: usize,
    /// What detection learned up to here needs the journal no more.
    pub copied: Seq,
}

/// Loads everything from disk; what detection remembers beside memory is in the store.
pub fn load(places: &Places, now: ReceivedAt) -> io::Result<(Core, Found, Store)> {
    let recovered = recovery::recover(&places.journal_dir(), &places.damaged_dir(), places.segment_bytes)?;
    let last = recovered.tail.next - 1;
    let now = recovered.tail.last_received.map_or(now, |received| received.min(now));
    let filters = load_filters(places, last, now)?;
    let (judge, store, lost, copied) = load_judge(places, last, now)?;
    let synced = recovered.writer.position();
    let dedupe = Dedupe::new(places.window, filters);
    let core = Core { tail: recovered.tail, writer: recovered.writer, dedupe, judge, synced };
    Ok((core, Found { cut: recovered.cut, damage: recovered.damage, lost, copied }, store))
}

/// The filters up to `last`: the durable copy and the journal after it, or the journal alone.
fn load_filters(places: &Places, last: Seq, now: ReceivedAt) -> io::Result<Filters> {
    let bucket_secs = Dedupe::bucket_secs(places.window);
    let oldest = dedupe::oldest_bucket(now, places.window, bucket_secs);
    let mut filters = match filter::load(&places.filters_dir(), &places.journal, bucket_secs) {
        Some(saved) if saved.covered() <= last => saved,
        doubtful => {
            if doubtful.is_some() {
                // Ahead of the journal: once that has grown past it, it would pass for whole.
                filter::forget(&places.filters_dir())?;
            }
            let mut none = Filters::default();
            none.cover(first_within(places, now, places.window)?.saturating_sub(1));
            none
        }
    };
    let said = "reading the dedupe window from the journal";
    each_line(places, (filters.covered() + 1, last), said, |line| replay(line, bucket_secs, &mut filters))?;
    filters.cover(last);
    filters.expire(oldest);
    Ok(filters)
}

/// What detection remembers up to `last`: its durable copy and the journal after it, or as much of the journal as it would
/// remember. The same where detection is off: that it was on is known by what was recorded, and so is the change.
fn load_judge(places: &Places, last: Seq, now: ReceivedAt) -> io::Result<(Judge, Store, usize, Seq)> {
    let dir = places.state_dir();
    let loaded = match state::load(&dir, &places.journal, last) {
        Some(loaded) => loaded,
        None => {
            let first = first_within(places, now, places.policy.detect.session_kept.get())?.saturating_sub(1);
            let decided = state::decided(&dir, &places.journal, last).unwrap_or_default();
            // Nothing that was decided is passed over: what is read again ends in what applies.
            Remembered { seq: if decided.seq == 0 { first } else { first.min(decided.seq) }, ..decided }
        }
    };
    let Remembered { seq: covered, memory, spilled } = loaded;
    let mut store = Store::open(&dir, &spilled, &memory.state);
    let lost = memory.state.outside().saturating_sub(store.len());
    // What was never recorded as changed is the default.
    let mut judge = Judge::new(&Policy::default(), memory);
    each_line(places, (covered + 1, last), "detection learns from the journal what it had learned", |line| {
        // A line of a later version teaches nothing.
        if let Ok(record) = serde_json::from_slice::<Record>(line) {
            judge.remember(&record, &mut store);
        }
    })?;
    Ok((judge, store, lost, covered))
}

/// Shows `take` the journal's good lines from one seq to another; says now and then how far it is.
fn each_line(places: &Places, (from, to): (Seq, Seq), said: &str, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut reader = Reader::new(&places.journal_dir(), from);
    let mut told = Instant::now();
    while reader.next() <= to {
        let items = reader.read(to, REPLAY_RECORDS, REPLAY_BYTES)?;
        if items.is_empty() {
            break;
        }
        for item in items {
            if let Item::Line { text, .. } = item {
                take(&text);
            }
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            tracing::info!(seq = reader.next() - 1, of = to, "{said}");
        }
    }
    Ok(())
}

fn replay(line: &[u8], bucket_secs: u64, filters: &mut Filters) {
    // A line that checks but does not parse was written by a later version; its id is not ours to know.
    let Ok(record) = serde_json::from_slice::<IdLine<'_>>(line) else { return };
    if let Some(key) = record.key().filter(|_| record.kind == Kind::Event) {
        filters.insert(dedupe::bucket_of(record.received_at, bucket_secs), record.seq, &key);
    }
}

/// The first seq of the newest segment that begins more than `span` ago, as far as can be read.
fn first_within(places: &Places, now: ReceivedAt, span: Duration) -> io::Result<Seq> {
    let segments = segment::list(&places.journal_dir())?;
    let is_before = |segment: &&segment::Segment| started(segment).is_some_and(|started| now.since(started) > span);
    Ok(segments.iter().rev().find(is_before).map_or(1, |segment| segment.first))
}
