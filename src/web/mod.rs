//! What is reachable over HTTP, and on which address: `[server]` and `[admin]`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
};

use serde::Deserialize;

use crate::units::{ByteSize, Span};

/// `[server]`: the listener that senders reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Longest request body.
    pub max_body: ByteSize,
    /// From the last byte of the body to the answer.
    pub ack_deadline: Span,
    /// After this it listens though recovery is not done, and answers 503 until it is.
    pub start_deadline: Span,
    /// What a sender is told when the journal cannot be written.
    pub on_storage_failure: OnStorageFailure,
    /// Serve TLS.
    pub tls: Option<TlsConfig>,
    /// Worker threads; as many as there are processors when absent.
    pub workers: Option<NonZeroUsize>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_body: ByteSize::from_mib(1),
            ack_deadline: Span::from_millis(800),
            start_deadline: Span::from_secs(10),
            on_storage_failure: OnStorageFailure::FailClosed,
            tls: None,
            workers: None,
        }
    }
}

/// What a sender is told when the journal cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStorageFailure {
    /// 503: under a transactional setting the user's refresh fails, and no event is lost unnoticed.
    FailClosed,
    /// 200 `unrecorded`: the user goes on, the event is lost, counted and alarmed.
    FailOpen,
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[admin]`: health, metrics and the operator's API, never on the senders' listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Bearer token for all but `/healthz` and `/readyz`; required unless it listens on loopback.
    pub token_file: Option<PathBuf>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)), token_file: None }
    }
}
