//! Who came together: users that are new to a network within an hour, users of one rare user agent within a day.

use serde::{Deserialize, Serialize};

use crate::detect::key::short;

/// Users told apart within a window; past it only their number grows.
const USERS: usize = 24;
/// The share of a window's number in the usual number: about the last ten windows count.
const USUAL_SHARE: f32 = 0.1;

/// Of the most that ever came in one window, this share is usual: a carrier's users come by day, and by night there are none.
const PEAK_SHARE: f32 = 0.4;
/// The most that came is half as much after this time, seconds.
const PEAK_HALF_LIFE_SECS: f32 = 14.0 * 86_400.0;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Crowd {
    /// When the window began, seconds since 1970.
    from: u32,
    users: [u32; USERS],
    count: u16,
    /// How many a window has on average.
    mean: f32,
    /// The most that one had, faded.
    peak: f32,
}

impl Crowd {
    /// Counts a user in a window of `secs`; how many came in it by now, and how many usually do.
    pub fn add(&mut self, user: u64, now: u32, secs: u32) -> (u32, f32) {
        self.turn(now, secs);
        let user = short(user).max(1);
        let known = usize::from(self.count).min(USERS);
        if !self.users[..known].contains(&user) {
            if known < USERS {
                self.users[known] = user;
            }
            self.count = self.count.saturating_add(1);
        }
        (u32::from(self.count), self.usual())
    }

    /// How many there are now, and how many usually.
    pub fn now(&self, now: u32, secs: u32) -> (u32, f32) {
        let is_over = now.saturating_sub(self.from) >= secs;
        (if is_over { 0 } else { u32::from(self.count) }, self.usual())
    }

    fn usual(&self) -> f32 {
        self.mean.max(PEAK_SHARE * self.peak)
    }

    fn turn(&mut self, now: u32, secs: u32) {
        let windows = now.saturating_sub(self.from) / secs.max(1);
        if windows == 0 {
            return;
        }
        if self.from != 0 {
            self.mean += USUAL_SHARE * (f32::from(self.count) - self.mean);
            // The windows in between had none.
            for _ in 1..windows.min(60) {
                self.mean -= USUAL_SHARE * self.mean;
            }
            let age = now.saturating_sub(self.from) as f32 / PEAK_HALF_LIFE_SECS;
            self.peak = f32::from(self.count).max(self.peak * libm::exp2f(-age));
        }
        (self.from, self.count) = (now, 0);
    }
}
