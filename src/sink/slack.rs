//! `slack`: tells people in a channel, by an incoming webhook, in Block Kit.
//!
//! What a sender wrote is plain text, or stands in a code span with its backticks replaced; `&`, `<` and `>` are escaped
//! everywhere and nothing is linked or mentioned by itself, so no name or user agent can address a channel or carry a
//! link (<https://docs.slack.dev/messaging/formatting-message-text>).

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
        notice::{Link, Notice},
        text::cut,
        webhook::Webhook,
    },
    tls::TlsFiles,
};
use crate::{record::Kind, units::Span};

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

/// Of a header block (Slack's limit).
const HEADER_CHARS_MAX: usize = 150;

/// See the head of this file.
pub struct Slack {
    webhook: Webhook,
    desk: Desk,
}

impl Config {
    /// Reads the address and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Slack, BuildError> {
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let webhook = Webhook::build((&self.url_file, &self.url_env), self.timeout, tls, base)?;
        let link = self.link.as_deref().map(Link::new).transpose()?;
        Ok(Slack { webhook, desk: Desk::new(link, self.resolved, self.messages_per_hour) })
    }
}

impl Sink for Slack {
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

/// `&`, `<` and `>` as Slack wants them.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": escape(text), "emoji": false})
}

/// A label of ours in bold and a value that nothing in it can make more than a value.
fn field((name, value): &(&str, String)) -> Value {
    let value = escape(&value.replace('`', "'"));
    json!({"type": "mrkdwn", "text": format!("*{name}*\n`{value}`"), "verbatim": true})
}

fn body(notice: &Notice) -> Value {
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&cut(&notice.headline, HEADER_CHARS_MAX))}),
        json!({"type": "section", "text": plain(&notice.text)}),
    ];
    if !notice.facts.is_empty() {
        blocks.push(json!({"type": "section", "fields": notice.facts.iter().map(field).collect::<Vec<_>>()}));
    }
    if let Some(link) = &notice.link {
        let text = format!("<{}|Open it>", escape(link));
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}}));
    }
    blocks.push(json!({"type": "context", "elements": [plain(&notice.footer)]}));
    // For notifications and screen readers.
    json!({"text": escape(&format!("{}: {}", notice.headline, notice.text)), "blocks": blocks})
}
