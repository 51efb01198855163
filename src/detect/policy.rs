//! What decides findings and verdicts, as an operator sets it: `[detect]`, `[[rules]]`, `[gate]` and `[[suppress]]` together.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{catalogue, gate, rules::Rule};
use crate::{
    event::{ApplicationId, RefreshEvent, UserId},
    host::Addresses,
    record::{ConfigChange, Finding, Severity},
    time::ReceivedAt,
};

/// Suppressions at most: each event with a finding is compared with all of them.
pub const SUPPRESSIONS_MAX: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// `[detect]`.
    pub detect: catalogue::Config,
    /// `[[rules]]`.
    pub rules: Vec<Rule>,
    /// `[gate]`.
    pub gate: gate::Config,
    /// `[[suppress]]`.
    pub suppressions: Vec<Suppression>,
}

/// One of `[[suppress]]`: findings that an operator has looked at. All that is set must match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// Of this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Of this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Of this application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationId>,
    /// From this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Addresses>,
    /// Why; stands in every finding that it silences.
    pub reason: String,
    /// Until then, by the ledger's clock.
    #[serde(deserialize_with = "until")]
    pub until: Until,
}

/// An instant, written as a date (its begin in UTC) or as an RFC 3339 time with offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Until(pub ReceivedAt);

fn until<'de, D: Deserializer<'de>>(from: D) -> Result<Until, D::Error> {
    let wrong = || D::Error::custom("not a date such as \"2026-12-31\" or a time such as \"2026-12-31T18:00:00Z\"");
    let text = match Written::deserialize(from).map_err(|_| wrong())? {
        Written::Text(text) => text,
        Written::Bare(instant) => instant.to_string(),
    };
    ReceivedAt::written(&text).map(Until).ok_or_else(wrong)
}

/// TOML has dates and times of its own, without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bare(toml::value::Datetime),
}

impl Suppression {
    /// Whether anything narrows it; all addresses there are do not.
    pub fn is_about_something(&self) -> bool {
        let net = self.network.is_some_and(|net| net.network().prefix_len() > 0);
        self.rule.is_some() || self.user.is_some() || self.application.is_some() || net
    }

    fn is_about(&self, finding: &Finding, event: &RefreshEvent, at: ReceivedAt) -> bool {
        at < self.until.0
            && self.rule.as_ref().is_none_or(|rule| *rule == finding.rule)
            && self.user.as_ref().is_none_or(|user| event.user_id.as_ref() == Some(user))
            && self.application.as_ref().is_none_or(|id| event.application_id.as_ref() == Some(id))
            && self.network.is_none_or(|net| event.address().is_some_and(|address| net.contains(&address)))
    }
}

/// In the evidence of what is suppressed: why.
const SUPPRESSED: &str = "suppressed";
/// In the evidence of a rule that is tried out: the severity that it would have.
pub const SHADOW: &str = "shadow";

/// Whether a finding is only there to be seen: suppressed, or of a rule that is tried out.
pub fn is_silent(finding: &Finding) -> bool {
    [SUPPRESSED, SHADOW].iter().any(|mark| finding.evidence.contains_key(*mark))
}

impl Policy {
    /// Marks what is suppressed: it stays, as information, with the reason.
    pub fn suppress(&self, findings: &mut [Finding], event: &RefreshEvent, at: ReceivedAt) {
        for finding in findings {
            if let Some(silenced) = self.suppressions.iter().find(|one| one.is_about(finding, event, at)) {
                finding.severity = Severity::Info;
                finding.evidence.insert(SUPPRESSED.to_owned(), silenced.reason.clone().into());
            }
        }
    }

    /// What `[gate]` says to no effect, in words: allowed, since a part of it may be meant for later.
    pub fn idle_gate(&self) -> Vec<String> {
        let gate = &self.gate;
        let mut notes = Vec::new();
        if !gate.is_on() {
            return notes;
        }
        if gate.deny.is_empty() {
            notes.push(
                "gate.deny is empty: no refresh is, or would be, refused; leave it out for the suggested list"
                    .to_owned(),
            );
        }
        if gate.enforces() && gate.max_denials_per_minute == 0 {
            notes.push("gate.max_denials_per_minute = 0: no refresh is refused; `gate stop` is for that".to_owned());
        }
        for deny in &gate.deny {
            if let Some(worst) = self.worst_of(&deny.rule).filter(|worst| *worst < deny.severity) {
                let (rule, wanted, worst) = (&deny.rule, deny.severity.as_str(), worst.as_str());
                notes.push(format!(
                    "gate.deny names {rule} at {wanted}, but it is {worst} at most: nothing is refused for it"
                ));
            }
        }
        notes
    }

    /// The worst that a rule says as it is set.
    fn worst_of(&self, id: &str) -> Option<Severity> {
        if let Some(own) = self.rules.iter().find(|rule| rule.id == id) {
            return Some(own.severity);
        }
        let set = serde_json::to_value(&self.detect).unwrap_or_default();
        let set = serde_json::from_value(set[id]["severity"].clone()).ok();
        set.or_else(|| catalogue::rule(id).map(|rule| rule.worst))
    }

    /// What differs from `before`, part by part.
    pub fn changes_from(&self, before: &Self) -> Vec<ConfigChange> {
        let mut changes = Vec::new();
        let mut compare = |differs: bool, what: &str, now: serde_json::Result<serde_json::Value>| {
            if let (true, Ok(now)) = (differs, now) {
                let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(now.to_string()));
                changes.push(ConfigChange { what: what.to_owned(), digest, now: Some(now) });
            }
        };
        compare(self.detect != before.detect, "detect", serde_json::to_value(&self.detect));
        compare(self.rules != before.rules, "rules", serde_json::to_value(&self.rules));
        compare(self.gate != before.gate, "gate", serde_json::to_value(&self.gate));
        let silenced = self.suppressions != before.suppressions;
        compare(silenced, "suppressions", serde_json::to_value(&self.suppressions));
        changes
    }

    /// Takes over one recorded change. What a later version wrote and this one does not know stays as it was.
    pub fn apply(&mut self, change: &ConfigChange) {
        let Some(now) = change.now.clone() else { return };
        match change.what.as_str() {
            "detect" => self.detect = serde_json::from_value(now).unwrap_or_else(|_| self.detect.clone()),
            "rules" => self.rules = serde_json::from_value(now).unwrap_or_else(|_| self.rules.clone()),
            "gate" => self.gate = serde_json::from_value(now).unwrap_or_else(|_| self.gate.clone()),
            "suppressions" => {
                self.suppressions = serde_json::from_value(now).unwrap_or_else(|_| self.suppressions.clone());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(rule: &str) -> Finding {
        let json = json!({ "rule": rule, "name": "n", "severity": "critical", "reason": "r" });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_suppressed_is_marked_and_nothing_else() {
        let policy: Policy = serde_json::from_value(json!({ "suppressions": [
            { "rule": "RA403", "user": "u1", "network": "192.0.2.0/24", "reason": "pen test", "until": "2026-12-01" }
        ]}))
        .unwrap();
        let event = |user: &str, ip: &str| -> RefreshEvent {
            let json = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-11-22T06:40:00.000Z",
                               "outcome": "attempted", "user_id": user, "ip": ip });
            serde_json::from_value(json).unwrap()
        };
        // date -u -d 2026-12-01 +%s
        let end = ReceivedAt::from_micros(1_796_083_200_000_000);
        let before = ReceivedAt::from_micros(end.micros() - 1);
        let severity = |rule: &str, user: &str, ip: &str, at| {
            let mut findings = [finding(rule)];
            policy.suppress(&mut findings, &event(user, ip), at);
            assert_eq!(findings[0].evidence.contains_key("suppressed"), findings[0].severity == Severity::Info);
            findings[0].severity
        };
        assert_eq!(severity("RA403", "u1", "192.0.2.9", before), Severity::Info);
        assert_eq!(severity("RA403", "u1", "192.0.2.9", end), Severity::Critical);
        assert_eq!(severity("RA404", "u1", "192.0.2.9", before), Severity::Critical);
        assert_eq!(severity("RA403", "u2", "192.0.2.9", before), Severity::Critical);
        assert_eq!(severity("RA403", "u1", "198.51.100.9", before), Severity::Critical);
    }

    #[test]
    fn an_end_is_written_with_quotes_or_without() {
        let until = |written: &str| {
            toml::from_str::<Suppression>(&format!("reason = 'r'\nuntil = {written}")).map(|one| one.until.0)
        };
        // date -u -d 2026-12-31T18:00:00+01:00 +%s
        let evening = ReceivedAt::from_micros(1_798_736_400_000_000);
        for written in ["'2026-12-31T18:00:00+01:00'", "2026-12-31T18:00:00+01:00", "2026-12-31 17:00:00Z"] {
            assert_eq!(until(written).unwrap(), evening, "{written}");
        }
        assert_eq!(until("2026-12-31").unwrap(), until("'2026-12-31'").unwrap());
        for wrong in ["2026-12-31T18:00:00", "18:00:00", "20261231", "'soon'"] {
            assert!(until(wrong).unwrap_err().to_string().contains("not a date such as"), "{wrong}");
        }
    }

    #[test]
    fn what_of_the_gate_does_nothing_is_said() {
        let notes = |text: &str| toml::from_str::<Policy>(text).unwrap().idle_gate().join("; ");
        for (text, says) in [
            ("", ""),
            ("gate = { deny = [] }", "gate.deny is empty"),
            ("gate = { deny = [], mode = 'off' }", ""),
            ("gate = { deny = [], mode = 'off', applications = { a = 'observe' } }", "gate.deny is empty"),
            ("gate = { max_denials_per_minute = 0 }", ""),
            ("gate = { max_denials_per_minute = 0, mode = 'enforce' }", "gate.max_denials_per_minute = 0"),
            ("gate.deny = [{ rule = 'RA305', severity = 'low' }, { rule = 'RA601', severity = 'critical' }]", ""),
            (
                "gate.deny = [{ rule = 'RA305', severity = 'medium' }]",
                "gate.deny names RA305 at medium, but it is low at most",
            ),
            ("detect.RA305.severity = 'high'\ngate.deny = [{ rule = 'RA305', severity = 'high' }]", ""),
            ("detect.RA101.severity = 'high'", "gate.deny names RA101 at critical, but it is high at most"),
        ] {
            let said = notes(text);
            assert!(said.starts_with(says) && said.is_empty() == says.is_empty(), "{text}: {said}");
        }
    }

    #[test]
    fn changes_are_told_by_part_and_come_back() {
        let mut now = Policy::default();
        assert!(now.changes_from(&Policy::default()).is_empty());
        now.gate.mode = gate::Mode::Enforce;
        now.detect.ra401.speed_kmh = 800.0;
        now.detect.zones = toml::from_str("t = 'Europe/Berlin'").unwrap();
        let changes = now.changes_from(&Policy::default());
        assert_eq!(changes.iter().map(|change| change.what.as_str()).collect::<Vec<_>>(), ["detect", "gate"]);
        let mut again = Policy::default();
        changes.iter().for_each(|change| again.apply(change));
        assert_eq!(again, now);
    }
}
