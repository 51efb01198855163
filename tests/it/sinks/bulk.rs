//! The bulk API as Elasticsearch's and OpenSearch's documentation tells it: an index that creates each id once.

use std::sync::{Arc, Mutex};

use refresh_audit::{record::Seq, sink::AnySink};
use serde_json::{Value, json};

use super::{POISON, Receiver, Situation, sink};
use crate::fake_http::{FakeHttp, Reply, Request};

/// `_id` and document, in order of arrival.
pub type Index = Arc<Mutex<Vec<(String, Value)>>>;

pub struct BulkReceiver {
    server: FakeHttp,
    index: Index,
    gzip: bool,
}

/// A bulk request's `(_id, document)`, checked for its form.
pub fn operations(request: &Request) -> Vec<(String, Value)> {
    assert_eq!(request.headers["content-type"], "application/x-ndjson");
    assert!(request.body.ends_with('\n'), "the last line needs its end, too");
    let body = str::from_utf8(&request.bytes).unwrap();
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let operation = |pair: &[Value]| (pair[0]["create"]["_id"].as_str().unwrap().to_owned(), pair[1].clone());
    lines.chunks(2).map(operation).collect()
}

/// The answer to a bulk request, with one status and error each.
pub fn answer(items: &[(u16, &str)]) -> Reply {
    let item = |(status, error): &(u16, &str)| match *error {
        "" => json!({ "create": { "status": status } }),
        error => json!({ "create": { "status": status, "error": { "type": error, "reason": "as the test says" } } }),
    };
    let errors = items.iter().any(|(_, error)| !error.is_empty());
    let body = json!({ "errors": errors, "items": items.iter().map(item).collect::<Vec<_>>() });
    Reply::Bytes(200, "content-type: application/json\r\n", body.to_string().into_bytes())
}

/// Creates each id once, but for those that `refuse` says.
pub fn create(index: &Index, request: &Request, refuse: impl Fn(&Value) -> Option<(u16, &'static str)>) -> Reply {
    let mut index = index.lock().unwrap();
    let items = operations(request).into_iter().map(|(id, document)| {
        if index.iter().any(|(there, _)| *there == id) {
            return (409, "version_conflict_engine_exception");
        }
        if let Some(refusal) = refuse(&document) {
            return refusal;
        }
        index.push((id, document));
        (201, "")
    });
    let items: Vec<_> = items.collect();
    answer(&items)
}

impl BulkReceiver {
    pub async fn new(gzip: bool) -> Self {
        Self { server: FakeHttp::new().await, index: Index::default(), gzip }
    }

    fn items(&self, refuse: impl Fn(&Value) -> Option<(u16, &'static str)> + Send + Sync + 'static) {
        let index = Arc::clone(&self.index);
        self.server.script(move |request| match request.target.split_once("/_doc/") {
            Some((_, id)) if request.method == "DELETE" => {
                index.lock().unwrap().retain(|(there, _)| there != id);
                Reply::OK
            }
            _ => create(&index, request, &refuse),
        });
    }
}

impl Receiver for BulkReceiver {
    fn sink(&self) -> AnySink {
        let (address, gzip) = (self.server.address, self.gzip);
        sink("elasticsearch", &format!("url = 'http://{address}'\nindex = 'audit'\ngzip = {gzip}\ntimeout = '300ms'"))
    }

    async fn begin(&self, situation: Situation) -> bool {
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => self.items(|_| None),
            Situation::Throttles => self.items(|_| Some((429, "es_rejected_execution_exception"))),
            Situation::Poison => {
                self.items(|document| (document["seq"] == POISON).then_some((400, "document_parsing_exception")))
            }
            Situation::Full => self.items(|_| Some((429, "cluster_block_exception"))),
            Situation::Fails => self.server.script(|_| Reply::Status(503, "", "no master")),
            Situation::Hangs => self.server.script(|_| Reply::Hang),
            Situation::Drips => self.server.script(|_| Reply::Drip),
            Situation::BreaksOff => {
                // It took them and its answer breaks off.
                let index = Arc::clone(&self.index);
                self.server.script(move |request| {
                    create(&index, request, |_| None);
                    Reply::Status(200, "content-length: 9999\r\n", "")
                });
            }
        }
        if situation != Situation::Down {
            self.server.up();
        }
        true
    }

    async fn end(&self) {
        if self.index.lock().unwrap().iter().any(|(_, document)| document["seq"] == POISON + 1) {
            // The poison stays one.
            return;
        }
        self.items(|_| None);
        self.server.down().await;
        self.server.up();
    }

    /// It is deleted again.
    fn tests_kept(&self) -> usize {
        0
    }

    async fn arrived(&self) -> Vec<Seq> {
        self.index.lock().unwrap().iter().map(|(_, document)| document["seq"].as_u64().unwrap()).collect()
    }

    fn refusal(&self) -> &'static str {
        "400 document_parsing_exception"
    }
}
