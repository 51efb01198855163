//! `cloudevents`: CloudEvents 1.0 in structured JSON mode, for event brokers.
//!
//! `data` is the journal's line, byte for byte, so that its hash can still be checked where it arrives. `sequence` and
//! `partitionkey` are documented extensions. <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>

use bytes::Bytes;
use serde::Deserialize;

use super::{gist::Gist, members::object};
use crate::record::{Kind, Record};

/// It has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// One event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// One event.
pub fn encode(line: &Bytes, key: &str, _config: Config) -> serde_json::Result<Bytes> {
    let record: Record = serde_json::from_slice(line)?;
    let gist = Gist::of(&record);
    object(line.len() + 512, |all| {
        all.put("specversion", "1.0");
        all.put("id", key);
        all.put("source", &format_args!("urn:refresh-audit:{}", record.journal));
        all.put("type", kind(record.kind));
        let of_alarm = record.alarm.as_ref().map(|alarm| alarm.name.as_str());
        all.maybe("subject", gist.user().or(gist.incident()).or(of_alarm).filter(|subject| !subject.is_empty()));
        all.put("time", &gist.time);
        all.put("datacontenttype", "application/json");
        all.put("dataschema", "urn:refresh-audit:record:1");
        // As texts, they sort as the numbers do.
        all.put("sequence", &format_args!("{:020}", record.seq));
        all.put("recordhash", &record.hash);
        all.maybe("partitionkey", gist.user().filter(|user| !user.is_empty()));
        all.raw("data", line);
    })
}

/// `type`; the version of the record's shape is in `dataschema`.
const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Event => "refresh-audit.event",
        Kind::Alarm => "refresh-audit.alarm",
        Kind::Replay => "refresh-audit.replay",
        Kind::Operator => "refresh-audit.operator",
        Kind::Config => "refresh-audit.config",
        Kind::Incident => "refresh-audit.incident",
        Kind::Checkpoint => "refresh-audit.checkpoint",
    }
}
