//! What a revocation teaches: whose refreshes should be over. RA106 says where they are not.

use super::{
    facts::Facts,
    key::{key_of, short},
    state::{State, StateLimits, session::Session, user::SESSIONS},
};
use crate::event::RefreshEvent;

/// Whose tokens were revoked: a session's, or those of everything that began before. People sign out all day, and that pushes
/// out no user who was stopped: these are remembered apart.
#[derive(Clone, Copy)]
enum Whose {
    Session,
    Token,
    UserInApplication,
    User,
    Application,
}

impl Whose {
    const fn is_one(self) -> bool {
        matches!(self, Self::Session | Self::Token)
    }

    /// What it is called in [`State::revoked`] or [`State::stopped`].
    fn key(self, of: u64) -> u64 {
        key_of(of ^ ((self as u64 + 1) << 56))
    }
}

/// When tokens were revoked that a refresh may be one of, seconds since 1970; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revoked {
    /// Of this session.
    pub session: u32,
    /// Of its user in its application.
    pub user_in_application: u32,
    /// Of its user.
    pub user: u32,
    /// Of its application.
    pub application: u32,
}

impl Revoked {
    /// What is known for a refresh; `session`: what is remembered of its session.
    pub fn of(state: &State, facts: &Facts, session: Option<&Session>) -> Self {
        let when = |whose: Whose, of: u64| {
            let table = if whose.is_one() { &state.revoked } else { &state.stopped };
            // Most services take no revocations, and each look costs two cache misses.
            if of == 0 || table.is_empty() { 0 } else { table.get(whose.key(of)).copied().unwrap_or(0) }
        };
        let named = [(facts.session, facts.presented)];
        let named = named.into_iter().chain(facts.old.iter().map(|old| (old.session, old.presented)));
        let named = named.map(|(session, token)| when(Whose::Session, session).max(when(Whose::Token, token)));
        Self {
            session: named.max().unwrap_or(0).max(session.map_or(0, |session| session.revoked)),
            user_in_application: when(Whose::UserInApplication, of_both(facts)),
            user: when(Whose::User, facts.user),
            application: when(Whose::Application, facts.application),
        }
    }
}

/// Tokens were revoked at an instant by the sender's clock: of one session, of a user, of a user in one application, or of a
/// whole application. Whether any of them was ever seen does not matter.
pub fn learn(state: &mut State, limits: &StateLimits, event: &RefreshEvent, facts: &Facts, (now, at): (i64, u32)) {
    let when = u32::try_from(now.max(1)).unwrap_or(u32::MAX);
    let note = |state: &mut State, whose: Whose, of: u64| {
        let (table, limits) = match whose.is_one() {
            true => (&mut state.revoked, limits.revoked),
            false => (&mut state.stopped, limits.stopped),
        };
        let noted = table.entry(whose.key(of), at, limits, || 0);
        *noted = when.max(*noted);
    };
    if facts.presented != 0 || event.session_id.is_some() {
        if revoke_known(state, limits, (event, facts), when) {
            return;
        }
        if event.session_id.is_some() {
            note(state, Whose::Session, facts.session);
        } else {
            note(state, Whose::Token, facts.presented);
        }
    } else if facts.user != 0 && event.application_id.is_some() {
        note(state, Whose::UserInApplication, of_both(facts));
    } else if facts.user != 0 {
        note(state, Whose::User, facts.user);
    } else if event.application_id.is_some() {
        note(state, Whose::Application, facts.application);
    }
}

/// Marks the session that is meant, among those that are remembered; false where there is none.
fn revoke_known(state: &mut State, limits: &StateLimits, (event, facts): (&RefreshEvent, &Facts), when: u32) -> bool {
    let presented = short(facts.presented);
    let of_user = state.users.get(facts.user).map_or([0; SESSIONS], |user| user.sessions);
    let mut is_known = false;
    for key in of_user.into_iter().chain([facts.session]).filter(|key| *key != 0) {
        let is_named = event.session_id.is_some() && key == facts.session;
        let shown = |session: &Session| facts.presented != 0 && session.presented.contains(&presented);
        if state.sessions.get(key).is_some_and(|session| is_named || shown(session))
            && let Some(session) = state.sessions.get_mut(key, limits.sessions)
        {
            session.revoked = session.revoked.max(when);
            is_known = true;
        }
    }
    is_known
}

fn of_both(facts: &Facts) -> u64 {
    if facts.user == 0 { 0 } else { facts.user ^ facts.application.rotate_left(32) }
}
