//! The journal's share of the disk: how much may still be written, and what gives way when it is used up.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Consumers, JournalConfig, WhenFull,
    copies::{Copies, Why},
    segment::{self, OpenFrom, Segment},
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
    /// Whether more is made as it is used up.
    may_come: Arc<AtomicBool>,
}

impl Room {
    /// Whether nothing fits behind so many bytes that are not taken yet.
    pub fn is_used_up(&self, staged: usize) -> bool {
        self.left.load(Ordering::Relaxed) <= signed(staged as u64)
    }

    /// Whether it is worth waiting for more.
    pub fn may_come(&self) -> bool {
        self.may_come.load(Ordering::Acquire)
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
    copies: Copies,
    /// The last copy of detection's state that was asked for could not be made.
    has_no_copy: bool,
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
        (consumers, copies): (Consumers, Copies),
        (alarms, metrics): (Alarms, Arc<Metrics>),
    ) -> Self {
        // Before it has looked it is in nobody's way.
        let (left, may_come) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::default());
        let room = Room { left, low: signed(headroom(&config) / 2), may_come };
        Self {
            journal_dir,
            open,
            config,
            consumers,
            copies,
            has_no_copy: false,
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

    /// Whether room is low, by what was taken of it since the last look.
    pub fn is_low(&self) -> bool {
        self.room.left.load(Ordering::Relaxed) < self.room.low
    }

    /// Whether a copy of detection's state could be made. On a full disk it cannot: it needs the room that it holds back.
    pub fn copied(&mut self, is_kept: bool) {
        self.has_no_copy = !is_kept;
    }

    /// Looks, makes room where it may, and says how it is. `vouch` hears of the last segment that goes, and its last seq.
    pub fn watch(&mut self, vouch: impl FnOnce(&Segment, Seq)) -> io::Result<()> {
        // What is taken from here on is not seen for sure; it counts, for once too much rather than not at all.
        let before = self.room.left.load(Ordering::Relaxed);
        let mut found = self.look()?;
        let gives_way = self.config.when_full == WhenFull::DropUndelivered && self.make_room(&mut found, vouch)?;
        let left = self.left(found);
        self.room.left.fetch_add(left.wrapping_sub(before), Ordering::Relaxed);
        self.room.may_come.store(gives_way, Ordering::Release);
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

    /// Deletes the oldest sealed segments, needed by sinks or not, until there is room for what comes before the next look.
    /// Whether it can go on like that.
    fn make_room(&mut self, found: &mut Found, vouch: impl FnOnce(&Segment, Seq)) -> io::Result<bool> {
        let segments = segment::list(&self.journal_dir)?;
        let (going, _) = self.in_the_way(&segments, *found, headroom(&self.config))?;
        if let (Some(last), Some(first)) = (segments[..going].last(), segments.get(going)) {
            vouch(last, first.first - 1);
            for (oldest, following) in segments.iter().zip(&segments[1..]).take(going) {
                fs::remove_file(&oldest.path)?;
                self.dropped(oldest.first, following.first - 1);
            }
            files::sync_dir(&self.journal_dir)?;
            self.has_no_copy = false;
            *found = self.look()?;
        }
        // Before it is needed: making a copy takes its time, too.
        let (_, waits) = self.in_the_way(&segments[going..], *found, 2 * headroom(&self.config))?;
        if waits {
            self.copies.ask(Why::Room);
        }
        Ok(waits || going > 0 || self.left(*found) > 0)
    }

    /// How many of the oldest have to go until so much room is left; fewer where the next one waits for a copy of what
    /// detection learned from it, and whether it does.
    fn in_the_way(&self, segments: &[Segment], mut found: Found, room: u64) -> io::Result<(usize, bool)> {
        let uncopied = if self.has_no_copy { Seq::MAX } else { self.consumers.uncopied() };
        for (going, (oldest, following)) in segments.iter().zip(segments.iter().skip(1)).enumerate() {
            if self.left(found) >= signed(room) || !self.open.is_behind(oldest) {
                return Ok((going, false));
            }
            if following.first > uncopied {
                return Ok((going, true));
            }
            let bytes = fs::metadata(&oldest.path)?.len();
            found = Found { bytes: found.bytes.saturating_sub(bytes), free: found.free + bytes };
        }
        Ok((segments.len().saturating_sub(1), false))
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
#[path = "disk_tests.rs"]
mod tests;
