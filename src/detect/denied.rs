//! What a refused refresh leaves behind: that its token should never be seen, and nothing else.

use super::{
    Engine,
    facts::Facts,
    learn,
    state::{State, session::Session, user::User},
};

/// See [`Engine::before`].
pub struct Before {
    session: Option<Session>,
    user: Option<User>,
    /// How many had a network of this provider.
    owners: Option<u32>,
}

impl Engine {
    /// What is known of a refresh's session and user, to be put back should the gate refuse it.
    pub fn before(&self, facts: &Facts) -> Before {
        let State { sessions, users, .. } = &self.state;
        let mut keys = [facts.session].into_iter().chain(facts.old.iter().map(|old| old.session));
        let session = keys.find_map(|key| sessions.get(key)).cloned();
        let owners = self.state.owners.get(learn::owners_key(facts)).copied();
        Before { session, user: users.get(facts.user).cloned(), owners }
    }

    /// The gate refused this refresh: its token should never be seen, and where it came from is nobody's usual place, so
    /// that who tries again is as strange as the first time.
    pub fn denied(&mut self, facts: &Facts, before: Before) {
        if let Some(session) = self.state.sessions.get_mut(facts.session, self.limits.sessions) {
            session.chain.deny(facts.child);
            let before = before.session.filter(|before| facts.knows_key(before.keyed));
            let before = before.unwrap_or_else(|| Session::new(facts, session.first));
            let now = std::mem::replace(session, before);
            (session.chain, session.suspected, session.keyed) = (now.chain, now.suspected, now.keyed);
        }
        match before.user {
            Some(before) => {
                if let Some(user) = self.state.users.get_mut(facts.user, self.limits.users) {
                    *user = before;
                }
            }
            None => self.state.users.remove(facts.user),
        }
        // Nor is its network's provider more of anybody's than it was.
        let provider = learn::owners_key(facts);
        match (self.state.owners.get_mut(provider), before.owners) {
            (Some(owners), Some(before)) => *owners = before,
            (Some(_), None) => self.state.owners.remove(provider),
            (None, _) => {}
        }
    }
}
