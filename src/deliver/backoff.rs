//! How long to wait before a failed batch is tried again: full jitter under a doubling ceiling, and what the other
//! side asks for, within reason. Pure but for the dice.

use std::time::Duration;

/// Ceiling of the first wait: short, since most failures are a restart of the other side.
const BASE: Duration = Duration::from_millis(100);
/// No ceiling is higher, so that a sink that is back is noticed within a minute.
const CAP: Duration = Duration::from_secs(60);
/// A longer `Retry-After` is taken for this: nobody else decides that an audit trail rests for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: how long to wait now. `after` is what `Retry-After` said.
    pub fn fail(&mut self, after: Option<Duration>) -> Duration {
        let ceiling = BASE.saturating_mul(2_u32.saturating_pow(self.failures)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        let jittered = ceiling.mul_f64(rand::random_range(0.0..=1.0));
        jittered.max(after.unwrap_or_default().min(RETRY_AFTER_MAX))
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_under_a_ceiling_that_doubles_to_the_cap() {
        // 100 ms doubled nine times is 51.2 s; the tenth would be 102.4 s.
        let ceilings = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000];
        let mut longest = [Duration::ZERO; 12];
        for _ in 0..500 {
            let mut backoff = Backoff::default();
            for (ceiling, longest) in ceilings.into_iter().zip(&mut longest) {
                let wait = backoff.fail(None);
                assert!(wait <= Duration::from_millis(ceiling), "{wait:?} over {ceiling} ms");
                *longest = wait.max(*longest);
            }
        }
        // Full jitter fills the range: of 500 draws none above half of it has a chance of 2^-500.
        for (ceiling, longest) in ceilings.into_iter().zip(longest) {
            assert!(longest > Duration::from_millis(ceiling / 2), "{longest:?} of {ceiling} ms");
        }
    }

    #[test]
    fn it_never_overflows_and_starts_over() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert!(backoff.fail(None) <= CAP);
        backoff.reset();
        assert!(backoff.fail(None) <= BASE);
    }

    #[test]
    fn retry_after_is_honoured_and_clamped() {
        let wait = |secs| Backoff::default().fail(Some(Duration::from_secs(secs)));
        assert_eq!(wait(7), Duration::from_secs(7));
        assert_eq!(wait(86_400), Duration::from_secs(600));
        assert!(wait(0) <= BASE);
    }
}
