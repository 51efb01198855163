//! `azure_logs`: Microsoft Sentinel and Azure Monitor, by the Logs Ingestion API
//! (<https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview>).
//!
//! A call is a JSON array of at most 1 MB for one stream of one data collection rule; every record gets `TimeGenerated`,
//! which tables need, from its `received_at`. 204 is delivered. Tested against a fake made after the documentation, not
//! against Azure.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::Deserialize;

use super::{
    Ack, BuildError, Message, Pack, Sink, SinkError,
    client::{Answer, Connect, HttpClient, body, one_secret},
    defaults::{timeout, yes},
    gzip::gzip,
    json::{self, array},
    tls::TlsFiles,
};
use crate::{secret::Secret, slice::pieces, units::Span};

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

/// Of a call, before compression (the documented limit is 1 MB; whether of 1,000 or 1,024 kB it does not say).
const CALL_BYTES_MAX: usize = 1_000_000;
/// Put into every record: `"TimeGenerated":"2026-11-22T06:40:00.123456Z",` and a comma after it.
const ADDED_BYTES: usize = 48;
/// Read of an answer, of the service's or the authority's.
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
    fn pack(&self) -> Pack {
        Pack::written(ADDED_BYTES, write)
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let records = array(pieces(batch.iter().map(|message| &message.body)));
        let body = if self.gzip { vec![gzip(records).await?] } else { records };
        let (mut answer, mut token) = self.call(body.clone()).await?;
        if answer.status.as_u16() == 401 {
            // A token can end before its time: once more with a new one.
            (answer, token) = self.call(body).await?;
        }
        if answer.status.is_success() {
            return Ok(Ack::new(answer.status.as_u16().to_string()));
        }
        let said = self.client.quote_without(&token, &answer.body);
        Err(self.client.meaning(answer.status, answer.after, &said))
    }

    fn fits(&self, batch: &[Message]) -> usize {
        // The brackets, less the comma that the last one goes without.
        let mut bytes = 1;
        let fit = batch.iter().take_while(|message| {
            bytes += message.body.len();
            bytes <= CALL_BYTES_MAX
        });
        // One that is too large alone is for the other side to refuse.
        fit.count().max(1)
    }
}

impl AzureLogs {
    /// The answer, and the token that must not be quoted from it.
    async fn call(&self, pieces: Vec<Bytes>) -> Result<(Answer, Secret), SinkError> {
        let token = self.tokens.header().await?;
        let mut request = self.client.request(Method::POST, self.url.clone()).header(AUTHORIZATION, token.clone());
        request = request.header(CONTENT_TYPE, "application/json");
        if self.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let answer = self.client.ask(request.body(body(pieces)), ANSWER_BYTES_MAX).await?;
        if answer.status.as_u16() == 401 {
            self.tokens.forget(&token);
        }
        Ok((answer, Secret::new(token.as_bytes().to_vec())))
    }
}

/// A record of the array, a comma behind it, with `TimeGenerated` in front; one that is no JSON object (another `format`)
/// becomes one: `{"TimeGenerated":…,"Message":"…"}`.
fn write(message: &Message, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = write!(out, "{{\"TimeGenerated\":\"{}\"", message.head.received_at());
    match message.body.strip_prefix(b"{").filter(|_| message.is_json()) {
        Some(b"}") => out.push(b'}'),
        Some(rest) => {
            out.push(b',');
            out.extend_from_slice(rest);
        }
        None => {
            out.extend_from_slice(b",\"Message\":");
            json::text(out, &message.body);
            out.push(b'}');
        }
    }
    out.push(b',');
}
