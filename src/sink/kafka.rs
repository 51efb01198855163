//! `kafka`: produces to a topic, key = user id, so that a consumer sees each user's records in order.
//!
//! A partition is chosen as the Java client does (murmur2 of the key); what is about no user shares one key. A batch is
//! delivered when every partition has it on all in-sync replicas (`acks=all`); partitions that failed are tried again
//! alone. There is no deduplication: after a lost answer a record may be there twice, with the same `event_id` header.
//!
//! Of `rskafka` only the protocol is used, one connection a broker. Its own client produces a batch again whenever a
//! broker says that it throttled the request, which it says of requests that it took; and asks brokers to create a topic
//! that does not exist.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rskafka::client::{Credentials, SaslConfig};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Ack, Acked, BuildError, Held, Message, Sink, SinkError, client::one_secret, defaults::timeout, tls::TlsFiles};
use crate::units::Span;

mod broker;
mod cluster;
mod key;
mod produce;

use broker::Address;
use cluster::Cluster;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Some brokers of the cluster, `host:port`; the others are learned from them.
    brokers: Vec<String>,
    /// The topic.
    topic: String,
    /// Creates it where it does not exist, with the brokers' default of replicas.
    #[serde(default)]
    create_topic: bool,
    /// Of a topic that is created. Default: the brokers'.
    partitions: Option<i32>,
    /// Who we are.
    sasl: Option<Sasl>,
    /// TLS. Default: where one of its files is given.
    tls: Option<bool>,
    /// Certificates to trust instead of the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Client certificate and its chain, PEM.
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    key_file: Option<PathBuf>,
    /// How records travel and are stored.
    #[serde(default)]
    compression: Compression,
    /// To connect, and to wait for an answer.
    #[serde(default = "timeout")]
    timeout: Span,
    /// Sends records, and a password, in the clear over the network.
    #[serde(default)]
    allow_plaintext: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sasl {
    mechanism: Mechanism,
    username: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    Scram256,
    #[serde(rename = "SCRAM-SHA-512")]
    Scram512,
}

/// Of a batch for a partition.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compression {
    /// Brokers since 2.1 take it.
    #[default]
    Zstd,
    None,
}

/// Kafka's limit on the name of a topic.
const TOPIC_LEN_MAX: usize = 249;

/// See the head of this file.
pub struct Kafka {
    brokers: Vec<Address>,
    topic: String,
    create: Option<i32>,
    sasl: Option<SaslConfig>,
    tls: Option<Arc<ClientConfig>>,
    allow_plaintext: bool,
    compression: Compression,
    timeout: Span,
    /// Connections to the leaders, as long as nothing went wrong.
    cluster: Mutex<Option<Arc<Cluster>>>,
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Kafka, BuildError> {
        let fail = |problem: String| Err(BuildError(problem));
        if self.timeout.get().is_zero() {
            return fail("timeout must be more than zero".to_owned());
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.topic.is_empty() || self.topic.len() > TOPIC_LEN_MAX || !self.topic.bytes().all(fits) {
            return fail(format!("topic {:?} is not a name: 1 to {TOPIC_LEN_MAX} of A-Z a-z 0-9 . _ -", self.topic));
        }
        if self.partitions.is_some() && !self.create_topic {
            return fail(
                "partitions is for a topic that is created: write create_topic = true, or leave it out".to_owned(),
            );
        }
        if self.partitions.is_some_and(|partitions| partitions < 1) {
            return fail("partitions must be 1 at least".to_owned());
        }
        let files = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        if self.tls == Some(false) && files.any() {
            return fail("tls = false, but there are files for it: leave one out".to_owned());
        }
        let tls = self.tls.unwrap_or(files.any());
        Ok(Kafka {
            brokers: self.brokers(tls)?,
            topic: self.topic.clone(),
            // -1: the brokers' default.
            create: self.create_topic.then_some(self.partitions.unwrap_or(-1)),
            sasl: self.sasl.as_ref().map(|sasl| sasl.read(base)).transpose()?,
            tls: if tls { Some(Arc::new(files.client_config(base)?)) } else { None },
            allow_plaintext: self.allow_plaintext,
            compression: self.compression,
            timeout: self.timeout,
            cluster: Mutex::new(None),
        })
    }

    fn brokers(&self, tls: bool) -> Result<Vec<Address>, BuildError> {
        if self.brokers.is_empty() {
            return Err(BuildError("brokers is empty: name one at least".to_owned()));
        }
        let parse = |text: &String| {
            let Some(address) = Address::parse(text) else {
                return Err(BuildError(format!("brokers: {text:?} should look like kafka.example.com:9092")));
            };
            if tls || self.allow_plaintext || address.is_loopback() {
                return Ok(address);
            }
            Err(BuildError(format!("brokers: {}", in_the_clear(&address))))
        };
        self.brokers.iter().map(parse).collect()
    }
}

/// Why no connection is made.
fn in_the_clear(to: &Address) -> String {
    format!("to {to} records would travel in the clear; use tls = true (or ca_file) or allow_plaintext = true")
}

impl Sasl {
    fn read(&self, base: &Path) -> Result<SaslConfig, BuildError> {
        let secret = one_secret("sasl.password", &self.password_file, &self.password_env)?.read(base)?;
        let password =
            str::from_utf8(secret.expose()).map_err(|_| BuildError("the password is not UTF-8".to_owned()))?;
        let credentials = Credentials::new(self.username.clone(), password.to_owned());
        Ok(match self.mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::Scram256 => SaslConfig::ScramSha256(credentials),
            Mechanism::Scram512 => SaslConfig::ScramSha512(credentials),
        })
    }
}

impl Sink for Kafka {
    /// A partition takes what comes in the order of its journal.
    fn one_at_a_time(&self) -> bool {
        true
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let cluster = self.cluster().await?;
        let result = self.produce(&cluster, batch).await;
        if matches!(result, Err(SinkError::Retry { .. } | SinkError::Partly { .. })) {
            // Leaders may have moved, and a connection that owes an answer is not used again.
            *self.cluster.lock().await = None;
        }
        result
    }

    async fn holds(&self, asked: &[Acked]) -> Result<Option<Held>, SinkError> {
        let cluster = self.cluster().await?;
        self.held(&cluster, asked).await.map(Some)
    }
}

impl Kafka {
    async fn cluster(&self) -> Result<Arc<Cluster>, SinkError> {
        if let Some(cluster) = self.cluster.lock().await.clone() {
            return Ok(cluster);
        }
        let cluster = Arc::new(self.connect().await?);
        *self.cluster.lock().await = Some(Arc::clone(&cluster));
        Ok(cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_without_secrets() {
        let local = "brokers = ['127.0.0.1:9092']\ntopic = 't'\n";
        for (config, said) in [
            ("brokers = []\ntopic = 't'".to_owned(), "empty"),
            ("brokers = ['kafka']\ntopic = 't'".to_owned(), "should look like"),
            ("brokers = ['10.0.0.1:9092']\ntopic = 't'".to_owned(), "in the clear"),
            ("brokers = ['127.0.0.1:1']\ntopic = 'a b'".to_owned(), "not a name"),
            (format!("{local}create_topic = true\npartitions = 0"), "1 at least"),
            (format!("{local}partitions = 6"), "create_topic"),
            (format!("{local}tls = false\nca_file = 'c'"), "leave one out"),
            (format!("{local}ca_file = 'c'"), "/nonexistent/c"),
            (format!("{local}sasl = {{ mechanism = 'PLAIN', username = 'u' }}"), "sasl.password_file"),
            (format!("{local}sasl = {{ mechanism = 'PLAIN', username = 'u', password_file = 'p' }}"), "/nonexistent/p"),
            (format!("{local}timeout = '0s'"), "timeout"),
        ] {
            let config: Config = toml::from_str(&config).unwrap();
            let error = config.build(Path::new("/nonexistent")).map(drop).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        for bad in ["sasl = { mechanism = 'GSSAPI', username = 'u' }", "compression = 'gzip'", "acks = 1"] {
            assert!(toml::from_str::<Config>(&format!("{local}{bad}")).is_err(), "{bad}");
        }
    }
}
