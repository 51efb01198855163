//! What is said of a rule, and what a threshold may be. Knows no rule.

use crate::record::{IncidentKeyKind, Severity};

/// What kind of evidence a rule brings: the hundreds of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// RA1: which token was made from which.
    Lineage,
    /// RA2: what tokens say of themselves.
    Tokens,
    /// RA3: when.
    Cadence,
    /// RA4: from where.
    Place,
    /// RA5: by what software.
    Software,
    /// RA6: the others together.
    Sum,
}

/// What never changes about a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// E.g. `RA101`.
    pub id: &'static str,
    /// E.g. `chain_fork`.
    pub name: &'static str,
    /// What it says where nothing makes it better or worse.
    pub severity: Severity,
    /// What it says at worst.
    pub worst: Severity,
    /// MITRE ATT&CK techniques.
    pub attack: &'static [&'static str],
    /// What it looks for, in a sentence.
    pub about: &'static str,
    /// The kind of evidence.
    pub family: Family,
    /// Whether it says no more than medium of a user of whom little is known. What tokens say of themselves, a crowd and a
    /// script need no history; places, times and software do.
    pub needs_history: bool,
    /// Whether the score weighs what it is about: when, from where, by what, and without which token. A parent that is spent
    /// twice (RA101, RA102) is seldom enough to be told each time.
    pub is_weighed: bool,
    /// What its incidents are kept under: the first of these that the event has.
    pub keyed_by: &'static [IncidentKeyKind],
}

/// What an incident is kept under where its rule says nothing else, an operator's own rule among them.
pub const KEYED_BY: &[IncidentKeyKind] = &[IncidentKeyKind::Session, IncidentKeyKind::User, IncidentKeyKind::Network];
/// Of a rule that looks across the users of a network.
pub(super) const BY_NETWORK: &[IncidentKeyKind] =
    &[IncidentKeyKind::Network, IncidentKeyKind::Session, IncidentKeyKind::User];
/// Of a rule that looks across the users of an application.
pub(super) const BY_APPLICATION: &[IncidentKeyKind] =
    &[IncidentKeyKind::Application, IncidentKeyKind::Session, IncidentKeyKind::User];

impl Rule {
    /// What a rule of a family is, where nothing else is said of it.
    pub(super) const fn of(family: Family) -> Self {
        Self {
            id: "",
            name: "",
            severity: Severity::Info,
            worst: Severity::Info,
            attack: &[],
            about: "",
            family,
            needs_history: !matches!(family, Family::Lineage | Family::Tokens),
            is_weighed: matches!(family, Family::Cadence | Family::Place | Family::Software),
            keyed_by: KEYED_BY,
        }
    }
}

/// What a threshold may be. Outside of it the rule could never speak, or always would.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// Between 0 and 1.
    Share,
    /// From 0 on.
    Amount,
    /// From 1 on.
    Count,
    /// From 1 to this.
    CountTo(usize),
}

/// A threshold as it is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The rule's id.
    pub rule: &'static str,
    /// The member of its table.
    pub member: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub allowed: Allowed,
}
