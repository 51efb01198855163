//! Entries whose session or user is not in memory, waiting for it. Others go on meanwhile; whoever waited too long, or for
//! what is lost, is judged without, and the record says so.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    Admission, Unavailable,
    admit::{Admitter, Waiting},
    cellar::Answer,
};
use crate::{
    detect::{
        judge::Case,
        state::spilled::{Guests, Name},
    },
    record::Evidence,
    time::ReceivedAt,
};

/// Nobody waits longer: reading takes microseconds, or a few milliseconds where the disk is slow, and the sender waits for
/// `server.ack_deadline` (800 ms) at most.
const COLD_WAIT_MAX: Duration = Duration::from_millis(250);
/// Entries that may wait.
const COLD_MAX: usize = 4_096;

/// What was brought for an entry.
#[derive(Default)]
pub struct Fetched {
    guests: Guests,
    lost: Vec<Name>,
    since: Option<Instant>,
}

/// All that wait.
#[derive(Default)]
pub struct ColdQueue {
    by_token: HashMap<u64, Waiting>,
    next_token: u64,
}

impl ColdQueue {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Everyone who waits, no longer.
    pub fn drain(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.by_token.drain().map(|(_, waiting)| waiting)
    }
}

impl Admitter {
    /// What an entry needs of what is not in memory. Where that has to be fetched first, the entry waits, and none is
    /// returned.
    pub(super) fn with_guests(
        &mut self,
        mut waiting: Waiting,
        evidence: &mut Evidence,
        at: ReceivedAt,
    ) -> Option<(Waiting, Guests)> {
        let (Some(core), Some(facts)) = (&self.core, &waiting.entry.facts) else {
            return Some((waiting, Guests::default()));
        };
        let case = Case { event: &waiting.entry.event, facts, evidence, at, seq: core.tail.next };
        let missing = core.judge.missing(case, &waiting.fetched.guests);
        if missing.is_empty() {
            let guests = std::mem::take(&mut waiting.fetched).guests;
            return Some((waiting, guests));
        }
        let since = *waiting.fetched.since.get_or_insert_with(Instant::now);
        let is_lost = missing.iter().any(|name| waiting.fetched.lost.contains(name));
        if !is_lost && since.elapsed() < COLD_WAIT_MAX {
            if self.cold.by_token.len() >= COLD_MAX {
                waiting.reply.send(Admission::Unavailable(Unavailable::QueueFull));
                return None;
            }
            let token = self.cold.next_token;
            self.cold.next_token += 1;
            if self.spill.read(token, missing) {
                self.settings.metrics.state.fetched.inc();
                self.cold.by_token.insert(token, waiting);
                return None;
            }
        }
        self.settings.metrics.state.cold.inc();
        evidence.cold = true;
        Some((waiting, Guests::default()))
    }

    /// What an entry waits for has come, or is lost.
    pub(super) fn cold_says(&mut self, answer: Answer) {
        let Some(mut waiting) = self.cold.by_token.remove(&answer.token) else { return };
        for (name, bytes) in answer.found {
            if !bytes.is_some_and(|bytes| waiting.fetched.guests.bring(name, &bytes)) {
                waiting.fetched.lost.push(name);
            }
        }
        // From the beginning: its id may have been recorded meanwhile.
        self.admit(waiting);
    }

    /// Whoever waited too long goes on without.
    pub(super) fn give_up_waiting(&mut self) {
        let is_late = |waiting: &Waiting| waiting.fetched.since.is_some_and(|since| since.elapsed() >= COLD_WAIT_MAX);
        let mut late: Vec<u64> =
            self.cold.by_token.iter().filter(|(_, waiting)| is_late(waiting)).map(|(token, _)| *token).collect();
        late.sort_unstable();
        for token in late {
            if self.batch_is_full() {
                // The others go on with the next one.
                break;
            }
            if let Some(waiting) = self.cold.by_token.remove(&token) {
                self.admit(waiting);
            }
        }
    }
}
