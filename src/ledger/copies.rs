//! Copies of detection's state that deleting waits for: a segment goes only once a copy at or past its end exists. Housekeeping
//! asks for one, the ledger makes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

/// Without anybody asking, a copy is made this often at least where few records come.
pub const STATE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Retention has one made no more often than this, however short it is.
const RETENTION_EVERY_MIN: Duration = Duration::from_secs(30);
/// Nor has room that is wanted …
const ROOM_EVERY_MIN: Duration = Duration::from_millis(50);
/// … and of the ledger's time copies for it take no more than one part of so many.
const ROOM_SHARE: u32 = 20;

/// Why a copy is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Segments have passed their retention.
    Retention,
    /// Segments have to make room.
    Room,
}

impl Why {
    /// How long after one copy the next may be made; `cost` is what the ledger's thread had to do for the last one.
    pub fn every(self, retention: Duration, cost: Duration) -> Duration {
        match self {
            Self::Retention => STATE_EVERY.min(retention / 2).max(RETENTION_EVERY_MIN),
            Self::Room => (cost * ROOM_SHARE).max(ROOM_EVERY_MIN),
        }
    }
}

/// Whether one is wanted, or under way.
#[derive(Clone, Default)]
pub struct Copies(Arc<AtomicU8>);

const IDLE: u8 = 0;
const FOR_RETENTION: u8 = 1;
const FOR_ROOM: u8 = 2;
const UNDER_WAY: u8 = 3;

impl Copies {
    /// Asks for one. Where one is under way, whoever asks sees first what that lets go.
    pub fn ask(&self, why: Why) {
        let wanted = match why {
            Why::Retention => FOR_RETENTION,
            Why::Room => FOR_ROOM,
        };
        self.0.fetch_max(wanted, Ordering::AcqRel);
    }

    /// Why one is wanted.
    pub fn wanted(&self) -> Option<Why> {
        match self.0.load(Ordering::Acquire) {
            FOR_RETENTION => Some(Why::Retention),
            FOR_ROOM => Some(Why::Room),
            _ => None,
        }
    }

    /// The ledger has made one, and handed it over.
    pub fn begin(&self) {
        self.0.store(UNDER_WAY, Ordering::Release);
    }

    /// It is kept, or cannot be.
    pub fn end(&self) {
        self.0.store(IDLE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_asked_for_until_it_is_made_and_not_too_often() {
        let copies = Copies::default();
        assert_eq!(copies.wanted(), None);
        copies.ask(Why::Retention);
        assert_eq!(copies.wanted(), Some(Why::Retention));
        copies.ask(Why::Room);
        copies.ask(Why::Retention);
        assert_eq!(copies.wanted(), Some(Why::Room), "the one that is in a hurry");
        copies.begin();
        copies.ask(Why::Room);
        assert_eq!(copies.wanted(), None, "under way");
        copies.end();
        copies.ask(Why::Room);
        assert_eq!(copies.wanted(), Some(Why::Room));

        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        let retention = |retention| Why::Retention.every(retention, minute).as_secs();
        assert_eq!([minute / 2, minute, 10 * minute, day, 365 * day].map(retention), [30, 30, 300, 43_200, 86_400]);
        let room = |millis| Why::Room.every(minute, Duration::from_millis(millis)).as_millis();
        assert_eq!([0, 1, 10, 500].map(room), [50, 50, 200, 10_000]);
    }
}
