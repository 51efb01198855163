//! Who else: users who are new to a network, and those of one rare user agent in it.

use super::{
    DAY_SECS, HOUR_SECS,
    facts::Facts,
    key::{key_of, short},
    state::{State, StateLimits, crowd::Crowd, session::Session, user::User},
};

/// Counts a user who is new to a network; how many came within the hour, and how many usually do.
pub fn company(state: &mut State, limits: &StateLimits, facts: &Facts, at: u32) -> (u32, f32) {
    if facts.user == 0 || facts.place.near == 0 {
        return (0, 0.0);
    }
    let near = short(facts.place.near);
    let contexts = state.sessions.get(facts.session).map_or(&[][..], Session::contexts);
    let session = contexts.iter().any(|context| context.near == near);
    let known_session = contexts.iter().any(|context| context.ip != 0);
    let places = || state.users.get(facts.user).into_iter().flat_map(User::places);
    let user = places().any(|known| known.near == near);
    // Whoever was never seen anywhere is new to every network: on the first day, everyone in every office.
    let is_known = known_session || places().next().is_some() || is_served_elsewhere(state, facts);
    let crowd = state.networks.entry(facts.place.near, at, limits.networks, Crowd::default);
    if session || user || !is_known { crowd.now(at, HOUR_SECS) } else { crowd.add(facts.user, at, HOUR_SECS) }
}

/// Whether a back end's refresh comes from where its servers are not: there every user is new.
fn is_served_elsewhere(state: &State, facts: &Facts) -> bool {
    let application = state.applications.get(facts.application).filter(|application| application.is_backend());
    application.is_some_and(|application| application.serves_from(short(facts.place.near)) == Some(false))
}

/// Counts a user agent: users who had it in this network within a day, and how many of all refreshes had it.
pub fn fans(state: &mut State, limits: &StateLimits, facts: &Facts, at: u32) -> (u32, (u32, u64)) {
    if facts.agent.text == 0 || facts.user == 0 {
        return (0, (0, state.events));
    }
    let agent = key_of(u64::from(facts.agent.text));
    let count = state.agents.entry(agent, at, limits.agents, || 0);
    *count = count.saturating_add(1);
    let count = *count;
    // Only what is rare is worth remembering by network.
    if u64::from(count) * 1_000 > state.events.max(10_000) {
        return (0, (count, state.events));
    }
    let fans = key_of(agent ^ u64::from(facts.place.wide));
    let crowd = state.fans.entry(fans, at, limits.agents, Crowd::default);
    let (users, _) = crowd.add(facts.user, at, DAY_SECS);
    (users, (count, state.events))
}
