//! The index template, for `template = true`: put once where there is none of its name, never changed afterwards.

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::{ANSWER_BYTES_MAX, Elasticsearch, SinkError};

/// For records in the format `json`; those of `ecs` are in `deploy/elastic/`.
const TEMPLATE: &str = include_str!("template.json");
/// Above those that come with Elasticsearch (100 for `logs-*-*`).
const PRIORITY: usize = 300;
/// With it still under the 310 of `deploy/elastic/`.
const PARTS_MAX: usize = 9;

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
    // Two that hold for the same name must differ in priority, or the second is refused: of the names of two sinks, one can
    // only begin with the other where it has more parts. Those in `deploy/elastic/` stay above.
    let parts_before = index.matches('-').count().min(PARTS_MAX);
    template["priority"] = json!(PRIORITY + parts_before);
    if data_stream {
        template["index_patterns"] = json!([index]);
        template["data_stream"] = json!({});
        // It would hold for `@timestamp`, too, and many versions then refuse the template: a data stream wants that one
        // well-formed (elastic/elasticsearch#71755, #98511).
        template["template"]["settings"] = json!({});
    } else {
        // An alias is no index: what is behind it is called `<alias>-000001`, say.
        template["index_patterns"] = json!([index, format!("{index}-*")]);
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
        assert_eq!(stream["template"]["mappings"], index["template"]["mappings"]);
        // All other instants and addresses have it of their own.
        let own = stream["template"]["mappings"].to_string().matches("\"ignore_malformed\":true").count();
        assert_eq!(own, 6);
    }

    #[test]
    fn it_holds_for_what_is_behind_an_alias_and_for_no_more_of_a_data_stream() {
        assert_eq!(template("audit", true).unwrap()["index_patterns"], json!(["audit"]));
        assert_eq!(template("audit", false).unwrap()["index_patterns"], json!(["audit", "audit-*"]));
    }

    #[test]
    fn two_that_hold_for_one_name_differ_in_priority() {
        let priority = |index| template(index, false).unwrap()["priority"].as_u64().unwrap();
        assert!(priority("audit") < priority("audit-eu") && priority("audit-eu") < priority("audit-eu-1"));
        assert!(100 < priority("audit") && priority(&"a-".repeat(100)) < 310);
    }
}
