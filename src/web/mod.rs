//! What is reachable over HTTP, and on which address: `[server]` and `[admin]`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
};

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder,
    http::{StatusCode, header},
    web,
};
use serde::Deserialize;

use crate::{
    intake::OnStorageFailure,
    units::{ByteSize, Span},
};

pub mod admin;
mod applications;
mod asked;
pub mod certificate;
mod findings;
mod held;
pub mod listen;
pub mod page;
mod scan;
pub mod stream;
pub mod webhook;

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

/// A path that is read, with GET or HEAD; whatever else comes is answered 405.
fn reading<Arguments, Handling>(path: &str, handler: Handling) -> Resource
where
    Handling: Handler<Arguments, Output: Responder + 'static>,
    Arguments: FromRequest + 'static,
{
    web::resource(path).route(web::get().to(handler.clone())).route(web::head().to(handler))
}

/// Why there is nothing else: on both listeners in the same form.
fn refusal(status: StatusCode, reason: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": reason }))
}

/// Echoed where a sender sets it.
const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");
/// Longest id that is echoed.
const REQUEST_ID_LEN_MAX: usize = 64;

/// The request's id: the sender's, if it is 1 to 64 of `[A-Za-z0-9._-]`, else a new one.
fn request_id(request: &HttpRequest) -> String {
    let fits = |id: &&str| {
        (1..=REQUEST_ID_LEN_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let sent = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    sent.filter(fits).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}
