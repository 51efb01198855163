//! `received_at`: never decreases, never stands still and, while running, advances no faster than the monotonic clock. So
//! neither a clock set forward nor one set back can age out what the ledger and the detectors remember, or stop what goes by
//! the minute.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::time::ReceivedAt;

/// The wall clock may run this far off before it is called a jump.
const DRIFT_MAX: Duration = Duration::from_secs(300);
/// How long nothing expires after a forward jump at start.
pub const GRACE: Duration = Duration::from_secs(600);

/// The ledger's clock.
pub struct Clock {
    anchor: ReceivedAt,
    started: Duration,
    last: ReceivedAt,
    ticked: Duration,
    expires_from: Duration,
}

/// Time since some instant before this start, that nobody can set. It goes on while the machine sleeps.
pub fn steady() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// What the wall clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// It is later than the journal's last record and the time since allow.
    Forward(Duration),
    /// At a start: the journal's last record is longer ago than the window. Nobody can tell why.
    Unseen(Duration),
    /// It is earlier than the journal's last record.
    Backward(Duration),
}

impl Clock {
    /// Starts at the wall clock, or at the last record's instant if that is later. A last record longer ago than
    /// `window` is a forward jump as far as anyone can tell: nothing expires for [`GRACE`].
    pub fn start(wall: ReceivedAt, last: Option<ReceivedAt>, window: Duration, now: Duration) -> (Self, Option<Jump>) {
        let last = last.unwrap_or(wall);
        let jump = if wall.since(last) > window {
            Some(Jump::Unseen(wall.since(last)))
        } else if last.since(wall) > DRIFT_MAX {
            Some(Jump::Backward(last.since(wall)))
        } else {
            None
        };
        let grace = if matches!(jump, Some(Jump::Unseen(_))) { GRACE } else { Duration::ZERO };
        // A wall clock that is behind and set right meanwhile is not held back by where it began.
        let anchor = wall.max(last);
        (Self { anchor, started: now, last, ticked: now, expires_from: now + grace }, jump)
    }

    /// The next record's instant. Behind the last one the wall clock is waited for at half the speed: so it is caught up
    /// with, and minutes still pass.
    pub fn tick(&mut self, wall: ReceivedAt, now: Duration) -> ReceivedAt {
        let at = wall.min(self.anchor.plus(now.saturating_sub(self.started)));
        let slowed = self.last.plus(now.saturating_sub(self.ticked) / 2);
        self.last = if at < self.last { slowed } else { at };
        self.ticked = now;
        self.last
    }

    /// What the sender's instant is compared with: the wall clock where records are held at a later instant.
    pub fn judging(&self, wall: ReceivedAt) -> ReceivedAt {
        self.last.min(wall)
    }

    /// How far the wall clock has left this one, if it is more than a drift.
    pub fn jumped(&self, wall: ReceivedAt, now: Duration) -> Option<Jump> {
        let ahead = wall.since(self.anchor.plus(now.saturating_sub(self.started)));
        let behind = self.last.since(wall);
        match () {
            () if ahead > DRIFT_MAX => Some(Jump::Forward(ahead)),
            () if behind > DRIFT_MAX => Some(Jump::Backward(behind)),
            () => None,
        }
    }

    /// Ticks; the instant that what is old is forgotten by: the earlier one where journal and wall clock differ, since what is kept
    /// for a time is kept for that at least. None while the wall clock may have jumped.
    pub fn tick_to_forget(&mut self, wall: ReceivedAt, now: Duration) -> Option<ReceivedAt> {
        let at = self.tick(wall, now).min(wall);
        (now >= self.expires_from).then_some(at)
    }

    /// The last instant given out.
    pub fn last(&self) -> ReceivedAt {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(secs: i64) -> ReceivedAt {
        ReceivedAt::from_micros(secs * 1_000_000)
    }

    const NOW: Duration = Duration::from_secs(77);

    fn later(secs: u64) -> Duration {
        NOW + Duration::from_secs(secs)
    }

    #[test]
    fn a_wall_clock_set_forward_while_running_does_not_move_it() {
        let (mut clock, jump) = Clock::start(at(1_000), None, HOUR, NOW);
        assert_eq!(jump, None);
        assert_eq!(clock.tick(at(1_002), later(2)), at(1_002));
        assert_eq!(clock.tick(at(900_000), later(3)), at(1_003));
        assert_eq!(clock.judging(at(900_000)), at(1_003));
        assert_eq!(clock.jumped(at(900_000), later(3)), Some(Jump::Forward(Duration::from_secs(898_997))));
    }

    #[test]
    fn a_wall_clock_set_back_slows_it() {
        let (mut clock, jump) = Clock::start(at(1_000), Some(at(5_000)), HOUR, NOW);
        assert_eq!(jump, Some(Jump::Backward(Duration::from_secs(4_000))));
        assert_eq!(clock.tick(at(1_002), later(2)), at(5_001));
        assert_eq!(clock.jumped(at(1_002), later(2)), Some(Jump::Backward(Duration::from_secs(3_999))));
        assert_eq!(clock.tick(at(0), later(120)), at(5_060));
        // Who sends now is not late because a clock was ahead once.
        assert_eq!(clock.judging(at(1_120)), at(1_120));
        // Caught up with: as much again.
        assert_eq!((clock.tick(at(9_060), later(8_060)), clock.jumped(at(9_060), later(8_060))), (at(9_060), None));
        // Set back while running.
        let (mut clock, _) = Clock::start(at(1_000), None, HOUR, NOW);
        assert_eq!(clock.tick(at(1_010), later(10)), at(1_010));
        assert_eq!(clock.tick(at(1_000), later(14)), at(1_012));
        assert_eq!(clock.tick(at(1_010), later(24)), at(1_017));
        assert_eq!(clock.tick(at(1_020), later(34)), at(1_020));
    }

    #[test]
    fn a_wall_clock_that_is_set_right_after_the_start_is_followed() {
        // A day behind when it starts, as without a clock of its own, and right ten seconds later.
        let (mut clock, jump) = Clock::start(at(10_000), Some(at(96_400)), HOUR, NOW);
        assert_eq!(jump, Some(Jump::Backward(Duration::from_secs(86_400))));
        assert_eq!(clock.tick(at(96_410), later(10)), at(96_410));
        assert_eq!(clock.tick(at(96_470), later(70)), at(96_470));
        assert_eq!(clock.jumped(at(96_470), later(70)), None);
    }

    #[test]
    fn after_a_forward_jump_at_start_nothing_expires_for_ten_minutes() {
        let (mut clock, jump) = Clock::start(at(10_000), Some(at(1_000)), HOUR, NOW);
        assert_eq!(jump, Some(Jump::Unseen(Duration::from_secs(9_000))));
        assert_eq!(clock.tick_to_forget(at(10_599), later(599)), None);
        assert_eq!(clock.tick_to_forget(at(10_600), later(600)), Some(at(10_600)));
        let (mut clock, jump) = Clock::start(at(4_000), Some(at(1_000)), HOUR, NOW);
        assert_eq!((jump, clock.tick_to_forget(at(4_000), NOW)), (None, Some(at(4_000))));
        // Set forward while it runs: nothing ages faster for it.
        assert_eq!(clock.tick_to_forget(at(900_000), later(5)), Some(at(4_005)));
    }

    #[test]
    fn what_is_recorded_ahead_of_time_ages_nothing_that_was_recorded_before() {
        // A start under a clock that was 4,000 s ahead has left a record; the clock is right again.
        let (mut clock, _) = Clock::start(at(1_000), Some(at(5_000)), HOUR, NOW);
        assert_eq!(clock.tick_to_forget(at(1_010), later(10)), Some(at(1_010)));
        assert_eq!(clock.last(), at(5_005));
    }
}
