//! `http`: posts records to any endpoint, one a request or many, signed as Standard Webhooks where a secret is given.
//!
//! One request at a time over a kept connection, in order.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;

use super::{
    Ack, BuildError, Message, Sink, SinkError,
    client::{self, Connect, HeaderConfig, HttpClient, answer},
    tls::TlsFiles,
};
use crate::{secret::SecretRef, units::Span};

mod signing;

use signing::Signer;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to. `http://` only to this machine, unless `allow_http`.
    url: String,
    /// What a request holds.
    #[serde(default)]
    body: Body,
    /// Signs every request.
    sign: Option<SignConfig>,
    /// Further headers: a text, or `{ file = "…" }` or `{ env = "…" }` for secrets.
    #[serde(default)]
    headers: BTreeMap<String, HeaderConfig>,
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

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    /// One record.
    #[default]
    Single,
    /// A batch as a JSON array.
    Array,
    /// A batch, one record a line.
    Lines,
}

/// Where the signing secret is: `whsec_` and base64, or the bytes themselves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignConfig {
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
}

fn timeout() -> Span {
    client::TIMEOUT
}

/// Headers that are the sink's own.
const OWN_HEADERS: &[&str] = &["webhook-id", "webhook-timestamp", "webhook-signature"];

/// See the head of this file.
pub struct Http {
    client: HttpClient,
    body: Body,
    headers: HeaderMap,
    signer: Option<Signer>,
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Http, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let connect = Connect { url: &self.url, timeout: self.timeout, allow_http: self.allow_http, tls };
        let mut client = connect.build(base)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.body.content_type()));
        headers.extend(client.headers(&self.headers, OWN_HEADERS, base)?);
        let signer = match &self.sign {
            Some(sign) => {
                let secret = sign.reference()?.read(base)?;
                let signer = Signer::new(&secret)?;
                client.never_quote(secret);
                Some(signer)
            }
            None => None,
        };
        Ok(Http { client, body: self.body, headers, signer })
    }
}

impl SignConfig {
    fn reference(&self) -> Result<SecretRef, BuildError> {
        match (&self.secret_file, &self.secret_env) {
            (Some(file), None) => Ok(SecretRef::File(file.clone())),
            (None, Some(env)) => Ok(SecretRef::Env(env.clone())),
            _ => Err(BuildError("sign needs secret_file or secret_env, and not both".to_owned())),
        }
    }
}

impl Body {
    fn content_type(self) -> &'static str {
        match self {
            Self::Single | Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn of(self, batch: &[Message]) -> Bytes {
        if let (Self::Single, [message]) = (self, batch) {
            return message.body.clone();
        }
        let (open, between, close): (&[u8], &[u8], &[u8]) = match self {
            Self::Lines => (b"", b"\n", b"\n"),
            Self::Single | Self::Array => (b"[", b",", b"]"),
        };
        let mut body = BytesMut::with_capacity(2 + batch.iter().map(|message| message.body.len() + 1).sum::<usize>());
        body.put(open);
        for (at, message) in batch.iter().enumerate() {
            body.put(if at == 0 { b"" } else { between });
            if open == b"[" && !message.body.starts_with(b"{") {
                // A line of another format: a text of the array.
                let text = String::from_utf8_lossy(&message.body).into_owned();
                body.put(serde_json::Value::from(text).to_string().as_bytes());
            } else {
                body.put(message.body.as_ref());
            }
        }
        body.put(close);
        body.freeze()
    }

    /// The idempotency key of one record, `<first seq>-<last seq>` of several.
    fn id(self, batch: &[Message]) -> String {
        match (self, batch) {
            (Self::Single, [message]) => message.key.clone(),
            (_, [first, .., last]) => format!("{}-{}", first.seq, last.seq),
            (_, [only]) => format!("{0}-{0}", only.seq),
            (_, []) => String::new(),
        }
    }
}

impl Sink for Http {
    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let body = self.body.of(batch);
        let mut headers = self.headers.clone();
        if let Some(signer) = &self.signer {
            signer.sign(&mut headers, &self.body.id(batch), SystemTime::now(), &body)?;
        }
        let request = self.client.request(Method::POST, self.client.url().clone()).headers(headers).body(body);
        let response = self.client.send(request).await?;
        if !response.status().is_success() {
            return Err(self.client.refusal(response).await);
        }
        let ack = self.client.ack(&response);
        // The whole answer, so that the connection can be used again; what it says does not matter any more.
        answer::drain(response).await;
        Ok(ack)
    }

    fn records_max(&self) -> usize {
        if self.body == Body::Single { 1 } else { usize::MAX }
    }
}

#[cfg(test)]
mod tests;
