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

/// Stand-in.
pub mod offline {
    use std::{io, path::Path};

    use serde_json::Value;

    use crate::record::Seq;

    fn no<T>() -> io::Result<T> {
        Err(io::Error::other("not in this build"))
    }
    /// s
    pub fn status(_data_dir: &Path, _sinks: &[(String, String)]) -> io::Result<Vec<Value>> {
        no()
    }
    /// s
    pub fn redeliver(_data_dir: &Path, _name: &str, _from: Seq, _to: Option<Seq>) -> io::Result<()> {
        no()
    }
    /// s
    pub fn parked(_data_dir: &Path, _name: &str) -> io::Result<Vec<Value>> {
        no()
    }
    /// s
    pub fn settle_parked(_data_dir: &Path, _name: &str, _retry: bool, _seqs: Option<&[Seq]>) -> io::Result<()> {
        no()
    }
}
