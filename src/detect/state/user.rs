//! What is remembered of one user: 304 bytes, learned only from contexts that have proved themselves.

use serde::{Deserialize, Serialize};

use crate::detect::{
    facts::{Cell, Facts, Spot},
    key::short,
    zones::LocalHour,
};

/// Networks remembered of one user.
pub const PLACES: usize = 6;
/// Kinds of software remembered.
pub const AGENTS: usize = 4;
/// Sessions of a user that are looked at together; a suite of applications has more of them. With nine a user takes 304 bytes, of
/// which glibc's allocator fits more into memory than of 296 (a tenth, in the benchmark `detection -- memory`).
pub const SESSIONS: usize = 9;
/// Sessions that a user may open on one day. Whoever opens more forgets their own for it, and nobody else's.
pub const SESSIONS_A_DAY: u16 = 32;

/// A network a user was in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The /24 or /48; 0 = nothing here.
    pub near: u32,
    /// The autonomous system, or /16 or /32.
    pub wide: u32,
    /// The country.
    pub country: u16,
    /// Where.
    pub spot: Spot,
    /// What the network is.
    pub labels: u16,
    /// When it was last seen.
    pub last: u32,
}

/// Software a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// The user agent's text; 0 = nothing here.
    pub text: u32,
    /// Its class.
    pub class: u16,
    /// When it was last seen.
    pub last: u32,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// When they were first seen, seconds since 1970.
    pub first: u32,
    /// When they were last seen.
    pub last: u32,
    /// How many refreshes.
    pub events: u32,
    /// How many came from where they were before, from a new network of a provider of theirs, and from elsewhere: in
    /// mid-use, and on waking. Of the last few hundred.
    pub moves: [[u8; 3]; 2],
    /// How many came through a VPN, Tor or a proxy.
    pub hidden: u16,
    /// Networks, the newest first.
    pub places: [Known; PLACES],
    /// Software, the newest first.
    pub agents: [Software; AGENTS],
    /// Refreshes by hour of the day, of the last few hundred.
    pub hours: [u8; 24],
    /// By which clock these hours are, see [`LocalHour`].
    pub zone: u16,
    /// Sessions, the newest first; the upper half of their keys is in the table.
    pub sessions: [u64; SESSIONS],
    /// Where and when they were last, in any session.
    pub at: Option<(Cell, u32)>,
    /// How many sessions were first seen on one day, and on which since 1970.
    pub opened: (u16, u16),
}

impl User {
    /// The first sight of a user.
    pub fn new(now: u32) -> Self {
        Self { first: now, ..Self::default() }
    }

    /// The networks that hold something.
    pub fn places(&self) -> impl Iterator<Item = &Known> {
        self.places.iter().filter(|known| known.last != 0)
    }

    /// Whether a network, by its /24 or /48, is the user's own.
    pub fn has_place(&self, near: u32) -> bool {
        self.places().any(|place| place.near == near)
    }

    /// The software that holds something.
    pub fn agents(&self) -> impl Iterator<Item = &Software> {
        self.agents.iter().filter(|known| known.last != 0)
    }

    /// Remembers a network and software as the user's own.
    pub fn adopt(&mut self, facts: &Facts, now: u32) {
        let place = &facts.place;
        if place.ip != 0 {
            let known = Known {
                near: short(place.near),
                wide: place.wide,
                country: place.country,
                spot: Spot::new(place.cell),
                labels: place.labels,
                last: now,
            };
            let at = self.places.iter().position(|other| other.near == known.near && other.last != 0);
            self.places.copy_within(0..at.unwrap_or(PLACES - 1), 1);
            self.places[0] = known;
        }
        if facts.agent.text != 0 {
            let known = Software { text: facts.agent.text, class: facts.agent.class, last: now };
            // A browser that was updated takes the place of what it was.
            let at = self.agents.iter().position(|other| other.class == known.class && other.last != 0);
            self.agents.copy_within(0..at.unwrap_or(AGENTS - 1), 1);
            self.agents[0] = known;
        }
    }

    /// Counts a session that was not seen before.
    pub fn open(&mut self, now: u32) {
        self.opened = (self.opened_on(now).saturating_add(1), day(now));
    }

    fn opened_on(&self, now: u32) -> u16 {
        if self.opened.1 == day(now) { self.opened.0 } else { 0 }
    }

    /// Remembers that a session is theirs; returns the one that has to go for it.
    pub fn own(&mut self, session: u64, now: u32) -> Option<u64> {
        if let Some(at) = self.sessions.iter().position(|own| *own == session) {
            self.sessions.copy_within(0..at, 1);
            self.sessions[0] = session;
            return None;
        }
        let gone = self.sessions[SESSIONS - 1];
        self.sessions.copy_within(0..SESSIONS - 1, 1);
        self.sessions[0] = session;
        (gone != 0 && self.opened_on(now) > SESSIONS_A_DAY).then_some(gone)
    }

    /// Counts an hour of the day; halves all when one is full, so that old habits fade. Hours by another clock begin anew.
    pub fn count_hour(&mut self, LocalHour { hour, zone }: LocalHour) {
        if self.zone != zone {
            (self.zone, self.hours) = (zone, [0; 24]);
        }
        if self.hours[hour] == u8::MAX {
            self.hours.iter_mut().for_each(|count| *count /= 2);
        }
        self.hours[hour] += 1;
    }
}

/// A day since 1970.
fn day(now: u32) -> u16 {
    (now / 86_400) as u16
}
