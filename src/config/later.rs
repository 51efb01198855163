//! `[enrich]` and `[gate]`: read in full, and refused where they ask for what this version cannot do, so
//! that nobody believes to be protected by a setting that nothing acts on.

use std::path::PathBuf;

use serde::Deserialize;

use super::{document::Document, error::ConfigError};
use crate::detect;

/// `[enrich]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrichConfig {
    /// Files in MaxMind's format.
    pub databases: Vec<PathBuf>,
    /// A file of `cidr,label` lines.
    pub networks: Option<PathBuf>,
}

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

/// Reads the three sections.
pub(super) fn take(document: &mut Document<'_>) -> Result<(EnrichConfig, detect::Config, GateConfig), ConfigError> {
    let enrich: EnrichConfig = document.take("enrich")?;
    let detect: detect::Config = document.take("detect")?;
    let gate: GateConfig = document.take("gate")?;
    if !enrich.databases.is_empty() {
        let error = document.error("enrich.databases", format!("enrichment from databases is {NOT_AVAILABLE}"));
        return Err(error.hint("write databases = []"));
    }
    if enrich.networks.is_some() {
        let error = document.error("enrich.networks", format!("enrichment from a networks file is {NOT_AVAILABLE}"));
        return Err(error.hint("remove it"));
    }
    if gate.mode == GateMode::Enforce {
        let error = document.error("gate.mode", format!("gate.mode = \"enforce\" is {NOT_AVAILABLE}"));
        return Err(error.hint("write \"observe\" or \"off\""));
    }
    if document.has("rules") {
        return Err(document.error("rules", format!("[[rules]] is {NOT_AVAILABLE}")).hint("remove it"));
    }
    Ok((enrich, detect, gate))
}
