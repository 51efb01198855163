//! How bad something is: a finding, an incident, and a record as a whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AlarmState, Kind};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    #[default]
    Info,
    /// Rarely theft.
    Low,
    /// Look when there is time.
    Medium,
    /// Look today.
    High,
    /// Look now.
    Critical,
}

impl Severity {
    /// Its text in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Of a record as a whole, the same in every format and to every sink, which only put it into numbers of their own:
    /// the incident's, also when it closes; else the worst finding's; else high for an alarm that is raised, low for a
    /// replay, and info.
    pub fn of_record(
        kind: Kind,
        incident: Option<Self>,
        worst_finding: Option<Self>,
        alarm: Option<AlarmState>,
    ) -> Self {
        incident.or(worst_finding).unwrap_or(match (alarm, kind) {
            (Some(AlarmState::Raised), _) => Self::High,
            (_, Kind::Replay) => Self::Low,
            _ => Self::Info,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Severity::*, *};

    /// The table of kinds in `docs/formats.md`, row by row.
    #[test]
    fn a_record_is_as_bad_as_the_documents_table_says() {
        let cleared = Some(AlarmState::Cleared);
        for (kind, incident, worst, alarm, expected) in [
            (Kind::Event, None, None, None, Info),
            (Kind::Event, None, Some(Info), None, Info),
            (Kind::Event, None, Some(Critical), None, Critical),
            (Kind::Replay, None, None, None, Low),
            (Kind::Replay, None, Some(High), None, High),
            (Kind::Replay, None, Some(Info), None, Info),
            (Kind::Incident, Some(Critical), None, None, Critical),
            (Kind::Alarm, None, None, Some(AlarmState::Raised), High),
            (Kind::Alarm, None, None, cleared, Info),
            (Kind::Operator, None, None, None, Info),
            (Kind::Config, None, None, None, Info),
            (Kind::Checkpoint, None, None, None, Info),
        ] {
            assert_eq!(Severity::of_record(kind, incident, worst, alarm), expected, "{kind:?} {worst:?} {alarm:?}");
        }
    }
}
