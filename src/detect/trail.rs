//! What the last refreshes of a session have in common, and a person's have not: networks that nobody comes back to, and gaps
//! as a clock makes them.

use super::{
    facts::{Cell, labels},
    geo::is_elsewhere,
    score::WAYS,
    seen::{BURST_RATE, LEEWAY_SECS, Seen},
    signals::{Beat, Drift, Net},
    state::{session::Context, user::User},
};

/// Gaps that differ by less than this share are alike.
const ALIKE: f64 = 0.08;
/// A token's end explains gaps up to so many of its lifetimes.
const EXPLAINED: f64 = 1.3;
/// What people do once a day is as regular as what a clock does, seconds.
const BEAT_SECS_MAX: u32 = 18 * 3_600;

impl Seen<'_> {
    /// What speaks for a thief, by its share where a client refreshes over and over at once: whatever is wrong with it, it is one
    /// thing, however often it is shown.
    pub fn once(&self, evidence: [f64; WAYS]) -> [f64; WAYS] {
        let rate = self.session.filter(|_| self.gap() <= Some(LEEWAY_SECS)).map_or(0, |session| session.rate);
        let share = 1.0 / f64::from(rate.saturating_sub(BURST_RATE).max(1));
        evidence.map(|said| if said > 0.0 { said * share } else { said })
    }

    /// How many foreign networks the session was in without coming back, this one included. A telephone's or a roaming one
    /// says nothing.
    pub fn drift(&self, net: Net) -> Drift {
        let moves = |labels: u16| labels & (labels::MOBILE | labels::ROAMING) != 0;
        let (Some(session), Some(user), place) = (self.session, self.user, &self.facts.place) else {
            return Drift::Unknown;
        };
        if net < Net::Area || moves(place.labels) || user.places().next().is_none() {
            return Drift::Unknown;
        }
        let is_foreign = |context: &&Context| {
            context.ip != 0 && !moves(context.labels) && !User::places(user).any(|own| own.near == context.near)
        };
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
        let explained = EXPLAINED * f64::from(session.lifetime);
        if session.lifetime == 0 || f64::from(gap) < explained || gap > BEAT_SECS_MAX {
            return Beat::Unknown;
        }
        // What was issued before the session was first seen is no gap of its client's that anyone saw.
        let seen = |instant: &u32| *instant >= session.first.saturating_sub(LEEWAY_SECS);
        let mut instants: Vec<u32> = session.chain.instants().filter(seen).collect();
        instants.dedup();
        let gaps = instants.windows(2).map(|two| two[0].saturating_sub(two[1]));
        let is_alike = |other: u32| f64::from(other.abs_diff(gap)) <= ALIKE * f64::from(gap);
        let Some(alike) = gaps.clone().position(|other| !is_alike(other)) else { return Beat::Unknown };
        match alike {
            0 => Beat::Loose,
            1 => Beat::Twice,
            2 => Beat::Thrice,
            _ => Beat::Steady,
        }
    }
}
