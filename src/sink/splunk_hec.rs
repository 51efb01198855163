//! `splunk_hec`: Splunk's HTTP Event Collector, by default with indexer acknowledgement.
//!
//! 200 says no more than that the events look valid. So a batch is delivered when its `ackId` is reported as indexed
//! (`/services/collector/ack`); a status is told once and then forgotten by the server. Where the token gives no `ackId`,
//! that is a fault to mend, not a reason to believe the 200; `acks = false` says to believe it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Ack, BuildError, Message, Pack, Sink, SinkError,
    client::{Connect, HttpClient, body, one_secret},
    defaults::{timeout, yes},
    gzip::gzip,
    tls::TlsFiles,
};
use crate::{slice::pieces, units::Span};

mod answer;
mod event;

use answer::{Meaning, meaning};
use event::Envelope;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The collector: `https://splunk.example.com:8088`, with or without `/services/collector/event`.
    url: String,
    /// Where the token is.
    token_file: Option<PathBuf>,
    /// Where the token is.
    token_env: Option<String>,
    /// The token's own where it is absent.
    index: Option<String>,
    #[serde(default = "sourcetype")]
    sourcetype: String,
    #[serde(default = "source")]
    source: String,
    /// The record's `node` where it is absent.
    host: Option<String>,
    /// Waits until the indexers have the events.
    #[serde(default = "yes")]
    acks: bool,
    /// How long that may take; then the batch is sent again.
    #[serde(default = "ack_timeout")]
    ack_timeout: Span,
    /// Compresses requests.
    #[serde(default = "yes")]
    gzip: bool,
    /// From connecting to the end of an answer.
    #[serde(default = "timeout")]
    timeout: Span,
    /// Certificates to trust instead of the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Client certificate and its chain, PEM.
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    key_file: Option<PathBuf>,
    /// Sends records and the token in the clear over the network.
    #[serde(default)]
    allow_http: bool,
}

fn sourcetype() -> String {
    "refresh_audit".to_owned()
}

fn source() -> String {
    "refresh-audit".to_owned()
}

fn ack_timeout() -> Span {
    Span::from_secs(300)
}

/// Between two questions for an acknowledgement: at first, and at most. Indexers report every second or so.
const ACK_POLL_MIN: Duration = Duration::from_millis(25);
const ACK_POLL_MAX: Duration = Duration::from_secs(5);
/// Questions in a row that may fail before the batch is tried again: a balancer's blink, not a restart.
const ACK_FAILURES_MAX: u32 = 3;
/// Answers are a line; an acknowledgement's has one status.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Records of a batch that are taken out one by one after the server named them; with more of them the batch is halved.
const CULPRITS_MAX: usize = 8;
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// See the head of this file.
pub struct SplunkHec {
    client: HttpClient,
    events: Url,
    acks: Option<Acks>,
    headers: HeaderMap,
    envelope: Envelope,
    gzip: bool,
}

struct Acks {
    url: Url,
    timeout: Duration,
    channel: String,
    /// An answer lacked its `ackId`, or nobody could be asked about it: asked first, before anything is sent again.
    doubtful: AtomicBool,
}

impl Config {
    /// Reads its token and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<SplunkHec, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let connect = Connect { url: &self.url, timeout: self.timeout, allow_http: self.allow_http, tls };
        let mut client = connect.build(base)?;
        let token = one_secret("token", &self.token_file, &self.token_env)?.read(base)?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, client.secret_value("Splunk ", token)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let channel = Uuid::new_v4().to_string();
        if let Ok(value) = HeaderValue::from_str(&channel) {
            headers.insert(CHANNEL, value);
        }
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if self.ack_timeout.get().is_zero() {
            return Err(BuildError("ack_timeout must be more than zero".to_owned()));
        }
        let acks = self.acks.then_some(()).map(|()| {
            let mut url = endpoint(client.url(), "ack")?;
            url.query_pairs_mut().append_pair("channel", &channel);
            Ok::<_, BuildError>(Acks {
                url,
                timeout: self.ack_timeout.get(),
                channel,
                doubtful: AtomicBool::new(false),
            })
        });
        Ok(SplunkHec {
            events: endpoint(client.url(), "event")?,
            acks: acks.transpose()?,
            headers,
            envelope: Envelope::new(self.host.clone(), &self.source, &self.sourcetype, self.index.as_deref())?,
            gzip: self.gzip,
            client,
        })
    }
}

/// `…/services/collector/<name>` of an address that may have that path, its beginning, or none of it.
fn endpoint(url: &Url, name: &str) -> Result<Url, BuildError> {
    let path = url.path().trim_end_matches('/');
    if path.contains("/services/collector/raw") {
        return Err(BuildError("url is the raw endpoint: give https://host:8088, the sink knows the rest".to_owned()));
    }
    let path = path.strip_suffix("/event").unwrap_or(path);
    let path = path.strip_suffix("/services/collector").unwrap_or(path);
    let mut url = url.clone();
    url.set_path(&format!("{path}/services/collector/{name}"));
    Ok(url)
}

impl Sink for SplunkHec {
    /// Acknowledgements are asked for a batch at a time.
    fn one_at_a_time(&self) -> bool {
        true
    }

    fn pack(&self) -> Pack {
        let envelope = self.envelope.clone();
        Pack::written(envelope.len(), move |message, out| envelope.write(out, message))
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        if let Some(acks) = &self.acks
            && acks.doubtful.load(Ordering::Relaxed)
        {
            self.acknowledged(acks, 0).await?;
            acks.doubtful.store(false, Ordering::Relaxed);
        }
        let mut refused = Vec::new();
        let mut open: Vec<&Message> = batch.iter().collect();
        let mut ack = Ack::none();
        while !open.is_empty() {
            match self.post(&open).await? {
                Meaning::Taken(id) => {
                    ack = self.wait(id).await?;
                    break;
                }
                Meaning::Culprit { at, reason } if at < open.len() && refused.len() < CULPRITS_MAX => {
                    refused.push((open.remove(at).seq, reason));
                }
                Meaning::Culprit { reason, .. } => return Err(SinkError::Refused { reason }),
            }
        }
        if refused.is_empty() { Ok(ack) } else { Err(SinkError::Reject { refused, ack }) }
    }
}

impl SplunkHec {
    async fn post(&self, events: &[&Message]) -> Result<Meaning, SinkError> {
        let events = pieces(events.iter().map(|event| &event.body));
        let events = if self.gzip { vec![gzip(events).await?] } else { events };
        let request = self.client.request(Method::POST, self.events.clone());
        let request = request.headers(self.headers.clone()).body(body(events));
        meaning(&self.client, &self.client.ask(request, ANSWER_BYTES_MAX).await?)
    }

    /// Waits for the acknowledgement of what was taken.
    async fn wait(&self, id: Option<u64>) -> Result<Ack, SinkError> {
        let Some(acks) = &self.acks else { return Ok(Ack::new("code 0, not acknowledged")) };
        let Some(id) = id else {
            acks.doubtful.store(true, Ordering::Relaxed);
            return Err(SinkError::fault(
                "the collector took the records, but gave no ackId: indexer acknowledgement is off for this token; \
                 turn it on there, or set acks = false and lose what an indexer loses",
            ));
        };
        let until = Instant::now() + acks.timeout;
        let (mut wait, mut failures) = (ACK_POLL_MIN, 0);
        loop {
            match self.acknowledged(acks, id).await {
                Ok(true) => return Ok(Ack::new(format!("ackId {id} on channel {}", acks.channel))),
                Ok(false) => failures = 0,
                Err(SinkError::Retry { fault: false, .. }) if failures < ACK_FAILURES_MAX => failures += 1,
                Err(error) => {
                    // They are taken: not sent again before somebody answers for them.
                    acks.doubtful.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            if Instant::now() + wait >= until {
                return Err(SinkError::passing(format!(
                    "the indexers did not acknowledge ackId {id} within {}: sending the batch again",
                    Span::from_millis(u64::try_from(acks.timeout.as_millis()).unwrap_or(u64::MAX))
                )));
            }
            sleep(wait).await;
            wait = (wait * 2).min(ACK_POLL_MAX);
        }
    }

    /// Asks once. A `true` is told once only.
    async fn acknowledged(&self, acks: &Acks, id: u64) -> Result<bool, SinkError> {
        #[derive(Deserialize)]
        struct Said {
            acks: BTreeMap<String, bool>,
        }
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_ENCODING);
        let request =
            self.client.request(Method::POST, acks.url.clone()).headers(headers).body(format!("{{\"acks\":[{id}]}}"));
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await?;
        match serde_json::from_slice::<Said>(&answer.body) {
            Ok(said) if answer.status.is_success() => Ok(said.acks.get(&id.to_string()).copied().unwrap_or(false)),
            _ => match meaning(&self.client, &answer) {
                // The question has no records in it that could be to blame.
                Err(SinkError::Refused { reason }) | Ok(Meaning::Culprit { reason, .. }) => {
                    Err(SinkError::fault(reason))
                }
                Err(error) => Err(error),
                Ok(Meaning::Taken(_)) => Err(SinkError::passing("the answer for an acknowledgement holds none")),
            },
        }
    }
}

#[cfg(test)]
mod tests;
