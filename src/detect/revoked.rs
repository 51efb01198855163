//! What a revocation teaches: whose refreshes should be over. RA106 says where they are not.

use super::{
    facts::Facts,
    key::{short, tiny},
    state::{
        State, StateLimits,
        application::Application,
        session::Session,
        user::{SESSIONS, User},
    },
};
use crate::event::RefreshEvent;

/// Tokens were revoked: of one session, of a user, of a user in one application, or of a whole application.
pub fn learn(state: &mut State, limits: &StateLimits, event: &RefreshEvent, facts: &Facts, at: u32) {
    let when = u32::try_from(facts.occurred.max(1)).unwrap_or(at).min(at.max(1));
    let presented = short(facts.presented);
    let sessions = state.users.get(facts.user).map_or([0; SESSIONS], |user| user.sessions);
    let sessions = sessions.into_iter().chain([facts.session]).filter(|key| *key != 0);
    let revoke = |state: &mut State, is_meant: &dyn Fn(u64, &Session) -> bool| {
        let mut is_known = false;
        for key in sessions.clone() {
            if state.sessions.get(key).is_some_and(|session| is_meant(key, session))
                && let Some(session) = state.sessions.get_mut(key, limits.sessions)
            {
                session.revoked = session.revoked.max(when);
                is_known = true;
            }
        }
        is_known
    };
    let is_of_one = facts.presented != 0 || event.session_id.is_some();
    if is_of_one {
        let is_named = |key: u64| event.session_id.is_some() && key == facts.session;
        let shown = |session: &Session| facts.presented != 0 && session.presented.contains(&presented);
        let is_known = revoke(state, &|key, session| is_named(key) || shown(session));
        // A token that works once is revoked before it was ever shown: whoever shows it is late.
        if facts.user != 0 && facts.presented != 0 && !is_known {
            user(state, limits, facts, at).gone = (presented, when);
        }
    } else if facts.user != 0 && event.application_id.is_some() {
        // Of this user and this application: the others go on.
        revoke(state, &|_, session| session.application == tiny(facts.application));
    } else if facts.user != 0 {
        let user = user(state, limits, facts, at);
        user.revoked = user.revoked.max(when);
    } else if event.application_id.is_some() {
        let new = || Application::new(at);
        let application = state.applications.entry(facts.application, at, limits.applications, new);
        application.revoked = application.revoked.max(when);
    }
}

/// Whose it is; one who was not seen yet may hold tokens of before.
fn user<'a>(state: &'a mut State, limits: &StateLimits, facts: &Facts, at: u32) -> &'a mut User {
    state.users.entry(facts.user, at, limits.users, || User::new(at))
}
