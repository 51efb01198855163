//! The clock of bodies that nobody knows the arrival of.

use crate::time::{EventTime, ReceivedAt};

/// It moves at most this far with one event.
const STEP_MICROS_MAX: i64 = 86_400 * 1_000_000;

/// The latest instant so far, no more than a day after the one before.
#[derive(Default)]
pub(super) struct Clock(Option<ReceivedAt>);

impl Clock {
    /// When an event arrives, and whether it is from the future: not where the one behind it is as well, since both then come
    /// after a pause.
    pub(super) fn tick(&mut self, occurred: EventTime, next: Option<EventTime>) -> (ReceivedAt, bool) {
        let instant = occurred.millis().saturating_mul(1_000);
        let now = match self.0 {
            None => instant,
            Some(before) => instant.clamp(before.micros(), before.micros().saturating_add(STEP_MICROS_MAX)),
        };
        let now = ReceivedAt::from_micros(now);
        self.0 = Some(now);
        let is_ahead = |instant: EventTime| instant > now.event_time();
        (now, is_ahead(occurred) && !next.is_some_and(is_ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_none_of_the_sender_s_clock_and_one_event_far_ahead_is() {
        let mut clock = Clock::default();
        let hours = [0, 12, 50, 52, 300, 56, 57];
        let instant = |hours: i64| EventTime::from_millis(hours * 3_600_000).unwrap();
        let told: Vec<(i64, bool)> = (0..hours.len())
            .map(|at| {
                let (now, is_ahead) = clock.tick(instant(hours[at]), hours.get(at + 1).map(|next| instant(*next)));
                (now.micros() / 3_600_000_000, is_ahead)
            })
            .collect();
        // A pause of 38 hours shows twice; 300 is alone with it.
        let expected = [(0, false), (12, false), (36, false), (52, false), (76, true), (76, false), (76, false)];
        assert_eq!(told, expected);
    }
}
