//! The index template, for `template = true`: put once where there is none of its name, never changed afterwards.

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::{ANSWER_BYTES_MAX, Elasticsearch, SinkError};

/// For records in the format `json`; those of `ecs` are in `deploy/elastic/`.
const TEMPLATE: &str = include_str!("template.json");

impl Elasticsearch {
    /// Puts it, unless there is one. A server that refuses it is a fault: it was asked for.
    pub(super) async fn put_template(&self) -> Result<(), SinkError> {
        let path = ["_index_template", &*format!("refresh-audit-{}", self.index)];
        let answer = self.client.ask(self.at(Method::GET, &path, None), ANSWER_BYTES_MAX).await?;
        let answer = match answer.status {
            StatusCode::OK => return Ok(()),
            StatusCode::NOT_FOUND => {
                let request = self.at(Method::PUT, &path, Some("create=true")).body(self.template_body()?);
                let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.client.ask(request, ANSWER_BYTES_MAX).await?
            }
            _ => answer,
        };
        if answer.status.is_success() {
            return Ok(());
        }
        let said = self.client.quote(&answer.body);
        Err(match self.client.meaning(answer.status, answer.after, &said) {
            SinkError::Refused { reason } => SinkError::fault(format!("the index template was refused: {reason}")),
            other => other,
        })
    }

    fn template_body(&self) -> Result<String, SinkError> {
        let broken = |error| SinkError::fault(format!("the index template in this program is broken: {error}"));
        let mut template: Value = serde_json::from_str(TEMPLATE).map_err(broken)?;
        if let Some(members) = template.as_object_mut() {
            members.insert("index_patterns".to_owned(), json!([self.index]));
            if self.data_stream {
                members.insert("data_stream".to_owned(), json!({}));
            }
        }
        serde_json::to_string(&template).map_err(broken)
    }
}
