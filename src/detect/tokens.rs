//! What parent and child say of who holds a session: see [`Lineage`], [`Fork`] and [`Rival`].

use super::{
    geo::is_elsewhere,
    key::short,
    seen::Seen,
    signals::{Fork, Lineage, Rival},
    state::{application::STYLE_EVENTS_MIN, chain::Parent, session::Context},
};

/// A session that sent its parent this often always does.
const ORIGINALS_MIN: u16 = 1;
/// An application whose clients send it this often always do.
const COVERAGE_MIN: f64 = 0.98;
/// A fork whose other child was not seen in this many refreshes had none.
const FORK_EVENTS_MAX: u8 = 4;
/// Tabs that are open at once refresh within this time of each other: a browser wakes those in the background once a
/// minute, and some wait for the next call, seconds.
const IN_STEP_SECS: u32 = 240;
/// A session whose branches met in so many networks, one after the other, is one device's: a thief stays where they are.
const FOLLOWED_MIN: u8 = 2;

impl Seen<'_> {
    /// How parent and child follow.
    pub fn lineage(&self) -> Lineage {
        match self.parent {
            Parent::None if self.always_sends_parent() => Lineage::Omitted,
            Parent::Fresh | Parent::None | Parent::Before => Lineage::Unknown,
            Parent::Branch | Parent::Left if self.is_one_device() => Lineage::Unknown,
            Parent::Head => Lineage::Head,
            Parent::Race => Lineage::Race,
            Parent::Retry(_) => Lineage::Retry,
            Parent::Branch | Parent::Left if self.is_tab() => Lineage::Branch,
            Parent::Left if self.session.is_some_and(|session| !session.twins) => Lineage::Left,
            Parent::Branch | Parent::Left if self.is_where_it_was() => Lineage::Beside,
            Parent::Branch | Parent::Left => Lineage::Apart,
            Parent::Stale(_) | Parent::Denied => Lineage::Stale,
            Parent::Unknown => Lineage::Strange,
        }
    }

    /// Whether this branch comes to where another one is already.
    pub fn follows(&self) -> bool {
        let Some(session) = self.session else { return false };
        let is_there =
            self.last_context().is_some_and(|last| last.ip != 0 && last.near == short(self.facts.place.near));
        matches!(self.parent, Parent::Branch | Parent::Left) && is_there && session.chain.has_moved(self.facts)
    }

    /// Whether the session's branches go wherever one of them goes: one device has all of them, such as an app and its widget.
    pub fn is_one_device(&self) -> bool {
        let near = short(self.facts.place.near);
        self.session
            .is_some_and(|session| session.followed >= FOLLOWED_MIN && (session.was_in(near) || self.is_own(near)))
    }

    /// Whether two branches are refreshed together, as tabs of one browser are that are open at once; or in one place, where
    /// tabs are known to keep tokens of their own.
    fn is_tab(&self) -> bool {
        let Some(session) = self.session else { return false };
        let within = IN_STEP_SECS.min(session.lifetime / 4);
        session.chain.is_in_step(self.facts.parent, self.now, within)
            || self.application.keeps_tabs() && self.is_where_it_was()
    }

    /// Whether address and software are those of the refresh before, whosever that was. Tabs of one browser share them.
    pub fn is_where_it_was(&self) -> bool {
        let now = self.context();
        // A household has addresses of two kinds, and its browser takes now this and now that.
        let is_known = || self.session.is_some_and(|session| session.contexts().iter().any(|had| had.is_like(&now)));
        let is_here = |last: &Context| {
            last.ip == now.ip || last.is_other_family(&now) && is_known() || self.is_exit_of_theirs(last, &now)
        };
        let is_alike = |last: &Context| last.agent == now.agent || last.class != now.class && self.is_related(last);
        self.last_context().is_none_or(|last| is_here(last) && is_alike(last))
    }

    /// Whether both are networks of the user's own, of one provider in one place: a company's, which leaves by now this one and now
    /// that.
    pub fn is_exit_of_theirs(&self, one: &Context, other: &Context) -> bool {
        let is_one = one.wide == other.wide && !is_elsewhere(one.spot.cell(), other.spot.cell());
        is_one && one.ip != 0 && other.ip != 0 && self.is_own(one.near) && self.is_own(other.near)
    }

    /// Whether this refresh and the last one are in networks of the user's own.
    pub fn is_among_own(&self) -> bool {
        self.is_own(short(self.facts.place.near)) && self.last_context().is_some_and(|last| self.is_own(last.near))
    }

    /// Whether a network is the user's own.
    fn is_own(&self, near: u32) -> bool {
        self.user.is_some_and(|user| user.has_place(near))
    }

    /// What became of the last fork.
    pub fn fork(&self) -> Fork {
        let Some(session) = self.session else { return Fork::Unknown };
        match self.parent {
            // Tabs leave home, too.
            Parent::Branch | Parent::Left if self.application.keeps_tabs() || self.is_one_device() => Fork::Unknown,
            Parent::Branch | Parent::Left if !session.twins && !self.is_tab() => Fork::Twins,
            _ if session.fork_open >= FORK_EVENTS_MAX => Fork::Lone,
            _ => Fork::Unknown,
        }
    }

    /// Who spent the parent before this refresh did: whoever the session saw last. Of branches that go on side by side the
    /// lineage says it.
    pub fn rival(&self, lineage: Lineage) -> Rival {
        let (Some(last), place) = (self.last_context(), &self.facts.place) else { return Rival::Unknown };
        if !matches!(lineage, Lineage::Retry | Lineage::Left | Lineage::Stale) || last.ip == 0 || place.ip == 0 {
            return Rival::Unknown;
        }
        if (last.near == short(place.near) || last.ip == place.ip) && self.is_related(last) {
            return Rival::Alike;
        }
        let issued = self.facts.previous.iat;
        if !self.is_own(last.near) && issued > 0 && i64::from(last.first) > issued {
            Rival::Stranger
        } else {
            Rival::Own
        }
    }

    fn always_sends_parent(&self) -> bool {
        // Unless clients of this application leave it out sooner or later: a release does, for one.
        if self.application.lapses(self.config.ra103.ratio_min) {
            return false;
        }
        let sends = self.session.is_some_and(|session| session.originals >= ORIGINALS_MIN);
        sends || self.application.events >= STYLE_EVENTS_MIN && self.application.coverage() >= COVERAGE_MIN
    }
}
