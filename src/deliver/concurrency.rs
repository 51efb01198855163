//! How many batches may be on their way at once where order does not matter: one more while answers come as fast as they
//! did, a tenth less when they slow down or fail. Pure; the caller says what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// Batches under way at most: each is held in memory, and a crash delivers as many again.
pub const LIMIT_MAX: usize = 32;
/// Weight of the newest round in what is usual.
const ALPHA: f64 = 0.4;
/// A round is slow when it is this many deviations over what is usual…
const DEVIATIONS: f64 = 2.5;
/// … and at least this part of it: answers that differ by microseconds would stop all growth.
const SLACK: f64 = 0.1;

/// See the head of this file.
#[derive(Debug)]
pub struct Concurrency {
    limit: usize,
    /// Seconds from sending to the answer, and how far they usually are off that.
    usual: Option<(f64, f64)>,
    round: Round,
}

/// Answers since the limit was last decided: as long as one answer usually takes, so that each decision shows first.
#[derive(Debug, Default)]
struct Round {
    ends: Option<Instant>,
    seconds: f64,
    answers: u32,
    /// The limit was reached: more would have been sent.
    full: bool,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { limit: 1, usual: None, round: Round::default() }
    }
}

impl Concurrency {
    /// Batches that may be under way now.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// An answer came after `took`; `in_flight` batches were under way, this one included.
    pub fn answered(&mut self, now: Instant, took: Duration, in_flight: usize) {
        let round = &mut self.round;
        round.seconds += took.as_secs_f64();
        round.answers += 1;
        round.full |= in_flight >= self.limit;
        if round.ends.is_some_and(|ends| now < ends) {
            return;
        }
        let round = std::mem::take(round);
        let mean = round.seconds / f64::from(round.answers);
        let (usual, off) = self.usual.unwrap_or((mean, 0.0));
        if mean > usual + (DEVIATIONS * off).max(SLACK * usual) {
            self.shrink();
        } else if round.full {
            self.limit = (self.limit + 1).min(LIMIT_MAX);
        }
        let (mean_now, off_now) = (blend(usual, mean), blend(off, (mean - usual).abs()));
        self.usual = Some((mean_now, off_now));
        self.round.ends = Some(now + Duration::from_secs_f64(mean_now));
    }

    /// An attempt failed.
    pub fn failed(&mut self) {
        self.shrink();
        self.round = Round { ends: self.round.ends, ..Round::default() };
    }

    fn shrink(&mut self) {
        self.limit = (self.limit * 9 / 10).max(1);
    }
}

fn blend(before: f64, now: f64) -> f64 {
    before * (1.0 - ALPHA) + now * ALPHA
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a receiver that answers after `rtt(in flight)`, always with as many under way as may be; the limits.
    fn play(
        (concurrency, now): (&mut Concurrency, &mut Instant),
        rounds: usize,
        rtt: impl Fn(usize) -> f64,
    ) -> Vec<usize> {
        let mut limits = Vec::new();
        for _ in 0..rounds {
            let in_flight = concurrency.limit();
            let took = Duration::from_secs_f64(rtt(in_flight));
            *now += took + Duration::from_millis(1);
            for _ in 0..in_flight {
                concurrency.answered(*now, took, in_flight);
            }
            limits.push(concurrency.limit());
        }
        limits
    }

    #[test]
    fn it_grows_by_one_a_round_while_answers_stay_as_fast() {
        let (mut concurrency, mut now) = (Concurrency::default(), Instant::now());
        assert_eq!(concurrency.limit(), 1);
        let limits = play((&mut concurrency, &mut now), 40, |_| 0.05);
        assert_eq!(limits[..5], [2, 3, 4, 5, 6]);
        assert_eq!(limits[39], LIMIT_MAX);
    }

    #[test]
    fn it_shrinks_by_a_tenth_when_they_slow_down_or_fail() {
        let (mut concurrency, mut now) = (Concurrency::default(), Instant::now());
        play((&mut concurrency, &mut now), 19, |_| 0.05);
        assert_eq!(concurrency.limit(), 20);
        assert_eq!(play((&mut concurrency, &mut now), 1, |_| 0.5), [18]);
        concurrency.failed();
        assert_eq!(concurrency.limit(), 16);
        (0..100).for_each(|_| concurrency.failed());
        assert_eq!(concurrency.limit(), 1, "never to nothing");
    }

    #[test]
    fn it_does_not_grow_while_there_is_nothing_more_to_send() {
        let (mut concurrency, mut now) = (Concurrency::default(), Instant::now());
        play((&mut concurrency, &mut now), 4, |_| 0.05);
        for _ in 0..20 {
            now += Duration::from_secs(1);
            concurrency.answered(now, Duration::from_millis(50), 1);
        }
        assert_eq!(concurrency.limit(), 5);
    }
}
