//! A few values of a kind and how often each came, lately or ever.

use serde::{Deserialize, Serialize};

/// Values remembered of each kind.
const VALUES: usize = 8;
/// How many had to go is counted among so many.
const GONE_OF: u16 = 512;

/// One value and how often it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The value or its key.
    pub value: u32,
    /// How often; 0 = nothing here.
    pub count: u32,
}

/// A few values, the rarest of which goes when another comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// The values.
    pub kept: [Counted; VALUES],
    /// How many had to go, lately, and of how many that came.
    pub gone: (u16, u16),
}

impl Values {
    /// How often it came.
    pub fn count(&self, value: u32) -> u32 {
        self.kept.iter().find(|seen| seen.value == value && seen.count != 0).map_or(0, |seen| seen.count)
    }

    /// How many there were, of those that are remembered.
    pub fn sum(&self) -> u32 {
        self.kept.iter().map(|seen| seen.count).sum()
    }

    /// Counts it.
    pub fn add(&mut self, value: u32) {
        let at = self.kept.iter().position(|seen| seen.value == value && seen.count != 0);
        let rarest = || self.kept.iter().enumerate().min_by_key(|(_, seen)| seen.count).map_or(0, |(at, _)| at);
        let at = at.unwrap_or_else(rarest);
        let place = &mut self.kept[at];
        self.gone.1 += 1;
        if place.value != value {
            self.gone.0 += u16::from(place.count != 0);
            *place = Counted { value, count: 0 };
        }
        place.count = place.count.saturating_add(1);
        if self.gone.1 >= GONE_OF {
            self.gone = (self.gone.0 / 2, self.gone.1 / 2);
        }
    }

    /// Whether there are more than can be remembered: then it is no news that one is not among them.
    pub fn are_many(&self) -> bool {
        usize::from(self.gone.0) >= VALUES
    }
}
