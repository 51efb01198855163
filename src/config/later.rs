//! `[enrich]`, `[detect]` and `[gate]`: read in full, and refused where they ask for what this version cannot do, so
//! that nobody believes to be protected by a setting that nothing acts on.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    document::Document,
    error::{ConfigError, suggest},
};

/// `[enrich]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrichConfig {
    /// Files in MaxMind's format.
    pub databases: Vec<PathBuf>,
    /// A file of `cidr,label` lines.
    pub networks: Option<PathBuf>,
}

/// `[detect]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DetectConfig {
    /// Whether rules run, once there are any.
    pub enabled: bool,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
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
pub(super) fn take(document: &mut Document<'_>) -> Result<(EnrichConfig, DetectConfig, GateConfig), ConfigError> {
    if let Some(key) = document.keys("detect").iter().find(|key| *key != "enabled") {
        let path = format!("detect.{key}");
        let is_rule = key.strip_prefix("RA").is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        return Err(if is_rule {
            document.error(&path, format!("the rule {key} of [detect] is {NOT_AVAILABLE}")).hint("remove it")
        } else {
            document.error(&path, format!("unknown key `{key}` in [detect]")).hint(suggest(key, &["enabled"]))
        });
    }
    let enrich: EnrichConfig = document.take("enrich")?;
    let detect = document.take("detect")?;
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
