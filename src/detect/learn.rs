//! What a refresh teaches, after it was judged. A context is a user's own only once its session has survived probation, so
//! that a thief is not familiar after one refresh.

use super::{
    cadence, device,
    facts::{Facts, labels},
    key::{key_of, short},
    others,
    score::{PRIOR, Weights, how_far, probability},
    seen::Seen,
    signals::{Company, First, Fork, Lineage, Net, Pace, Path, Rival, Signals, Software},
    state::{
        State, StateLimits,
        application::Application,
        chain::{Parent, place},
        session::{Context, RATE_SECS, Session, said},
        user::User,
    },
    zones::LocalHour,
};
use crate::record::Severity;

/// From this risk on a refresh says nothing about what is usual.
const SUSPICIOUS: f64 = 0.5;
/// What is certainly a thief's says this much less of what is usual. Not nothing: what is usual may only look like it.
const DOUBTED: f64 = 0.95;
/// The ln odds of a thief that what is usual is learned with: 1 in 200. Far more than there are, since a thief who is
/// counted as usual hides the next one, and a refresh that was odd and is not counted costs little.
const DOUBT_PRIOR: f64 = -5.3;
/// From this much evidence on, a session's oddities are slow to become habits.
const SUSPICION: f32 = 2.0;
/// A session with a lineage finding is on probation for this long, seconds.
const SUSPECTED_SECS: u32 = 7 * 86_400;
/// A session that sent its parent this often is one that always does.
const STEADY_ORIGINALS: u16 = 3;
/// Refreshes of one session that count in full.
const LONG_SESSION: f32 = 30.0;
/// After these, one in so many.
const LONG_SESSION_EVERY: u32 = 16;
/// A session's habits are those of about so many refreshes.
const HABIT_EVENTS: u16 = 128;
/// A sender's clock is learned from this many refreshes.
const AHEAD_EVENTS: u32 = 64;
/// No clock is further ahead than this, seconds: what is, was made up.
const AHEAD_SECS_MAX: i64 = 3_600;
/// The share of a new gap in the usual one, as a power of two.
const PACE_SHIFT: u32 = 4;

/// What is known of a refresh once it is judged.
pub struct Learned {
    signals: Signals,
    weights: Weights,
    odds: f64,
    risk: f64,
    lineage: Option<Severity>,
    context: Context,
    seconds: u32,
    now: i64,
    hour: LocalHour,
    gap: Option<u32>,
    lifetimes: Option<f64>,
    parent: Parent,
    alternates: bool,
    contradicts: bool,
    over_age: bool,
    is_backend: bool,
    is_where_it_was: bool,
    follows: bool,
    joins: Option<u16>,
    run: u16,
}

impl Learned {
    /// Keeps what is needed after the state may change.
    pub fn new(seen: &Seen<'_>, weights: Weights, odds: f64, lineage: Option<Severity>) -> Self {
        let age = i64::try_from(seen.config.ra204.age.get().as_secs()).unwrap_or(i64::MAX);
        let auth_time = seen.facts.auth_time();
        Self {
            signals: seen.signals,
            weights,
            odds,
            risk: probability(odds),
            lineage,
            context: seen.context(),
            seconds: seen.seconds(),
            now: seen.now,
            hour: seen.local_hour(),
            gap: seen.gap(),
            lifetimes: seen.lifetimes(),
            parent: seen.parent,
            alternates: cadence::alternates(seen),
            contradicts: device::contradicts(seen.event),
            over_age: auth_time > 0 && seen.now - auth_time > age,
            is_backend: seen.is_backend,
            is_where_it_was: seen.is_where_it_was(),
            follows: seen.follows(),
            joins: seen.joins(),
            run: seen.run(),
        }
    }

    /// The most that any way of a thief has for it.
    fn suspicion(&self) -> f32 {
        self.weights.iter().copied().fold(0.0, f32::max)
    }

    /// Whether what is odd about it counts as a habit: of a session under suspicion every fourth time, so that no thief
    /// makes their own ways a habit, and yet who does it always is believed in the end.
    fn is_usual(&self, number: u32) -> bool {
        self.suspicion() < SUSPICION || number.is_multiple_of(4)
    }

    /// How probable it is that a thief is in the session, whatever this refresh adds to it.
    fn doubt(&self) -> f64 {
        let odds = f64::from(self.suspicion()).max(self.odds - PRIOR);
        probability(DOUBT_PRIOR + odds)
    }

    fn is_clean(&self) -> bool {
        self.risk < SUSPICIOUS && self.lineage < Some(Severity::High)
    }
}

/// Learns from a refresh.
pub fn refresh(state: &mut State, limits: &StateLimits, facts: &Facts, at: u32, learned: Learned) {
    // Tabs have to be known where they are: what is odd about them is what tells.
    let doubt = if learned.signals.lineage == Lineage::Branch { 0.0 } else { learned.doubt() };
    let weight = weight(state, facts) * (1.0 - DOUBTED * doubt) as f32;
    let holders = learned.signals.of_holders();
    // Of a back end it is only compared with its servers' own.
    let of_servers =
        Signals { software: Software::Unknown, first: First::Unknown, company: Company::Unknown, ..holders };
    state.rates.learn(if learned.is_backend { &of_servers } else { &holders }, weight);
    let (lifetime, events) = state.sessions.get(facts.session).map_or((0, 0), |known| (known.lifetime, known.events));
    let application = state.applications.entry(facts.application, at, limits.applications, || Application::new(at));
    application.rates.learn(&holders, weight);
    if learned.is_clean() {
        learn_pace(&mut application.pace, lifetime, &learned);
        // A long session counts now and then: it is one client, however often it refreshes.
        let counts = events < LONG_SESSION as u32 || events.is_multiple_of(LONG_SESSION_EVERY);
        if let Some(lifetimes) = learned.lifetimes.filter(|_| counts && is_in_time(&learned.signals)) {
            application.count_gap(lifetimes);
        }
    }
    application.learn(facts, learned.contradicts);
    if let Some(other) = learned.joins.filter(|_| facts.user != 0) {
        application.count_kin((other, facts.agent.class), facts.user);
    }
    if (learned.signals.lineage, learned.signals.rival) == (Lineage::Retry, Rival::Alike) {
        application.count_undone(facts.session, at);
    }
    let mut proved = None;
    let opens = state.sessions.get(facts.session).is_none();
    if facts.unnamed && facts.child != 0 {
        *state.heirs.entry(facts.child, at, limits.heirs, || 0) = facts.session;
    }
    if facts.session != 0 {
        let session = state.sessions.entry(facts.session, at, limits.sessions, || Session::new(facts, at));
        if !facts.knows_key(session.keyed) {
            // Fingerprints under another key do not compare: the session begins anew.
            *session = Session::new(facts, at);
        }
        session.keyed = facts.keyed;
        learn_tokens(application, session, facts);
        learn_lapses(application, session, facts, &learned);
        learn_session(session, facts, at, &learned);
        proved = session.contexts().first().filter(|context| session.has_proved(context)).map(|_| ());
    }
    if facts.user == 0 {
        return;
    }
    let user = state.users.entry(facts.user, at, limits.users, || User::new(at));
    let is_new_place = learn_user(user, facts, at, &learned, proved.is_some());
    if is_new_place {
        let owners = state.owners.entry(owners_key(facts), at, limits.networks, || 0);
        *owners = owners.saturating_add(1);
    }
    if facts.session != 0 {
        if opens {
            user.open(at);
        }
        if let Some(gone) = user.own(facts.session, at) {
            state.sessions.remove(gone);
        }
    }
}

/// How much a refresh says about what is usual: in a long session each says less, so that no session makes its own ways
/// usual for all.
fn weight(state: &State, facts: &Facts) -> f32 {
    let events = state.sessions.get(facts.session).map_or(0, |session| session.events);
    (LONG_SESSION / (events as f32 + 1.0)).min(1.0)
}

/// Whether refresh tokens of this application change.
fn learn_tokens(application: &mut Application, session: &mut Session, facts: &Facts) {
    let presented = short(facts.presented);
    if facts.presented == 0 {
        return;
    }
    if session.presented[0] != 0 {
        application.count_presented(session.presented[0] == presented);
    }
    if session.presented[0] != presented {
        session.presented = [presented, session.presented[0]];
    }
}

/// Whether clients of this application leave out the parent after all, sooner or later: of how many users who sent it
/// often enough, how many have; and whether two tokens of one session are in use.
fn learn_lapses(application: &mut Application, session: &mut Session, facts: &Facts, learned: &Learned) {
    let user = facts.whose();
    if facts.parent != 0 && session.originals + 1 == STEADY_ORIGINALS {
        application.steady.add(user);
    }
    if learned.signals.lineage == Lineage::Branch {
        application.branched.add(user);
    }
    if learned.parent == Parent::None {
        let is_at_home = learned.is_clean() || learned.signals.place() < Net::Area;
        // Once for a session, however long it lives.
        let is_first = session.said & said::OMITTED == 0;
        if is_first && session.originals >= STEADY_ORIGINALS && is_at_home {
            application.lapsed.add(user);
        }
        session.said |= said::OMITTED;
    }
}

fn learn_session(session: &mut Session, facts: &Facts, at: u32, learned: &Learned) {
    let signals = &learned.signals;
    session.chain.learn(facts, learned.now, learned.parent);
    // Who has just signed in may hold none yet.
    let is_first = session.events == 0;
    session.events = session.events.saturating_add(1);
    session.originals = session.originals.saturating_add(u16::from(facts.parent != 0));
    session.omitted = session.omitted.saturating_add(u16::from(facts.parent == 0 && !is_first));
    let forked = matches!(
        signals.lineage,
        Lineage::Retry
            | Lineage::Left
            | Lineage::Branch
            | Lineage::Beside
            | Lineage::Apart
            | Lineage::Stale
            | Lineage::Strange
    );
    let usual = learned.is_usual(session.events);
    session.forked = session.forked.saturating_add(u8::from(forked && usual));
    // Always: whoever shares address and software with the other one is told of once, or is the same.
    session.beside = session.beside.saturating_add(u8::from(forked && learned.is_where_it_was));
    let place = place(facts);
    if learned.follows && session.followed_to != place {
        session.followed = session.followed.saturating_add(1);
        session.followed_to = place;
    }
    count_moves(signals, &mut session.moves, usual);
    session.run = learned.run;
    session.run_max = session.run_max.max(learned.run);
    learn_fork(session, signals);
    session.flips = session.flips.saturating_add(u16::from(signals.of_holders().path > Path::Plain && usual));
    let pace = signals.pace.max(signals.blind);
    session.timed = session.timed.saturating_add(u16::from(pace > Pace::Burst));
    session.early = session.early.saturating_add(u8::from(pace == Pace::Early));
    session.ahead = session.ahead.saturating_add(u8::from(pace == Pace::Ahead));
    forget(session);
    if learned.is_clean() {
        learn_pace(&mut session.pace, session.lifetime, learned);
    }
    session.gap_max = session.gap_max.max(learned.gap.unwrap_or(0));
    session.last = session.last.max(learned.seconds);
    if let Some(lifetime) = facts.lifetime() {
        session.lifetime = lifetime;
    }
    if session.auth_time == 0 {
        session.auth_time = u32::try_from(facts.auth_time()).unwrap_or(0);
    }
    if at.saturating_sub(session.rate_from) >= RATE_SECS {
        (session.rate_from, session.rate) = (at, 0);
    }
    session.rate = session.rate.saturating_add(1);
    session.alternations = if learned.alternates { session.alternations.saturating_add(1) } else { 0 };
    // Of a back end only what is not its servers': so that it is told once.
    if (!learned.is_backend || signals.place() >= Net::Area) && (facts.place.ip != 0 || facts.agent.text != 0) {
        session.visit(learned.context);
    }
    others::remember(session, signals.place(), signals.elsewhere);
    session.weights = learned.weights;
    session.told.count(learned.odds - PRIOR, at);
    if learned.lineage >= Some(Severity::High) || learned.risk >= SUSPICIOUS {
        session.suspected = at.max(1);
    } else if at.saturating_sub(session.suspected) > SUSPECTED_SECS {
        session.suspected = 0;
    }
    if learned.over_age {
        session.said |= said::OVER_AGE;
    }
}

/// Halves what was counted, so that habits are those of late: of a session of a thousand refreshes, too, that has begun to do
/// otherwise. What is odd is at most all of it, and fits a byte.
fn forget(session: &mut Session) {
    if session.timed >= HABIT_EVENTS {
        (session.timed, session.early, session.ahead) = (session.timed / 2, session.early / 2, session.ahead / 2);
    }
    if session.originals >= HABIT_EVENTS {
        (session.originals, session.omitted) = (session.originals / 2, session.omitted / 2);
        (session.forked, session.beside) = (session.forked / 2, session.beside / 2);
    }
}

/// What became of a fork: both children seen in use, or only one for a while.
fn learn_fork(session: &mut Session, signals: &Signals) {
    match (signals.lineage, signals.fork) {
        (Lineage::Retry | Lineage::Stale, _) => (session.twins, session.fork_open) = (false, 1),
        (Lineage::Left, _) | (_, Fork::Twins) => (session.twins, session.fork_open) = (true, 0),
        (_, Fork::Lone) => session.fork_open = 0,
        _ if session.fork_open > 0 => session.fork_open = session.fork_open.saturating_add(1),
        _ => {}
    }
}

/// Neither at once nor long after the end.
fn is_in_time(signals: &Signals) -> bool {
    matches!(signals.pace.max(signals.blind), Pace::Early | Pace::Ahead | Pace::OnTime)
}

/// The usual gap in lifetimes, of those that are neither at once nor long after the end.
fn learn_pace(pace: &mut u16, lifetime: u32, learned: &Learned) {
    let (Some(gap), true) = (learned.gap, lifetime > 0) else { return };
    if !is_in_time(&learned.signals) {
        return;
    }
    let now = (u64::from(gap) * 1_024 / u64::from(lifetime)).clamp(1, 2_048);
    let now = u16::try_from(now).unwrap_or(1_024);
    *pace = if *pace == 0 { now.max(512) } else { *pace - (*pace >> PACE_SHIFT) + (now >> PACE_SHIFT) };
}

/// Whether the network is now the user's own and was not before.
fn learn_user(user: &mut User, facts: &Facts, at: u32, learned: &Learned, proved: bool) -> bool {
    user.last = at;
    user.events = user.events.saturating_add(1);
    user.hidden = user.hidden.saturating_add(u16::from(facts.place.labels & labels::ANONYMISER != 0));
    if user.hidden >= u16::MAX / 2 {
        (user.events, user.hidden) = (user.events / 2, user.hidden / 2);
    }
    if learned.is_backend {
        return false;
    }
    count_moves(&learned.signals, &mut user.moves, learned.is_usual(user.events));
    let near = short(facts.place.near);
    let known = user.has_place(near);
    // The very first context is all there is to compare with.
    let adopts = known || proved || user.places().next().is_none();
    if adopts {
        user.adopt(facts, at);
        if learned.is_clean() {
            user.count_hour(learned.hour);
        }
    }
    if let Some(cell) = facts.place.cell.filter(|_| facts.place.labels & labels::NOWHERE == 0) {
        user.at = Some((cell, learned.seconds));
    }
    adopts && !known && facts.place.ip != 0
}

/// Under which its owners are counted: the provider of a refresh.
pub fn owners_key(facts: &Facts) -> u64 {
    key_of(u64::from(facts.place.wide))
}

/// Counts how far a refresh came from, apart for mid-use and waking; halves what is full.
fn count_moves(signals: &Signals, moves: &mut [[u8; 3]; 2], usual: bool) {
    for (net, counts) in [signals.net, signals.wake].into_iter().zip(moves) {
        let Some(level) = net.index().filter(|level| usual || how_far(*level) == 0) else { continue };
        let count = &mut counts[how_far(level)];
        *count += 1;
        if *count == u8::MAX {
            counts.iter_mut().for_each(|count| *count /= 2);
        }
    }
}

/// How far ahead the sender's clock usually is: the mean of the first few, then of about the last [`AHEAD_EVENTS`].
pub fn ahead((usual, count): (f32, u32), facts: &Facts, at: u32) -> (f32, u32) {
    let lead = (facts.occurred - i64::from(at)).clamp(0, AHEAD_SECS_MAX) as f32;
    let count = (count + 1).min(AHEAD_EVENTS);
    (usual + (lead - usual) / count as f32, count)
}
