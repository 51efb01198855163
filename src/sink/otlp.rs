//! `otlp`: OpenTelemetry logs over HTTP/protobuf or gRPC
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md>).
//!
//! A batch is one request. The protocol has no idempotency key: every record carries its own as `log.record.uid`. A
//! receiver that takes a part of a request says how many records it rejected and not which: the request is then sent in
//! halves, down to those it rejects, and they alone are parked. That sends records a second time that it had taken; to
//! park what was delivered, or to call delivered what was rejected, would be worse.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use reqwest::{
    Method, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;

use super::{
    Ack, BuildError, Message, Pack, Sink, SinkError,
    client::{Answer, Connect, HeaderConfig, HttpClient, body},
    defaults::{timeout, yes},
    gzip::gzip,
    tls::TlsFiles,
};
use crate::units::Span;

mod grpc;
mod proto;
mod records;
mod wire;

use grpc::Grpc;
use wire::RpcStatus;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to: `https://otel.example.com:4318`, for gRPC usually port 4317. `http://` only to this machine, unless
    /// `allow_http`.
    endpoint: String,
    /// How.
    #[serde(default)]
    protocol: Protocol,
    /// Further headers (metadata): a text, or `{ file = "…" }` or `{ env = "…" }` for secrets.
    #[serde(default)]
    headers: BTreeMap<String, HeaderConfig>,
    /// Compresses requests.
    #[serde(default = "yes")]
    gzip: bool,
    /// From connecting to the end of the answer.
    #[serde(default = "timeout")]
    timeout: Span,
    /// Certificates to trust instead of the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Client certificate and its chain, PEM.
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    key_file: Option<PathBuf>,
    /// Sends records in the clear over the network.
    #[serde(default)]
    allow_http: bool,
}

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    /// Protobuf over HTTP.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

/// The path of logs over HTTP.
const PATH: &str = "/v1/logs";
/// Headers that are the sink's own.
const OWN_HEADERS: &[&str] = &["content-type", "content-encoding", "te", "grpc-encoding", "grpc-timeout", "user-agent"];
/// Read of an answer; one to a request that was taken is a few bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// See the head of this file.
pub struct Otlp {
    /// Over gRPC it only knows what must not be quoted.
    client: HttpClient,
    way: Way,
    host: String,
}

enum Way {
    Http { url: Url, headers: HeaderMap, gzip: bool },
    Grpc(Box<Grpc>),
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Otlp, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let connect = Connect { url: &self.endpoint, timeout: self.timeout, allow_http: self.allow_http, tls };
        let mut client =
            connect.build(base).map_err(|BuildError(text)| BuildError(text.replacen("url", "endpoint", 1)))?;
        let mut headers = client.headers(&self.headers, OWN_HEADERS, base)?;
        let way = match self.protocol {
            Protocol::Http => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                if self.gzip {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                let url = logs_url(client.url());
                Way::Http { url, headers, gzip: self.gzip }
            }
            Protocol::Grpc => {
                Way::Grpc(Box::new(Grpc::build(client.url(), self.timeout, tls, (headers, self.gzip), base)?))
            }
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Otlp { client, way, host })
    }
}

/// As the specification says of a base address: the path of logs is put behind it; where it stands already, it stays.
fn logs_url(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}{PATH}"));
    }
    url
}

impl Sink for Otlp {
    fn pack(&self) -> Pack {
        records::pack()
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let request = records::request(batch, &self.host);
        let response = match &self.way {
            Way::Grpc(grpc) => {
                let answer = grpc.export(request).await;
                answer.map_err(|status| grpc::meaning(&status, &self.client, batch.len()))?
            }
            Way::Http { url, headers, gzip: compressed } => {
                let request = if *compressed { vec![gzip(request).await?] } else { request };
                let request =
                    self.client.request(Method::POST, url.clone()).headers(headers.clone()).body(body(request));
                taken(&self.client, self.client.ask(request, ANSWER_BYTES_MAX).await?)?
            }
        };
        self.judge(response, batch)
    }
}

impl Otlp {
    /// Whether a request that was taken was taken as a whole.
    fn judge(&self, response: ExportLogsServiceResponse, batch: &[Message]) -> Result<Ack, SinkError> {
        let partial = response.partial_success.unwrap_or_default();
        let said = self.client.quote(partial.error_message.as_bytes());
        let rejected = usize::try_from(partial.rejected_log_records).unwrap_or(0);
        let reason = format!("partial success: {rejected} of {} rejected: {said}", batch.len());
        match rejected {
            0 => Ok(Ack::new(format!("accepted {}{}{said}", batch.len(), if said.is_empty() { "" } else { ": " }))),
            all if all >= batch.len() => {
                let refused = batch.iter().map(|message| (message.seq, reason.clone())).collect();
                Err(SinkError::Reject { refused, ack: Ack::none() })
            }
            _ => Err(SinkError::Refused { reason }),
        }
    }
}

/// What an answer over HTTP means, by its status
/// (<https://opentelemetry.io/docs/specs/otlp/#failures-1>). Where the specification has a client drop the data because of
/// the receiver's or the credentials' fault, it is kept: it is not the record's.
fn taken(client: &HttpClient, answer: Answer) -> Result<ExportLogsServiceResponse, SinkError> {
    if answer.status.is_success() {
        // An answer in another form than asked for, or half of one, is a yes all the same.
        return Ok(ExportLogsServiceResponse::decode(&*answer.body).unwrap_or_default());
    }
    let message = RpcStatus::decode(&*answer.body).map(|status| status.message.into_bytes()).unwrap_or(answer.body);
    let reason = client.reason(answer.status, &client.quote(&message));
    Err(match answer.status.as_u16() {
        429 | 502..=504 => SinkError::Retry { reason, after: answer.after, fault: false },
        400 | 413 | 422 => SinkError::Refused { reason },
        _ => SinkError::Retry { reason, after: answer.after, fault: true },
    })
}

#[cfg(test)]
mod tests;
