//! How often a session was told of, by how much was said: a person has to be told once, and where that was wrong it would
//! otherwise be wrong for weeks, a few times a day. What says more than anything before is told in full.

use serde::{Deserialize, Serialize};

/// Heights that are told apart.
const HEIGHTS: usize = 8;
/// Less evidence than this, in ln odds above those of a refresh that shows nothing, tells nobody anything: a risk of 1 in 2,000.
const LOWEST: f64 = 1.5;
/// How far they are apart, in ln odds: seven times the risk.
const STEP: f64 = 2.0;
/// What was told is half forgotten in this time, seconds.
const FORGOTTEN_SECS: u32 = 7 * 86_400;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    counts: [u8; HEIGHTS],
    /// The week of the last one, since 1970.
    week: u16,
}

impl Told {
    /// How much of some evidence is told, both in ln odds: all that is higher than what was told before, a quarter the second time,
    /// a ninth the third.
    pub fn part(&self, evidence: f64, at: u32) -> f64 {
        let Some(height) = height(evidence) else { return evidence };
        let now = self.faded(at);
        let before: u32 = now.counts[height..].iter().copied().map(u32::from).sum();
        evidence / f64::from((before + 1).pow(2))
    }

    /// Counts one, by all that it said.
    pub fn count(&mut self, evidence: f64, at: u32) {
        let Some(height) = height(evidence) else { return };
        *self = self.faded(at);
        self.counts[height] = self.counts[height].saturating_add(1);
    }

    fn faded(self, at: u32) -> Self {
        let week = at / FORGOTTEN_SECS;
        let halvings = week.saturating_sub(u32::from(self.week));
        let counts = self.counts.map(|count| count.checked_shr(halvings).unwrap_or(0));
        Self { counts, week: u16::try_from(week).unwrap_or(u16::MAX).max(self.week) }
    }
}

fn height(evidence: f64) -> Option<usize> {
    (evidence >= LOWEST).then(|| (((evidence - LOWEST) / STEP) as usize).min(HEIGHTS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: u32 = 2_900 * FORGOTTEN_SECS;

    /// What is told of these, an hour after each other.
    fn told(said: &[f64]) -> Vec<f64> {
        let mut told = Told::default();
        let one = |(hour, evidence): (u32, &f64)| {
            let at = MONDAY + 3_600 * hour;
            let part = told.part(*evidence, at);
            told.count(*evidence, at);
            part
        };
        (0..).zip(said).map(one).collect()
    }

    #[test]
    fn the_same_is_told_once_and_more_than_that_in_full() {
        assert_eq!(told(&[9.0, 9.0, 9.0, 9.0]), [9.0, 2.25, 1.0, 0.5625]);
        assert_eq!(told(&[4.0, 6.0, 8.0, 20.0, 40.0]), [4.0, 6.0, 8.0, 20.0, 10.0]);
        // Who was told of the worst is not told of less.
        assert_eq!(told(&[20.0, 4.0]), [20.0, 1.0]);
        // What says nothing is nothing that was told.
        assert_eq!(told(&[-3.0, 1.0, 1.0, 1.0, 9.0]), [-3.0, 1.0, 1.0, 1.0, 9.0]);
    }

    #[test]
    fn what_was_told_is_forgotten_by_the_week() {
        let mut told = Told::default();
        (0..4).for_each(|_| told.count(9.0, MONDAY));
        for (weeks, before) in [(0, 4_u32), (1, 2), (2, 1), (3, 0), (60, 0)] {
            let part = told.part(9.0, MONDAY + weeks * FORGOTTEN_SECS);
            assert!((part - 9.0 / f64::from((before + 1).pow(2))).abs() < 1e-12, "{weeks}");
        }
        // Nobody is told less for a clock that went back, and hundreds are as many as can be told apart.
        (0..600).for_each(|_| told.count(9.0, MONDAY - FORGOTTEN_SECS));
        assert_eq!(told.counts.iter().copied().max(), Some(u8::MAX));
    }
}
