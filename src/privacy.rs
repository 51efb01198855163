//! `[privacy]`

use serde::Deserialize;

/// `[privacy]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Mode of `event.ip`.
    pub ip: Mode,
    /// Mode of `event.user_agent`.
    pub user_agent: Mode,
    /// Mode of `event.location`.
    pub location: Mode,
    /// Mode of `event.device`.
    pub device: Mode,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As it came.
    #[default]
    Keep,
    /// Coarser.
    Truncate,
    /// A keyed fingerprint.
    Pseudonym,
    /// Left out.
    Drop,
}
