//! What the sinks that speak HTTP share: a client from the usual members, headers with secrets, and what an answer means.
//! Not a sink; knows none.
//!
//! Redirects are not followed: they would carry headers elsewhere. What the other side answers is quoted in part, and never a
//! secret of ours; a server that echoes what it was sent puts records there.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use serde::Deserialize;

use super::{Ack, BuildError, SinkError, tls::TlsFiles};
use crate::{
    host::is_this_machine,
    secret::{Secret, SecretRef},
    units::Span,
};

pub mod answer;
mod body;

pub use answer::Answer;
pub use body::body;

/// Connecting takes a few round trips; a host that is down should show sooner than a slow answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Under what most servers and balancers keep (60 s), so that we close first and no request meets a closed connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Words in the names of headers whose values are secrets (`Authorization`, `X-Api-Key`, `X-Auth-Token`, Honeycomb's
/// `X-Honeycomb-Team`): never as text in a configuration.
const SECRET_WORDS: &[&str] = &["auth", "cookie", "key", "password", "secret", "token", "honeycomb-team"];
/// A part of a secret address that is shorter is no secret by itself, but a word of its path.
const ADDRESS_SECRET_LEN_MIN: usize = 16;
/// Headers that are the protocol's.
const OWN_HEADERS: &[&str] = &["host", "connection", "content-length", "transfer-encoding"];

/// The members of an entry that say where to and how.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// `http://` only to this machine, unless `allow_http`.
    pub url: &'a str,
    /// From connecting to the end of the answer.
    pub timeout: Span,
    /// Sends records in the clear over the network.
    pub allow_http: bool,
    /// Whom to trust and who we are.
    pub tls: TlsFiles<'a>,
}

/// One connected endpoint: a client, its address, and what must never be quoted.
pub struct HttpClient {
    client: Client,
    url: Url,
    secrets: Vec<Secret>,
}

impl Connect<'_> {
    /// Reads certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<HttpClient, BuildError> {
        let url = parse_url("url", self.url, self.allow_http)?;
        if self.timeout.get().is_zero() {
            return Err(BuildError("timeout must be more than zero".to_owned()));
        }
        let builder = Client::builder()
            .redirect(Policy::none())
            .timeout(self.timeout.get())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .retry(reqwest::retry::never())
            .user_agent(concat!("refresh-audit/", env!("CARGO_PKG_VERSION")));
        let tls = self.tls;
        let builder = if url.scheme() == "http" && !tls.any() {
            // No proxy gets to see records in the clear, and no system certificates are needed.
            builder.no_proxy().tls_certs_only([])
        } else {
            let builder = builder.tls_backend_preconfigured(tls.client_config(base)?);
            if url.scheme() == "http" { builder.no_proxy() } else { builder }
        };
        let client = builder
            .build()
            .map_err(|error| BuildError(format!("cannot set up the HTTP client: {}", answer::causes(&error))))?;
        Ok(HttpClient { client, url, secrets: Vec::new() })
    }
}

/// An address from the member `key`.
pub fn parse_url(key: &str, text: &str, allow_http: bool) -> Result<Url, BuildError> {
    let fail = |problem: &str| Err(BuildError(format!("{key} {problem}")));
    let Ok(url) = Url::parse(text) else {
        return fail("is not one: it should look like https://siem.example.com/ingest");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return fail("holds a user or password: give them by headers or the members for credentials, from a file");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || url.host_str().is_some_and(is_this_machine) => Ok(url),
        "http" => {
            fail("is http:// to another machine: records would travel in the clear; use https:// or allow_http = true")
        }
        _ => fail("must begin with https://"),
    }
}

impl HttpClient {
    /// The configured address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The secret is not quoted from any answer from now on.
    pub fn never_quote(&mut self, secret: Secret) {
        self.secrets.push(secret);
    }

    /// The address is a secret: neither it nor a part of it that is long enough to be one is quoted from any answer.
    pub fn never_quote_address(&mut self) {
        let url = self.url.clone();
        let queried = url.query_pairs().map(|(_, value)| value.into_owned());
        let written = url.query().unwrap_or_default().split(['&', '=']).map(str::to_owned);
        let path = url.path_segments().into_iter().flatten().map(str::to_owned);
        let parts = path.chain(queried).chain(written).filter(|part| part.len() >= ADDRESS_SECRET_LEN_MIN);
        // The whole before its parts, so that nothing is left of it.
        let whole = [url.as_str(), url.path()].map(str::to_owned);
        self.secrets.extend(whole.into_iter().chain(parts).map(|part| Secret::new(part.into_bytes())));
    }

    /// A header's value that nothing prints and no answer is quoted with: `prefix` (`"Bearer "`, say) and the secret.
    pub fn secret_value(&mut self, prefix: &str, secret: Secret) -> Result<HeaderValue, BuildError> {
        let value = secret_value(prefix, &secret)
            .ok_or_else(|| BuildError("a secret for a header holds control characters".to_owned()))?;
        self.never_quote(secret);
        Ok(value)
    }

    /// The value of `Authorization` for a user and password (RFC 7617), neither of which an answer is quoted with.
    pub fn basic_value(&mut self, username: &str, password: Secret) -> Result<HeaderValue, BuildError> {
        if username.contains(':') {
            return Err(BuildError("a user name for basic authentication cannot hold a colon".to_owned()));
        }
        let pair = Secret::new([username.as_bytes(), b":", password.expose()].concat());
        self.never_quote(password);
        self.secret_value("Basic ", Secret::new(STANDARD.encode(pair.expose()).into_bytes()))
    }

    /// Configured headers; those of the protocol and of the sink itself (`own`, in lower case) are refused.
    pub fn headers(
        &mut self,
        configured: &BTreeMap<String, HeaderConfig>,
        own: &[&str],
        base: &Path,
    ) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        for (name, value) in configured {
            let lower = name.to_ascii_lowercase();
            let fail = |problem: &str| BuildError(format!("headers: {name} {problem}"));
            let header: HeaderName = lower.parse().map_err(|_| fail("is not a header name"))?;
            if OWN_HEADERS.contains(&&*lower) || own.contains(&&*lower) {
                return Err(fail("is set by the sink itself: leave it out"));
            }
            let value = match value {
                HeaderConfig::Text(_) if SECRET_WORDS.iter().any(|word| lower.contains(word)) => {
                    return Err(fail("is a secret: give it as { file = \"…\" } or { env = \"…\" }"));
                }
                HeaderConfig::Text(text) => {
                    HeaderValue::from_str(text).map_err(|_| fail("has a value with control characters"))?
                }
                HeaderConfig::Secret(reference) => {
                    let secret = reference.read(base)?;
                    let value = secret_value("", &secret).ok_or_else(|| fail("has a value with control characters"))?;
                    self.never_quote(secret);
                    value
                }
            };
            headers.insert(header, value);
        }
        Ok(headers)
    }

    /// A request to any address of the endpoint.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends it. What has an answer is `Ok`, whatever it says; everything else may pass by itself.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, SinkError> {
        request.send().await.map_err(|error| no_answer(&error))
    }

    /// Sends it and reads an answer of any status, up to `max` bytes of its body. Its status stands, whatever becomes of the
    /// body: a request that was taken is taken.
    pub async fn ask(&self, request: RequestBuilder, max: usize) -> Result<Answer, SinkError> {
        let response = self.send(request).await?;
        let (status, after, ack) = (response.status(), after(&response), self.ack(&response));
        let (body, unread) = answer::whole(response, max).await;
        let unread = unread.map(|why| match why {
            answer::Unread::Broken(error) => no_answer(&error).to_string(),
            answer::Unread::TooLong => format!("the answer to a request is longer than {max} bytes"),
        });
        Ok(Answer { status, after, ack, body, unread })
    }

    /// What is kept of an answer as proof of delivery: the status, and the other side's name for the request.
    pub fn ack(&self, response: &Response) -> Ack {
        answer::ack(response, &self.secrets)
    }

    /// What an answer other than 2xx means, by its status alone.
    pub async fn refusal(&self, response: Response) -> SinkError {
        let (status, after) = (response.status(), after(&response));
        let said = answer::cut(response, &self.secrets).await;
        self.meaning(status, after, &said)
    }

    /// The same of an answer that was read; `said` is quoted as it is: see [`HttpClient::quote`].
    pub fn meaning(&self, status: StatusCode, after: Option<Duration>, said: &str) -> SinkError {
        let reason = self.reason(status, said);
        let retry = |fault, hint: &str| SinkError::Retry { reason: format!("{reason}{hint}"), after, fault };
        match status.as_u16() {
            400 | 409 | 413 | 422 => SinkError::Refused { reason },
            408 | 425 | 429 | 500..=599 => retry(false, ""),
            300..=399 => retry(true, " (redirects are not followed: put the final address into url)"),
            401 | 403 | 407 => retry(true, " (check the sink's credentials)"),
            _ => retry(true, " (check the sink's url)"),
        }
    }

    /// `siem.example.com answered 503 Service Unavailable: busy`.
    pub fn reason(&self, status: StatusCode, said: &str) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host} answered {status}{}{said}", if said.is_empty() { "" } else { ": " })
    }

    /// The head of a body in one line, without secrets.
    pub fn quote(&self, body: &[u8]) -> String {
        answer::quote(body, &self.secrets)
    }

    /// The same without one more, which is not for long (an access token).
    pub fn quote_without(&self, secret: &Secret, body: &[u8]) -> String {
        answer::quote(body, self.secrets.iter().chain([secret]))
    }
}

/// A header in the configuration: a text, or `{ file = "…" }` or `{ env = "…" }` for secrets.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a text, { file = \"…\" } or { env = \"…\" }")]
pub enum HeaderConfig {
    /// Not a secret.
    Text(String),
    /// A secret.
    Secret(SecretRef),
}

/// The secret of the members `<name>_file` and `<name>_env`, of which exactly one must be given.
pub fn one_secret<'a>(
    name: &str,
    file: &'a Option<std::path::PathBuf>,
    env: &'a Option<String>,
) -> Result<SecretRef, BuildError> {
    match (file, env) {
        (Some(file), None) => Ok(SecretRef::File(file.clone())),
        (None, Some(env)) => Ok(SecretRef::Env(env.clone())),
        _ => Err(BuildError(format!("{name}_file or {name}_env is needed, and not both"))),
    }
}

/// The text of an address that is itself a secret.
pub fn secret_url(secret: &Secret) -> Result<String, BuildError> {
    let text = std::str::from_utf8(secret.expose()).map_err(|_| BuildError("url_file holds no text".to_owned()))?;
    Ok(text.trim().to_owned())
}

fn secret_value(prefix: &str, secret: &Secret) -> Option<HeaderValue> {
    let whole = Secret::new([prefix.as_bytes(), secret.expose()].concat());
    let mut value = HeaderValue::from_bytes(whole.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER).and_then(|value| answer::retry_after(value, SystemTime::now()))
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
mod tests {
    use super::*;
    use crate::sink::defaults::timeout;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["http://127.0.0.1:1/x", "http://[::1]/", "http://localhost/", "http://127.9.9.9/"] {
            parse_url("url", good, false).map(drop).unwrap();
        }
        for bad in [
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "ftp://127.0.0.1/",
            "x",
        ] {
            assert!(parse_url("url", bad, false).is_err(), "{bad}");
        }
        parse_url("url", "http://10.0.0.1/", true).map(drop).unwrap();
    }

    fn client(url: &str) -> HttpClient {
        let connect = Connect { url, timeout: timeout(), allow_http: false, tls: TlsFiles::default() };
        connect.build(Path::new("/")).unwrap()
    }

    #[test]
    fn no_part_of_a_secret_address_is_quoted() {
        // A Teams workflow's, whose last member is its signature, and an incoming webhook's, whose last segment is its token.
        for (url, said) in [
            (
                "http://127.0.0.1/workflows/0f2c/triggers/manual/paths/invoke?api-version=1&sig=fixture-Signature%2F0123456789",
                "the sig fixture-Signature/0123456789 (fixture-Signature%2F0123456789) of trigger manual has expired",
            ),
            ("http://127.0.0.1/services/T1/B2/fixtureToken0123456789", "no_team: /fixtureToken0123456789"),
        ] {
            let mut client = client(url);
            client.never_quote_address();
            let quoted = client.quote(format!("{said}; {url}").as_bytes());
            assert!(!quoted.to_lowercase().contains("fixture"), "{quoted}");
            assert!(quoted.starts_with(said.split(" fixture").next().unwrap().split('/').next().unwrap()), "{quoted}");
        }
    }

    #[test]
    fn secrets_are_no_text_in_a_configuration() {
        let headers = |name: &str| {
            let text = BTreeMap::from([(name.to_owned(), HeaderConfig::Text("v".to_owned()))]);
            client("http://127.0.0.1/").headers(&text, &[], Path::new("/")).map(|headers| headers.len())
        };
        // As the vendors' documentation calls them: Honeycomb, New Relic; and usual ones.
        for secret in [
            "X-Honeycomb-Team",
            "Api-Key",
            "Authorization",
            "X-Auth-Token",
            "X-Sumo-Token",
            "Cookie",
            "Proxy-Authorization",
        ] {
            assert!(headers(secret).unwrap_err().to_string().contains("is a secret"), "{secret}");
        }
        for plain in ["X-Scope-OrgID", "X-Team", "X-Honeycomb-Dataset", "Accept"] {
            assert_eq!(headers(plain).unwrap(), 1, "{plain}");
        }
    }

    #[test]
    fn a_secret_header_shows_nothing() {
        let mut client = client("http://127.0.0.1/");
        let value = client.secret_value("Bearer ", Secret::new(b"hunter22".to_vec())).unwrap();
        assert_eq!(value.as_bytes(), b"Bearer hunter22");
        assert!(!format!("{value:?}").contains("hunter22"));
        assert_eq!(client.quote(b"no such token: hunter22"), "no such token: [redacted]");
        let Err(error) = client.secret_value("", Secret::new(b"hunter\n22".to_vec())) else { panic!("taken") };
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
}
