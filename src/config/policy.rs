//! `[detect]`, `[gate]` and `[[suppress]]`: what decides findings and verdicts. Refuses what nothing would act on, so that
//! nobody believes to be protected by it.

use super::{document::Document, error::ConfigError};
use crate::detect::{
    Policy,
    catalogue::CATALOGUE,
    gate,
    policy::{SUPPRESSIONS_MAX, Suppression},
};

/// Reads the sections.
pub(super) fn take(document: &mut Document<'_>) -> Result<Policy, ConfigError> {
    if document.has("rules") {
        return Err(document.error("rules", "[[rules]] is not available in this version").hint("remove it"));
    }
    let detect = document.take("detect")?;
    let gate: gate::Config = document.take("gate")?;
    let suppressions: Vec<Suppression> = document.take("suppress")?;
    let policy = Policy { detect, gate, suppressions };
    check_gate(&policy, document)?;
    check_suppressions(&policy, document)?;
    Ok(policy)
}

fn check_gate(policy: &Policy, document: &Document<'_>) -> Result<(), ConfigError> {
    if policy.gate.enforces() && !policy.detect.enabled {
        let path = if document.has("gate.mode") { "gate.mode" } else { "gate" };
        let error = document.error(path, "[gate] is to enforce, but detect.enabled is false: nothing would be refused");
        return Err(error.hint("enable detection, or write mode = \"off\""));
    }
    for (number, deny) in policy.gate.deny.iter().enumerate() {
        let path = format!("gate.deny.{number}.rule");
        is_rule(document, &path, &deny.rule)?;
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
            return Err(error.hint("name a rule, user, application or network"));
        }
        if one.reason.trim().is_empty() {
            let error = document.error(&format!("{path}.reason"), "a [[suppress]] entry has an empty reason");
            return Err(error.hint("say why: it stands in every record it silences"));
        }
        if let Some(rule) = &one.rule {
            is_rule(document, &format!("{path}.rule"), rule)?;
        }
    }
    Ok(())
}

fn is_rule(document: &Document<'_>, path: &str, id: &str) -> Result<(), ConfigError> {
    if CATALOGUE.iter().any(|rule| rule.id == id) {
        return Ok(());
    }
    Err(document
        .error(path, format!("there is no rule `{id}`"))
        .hint("rules are RA101 to RA602: see docs/detection.md"))
}
