//! Formats: golden files, the published schemas, and parsers written from the specifications, which share no code with
//! what is on trial. `fixtures/formats/README.md` says where each came from.

mod cef;
mod evil;
mod leef;
mod schema;
mod wire;

use std::{collections::BTreeMap, fs};

use refresh_audit::{
    deliver::{DeliveryConfig, batch::Selection},
    ledger::KeyScheme,
    record::Kind,
    sink::Pack,
};
use serde_json::Value;

/// Where everything is.
pub const FIXTURES: &str = "fixtures/formats";

/// Every format as a sink's entry would name it.
pub const FORMATS: &[&str] = &[
    "'ecs'",
    "'ocsf'",
    "{ type = 'ocsf', activity = 5 }",
    "{ type = 'ocsf', findings = true }",
    "'cef'",
    "'leef'",
    "'cloudevents'",
];

/// A line as a sink with this `format` gets it.
pub fn encode(format: &str, line: &str) -> String {
    let config: DeliveryConfig = toml::from_str(&format!("format = {format}")).unwrap();
    let message =
        Selection::new(&config, None, Pack::Plain, KeyScheme::EventId).message(&line.to_owned().into()).unwrap();
    String::from_utf8(message.body.to_vec()).unwrap()
}

/// The hand-written lines, by kind.
pub fn records() -> BTreeMap<String, String> {
    let files = fs::read_dir(format!("{FIXTURES}/records")).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (kind, fs::read_to_string(&path).unwrap().trim_end().to_owned())
    };
    let records: BTreeMap<_, _> = files.map(read).collect();
    assert_eq!(records.len(), Kind::ALL.len() + 1, "one of each kind, and a checkpoint");
    records
}

/// `{version}` in a golden file is this crate's.
fn golden(path: &str) -> String {
    let text = fs::read_to_string(format!("{FIXTURES}/{path}")).unwrap();
    text.trim_end().replace("{version}", env!("CARGO_PKG_VERSION"))
}

/// Every golden file of a directory against what the format makes of the record of that name. JSON is compared as JSON;
/// of a line format the file has one pair a line, joined here by `between`.
fn check(directory: &str, format: &str, between: &str) {
    let (records, mut seen) = (records(), 0);
    for entry in fs::read_dir(format!("{FIXTURES}/{directory}")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (kind, extension) = name.split_once('.').unwrap();
        let encoded = encode(format, &records[kind]);
        let expected = golden(&format!("{directory}/{name}"));
        if extension == "json" {
            let (encoded, expected): (Value, Value) =
                (serde_json::from_str(&encoded).unwrap(), serde_json::from_str(&expected).unwrap());
            let pretty = |value| serde_json::to_string_pretty(value).unwrap();
            assert_eq!(encoded, expected, "{directory}/{name}:\n{}\n{}", pretty(&encoded), pretty(&expected));
        } else {
            assert_eq!(
                encoded.replace(between, "\n"),
                expected.replace('\n', between).replace(between, "\n"),
                "{name}"
            );
            assert_eq!(encoded, expected.replace('\n', between), "{directory}/{name}");
        }
        seen += 1;
    }
    assert!(seen > 0, "{directory} is empty");
}

#[test]
fn every_record_is_encoded_as_written_by_hand() {
    check("ecs", "'ecs'", "");
    check("ocsf", "'ocsf'", "");
    check("ocsf-findings", "{ type = 'ocsf', findings = true }", "");
    check("cef", "'cef'", " ");
    check("leef", "'leef'", "^");
    check("cloudevents", "'cloudevents'", "");
}

/// `{ activity = 5 }` changes three members of a refresh and nothing else.
#[test]
fn the_activity_can_be_service_ticket_renew() {
    let read = |format: &str, kind: &str| -> Value { serde_json::from_str(&encode(format, &records()[kind])).unwrap() };
    let mut renewed = read("{ type = 'ocsf', activity = 5 }", "event");
    assert_eq!(renewed["type_uid"], 300_205);
    assert_eq!(renewed["activity_name"], "Service Ticket Renew");
    let other = read("'ocsf'", "event");
    for name in ["activity_id", "activity_name", "type_uid"] {
        renewed[name] = other[name].clone();
    }
    assert_eq!(renewed, other);
    for kind in ["replay", "alarm", "incident"] {
        assert_eq!(read("{ type = 'ocsf', activity = 5 }", kind), read("'ocsf'", kind), "{kind}");
    }
}

/// Where an alert came from can be looked up and checked: every format carries journal, seq, hash and the key.
#[test]
fn every_format_leads_back_to_the_journal() {
    for (kind, line) in records() {
        let record: Value = serde_json::from_str(&line).unwrap();
        let key = match kind.as_str() {
            "event" => "ef73f801-0efb-4b3d-91e9-99888d792137".to_owned(),
            "checkpoint" => "3f9a1c2e-checkpoint-6".to_owned(),
            _ => format!("3f9a1c2e-{}", record["seq"]),
        };
        for format in FORMATS {
            let text = encode(format, &line);
            for needle in [record["hash"].as_str().unwrap(), "3f9a1c2e", &key, &record["seq"].to_string()] {
                assert!(text.contains(needle), "{format} of {kind} lacks {needle}");
            }
        }
        assert_eq!(encode("'json'", &line), line);
    }
}

/// Findings of one event can go to different incidents. The first one's is not the worst one's here.
#[test]
fn every_format_tells_the_worst_findings_incident() {
    let mut record: Value = serde_json::from_str(&records()["event"]).unwrap();
    record["findings"][0]["incident"] = "aaaa000000000000".into();
    record["findings"][1]["incident"] = "bbbb000000000000".into();
    let line = record.to_string();
    let json = |format: &str| -> Value { serde_json::from_str(&encode(format, &line)).unwrap() };
    // `/findings/1` is high, `/findings/0` medium.
    assert_eq!(json("'ecs'")["refresh_audit"]["incident_id"], "bbbb000000000000");
    assert_eq!(json("'ocsf'")["metadata"]["correlation_uid"], "bbbb000000000000");
    let cef = cef::parse(&encode("'cef'", &line)).unwrap();
    cef::check(&cef).unwrap();
    let leef = leef::parse(&encode("'leef'", &line)).unwrap();
    let both = Some("bbbb000000000000,aaaa000000000000");
    assert_eq!((cef.get("RefreshAuditIncident"), cef.get("RefreshAuditIncidents")), (Some("bbbb000000000000"), both));
    assert_eq!((leef.get("incident"), leef.get("incidents")), (Some("bbbb000000000000"), both));
    // Where the worst has none: that of the worst that has one.
    record["findings"][1].as_object_mut().unwrap().remove("incident");
    let cef = cef::parse(&encode("'cef'", &record.to_string())).unwrap();
    assert_eq!((cef.get("RefreshAuditIncident"), cef.get("RefreshAuditIncidents")), (Some("aaaa000000000000"), None));
}

/// What the default mode of the gate is for: would it have refused?
#[test]
fn every_format_tells_what_the_gate_would_have_done() {
    let line = &records()["event"];
    for (format, needle) in [
        ("'json'", r#""would":"deny""#),
        ("'ecs'", r#""would":"deny""#),
        ("'ocsf'", r#""would":"deny""#),
        ("'cloudevents'", r#""would":"deny""#),
        ("'cef'", " RefreshAuditWould=deny "),
        ("'leef'", "^would=deny^"),
    ] {
        assert!(encode(format, line).contains(needle), "{format}");
    }
}
