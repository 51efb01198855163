//! What is remembered of one session: 396 bytes.

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use crate::detect::{
    facts::{Agent, Facts, Place, Spot, labels},
    geo::is_elsewhere,
    key::tiny,
    score::Weights,
    told::Told,
};

/// Contexts remembered of one session.
pub const CONTEXTS: usize = 3;
/// Networks remembered of one session beside those of its contexts.
pub const HAUNTS: usize = 6;
/// A context that came this often, over [`PROBATION_SECS`], without a lineage finding, is the user's own.
pub const PROBATION_EVENTS: u16 = 3;
/// See [`PROBATION_EVENTS`].
pub const PROBATION_SECS: u32 = 86_400;
/// Refreshes are counted in windows of this length.
pub const RATE_SECS: u32 = 600;

/// Bits of [`Session::said`].
pub mod said {
    /// RA204: that it is too old.
    pub const OVER_AGE: u8 = 1;
    /// While it stays in a network: that another session was in use at the same time, by other software.
    pub const APART: u8 = 2;
    /// The same, by the same kind of software.
    pub const TORN: u8 = 4;
    /// That its client left out the parent.
    pub const OMITTED: u8 = 8;
}

/// Where and by what a session was refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// See [`Place`].
    pub ip: u32,
    /// See [`Place`]; the low half.
    pub near: u32,
    /// See [`Place`].
    pub wide: u32,
    /// See [`Place`].
    pub spot: Spot,
    /// See [`Place`].
    pub country: u16,
    /// See [`Place`].
    pub labels: u16,
    /// The agent's text.
    pub agent: u32,
    /// See [`Agent`].
    pub class: u16,
    /// See [`Agent`].
    pub root: u16,
    /// See [`Agent`].
    pub major: u16,
    /// When it was first seen, seconds since 1970.
    pub first: u32,
    /// When it was last seen.
    pub last: u32,
    /// How often.
    pub count: u16,
}

impl Context {
    /// What an event looks like.
    pub fn of(place: &Place, agent: &Agent, now: u32) -> Self {
        Self {
            ip: place.ip,
            near: crate::detect::key::short(place.near),
            wide: place.wide,
            spot: Spot::new(place.cell),
            country: place.country,
            labels: place.labels,
            agent: agent.text,
            class: agent.class,
            root: agent.root,
            major: agent.major,
            first: now,
            last: now,
            count: 1,
        }
    }

    /// Whether both are of one network and one kind of software: one holder, as far as anyone can see.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.near == other.near || self.ip == other.ip) && self.class == other.class
    }

    /// Whether they may be the two addresses of one household, IPv4 and IPv6: of one provider, or in one place as far as
    /// either is known.
    pub fn is_other_family(&self, other: &Self) -> bool {
        let is_one = if self.labels & other.labels & labels::NUMBERED != 0 {
            self.wide == other.wide
        } else {
            !is_elsewhere(self.spot.cell(), other.spot.cell())
        };
        self.ip != 0 && other.ip != 0 && (self.labels ^ other.labels) & labels::IPV6 != 0 && is_one
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The key of its fingerprints.
    pub keyed: u16,
    /// When it was first seen (received), seconds since 1970.
    pub first: u32,
    /// When its last refresh happened (the sender's instant).
    pub last: u32,
    /// The newest token's lifetime, seconds; 0 = unknown.
    pub lifetime: u32,
    /// When its user signed in.
    pub auth_time: u32,
    /// When it was revoked; 0 = was not.
    pub revoked: u32,
    /// Its tokens.
    pub chain: Chain,
    /// Where it was refreshed; the newest first.
    pub contexts: [Context; CONTEXTS],
    /// How many refreshes.
    pub events: u32,
    /// How many named the previous token.
    pub originals: u16,
    /// How many did not, its first left out.
    pub omitted: u16,
    /// How many came long before the token's end.
    pub early: u8,
    /// How many came just before it, where the client seemed to wait for it.
    pub ahead: u8,
    /// How many can be told early or not.
    pub timed: u16,
    /// How many had a spent parent or one of another branch.
    pub forked: u8,
    /// How many of these from the same address and by the same software as the refresh before.
    pub beside: u8,
    /// How many came from where they were before, from a new network of a provider of theirs, and from elsewhere: in
    /// mid-use, and on waking. Of the last few hundred.
    pub moves: [[u8; 3]; 2],
    /// How many tokens in a row were used up without a pause until now.
    pub run: u16,
    /// The most that ever were.
    pub run_max: u16,
    /// Whether both children of its last fork were seen in use.
    pub twins: bool,
    /// Refreshes since a fork of which only one child was seen in use; 0 = there is none.
    pub fork_open: u8,
    /// How many were back in a network that was left a moment before, or otherwise nowhere near the last.
    pub flips: u16,
    /// The longest gap, seconds.
    pub gap_max: u32,
    /// The usual gap in token lifetimes, times 1,024; 0 = not known.
    pub pace: u16,
    /// Refreshes in the window that began at `rate_from`.
    pub rate: u16,
    /// See `rate`.
    pub rate_from: u32,
    /// Changes from one context to another and back.
    pub alternations: u8,
    /// The presented refresh token, and the one before.
    pub presented: [u32; 2],
    /// The score's memory.
    pub weights: Weights,
    /// When a lineage rule last spoke; 0 = never.
    pub suspected: u32,
    /// What was said or counted of it once, see [`said`].
    pub said: u8,
    /// Its application, in short.
    pub application: u16,
    /// Networks that it was in before those of its contexts, in short; the newest first.
    pub haunts: [u16; HAUNTS],
    /// What was told of it.
    pub told: Told,
    /// How often one of its branches came to where another one was, each time in another network than the time before.
    pub followed: u8,
    /// Where that was last, in short.
    pub followed_to: u8,
}

impl Session {
    /// The first sight of a session.
    pub fn new(facts: &Facts, now: u32) -> Self {
        Self { keyed: facts.keyed, application: tiny(facts.application), first: now, ..Self::default() }
    }

    /// The contexts that hold something, the newest first.
    pub fn contexts(&self) -> &[Context] {
        let len = self.contexts.iter().position(|context| context.count == 0).unwrap_or(CONTEXTS);
        &self.contexts[..len]
    }

    /// Remembers where a refresh came from: the newest first. The one unused for longest goes, of those whose kind of
    /// software another one has: a client that calls itself one thing in front and another behind is not new each time.
    pub fn visit(&mut self, seen: Context) {
        let at = self.contexts().iter().position(|known| known.is_like(&seen));
        let mut newest = seen;
        if let Some(at) = at {
            let known = self.contexts[at];
            newest.first = known.first;
            newest.count = known.count.saturating_add(1);
        }
        let end = at.unwrap_or_else(|| self.oldest_of_its_kind(&seen));
        if at.is_none() {
            self.haunt(self.contexts[end].near);
        }
        self.contexts.copy_within(0..end, 1);
        self.contexts[0] = newest;
    }

    /// Remembers a network beside its contexts.
    fn haunt(&mut self, near: u32) {
        if near == 0 {
            return;
        }
        let key = haunt_key(near);
        let at = self.haunts.iter().position(|had| *had == key).unwrap_or(HAUNTS - 1);
        self.haunts.copy_within(0..at, 1);
        self.haunts[0] = key;
    }

    /// Whether it was in a network before.
    pub fn was_in(&self, near: u32) -> bool {
        self.contexts().iter().any(|context| context.near == near)
            || near != 0 && self.haunts.contains(&haunt_key(near))
    }

    fn oldest_of_its_kind(&self, seen: &Context) -> usize {
        let others = |at: usize| self.contexts.iter().enumerate().filter(move |(other, _)| *other != at);
        let has_twin = |at: usize| {
            let class = self.contexts[at].class;
            class == seen.class || others(at).any(|(_, other)| other.class == class)
        };
        if self.contexts[CONTEXTS - 1].count == 0 {
            return CONTEXTS - 1;
        }
        (1..CONTEXTS).rev().find(|at| has_twin(*at)).unwrap_or(CONTEXTS - 1)
    }

    /// Whether a context has been its own long enough to be the user's.
    pub fn has_proved(&self, context: &Context) -> bool {
        context.count >= PROBATION_EVENTS
            && context.last.saturating_sub(context.first) >= PROBATION_SECS
            && self.suspected == 0
    }
}

/// A network among the haunts, where 0 is none.
fn haunt_key(near: u32) -> u16 {
    tiny(u64::from(near)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_sessions_fit_their_share_of_memory() {
        assert!(size_of::<Session>() <= 396, "{}", size_of::<Session>());
        assert!(size_of::<super::super::user::User>() <= 304, "{}", size_of::<super::super::user::User>());
    }
}
