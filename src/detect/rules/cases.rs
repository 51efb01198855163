//! The examples that stand beside a rule, and whether it does with them what they say.

use std::collections::BTreeMap;

use cel::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Made, Rule, RuleError, Unknown, context, findings_of, holds, read, types::Type, value};

/// Examples of one rule at most.
const CASES_MAX: usize = 32;

/// One of `[[rules.tests]]`: as much of an event as the rule asks for, and whether the rule speaks of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the rule's condition holds.
    pub fires: bool,
    /// Members of `event`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub event: Map<String, Value>,
    /// Members of `evidence`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub evidence: Map<String, Value>,
    /// Members of `features`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub features: Map<String, Value>,
    /// The findings so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Value>,
}

/// An example that the rule does not agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The rule's number, from 0.
    pub rule: usize,
    /// The example's number, from 0.
    pub case: usize,
    /// What is wrong, in words.
    pub what: String,
}

impl Case {
    /// Its name, or its number.
    pub fn title(&self, number: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("test {}", number + 1))
    }
}

/// Runs the examples of all rules, enabled or not; what does not hold is returned.
pub fn run(rules: &[Rule]) -> Result<Vec<Failed>, (usize, RuleError)> {
    let mut variables = Made::new().variables;
    let (mut failed, mut before) = (Vec::new(), Vec::new());
    for (number, rule) in rules.iter().enumerate() {
        let refuse = |member, what| (number, RuleError { rule: rule.id.clone(), what, member });
        if rule.tests.len() > CASES_MAX {
            return Err(refuse("tests", format!("there are more than {CASES_MAX} tests")));
        }
        let (condition, needs) = read(&rule.when, &variables).map_err(|what| refuse("when", what))?;
        let mut context = context(needs);
        for (at, case) in rule.tests.iter().enumerate() {
            let what = match case.give(&mut context, &variables) {
                Err(what) => what,
                Ok(()) => match (holds(&condition, &context), case.fires) {
                    (Ok(true), true) | (Ok(false) | Err(Unknown::Absent), false) => continue,
                    (Ok(true), false) => "the condition holds, and should not".to_owned(),
                    (Ok(false), true) => "the condition does not hold, and should".to_owned(),
                    (Err(Unknown::Absent), true) => "the condition asks for something that is absent".to_owned(),
                    (Err(Unknown::Failed), _) => "the condition fails: a number too large, or not one".to_owned(),
                },
            };
            failed.push(Failed { rule: number, case: at, what });
        }
        before.push(rule.id.clone());
        variables.insert("findings", findings_of(&before));
    }
    Ok(failed)
}

impl Case {
    fn give(&self, context: &mut Context<'static, 'static>, variables: &BTreeMap<&str, Type>) -> Result<(), String> {
        let given = [
            ("event", Value::Object(self.event.clone())),
            ("evidence", Value::Object(self.evidence.clone())),
            ("features", Value::Object(self.features.clone())),
            ("findings", Value::Array(self.findings.clone())),
        ];
        for (name, json) in given {
            if let Some(wrong) = variables.get(name).and_then(|kind| kind.refuse(&json, name)) {
                return Err(wrong);
            }
            context.add_variable_as_val(name, value(json));
        }
        Ok(())
    }
}
