//! What a user's other sessions say of a refresh. A person who travels takes all their sessions along; a thief has one. And
//! who signs in anew leaves the session before behind.

use super::{
    facts::{Facts, labels},
    key::short,
    seen::Seen,
    signals::{Elsewhere, Ground, Net, Renewal},
    state::{
        State,
        session::{Context, Session, said},
        user::User,
    },
};

/// A network in which another session was within this time is the person's, seconds.
const LATELY_SECS: u32 = 86_400;
/// Two sessions within this time are in use at once, seconds.
const AT_ONCE_SECS: u32 = 3_600;
/// A provider of this many users is a common one.
const COMMON_OWNERS: u32 = 8;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others {
    /// Of a network that is not the user's own yet.
    pub elsewhere: Elsewhere,
    /// Of a session that has others beside it.
    pub renewal: Renewal,
    /// The most tokens in a row that one of them used up in the same application.
    pub run_max: u16,
}

impl Others {
    /// Looks at the user's other sessions. `now`: the sender's instant, seconds since 1970.
    pub fn of(state: &State, user: &User, session: Option<&Session>, facts: &Facts, now: u32) -> Self {
        let others = user.sessions.iter().filter(|key| **key != 0 && **key != facts.session);
        let others = || others.clone().filter_map(|key| state.sessions.get(*key));
        let near = short(facts.place.near);
        let is_own = |near: u32| user.has_place(near);
        let is_foreign = facts.place.ip != 0 && user.places().next().is_some() && !is_own(near);
        let mut said = Self::default();
        if is_foreign {
            said.elsewhere = others().map(|other| elsewhere(other, facts, near, now, is_own)).max().unwrap_or_default();
        }
        if let Some(session) = session {
            let one_time = state.applications.get(facts.application).is_some_and(|app| app.is_one_time() == Some(true));
            let is_home = |other: &Session| other.contexts().first().is_some_and(|context| is_own(context.near));
            // Who has two of a kind signs in with one of them while the other goes on. One that was over when this one began
            // is the same device's, before.
            let is_beside = |other: &&Session| other.last > session.first;
            let is_alike = |other: &&Session| renewal(session, other) != Renewal::Unknown;
            let is_only = others().filter(is_beside).filter(is_alike).count() == 1;
            let renewal = |other: &Session| match renewal(session, other) {
                Renewal::Renewed if is_foreign && is_home(other) => Renewal::Replaced,
                Renewal::Renewed if one_time && is_only => Renewal::Ousted,
                said => said,
            };
            said.renewal = others().map(renewal).max().unwrap_or_default();
            let alike = others().filter(|other| other.application == session.application && other.suspected == 0);
            said.run_max = alike.map(|other| other.run_max).max().unwrap_or(0);
        }
        said
    }
}

impl Seen<'_> {
    /// Where the user's other sessions are: told once while the session stays where it is, however often both are in use.
    pub fn other_sessions(&self, net: Net) -> Elsewhere {
        let said = self.session.filter(|_| net <= Net::Same).map_or(0, |session| session.said);
        if said & said_of(self.others.elsewhere) != 0 { Elsewhere::Unknown } else { self.others.elsewhere }
    }

    /// Whose provider it is, where the network is new.
    pub fn ground(&self, net: Net) -> Ground {
        match self.owners {
            _ if net < Net::Area => Ground::Unknown,
            0 => Ground::Nobody,
            1 => Ground::One,
            2..COMMON_OWNERS => Ground::Few,
            _ => Ground::Common,
        }
    }
}

/// Remembers what was told while a session stays where it is.
pub fn remember(session: &mut Session, place: Net, told: Elsewhere) {
    if place > Net::Same {
        session.said &= !(said::APART | said::TORN);
    }
    session.said |= said_of(told);
}

fn said_of(told: Elsewhere) -> u8 {
    match told {
        Elsewhere::Apart => said::APART,
        Elsewhere::Torn => said::TORN,
        _ => 0,
    }
}

/// What one other session says of a network that is not the user's own.
fn elsewhere(other: &Session, facts: &Facts, near: u32, now: u32, is_own: impl Fn(u32) -> bool) -> Elsewhere {
    let here = |context: &Context| context.near == near && now.saturating_sub(context.last) <= LATELY_SECS;
    // Nobody vouches who may be a thief's own.
    if other.suspected == 0 && other.contexts().iter().any(here) {
        return Elsewhere::Here;
    }
    let Some(last) = other.contexts().first() else { return Elsewhere::Unknown };
    let roams = labels::moves(last.labels | facts.place.labels);
    if roams || now.abs_diff(last.last) > AT_ONCE_SECS || !is_own(last.near) {
        Elsewhere::Quiet
    } else if last.class == facts.agent.class {
        Elsewhere::Torn
    } else {
        Elsewhere::Apart
    }
}

/// Whether the same kind of software signed in anew to the same application since this session was last refreshed.
fn renewal(session: &Session, other: &Session) -> Renewal {
    let class = |session: &Session| session.contexts().first().map(|context| context.class);
    let is_alike = match class(other) {
        Some(class) => session.contexts().iter().any(|context| context.class == class),
        None => class(session).is_none(),
    };
    let is_newer = other.first > session.last && other.auth_time >= session.auth_time;
    if other.application != session.application || !is_alike {
        Renewal::Unknown
    } else if is_newer {
        Renewal::Renewed
    } else {
        Renewal::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        facts::{Agent, Place, testing::refresh},
        state::{application::Application, table::Limits, tiers::TierLimits},
    };

    const LIMITS: TierLimits = TierLimits { hot: Limits { entries: 1 << 16, kept: 1_000_000 }, spilled: 0 };
    const HOME: u64 = 7;
    const HOTEL: u64 = 8;
    const BROWSER: u16 = 1;

    /// From where and by what, and when first and last.
    type Other = ((u64, u16), (u32, u32));

    fn at(now: u32, near: u64, class: u16, session: u64) -> Facts {
        let place = Place { ip: short(near), near, wide: short(near), ..Place::default() };
        let agent = Agent { text: u32::from(class), class, ..Agent::default() };
        Facts { session, place, agent, ..refresh(i64::from(now), 0, 0) }
    }

    /// Of a refresh at 10,000 s of a session that was last refreshed at home at 5,000 s: what the user's other session
    /// says, which was first and last refreshed at these instants.
    fn said(this: (u64, u16), other: (u64, u16), times: (u32, u32)) -> (Elsewhere, Renewal) {
        said_in(State::default(), this, &[(other, times)])
    }

    fn said_in(mut state: State, this: (u64, u16), others: &[Other]) -> (Elsewhere, Renewal) {
        let mut user = User::default();
        user.adopt(&at(1, HOME, BROWSER, 1), 1);
        let sessions = [((HOME, BROWSER), (100, 5_000))].into_iter().chain(others.iter().copied());
        for (key, ((near, class), (first, last))) in (1..).zip(sessions) {
            let facts = at(last, near, class, key);
            let mut session = Session::new(&facts, first);
            session.visit(Context::of(&facts.place, &facts.agent, last));
            session.last = last;
            *state.sessions.entry(key, 1, LIMITS, Session::default) = session;
            user.own(key, 1);
        }
        let others = Others::of(&state, &user, state.sessions.get(1), &at(10_000, this.0, this.1, 1), 10_000);
        (others.elsewhere, others.renewal)
    }

    #[test]
    fn other_sessions_say_where_the_person_is() {
        let old = |last| (200, last);
        let here = |this, other, times| said(this, other, times).0;
        // The person is in the hotel with both.
        assert_eq!(here((HOTEL, BROWSER), (HOTEL, BROWSER), old(9_000)), Elsewhere::Here);
        // One device in two networks, two devices in two, and none that is in use now.
        assert_eq!(here((HOTEL, BROWSER), (HOME, BROWSER), old(9_000)), Elsewhere::Torn);
        assert_eq!(here((HOTEL, BROWSER), (HOME, 2), old(9_000)), Elsewhere::Apart);
        assert_eq!(here((HOTEL, BROWSER), (HOME, BROWSER), old(6_399)), Elsewhere::Quiet);
        // Of what is the user's own nothing is said.
        assert_eq!(here((HOME, BROWSER), (HOME, BROWSER), old(9_000)), Elsewhere::Unknown);
    }

    #[test]
    fn who_signs_in_anew_leaves_the_session_before_behind() {
        let left = |class, first| said((HOME, BROWSER), (HOME, class), (first, 9_000)).1;
        assert_eq!(left(BROWSER, 6_000), Renewal::Renewed);
        assert_eq!(left(BROWSER, 4_000), Renewal::Kept);
        // Another device is another session.
        assert_eq!(left(2, 6_000), Renewal::Unknown);
    }

    #[test]
    fn who_was_refused_signs_in_anew_while_the_thief_goes_on() {
        let mut one_time = State::default();
        let application =
            one_time.applications.entry(at(1, HOME, BROWSER, 1).application, 1, LIMITS.hot, Application::default);
        (0..40).for_each(|_| application.count_presented(false));
        let (new, old) = (((HOME, BROWSER), (6_000, 9_000)), ((HOME, BROWSER), (50, 9_000)));
        let renewal = |state: &State, near, others: &[_]| said_in(state.clone(), (near, BROWSER), others).1;
        assert_eq!(renewal(&one_time, HOME, &[new]), Renewal::Ousted);
        // Who had two of a kind signs in with the other one; and tokens that work often refuse nobody.
        assert_eq!(renewal(&one_time, HOME, &[new, old]), Renewal::Renewed);
        // The session before this one (first seen at 100 s) was over by then: no second device.
        assert_eq!(renewal(&one_time, HOME, &[new, ((HOME, BROWSER), (50, 90))]), Renewal::Ousted);
        assert_eq!(renewal(&State::default(), HOME, &[new]), Renewal::Renewed);
        // The person is at home, with a new session; the old one goes on in a hotel.
        assert_eq!(renewal(&State::default(), HOTEL, &[new]), Renewal::Replaced);
        assert_eq!(renewal(&State::default(), HOTEL, &[old]), Renewal::Kept);
    }
}
