//! The sinks that speak HTTP/1.1 against a bare HTTP client (reqwest) that posts the same bodies with the same headers, and
//! asks for the same acknowledgements.

use std::fs;

use reqwest::header::CONTENT_ENCODING;

use crate::{
    messages::{BATCH, RECORDS, deliver, messages, runtime, sink},
    requests::{Answer, Receiver, client, plain, replay},
    turns::compare,
};

/// One sink. Requests whose path begins with `once` are sent only now and then: the bare client leaves them out.
struct Case {
    what: &'static str,
    kind: &'static str,
    members: String,
    once: &'static str,
}

fn run(receiver: &Receiver, case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "00000000-fixture-secret").unwrap();
    let sink = sink(case.kind, &case.members, dir.path());
    let (messages, runtime, client) = (messages(&sink), runtime(), client());
    let mut requests = receiver.requests(|| deliver(&runtime, &sink, &messages));
    requests.retain(|request| case.once.is_empty() || !request.path.starts_with(case.once));
    let bytes = requests.iter().map(|request| request.body.len()).sum();
    let compressed = requests[0].headers.contains_key(CONTENT_ENCODING);
    let ours = || deliver(&runtime, &sink, &messages);
    let send = |requests: &[_], compress| replay(&runtime, &client, receiver.address, requests, compress);
    let note = if compressed { " (bare: compressed beforehand)" } else { "" };
    compare(&format!("{}{note}", case.what), RECORDS, bytes, ours, || send(&requests, false));
    if compressed {
        let (records, rest): (Vec<_>, Vec<_>) =
            requests.iter().cloned().partition(|request| request.headers.contains_key(CONTENT_ENCODING));
        let records = plain(&records);
        compare(&format!("{} (bare: compresses the same bytes)", case.what), RECORDS, bytes, ours, || {
            send(&records, true);
            send(&rest, false);
        });
    }
}

fn all(kind: &'static str, once: &'static str, answer: Answer, cases: &[(&'static str, &str)]) {
    let receiver = Receiver::start(answer);
    for (what, members) in cases {
        let members = members.replace("{address}", &receiver.address.to_string());
        run(&receiver, &Case { what, kind, members, once });
    }
}

pub fn splunk_hec() {
    all(
        "splunk_hec",
        "",
        hec,
        &[
            ("splunk_hec", "url = 'http://{address}'\ntoken_file = 'secret'\ngzip = false"),
            ("splunk_hec, gzip", "url = 'http://{address}'\ntoken_file = 'secret'"),
        ],
    );
}

/// As the collector answers: taken, and at once acknowledged.
pub fn hec(path: &str, _: &[u8]) -> String {
    let ack = path.starts_with("/services/collector/ack");
    (if ack { "{\"acks\":{\"0\":true}}" } else { "{\"text\":\"Success\",\"code\":0,\"ackId\":0}" }).to_owned()
}

pub fn elasticsearch() {
    all(
        "elasticsearch",
        "",
        |_, _| created(BATCH),
        &[
            ("elasticsearch", "url = 'http://{address}'\nindex = 'audit'\ntemplate = false\ngzip = false"),
            ("elasticsearch, gzip", "url = 'http://{address}'\nindex = 'audit'\ntemplate = false\ngzip = true"),
        ],
    );
}

/// As a bulk request of so many documents is answered.
pub fn created(documents: usize) -> String {
    format!("{{\"errors\":false,\"items\":[{}]}}", vec!["{\"create\":{\"status\":201}}"; documents].join(","))
}

pub fn http() {
    all(
        "http",
        "",
        |_, _| String::new(),
        &[
            ("http, body = \"array\"", "url = 'http://{address}/'\nbody = 'array'"),
            ("http, body = \"lines\"", "url = 'http://{address}/'\nbody = 'lines'"),
            ("http, body = \"lines\", gzip", "url = 'http://{address}/'\nbody = 'lines'\ngzip = true"),
        ],
    );
}

pub fn presets() {
    all(
        "http",
        "",
        |_, _| String::new(),
        &[
            (
                "http, preset = \"datadog\"",
                "url = 'http://{address}'\npreset = 'datadog'\nheaders = { DD-API-KEY = { file = 'secret' } }",
            ),
            ("http, preset = \"loki\"", "url = 'http://{address}'\npreset = 'loki'"),
            ("http, preset = \"sumologic\"", "url = 'http://{address}/x'\npreset = 'sumologic'"),
        ],
    );
}

pub fn azure_logs() {
    let members = "endpoint = 'http://{address}'\nauthority = 'http://{address}'\nrule_id = 'dcr-00000000000000000000000000000000'\n\
                   stream = 'Custom-A'\ntenant_id = 'tenant'\nclient_id = 'client'\nclient_secret_file = 'secret'";
    let token: Answer =
        |_, _| "{\"token_type\":\"Bearer\",\"expires_in\":86400,\"access_token\":\"fixture\"}".to_owned();
    all("azure_logs", "/tenant/", token, &[("azure_logs, gzip", members)]);
}

#[cfg(feature = "otlp")]
pub fn otlp_over_http() {
    all(
        "otlp",
        "",
        |_, _| String::new(),
        &[
            ("otlp, http", "endpoint = 'http://{address}'\ngzip = false"),
            ("otlp, http, gzip", "endpoint = 'http://{address}'"),
        ],
    );
}
