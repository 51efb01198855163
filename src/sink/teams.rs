//! `teams`: tells people in a Microsoft Teams channel, by a workflow's webhook (Power Automate, *When a Teams webhook
//! request is received*), as an Adaptive Card.
//!
//! All text is in text runs, the one element of a card that takes no markdown: what a sender wrote cannot carry a link.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Ack, BuildError, Message, Sink, SinkError,
    defaults::{timeout, yes},
    people::{
        KINDS, messages_per_hour,
        desk::Desk,
        notice::{Link, Notice, Phase},
        webhook::Webhook,
    },
    tls::TlsFiles,
};
use crate::{
    record::{Kind, Severity},
    units::Span,
};

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the webhook's address, which is a secret; or `url_env`.
    url_file: Option<PathBuf>,
    /// Environment variable with the address.
    url_env: Option<String>,
    /// Where people find an incident; `{id}` stands for its id.
    link: Option<String>,
    /// The most messages an hour; what is more is told in one.
    #[serde(default = "messages_per_hour")]
    messages_per_hour: NonZeroU32,
    /// Also tell when an incident is closed or an alarm cleared.
    #[serde(default = "yes")]
    resolved: bool,
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

/// See the head of this file.
pub struct Teams {
    webhook: Webhook,
    desk: Desk,
}

impl Config {
    /// Reads the address and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Teams, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let webhook = Webhook::build((&self.url_file, &self.url_env), self.timeout, tls, base)?;
        let link = self.link.as_deref().map(Link::new).transpose()?;
        Ok(Teams { webhook, desk: Desk::new(link, self.resolved, self.messages_per_hour) })
    }
}

impl Sink for Teams {
    /// What was told is remembered in order.
    fn one_at_a_time(&self) -> bool {
        true
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let say = |notice: &Notice| {
            let body = body(notice);
            async move { self.webhook.post(&body).await }
        };
        self.desk.tell_each(batch, say).await
    }

    fn kinds(&self) -> Option<&'static [Kind]> {
        Some(KINDS)
    }
}

fn block(runs: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": runs})
}

/// Red for what should be looked at today, green for what is over.
fn color(notice: &Notice) -> &'static str {
    match (notice.phase, notice.severity) {
        (Phase::Over, _) => "Good",
        (_, Severity::High | Severity::Critical) => "Attention",
        (_, Severity::Medium) => "Warning",
        _ => "Default",
    }
}

fn body(notice: &Notice) -> Value {
    let headline = json!({
        "type": "TextRun", "text": notice.headline, "weight": "Bolder", "size": "Large", "color": color(notice)
    });
    let mut blocks = vec![block(&[headline]), block(&[json!({"type": "TextRun", "text": notice.text})])];
    blocks.extend(notice.facts.iter().map(|(name, value)| {
        let name = json!({"type": "TextRun", "text": format!("{name}: "), "weight": "Bolder"});
        block(&[name, json!({"type": "TextRun", "text": value})])
    }));
    blocks.push(block(&[json!({"type": "TextRun", "text": notice.footer, "size": "Small", "isSubtle": true})]));
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    });
    if let Some(link) = &notice.link {
        card["actions"] = json!([{"type": "Action.OpenUrl", "title": "Open it", "url": link}]);
    }
    json!({
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card}],
    })
}
