//! The journal's share of the disk: how much may still be written, and what gives way when it is used up.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Consumers, JournalConfig, WhenFull,
    segment::{self, OpenFrom},
};
use crate::{
    files,
    record::Seq,
    telemetry::{Alarm, Alarms, Metrics},
};

/// The disk is called low when this many tenths of `journal.max_bytes` are used …
const LOW_TENTHS: u64 = 9;
/// … and no longer when it is fewer than these: in between it is as it was.
const WELL_TENTHS: u64 = 5;
/// The disk is called low at this many times what must stay free.
const LOW_FACTOR: u64 = 2;
/// Records were dropped once, and no more, when nothing was deleted for so long.
const CALM_AFTER: Duration = Duration::from_secs(600);

/// Bytes that may still be written: as of the last look at the disk, less what was written since. The thread that writes
/// takes from it, so that no limit is overrun between two looks.
#[derive(Clone)]
pub struct Room {
    left: Arc<AtomicI64>,
    /// With less than this it is time to look again.
    low: i64,
}

impl Room {
    /// Whether nothing fits behind so many bytes that are not taken yet.
    pub fn is_used_up(&self, staged: usize) -> bool {
        self.left.load(Ordering::Relaxed) <= signed(staged as u64)
    }

    /// Takes what was written; true once it becomes low.
    pub fn take(&self, bytes: usize) -> bool {
        let bytes = signed(bytes as u64);
        let before = self.left.fetch_sub(bytes, Ordering::Relaxed);
        before >= self.low && before - bytes < self.low
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Looks at the disk.
pub struct Disk {
    journal_dir: PathBuf,
    open: OpenFrom,
    config: JournalConfig,
    consumers: Consumers,
    alarms: Alarms,
    metrics: Arc<Metrics>,
    room: Room,
    /// Whether the journal's size was why the alarm was raised: that ends well below where it began.
    is_large: bool,
    /// What was deleted since the alarm was raised.
    dropped: Option<(Seq, Seq)>,
    dropped_at: Instant,
}

/// How the disk is.
#[derive(Clone, Copy)]
struct Found {
    /// Of the journal.
    bytes: u64,
    /// On the disk.
    free: u64,
}

impl Disk {
    /// Has not looked yet.
    pub fn new(
        journal_dir: PathBuf,
        open: OpenFrom,
        config: JournalConfig,
        consumers: Consumers,
        (alarms, metrics): (Alarms, Arc<Metrics>),
    ) -> Self {
        // Before it has looked it is in nobody's way.
        let room = Room { left: Arc::new(AtomicI64::new(i64::MAX)), low: signed(headroom(&config) / 2) };
        Self {
            journal_dir,
            open,
            config,
            consumers,
            alarms,
            metrics,
            room,
            is_large: false,
            dropped: None,
            dropped_at: Instant::now(),
        }
    }

    /// Where others see how much is left.
    pub fn room(&self) -> Room {
        self.room.clone()
    }

    /// Looks, makes room where it may, and says how it is. `vouch` hears of the last segment that goes, and its last seq.
    pub fn watch(&mut self, vouch: impl FnOnce(&segment::Segment, Seq)) -> io::Result<()> {
        let mut found = self.look()?;
        if self.config.when_full == WhenFull::DropUndelivered && self.left(found) < signed(headroom(&self.config)) {
            self.make_room(found, vouch)?;
            found = self.look()?;
        }
        let left = self.left(found);
        self.room.left.store(left, Ordering::Relaxed);
        self.metrics.journal_bytes.set(signed(found.bytes));
        self.consumers.begins_with(segment::list(&self.journal_dir)?.first().map_or(0, |oldest| oldest.first));
        self.say(found, left <= 0);
        if self.dropped_at.elapsed() >= CALM_AFTER {
            let what = self.dropped.take().map_or_else(String::new, |(first, last)| format!("seq {first} to {last}: "));
            self.alarms.clear(Alarm::RecordsDropped, None, format!("{what}nothing more was deleted for ten minutes"));
        }
        Ok(())
    }

    fn look(&self) -> io::Result<Found> {
        let disk = rustix::fs::statvfs(&self.journal_dir)?;
        Ok(Found { bytes: bytes_in(&self.journal_dir)?, free: disk.f_bavail.saturating_mul(disk.f_frsize) })
    }

    fn left(&self, found: Found) -> i64 {
        let of_max = signed(self.config.max_bytes.get()) - signed(found.bytes);
        of_max.min(signed(found.free) - signed(self.config.min_free.get()))
    }

    fn say(&mut self, Found { bytes, free }: Found, is_full: bool) {
        let (max, min_free) = (self.config.max_bytes.get(), self.config.min_free.get());
        let (low, well) = (max / 10 * LOW_TENTHS, max / 10 * WELL_TENTHS);
        self.is_large = bytes >= low || (self.is_large && bytes >= well);
        if is_full || bytes >= low || free < min_free.saturating_mul(LOW_FACTOR) {
            let does = match self.config.when_full {
                _ if is_full => "nothing more is recorded",
                WhenFull::Refuse => "recording stops when it is used up",
                WhenFull::DropUndelivered => "the oldest records give way, delivered or not",
            };
            let message = format!(
                "the journal takes {bytes} of {max} bytes (journal.max_bytes) and {free} bytes are free \
                 (journal.min_free is {min_free}): {does}; free space, or raise the limit"
            );
            self.alarms.raise(Alarm::DiskLow, None, message);
        } else if !self.is_large {
            self.alarms.clear(Alarm::DiskLow, None, "there is room again");
        }
    }

    /// Deletes the oldest sealed segments, needed or not, until there is room for what comes before the next look.
    fn make_room(&mut self, mut found: Found, vouch: impl FnOnce(&segment::Segment, Seq)) -> io::Result<()> {
        let segments = segment::list(&self.journal_dir)?;
        let mut going = 0;
        for oldest in &segments[..segments.len().saturating_sub(1)] {
            if self.left(found) >= signed(headroom(&self.config)) || !self.open.is_behind(oldest) {
                break;
            }
            let bytes = fs::metadata(&oldest.path)?.len();
            found = Found { bytes: found.bytes.saturating_sub(bytes), free: found.free + bytes };
            going += 1;
        }
        if let (Some(last), Some(first)) = (segments[..going].last(), segments.get(going)) {
            vouch(last, first.first - 1);
        }
        for (oldest, following) in segments.iter().zip(&segments[1.min(segments.len())..]).take(going) {
            fs::remove_file(&oldest.path)?;
            self.dropped(oldest.first, following.first - 1);
        }
        files::sync_dir(&self.journal_dir)
    }

    /// One alarm for as long as it goes on; each deletion is logged.
    fn dropped(&mut self, first: Seq, last: Seq) {
        let lost = self.consumers.undelivered().unwrap_or(Seq::MAX) <= last;
        tracing::warn!(first, last, undelivered = lost, "a journal file was deleted to make room");
        self.dropped = Some((self.dropped.map_or(first, |(first, _)| first), last));
        self.dropped_at = Instant::now();
        let lost = if lost { "; sinks had not taken all of it" } else { "" };
        let message = format!(
            "seq {first} to {last} were deleted to make room (journal.when_full = \"drop_undelivered\"), and more as it is \
             needed{lost}"
        );
        self.alarms.raise(Alarm::RecordsDropped, None, message);
    }
}

/// What is kept free for what comes between two looks: two segments, or a quarter where the journal holds few of them.
fn headroom(config: &JournalConfig) -> u64 {
    config.segment.get().saturating_mul(2).min(config.max_bytes.get() / 4)
}

/// Bytes of all files of the journal.
fn bytes_in(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        // It may be gone by now.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::AlarmState, units::ByteSize};

    const SEGMENT: usize = 64 << 10;

    fn disk(dir: &Path, when_full: WhenFull) -> Disk {
        let config = JournalConfig {
            segment: ByteSize::new(SEGMENT as u64),
            max_bytes: ByteSize::new(8 * SEGMENT as u64),
            min_free: ByteSize::new(0),
            when_full,
            ..JournalConfig::default()
        };
        let consumers = Consumers::default();
        consumers.complete();
        let (metrics, open) = (Metrics::new(), OpenFrom::default());
        open.begins(Seq::MAX);
        Disk::new(dir.to_owned(), open, config, consumers, (Alarms::new(Arc::clone(&metrics)), metrics))
    }

    fn write(dir: &Path, first: Seq) {
        fs::write(segment::plain_path(dir, first), vec![b'x'; SEGMENT]).unwrap();
    }

    #[test]
    fn what_is_written_between_two_looks_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = disk(dir.path(), WhenFull::Refuse);
        write(dir.path(), 1);
        disk.watch(|_, _| {}).unwrap();
        let room = disk.room();
        // 8 segments less one; less than a segment is low.
        assert!(!room.is_used_up(7 * SEGMENT - 1) && room.is_used_up(7 * SEGMENT));
        assert!(!room.take(5 * SEGMENT) && !room.take(SEGMENT) && room.take(1) && !room.take(1));
        assert!(!room.is_used_up(0) && !room.take(SEGMENT) && room.is_used_up(0));
        // It looks again: it was not written after all.
        disk.watch(|_, _| {}).unwrap();
        assert!(!room.is_used_up(7 * SEGMENT - 1));
    }

    #[test]
    fn as_many_segments_give_way_as_are_in_the_way_under_one_alarm() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = disk(dir.path(), WhenFull::DropUndelivered);
        for first in 1..=20 {
            write(dir.path(), first);
        }
        disk.watch(|_, _| {}).unwrap();
        for first in 21..=40 {
            write(dir.path(), first);
            disk.watch(|_, _| {}).unwrap();
            // 8 fit, two are kept free.
            let left: Vec<Seq> = segment::list(dir.path()).unwrap().iter().map(|segment| segment.first).collect();
            assert_eq!(left, (first - 5..=first).collect::<Vec<_>>());
            assert!(!disk.room().is_used_up(0));
        }
        let changes = |name: Alarm| -> Vec<AlarmState> {
            let pending = disk.alarms.pending(0).into_iter().map(|(_, change)| change);
            pending.filter(|change| change.name == name.name()).map(|change| change.state).collect()
        };
        assert_eq!(changes(Alarm::RecordsDropped), [AlarmState::Raised]);
        assert_eq!(disk.dropped, Some((1, 34)));
        assert!(changes(Alarm::DiskLow).len() <= 1, "{:?}", changes(Alarm::DiskLow));
    }

    #[test]
    fn room_that_others_took_and_gave_back_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = disk(dir.path(), WhenFull::Refuse);
        let (max, min_free) = (disk.config.max_bytes.get(), 1_000);
        disk.config.min_free = ByteSize::new(min_free);
        let mut is_raised = |tenths: u64, free: u64| {
            disk.say(Found { bytes: max / 10 * tenths, free }, false);
            !disk.alarms.raised().is_empty()
        };
        // 90 % of max_bytes is low, and twice min_free; 50 % is well.
        assert_eq!([is_raised(7, 9_000), is_raised(7, 1_999), is_raised(7, 2_000)], [false, true, false]);
        assert_eq!([is_raised(9, 9_000), is_raised(7, 9_000), is_raised(4, 9_000)], [true, true, false]);
        assert_eq!([is_raised(9, 1_000), is_raised(7, 9_000), is_raised(4, 1_000)], [true, true, true]);
    }

    #[test]
    fn the_open_segment_never_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = disk(dir.path(), WhenFull::DropUndelivered);
        fs::write(segment::plain_path(dir.path(), 1), vec![b'x'; 9 * SEGMENT]).unwrap();
        disk.watch(|_, _| {}).unwrap();
        assert!(disk.room().is_used_up(0) && segment::plain_path(dir.path(), 1).exists());
    }
}
