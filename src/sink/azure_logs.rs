//! `azure_logs`: Microsoft Sentinel and Azure Monitor, by the Logs Ingestion API
//! (<https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview>).
//!
//! A call is a JSON array of at most 1 MB for one stream of one data collection rule; every record gets `TimeGenerated`,
//! which tables need, from its `received_at`. 204 is delivered. Tested against a fake made after the documentation, not
//! against Azure.

use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::Deserialize;

use super::{
    Ack, BuildError, Message, Sink, SinkError,
    client::{self, Answer, Connect, HttpClient, one_secret},
    gzip::gzip,
    tls::TlsFiles,
};
use crate::units::Span;

mod token;

use token::{Tokens, Who};

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Logs ingestion address of the data collection rule or endpoint: `https://<name>.<region>.ingest.monitor.azure.com`.
    endpoint: String,
    /// The rule's immutable id: `dcr-` and 32 hex.
    rule_id: String,
    /// The rule's stream: `Custom-RefreshAudit`.
    stream: String,
    /// Directory (tenant) id.
    tenant_id: String,
    /// Application (client) id.
    client_id: String,
    /// File with the application's secret; or `client_secret_env`.
    client_secret_file: Option<PathBuf>,
    /// Environment variable with the secret.
    client_secret_env: Option<String>,
    /// Who gives out tokens; other clouds have their own.
    #[serde(default = "authority")]
    authority: String,
    /// What they are for; other clouds have their own.
    #[serde(default = "audience")]
    audience: String,
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
}

fn authority() -> String {
    "https://login.microsoftonline.com".to_owned()
}

fn audience() -> String {
    "https://monitor.azure.com".to_owned()
}

fn yes() -> bool {
    true
}

fn timeout() -> Span {
    client::TIMEOUT
}

/// Of a call, before compression (the documented limit is 1 MB; whether of 1,000 or 1,024 kB it does not say).
const CALL_BYTES_MAX: usize = 1_000_000;
/// Put into every record: `"TimeGenerated":"2026-11-22T06:40:00.123456Z",` and a comma after it.
const ADDED_BYTES: usize = 48;
/// Read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// See the head of this file.
pub struct AzureLogs {
    client: HttpClient,
    url: Url,
    tokens: Tokens,
    gzip: bool,
}

impl Config {
    /// Reads its secret and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<AzureLogs, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let connect = |key: &str, url: &str| {
            let connect = Connect { url, timeout: self.timeout, allow_http: false, tls };
            connect.build(base).map_err(|BuildError(text)| BuildError(text.replacen("url", key, 1)))
        };
        let client = connect("endpoint", &self.endpoint)?;
        let secret = one_secret("client_secret", &self.client_secret_file, &self.client_secret_env)?.read(base)?;
        let who = Who { tenant_id: &self.tenant_id, client_id: &self.client_id, audience: &self.audience };
        let tokens = Tokens::new(connect("authority", &self.authority)?, &who, secret)?;
        let mut url = client.url().clone();
        for (key, text) in [("rule_id", &self.rule_id), ("stream", &self.stream)] {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                return Err(BuildError(format!("{key} is not one: letters, digits, - and _")));
            }
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{path}/dataCollectionRules/{}/streams/{}", self.rule_id, self.stream));
        url.set_query(Some("api-version=2023-01-01"));
        Ok(AzureLogs { client, url, tokens, gzip: self.gzip })
    }
}

impl Sink for AzureLogs {
    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let body = body(batch);
        let body = if self.gzip { gzip(body).await? } else { body };
        let mut answer = self.call(body.clone()).await?;
        if answer.status.as_u16() == 401 {
            // A token can end before its time: once more with a new one.
            answer = self.call(body).await?;
        }
        if answer.status.is_success() {
            return Ok(Ack::new(answer.status.as_u16().to_string()));
        }
        Err(self.client.meaning(answer.status, answer.after, &self.client.quote(&answer.body)))
    }

    fn fits(&self, batch: &[Message]) -> usize {
        let mut bytes = 2;
        let fit = batch.iter().map(size).take_while(|size| {
            bytes += size;
            bytes <= CALL_BYTES_MAX
        });
        // One that is too large alone is for the other side to refuse.
        fit.count().max(1)
    }
}

impl AzureLogs {
    async fn call(&self, body: Bytes) -> Result<Answer, SinkError> {
        let token = self.tokens.header().await?;
        let mut request = self.client.request(Method::POST, self.url.clone()).header(AUTHORIZATION, token.clone());
        request = request.header(CONTENT_TYPE, "application/json");
        if self.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let answer = self.client.ask(request.body(body), ANSWER_BYTES_MAX).await?;
        if answer.status.as_u16() == 401 {
            self.tokens.forget(&token);
        }
        Ok(answer)
    }
}

/// Bytes of a record in a call.
fn size(message: &Message) -> usize {
    ADDED_BYTES + if message.is_json() { message.body.len() } else { text(message).len() }
}

/// What is no JSON object, as a JSON text.
fn text(message: &Message) -> String {
    format!("\"Message\":{}}}", serde_json::Value::from(String::from_utf8_lossy(&message.body)))
}

/// The records as an array, each with `TimeGenerated` in front; one that is no JSON object (another `format`) becomes one:
/// `{"TimeGenerated":…,"Message":"…"}`.
fn body(batch: &[Message]) -> Bytes {
    let mut body = BytesMut::with_capacity(batch.iter().map(|message| message.body.len() + ADDED_BYTES).sum::<usize>() + 2);
    body.put_u8(b'[');
    for (at, message) in batch.iter().enumerate() {
        if at > 0 {
            body.put_u8(b',');
        }
        body.put(&b"{\"TimeGenerated\":\""[..]);
        body.put(message.head.received_at().to_string().as_bytes());
        body.put_u8(b'"');
        match message.body.strip_prefix(b"{").filter(|_| message.is_json()) {
            Some(b"}") => body.put_u8(b'}'),
            Some(rest) => {
                body.put_u8(b',');
                body.put(rest);
            }
            None => {
                body.put_u8(b',');
                body.put(text(message).as_bytes());
            }
        }
    }
    body.put_u8(b']');
    body.freeze()
}

