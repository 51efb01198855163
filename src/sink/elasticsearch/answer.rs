//! What the answer to a bulk request says of each record. Pure.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{Ack, Message, SinkError};
use crate::record::Seq;

/// Reasons quoted of records that are tried again: they are mostly the same one.
const REASONS_MAX: usize = 3;

#[derive(Deserialize)]
struct Answer {
    items: Vec<Named>,
}

/// An item under the name of its action, the only member, which is of no interest.
struct Named(Option<Item>);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneMember;

        impl<'de> Visitor<'de> for OneMember {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item under the name of its action")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Named, M::Error> {
                let named = Named(map.next_entry::<IgnoredAny, Item>()?.map(|(_, item)| item));
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(named)
            }
        }

        from.deserialize_map(OneMember)
    }
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Error {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
}

impl Error {
    /// Told as 400, too: closed, an alias without an index to write to, an ingest pipeline in its settings that is not
    /// there, or no room for another index's shards.
    fn is_of_the_index(&self) -> bool {
        match &*self.kind {
            "index_closed_exception" | "validation_exception" => true,
            "illegal_argument_exception" => OF_THE_INDEX.iter().any(|begin| self.reason.starts_with(begin)),
            _ => false,
        }
    }
}

/// How the reasons begin that `illegal_argument_exception` gives for those; others are about a record.
const OF_THE_INDEX: &[&str] = &["no write index", "pipeline with id"];

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    again: Vec<Seq>,
    why: Vec<String>,
    fault: bool,
    refused: Vec<(Seq, String)>,
    ack: Ack,
}

impl Verdicts {
    /// `quote` makes one short line without secrets of what the server said.
    pub(super) fn read(body: &[u8], batch: &[Message], quote: impl Fn(&str) -> String) -> Result<Self, SinkError> {
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|error| SinkError::passing(format!("the answer to a bulk request cannot be read: {error}")))?;
        let count = answer.items.len();
        if count != batch.len() {
            let sent = batch.len();
            return Err(SinkError::passing(format!("the answer tells of {count} records, but {sent} were sent")));
        }
        let mut verdicts = Self { ack: Ack::new("201 created"), ..Self::default() };
        for (message, Named(item)) in batch.iter().zip(answer.items) {
            verdicts.take(message.seq, item.as_ref(), &quote);
        }
        Ok(verdicts)
    }

    fn take(&mut self, seq: Seq, item: Option<&Item>, quote: impl Fn(&str) -> String) {
        let Some(item) = item else { return self.again(seq, "no answer for a record".to_owned()) };
        let said = || {
            let error = item.error.as_ref();
            let (kind, reason) = error.map_or(("", ""), |error| (&error.kind, &error.reason));
            format!("{} {}", item.status, quote(&format!("{kind}: {reason}")))
        };
        match item.status {
            200..=299 => {}
            // There is a document with this id: an earlier attempt arrived.
            409 => self.ack.records.push((seq, "409 already there".to_owned())),
            408 | 425 | 429 | 500..=599 => self.again(seq, said()),
            // Privileges, no such index where none may be made, a write block: not the record's fault.
            401 | 403 | 404 => {
                self.fault = true;
                self.again(seq, format!("{} (check the sink's index and privileges)", said()));
            }
            400 if item.error.as_ref().is_some_and(Error::is_of_the_index) => {
                self.fault = true;
                self.again(seq, format!("{} (the state of the index, not of the record)", said()));
            }
            _ => self.refused.push((seq, said())),
        }
    }

    fn again(&mut self, seq: Seq, why: String) {
        self.again.push(seq);
        if self.why.len() < REASONS_MAX && !self.why.contains(&why) {
            self.why.push(why);
        }
    }

    /// The decision; `after` is what `Retry-After` said.
    pub(super) fn result(self, after: Option<Duration>) -> Result<Ack, SinkError> {
        let Self { again, why, fault, refused, ack } = self;
        match (again.is_empty(), refused.is_empty()) {
            (true, true) => Ok(ack),
            (true, false) => Err(SinkError::Reject { refused, ack }),
            (false, _) => Err(SinkError::Partly { again, refused, ack, reason: why.join("; "), after, fault }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kept, Kind};

    fn batch(count: u64) -> Vec<Message> {
        let message = |seq| Message {
            seq,
            kind: Kind::Event,
            key: String::new(),
            head: Kept::default(),
            line: "".into(),
            body: "".into(),
            media_type: "application/json",
        };
        (1..=count).map(message).collect()
    }

    fn read(body: &str, count: u64) -> Result<Ack, SinkError> {
        Verdicts::read(body.as_bytes(), &batch(count), str::to_owned)?.result(None)
    }

    #[test]
    fn what_is_wrong_with_the_index_parks_no_record() {
        let item = |kind, reason| serde_json::json!({"status": 400, "error": {"type": kind, "reason": reason}});
        let body = |kind, reason| serde_json::json!({"errors": true, "items": [{"create": item(kind, reason)}]}).to_string();
        for (kind, reason) in [
            ("index_closed_exception", "closed"),
            ("illegal_argument_exception", "no write index is defined for alias [audit]. The write index may be explicitly \
             disabled"),
            // As IngestService words it, where `index.default_pipeline` names one that was deleted.
            ("illegal_argument_exception", "pipeline with id [enrich] does not exist"),
            ("validation_exception", "Validation Failed: 1: this action would add [2] shards, but this cluster currently has \
             [1000]/[1000] maximum normal shards open;"),
        ] {
            let SinkError::Partly { again, refused, fault, .. } = read(&body(kind, reason), 1).unwrap_err() else {
                panic!("{kind}: not partly")
            };
            assert_eq!((again, refused, fault), (vec![1], vec![], true), "{kind}");
        }
        let own = read(&body("illegal_argument_exception", "mapper [a] cannot be changed"), 1).unwrap_err();
        assert!(matches!(own, SinkError::Reject { .. }), "{own:?}");
    }

    #[test]
    fn every_item_is_one_decision() {
        // The errors as Elasticsearch's documentation of the bulk API shows them, and OpenSearch's of a full queue.
        let body = r#"{"errors":true,"items":[
            {"create":{"status":201}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[2]: version conflict, document already exists (current version [1])"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"}}},
            {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:9] failed to parse field [a] of type [date]"}}},
            {"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary shard is not active"}}}]}"#;
        let SinkError::Partly { again, refused, ack, reason, fault, .. } = read(body, 5).unwrap_err() else {
            panic!("not partly")
        };
        assert_eq!((again, fault), (vec![3, 5], false));
        assert_eq!(ack.records, [(2, "409 already there".to_owned())]);
        let [(4, why)] = &refused[..] else { panic!("{refused:?}") };
        assert!(why.starts_with("400 document_parsing_exception: [1:9] failed to parse"), "{why}");
        assert!(reason.contains("429 es_rejected") && reason.contains("; 503 unavailable"), "{reason}");
    }

    #[test]
    fn a_missing_privilege_is_not_the_records_fault() {
        let body =
            r#"{"items":[{"create":{"status":403,"error":{"type":"security_exception","reason":"unauthorized"}}}]}"#;
        assert!(
            matches!(read(body, 1).unwrap_err(), SinkError::Partly { fault: true, refused, .. } if refused.is_empty())
        );
    }

    #[test]
    fn an_answer_that_does_not_fit_settles_nothing() {
        for body in [r#"{"items":[]}"#, "{", r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#] {
            assert!(matches!(read(body, 1).unwrap_err(), SinkError::Retry { fault: false, .. }), "{body}");
        }
        assert!(matches!(read(r#"{"items":[{}]}"#, 1).unwrap_err(), SinkError::Partly { .. }));
    }
}
