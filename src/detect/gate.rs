//! The gate: whether a refresh is refused for what was found. Pure: from findings, settings and what it did in the last
//! minutes to a verdict; whoever asks acts on it.
//!
//! Whatever is uncertain is let through: past the cap, while stopped by an operator, after an error, too late.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    facts::{Facts, Meaning},
    policy::is_silent,
    state::table::{Limits, Table},
};
use crate::{
    event::{ApplicationId, RefreshEvent, UserId},
    host::Addresses,
    record::{Action, Finding, Severity},
};

/// This many denials of one client within [`LOOP_SECS`] are a client that does not give up.
const LOOP_DENIALS: u32 = 5;
/// See [`LOOP_DENIALS`].
const LOOP_SECS: u32 = 600;
/// Sessions with denials that are remembered; about 60 bytes each.
const LOOPS: Limits = Limits { entries: 16_384, kept: LOOP_SECS };
/// The window of `max_denials_per_minute`, seconds.
const MINUTE: u32 = 60;
/// A cap that was not reached for this long is no trouble any more, seconds.
const CAP_CALM: u32 = 120;

/// Whether findings refuse a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No opinion.
    Off,
    /// What would have been refused is recorded; everything is let through.
    #[default]
    Observe,
    /// It is refused.
    Enforce,
}

/// `[gate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether findings refuse a refresh.
    pub mode: Mode,
    /// Which findings do.
    pub deny: Vec<Deny>,
    /// Another mode for single applications.
    pub applications: BTreeMap<ApplicationId, Mode>,
    /// Who is never refused.
    pub allow: Allow,
    /// Past this many within a minute the rest is let through, with an alarm.
    pub max_denials_per_minute: u32,
}

/// One kind of finding that refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// The rule.
    pub rule: String,
    /// From this severity on.
    pub severity: Severity,
}

/// Who is never refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// These persons.
    pub users: Vec<UserId>,
    /// These applications.
    pub applications: Vec<ApplicationId>,
    /// These networks.
    pub networks: Vec<Addresses>,
}

impl Default for Config {
    fn default() -> Self {
        let deny = |rule: &str| Deny { rule: rule.to_owned(), severity: Severity::Critical };
        Self {
            mode: Mode::default(),
            deny: vec![deny("RA101"), deny("RA102"), deny("RA106")],
            applications: BTreeMap::new(),
            allow: Allow::default(),
            max_denials_per_minute: 60,
        }
    }
}

impl Config {
    /// Whether any refresh can be refused.
    pub fn enforces(&self) -> bool {
        self.mode == Mode::Enforce || self.applications.values().any(|mode| *mode == Mode::Enforce)
    }

    /// Whether it has an opinion of anything.
    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off || self.applications.values().any(|mode| *mode != Mode::Off)
    }

    /// Whether a finding refuses.
    pub fn denies(&self, finding: &Finding) -> bool {
        !is_silent(finding)
            && self.deny.iter().any(|deny| deny.rule == finding.rule && finding.severity >= deny.severity)
    }

    /// Whether this refresh can be refused.
    pub fn enforces_on(&self, event: &RefreshEvent) -> bool {
        self.mode_of(event) == Mode::Enforce && !self.allows(event)
    }

    fn mode_of(&self, event: &RefreshEvent) -> Mode {
        let own = event.application_id.as_ref().and_then(|id| self.applications.get(id));
        own.copied().unwrap_or(self.mode)
    }

    fn allows(&self, event: &RefreshEvent) -> bool {
        let Allow { users, applications, networks } = &self.allow;
        event.user_id.as_ref().is_some_and(|id| users.contains(id))
            || event.application_id.as_ref().is_some_and(|id| applications.contains(id))
            || event.address().is_some_and(|address| networks.iter().any(|net| net.contains(&address)))
    }
}

/// What was not seen for a while, and so is no trouble any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calm {
    /// The cap was not reached.
    pub cap: bool,
    /// No client asked again and again.
    pub clients: bool,
}

/// What it remembers.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Memory {
    /// An operator stopped it.
    pub stopped: bool,
    minute: u32,
    denials: u32,
    loops: Table<Denials>,
    /// When the cap let something through last, seconds since 1970; 0 = never.
    capped: u32,
    /// When a loop was seen last.
    looped: u32,
}

/// Denials of one user, or of a session of nobody known.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Denials {
    from: u32,
    last: u32,
    count: u32,
}

impl Denials {
    /// How many there are at an instant that belong together. A client that does not give up goes on, however long.
    fn until(self, at: u32) -> Self {
        let is_over = at.saturating_sub(self.from) > LOOP_SECS;
        let goes_on = self.count >= LOOP_DENIALS && at.saturating_sub(self.last) <= LOOP_SECS;
        if is_over && !goes_on { Self { from: at, last: at, count: 0 } } else { self }
    }

    fn is_loop(self) -> bool {
        self.count >= LOOP_DENIALS
    }
}

/// What is answered, and why not what the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub action: Action,
    /// What the policy says; none where the gate is off.
    pub would: Option<Action>,
    /// Past the cap.
    pub capped: bool,
    /// Too late to refuse.
    pub late: bool,
}

impl Decision {
    const ALLOW: Self = Self { action: Action::Allow, would: None, capped: false, late: false };
}

/// Decides about one event. `late`: whether judging took too long to refuse for it.
pub fn decide(
    config: &Config,
    memory: &Memory,
    (event, facts, findings): (&RefreshEvent, &Facts, &[Finding]),
    at: u32,
    late: &dyn Fn() -> bool,
) -> Decision {
    let mode = config.mode_of(event);
    if mode == Mode::Off {
        return Decision::ALLOW;
    }
    let deny = facts.meaning == Meaning::Refresh
        && findings.iter().any(|finding| config.denies(finding))
        && !config.allows(event);
    let would = Some(if deny { Action::Deny } else { Action::Allow });
    if !deny || mode != Mode::Enforce || memory.stopped {
        return Decision { would, ..Decision::ALLOW };
    }
    // Who does not give up stays outside, past the cap as well, and takes nothing of it: it is there for what is wrong with many.
    let is_held = memory.is_loop(facts, at) && config.max_denials_per_minute > 0;
    let capped = !is_held && memory.in_minute(at) >= config.max_denials_per_minute;
    let late = !capped && late();
    let action = if capped || late { Action::Allow } else { Action::Deny };
    Decision { action, would, capped, late }
}

impl Memory {
    fn in_minute(&self, at: u32) -> u32 {
        if self.minute == at / MINUTE { self.denials } else { 0 }
    }

    /// Whether it is of a client that was refused again and again, and goes on.
    fn is_loop(&self, facts: &Facts, at: u32) -> bool {
        self.loops.get(facts.whose()).is_some_and(|denials| denials.until(at).is_loop())
    }

    /// Remembers what was done. True for a denial that makes a loop.
    pub fn learn(&mut self, facts: &Facts, action: Action, at: u32) -> bool {
        if action == Action::Allow {
            return false;
        }
        let entry = self.loops.entry(facts.whose(), at, LOOPS, || Denials { from: at, last: at, count: 0 });
        let mut denials = entry.until(at);
        let was_loop = denials.is_loop();
        (denials.last, denials.count) = (at, denials.count.saturating_add(1));
        *entry = denials;
        let looping = denials.is_loop();
        if !was_loop {
            self.denials = self.in_minute(at) + 1;
            self.minute = at / MINUTE;
        }
        if looping {
            self.looped = at;
        }
        looping
    }

    /// Remembers that the cap let a refresh through.
    pub fn learn_capped(&mut self, at: u32) {
        self.capped = at;
    }

    /// What has not been seen for a while.
    pub fn calm(&self, at: u32) -> Calm {
        Calm { cap: at.saturating_sub(self.capped) > CAP_CALM, clients: at.saturating_sub(self.looped) > LOOP_SECS }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::detect::facts::testing;

    const AT: u32 = 1_795_329_600;

    fn finding(rule: &str, severity: &str) -> Finding {
        serde_json::from_value(json!({ "rule": rule, "name": "n", "severity": severity, "reason": "r" })).unwrap()
    }

    fn event() -> RefreshEvent {
        serde_json::from_value(json!({
            "id": "e", "type": "jwt.refresh", "occurred_at": "2026-11-22T06:40:00.000Z", "outcome": "attempted",
            "application_id": "a1", "user_id": "u1", "ip": "192.0.2.7"
        }))
        .unwrap()
    }

    /// (action, would) of a critical fork under a `[gate]`, after `denials` in this minute.
    fn decided(gate: &str, denials: u32) -> Decision {
        let config: Config = toml::from_str(gate).unwrap();
        let facts = testing::refresh(AT.into(), 1, 2);
        let mut memory = Memory::default();
        for _ in 0..denials {
            memory.learn(&facts, Action::Deny, AT);
        }
        let findings = [finding("RA101", "critical")];
        decide(&config, &memory, (&event(), &facts, &findings), AT, &|| false)
    }

    #[test]
    fn modes_lists_and_the_cap() {
        use Action::{Allow, Deny};
        for (gate, denials, action, would, capped) in [
            ("mode = 'off'", 0, Allow, None, false),
            ("", 0, Allow, Some(Deny), false),
            ("mode = 'enforce'", 0, Deny, Some(Deny), false),
            ("applications = { a1 = 'enforce' }", 0, Deny, Some(Deny), false),
            ("mode = 'enforce'\napplications = { a1 = 'observe' }", 0, Allow, Some(Deny), false),
            ("mode = 'enforce'\nallow = { users = ['u1'] }", 0, Allow, Some(Allow), false),
            ("mode = 'enforce'\nallow = { applications = ['a1'] }", 0, Allow, Some(Allow), false),
            ("mode = 'enforce'\nallow = { networks = ['192.0.2.0/24'] }", 0, Allow, Some(Allow), false),
            ("mode = 'enforce'\nallow = { networks = ['192.0.3.0/24'] }", 0, Deny, Some(Deny), false),
            ("mode = 'enforce'\ndeny = [{ rule = 'RA102', severity = 'low' }]", 0, Allow, Some(Allow), false),
            ("mode = 'enforce'\nmax_denials_per_minute = 2", 1, Deny, Some(Deny), false),
            ("mode = 'enforce'\nmax_denials_per_minute = 2", 2, Allow, Some(Deny), true),
            ("mode = 'enforce'\nmax_denials_per_minute = 0", 0, Allow, Some(Deny), true),
        ] {
            assert_eq!(decided(gate, denials), Decision { action, would, capped, late: false }, "{gate} {denials}");
        }
    }

    #[test]
    fn the_suggested_policy_wants_critical_and_refuses_refreshes_only() {
        let config = Config { mode: Mode::Enforce, ..Config::default() };
        let facts = testing::refresh(AT.into(), 1, 2);
        let action = |facts: &Facts, rule: &str, severity: &str, late: bool| {
            let findings = [finding(rule, severity)];
            decide(&config, &Memory::default(), (&event(), facts, &findings), AT, &|| late).action
        };
        assert_eq!(action(&facts, "RA101", "high", false), Action::Allow);
        assert_eq!(action(&facts, "RA102", "critical", false), Action::Deny);
        assert_eq!(action(&facts, "RA106", "critical", false), Action::Deny);
        assert_eq!(action(&facts, "RA405", "critical", false), Action::Allow);
        assert_eq!(action(&facts, "RA106", "critical", true), Action::Allow);
        let refused = Facts { meaning: Meaning::Refused, ..facts };
        assert_eq!(action(&refused, "RA106", "critical", false), Action::Allow);
    }

    #[test]
    fn a_stopped_gate_lets_through_and_a_loop_is_told_from_the_fifth_denial() {
        let config = Config { mode: Mode::Enforce, ..Config::default() };
        let facts = testing::refresh(AT.into(), 1, 2);
        let mut memory = Memory { stopped: true, ..Memory::default() };
        let findings = [finding("RA106", "critical")];
        let decided = decide(&config, &memory, (&event(), &facts, &findings), AT, &|| false);
        assert_eq!((decided.action, decided.would), (Action::Allow, Some(Action::Deny)));
        let loops: Vec<bool> = (0..6).map(|n| memory.learn(&facts, Action::Deny, AT + n * 60)).collect();
        assert_eq!(loops, [false, false, false, false, true, true]);
        assert_eq!(memory.calm(AT + 300), Calm { cap: true, clients: false });
        assert_eq!(memory.calm(AT + 300 + 601), Calm { cap: true, clients: true });
        assert!(!memory.learn(&facts, Action::Deny, AT + 10_000), "it begins anew");
    }

    #[test]
    fn who_does_not_give_up_stays_outside_and_opens_the_gate_for_nobody() {
        let config = Config { mode: Mode::Enforce, max_denials_per_minute: 8, ..Config::default() };
        let mut memory = Memory::default();
        let findings = [finding("RA101", "critical")];
        let mut answered = |user: u64, session: u64, at: u32| {
            let facts = Facts { user, session, ..testing::refresh(at.into(), 1, 2) };
            let decided = decide(&config, &memory, (&event(), &facts, &findings), at, &|| false);
            memory.learn(&facts, decided.action, at);
            decided.action
        };
        // A hundred times within the minute, in two sessions: five of the eight are taken.
        assert!((0..100).all(|n| answered(7, n % 2, AT) == Action::Deny));
        assert_eq!(
            [8, 9, 10, 11].map(|user| answered(user, user, AT)),
            [Action::Deny, Action::Deny, Action::Deny, Action::Allow]
        );
        assert_eq!(answered(7, 0, AT), Action::Deny, "past the cap");
        // As long as they go on, however long; not once they were quiet for ten minutes.
        assert!((1..20).all(|n| answered(7, 0, AT + 500 * n) == Action::Deny));
        let after = AT + 500 * 19 + 601;
        assert!((0..8).all(|user| answered(100 + user, user, after) == Action::Deny));
        assert_eq!(answered(7, 0, after), Action::Allow);
    }

    #[test]
    fn what_is_only_there_to_be_seen_refuses_nothing() {
        let config: Config =
            toml::from_str("mode = 'enforce'\ndeny = [{ rule = 'RA102', severity = 'info' }]").unwrap();
        let with = |mark: &str| {
            let mut found = finding("RA102", "info");
            found.evidence.insert(mark.to_owned(), "why".into());
            config.denies(&found)
        };
        assert!(with("network") && !with("suppressed") && !with("shadow"));
    }
}
