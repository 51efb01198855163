//! What rules say: findings with the rule's own words and numbers, as the record has them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::catalogue::{Configured, Family, Rule, rule};
use crate::record::{Finding, Severity};

/// Of a rule that has no numbers.
pub const NO_EVIDENCE: [(&str, Value); 0] = [];

/// The findings of one event, in the order of the rules.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    is_new_user: bool,
}

impl Findings {
    /// None yet; `is_new_user`: little is known of the user.
    pub fn new(is_new_user: bool) -> Self {
        Self { list: Vec::new(), is_new_user }
    }

    /// Says something, unless the rule is switched off; an operator's severity wins over the rule's.
    pub fn say<R: Configured>(
        &mut self,
        rule: &R,
        severity: Severity,
        reason: impl Into<String>,
        evidence: impl IntoIterator<Item = (impl Into<String>, Value)>,
    ) {
        if rule.enabled() {
            let evidence = evidence.into_iter().filter(|(_, value)| !value.is_null());
            let most = if self.is_new_user && R::RULE.needs_history { Severity::Medium } else { Severity::Critical };
            debug_assert!(severity <= R::RULE.worst, "{} says {severity:?}", R::RULE.id);
            self.push(R::RULE, rule.severity().unwrap_or(severity.min(most)), reason.into(), evidence);
        }
    }

    fn push(
        &mut self,
        rule: Rule,
        severity: Severity,
        reason: String,
        evidence: impl Iterator<Item = (impl Into<String>, Value)>,
    ) {
        self.list.push(Finding {
            rule: rule.id.to_owned(),
            name: rule.name.to_owned(),
            severity,
            reason,
            attack: rule.attack.iter().map(|id| (*id).to_owned()).collect(),
            evidence: evidence.map(|(name, value)| (name.into(), value)).collect::<BTreeMap<_, _>>(),
            incident: None,
        });
    }

    /// Whether a rule has spoken.
    pub fn has(&self, rule: Rule) -> bool {
        self.list.iter().any(|finding| finding.rule == rule.id)
    }

    /// The worst of those about lineage (RA1xx).
    pub fn worst_of_lineage(&self) -> Option<Severity> {
        let is_lineage = |finding: &&Finding| rule(&finding.rule).is_some_and(|rule| rule.family == Family::Lineage);
        self.list.iter().filter(is_lineage).map(|finding| finding.severity).max()
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Finding> {
        self.list
    }
}
