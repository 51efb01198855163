//! `elasticsearch`: Elasticsearch and OpenSearch, by `_bulk` with `create` and the idempotency key as `_id`.
//!
//! Whatever is sent twice ends as one document: the second is answered 409, which is delivered. (In a data stream an id is
//! unique per backing index only: a record sent again after a rollover is there twice, with the same id.) Each item's
//! answer is read: what was throttled or failed is tried again alone, what cannot be indexed is refused with the server's
//! reason. Documents have no order among themselves; they sort by `seq`.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use reqwest::{
    Method, RequestBuilder, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;

use super::{
    Ack, Acked, BuildError, Held, Message, Pack, Sink, SinkError,
    client::{Connect, HttpClient, body, one_secret},
    defaults::timeout,
    gzip::gzip,
    tls::TlsFiles,
};
use crate::units::Span;

mod answer;
mod document;
mod held;
mod template;

use answer::Verdicts;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster, with a path where it is behind one. `http://` only to this machine, unless `allow_http`.
    url: String,
    /// Index, alias or data stream.
    index: String,
    /// Whether that is a data stream.
    #[serde(default)]
    data_stream: bool,
    /// Puts an index template for it, for records in `json` or `ecs`, where there is none of that name.
    #[serde(default)]
    template: bool,
    /// The encoded API key: base64 of `id:key`, as the server shows it.
    api_key_file: Option<PathBuf>,
    /// The same in the environment.
    api_key_env: Option<String>,
    /// Or a user.
    basic_auth: Option<BasicAuth>,
    /// Compresses what is sent.
    #[serde(default)]
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

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicAuth {
    username: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

/// An answer names every record: with a batch of 100,000 at 150 bytes each, with room.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Elasticsearch's limit on the name of an index.
const INDEX_BYTES_MAX: usize = 255;
/// What the answer to a bulk request is cut to; without this each item also repeats index, id, shards and versions.
const ANSWER_MEMBERS: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

/// See the head of this file.
pub struct Elasticsearch {
    client: HttpClient,
    index: String,
    data_stream: bool,
    headers: HeaderMap,
    gzip: bool,
    /// Whether the template still has to be looked after.
    template: AtomicBool,
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Elasticsearch, BuildError> {
        check_index(&self.index)?;
        let mut client = Connect {
            url: &self.url,
            timeout: self.timeout,
            allow_http: self.allow_http,
            tls: TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file),
        }
        .build(base)?;
        let mut headers = HeaderMap::new();
        if let Some(value) = self.authorization(&mut client, base)? {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Elasticsearch {
            client,
            index: self.index.clone(),
            data_stream: self.data_stream,
            headers,
            gzip: self.gzip,
            template: AtomicBool::new(self.template),
        })
    }

    fn authorization(&self, client: &mut HttpClient, base: &Path) -> Result<Option<HeaderValue>, BuildError> {
        let key = self.api_key_file.is_some() || self.api_key_env.is_some();
        match &self.basic_auth {
            Some(_) if key => Err(BuildError("api_key and basic_auth exclude each other: leave one out".to_owned())),
            Some(BasicAuth { username, password_file, password_env }) => {
                let password = one_secret("basic_auth.password", password_file, password_env)?.read(base)?;
                client.basic_value(username, password).map(Some)
            }
            None if key => {
                let key = one_secret("api_key", &self.api_key_file, &self.api_key_env)?.read(base)?;
                client.secret_value("ApiKey ", key).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// The rules of Elasticsearch's index names, so that none can be taken for another path.
fn check_index(index: &str) -> Result<(), BuildError> {
    let wrong = |c: char| c.is_uppercase() || c.is_control() || r##"\/*?"<>| ,#:%"##.contains(c);
    if index.is_empty()
        || index.len() > INDEX_BYTES_MAX
        || index.starts_with(['-', '_', '+', '.'])
        || index.contains(wrong)
    {
        return Err(BuildError(format!(
            "index {index:?} is not a name: lower-case letters, digits, - _ . in between, at most {INDEX_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

impl Sink for Elasticsearch {
    fn pack(&self) -> Pack {
        document::pack()
    }

    /// Creates the test record as a document, and deletes it where that is allowed.
    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await?;
        if !self.data_stream {
            let path = ["_doc", &document::id(&test.key)];
            // A key that may only create is what we ask for: then the record stays, marked as a test.
            let _ = self.client.send(self.request(Method::DELETE, &path)).await;
        }
        Ok(())
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        if self.template.load(Ordering::Relaxed) {
            self.put_template().await?;
            self.template.store(false, Ordering::Relaxed);
        }
        let documents = document::bulk(batch)?;
        let request = self.at(Method::POST, &[&self.index, "_bulk"], Some(ANSWER_MEMBERS));
        let request = request.header(CONTENT_TYPE, "application/x-ndjson");
        let request = if self.gzip {
            request.header(CONTENT_ENCODING, "gzip").body(gzip(documents).await?)
        } else {
            request.body(body(documents))
        };
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await?;
        if !answer.status.is_success() {
            return Err(self.client.meaning(answer.status, answer.after, &self.client.quote(&answer.body)));
        }
        Verdicts::read(answer.whole()?, batch, |text| self.client.quote(text.as_bytes()))?.result(answer.after)
    }

    /// A document is a JSON object.
    fn json_only(&self) -> bool {
        true
    }

    async fn holds(&self, asked: &[Acked]) -> Result<Option<Held>, SinkError> {
        self.held(asked).await.map(Some)
    }
}

impl Elasticsearch {
    /// A request to a path under the index.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.at(method, &[&[self.index.as_str()], path].concat(), None)
    }

    /// A request to a path of the cluster.
    fn at(&self, method: Method, path: &[&str], query: Option<&str>) -> RequestBuilder {
        let mut url: Url = self.client.url().clone();
        url.set_query(query);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.client.request(method, url).headers(self.headers.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(config: &str) -> Result<Elasticsearch, String> {
        let config: Config = toml::from_str(config).map_err(|error| error.to_string())?;
        config.build(Path::new("/nonexistent")).map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_are_told_without_secrets() {
        for (config, said) in [
            ("url = 'http://127.0.0.1/'\nindex = 'A'", "lower-case"),
            ("url = 'http://127.0.0.1/'\nindex = 'a/_bulk'", "lower-case"),
            ("url = 'http://127.0.0.1/'\nindex = '..'", "lower-case"),
            ("url = 'http://10.0.0.1/'\nindex = 'a'", "in the clear"),
            ("url = 'https://u:hunter22@h/'\nindex = 'a'", "members for credentials"),
            ("url = 'http://127.0.0.1/'\nindex = 'a'\napi_key_file = 'none'", "/nonexistent/none"),
            ("url = 'http://127.0.0.1/'\nindex = 'a'\nbasic_auth = { username = 'u' }", "password_file"),
            (
                "url = 'http://127.0.0.1/'\nindex = 'a'\napi_key_env = 'X'\nbasic_auth = { username = 'u' }",
                "exclude each other",
            ),
            ("url = 'http://127.0.0.1/'\nindex = 'a'\npassword = 'hunter22'", "unknown field"),
        ] {
            let error = build(config).map(drop).unwrap_err();
            assert!(error.contains(said), "{config}: {error}");
        }
    }

    #[test]
    fn a_path_before_the_index_stays() {
        for url in ["http://127.0.0.1/es", "http://127.0.0.1/es/"] {
            let sink = build(&format!("url = '{url}'\nindex = 'audit-1'")).unwrap();
            let request = sink.request(Method::POST, &["_bulk"]).build().unwrap();
            assert_eq!(request.url().as_str(), "http://127.0.0.1/es/audit-1/_bulk");
        }
    }
}
