//! `pagerduty`: pages whoever is on call, by the Events API v2
//! (<https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>).
//!
//! An incident that opens or gets worse triggers, with its id as `dedup_key`; one that is closed resolves. Alarms the same,
//! by instance, name and subject. Over the cap everything triggers one and the same alert, which somebody has to resolve
//! by hand: nobody is paged twice for it and nothing is left out.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Ack, BuildError, Message, Sink, SinkError,
    client::{Connect, HttpClient, one_secret},
    defaults::timeout,
    people::{
        KINDS, messages_per_hour,
        cap::{Cap, Turn},
        desk::Desk,
        notice::{Link, Notice, Phase},
        text::cut,
    },
    tls::TlsFiles,
};
use crate::{
    record::{Kind, Severity},
    secret::Secret,
    time::ReceivedAt,
    units::Span,
};

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the service's integration key; or `routing_key_env`.
    routing_key_file: Option<PathBuf>,
    /// Environment variable with the key.
    routing_key_env: Option<String>,
    /// Where events go; in the EU `https://events.eu.pagerduty.com/v2/enqueue`.
    #[serde(default = "url")]
    url: String,
    /// Where people find an incident; `{id}` stands for its id.
    link: Option<String>,
    /// The most alerts an hour; what is more is one alert.
    #[serde(default = "messages_per_hour")]
    messages_per_hour: NonZeroU32,
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

fn url() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

/// Limits of the API.
const SUMMARY_CHARS_MAX: usize = 1_024;
/// See [`SUMMARY_CHARS_MAX`].
const DEDUP_KEY_CHARS_MAX: usize = 255;
/// Read of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// See the head of this file.
pub struct Pagerduty {
    client: HttpClient,
    routing_key: Secret,
    desk: Desk,
    cap: Mutex<Cap>,
}

impl Config {
    /// Reads the key and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Pagerduty, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let mut client = Connect { url: &self.url, timeout: self.timeout, allow_http: false, tls }.build(base)?;
        let key = one_secret("routing_key", &self.routing_key_file, &self.routing_key_env)?;
        let routing_key = key.read(base)?;
        if std::str::from_utf8(routing_key.expose()).is_err() {
            return Err(BuildError("the routing key is not text".to_owned()));
        }
        client.never_quote(key.read(base)?);
        let link = self.link.as_deref().map(Link::new).transpose()?;
        // The cap is this sink's own: it holds nothing back.
        let desk = Desk::new(link, true, NonZeroU32::MAX);
        Ok(Pagerduty { client, routing_key, desk, cap: Mutex::new(Cap::new(self.messages_per_hour)) })
    }
}

impl Sink for Pagerduty {
    /// A resolve must not overtake its trigger.
    fn one_at_a_time(&self) -> bool {
        true
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await?;
        // What was only tried is over.
        let notice = Notice::of(test, None).map_err(|error| SinkError::fault(format!("not a record: {error}")))?;
        if let Some(notice) = notice {
            self.post(body(&Notice { phase: Phase::Over, ..notice })).await?;
        }
        Ok(())
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let say = |notice: &Notice| {
            let one_too_many = notice.phase != Phase::Over && self.turn() != Turn::Tell;
            let body = if one_too_many { too_many(notice) } else { body(notice) };
            let counts = notice.phase != Phase::Over && !one_too_many;
            async move {
                let said = self.post(body).await?;
                if counts {
                    self.cap.lock().unwrap_or_else(PoisonError::into_inner).told(Instant::now());
                }
                Ok(said)
            }
        };
        self.desk.tell_each(batch, say).await
    }

    fn kinds(&self) -> Option<&'static [Kind]> {
        Some(KINDS)
    }
}

impl Pagerduty {
    fn turn(&self) -> Turn {
        self.cap.lock().unwrap_or_else(PoisonError::into_inner).turn(Instant::now(), ReceivedAt::wall())
    }

    async fn post(&self, mut body: Value) -> Result<String, SinkError> {
        body["routing_key"] = String::from_utf8_lossy(self.routing_key.expose()).into();
        let request = self.client.request(Method::POST, self.client.url().clone());
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await?;
        let said = self.client.quote(&answer.body);
        if answer.status.is_success() {
            return Ok(format!("{} {said}", answer.status.as_u16()));
        }
        let meaning = self.client.meaning(answer.status, answer.after, &said);
        // A wrong key is answered like a wrong event.
        Err(match meaning {
            SinkError::Refused { reason } if said.contains("routing_key") || said.contains("routing key") => {
                SinkError::fault(format!("{reason} (check the routing key)"))
            }
            other => other,
        })
    }
}

/// Ours to theirs.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info | Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}

fn body(notice: &Notice) -> Value {
    let dedup_key = cut(&notice.key, DEDUP_KEY_CHARS_MAX);
    if notice.phase == Phase::Over {
        return json!({"event_action": "resolve", "dedup_key": dedup_key});
    }
    let details: Map<String, Value> =
        notice.facts.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let mut body = json!({
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "refresh-audit",
        "payload": {
            "summary": cut(&format!("{}: {}", notice.headline, notice.text), SUMMARY_CHARS_MAX),
            "source": notice.node,
            "severity": severity(notice.severity),
            "timestamp": notice.at.to_string(),
            "component": "refresh-audit",
            "custom_details": details,
        },
    });
    body["payload"]["custom_details"]["Record"] = notice.footer.as_str().into();
    if let Some(link) = &notice.link {
        body["client_url"] = link.as_str().into();
        body["links"] = json!([{"href": link, "text": "Open it"}]);
    }
    body
}

/// The one alert of everything over the cap.
fn too_many(notice: &Notice) -> Value {
    let mut body = body(notice);
    body["dedup_key"] = format!("{}/more-than-the-cap", notice.node).into();
    let summary = format!("More than the cap of alerts an hour; the last: {}: {}", notice.headline, notice.text);
    body["payload"]["summary"] = cut(&summary, SUMMARY_CHARS_MAX).into();
    body
}
