//! Detection: which refreshes are a thief's.
//!
//! ```text
//! event -> Facts (numbers, made by the workers) -> Seen (signals, beside what is known) -> rules -> findings
//!                                                    │                                      score -> risk
//!                                                    └ State (sessions, users, applications, networks) <- learn
//! ```
//!
//! One thread owns the [`Engine`] and shows it every event in the journal's order; the same events give the same findings,
//! bit by bit. Judging changes nothing; learning comes after it. A new family of rules is one file with an `observe` and
//! one word in the list below; a new rule is a row in [`catalogue`]. Knows `event` and `record`, nothing of the ledger, of
//! files or of the wall clock. In reading order: [`catalogue`], [`facts`], [`state`], [`signals`], [`seen`], the families,
//! [`score`], `learn`, [`policy`], [`features`], [`rules`], [`incidents`], [`gate`], [`judge`].
//!
//! [`Seen`] makes each signal in one place:
//!
//! ```text
//! seen      net, wake, start, kind, software, first, hour        geo      path
//! tokens    lineage, fork, rival                                 cadence  pace, blind
//! others    elsewhere, renewal, ground                           seen     company, of what `crowds` counts
//! habits    stamina, and what one session or user does oftener   trail    drift, beat
//! servers   all of a back end                                    told     how much of the risk is told
//! ```

use crate::{
    event::RefreshEvent,
    record::{Evidence, Finding, Seq, Severity},
    time::ReceivedAt,
};

pub mod catalogue;
mod crowds;
mod denied;
pub mod facts;
pub mod features;
mod findings;
pub mod freeman;
pub mod gate;
mod geo;
mod habits;
pub mod incidents;
pub mod judge;
pub mod key;
mod learn;
mod others;
pub mod overview;
pub mod policy;
mod rename;
mod revoked;
pub mod rules;
pub mod score;
pub mod seen;
mod servers;
pub mod signals;
pub mod state;
mod tokens;
mod told;
mod trail;
mod usual;
pub mod zones;

pub use catalogue::Config;
pub use facts::Facts;
pub use findings::Findings;
pub use policy::Policy;

use catalogue::{Configured as _, Score};
use facts::Meaning;
use freeman::Features;
use key::key_of;
use others::Others;
use revoked::Revoked;
use seen::{Known, Seen};
use state::{
    State, StateLimits,
    application::Application,
    burst::Burst,
    crowd::Crowd,
    spilled::{Guests, Name, Spilled},
};

/// The sender's instant counts at most this far behind the ledger's clock, seconds.
const BEHIND_SECS: i64 = 30 * 86_400;
/// And at most this far ahead.
const AHEAD_SECS: i64 = 300;
/// The window of a network's company.
pub(crate) const HOUR_SECS: u32 = 3_600;
/// The window of a rare user agent's fans.
const DAY_SECS: u32 = 86_400;
/// Attempts that were refused are counted for this long.
const REFUSED_SECS: u32 = 600;

macro_rules! families {
    ($($family:ident),* $(,)?) => {
        $(mod $family;)*

        fn observe_all(seen: &Seen<'_>, findings: &mut Findings) {
            $($family::observe(seen, findings);)*
        }
    };
}

families! { lineage, claims, cadence, network, device }

/// What an event came to.
#[derive(Debug)]
pub struct Judgement {
    /// In the order of the rules.
    pub findings: Vec<Finding>,
    /// 0 <= risk < 1. Of what is not a refresh that went through: what is believed of any.
    pub risk: f64,
    /// What it showed.
    pub signals: signals::Signals,
    /// What was known of its session and user.
    pub numbers: features::Numbers,
}

impl Judgement {
    /// Nothing was seen that says anything.
    fn nothing() -> Self {
        Self {
            findings: Vec::new(),
            risk: score::probability(score::PRIOR),
            signals: signals::Signals::default(),
            numbers: features::Numbers::default(),
        }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Engine {
    config: Config,
    limits: StateLimits,
    state: State,
}

impl Engine {
    /// Knows nothing yet.
    pub fn new(config: Config) -> Self {
        Self::with(config, State::default())
    }

    /// Knows what was remembered.
    pub fn with(config: Config, state: State) -> Self {
        Self { limits: State::limits(&config), config, state }
    }

    /// What an event of a session that no token names is of: the session that its parent was issued in.
    pub fn resolved(&self, facts: &Facts) -> Option<Facts> {
        let names = [facts.parent].into_iter().chain(facts.old.iter().map(|old| old.parent));
        let known = names.filter(|parent| facts.unnamed && *parent != 0);
        let session = known.filter_map(|parent| self.state.heirs.get(parent)).next()?;
        Some(Facts { session: *session, ..facts.clone() })
    }

    /// What is remembered, to be written down; a copy of it costs next to nothing.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What applies from now on.
    pub fn configure(&mut self, config: Config) {
        self.limits = State::limits(&config);
        if config.spilled_max == 0 {
            self.state.sessions.forget_outside();
            self.state.users.forget_outside();
        }
        self.config = config;
    }

    /// What applies.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What an event needs of what is not in memory and was not brought yet; see [`State::wanted`].
    pub fn missing(&self, case: (&Facts, &Evidence, ReceivedAt), guests: &Guests) -> Vec<Name> {
        let mut names = self.wanted(case, guests);
        names.retain(|name| !guests.has(*name));
        names
    }

    fn wanted(&self, (facts, evidence, at): (&Facts, &Evidence, ReceivedAt), guests: &Guests) -> Vec<Name> {
        self.state.wanted(&self.limits, (facts, evidence, at.secs()), guests)
    }

    /// The event of this seq begins; `guests` were brought for it.
    pub fn begin(&mut self, seq: Seq, case: (&Facts, &Evidence, ReceivedAt), guests: Guests) {
        let (facts, evidence, at) = case;
        if evidence.cold {
            let warm = Evidence { cold: false, ..evidence.clone() };
            let wanted = self.wanted((facts, &warm, at), &Guests::default());
            self.state.forget(&wanted);
        }
        let names = if guests.is_empty() { Vec::new() } else { self.wanted(case, &guests) };
        self.state.begin(seq, &names, guests);
    }

    /// It is over.
    pub fn end(&mut self) {
        self.state.end();
    }

    /// What went out since the last time.
    pub fn take_spilled(&mut self) -> impl Iterator<Item = Spilled> + use<> {
        self.state.take_spilled()
    }

    /// Judges one event, then learns from it. `at`: the ledger's clock at its record.
    pub fn observe(&mut self, event: &RefreshEvent, facts: &Facts, evidence: &Evidence, at: ReceivedAt) -> Judgement {
        let at_secs = at.micros().div_euclid(1_000_000);
        let now = facts.occurred.clamp(at_secs - BEHIND_SECS, at_secs + AHEAD_SECS);
        let at = at.secs();
        self.state.now = self.state.now.max(at);
        rename::rename(&mut self.state, &self.limits, facts, at);
        if evidence.stale {
            // An earlier copy may have been judged long ago: it teaches nothing and accuses nobody.
            return Judgement::nothing();
        }
        match facts.meaning {
            Meaning::Refresh => self.refresh(event, facts, evidence, at, now),
            Meaning::Refused => self.refused(event, facts, at),
            Meaning::Revocation => {
                revoked::learn(&mut self.state, &self.limits, event, facts, (now, at));
                self.known(facts, at)
            }
            Meaning::Other => self.known(facts, at),
        }
    }

    fn refresh(&mut self, event: &RefreshEvent, facts: &Facts, evidence: &Evidence, at: u32, now: i64) -> Judgement {
        let Self { config, limits, state } = self;
        state.events += 1;
        state.applications.entry(facts.application, at, limits.applications, || Application::new(at).named(event));
        let company = crowds::company(state, limits, facts, at);
        let fans = crowds::fans(state, limits, facts, at);
        let none = Application::default();
        let session = state.sessions.get(facts.session).filter(|session| facts.knows_key(session.keyed));
        let session = session.filter(|_| facts.session != 0);
        let application = state.applications.get(facts.application).unwrap_or(&none);
        let user = state.users.get(facts.user).filter(|_| facts.user != 0);
        let owners = state.owners.get(learn::owners_key(facts)).copied().unwrap_or(0);
        let seconds = u32::try_from(now.max(0)).unwrap_or(u32::MAX);
        let revoked = Revoked::of(state, facts, session);
        let others = user.map_or_else(Others::default, |user| Others::of(state, user, session, facts, seconds));
        let seen = Seen::new(
            event,
            facts,
            at,
            now,
            Known { config, session, revoked, user, application, company, others, owners },
        );
        let mut findings = Findings::new(seen.is_new_user());
        observe_all(&seen, &mut findings);
        lineage::skewed(&seen, evidence, state.ahead.0, &mut findings);
        let ahead = learn::ahead(state.ahead, facts, at);
        device::fanned_out(&seen, fans.0, fans.1, &mut findings);

        let usual = score::Usual { application: &application.rates, all: &state.rates };
        let evidence = score::evidence(&seen.signals.of_holders(), &usual, &seen.habits());
        let mut weights = session.map_or_else(Default::default, |session| session.weights);
        let odds = score::accumulate(&mut weights, &evidence, seen.share(), seen.gap().unwrap_or(0));
        let said = odds - score::PRIOR;
        let told = session.map_or(said, |session| session.told.part(said, at));
        let risk = score::probability(score::PRIOR + told);
        say_risk(config, risk, &seen, &mut findings);
        let (signals, numbers) = (seen.signals, features::Numbers::of(&seen));
        let learned = learn::Learned::new(&seen, weights, odds, findings.worst_of_lineage());
        learn::refresh(state, limits, facts, at, learned);
        let risk = match config.score {
            Score::Composite => risk,
            Score::Freeman => published_risk(state, event),
        };
        state.ahead = ahead;
        surge(state, config, limits, facts, at, &mut findings);
        Judgement { findings: findings.into_vec(), risk, signals, numbers }
    }

    /// What is known beside an event that is no refresh, for rules of the operator's own.
    fn known(&self, facts: &Facts, at: u32) -> Judgement {
        let (session, user) = (self.state.sessions.get(facts.session), self.state.users.get(facts.user));
        Judgement { numbers: features::Numbers::beside(session, user, at), ..Judgement::nothing() }
    }

    fn refused(&mut self, event: &RefreshEvent, facts: &Facts, at: u32) -> Judgement {
        let mut findings = Findings::default();
        let place = key_of(facts.place.near ^ 0x5e);
        let keys = [(facts.session, facts.session != 0), (place, facts.place.near != 0)];
        for (key, _) in keys.into_iter().filter(|(_, known)| *known) {
            let burst = self.state.refusals.entry(key, at, self.limits.agents, Burst::default);
            let refusals = u32::try_from(burst.add(at, REFUSED_SECS)).unwrap_or(u32::MAX);
            // Told of the session and of the address at once, it is one burst.
            let is_due = refusals >= self.config.ra107.attempts && burst.tell(at, REFUSED_SECS);
            if is_due && !findings.has(catalogue::RA107::RULE) {
                cadence::refused(&self.config, event, refusals, &mut findings);
            }
        }
        Judgement { findings: findings.into_vec(), ..Judgement::nothing() }
    }

    /// Judges the record that an id came again with another body; `of`: the first record.
    pub fn replayed(&self, of: Seq) -> Vec<Finding> {
        let mut findings = Findings::default();
        lineage::replayed(&self.config, of, &mut findings);
        findings.into_vec()
    }
}

/// The published score as a risk: S / (1 + S), which keeps its order. 0 where it says nothing.
fn published_risk(state: &mut State, event: &RefreshEvent) -> f64 {
    let freeman = state.freeman.get_or_insert_with(Box::default);
    let client = event.client.as_ref();
    let of_network = event.network.as_ref().and_then(|network| network.country.as_deref());
    let version = |client: &crate::event::Client| format!("{:?} {:?}", client.browser, client.version);
    let browser = client.map(version);
    let features = Features {
        address: event.ip.as_deref(),
        asn: event.network.as_ref().and_then(|network| network.asn),
        country: event.location.as_ref().and_then(|location| location.country.as_deref()).or(of_network),
        agent: event.user_agent.as_deref(),
        browser: browser.as_deref(),
        system: client.and_then(|client| client.os.as_deref()),
        kind: client.and_then(|client| client.kind.as_deref()),
    };
    let Some(user) = event.user_id.as_ref() else { return 0.0 };
    let score = freeman.score(user.as_str(), &features).unwrap_or(0.0);
    freeman.learn(user.as_str(), &features);
    score / (1.0 + score)
}

/// RA601: everything together.
fn say_risk(config: &Config, risk: f64, seen: &Seen<'_>, findings: &mut Findings) {
    let rule = &config.ra601;
    let severity = match risk {
        risk if risk >= rule.critical => Severity::Critical,
        risk if risk >= rule.high => Severity::High,
        risk if risk >= rule.medium => Severity::Medium,
        _ => return,
    };
    let reason = "the signals of this session together are far likelier with a thief in it than without";
    findings.say(rule, severity, reason, features::Words::of(&seen.signals).known());
}

/// RA602: users of one tenant with lineage findings, far more than usual within an hour; said once when it begins.
fn surge(state: &mut State, config: &Config, limits: &StateLimits, facts: &Facts, at: u32, findings: &mut Findings) {
    if findings.worst_of_lineage() < Some(Severity::High) {
        return;
    }
    let crowd = state.tenants.entry(facts.tenant, at, limits.tenants, Crowd::default);
    let (before, _) = crowd.now(at, HOUR_SECS);
    // Whoever has many sessions is one.
    let (count, usual) = crowd.add(facts.whose(), at, HOUR_SECS);
    let rule = &config.ra602;
    let much = |count: u32| count >= rule.findings && f64::from(count) > rule.factor * f64::from(usual);
    if much(count) && !much(before) {
        let reason = format!("{count} users of this tenant with lineage findings within an hour, usually {usual:.1}");
        findings.say(rule, Severity::Critical, reason, [("users", serde_json::json!(count))]);
    }
}

#[cfg(test)]
mod first_tests;
#[cfg(test)]
mod software_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trail_tests;
