//! Refusals of one session or address: how many came within a window that ends now, to the second.

use serde::{Deserialize, Serialize};

/// Instants kept: as many refusals can be told apart.
pub const REFUSALS_MAX: usize = 24;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// The newest ones, seconds since 1970, in a ring; 0 = nothing here.
    at: [u32; REFUSALS_MAX],
    next: u8,
    /// When it was last told of; 0 = never.
    told: u32,
}

impl Burst {
    /// Counts a refusal; how many there are within the last `secs`, this one included.
    pub fn add(&mut self, now: u32, secs: u32) -> usize {
        let next = usize::from(self.next) % REFUSALS_MAX;
        self.at[next] = now.max(1);
        self.next = u8::try_from((next + 1) % REFUSALS_MAX).unwrap_or(0);
        self.at.iter().filter(|at| **at != 0 && now.saturating_sub(**at) < secs).count()
    }

    /// Whether to tell of it: not again within `secs`, while it goes on.
    pub fn tell(&mut self, now: u32, secs: u32) -> bool {
        let due = self.told == 0 || now.saturating_sub(self.told) >= secs;
        if due {
            self.told = now.max(1);
        }
        due
    }
}
