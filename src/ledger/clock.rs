//! `received_at`: never decreases and, while running, advances no faster than the monotonic clock. So neither a clock
//! set forward nor one set back can age out what the ledger and the detectors remember.

use std::time::{Duration, Instant};

use crate::time::ReceivedAt;

/// The wall clock may run this far off before it is called a jump.
const DRIFT_MAX: Duration = Duration::from_secs(300);
/// How long nothing expires after a forward jump at start.
pub const GRACE: Duration = Duration::from_secs(600);

/// The ledger's clock.
pub struct Clock {
    anchor: ReceivedAt,
    started: Instant,
    last: ReceivedAt,
    expires_from: Instant,
}

/// What the wall clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// It is later than the journal's last record and the time since allow.
    Forward(Duration),
    /// It is earlier than the journal's last record.
    Backward(Duration),
}

impl Clock {
    /// Starts at the wall clock, or at the last record's instant if that is later. A last record longer ago than
    /// `window` is a forward jump as far as anyone can tell: nothing expires for [`GRACE`].
    pub fn start(wall: ReceivedAt, last: Option<ReceivedAt>, window: Duration, now: Instant) -> (Self, Option<Jump>) {
        let last = last.unwrap_or(wall);
        let jump = if wall.since(last) > window {
            Some(Jump::Forward(wall.since(last)))
        } else if last.since(wall) > DRIFT_MAX {
            Some(Jump::Backward(last.since(wall)))
        } else {
            None
        };
        let grace = if matches!(jump, Some(Jump::Forward(_))) { GRACE } else { Duration::ZERO };
        (Self { anchor: wall, started: now, last, expires_from: now + grace }, jump)
    }

    /// The next record's instant.
    pub fn tick(&mut self, wall: ReceivedAt, now: Instant) -> ReceivedAt {
        let steady = self.anchor.plus(now.saturating_duration_since(self.started));
        self.last = self.last.max(wall.min(steady));
        self.last
    }

    /// What the sender's instant is compared with: the wall clock where records are held at a later instant.
    pub fn judging(&self, wall: ReceivedAt) -> ReceivedAt {
        self.last.min(wall)
    }

    /// How far the wall clock has left this one, if it is more than a drift.
    pub fn jumped(&self, wall: ReceivedAt, now: Instant) -> Option<Jump> {
        let steady = self.anchor.plus(now.saturating_duration_since(self.started)).max(self.last);
        if wall.since(steady) > DRIFT_MAX {
            Some(Jump::Forward(wall.since(steady)))
        } else if steady.since(wall) > DRIFT_MAX {
            Some(Jump::Backward(steady.since(wall)))
        } else {
            None
        }
    }

    /// The instant that what is old is forgotten by: the earlier one where journal and wall clock differ, since what is kept
    /// for a time is kept for that at least. None while the wall clock may have jumped.
    pub fn forgets_at(&mut self, wall: ReceivedAt, now: Instant) -> Option<ReceivedAt> {
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

    #[test]
    fn a_wall_clock_set_forward_while_running_does_not_move_it() {
        let now = Instant::now();
        let (mut clock, jump) = Clock::start(at(1_000), None, HOUR, now);
        assert_eq!(jump, None);
        assert_eq!(clock.tick(at(1_002), now + Duration::from_secs(2)), at(1_002));
        assert_eq!(clock.tick(at(900_000), now + Duration::from_secs(3)), at(1_003));
        assert_eq!(clock.judging(at(900_000)), at(1_003));
        assert_eq!(
            clock.jumped(at(900_000), now + Duration::from_secs(3)),
            Some(Jump::Forward(Duration::from_secs(898_997)))
        );
    }

    #[test]
    fn a_wall_clock_set_back_holds_it() {
        let now = Instant::now();
        let (mut clock, jump) = Clock::start(at(1_000), Some(at(5_000)), HOUR, now);
        assert_eq!(jump, Some(Jump::Backward(Duration::from_secs(4_000))));
        assert_eq!(clock.tick(at(1_001), now + Duration::from_secs(1)), at(5_000));
        assert_eq!(clock.tick(at(0), now + Duration::from_secs(2)), at(5_000));
        // Who sends now is not late because a clock was ahead once.
        assert_eq!(clock.judging(at(1_002)), at(1_002));
    }

    #[test]
    fn after_a_forward_jump_at_start_nothing_expires_for_ten_minutes() {
        let now = Instant::now();
        let (mut clock, jump) = Clock::start(at(10_000), Some(at(1_000)), HOUR, now);
        assert_eq!(jump, Some(Jump::Forward(Duration::from_secs(9_000))));
        let later = |secs| now + Duration::from_secs(secs);
        assert_eq!(clock.forgets_at(at(10_599), later(599)), None);
        assert_eq!(clock.forgets_at(at(10_600), later(600)), Some(at(10_600)));
        let (mut clock, jump) = Clock::start(at(4_000), Some(at(1_000)), HOUR, now);
        assert_eq!((jump, clock.forgets_at(at(4_000), now)), (None, Some(at(4_000))));
        // Set forward while it runs: nothing ages faster for it.
        assert_eq!(clock.forgets_at(at(900_000), later(5)), Some(at(4_005)));
    }

    #[test]
    fn what_is_recorded_ahead_of_time_ages_nothing_that_was_recorded_before() {
        // A start under a clock that was 4,000 s ahead has left a record; the clock is right again.
        let now = Instant::now();
        let (mut clock, _) = Clock::start(at(1_000), Some(at(5_000)), HOUR, now);
        assert_eq!(clock.forgets_at(at(1_010), now + Duration::from_secs(10)), Some(at(1_010)));
        assert_eq!(clock.last(), at(5_000));
    }
}
