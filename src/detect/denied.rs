//! What a refused refresh leaves behind: that its token should never be seen, and nothing else.

use super::{
    Engine,
    facts::Facts,
    learn, rename,
    score::Rates,
    state::{State, application::Application, session::Session, user::User},
};

/// See [`Engine::before`].
pub struct Before {
    session: Option<Session>,
    user: Option<User>,
    application: Option<Application>,
    rates: Rates,
    /// How many had a network of this provider.
    owners: Option<u32>,
}

impl Engine {
    /// What is known of a refresh's session, user and application, to be put back should the gate refuse it. What it is called by a
    /// new key stays.
    pub fn before(&mut self, facts: &Facts, at: u32) -> Before {
        rename::rename(&mut self.state, &self.limits, facts, at);
        let State { sessions, users, applications, .. } = &self.state;
        Before {
            session: sessions.get(facts.session).cloned(),
            user: users.get(facts.user).cloned(),
            application: applications.get(facts.application).cloned(),
            rates: self.state.rates.clone(),
            owners: self.state.owners.get(learn::owners_key(facts)).copied(),
        }
    }

    /// The gate refused this refresh: its token should never be seen, and where it came from is nobody's usual place, so
    /// that who tries again is as strange as the first time, and teaches nobody what is usual.
    pub fn denied(&mut self, facts: &Facts, before: Before) {
        if let Some(session) = self.state.sessions.get_mut(facts.session, self.limits.sessions) {
            let before = before.session.filter(|before| facts.knows_key(before.keyed));
            let before = before.unwrap_or_else(|| Session::new(facts, session.first));
            let now = std::mem::replace(session, before);
            session.chain.refuse(&now.chain, facts.child);
            (session.suspected, session.keyed) = (now.suspected, now.keyed);
        }
        match before.user {
            Some(before) => {
                if let Some(user) = self.state.users.get_mut(facts.user, self.limits.users) {
                    *user = before;
                }
            }
            None => self.state.users.remove(facts.user),
        }
        self.state.rates = before.rates;
        match (self.state.applications.get_mut(facts.application), before.application) {
            (Some(application), Some(before)) => *application = before,
            (Some(_), None) => self.state.applications.remove(facts.application),
            (None, _) => {}
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
