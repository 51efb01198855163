//! A server of another authority or of another name, and a credential that nobody knows: for every sink that speaks HTTP. (The
//! others meet the same in their own files, before real servers where there are any.)

use std::{fs, net::SocketAddr, path::Path};

use refresh_audit::{
    deliver::{DeliveryConfig, probe::probe},
    sink::{AnySink, Message, Sink as _, SinkConfig, SinkError},
};
use serde_json::json;

use crate::{
    fake_hec::said,
    fake_http::{FakeHttp, Reply, Request},
    servers::stunnel::{Files, Stunnel},
    sinks::bulk,
    support::certs::Authority,
};

/// `URL` is the server's; files `secret` and `url` lie beside.
const SINKS: &[(&str, &str)] = &[
    ("http", "url = 'URL'\nheaders = { x-token = { file = 'secret' } }"),
    ("http", "preset = 'loki'\nurl = 'URL'\nheaders = { x-token = { file = 'secret' } }"),
    ("elasticsearch", "url = 'URL'\nindex = 'audit'\napi_key_file = 'secret'"),
    ("splunk_hec", "url = 'URL'\ntoken_file = 'secret'\nacks = false"),
    (
        "azure_logs",
        "endpoint = 'URL'\nauthority = 'URL'\nrule_id = 'dcr-0'\nstream = 'Custom-A'\ntenant_id = 't'\nclient_id = 'c'\nclient_secret_file = 'secret'",
    ),
    ("slack", "url_file = 'url'"),
    ("teams", "url_file = 'url'"),
    ("pagerduty", "url = 'URL'\nrouting_key_file = 'secret'"),
    #[cfg(feature = "otlp")]
    ("otlp", "endpoint = 'URL'\nheaders = { x-token = { file = 'secret' } }"),
];

/// What each of them takes for a yes.
fn yes(request: &Request) -> Reply {
    match &*request.target {
        target if target.ends_with("/oauth2/v2.0/token") => {
            Reply::Status(200, "", r#"{"token_type":"Bearer","expires_in":3599,"access_token":"fixture-token"}"#)
        }
        target if target.contains("/_bulk") => bulk::answer(&[(201, "")]),
        target if target.contains("/services/collector") => said(200, 0, "Success", json!({})),
        "/v1/logs" => Reply::Status(200, "content-type: application/x-protobuf\r\n", ""),
        _ => Reply::Status(202, "", r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#),
    }
}

fn build(dir: &Path, (kind, members): (&str, &str), scheme: &str, to: SocketAddr, more: &str) -> AnySink {
    let url = format!("{scheme}://{to}");
    fs::write(dir.join("url"), format!("{url}/hooks/fixture-secret\n")).unwrap();
    let members = format!("{}\n{more}", members.replace("URL", &url));
    let config = SinkConfig::parse(kind, toml::Deserializer::parse(&members).unwrap()).unwrap();
    config.build(dir).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

fn test_record(sink: &AnySink) -> Message {
    probe("n", "s", &DeliveryConfig::default(), sink).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(dir.path(), "ca"), Authority::new(dir.path(), "other"));
    ours.issue("server");
    ours.issue_for("elsewhere", &["elsewhere.invalid"]);
    other.issue("stranger");
    fs::write(dir.path().join("secret"), "fixture-secret\n").unwrap();
    let server = FakeHttp::new().await;
    server.script(yes);
    server.up();
    let before = |name| Stunnel::before(server.address, &Files::new(dir.path(), name));
    let (Some(good), Some(elsewhere), Some(stranger)) = (before("server"), before("elsewhere"), before("stranger"))
    else {
        return;
    };
    for sink in SINKS {
        let asked = server.requests().len();
        for (what, address) in [("another name", elsewhere.address), ("another authority", stranger.address)] {
            let sink = build(dir.path(), *sink, "https", address, "ca_file = 'ca.crt'");
            let error = sink.check(&test_record(&sink)).await.unwrap_err();
            assert!(matches!(error, SinkError::Retry { .. } | SinkError::Partly { .. }), "{what}: {error:?}");
            let said = error.to_string();
            assert!(said.to_lowercase().contains("certificate") && !said.contains("secret"), "{what}: {said}");
        }
        assert_eq!(server.requests().len(), asked, "{sink:?}");
        let sink = build(dir.path(), *sink, "https", good.address, "ca_file = 'ca.crt'");
        sink.check(&test_record(&sink)).await.unwrap();
        assert!(server.requests().len() > asked);
    }
}

#[tokio::test]
async fn a_credential_that_nobody_knows_is_no_records_fault() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "fixture-secret\n").unwrap();
    let server = FakeHttp::new().await;
    server.up();
    for status in [401, 403] {
        server.script(move |_| Reply::Status(status, "", "not /hooks/fixture-secret"));
        for kind in SINKS {
            let sink = build(dir.path(), *kind, "http", server.address, "");
            let error = sink.check(&test_record(&sink)).await.unwrap_err();
            let (SinkError::Retry { fault, .. } | SinkError::Partly { fault, .. }) = &error else {
                panic!("{kind:?}, {status}: {error:?}")
            };
            assert!(fault, "{kind:?}, {status}: {error:?}");
            assert!(!error.to_string().contains("fixture-secret"), "{kind:?}: {error}");
        }
    }
}
