//! The other sides that speak HTTP, each after its vendor's documentation.

use std::{fs, path::Path, sync::Mutex, time::Duration};

#[cfg(feature = "otlp")]
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::any_value::Value as Any,
};
#[cfg(feature = "otlp")]
use prost::Message as _;
use refresh_audit::{
    deliver::probe::probe,
    record::Seq,
    sink::{Sink as _, SinkConfig, SinkError},
};
use serde_json::Value;

#[cfg(feature = "otlp")]
use super::grpc::GrpcReceiver;
#[cfg(feature = "smtp")]
use super::mail::MailReceiver;
use super::{POISON, Receiver, Situation, check};
use crate::fake_http::{FakeHttp, Reply, Request};

/// How one of them is spoken to.
pub struct Speaks {
    pub name: &'static str,
    kind: &'static str,
    /// `URL` is the server's; files `secret` and `url` lie beside.
    members: &'static str,
    config: &'static str,
    seqs: fn(&Request) -> Vec<Seq>,
    /// How it says yes.
    yes: Reply,
    /// How it refuses one record among others.
    poison: Poison,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// The request as a whole, with 422.
    Whole,
    /// That one alone, with the number of those refused.
    Partial,
}

const FOR_PEOPLE: &str = "kinds = ['event']";

const ALL: &[Speaks] = &[
    #[cfg(feature = "otlp")]
    Speaks {
        name: "otlp-http",
        kind: "otlp",
        members: "endpoint = 'URL'\nheaders = { x-token = { file = 'secret' } }",
        config: "",
        seqs: |request| otlp_seqs(&ExportLogsServiceRequest::decode(&*request.bytes).unwrap()),
        yes: Reply::Status(200, "content-type: application/x-protobuf\r\n", ""),
        poison: Poison::Partial,
    },
    Speaks {
        name: "azure_logs",
        kind: "azure_logs",
        members: "endpoint = 'URL'\nauthority = 'URL'\nrule_id = 'dcr-0'\nstream = 'Custom-A'\ntenant_id = 't'\nclient_id = 'c'\nclient_secret_file = 'secret'",
        config: "",
        seqs: |request| array(request, |record| record["seq"].clone()),
        yes: Reply::Status(204, "", ""),
        poison: Poison::Whole,
    },
    Speaks {
        name: "http-datadog",
        kind: "http",
        members: "preset = 'datadog'\nurl = 'URL'\nheaders = { DD-API-KEY = { file = 'secret' } }",
        config: "",
        seqs: |request| {
            array(request, |log| {
                serde_json::from_str::<Value>(log["message"].as_str().unwrap()).unwrap()["seq"].clone()
            })
        },
        yes: Reply::Status(202, "", "{}"),
        poison: Poison::Whole,
    },
    Speaks {
        name: "http-sumologic",
        kind: "http",
        members: "preset = 'sumologic'\nurl_file = 'url'",
        config: "",
        seqs: |request| super::seqs(&request.body),
        yes: Reply::OK,
        poison: Poison::Whole,
    },
    Speaks {
        name: "http-loki",
        kind: "http",
        members: "preset = 'loki'\nurl = 'URL'",
        config: "",
        seqs: loki_seqs,
        yes: Reply::Status(204, "", ""),
        poison: Poison::Whole,
    },
    Speaks {
        name: "slack",
        kind: "slack",
        members: "url_file = 'url'\nmessages_per_hour = 100000",
        config: FOR_PEOPLE,
        seqs: |request| told_seqs(&request.body),
        yes: Reply::OK,
        poison: Poison::Whole,
    },
    Speaks {
        name: "teams",
        kind: "teams",
        members: "url_file = 'url'\nmessages_per_hour = 100000",
        config: FOR_PEOPLE,
        seqs: |request| told_seqs(&request.body),
        yes: Reply::Status(202, "", ""),
        poison: Poison::Whole,
    },
    Speaks {
        name: "pagerduty",
        kind: "pagerduty",
        members: "url = 'URL'\nrouting_key_file = 'secret'\nmessages_per_hour = 100000",
        config: FOR_PEOPLE,
        seqs: |request| told_seqs(&request.body),
        yes: Reply::Status(202, "", r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#),
        poison: Poison::Whole,
    },
];

/// Those whose yes is in the body.
const TOLD_IN_BODY: &[Speaks] = &[
    Speaks {
        name: "elasticsearch",
        kind: "elasticsearch",
        members: "url = 'URL'\nindex = 'a'",
        config: "",
        seqs: |_| Vec::new(),
        yes: Reply::OK,
        poison: Poison::Whole,
    },
    Speaks {
        name: "splunk_hec",
        kind: "splunk_hec",
        members: "url = 'URL'\ntoken_file = 'secret'\nacks = false",
        config: "",
        seqs: |_| Vec::new(),
        yes: Reply::OK,
        poison: Poison::Whole,
    },
];

/// The part of the table for these, and for the two that speak no HTTP/1.1.
pub async fn check_all(situation: Situation) {
    for speaks in ALL {
        check(speaks.name, &Vendor::new(speaks).await, situation).await;
    }
    #[cfg(feature = "otlp")]
    check("otlp-grpc", &GrpcReceiver::new(), situation).await;
    #[cfg(feature = "smtp")]
    check("smtp", &MailReceiver::new(), situation).await;
}

/// Bytes of an answer that no sink reads to its end.
const MANY: usize = 100_000;

/// A status stands, whether what comes with it is longer than anybody reads, or breaks off.
#[tokio::test]
async fn an_answer_is_its_status_whatever_becomes_of_its_body() {
    for speaks in ALL.iter().chain(TOLD_IN_BODY) {
        let vendor = Vendor::new(speaks).await;
        vendor.server.up();
        let sink = vendor.sink();
        let test = probe("n", speaks.name, &toml::from_str(speaks.config).unwrap(), &sink).unwrap();
        let deliver = async |status: u16, cut: bool| {
            vendor.server.script(move |request| {
                let said = if cut { b"<html>".to_vec() } else { vec![b'x'; MANY] };
                let said = if cut { Reply::Cut(status, WAIT_7S, said) } else { Reply::Bytes(status, WAIT_7S, said) };
                token(request).unwrap_or(said)
            });
            sink.deliver(std::slice::from_ref(&test)).await
        };
        for cut in [false, true] {
            let case = format!("{}, {}", speaks.name, if cut { "cut" } else { "long" });
            for taken in [200, 202] {
                let result = deliver(taken, cut).await;
                let may_come_again = TOLD_IN_BODY.iter().any(|told| told.name == speaks.name);
                match &result {
                    Ok(_) => assert!(!may_come_again, "{case}"),
                    Err(error) => assert!(may_come_again, "{case}: {error}"),
                }
            }
            for refused in [400, 413] {
                let error = deliver(refused, cut).await.unwrap_err();
                assert!(matches!(error, SinkError::Refused { .. } | SinkError::Reject { .. }), "{case}: {error:?}");
            }
            for (status, wrong) in [(404, true), (429, false), (503, false)] {
                let SinkError::Retry { reason, after, fault } = deliver(status, cut).await.unwrap_err() else {
                    panic!("{case}")
                };
                assert!(reason.contains(&status.to_string()) && reason.len() < 400, "{case}: {reason}");
                assert_eq!((after, fault), (Some(Duration::from_secs(7)), wrong), "{case}, {status}");
            }
        }
    }
}

const WAIT_7S: &str = "retry-after: 7\r\n";

fn array(request: &Request, seq: impl Fn(&Value) -> Value) -> Vec<Seq> {
    let records: Vec<Value> = serde_json::from_str(&request.body).unwrap();
    records.iter().map(|record| seq(record).as_u64().unwrap()).collect()
}

fn loki_seqs(request: &Request) -> Vec<Seq> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let streams = body["streams"].as_array().unwrap();
    let values = streams.iter().flat_map(|stream| stream["values"].as_array().unwrap());
    values.map(|value| value[2]["seq"].as_str().unwrap().parse().unwrap()).collect()
}

/// Every message to people ends in `record N of journal`.
pub fn told_seqs(text: &str) -> Vec<Seq> {
    let numbers = text.split("record ").filter_map(|rest| rest.split_once(" of journal")?.0.parse().ok());
    numbers.collect()
}

#[cfg(feature = "otlp")]
pub fn otlp_seqs(request: &ExportLogsServiceRequest) -> Vec<Seq> {
    let [resource] = &request.resource_logs[..] else { panic!("{request:?}") };
    let [scope] = &resource.scope_logs[..] else { panic!("{request:?}") };
    let seq = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let found = attributes.iter().find(|attribute| attribute.key == "refresh_audit.seq").unwrap();
        match found.value.as_ref().unwrap().value {
            Some(Any::IntValue(seq)) => u64::try_from(seq).unwrap(),
            ref other => panic!("{other:?}"),
        }
    };
    scope.log_records.iter().map(|record| seq(&record.attributes)).collect()
}

/// A yes that says how many were not taken.
#[cfg(feature = "otlp")]
pub fn partial(rejected: i64) -> Vec<u8> {
    let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: "too odd".to_owned() };
    ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}

pub struct Vendor {
    server: FakeHttp,
    dir: tempfile::TempDir,
    speaks: &'static Speaks,
    situation: Mutex<Option<Situation>>,
}

impl Vendor {
    pub async fn new(speaks: &'static Speaks) -> Self {
        let server = FakeHttp::new().await;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "fixture-secret\n").unwrap();
        fs::write(dir.path().join("url"), format!("http://{}/fixture/secret/path\n", server.address)).unwrap();
        server.script(usual(speaks));
        Self { server, dir, speaks, situation: Mutex::new(None) }
    }
}

/// Tokens, and yes to everything else.
fn usual(speaks: &'static Speaks) -> impl Fn(&Request) -> Reply {
    |request| token(request).unwrap_or_else(|| speaks.yes.clone())
}

fn token(request: &Request) -> Option<Reply> {
    let granted = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"fixture-token"}"#;
    request.target.ends_with("/oauth2/v2.0/token").then_some(Reply::Status(200, "", granted))
}

impl Receiver for Vendor {
    fn sink(&self) -> refresh_audit::sink::AnySink {
        let members = self.speaks.members.replace("URL", &format!("http://{}", self.server.address));
        let members = format!("{members}\ntimeout = '300ms'");
        let config = SinkConfig::parse(self.speaks.kind, toml::Deserializer::parse(&members).unwrap()).unwrap();
        config.build(Path::new(self.dir.path())).unwrap()
    }

    async fn begin(&self, situation: Situation) -> bool {
        *self.situation.lock().unwrap() = Some(situation);
        let speaks = self.speaks;
        let always = |reply: Reply| {
            self.server.script(move |request| token(request).unwrap_or_else(|| reply.clone()));
        };
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => {}
            Situation::Throttles => always(Reply::Status(429, "retry-after: 1\r\n", "slow down")),
            Situation::Poison => self.server.script(move |request| {
                let poisoned = token(request).is_none() && (speaks.seqs)(request).contains(&POISON);
                match speaks.poison {
                    Poison::Whole if poisoned => Reply::Status(422, "", "bad"),
                    #[cfg(feature = "otlp")]
                    Poison::Partial if poisoned => Reply::Bytes(200, "", partial(1)),
                    _ => usual(speaks)(request),
                }
            }),
            Situation::Hangs => always(Reply::Hang),
            Situation::Drips => always(Reply::Drip),
            Situation::BreaksOff => always(Reply::Close),
            Situation::Full => always(Reply::Status(507, "", "no room")),
            Situation::Fails => always(Reply::Status(500, "", "oops")),
        }
        if situation != Situation::Down {
            self.server.up();
        }
        true
    }

    async fn end(&self) {
        // The poison stays one; everything else is well after a restart of the other side.
        if *self.situation.lock().unwrap() == Some(Situation::Poison) {
            return;
        }
        self.server.script(usual(self.speaks));
        self.server.down().await;
        self.server.up();
    }

    async fn arrived(&self) -> Vec<Seq> {
        let accepted = self.server.accepted();
        let records = accepted.iter().filter(|request| token(request).is_none());
        let partial =
            *self.situation.lock().unwrap() == Some(Situation::Poison) && self.speaks.poison == Poison::Partial;
        records.flat_map(|request| (self.speaks.seqs)(request)).filter(|seq| !partial || *seq != POISON).collect()
    }

    fn refusal(&self) -> &'static str {
        match self.speaks.poison {
            Poison::Whole => "422",
            Poison::Partial => "1 of 1 rejected: too odd",
        }
    }

    fn config(&self) -> &'static str {
        self.speaks.config
    }
}
