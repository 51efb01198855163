//! What the last refreshes of a session have in common, and a person's have not: networks that nobody comes back to, and gaps
//! as a clock makes them. And what they have in common where they are a storm: it is told once.

use super::{
    facts::{Cell, labels},
    geo::is_elsewhere,
    seen::{BURST_RATE, LEEWAY_SECS, Seen},
    signals::{Beat, Drift, Net},
    state::session::Context,
};

/// Gaps that differ by less than this share are alike.
const ALIKE: f64 = 0.08;
/// A token's end explains gaps up to so many of its lifetimes, or up to so many seconds more: who is at work asks for something
/// within that.
const EXPLAINED: f64 = 1.3;
const EXPLAINED_SECS: f64 = 300.0;
/// What people do once a day is as regular as what a clock does, seconds.
const BEAT_SECS_MAX: u32 = 18 * 3_600;

impl Seen<'_> {
    /// How much of what speaks for a thief is new. Where a client refreshes over and over at once, whatever is wrong with it is
    /// one thing, however often it is shown.
    pub fn share(&self) -> f64 {
        let Some(session) = self.session else { return 1.0 };
        let rate = if self.gap() <= Some(LEEWAY_SECS) { session.rate } else { 0 };
        1.0 / f64::from(rate.saturating_sub(BURST_RATE).max(1))
    }

    /// How many foreign networks the session was in without coming back, this one included. A telephone's or a roaming one
    /// says nothing.
    pub fn drift(&self, net: Net) -> Drift {
        let (Some(session), Some(user), place) = (self.session, self.user, &self.facts.place) else {
            return Drift::Unknown;
        };
        if net < Net::Area || labels::moves(place.labels) || user.places().next().is_none() {
            return Drift::Unknown;
        }
        let is_foreign =
            |context: &&Context| context.ip != 0 && !labels::moves(context.labels) && !user.has_place(context.near);
        let before = session.contexts().iter().take_while(is_foreign).map(|had| (had.wide, had.spot.cell()));
        let mut different: Vec<(u32, Option<Cell>)> = vec![(place.wide, place.cell)];
        for (wide, cell) in before {
            if different.iter().all(|(other, there)| *other != wide || is_elsewhere(*there, cell)) {
                different.push((wide, cell));
            }
        }
        match different.len() {
            1 => Drift::One,
            2 => Drift::Two,
            3 => Drift::Three,
            _ => Drift::Many,
        }
    }

    /// How many gaps in a row, this one included, are alike, in a session in which others were not: who always comes by the
    /// clock has made nothing new of it.
    pub fn beat(&self) -> Beat {
        let (Some(session), Some(gap)) = (self.session, self.gap()) else { return Beat::Unknown };
        let lifetime = f64::from(session.lifetime);
        let explained = (EXPLAINED * lifetime).max(lifetime + EXPLAINED_SECS);
        if session.lifetime == 0 || f64::from(gap) < explained || gap > BEAT_SECS_MAX {
            return Beat::Unknown;
        }
        // What was issued before the session was first seen is no gap of its client's that anyone saw.
        let seen = |instant: &u32| *instant >= session.first.saturating_sub(LEEWAY_SECS);
        let is_alike = |other: u32| f64::from(other.abs_diff(gap)) <= ALIKE * f64::from(gap);
        let mut instants = session.chain.instants().filter(seen);
        let Some(mut later) = instants.next() else { return Beat::Unknown };
        let mut alike = 0;
        for earlier in instants {
            if earlier == later {
                continue;
            }
            if !is_alike(later.saturating_sub(earlier)) {
                return [Beat::Loose, Beat::Twice, Beat::Thrice].get(alike).copied().unwrap_or(Beat::Steady);
            }
            (later, alike) = (earlier, alike + 1);
        }
        Beat::Unknown
    }
}
