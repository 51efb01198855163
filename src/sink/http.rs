//! `http`: posts records to any endpoint, one a request or many, signed as Standard Webhooks where a secret is given.
//!
//! Over kept connections: one request at a time, in order, unless the entry says `ordered = false`. A `preset` puts on what
//! one vendor wants.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;

use super::{
    Ack, BuildError, Message, Pack, Sink, SinkError,
    client::{self, Connect, HeaderConfig, HttpClient, answer, body, one_secret},
    defaults::timeout,
    gzip::gzip,
    json::{self, array},
    tls::TlsFiles,
};
use crate::{record::Kind, slice::pieces, units::Span};

mod preset;
mod signing;

use preset::{Labels, Preset};
use signing::Signer;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to. `http://` only to this machine, unless `allow_http`. Only a preset can do without.
    url: Option<String>,
    /// File with the address, where that is a secret; or `url_env`.
    url_file: Option<PathBuf>,
    /// Environment variable with the address.
    url_env: Option<String>,
    /// Address, headers and body as one vendor wants them.
    preset: Option<Preset>,
    /// Datadog's site.
    site: Option<String>,
    /// Names and values that a preset puts beside every record: tags, fields, stream labels.
    #[serde(default)]
    labels: Labels,
    /// Compresses requests; default: with a preset.
    gzip: Option<bool>,
    /// What a request holds; default: one record.
    body: Option<Body>,
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

/// Headers that are the sink's own.
const OWN_HEADERS: &[&str] = &["webhook-id", "webhook-timestamp", "webhook-signature"];

/// See the head of this file.
pub struct Http {
    client: HttpClient,
    url: Url,
    shape: Shape,
    gzip: bool,
    headers: HeaderMap,
    signer: Option<Signer>,
}

/// What a request's body looks like.
enum Shape {
    Body(Body),
    Preset(Preset, Labels),
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Http, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let (address, secret) = self.address(base)?;
        let connect = Connect { url: &address, timeout: self.timeout, allow_http: self.allow_http, tls };
        let mut client = connect.build(base)?;
        let url = self.whole(client.url());
        if secret {
            client.never_quote_address();
        }
        let shape = self.shape()?;
        let mut headers = HeaderMap::new();
        let gzip = self.gzip.unwrap_or(self.preset.is_some());
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Shape::Preset(preset, labels) = &shape {
            headers.extend(preset.headers(labels)?);
        }
        headers.extend(client.headers(&self.headers, OWN_HEADERS, base)?);
        if let Some(needed) = self.preset.and_then(Preset::needs).filter(|needed| !headers.contains_key(*needed)) {
            return Err(BuildError(format!("headers = {{ {needed} = {{ file = \"…\" }} }} is needed")));
        }
        let signer = match &self.sign {
            Some(sign) => {
                let secret = one_secret("sign.secret", &sign.secret_file, &sign.secret_env)?.read(base)?;
                let signer = Signer::new(&secret)?;
                client.never_quote(secret);
                Some(signer)
            }
            None => None,
        };
        Ok(Http { client, url, shape, gzip, headers, signer })
    }

    /// The configured or usual address, and whether it is a secret.
    fn address(&self, base: &Path) -> Result<(String, bool), BuildError> {
        if self.url_file.is_some() || self.url_env.is_some() {
            if self.url.is_some() || self.site.is_some() {
                return Err(BuildError("url_file or url_env replaces url and site: give one of them".to_owned()));
            }
            let secret = one_secret("url", &self.url_file, &self.url_env)?.read(base)?;
            return Ok((client::secret_url(&secret)?, true));
        }
        match (&self.url, self.preset) {
            (Some(_), _) if self.site.is_some() => Err(BuildError("site is for when no url is given".to_owned())),
            (Some(url), _) => Ok((url.clone(), false)),
            (None, Some(preset)) => Ok((preset.url(self.site.as_deref())?, false)),
            (None, None) => Err(BuildError("url is needed".to_owned())),
        }
    }

    /// With the preset's path, where it has none.
    fn whole(&self, url: &Url) -> Url {
        let mut url = url.clone();
        if let (Some(path), "/") = (self.preset.and_then(Preset::path), url.path()) {
            url.set_path(path);
        }
        url
    }

    fn shape(&self) -> Result<Shape, BuildError> {
        match (self.preset, self.body) {
            (Some(_), Some(_)) => Err(BuildError("body is the preset's: leave it out".to_owned())),
            (Some(preset), None) => Ok(Shape::Preset(preset, self.labels.clone())),
            (None, _) if !self.labels.is_empty() => Err(BuildError("labels are for a preset".to_owned())),
            (None, _) if self.site.is_some() => Err(BuildError("site is for preset = \"datadog\"".to_owned())),
            (None, body) => Ok(Shape::Body(body.unwrap_or_default())),
        }
    }
}

/// One CloudEvent in structured mode.
const CLOUDEVENT: &str = "application/cloudevents+json";
/// A JSON array of them (JSON Event Format for CloudEvents, section 4).
const CLOUDEVENTS: &str = "application/cloudevents-batch+json";

impl Body {
    /// Of one record what its format says.
    fn content_type(self, batch: &[Message]) -> &'static str {
        match (self, batch) {
            (Self::Single, [message]) => message.media_type,
            // The one format whose batches have a name of their own.
            (Self::Array, [first, ..]) if first.media_type == CLOUDEVENT => CLOUDEVENTS,
            (Self::Single | Self::Array, _) => "application/json",
            // Lines of a format that is no JSON are that format's.
            (Self::Lines, [first, ..]) if !first.is_json() => first.media_type,
            (Self::Lines, _) => "application/x-ndjson",
        }
    }

    fn pack(self) -> Pack {
        match self {
            Self::Single => Pack::Plain,
            Self::Lines => Pack::Line,
            Self::Array => Pack::written(1, |message, out| {
                if message.is_json() {
                    out.extend_from_slice(&message.body);
                } else {
                    // A line of another format: a text of the array.
                    json::text(out, &message.body);
                }
                out.push(b',');
            }),
        }
    }

    fn of(self, batch: &[Message]) -> Vec<Bytes> {
        let records = pieces(batch.iter().map(|message| &message.body));
        if self == Self::Array { array(records) } else { records }
    }

    /// The idempotency key of one record, `<first seq>-<last seq>` of several; checkpoints have the seqs of records.
    fn id(self, batch: &[Message]) -> String {
        match (self, batch, batch.last()) {
            (Self::Single, [message], _) => message.key.clone(),
            (_, [first, ..], Some(last)) if first.kind == Kind::Checkpoint => {
                format!("checkpoint-{}-{}", first.seq, last.seq)
            }
            (_, [first, ..], Some(last)) => format!("{}-{}", first.seq, last.seq),
            _ => String::new(),
        }
    }
}

impl Sink for Http {
    fn pack(&self) -> Pack {
        match &self.shape {
            Shape::Body(body) => body.pack(),
            Shape::Preset(preset, labels) => preset.pack(labels),
        }
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let (pieces, id, content_type) = match &self.shape {
            Shape::Body(body) => (body.of(batch), body.id(batch), body.content_type(batch)),
            Shape::Preset(preset, labels) => (preset.body(batch, labels), Body::Array.id(batch), preset.content_type()),
        };
        let pieces = if self.gzip { vec![gzip(pieces).await?] } else { pieces };
        let mut headers = self.headers.clone();
        // One that is configured wins.
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        match (&self.signer, &self.shape) {
            (Some(signer), _) => signer.sign(&mut headers, &id, SystemTime::now(), &pieces)?,
            (None, Shape::Body(_)) => signing::name(&mut headers, &id)?,
            (None, Shape::Preset(..)) => {}
        }
        let request = self.client.request(Method::POST, self.url.clone()).headers(headers).body(body(pieces));
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
        if matches!(self.shape, Shape::Body(Body::Single)) { 1 } else { usize::MAX }
    }

    fn fits(&self, batch: &[Message]) -> usize {
        match &self.shape {
            Shape::Preset(preset, _) => preset.fits(batch),
            Shape::Body(_) => self.records_max().min(batch.len()),
        }
    }
}

#[cfg(test)]
mod tests;
