//! What the ledger sees of detection: one thing that is shown every record in the journal's order, says what belongs into
//! it and which records follow from it, and comes back from its own durable copy and the records after it. The one
//! composition of engine, rules of the operator's own, suppressions, incidents and gate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::{
    Engine, Facts, Judgement, Policy,
    features::Features,
    gate,
    incidents::{Happened, Incidents, Snapshot},
    rules::{Asked, Rules, Said},
    signals::Signals,
    state::{
        State,
        application::Application,
        spilled::{Cellar, Guests, Name, Spilled},
        table::Table,
    },
    usual::Usual,
};
use crate::{
    event::RefreshEvent,
    record::{
        Action, ConfigChange, Evidence, Finding, Incident, IncidentChange, Kind, OperatorAction, Record, Seq, Verdict,
    },
    time::ReceivedAt,
};

/// Raised whenever what is remembered, or what follows from it, changes: an older copy is then made anew.
pub const STATE_FORMAT: u32 = 17;

/// One event on its way into the journal.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The event.
    pub event: &'a RefreshEvent,
    /// The event in numbers.
    pub facts: &'a Facts,
    /// What vouches for it.
    pub evidence: &'a Evidence,
    /// When its record is made.
    pub at: ReceivedAt,
    /// Its record.
    pub seq: Seq,
}

/// What belongs into the record of an event.
#[derive(Debug, Default)]
pub struct Ruling {
    /// What was found.
    pub findings: Vec<Finding>,
    /// What is answered; none where detection is off.
    pub verdict: Option<Verdict>,
    /// What the event showed, for whoever tunes.
    pub signals: Signals,
    /// What an operator should hear of the gate.
    pub notice: Option<Notice>,
    /// Rules of the operator's own that failed on it.
    pub failed_rules: u32,
}

/// What an operator should hear of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A refresh that would have been refused was let through: too many were within the minute.
    Capped,
    /// A client was refused again and again.
    Loop,
    /// A refresh that would have been refused was let through: judging it took too long.
    Late,
    /// Judging failed; the refresh was let through.
    Failed,
}

impl Ruling {
    /// Whether the refresh is refused.
    pub fn denies(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.action == Action::Deny)
    }
}

/// See the module.
pub struct Judge {
    engine: Engine,
    policy: Policy,
    rules: Rules,
    said: Said,
    incidents: Incidents,
    usual: Usual,
    gate: gate::Memory,
    /// Incident records that follow from what was judged and are not written yet.
    unwritten: Vec<Incident>,
}

/// Everything that is remembered.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Memory {
    /// What rules know.
    pub state: State,
    /// What is open.
    pub incidents: Incidents,
    /// What was usual, in words.
    pub usual: Usual,
    /// What the gate did.
    pub gate: gate::Memory,
    /// When rules of the operator's own last spoke.
    pub said: Said,
    /// What was last recorded as the configuration, as JSON.
    pub policy: Option<String>,
}

impl Judge {
    /// Remembers what `memory` says; judges by what was last recorded as the configuration, else by `policy`.
    pub fn new(policy: &Policy, memory: Memory) -> Self {
        let recorded = memory.policy.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let policy: Policy = recorded.unwrap_or_else(|| policy.clone());
        Self {
            engine: Engine::with(policy.detect.clone(), memory.state),
            rules: Rules::understood(&policy.rules),
            policy,
            said: memory.said,
            incidents: memory.incidents,
            usual: memory.usual,
            gate: memory.gate,
            unwritten: Vec::new(),
        }
    }

    /// What is remembered; a copy costs next to nothing.
    pub fn memory(&self) -> Memory {
        Memory {
            state: self.engine.state().clone(),
            incidents: self.incidents.clone(),
            usual: self.usual.clone(),
            gate: self.gate.clone(),
            said: self.said.clone(),
            policy: serde_json::to_string(&self.policy).ok(),
        }
    }

    /// How many sessions and users are in memory.
    pub fn remembered(&self) -> usize {
        self.engine.state().sessions.len() + self.engine.state().users.len()
    }

    /// How many sessions and users are outside.
    pub fn outside(&self) -> usize {
        self.engine.state().outside()
    }

    /// What of that an event needs and was not brought yet. With it there may be more: ask again.
    pub fn missing(&self, case: Case<'_>, guests: &Guests) -> Vec<Name> {
        if !self.policy.detect.enabled {
            return Vec::new();
        }
        let resolved = self.engine.resolved(case.facts);
        self.engine.missing((resolved.as_ref().unwrap_or(case.facts), case.evidence, case.at), guests)
    }

    /// Brings what an event needs.
    pub fn fetch(&self, case: Case<'_>, cellar: &mut dyn Cellar) -> Guests {
        let mut guests = Guests::default();
        let mut lost = Vec::new();
        loop {
            let mut missing = self.missing(case, &guests);
            missing.retain(|name| !lost.contains(name));
            if missing.is_empty() {
                return guests;
            }
            for name in missing {
                if !cellar.get(name).is_some_and(|bytes| guests.bring(name, &bytes)) {
                    lost.push(name);
                }
            }
        }
    }

    /// What went out since the last time: to be kept before anything is fetched.
    pub fn take_spilled(&mut self) -> impl Iterator<Item = Spilled> + use<> {
        self.engine.take_spilled()
    }

    /// What is known of applications; a copy costs next to nothing.
    pub fn applications(&self) -> Table<Application> {
        self.engine.state().applications.clone()
    }

    /// What incidents are open; a copy costs next to nothing.
    pub fn open_incidents(&self) -> Snapshot {
        self.incidents.snapshot()
    }

    /// Whether an operator stopped the gate.
    pub fn is_stopped(&self) -> bool {
        self.gate.stopped
    }

    /// Judges an event and learns from it. `guests`: what was brought for it. `late`: whether it took too long to refuse
    /// for it. Whatever fails lets the refresh through.
    pub fn event(&mut self, case: Case<'_>, guests: Guests, late: &dyn Fn() -> bool) -> Ruling {
        self.ruled(case, guests, Decider::Gate(late))
    }

    /// Judges an event of before by what applies now. What was answered then is what happened, and is learned from.
    pub fn again(&mut self, case: Case<'_>, guests: Guests, answered: Action) -> Ruling {
        self.ruled(case, guests, Decider::Record(answered))
    }

    fn ruled(&mut self, case: Case<'_>, guests: Guests, decider: Decider<'_>) -> Ruling {
        if !self.policy.detect.enabled {
            return Ruling::default();
        }
        let resolved = self.engine.resolved(case.facts);
        let case = Case { facts: resolved.as_ref().unwrap_or(case.facts), ..case };
        self.engine.begin(case.seq, (case.facts, case.evidence, case.at), guests);
        let ruling = catch_unwind(AssertUnwindSafe(|| self.rule(case, decider))).unwrap_or_else(|_| Ruling {
            verdict: Some(Verdict { action: Action::Allow, would: None, risk: None }),
            notice: Some(Notice::Failed),
            ..Ruling::default()
        });
        self.engine.end();
        ruling
    }

    fn rule(&mut self, case: Case<'_>, decider: Decider<'_>) -> Ruling {
        let Case { event, facts, evidence, at, .. } = case;
        let secs = at.secs();
        self.incidents.close_idle(&self.policy.detect.incidents, at, &mut self.unwritten);
        let may_deny = match decider {
            Decider::Gate(_) => self.policy.gate.enforces_on(event) && !self.gate.stopped,
            Decider::Record(action) => action == Action::Deny,
        };
        let before = may_deny.then(|| self.engine.before(facts, secs));
        let mut judgement = self.engine.observe(event, facts, evidence, at);
        let failed_rules = if evidence.stale { 0 } else { self.own_rules(case, &mut judgement) };
        let mut findings = judgement.findings;
        self.policy.suppress(&mut findings, event, at);
        let by_gate = |late| gate::decide(&self.policy.gate, &self.gate, (event, facts, &findings), secs, late);
        let decision = match decider {
            Decider::Gate(late) => by_gate(late),
            // What was answered then counts, whatever would be answered now.
            Decider::Record(action) => gate::Decision { action, ..by_gate(&|| false) },
        };
        let mut notice = decision.capped.then_some(Notice::Capped).or(decision.late.then_some(Notice::Late));
        if self.gate.learn(facts, decision.action, secs) {
            notice = Some(Notice::Loop);
        }
        if decision.capped {
            self.gate.learn_capped(secs);
        }
        if let (Action::Deny, Some(before)) = (decision.action, before) {
            self.engine.denied(facts, before);
        }
        self.group(case, Some(judgement.risk), &mut findings);
        if findings.iter().all(|finding| finding.severity < self.policy.detect.incidents.at_least) && !evidence.stale {
            self.usual.learn(event, facts, secs);
        }
        let verdict = Verdict { action: decision.action, would: decision.would, risk: Some(judgement.risk) };
        Ruling { findings, verdict: Some(verdict), signals: judgement.signals, notice, failed_rules }
    }

    /// What the operator's own rules find; returns how many failed. One that panics takes none of ours with it.
    fn own_rules(&mut self, case: Case<'_>, judgement: &mut Judgement) -> u32 {
        let Case { event, facts, evidence, at, .. } = case;
        let Self { rules, said, policy, .. } = self;
        let when = (facts.occurred, policy.detect.zones.shown(facts.tenant, facts.occurred));
        let features = Features::new(&judgement.signals, judgement.numbers, judgement.risk, when);
        let asked = Asked { event, evidence, features, at };
        let findings = &mut judgement.findings;
        catch_unwind(AssertUnwindSafe(|| rules.observe(said, &asked, findings))).unwrap_or(1)
    }

    fn group(&mut self, case: Case<'_>, risk: Option<f64>, findings: &mut [Finding]) {
        let Case { event, facts, at, seq, .. } = case;
        let Self { incidents, usual, policy, unwritten, .. } = self;
        let changed = || usual.changed(event, facts);
        incidents.take(&policy.detect.incidents, Happened { event, seq, at, risk }, findings, changed, unwritten);
    }

    /// What is found about an id that came again with another body; `of`: the first record.
    pub fn replayed(&mut self, case: Case<'_>, of: Seq) -> Vec<Finding> {
        if !self.policy.detect.enabled {
            return Vec::new();
        }
        let mut findings = self.engine.replayed(of);
        self.policy.suppress(&mut findings, case.event, case.at);
        self.group(case, None, &mut findings);
        findings
    }

    /// Time passes without an event: what was quiet for long enough is closed.
    pub fn tick(&mut self, at: ReceivedAt) {
        if self.policy.detect.enabled {
            self.incidents.close_idle(&self.policy.detect.incidents, at, &mut self.unwritten);
        }
    }

    /// What of the gate is no trouble any more.
    pub fn calm(&self, at: ReceivedAt) -> gate::Calm {
        self.gate.calm(at.secs())
    }

    /// The incident records that have to be written before the next event is judged.
    pub fn take_unwritten(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.unwritten)
    }

    /// The records that have to be written before the next event is judged, where the configuration is another than the
    /// one that was last recorded. Applies it.
    pub fn configure(&mut self, policy: &Policy) -> Vec<ConfigChange> {
        let changes = policy.changes_from(&self.policy);
        if !changes.is_empty() {
            self.policy = policy.clone();
            self.apply();
        }
        changes
    }

    fn apply(&mut self) {
        self.engine.configure(self.policy.detect.clone());
        self.rules = Rules::understood(&self.policy.rules);
    }

    /// An operator did something by command.
    pub fn operator(&mut self, action: &OperatorAction) {
        match action.action.as_str() {
            OperatorAction::GATE_STOP => self.gate.stopped = true,
            OperatorAction::GATE_START => self.gate.stopped = false,
            _ => {}
        }
    }

    /// Learns from a record of before what was learned from it then. What an event's incident records were, if the end of
    /// the journal lacks them, is unwritten afterwards. `cellar`: where what does not fit into memory is.
    pub fn remember(&mut self, record: &Record, cellar: &mut dyn Cellar) {
        match (record.kind, &record.event) {
            (Kind::Incident, _) => return self.remember_incident(record),
            (Kind::Event | Kind::Replay, Some(event)) => {
                self.disown();
                self.remember_event(record, event, cellar);
            }
            // An operator's command while nothing ran may stand between the two.
            _ => {}
        }
        if let Some(change) = &record.config {
            self.policy.apply(change);
            self.apply();
        }
        if let Some(action) = &record.operator {
            self.operator(action);
        }
    }

    fn remember_event(&mut self, record: &Record, event: &RefreshEvent, cellar: &mut dyn Cellar) {
        let evidence = record.evidence.clone().unwrap_or_default();
        let (facts, at, seq) = (Facts::of(event), record.received_at, record.seq);
        let case = Case { event, facts: &facts, evidence: &evidence, at, seq };
        if let Some(replay) = &record.replay {
            self.replayed(case, replay.of);
        } else {
            // What failed then fails as well, and ends as it did.
            let guests = self.fetch(case, cellar);
            self.again(case, guests, record.verdict.as_ref().map_or(Action::Allow, |verdict| verdict.action));
            self.take_spilled().for_each(|entry| cellar.put(entry));
        }
        if record.verdict.is_none() && record.findings.is_empty() {
            // Judged by nobody then: nothing followed.
            self.disown();
        }
    }

    /// What would have been opened by what applies now, and was not: the records say how it was.
    fn disown(&mut self) {
        for incident in std::mem::take(&mut self.unwritten).iter().filter(|one| one.change == IncidentChange::Opened) {
            self.incidents.closed(incident);
        }
    }

    fn remember_incident(&mut self, record: &Record) {
        let Some(incident) = &record.incident else { return };
        let same = |one: &Incident| one.id == incident.id && one.change == incident.change;
        match self.unwritten.iter().position(same) {
            Some(at) => drop(self.unwritten.remove(at)),
            None if incident.change == IncidentChange::Closed => self.incidents.closed(incident),
            // Other rules, or another score, opened it then, and whoever was told of it is told of its end.
            None => self.incidents.recorded(incident),
        }
    }
}

/// Who says what was answered.
enum Decider<'a> {
    /// The gate, now.
    Gate(&'a dyn Fn() -> bool),
    /// The record.
    Record(Action),
}
