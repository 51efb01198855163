//! deliver

use serde::Deserialize;

use crate::{
    record::{Kind, Severity},
    scope::Scope,
    units::{ByteSize, Span},
};

/// What every `[[sinks]]` entry has beside its `name`, its `type` and the sink's own members.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Output schema.
    pub format: String,
    /// Filter.
    pub scope: Scope,
    /// Kinds to deliver.
    pub kinds: Option<Vec<Kind>>,
    /// Least severity.
    pub findings_at_least: Option<Severity>,
    /// Where a new sink starts.
    pub start: Start,
    /// Batches.
    pub batch: BatchConfig,
    /// Also checkpoints.
    pub checkpoints: bool,
    /// Most parked records.
    pub parked_max: u64,
}

impl DeliveryConfig {
    /// Its members.
    pub const KEYS: &[&str] =
        &["format", "scope", "kinds", "findings_at_least", "start", "batch", "checkpoints", "parked_max"];
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            format: "json".to_owned(),
            scope: Scope::default(),
            kinds: None,
            findings_at_least: None,
            start: Start::Oldest,
            batch: BatchConfig::default(),
            checkpoints: false,
            parked_max: 100_000,
        }
    }
}

/// Where a new sink starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest record.
    Oldest,
    /// With the next record.
    Now,
}

/// Batches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Most records.
    pub records: usize,
    /// Most bytes.
    pub bytes: ByteSize,
    /// Longest wait.
    pub wait: Span,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { records: 500, bytes: ByteSize::from_mib(1), wait: Span::from_millis(200) }
    }
}
