//! How often people are told: so many messages an hour, then one that says so, then silence until the hour is over, then
//! one message about everything that waited. What waits is not kept here: it stays pending in the journal.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

use crate::time::ReceivedAt;

/// What a cap is counted over.
pub const PERIOD: Duration = Duration::from_secs(3_600);

/// Messages told and still allowed. The caller says what time it is.
#[derive(Debug)]
pub struct Cap {
    messages_max: u32,
    told: u32,
    /// When the first of them was told.
    since: Option<Instant>,
    /// Whether something waits for the hour to end.
    holding: bool,
    /// Records that came no later waited, and are told together.
    waited_until: Option<ReceivedAt>,
}

/// Whether to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Tell,
    /// Not now: the cap is reached.
    Full(Full),
}

/// The cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Wait this long.
    pub left: Duration,
    /// Whether that was said.
    pub was_said: bool,
}

impl Cap {
    /// At most so many messages an hour.
    pub fn new(messages_max: NonZeroU32) -> Self {
        Self { messages_max: messages_max.get(), told: 0, since: None, holding: false, waited_until: None }
    }

    /// Whether the next message may go out.
    pub fn turn(&mut self, now: Instant, wall: ReceivedAt) -> Turn {
        let left = self.since.map_or(Duration::ZERO, |since| (since + PERIOD).saturating_duration_since(now));
        if left.is_zero() {
            if self.holding {
                self.waited_until = Some(wall);
            }
            (self.told, self.since, self.holding) = (0, None, false);
        }
        match self.told < self.messages_max {
            true => Turn::Tell,
            false => Turn::Full(Full { left, was_said: self.holding }),
        }
    }

    /// A message was told.
    pub fn told(&mut self, now: Instant) {
        self.told += 1;
        self.since.get_or_insert(now);
    }

    /// That the cap is reached was told.
    pub fn said_full(&mut self) {
        self.holding = true;
    }

    /// Whether a record waited for the end of an hour, and so is told together with the others that did.
    pub fn waited(&self, received_at: ReceivedAt) -> bool {
        self.waited_until.is_some_and(|until| received_at <= until)
    }

    /// How many may be told an hour.
    pub fn messages_max(&self) -> u32 {
        self.messages_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_so_many_an_hour_it_says_so_once_and_waits() {
        let start = Instant::now();
        let full = |left, was_said| Turn::Full(Full { left, was_said });
        let at = |secs| start + Duration::from_secs(secs);
        let wall = |secs: i64| ReceivedAt::from_micros(secs * 1_000_000);
        let mut cap = Cap::new(NonZeroU32::new(2).unwrap());
        for secs in [0, 600] {
            assert_eq!(cap.turn(at(secs), wall(0)), Turn::Tell);
            cap.told(at(secs));
        }
        assert_eq!(cap.turn(at(1_200), wall(0)), full(Duration::from_secs(2_400), false));
        // It could not be said: it is tried again.
        assert_eq!(cap.turn(at(1_201), wall(0)), full(Duration::from_secs(2_399), false));
        cap.said_full();
        assert_eq!(cap.turn(at(3_599), wall(0)), full(Duration::from_secs(1), true));
        assert!(!cap.waited(wall(1)));
        assert_eq!(cap.turn(at(3_600), wall(50)), Turn::Tell);
        assert!(cap.waited(wall(50)) && !cap.waited(wall(51)));
        // Nothing waited in the next hour: what waited before stays told together, what is new is told alone.
        cap.told(at(3_600));
        assert_eq!(cap.turn(at(9_000), wall(99)), Turn::Tell);
        assert!(!cap.waited(wall(99)));
    }
}
