//! What rules say: findings with the rule's own words and numbers, as the record has them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::catalogue::{Configured, Rule};
use crate::record::{Finding, Severity};

/// The findings of one event, in the order of the rules.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Says something, unless the rule is switched off; an operator's severity wins over the rule's.
    pub fn say<R: Configured, const N: usize>(
        &mut self,
        rule: &R,
        severity: Severity,
        reason: impl Into<String>,
        evidence: [(&str, Value); N],
    ) {
        if rule.enabled() {
            let evidence = evidence.into_iter().filter(|(_, value)| !value.is_null());
            self.push(R::RULE, rule.severity().unwrap_or(severity), reason.into(), evidence);
        }
    }

    fn push<'a>(
        &mut self,
        rule: Rule,
        severity: Severity,
        reason: String,
        evidence: impl Iterator<Item = (&'a str, Value)>,
    ) {
        self.list.push(Finding {
            rule: rule.id.to_owned(),
            name: rule.name.to_owned(),
            severity,
            reason,
            attack: rule.attack.iter().map(|id| (*id).to_owned()).collect(),
            evidence: evidence.map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(),
            incident: None,
        });
    }

    /// Whether a rule has spoken.
    pub fn has(&self, rule: Rule) -> bool {
        self.list.iter().any(|finding| finding.rule == rule.id)
    }

    /// The worst of those about lineage (RA1xx).
    pub fn worst_of_lineage(&self) -> Option<Severity> {
        self.list.iter().filter(|finding| finding.rule.starts_with("RA1")).map(|finding| finding.severity).max()
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Finding> {
        self.list
    }
}
