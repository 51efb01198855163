//! What the server holds of the records it was given, for `sinks reconcile`. Needs the privilege to read.

use std::collections::BTreeMap;

use reqwest::{Method, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::Value;

use super::{ANSWER_BYTES_MAX, Acked, Elasticsearch, Held, SinkError, document};
use crate::{record::Seq, sink::json};

/// Asked for in one search.
const ASKED_MAX: usize = 1_000;
/// Answers to one search, the servers' limit: in a data stream an id may be there once in each backing index.
const HITS_MAX: usize = 10_000;
#[derive(Deserialize)]
struct Found {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", default)]
    source: Value,
}

#[derive(Deserialize)]
struct Counted {
    count: u64,
}

impl Elasticsearch {
    /// By id.
    pub(super) async fn held(&self, asked: &[Acked]) -> Result<Held, SinkError> {
        // Documents show in a search after a refresh only, which a reader may not be allowed to ask for; then the
        // youngest second may be missing.
        let _ = self.client.send(self.request(Method::POST, &["_refresh"])).await;
        let (mut missing, mut shared) = (Vec::new(), Vec::new());
        for part in asked.chunks(ASKED_MAX) {
            let ids: Vec<_> = part.iter().map(|acked| document::id(&acked.key)).collect();
            let query = serde_json::json!({ "size": HITS_MAX, "_source": json::SEQS, "query": { "ids": { "values": ids } } });
            let found: Found = self.question("_search", &query.to_string()).await?;
            let mut seqs: BTreeMap<String, Vec<Option<Seq>>> = BTreeMap::new();
            for hit in found.hits.hits {
                let seq = json::seq(&hit.source);
                seqs.entry(hit.id).or_default().push(seq);
            }
            for (acked, id) in part.iter().zip(&ids) {
                match seqs.get(&**id) {
                    None => missing.push(acked.seq),
                    // A document that does not say whose it is counts as the record's.
                    Some(seqs) if seqs.iter().all(|seq| seq.is_some_and(|seq| seq != acked.seq)) => {
                        shared.push(acked.seq);
                    }
                    Some(_) => {}
                }
            }
        }
        let counted: Counted = self.question("_count", r#"{"query":{"match_all":{}}}"#).await?;
        Ok(Held { missing, shared, total: Some(counted.count) })
    }

    async fn question<T: for<'de> Deserialize<'de>>(&self, what: &str, body: &str) -> Result<T, SinkError> {
        let request =
            self.request(Method::POST, &[what]).header(CONTENT_TYPE, "application/json").body(body.to_owned());
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await?;
        if !answer.status.is_success() {
            return Err(self.client.meaning(answer.status, answer.after, &self.client.quote(&answer.body)));
        }
        serde_json::from_slice(answer.whole()?)
            .map_err(|error| SinkError::passing(format!("the answer to {what} cannot be read: {error}")))
    }
}
