//! What the server holds of the records it was given, for `sinks reconcile`. Needs the privilege to read.

use std::collections::BTreeSet;

use reqwest::{Method, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;

use super::{ANSWER_BYTES_MAX, Acked, Elasticsearch, Held, SinkError, document};

/// Asked for in one search; the servers' limit on hits is 10,000.
const ASKED_MAX: usize = 1_000;

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
        let mut missing = Vec::new();
        for part in asked.chunks(ASKED_MAX) {
            let ids: Vec<_> = part.iter().map(|acked| document::id(&acked.key)).collect();
            let query = json!({ "size": ASKED_MAX, "_source": false, "query": { "ids": { "values": ids } } });
            let found: Found = self.question("_search", &query.to_string()).await?;
            let found: BTreeSet<String> = found.hits.hits.into_iter().map(|hit| hit.id).collect();
            missing.extend(part.iter().zip(&ids).filter(|(_, id)| !found.contains(&***id)).map(|(acked, _)| acked.seq));
        }
        let counted: Counted = self.question("_count", r#"{"query":{"match_all":{}}}"#).await?;
        Ok(Held { missing, total: Some(counted.count) })
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
