//! What is learned of one application: how its clients behave when nothing is wrong.

use serde::{Deserialize, Serialize};

use super::{crowd::Crowd, distinct::Distinct, values::Values};
use crate::{
    detect::{
        facts::{Facts, labels},
        key::short,
        score::Rates,
        signals::Lineage,
    },
    event::RefreshEvent,
};

/// Characters of an id that are kept; a UUID has 36.
const NAME_CHARS_MAX: usize = 64;
/// Users before an application's addresses say what it is.
const BACKEND_USERS_MIN: f64 = 20.0;
/// A back end has at most this share of addresses to users.
const BACKEND_ADDRESSES: f64 = 0.1;
/// Refreshes before the share of clients that send the previous token says anything.
pub const STYLE_EVENTS_MIN: u32 = 50;
/// Refreshes before the share of users whose client calls itself a server says anything.
const SERVED_EVENTS_MIN: u32 = 50;
/// Refreshes of a second branch in the same place before they say that tabs keep tokens of their own.
const TABS_MIN: f32 = 5.0;
/// And the share of all refreshes.
const TABS_SHARE: f32 = 0.01;
/// Refreshes before it is known where they come from.
const NETWORKS_EVENTS_MIN: u32 = 200;
/// Of these, half are forgotten.
const NETWORKS_EVENTS_MAX: u32 = 440;
/// At least one in so many comes from each of its networks.
const NETWORK_SHARE: u32 = 20;
/// And at least one in so many is by each kind of its servers' software, of which there are few.
const SOFTWARE_SHARE: u32 = 4;
/// A back end's refreshes come from its few networks but for one in so many.
const STRAY_SHARE: u32 = 5;
/// Presented refresh tokens that could have changed, before it is known whether they do.
const ONE_TIME_EVENTS_MIN: u32 = 20;
/// Of these, half are forgotten.
const ONE_TIME_EVENTS_MAX: u32 = 400;
/// At so many refreshes half of what is counted is forgotten: the shares stay, and no count ever overflows.
const COUNT_MAX: u32 = 1 << 30;
/// Sessions whose last refresh was undone are counted for this long, seconds.
const UNDONE_SECS: u32 = 600;
/// So many are a fault of the service, where they are so many times what is usual.
const UNDONE_MIN: u32 = 3;
const UNDONE_FACTOR: f64 = 5.0;
/// Gaps are counted in steps of so many lifetimes.
const GAP: f64 = 0.05;
/// Up to 1.2 lifetimes.
const GAPS: usize = 24;
/// Gaps before they say what is usual.
const GAPS_MIN: u32 = 100;
/// Of these, half are forgotten.
const GAPS_MAX: u32 = 2_000;
/// One in so many is within a step of what many of its clients keep.
const GAP_SHARE: u32 = 25;
/// Of so many users two kinds of software are one device's, before they are so of all.
const KIN_MIN: f64 = 5.0;
/// And of this share of all users: nobody teaches it with a few accounts of their own.
const KIN_SHARE: f64 = 0.02;
/// Pairs of kinds of software that are remembered.
const KIN: usize = 4;
/// This many in a row that are the same: tokens that work once do not do that, so the policy was changed.
const REPEATS_MAX: u8 = 2;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// Its tenant and its own id, for words only; empty = unknown.
    pub tenant_id: String,
    /// See `tenant_id`.
    pub id: String,
    /// When it was first seen, seconds since 1970.
    pub first: u32,
    /// How many refreshes.
    pub events: u32,
    /// How often each level of each signal comes when nothing is wrong.
    pub rates: Rates,
    /// Refreshes that named the previous token.
    pub originals: u32,
    /// Users in whose sessions it was named three times.
    pub steady: Distinct,
    /// Of these, those who left it out later.
    pub lapsed: Distinct,
    /// Users of whom two tokens of one session were in use.
    pub branched: Distinct,
    /// Refreshes from a known address.
    pub placed: u32,
    /// Users of scripts.
    pub scripted: Distinct,
    /// Refreshes by what is known to be no browser.
    pub programs: u32,
    /// Users whom servers refresh for.
    pub served: Distinct,
    /// Users whose device contradicts its user agent.
    pub contradictions: Distinct,
    /// Lifetimes of its tokens, seconds.
    pub lifetimes: Values,
    /// Issuers, keys and algorithms.
    pub issuers: Values,
    /// Presented refresh tokens that differed from the session's one before.
    pub changed: u32,
    /// Presented refresh tokens that were the same.
    pub same: u32,
    /// How many in a row were the same, of any of its sessions.
    pub repeats: u8,
    /// Its networks.
    pub addresses: Distinct,
    /// The same networks, of the last few hundred refreshes.
    pub networks: Values,
    /// The kinds of software of the last few hundred refreshes.
    pub software: Values,
    /// Refreshes from networks that few of the last few hundred came from, of how many.
    pub strays: [u32; 2],
    /// Its users.
    pub users: Distinct,
    /// Those who were refreshed from a network that it is usually refreshed from.
    pub at_home: Distinct,
    /// The usual gap in token lifetimes, times 1,024; 0 = not known.
    pub pace: u16,
    /// How long after the token before its refreshes came, those before its end or about at it, in steps of a twentieth of a lifetime.
    pub gaps: [u16; GAPS],
    /// Sessions that spent a parent again, where they were before.
    pub undone: Crowd,
    /// Pairs of kinds of software: the users of whom the second came to where the first had just been.
    pub kin: [(u32, Distinct); KIN],
}

impl Application {
    /// The first sight of an application.
    pub fn new(now: u32) -> Self {
        Self { first: now, ..Self::default() }
    }

    /// What an event calls it.
    pub fn named(self, event: &RefreshEvent) -> Self {
        let cut = |id: Option<&str>| id.unwrap_or_default().chars().take(NAME_CHARS_MAX).collect();
        let tenant_id = cut(event.tenant_id.as_ref().map(|id| id.as_str()));
        Self { tenant_id, id: cut(event.application_id.as_ref().map(|id| id.as_str())), ..self }
    }

    /// Whether a server refreshes for its users: then address and user agent are the server's.
    pub fn is_backend(&self) -> bool {
        let users = self.users.estimate();
        let few = users * BACKEND_ADDRESSES;
        // Where addresses are not sent, or not kept, few say nothing.
        let are_placed = u64::from(self.placed) * 2 > u64::from(self.events);
        let is_few = are_placed && self.addresses.estimate() <= few && self.is_of_one_kind();
        let one_place = users >= BACKEND_USERS_MIN && (is_few || self.is_from_at_most(few));
        // Users, not refreshes: who calls themselves a server all day makes nobody else's place unimportant.
        one_place || self.events >= SERVED_EVENTS_MIN && self.served.estimate() * 2.0 > users
    }

    /// Whether one kind of software asks for nearly all users, or programs do: people behind one address have each their own.
    fn is_of_one_kind(&self) -> bool {
        let most = self.software.kept.iter().map(|seen| seen.count).max().unwrap_or(0);
        self.is_by_programs() || u64::from(most) * 10 >= u64::from(self.software.sum()) * 9
    }

    fn is_by_programs(&self) -> bool {
        u64::from(self.programs) * 5 >= u64::from(self.events) * 4
    }

    /// Whether most refreshes, and most users', come from so many networks, and are not by browsers, as those of an office are:
    /// whatever thieves add to its networks, and however often one client refreshes.
    fn is_from_at_most(&self, networks: f64) -> bool {
        let [strays, all] = self.strays;
        let all_known = self.networks.sum();
        let often = self.networks.kept.iter().filter(|seen| seen.count != 0 && seen.count * NETWORK_SHARE >= all_known);
        let is_few = all >= NETWORKS_EVENTS_MIN && strays * STRAY_SHARE <= all && often.count() as f64 <= networks;
        is_few && self.is_by_programs() && self.at_home.estimate() * 2.0 > self.users.estimate()
    }

    /// The share of refreshes that name the previous token.
    pub fn coverage(&self) -> f64 {
        f64::from(self.originals) / f64::from(self.events.max(1))
    }

    /// Whether those who always named the previous token leave it out after all, more than one in `ratio`.
    pub fn lapses(&self, ratio: u32) -> bool {
        let (steady, ratio) = (self.steady.estimate(), f64::from(ratio));
        steady.round() >= ratio && self.lapsed.estimate() * ratio > steady
    }

    /// Whether these of its users are at least this share of all: a few, so that nobody teaches it alone, or every other one.
    pub fn are_usual(&self, some: &Distinct, share: f64) -> bool {
        let (some, all) = (some.estimate(), self.users.estimate().max(1.0));
        some * 2.0 >= all || some.round() >= KIN_MIN && some >= share * all
    }

    /// Whether its clients keep a token in each tab, so that two of one session are in use in the same place: as far as
    /// nothing else was odd about them.
    pub fn keeps_tabs(&self) -> bool {
        let branches = Lineage::Branch.index().map_or(0.0, |at| self.rates.lineage[at]);
        let all: f32 = self.rates.lineage.iter().sum();
        branches >= TABS_MIN && branches >= TABS_SHARE * all && self.are_usual(&self.branched, KIN_SHARE)
    }

    /// Whether its refreshes are undone now, or their answers lost: by another webhook, or a network that is down.
    pub fn undoes(&self, now: u32) -> bool {
        let (sessions, usual) = self.undone.now(now, UNDONE_SECS);
        sessions >= UNDONE_MIN && f64::from(sessions) > UNDONE_FACTOR * f64::from(usual)
    }

    /// Counts a session that spent a parent again, where it was before.
    pub fn count_undone(&mut self, session: u64, now: u32) {
        self.undone.add(session, now, UNDONE_SECS);
    }

    /// Whether refresh tokens work once, as far as it is known: not while it seems to have changed.
    pub fn is_one_time(&self) -> Option<bool> {
        let all = self.changed + self.same;
        let is_one_time = (all >= ONE_TIME_EVENTS_MIN).then(|| self.changed * 20 >= all * 19)?;
        (!is_one_time || self.repeats < REPEATS_MAX).then_some(is_one_time)
    }

    /// Whether a network is one that its refreshes usually come from, as far as that is known. A server that is added is one
    /// within minutes; who replays a stolen store, beside those at work, is not for a while.
    pub fn serves_from(&self, near: u32) -> Option<bool> {
        let all = self.networks.sum();
        (all >= NETWORKS_EVENTS_MIN).then(|| self.networks.count(near) * NETWORK_SHARE >= all)
    }

    /// Whether a gap, in lifetimes, is one that many of its clients keep: of a release that refreshes before the end, say.
    pub fn keeps_gap(&self, lifetimes: f64) -> bool {
        let (at, all) = (gap_of(lifetimes), self.gaps.iter().copied().map(u32::from).sum::<u32>());
        let near: u32 = self.gaps[at.saturating_sub(1)..(at + 2).min(GAPS)].iter().copied().map(u32::from).sum();
        all >= GAPS_MIN && near * GAP_SHARE >= all
    }

    /// Counts a gap in lifetimes.
    pub fn count_gap(&mut self, lifetimes: f64) {
        self.gaps[gap_of(lifetimes)] += 1;
        if self.gaps.iter().copied().map(u32::from).sum::<u32>() >= GAPS_MAX {
            self.gaps.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// Whether two kinds of software are found on one device: an app and the browser that it shows pages in, a program and
    /// its helper.
    pub fn are_kin(&self, one: u16, other: u16) -> bool {
        let enough = (self.users.estimate() * KIN_SHARE).max(KIN_MIN);
        self.kin.iter().any(|(known, users)| *known == pair(one, other) && users.estimate().round() >= enough)
    }

    /// Counts a user of whom the second kind of software came to where the first had just been. A pair of few users makes
    /// room for another; one that was proved never does.
    pub fn count_kin(&mut self, (one, other): (u16, u16), user: u64) {
        let pair = pair(one, other);
        let is_free = |(_, users): &(u32, Distinct)| users.estimate().round() < KIN_MIN;
        let at = self.kin.iter().position(|(known, _)| *known == pair);
        let Some(at) = at.or_else(|| self.kin.iter().position(is_free)) else { return };
        if self.kin[at].0 != pair {
            self.kin[at] = (pair, Distinct::default());
        }
        self.kin[at].1.add(user);
    }

    /// Whether a kind of software is one that its refreshes are usually by, as far as that is known.
    pub fn serves_by(&self, class: u16) -> Option<bool> {
        let all = self.software.sum();
        (all >= NETWORKS_EVENTS_MIN).then(|| self.software.count(class.into()) * SOFTWARE_SHARE >= all)
    }

    /// Counts whether a session's presented refresh token was the same as before. Only the last few hundred say how it is:
    /// the policy can be changed.
    pub fn count_presented(&mut self, same: bool) {
        (self.same, self.changed) = (self.same + u32::from(same), self.changed + u32::from(!same));
        self.repeats = if same { self.repeats.saturating_add(1) } else { 0 };
        if self.same + self.changed >= ONE_TIME_EVENTS_MAX {
            (self.same, self.changed) = (self.same / 2, self.changed / 2);
        }
    }

    /// Counts what a refresh shows of the application.
    pub fn learn(&mut self, facts: &Facts, contradicts: bool) {
        self.fade();
        self.events += 1;
        self.originals += u32::from(facts.parent != 0);
        self.programs += u32::from(facts.agent.by_program);
        if facts.place.near != 0 {
            self.placed += 1;
            // In an office each is at their own desk.
            let desk = if facts.place.labels & labels::OFFICE == 0 { 0 } else { facts.user };
            self.addresses.add(facts.place.near ^ desk);
            if let Some(is_theirs) = self.serves_from(short(facts.place.near)) {
                self.strays = [self.strays[0] + u32::from(!is_theirs), self.strays[1] + 1];
                if is_theirs && facts.user != 0 {
                    self.at_home.add(facts.user);
                }
            }
            self.networks.add(short(facts.place.near));
        }
        if facts.agent.text != 0 {
            self.software.add(facts.agent.class.into());
        }
        if facts.user != 0 {
            self.users.add(facts.user);
            for (is_one, users) in [
                (facts.agent.server, &mut self.served),
                (facts.agent.tool, &mut self.scripted),
                (contradicts, &mut self.contradictions),
            ] {
                if is_one {
                    users.add(facts.user);
                }
            }
        }
        if let Some(secs) = facts.lifetime() {
            self.lifetimes.add(secs);
        }
        if facts.issuer != 0 {
            self.issuers.add(facts.issuer);
            self.issuers.add(facts.issuer_family);
        }
    }

    fn fade(&mut self) {
        let halve = |counts: &mut [&mut u32]| counts.iter_mut().for_each(|count| **count /= 2);
        if self.events >= COUNT_MAX {
            let Self { events, originals, placed, programs, .. } = self;
            halve(&mut [events, originals, placed, programs]);
        }
        for values in [&mut self.networks, &mut self.software] {
            if values.sum() >= NETWORKS_EVENTS_MAX {
                values.kept.iter_mut().for_each(|seen| seen.count /= 2);
            }
        }
        if self.strays[1] >= NETWORKS_EVENTS_MAX {
            self.strays = self.strays.map(|count| count / 2);
        }
    }
}

/// The step that a gap in lifetimes is in.
fn gap_of(lifetimes: f64) -> usize {
    ((lifetimes / GAP) as usize).min(GAPS - 1)
}

/// Two kinds of software as one value, whichever comes first.
fn pair(one: u16, other: u16) -> u32 {
    u32::from(one.min(other)) << 16 | u32::from(one.max(other))
}

#[cfg(test)]
#[path = "application_tests.rs"]
mod tests;
