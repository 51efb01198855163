//! osmem-server: speaks OpenSearch's HTTP API over an index in memory. A restart loses everything. No credentials, no TLS,
//! no data streams, never 429.

use std::net::SocketAddr;

use serde_json::Value;

use super::{ANSWER_TIME, Server, http};
use crate::support::{PATIENCE, app::free_port};

pub struct Osmem {
    pub server: Server,
    pub address: SocketAddr,
}

impl Osmem {
    pub fn start() -> Option<Self> {
        let address = free_port();
        // Without the third it ends with its standard input; the last saves it seconds.
        let arguments =
            |_: &_| ["-addr", &address.to_string(), "-no-stdin-watch", "-no-ja"].map(str::to_owned).to_vec();
        let answers =
            move || http(address, ANSWER_TIME, "GET", "/_cluster/health", "").is_some_and(|(status, _)| status == 200);
        let osmem = Self { server: Server::start("osmem-server", arguments, answers)?, address };
        // Its first index takes it seconds.
        osmem.ask("PUT", "/first", "");
        osmem.ask("DELETE", "/first", "");
        Some(osmem)
    }

    /// A request of the API; panics on anything but 2xx.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, said) = http(self.address, PATIENCE, method, path, body).unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {said}");
        serde_json::from_str(&said).unwrap()
    }

    /// Every document of an index: `(_id, _source)`, at most 10,000.
    pub fn documents(&self, index: &str) -> Vec<(String, Value)> {
        self.ask("POST", &format!("/{index}/_refresh"), "");
        let found = self.ask("POST", &format!("/{index}/_search"), r#"{"size":10000}"#);
        let hits = found["hits"]["hits"].as_array().unwrap();
        hits.iter().map(|hit| (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].clone())).collect()
    }
}
