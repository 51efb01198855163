//! Entries that wait for room: with `journal.when_full = "drop_undelivered"` the oldest segments give way, and housekeeping needs
//! a moment for that. Where nothing can give way any more, nobody waits.

use std::{collections::VecDeque, time::Duration};

use super::{
    Admission, Unavailable,
    admit::{Admitter, Waiting},
};

/// Nobody waits longer; who waits for `server.ack_deadline` (800 ms) only has left before.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);
/// Entries that may wait.
const WAITING_MAX: usize = 4_096;

/// All that wait, first come first.
#[derive(Default)]
pub struct Roomless(VecDeque<Waiting>);

impl Roomless {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everyone who waits, no longer.
    pub fn drain(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.0.drain(..)
    }
}

impl Admitter {
    /// Whether one more record has to wait: behind those that came before it, too.
    pub(super) fn lacks_room(&self) -> bool {
        !self.roomless.is_empty() || self.keeper.is_full(self.batch.lines.len())
    }

    /// Lets an entry wait, where that helps.
    pub(super) fn wait_for_room(&mut self, waiting: Waiting) {
        let is_late = waiting.asked.elapsed() >= ROOM_WAIT_MAX || self.roomless.0.len() >= WAITING_MAX;
        if is_late || !self.keeper.makes_room() {
            waiting.reply.send(Admission::Unavailable(Unavailable::DiskFull));
            return;
        }
        self.roomless.0.push_back(waiting);
    }

    /// Those that wait go on, as far as there is room.
    pub(super) fn go_on_with_room(&mut self) {
        for waiting in std::mem::take(&mut self.roomless.0) {
            if self.lacks_room() {
                self.wait_for_room(waiting);
            } else if self.batch_is_full() {
                self.roomless.0.push_back(waiting);
            } else {
                // From the beginning: its id may have been recorded meanwhile.
                self.admit(waiting);
            }
        }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
