//! Who holds a copy of a session's tokens and when they refresh: the user's own tabs and devices, or a thief.

use crate::{
    places::{HOUR, MINUTE, Ms, SECOND},
    policy::{Client, Original, Storage},
    rng::Rng,
};

/// A time of use.
#[derive(Clone, Copy, Debug)]
pub struct Bout {
    pub from: Ms,
    pub to: Ms,
}

/// The tokens at hand, by their numbers in the family.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// `None`: lost with a page load, or never had.
    pub access: Option<usize>,
    pub refresh: usize,
}

#[derive(Clone)]
pub struct Actor {
    pub thief: bool,
    pub held: Held,
    pub bouts: Vec<Bout>,
    /// The first bout not yet over.
    pub cursor: usize,
    pub client: Client,
    pub original: Original,
    /// Sends this token as `original` for ever: a script that never learns.
    pub stuck_on: Option<usize>,
    pub storage: Storage,
    /// A browser holds it back by up to a minute while in the background.
    pub throttled: bool,
    pub retry: Option<Ms>,
    /// The last attempt failed.
    pub failed: bool,
    /// When it acts next.
    pub due: Option<Ms>,
}

/// A page load that loses what is in memory: most uses begin with one (assumed).
const RELOADS: f64 = 0.75;

impl Actor {
    pub fn new(held: Held, bouts: Vec<Bout>, client: Client, original: Original, storage: Storage) -> Self {
        Self {
            thief: false,
            held,
            bouts,
            cursor: 0,
            client,
            original,
            stuck_on: None,
            storage,
            throttled: false,
            retry: None,
            failed: false,
            due: None,
        }
    }

    /// Decides when to act next, from `now`; `expires` is the held access token's.
    pub fn plan(&mut self, expires: Option<Ms>, now: Ms, rng: &mut Rng) {
        self.due = match self.retry.take() {
            Some(retry) => Some(retry.max(now + 1)),
            None => self.next(expires, now, rng),
        };
    }

    fn next(&mut self, expires: Option<Ms>, now: Ms, rng: &mut Rng) -> Option<Ms> {
        let lead = match self.client {
            Client::Timer => 30 * SECOND + rng.below(4_000) as Ms,
            Client::Resume(_) | Client::Background => MINUTE,
            Client::Command => 10 * SECOND,
            Client::Demand | Client::Backend => 0,
        };
        while let Some(bout) = self.bouts.get(self.cursor).copied() {
            let enters = bout.from > now;
            let begin = bout.from.max(now + SECOND);
            if bout.to <= begin {
                self.cursor += 1;
                continue;
            }
            let soon = begin + 200 + rng.below(1_800) as Ms;
            if enters && self.storage == Storage::Memory && rng.chance(RELOADS) {
                self.held.access = None;
                return Some(soon);
            }
            let wants =
                expires.filter(|_| self.held.access.is_some()).map_or(begin, |expires| expires - lead).max(begin);
            let at = self.within(wants, begin, soon, enters, rng);
            if at < bout.to {
                return Some(at);
            }
            self.cursor += 1;
        }
        None
    }

    fn within(&self, wants: Ms, begin: Ms, soon: Ms, enters: bool, rng: &mut Rng) -> Ms {
        let throttle = if self.throttled { rng.below(60_000) as Ms } else { 0 };
        match self.client {
            Client::Timer => wants.max(soon.min(begin + 300)) + throttle,
            // A call every half minute.
            Client::Demand | Client::Backend => wants + (rng.wait(30.0 * SECOND as f64)) as Ms + throttle,
            Client::Resume(always) if enters && (always || wants == begin) => soon,
            Client::Command if enters => soon,
            Client::Command => Ms::MAX,
            Client::Resume(_) | Client::Background if wants == begin => soon,
            Client::Resume(_) | Client::Background => wants + (rng.wait(20.0 * SECOND as f64)) as Ms,
        }
    }

    /// Which old access token goes along.
    pub fn original(&self, expires: Option<Ms>, at: Ms, rng: &mut Rng) -> Option<usize> {
        let held = self.stuck_on.or(self.held.access)?;
        let sends = match self.original {
            Original::Always => true,
            Original::Never => false,
            Original::Mostly(share) => rng.chance(share),
            Original::WhileAlive => expires.is_some_and(|expires| at < expires),
        };
        sends.then_some(held)
    }
}

/// Local hours at which people use a thing, as weights: at work, and at leisure.
const AT_WORK: [f64; 24] = [
    0.1, 0.05, 0.02, 0.02, 0.03, 0.1, 0.4, 1.5, 4.0, 7.0, 8.0, 7.5, 5.0, 6.5, 7.5, 7.0, 6.0, 4.0, 2.0, 1.2, 1.0, 0.8,
    0.5, 0.2,
];
const AT_LEISURE: [f64; 24] = [
    1.0, 0.4, 0.2, 0.15, 0.2, 0.5, 1.5, 3.0, 3.5, 3.0, 3.0, 3.5, 4.5, 4.0, 3.5, 3.5, 4.0, 5.0, 6.0, 6.5, 7.0, 6.5, 4.5,
    2.2,
];

/// A local hour of the day, as a time since midnight.
pub fn hour(work: bool, rng: &mut Rng) -> Ms {
    let hour = rng.weighted(if work { &AT_WORK } else { &AT_LEISURE });
    hour as Ms * HOUR + rng.below(HOUR as usize) as Ms
}

/// In order and without overlaps.
pub fn tidy(mut bouts: Vec<Bout>) -> Vec<Bout> {
    bouts.sort_by_key(|bout| bout.from);
    let mut kept: Vec<Bout> = Vec::with_capacity(bouts.len());
    for bout in bouts {
        match kept.last_mut() {
            Some(last) if bout.from <= last.to + 5 * SECOND => last.to = last.to.max(bout.to),
            _ => kept.push(bout),
        }
    }
    kept
}
