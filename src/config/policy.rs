//! `[detect]`, `[[rules]]`, `[gate]` and `[[suppress]]`: what decides findings and verdicts. Refuses what nothing would act
//! on, so that nobody believes to be protected by it.

use super::{document::Document, error::ConfigError, thresholds};
use crate::detect::{
    Policy, catalogue, gate,
    policy::{SUPPRESSIONS_MAX, Suppression},
    rules::{self, Rule, RuleError, Rules},
};

/// Whether the tests of `[[rules]]` are run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleTests {
    /// One that fails is an error.
    MustHold,
    /// Whoever reads the configuration runs them.
    AreLeft,
}

/// Reads the sections.
pub(super) fn take(document: &mut Document<'_>, tests: RuleTests) -> Result<Policy, ConfigError> {
    let detect = document.take("detect")?;
    let rules: Vec<Rule> = document.take("rules")?;
    let gate: gate::Config = document.take("gate")?;
    let suppressions: Vec<Suppression> = document.take("suppress")?;
    let policy = Policy { detect, rules, gate, suppressions };
    thresholds::check(&policy.detect, document)?;
    check_rules(&policy.rules, document, tests)?;
    check_gate(&policy, document)?;
    check_suppressions(&policy, document)?;
    Ok(policy)
}

fn check_rules(all: &[Rule], document: &Document<'_>, tests: RuleTests) -> Result<(), ConfigError> {
    let refuse = |(number, error): (usize, RuleError)| {
        let path = format!("rules.{number}.{}", error.member);
        let path = if document.has(&path) { path } else { format!("rules.{number}") };
        document.error(&path, format!("[[rules]]: {error}"))
    };
    Rules::new(all).map_err(refuse)?;
    let failed = if tests == RuleTests::MustHold { rules::run(all).map_err(refuse)? } else { Vec::new() };
    let Some(first) = failed.first() else { return Ok(()) };
    let rule = &all[first.rule];
    let title = rule.tests[first.case].title(first.case);
    let path = format!("rules.{}.tests.{}", first.rule, first.case);
    let error =
        document.error(&path, format!("[[rules]]: rule `{}` fails its test `{title}`: {}", rule.id, first.what));
    Err(error.hint("`refresh-audit rules test` shows all of them"))
}

fn check_gate(policy: &Policy, document: &Document<'_>) -> Result<(), ConfigError> {
    if policy.gate.enforces() && !policy.detect.enabled {
        let path = if document.has("gate.mode") { "gate.mode" } else { "gate" };
        let error = document.error(path, "[gate] is to enforce, but detect.enabled is false: nothing would be refused");
        return Err(error.hint("enable detection, or write mode = \"off\""));
    }
    for (number, deny) in policy.gate.deny.iter().enumerate() {
        let path = format!("gate.deny.{number}.rule");
        is_rule(document, &path, &deny.rule, policy)?;
        let is_shadow = policy.rules.iter().any(|rule| rule.id == deny.rule && rule.shadow);
        // The default list names rules that may well be turned off.
        if document.has(&path) && (is_shadow || is_off(policy, &deny.rule)) {
            let why = if is_shadow { "is a shadow" } else { "is not enabled" };
            let error = document.error(&path, format!("rule `{}` {why}: nothing would be refused for it", deny.rule));
            return Err(error.hint("take it out of gate.deny, or let the rule speak"));
        }
        if policy.rules.iter().any(|rule| rule.id == deny.rule && rule.dedup.is_some()) {
            let error =
                document.error(&path, format!("rule `{}` has `dedup`: a second try would not be refused", deny.rule));
            return Err(error.hint("leave `dedup` out of a rule for the gate; incidents tell a person once anyway"));
        }
    }
    Ok(())
}

fn check_suppressions(policy: &Policy, document: &Document<'_>) -> Result<(), ConfigError> {
    if policy.suppressions.len() > SUPPRESSIONS_MAX {
        return Err(document.error("suppress", format!("there are more than {SUPPRESSIONS_MAX} [[suppress]] entries")));
    }
    for (number, one) in policy.suppressions.iter().enumerate() {
        let path = format!("suppress.{number}");
        if !one.is_about_something() {
            let error = document.error(&path, "an entry of [[suppress]] would silence everything");
            return Err(error.hint("name a rule, user, application, or a network of more than /0 (all silenced for good: `enabled = false` of a rule)"));
        }
        if one.reason.trim().is_empty() {
            let error = document.error(&format!("{path}.reason"), "a [[suppress]] entry has an empty reason");
            return Err(error.hint("say why: it stands in every record it silences"));
        }
        if let Some(rule) = &one.rule {
            is_rule(document, &format!("{path}.rule"), rule, policy)?;
        }
    }
    Ok(())
}

/// Whether a rule of the catalogue is turned off.
fn is_off(policy: &Policy, id: &str) -> bool {
    serde_json::to_value(&policy.detect).is_ok_and(|detect| detect[id]["enabled"] == false)
}

fn is_rule(document: &Document<'_>, path: &str, id: &str, policy: &Policy) -> Result<(), ConfigError> {
    if catalogue::rule(id).is_some() || policy.rules.iter().any(|rule| rule.id == id) {
        return Ok(());
    }
    Err(document
        .error(path, format!("there is no rule `{id}`"))
        .hint("rules are RA101 to RA602, see docs/detection.md, and the ids of [[rules]]"))
}
