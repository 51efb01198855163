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
                let broken = |error| SinkError::fault(format!("the index template in this program is broken: {error}"));
                let template = template(&self.index, self.data_stream).map_err(broken)?;
                let request = self.at(Method::PUT, &path, Some("create=true")).body(template.to_string());
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
}

fn template(index: &str, data_stream: bool) -> serde_json::Result<Value> {
    let mut template: Value = serde_json::from_str(TEMPLATE)?;
    template["index_patterns"] = json!([index]);
    if data_stream {
        template["data_stream"] = json!({});
        // It would hold for `@timestamp`, too, and many versions then refuse the template: a data stream wants that one
        // well-formed (elastic/elasticsearch#71755, #98511).
        template["template"]["settings"] = json!({});
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_malformed_is_let_through_as_a_data_streams_instant() {
        let setting = |template: &Value| template["template"]["settings"]["index.mapping.ignore_malformed"].clone();
        let index = template("audit", false).unwrap();
        assert_eq!((setting(&index), index.get("data_stream")), (json!(true), None));
        let stream = template("audit", true).unwrap();
        assert_eq!((setting(&stream), &stream["data_stream"]), (Value::Null, &json!({})));
        assert_eq!(stream["index_patterns"], json!(["audit"]));
        assert_eq!(stream["template"]["mappings"], index["template"]["mappings"]);
        // All other instants and addresses have it of their own.
        let own = stream["template"]["mappings"].to_string().matches("\"ignore_malformed\":true").count();
        assert_eq!(own, 3);
    }
}
