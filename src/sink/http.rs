//! `http`: posts records to any endpoint, one a request or many, signed as Standard Webhooks where a secret is given.
//!
//! One request at a time over a kept connection, in order. Redirects are not followed: they would carry the signature
//! and the headers elsewhere. What the other side answers is quoted in part, never what we sent.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::{
    Certificate, Client, Identity, Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use serde::Deserialize;

use super::{BuildError, Message, Sink, SinkError};
use crate::{
    secret::{Secret, SecretRef},
    units::Span,
};

mod answer;
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

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a text, { file = \"…\" } or { env = \"…\" }")]
enum HeaderConfig {
    Text(String),
    Secret(SecretRef),
}

fn timeout() -> Span {
    Span::from_secs(30)
}

/// Connecting takes a few round trips; a host that is down should show sooner than a slow answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Under what most servers and balancers keep (60 s), so that we close first and no request meets a closed connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers whose values are secrets: never as text in a configuration.
const SECRET_HEADERS: &[&str] = &["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// Headers that are ours or the protocol's.
const OWN_HEADERS: &[&str] = &[
    "host", "connection", "content-length", "transfer-encoding", "webhook-id", "webhook-timestamp", "webhook-signature",
];

/// See the head of this file.
pub struct Http {
    client: Client,
    url: Url,
    body: Body,
    headers: HeaderMap,
    signer: Option<Signer>,
    /// What must not be quoted from an answer.
    secrets: Vec<Secret>,
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Http, BuildError> {
        let url = self.url()?;
        let client = self.client(&url, base)?;
        let mut secrets = Vec::new();
        let headers = self.headers(base, &mut secrets)?;
        let signer = match &self.sign {
            Some(sign) => {
                let secret = sign.reference()?.read(base)?;
                let signer = Signer::new(&secret)?;
                secrets.push(secret);
                Some(signer)
            }
            None => None,
        };
        Ok(Http { client, url, body: self.body, headers, signer, secrets })
    }

    fn url(&self) -> Result<Url, BuildError> {
        let fail = |problem: &str| Err(BuildError(format!("url {problem}")));
        let Ok(url) = Url::parse(&self.url) else {
            return fail("is not one: it should look like https://siem.example.com/ingest");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return fail("holds a user or password: use headers = { authorization = { file = \"…\" } }");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_http || is_loopback(&url) => Ok(url),
            "http" => fail("is http:// to another machine: records would travel in the clear; use https:// or allow_http = true"),
            _ => fail("must begin with https://"),
        }
    }

    fn client(&self, url: &Url, base: &Path) -> Result<Client, BuildError> {
        if self.timeout.get().is_zero() {
            return Err(BuildError("timeout must be more than zero".to_owned()));
        }
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .timeout(self.timeout.get())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .retry(reqwest::retry::never())
            .user_agent(concat!("refresh-audit/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // No proxy gets to see records in the clear, and no system certificates are needed.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        if let Some(file) = &self.ca_file {
            let pem = read_pem(base, "ca_file", file)?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| bad_pem("ca_file", file, &error))?;
            if certificates.is_empty() {
                return Err(BuildError(format!("ca_file {} holds no PEM certificate", file.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                let mut pem = read_pem(base, "cert_file", certificate)?;
                pem.push(b'\n');
                pem.extend(read_pem(base, "key_file", key)?);
                let pem = Secret::new(pem);
                let identity =
                    Identity::from_pem(pem.expose()).map_err(|error| bad_pem("cert_file or key_file", certificate, &error))?;
                builder = builder.identity(identity);
            }
            (None, None) => {}
            _ => return Err(BuildError("cert_file and key_file go together: give both or neither".to_owned())),
        }
        builder.build().map_err(|error| BuildError(format!("cannot set up TLS: {}", answer::causes(&error))))
    }

    fn headers(&self, base: &Path, secrets: &mut Vec<Secret>) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.body.content_type()));
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            let fail = |problem: &str| BuildError(format!("headers: {name} {problem}"));
            let header: HeaderName = lower.parse().map_err(|_| fail("is not a header name"))?;
            if OWN_HEADERS.contains(&&*lower) {
                return Err(fail("is set by the sink itself: leave it out"));
            }
            let value = match value {
                HeaderConfig::Text(_) if SECRET_HEADERS.contains(&&*lower) => {
                    return Err(fail("is a secret: give it as { file = \"…\" } or { env = \"…\" }"));
                }
                HeaderConfig::Text(text) => HeaderValue::from_str(text).map_err(|_| fail("has a value with control characters"))?,
                HeaderConfig::Secret(reference) => {
                    let secret = reference.read(base)?;
                    let mut value = HeaderValue::from_bytes(secret.expose())
                        .map_err(|_| fail("has a value with control characters"))?;
                    value.set_sensitive(true);
                    secrets.push(secret);
                    value
                }
            };
            headers.insert(header, value);
        }
        Ok(headers)
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

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn read_pem(base: &Path, key: &str, file: &Path) -> Result<Vec<u8>, BuildError> {
    let path = base.join(file);
    fs::read(&path).map_err(|error| BuildError(format!("cannot read {key} {}: {error}", path.display())))
}

fn bad_pem(key: &str, file: &Path, error: &reqwest::Error) -> BuildError {
    BuildError(format!("{key} {} is not usable PEM: {}", file.display(), answer::causes(error)))
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
            body.put(message.body.as_ref());
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
    /// Connects and asks for nothing: `OPTIONS`, whose answer tells whether address, TLS and credentials fit.
    async fn check(&self) -> Result<(), SinkError> {
        let request = self.client.request(Method::OPTIONS, self.url.clone()).headers(self.headers.clone());
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(self.refusal(response).await)
            }
            status if status.is_redirection() || status.is_server_error() => Err(self.refusal(response).await),
            _ => Ok(()),
        }
    }

    async fn deliver(&self, batch: &[Message]) -> Result<(), SinkError> {
        let body = self.body.of(batch);
        let mut headers = self.headers.clone();
        if let Some(signer) = &self.signer {
            signer.sign(&mut headers, &self.body.id(batch), SystemTime::now(), &body)?;
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        // The whole answer, so that the connection can be used again; what it says does not matter any more.
        answer::drain(response).await;
        Ok(())
    }

    fn records_max(&self) -> usize {
        if self.body == Body::Single { 1 } else { usize::MAX }
    }
}

impl Http {
    /// What an answer other than 2xx means.
    async fn refusal(&self, response: Response) -> SinkError {
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| answer::retry_after(value, SystemTime::now()));
        let said = answer::cut(response, &self.secrets).await;
        let host = self.url.host_str().unwrap_or_default();
        let reason = format!("{host} answered {status}{}{said}", if said.is_empty() { "" } else { ": " });
        let retry = |fault, hint: &str| SinkError::Retry { reason: format!("{reason}{hint}"), after, fault };
        match status.as_u16() {
            400 | 409 | 413 | 422 => SinkError::Refused { reason },
            408 | 425 | 429 | 500..=599 => retry(false, ""),
            300..=399 => retry(true, " (redirects are not followed: put the final address into url)"),
            401 | 403 | 407 => retry(true, " (check the sink's credentials)"),
            _ => retry(true, " (check the sink's url)"),
        }
    }
}

/// No answer: DNS, connecting, TLS, time. The address is left out, for its query may hold a secret.
fn no_answer(error: &reqwest::Error) -> SinkError {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "the request failed"
    };
    SinkError::passing(format!("{what}: {}", answer::causes(error)))
}

#[cfg(test)]
mod tests;
