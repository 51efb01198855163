//! `[[rules]]`: rules of an operator's own, conditions in CEL over the event, its features and the findings so far.
//!
//! A rule is checked when it is read (`check`), so that a mistake is found then; what it can cost is bounded (`cost`,
//! `pattern`, `values`); its own examples run when it is read (`cases`). A condition that asks for something absent says
//! nothing. In reading order: `types`, `check`, `cost`, `pattern`, `tree`, `values`, `cases`.

use std::collections::{BTreeMap, BTreeSet};

use cel::{
    Context, IdedExpr, Value,
    common::{types::CelList, value::Val},
    extractors::This,
};
use serde::{Deserialize, Serialize};

use super::{
    catalogue::CATALOGUE,
    features::Features,
    incidents::subject,
    key::key,
    policy::SHADOW,
    state::table::{Limits, Table},
};
use crate::{
    event::{Client, RefreshEvent},
    record::{Evidence, Finding, Severity},
    time::ReceivedAt,
    units::Span,
};

mod cases;
mod check;
mod cost;
mod ids;
mod pattern;
mod tree;
mod types;
mod values;

pub use cases::{Case, Failed, run};

use check::Needs;
use ids::{is_technique, wrong_id};
use types::Type;
use values::{LIST_MAX, element, value};

/// Rules at most: each event is shown to all of them.
pub const RULES_MAX: usize = 100;
/// Steps that all rules together may take for one event, some 1 to 2 ms; see [`check::STEPS_MAX`].
const STEPS_TOGETHER_MAX: usize = 25_000;
/// Bytes of a condition.
const CONDITION_MAX: usize = 4_096;
/// Nested parts of a condition.
const DEPTH_MAX: u16 = 64;
/// The longest `dedup`.
const DEDUP_MAX: Span = Span::from_days(30);
/// Who was told of lately; about 60 bytes each.
const SAID: Limits = Limits { entries: 65_536, kept: 30 * 86_400 };

/// One of `[[rules]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What findings, suppressions and the gate call it.
    pub id: String,
    /// The same in a few words; the id where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The condition, in CEL.
    pub when: String,
    /// How bad it is.
    pub severity: Severity,
    /// What the finding says; the condition where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// MITRE ATT&CK techniques.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attack: Vec<String>,
    /// Not said again of the same session (else user, else network) within this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Span>,
    /// Whether it is only tried: its findings are `info`, and say what they would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Whether it may speak.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Its own examples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Case>,
}

fn yes() -> bool {
    true
}

/// Why a rule is not taken.
#[derive(Debug, thiserror::Error)]
#[error("rule `{rule}`: {what}")]
pub struct RuleError {
    rule: String,
    what: String,
    /// The member that is wrong.
    pub member: &'static str,
}

/// When each rule last spoke of whom.
pub type Said = Table<u32>;

/// What a rule can ask.
pub struct Asked<'a> {
    /// `event`.
    pub event: &'a RefreshEvent,
    /// `evidence`.
    pub evidence: &'a Evidence,
    /// `features`.
    pub features: Features,
    /// When the record is made.
    pub at: ReceivedAt,
}

/// All of them, ready to be asked.
#[derive(Default)]
pub struct Rules {
    rules: Vec<Ready>,
    asked: BTreeSet<String>,
    context: Context<'static, 'static>,
}

struct Ready {
    rule: Rule,
    condition: IdedExpr,
    asks_findings: bool,
}

impl Rules {
    /// Reads and checks them, and runs nothing.
    pub fn new(rules: &[Rule]) -> Result<Self, (usize, RuleError)> {
        let mut made = Made::new();
        for (number, rule) in rules.iter().enumerate() {
            made.add(rule).map_err(|error| (number, error))?;
        }
        Ok(made.finish())
    }

    /// Those that this version understands: a journal may hold rules of another.
    pub fn understood(rules: &[Rule]) -> Self {
        let mut made = Made::new();
        for rule in rules {
            // What it cannot read it did not judge by, either.
            let _ = made.add(rule);
        }
        made.finish()
    }

    /// Adds what they find in one event; returns how many failed, which says nothing.
    pub fn observe(&mut self, said: &mut Said, asked: &Asked<'_>, findings: &mut Vec<Finding>) -> u32 {
        if self.rules.iter().all(|ready| !ready.rule.enabled) {
            return 0;
        }
        self.set("event", asked.event);
        self.set("evidence", asked.evidence);
        self.set("features", &asked.features);
        let secs = asked.at.secs();
        let mut failed = 0;
        let mut told = None::<Vec<Box<dyn Val>>>;
        for number in 0..self.rules.len() {
            let Ready { rule, asks_findings, .. } = &self.rules[number];
            if !rule.enabled {
                continue;
            }
            if *asks_findings {
                self.tell(&mut told, findings);
            }
            let Ready { rule, condition, .. } = &self.rules[number];
            match holds(condition, &self.context) {
                Ok(true) if is_news(rule, asked.event, secs, said) => findings.push(finding(rule)),
                Ok(_) => {}
                Err(Unknown::Absent) => {}
                Err(Unknown::Failed) => failed += 1,
            }
        }
        failed
    }

    fn set(&mut self, name: &str, of: &impl Serialize) {
        if self.asked.contains(name) {
            let json = serde_json::to_value(of).unwrap_or_default();
            self.context.add_variable_as_val(name, value(json));
        }
    }

    /// Shows the findings, of which those in `told` are shown.
    fn tell(&mut self, told: &mut Option<Vec<Box<dyn Val>>>, findings: &[Finding]) {
        let end = findings.len().min(LIST_MAX);
        if told.as_ref().is_some_and(|told| told.len() == end) {
            return;
        }
        let told = told.get_or_insert_default();
        let new = findings[told.len()..end].iter();
        told.extend(new.map(|one| element(serde_json::to_value(one).unwrap_or_default())));
        self.context.add_variable_as_val("findings", Box::new(CelList::from(told.clone())));
    }
}

/// Why a condition is neither true nor false.
enum Unknown {
    /// It asks for what is absent.
    Absent,
    /// A number too large, a division by zero, a text that is no number.
    Failed,
}

fn holds(condition: &IdedExpr, context: &Context<'_, '_>) -> Result<bool, Unknown> {
    match Value::resolve(condition, context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Err(cel::ExecutionError::NoSuchKey(_) | cel::ExecutionError::IndexOutOfBounds(_)) => Err(Unknown::Absent),
        _ => Err(Unknown::Failed),
    }
}

/// Whether it was not said of the same session, user or network lately.
fn is_news(rule: &Rule, event: &RefreshEvent, now: u32, said: &mut Said) -> bool {
    let Some(dedup) = rule.dedup else { return true };
    let kept = u32::try_from(dedup.get().as_secs()).unwrap_or(u32::MAX);
    let of = key(&["rule", &rule.id, &subject(&rule.id, event).unwrap_or(0).to_string()]);
    if said.get(of).is_some_and(|last| now.saturating_sub(*last) < kept) {
        return false;
    }
    *said.entry(of, now, SAID, || now) = now;
    true
}

fn finding(rule: &Rule) -> Finding {
    let mut evidence = BTreeMap::new();
    if rule.shadow {
        evidence.insert(SHADOW.to_owned(), rule.severity.as_str().into());
    }
    Finding {
        rule: rule.id.clone(),
        name: rule.name.clone().unwrap_or_else(|| rule.id.clone()),
        severity: if rule.shadow { Severity::Info } else { rule.severity },
        reason: rule.reason.clone().unwrap_or_else(|| format!("holds: {}", rule.when.trim())),
        attack: rule.attack.clone(),
        evidence,
        incident: None,
    }
}

/// Rules on their way to be asked.
struct Made {
    variables: BTreeMap<&'static str, Type>,
    ids: BTreeSet<String>,
    needs: Needs,
    rules: Vec<Ready>,
    asked: BTreeSet<String>,
    /// Whose findings the next one can ask for.
    rules_before: Vec<String>,
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// The findings that a rule can see: the product's own, and those of the rules before it.
fn findings_of(rules_before: &[String]) -> Type {
    let own = CATALOGUE.iter().map(|rule| rule.id.to_owned());
    let ids: Vec<String> = own.chain(rules_before.iter().cloned()).collect();
    Type::of(&schemars::schema_for!(Vec<Finding>)).with_words(&["rule"], &ids)
}

impl Made {
    fn new() -> Self {
        let variables = BTreeMap::from([
            (
                "event",
                Type::of(&schemars::schema_for!(RefreshEvent)).with_words(&["client", "kind"], &words(Client::KINDS)),
            ),
            (
                "evidence",
                Type::of(&schemars::schema_for!(Evidence))
                    .with_words(&["channel"], &words(Evidence::CHANNELS))
                    .with_words(&["authenticity"], &words(Evidence::PROOFS)),
            ),
            ("features", Type::of(&schemars::schema_for!(Features))),
            ("findings", findings_of(&[])),
        ]);
        Self {
            variables,
            ids: BTreeSet::new(),
            needs: Needs::default(),
            rules: Vec::new(),
            asked: BTreeSet::new(),
            rules_before: Vec::new(),
        }
    }

    fn add(&mut self, rule: &Rule) -> Result<(), RuleError> {
        let refuse = |member, what: String| RuleError { rule: rule.id.clone(), what, member };
        if self.rules.len() >= RULES_MAX {
            return Err(refuse("id", format!("there are more than {RULES_MAX} [[rules]]")));
        }
        if let Some(what) = wrong_id(&rule.id) {
            return Err(refuse("id", what.to_owned()));
        }
        if !self.ids.insert(rule.id.clone()) {
            return Err(refuse("id", "there are two of this id".to_owned()));
        }
        if rule.dedup.is_some_and(|dedup| dedup > DEDUP_MAX || dedup.get().is_zero()) {
            return Err(refuse("dedup", "`dedup` is more than zero and at most \"30d\"".to_owned()));
        }
        for (member, text) in [("name", &rule.name), ("reason", &rule.reason)] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                return Err(refuse(member, format!("`{member}` is empty: leave it out, or say something")));
            }
        }
        if let Some(id) = rule.attack.iter().find(|id| !is_technique(id)) {
            return Err(refuse("attack", format!("`{id}` is no ATT&CK technique such as \"T1078\" or \"T1550.001\"")));
        }
        if rule.when.len() > CONDITION_MAX {
            return Err(refuse("when", format!("the condition is longer than {CONDITION_MAX} bytes")));
        }
        let (condition, needs) = read(&rule.when, &self.variables).map_err(|what| refuse("when", what))?;
        self.rules_before.push(rule.id.clone());
        self.variables.insert("findings", findings_of(&self.rules_before));
        self.needs.steps += needs.steps;
        if self.needs.steps > STEPS_TOGETHER_MAX {
            let what = format!("with this one, all rules together can take more than {STEPS_TOGETHER_MAX} steps");
            return Err(refuse("when", what));
        }
        self.needs.patterns.extend(needs.patterns);
        self.needs.networks.extend(needs.networks);
        let asked: BTreeSet<String> =
            self.variables.keys().filter(|name| tree::asks(&condition, name)).map(ToString::to_string).collect();
        self.rules.push(Ready { rule: rule.clone(), asks_findings: asked.contains("findings"), condition });
        self.asked.extend(asked);
        Ok(())
    }

    fn finish(self) -> Rules {
        Rules { rules: self.rules, asked: self.asked, context: context(self.needs) }
    }
}

/// A condition, read and checked.
fn read(text: &str, variables: &BTreeMap<&str, Type>) -> Result<(IdedExpr, Needs), String> {
    let parser = cel::parser::Parser::default().max_recursion_depth(DEPTH_MAX);
    let (mut condition, source) = parser.parse_with_source_info(text).map_err(|error| {
        let first = error.errors.first();
        format!("not CEL: {}", first.map_or_else(|| error.to_string(), |first| first.msg.clone()))
    })?;
    let needs = check::check(&condition, &source, variables).map_err(|wrong| match wrong.at {
        Some(at) => format!("{} (at `{}`)", wrong.what, text.get(at..).map_or("", beginning)),
        None => wrong.what,
    })?;
    tree::forgive_absence(&mut condition);
    Ok((condition, needs))
}

/// The part of a condition that an error is about.
fn beginning(text: &str) -> &str {
    let end = text.char_indices().nth(24).map_or(text.len(), |(at, _)| at);
    text[..end].lines().next().unwrap_or("")
}

/// What conditions call, with what they were written with.
fn context(needs: Needs) -> Context<'static, 'static> {
    let mut context = Context::default();
    let Needs { patterns, networks, .. } = needs;
    let matches = move |This(text): This<std::sync::Arc<String>>, pattern: std::sync::Arc<String>| {
        patterns.get(pattern.as_str()).is_some_and(|pattern| pattern.is_in(&text))
    };
    let in_network = move |This(text): This<std::sync::Arc<String>>, network: std::sync::Arc<String>| {
        let address = text.parse::<std::net::IpAddr>().ok().map(|address| address.to_canonical());
        address.zip(networks.get(network.as_str())).is_some_and(|(address, network)| network.contains(&address))
    };
    // Both names are free: CEL's own `matches` comes with a feature that is off.
    let _ = context.add_function("matches", matches);
    let _ = context.add_function("inNetwork", in_network);
    context
}

#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod tests;
