//! Splunk's HTTP Event Collector after its documentation: tokens, channels, concatenated events, gzip, codes, and
//! acknowledgements that are told once. Not Splunk: what it documents, and no more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::fake_http::{FakeHttp, Reply, Request};

/// Not a secret: a token for tests.
pub const TOKEN: &str = "00000000-fixture-token";

/// One event that was indexed.
#[derive(Clone, Debug)]
pub struct Indexed {
    pub envelope: Value,
    pub channel: String,
}

type Intercept = dyn Fn(&Request) -> Option<Reply> + Send;

/// What it is set to, and what it holds.
pub struct State {
    /// Indexer acknowledgement is on for the token.
    pub acks: bool,
    /// Questions for an acknowledgement that are answered `false` first; `None` = all.
    pub ack_after: Option<u32>,
    /// What is refused for good, by `event.seq`.
    pub poison: Option<u64>,
    /// Indexes the token may write to; empty = all.
    pub indexes: Vec<String>,
    /// Does something else with a request.
    pub intercept: Box<Intercept>,
    pub indexed: Vec<Indexed>,
    /// By channel and ackId: how often asked, and whether the `true` was told.
    pending: BTreeMap<(String, u64), (u32, bool)>,
    /// How many `true` were told.
    pub told: usize,
}

pub struct FakeHec {
    pub server: FakeHttp,
    pub state: Arc<Mutex<State>>,
}

impl FakeHec {
    /// An address that nobody listens at yet.
    pub async fn new() -> Self {
        let server = FakeHttp::new().await;
        let state = Arc::new(Mutex::new(State {
            acks: true,
            ack_after: Some(1),
            poison: None,
            indexes: Vec::new(),
            intercept: Box::new(|_| None),
            indexed: Vec::new(),
            pending: BTreeMap::new(),
            told: 0,
        }));
        let of = Arc::clone(&state);
        server.script(move |request| {
            let mut state = of.lock().unwrap();
            match (state.intercept)(request) {
                Some(reply) => reply,
                None => state.answer(request),
            }
        });
        Self { server, state }
    }

    /// Without a path, as an operator would give it.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub fn indexed(&self) -> Vec<Indexed> {
        self.set(|state| state.indexed.clone())
    }

    /// Requests for events, without those for acknowledgements.
    pub fn posts(&self) -> Vec<Request> {
        self.server.requests().into_iter().filter(|request| request.target.ends_with("/event")).collect()
    }
}

/// An answer with its code, as documented.
pub fn said(status: u16, code: i64, text: &str, more: Value) -> Reply {
    let mut answer = json!({ "text": text, "code": code });
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Reply::Bytes(status, "content-type: application/json\r\n", answer.to_string().into_bytes())
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let none = || json!({});
        match request.headers.get("authorization").map(|value| value.split_once(' ')) {
            None => return said(401, 2, "Token is required", none()),
            Some(Some(("Splunk", token))) if token == TOKEN => {}
            Some(Some(("Splunk", _))) => return said(403, 4, "Invalid token", none()),
            Some(_) => return said(401, 3, "Invalid authorization", none()),
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let in_query = query.split('&').find_map(|pair| pair.strip_prefix("channel=")).map(str::to_owned);
        let channel = request.headers.get("x-splunk-request-channel").cloned().or(in_query);
        if self.acks {
            match &channel {
                None => return said(400, 10, "Data channel is missing", none()),
                Some(channel) if uuid::Uuid::parse_str(channel).is_err() => {
                    return said(400, 11, "Invalid data channel", none());
                }
                Some(_) => {}
            }
        }
        let channel = channel.unwrap_or_default();
        match path {
            "/services/collector/event" => self.events(request, channel),
            "/services/collector/ack" if !self.acks => said(400, 14, "ACK is disabled", none()),
            "/services/collector/ack" => self.status(request, &channel),
            _ => Reply::Status(404, "", "The requested URL was not found on this server."),
        }
    }

    /// What comes before an invalid event is indexed; what comes after it is not.
    fn events(&mut self, request: &Request, channel: String) -> Reply {
        if request.bytes.is_empty() {
            return said(400, 5, "No data", json!({}));
        }
        let events = serde_json::Deserializer::from_slice(&request.bytes).into_iter::<Value>();
        for (number, envelope) in events.enumerate() {
            let at = json!({ "invalid-event-number": number });
            let Ok(envelope) = envelope else { return said(400, 6, "Invalid data format", at) };
            match &envelope["event"] {
                Value::Null => return said(400, 12, "Event field is required", at),
                Value::String(text) if text.is_empty() => return said(400, 13, "Event field cannot be blank", at),
                event if self.poison.is_some() && event["seq"].as_u64() == self.poison => {
                    return said(400, 6, "Invalid data format", at);
                }
                _ => {}
            }
            if envelope["fields"].as_object().is_some_and(|fields| fields.values().any(Value::is_object)) {
                return said(400, 15, "Error in handling indexed fields", at);
            }
            let index = envelope["index"].as_str().unwrap_or("main");
            if !self.indexes.is_empty() && !self.indexes.iter().any(|one| one == index) {
                return said(400, 7, "Incorrect index", at);
            }
            self.indexed.push(Indexed { envelope, channel: channel.clone() });
        }
        if !self.acks {
            return said(200, 0, "Success", json!({}));
        }
        let id = self.pending.keys().filter(|(of, _)| *of == channel).count() as u64;
        self.pending.insert((channel, id), (0, false));
        said(200, 0, "Success", json!({ "ackId": id }))
    }

    fn status(&mut self, request: &Request, channel: &str) -> Reply {
        let question: Value = serde_json::from_slice(&request.bytes).unwrap();
        let mut acks = serde_json::Map::new();
        for id in question["acks"].as_array().unwrap() {
            let id = id.as_u64().unwrap();
            let told = match self.pending.get_mut(&(channel.to_owned(), id)) {
                Some((asked, told)) if !*told && self.ack_after.is_some_and(|after| *asked >= after) => {
                    *told = true;
                    self.told += 1;
                    true
                }
                Some((asked, _)) => {
                    *asked += 1;
                    false
                }
                None => false,
            };
            acks.insert(id.to_string(), told.into());
        }
        Reply::Bytes(200, "", json!({ "acks": acks }).to_string().into_bytes())
    }
}
