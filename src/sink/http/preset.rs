//! `preset = "…"`: address, headers and body as one vendor's documentation has them. Tested against fakes made after that
//! documentation, not against the vendors.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::{
    sink::{BuildError, Message, Pack},
    slice::pieces,
};

mod datadog;
mod loki;
mod sumologic;

/// Whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Preset {
    /// Datadog's logs intake, v2.
    Datadog,
    /// Sumo Logic's HTTP source.
    Sumologic,
    /// Grafana Loki's push API.
    Loki,
}

/// `labels`: few values each; what differs by record is in the record.
pub(super) type Labels = BTreeMap<String, String>;

/// What a record is called everywhere.
const NAME: &str = "refresh-audit";

impl Preset {
    /// Where to when no `url` is given.
    pub(super) fn url(self, site: Option<&str>) -> Result<String, BuildError> {
        match (self, site) {
            (Self::Datadog, site) => datadog::url(site.unwrap_or("datadoghq.com")),
            (_, Some(_)) => Err(BuildError("site is for preset = \"datadog\" only: write url".to_owned())),
            (Self::Sumologic, None) => {
                Err(BuildError("url_file is needed: the address of the HTTP source is a secret".to_owned()))
            }
            (Self::Loki, None) => {
                Err(BuildError("url is needed: it should look like https://loki.example.com".to_owned()))
            }
        }
    }

    /// Put behind a `url` without a path.
    pub(super) const fn path(self) -> Option<&'static str> {
        match self {
            Self::Datadog => Some("/api/v2/logs"),
            Self::Loki => Some("/loki/api/v1/push"),
            Self::Sumologic => None,
        }
    }

    /// The header without which nothing is taken.
    pub(super) const fn needs(self) -> Option<&'static str> {
        match self {
            Self::Datadog => Some("dd-api-key"),
            Self::Sumologic | Self::Loki => None,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Datadog | Self::Loki => "application/json",
            Self::Sumologic => "text/plain; charset=utf-8",
        }
    }

    /// Headers that say what the body cannot; configured ones win.
    pub(super) fn headers(self, labels: &Labels) -> Result<HeaderMap, BuildError> {
        match self {
            Self::Sumologic => sumologic::headers(labels),
            Self::Datadog => datadog::check(labels).map(|()| HeaderMap::new()),
            Self::Loki => loki::check(labels).map(|()| HeaderMap::new()),
        }
    }

    /// How many of the first records one request may hold; one at least.
    pub(super) fn fits(self, batch: &[Message]) -> usize {
        let (records_max, bytes_max) = match self {
            Self::Datadog => datadog::LIMITS,
            Self::Sumologic => sumologic::LIMITS,
            Self::Loki => loki::LIMITS,
        };
        let mut bytes = AROUND_BYTES;
        let fit = batch.iter().take(records_max).take_while(|message| {
            bytes += message.body.len() + BEHIND_BYTES;
            bytes <= bytes_max
        });
        fit.count().max(1)
    }

    pub(super) fn pack(self, labels: &Labels) -> Pack {
        match self {
            Self::Datadog => datadog::pack(labels),
            Self::Sumologic => Pack::Line,
            Self::Loki => loki::pack(),
        }
    }

    /// Of messages that are packed.
    pub(super) fn body(self, batch: &[Message], labels: &Labels) -> Vec<Bytes> {
        match self {
            Self::Datadog => datadog::body(batch),
            Self::Sumologic => pieces(batch.iter().map(|message| &message.body)),
            Self::Loki => loki::body(batch, labels),
        }
    }
}

/// More than any preset puts around all records: a few streams and their labels.
const AROUND_BYTES: usize = 8_000;
/// More than any preset puts behind a record when it is sent.
const BEHIND_BYTES: usize = 40;

fn header(name: &'static str, value: &str) -> Result<(HeaderName, HeaderValue), BuildError> {
    let value = HeaderValue::from_str(value)
        .map_err(|_| BuildError(format!("labels: a value for {name} holds control characters")))?;
    Ok((HeaderName::from_static(name), value))
}

/// Fails on labels that `good` does not like.
fn check_labels(labels: &Labels, good: impl Fn(&str, &str) -> bool, wants: &str) -> Result<(), BuildError> {
    match labels.iter().find(|(name, value)| !good(name, value)) {
        None => Ok(()),
        Some((name, _)) => Err(BuildError(format!("labels: {name} is not usable: {wants}"))),
    }
}
