//! What vouches for an event, and the words for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an event came in and what vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `webhook`; `gateway_log`, `app_report` or `import` for sources to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// `signed` or `shared_secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticity: Option<String>,
    /// The signature's algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// The signature's key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Lower-case hex SHA-256 of the request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
    /// `true`: older than the dedupe window, so that an earlier copy may have been forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// `true`: the sender's instant is more than 5 minutes ahead of or 30 days behind `received_at`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clock_skew: bool,
    /// `true`: what is known of the session or user is on disk and did not come in time, or is lost. Judged without, by
    /// what was in memory; what was on disk is forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cold: bool,
}

impl Evidence {
    /// `channel`: a request of the sender's.
    pub const WEBHOOK: &str = "webhook";
    /// `channel`: out of a file.
    pub const IMPORT: &str = "import";
    /// Every `channel` there is or will be.
    pub const CHANNELS: &[&str] = &[Self::WEBHOOK, Self::IMPORT, "gateway_log", "app_report"];
    /// `authenticity`: by a signature over the body.
    pub const SIGNED: &str = "signed";
    /// `authenticity`: by a password or a header.
    pub const SHARED_SECRET: &str = "shared_secret";
    /// Every `authenticity` there is.
    pub const PROOFS: &[&str] = &[Self::SIGNED, Self::SHARED_SECRET];
}
