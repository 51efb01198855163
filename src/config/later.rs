//! `[detect]` and `[gate]`: read in full, and refused where they ask for what this version cannot do, so
//! that nobody believes to be protected by a setting that nothing acts on.

use serde::Deserialize;

use super::{document::Document, error::ConfigError};
use crate::detect;

/// `[gate]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Whether findings may refuse a refresh.
    pub mode: GateMode,
}

/// Whether findings may refuse a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateMode {
    /// No verdicts.
    Off,
    /// Verdicts are recorded, every event is let through.
    #[default]
    Observe,
    /// Verdicts are acted on.
    Enforce,
}

const NOT_AVAILABLE: &str = "not available in this version";

/// Reads the two sections.
pub(super) fn take(document: &mut Document<'_>) -> Result<(detect::Config, GateConfig), ConfigError> {
    let detect: detect::Config = document.take("detect")?;
    let gate: GateConfig = document.take("gate")?;
    if gate.mode == GateMode::Enforce {
        let error = document.error("gate.mode", format!("gate.mode = \"enforce\" is {NOT_AVAILABLE}"));
        return Err(error.hint("write \"observe\" or \"off\""));
    }
    if document.has("rules") {
        return Err(document.error("rules", format!("[[rules]] is {NOT_AVAILABLE}")).hint("remove it"));
    }
    Ok((detect, gate))
}
