//! After a change of the fingerprint key: what is remembered under a key of before is called by the writing one as soon as
//! an event shows the same token under both. So a session moves over by itself with its first refresh, and every
//! comparison is between names of one key.

use super::{
    facts::{Facts, OldNames},
    key::short,
    state::{State, StateLimits, session::Session, user::SESSIONS},
};

/// Renames what is remembered of an event's tokens.
pub fn rename(state: &mut State, limits: &StateLimits, facts: &Facts, at: u32) {
    for old in &facts.old {
        if old.session != facts.session {
            move_session(state, limits, (old.session, facts), at);
        }
        let of_user = state.users.get(facts.user).map_or([0; SESSIONS], |user| user.sessions);
        for key in of_user.into_iter().chain([facts.session]).filter(|key| *key != 0) {
            if let Some(session) = state.sessions.get_mut(key, limits.sessions) {
                rename_tokens(session, old, facts);
            }
        }
    }
}

/// A session that its refresh token stands for.
fn move_session(state: &mut State, limits: &StateLimits, (from, facts): (u64, &Facts), at: u32) {
    if let Some(user) = state.users.get_mut(facts.user, limits.users) {
        user.sessions.iter_mut().filter(|key| **key == from).for_each(|key| *key = facts.session);
    }
    let Some(session) = state.sessions.get(from).cloned() else { return };
    state.sessions.remove(from);
    state.sessions.entry(facts.session, at, limits.sessions, || session);
}

fn rename_tokens(session: &mut Session, old: &OldNames, facts: &Facts) {
    for (from, to) in [(old.parent, facts.parent), (old.child, facts.child)] {
        if from != 0 {
            session.chain.rename(from, to);
        }
    }
    let (from, to) = (short(old.presented), short(facts.presented));
    session.presented.iter_mut().filter(|known| **known == from && from != 0).for_each(|known| *known = to);
}
