//! One line of attempts: when the next one is due after failures, and when failing is worth an alarm. Pure but for the
//! backoff's dice; the caller says what time it is.

use std::time::Duration;

use tokio::time::Instant;

use super::{backoff::Backoff, batch::Batch};
use crate::{
    record::{Kind, Record},
    telemetry::Alarm,
};

/// A sink that fails for longer than a usual restart of the other side is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// Attempts after which a fault is worth an alarm: one may be the other side's start.
const FAULTS_BEFORE_ALARM: u32 = 2;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Lane {
    backoff: Backoff,
    retry_at: Option<Instant>,
    failing_since: Option<Instant>,
    /// Failures since it went well, whatever was settled between them.
    failures: u32,
    stuck: bool,
}

impl Lane {
    /// Whether an attempt may be made.
    pub(super) fn ready(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When the next attempt may be made, where that is not now.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether the last attempt failed.
    pub(super) fn failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Whether failing was worth an alarm since the last time that it went well.
    pub(super) fn stuck(&self) -> bool {
        self.stuck
    }

    /// Which attempt the next one is, from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// An attempt that took this long failed; whether that is worth an alarm by now.
    pub(super) fn failed(&mut self, now: Instant, took: Duration, after: Option<Duration>, fault: bool) -> bool {
        self.retry_at = Some(now + self.backoff.fail(after));
        self.failures = self.failures.saturating_add(1);
        // One that hangs fails before it ends; one that ends in the usual time limit does so at its end.
        let since = *self.failing_since.get_or_insert_with(|| now - took.saturating_sub(STUCK_AFTER));
        let stuck = now - since > STUCK_AFTER || (fault && self.backoff.failures() >= FAULTS_BEFORE_ALARM);
        self.stuck |= stuck;
        stuck
    }

    /// The attempt that is about to be told of as failed settled something: waits grow, and an alarm is worth it, from here
    /// on only. One that is raised stays until an attempt goes well, or it would come and go with every few records.
    pub(super) fn got_on(&mut self, now: Instant) {
        self.backoff.reset();
        self.failing_since = Some(now);
    }

    /// No attempt before then. It neither failed nor went well.
    pub(super) fn later(&mut self, now: Instant, after: Duration) {
        self.retry_at = Some(now + after);
    }

    /// An attempt went well.
    pub(super) fn well(&mut self) {
        *self = Self::default();
    }
}

/// Whether a batch holds nothing but alarms about sinks. Failing to deliver those raises no further alarm: two sinks that
/// fail now and then would feed each other for ever.
pub(super) fn only_about_sinks(batch: &Batch) -> bool {
    let names = [Alarm::SinkStuck, Alarm::RecordParked, Alarm::CheckpointsUndelivered].map(Alarm::name);
    !batch.messages.is_empty()
        && batch.messages.iter().all(|message| {
            let about = |record: Record| record.alarm.is_some_and(|alarm| names.contains(&&*alarm.name));
            message.kind == Kind::Alarm && message.record().is_ok_and(about)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(30);

    #[test]
    fn half_a_minute_of_failures_is_stuck_and_a_fault_sooner() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut lane = Lane::default();
        assert!(lane.ready(start) && !lane.failing());
        assert!(!lane.failed(start, SHORT, Some(Duration::from_secs(5)), false));
        assert!(!lane.ready(at(4)) && lane.ready(at(5)));
        assert!(!lane.failed(at(30), SHORT, None, false));
        assert!(!lane.stuck() && lane.failed(at(31), SHORT, None, false) && lane.stuck());
        lane.well();
        assert!(!lane.failing() && !lane.stuck() && lane.ready(start));
        assert!(!lane.failed(at(40), SHORT, None, true));
        assert!(lane.failed(at(41), SHORT, None, true));
    }

    #[test]
    fn one_attempt_that_hangs_is_stuck_when_it_ends() {
        let now = Instant::now() + Duration::from_secs(600);
        assert!(!Lane::default().failed(now, 2 * STUCK_AFTER, None, false));
        assert!(Lane::default().failed(now, 2 * STUCK_AFTER + Duration::from_secs(1), None, false));
    }

    #[test]
    fn what_gets_on_waits_as_after_a_first_failure_and_is_not_stuck() {
        let start = Instant::now();
        let hour = Duration::from_secs(3_600);
        let mut lane = Lane::default();
        for hours in 1..=20 {
            // However long an attempt takes, and whatever it ends with.
            let now = start + hours * hour;
            lane.got_on(now);
            assert!(!lane.failed(now, hour, None, true) && lane.failing() && !lane.stuck());
            assert!(lane.ready(now + Duration::from_millis(100)), "the ceiling of the first wait");
            assert_eq!(lane.attempt(), hours + 1, "it is still told which attempt it was");
        }
        let now = start + 21 * hour;
        lane.got_on(now);
        lane.failed(now, SHORT, Some(Duration::from_secs(7)), false);
        assert!(!lane.ready(now + Duration::from_secs(6)), "what the other side asks for holds");
        let at = |secs| now + Duration::from_secs(secs);
        assert!(!lane.failed(at(30), SHORT, None, false) && lane.failed(at(31), SHORT, None, false));
        lane.got_on(at(32));
        assert!(!lane.failed(at(32), SHORT, None, false) && lane.stuck(), "an alarm stays until it goes well");
        lane.well();
        assert!(!lane.stuck() && lane.attempt() == 1);
    }

    #[test]
    fn what_is_put_off_is_as_well_as_before() {
        let now = Instant::now();
        let mut lane = Lane::default();
        lane.later(now, SHORT);
        assert!(!lane.failing() && !lane.ready(now) && lane.ready(now + SHORT));
        lane.failed(now, SHORT, None, true);
        lane.failed(now, SHORT, None, true);
        lane.later(now, SHORT);
        assert!(lane.failing() && lane.stuck() && lane.attempt() == 3);
    }
}
