//! What HEC's answers mean: `{"text":"Invalid data format","code":6,"invalid-event-number":3}`.
//!
//! Codes after Splunk's documentation ("Possible error codes" of the HTTP Event Collector, Splunk Enterprise 9 and 10).

use serde::Deserialize;

use crate::sink::{
    SinkError,
    client::{Answer, HttpClient},
};

#[derive(Deserialize)]
struct Said {
    code: Option<i64>,
    #[serde(default)]
    text: String,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
}

/// What a request came to, where it is no failure of the whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It was taken; the number by which to ask for its acknowledgement.
    Taken(Option<u64>),
    /// The event at this place, counted from 0, is refused for good; of those before and after it nothing is known.
    Culprit { at: usize, reason: String },
}

/// The meaning of an answer with any status.
pub(super) fn meaning(client: &HttpClient, answer: &Answer) -> Result<Meaning, SinkError> {
    let Ok(said) = serde_json::from_slice::<Said>(&answer.body) else {
        // Not the collector: a proxy, a balancer, another service.
        if answer.status.is_success() {
            answer.whole()?;
            return Err(SinkError::fault("the answer is not a collector's (check the sink's url)"));
        }
        return Err(client.meaning(answer.status, answer.after, &client.quote(&answer.body)));
    };
    let reason = |hint: &str| {
        let code = said.code.map(|code| format!(" (code {code})")).unwrap_or_default();
        format!("{}{code}{hint}", client.reason(answer.status, &client.quote(said.text.as_bytes())))
    };
    let fault = |hint: &str| Err(SinkError::Retry { reason: reason(hint), after: answer.after, fault: true });
    let passing = || Err(SinkError::Retry { reason: reason(""), after: answer.after, fault: false });
    match said.code {
        Some(0) if answer.status.is_success() => Ok(Meaning::Taken(said.ack_id)),
        // Token disabled, required, malformed, unknown; 21 is the health endpoint's word for it.
        Some(1..=4 | 21) => fault(" (check the sink's token)"),
        Some(7) => fault(" (check the sink's index, and which the token may write to)"),
        Some(10 | 11) => fault(" (the channel is the sink's own: is a proxy dropping x-splunk-request-channel?)"),
        Some(14) => fault(
            ": indexer acknowledgement is off for this token; turn it on there, or set acks = false and lose what an \
             indexer loses",
        ),
        Some(16) => fault(" (take the token out of the sink's url)"),
        // Internal error, busy, queues full, acknowledgement unavailable, shutting down.
        Some(8 | 9 | 18..=20 | 23) => passing(),
        // Invalid data, event missing or blank, indexed fields: of one event, where it says which.
        Some(6 | 12 | 13 | 15) => match said.invalid {
            Some(at) => Ok(Meaning::Culprit { at, reason: reason("") }),
            None => Err(SinkError::Refused { reason: reason("") }),
        },
        // No data.
        Some(5) => Err(SinkError::Refused { reason: reason("") }),
        // Newer codes: by their status.
        _ if answer.status.is_success() => passing(),
        _ => Err(client.meaning(answer.status, answer.after, &client.quote(&answer.body))),
    }
}
