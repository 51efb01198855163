//! The published JSON Schema of the record: it takes what is written, by hand and by a service, and nothing else.

use std::{fs, path::Path};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{
    cli::run,
    support::{
        app::{Settings, TestApp},
        eventually,
        session::{From, Session, records, send},
    },
};

fn published() -> Validator {
    let schema: Value = serde_json::from_slice(&run(Path::new("."), &["schema"]).stdout).unwrap();
    assert_eq!(schema["$id"], "urn:refresh-audit:record:1");
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn takes(schema: &Validator, record: &Value) {
    let errors: Vec<String> = schema.iter_errors(record).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {record}");
}

#[test]
fn the_schema_takes_every_kind_of_record_and_nothing_else() {
    let schema = published();
    let mut cases = 0;
    for file in fs::read_dir("fixtures/records").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let line = fs::read_to_string(&path).unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        takes(&schema, &record);
        let typed: refresh_audit::record::Record = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&typed).unwrap(), line.trim_end(), "{}", path.display());
        assert!(refresh_audit::ledger::chain::check_line(line.as_bytes()).is_some(), "{}", path.display());
        cases += 1;
    }
    assert_eq!(cases, 4);
    let kinds = crate::formats::records();
    assert_eq!(kinds.len(), 7);
    for (kind, line) in &kinds {
        let record: Value = serde_json::from_str(line).unwrap();
        takes(&schema, &record);
        // Its own member is what makes it one.
        let mut bad = record.clone();
        assert!(bad.as_object_mut().unwrap().remove(kind).is_some(), "{record}");
        assert!(!schema.is_valid(&bad), "{kind} without {kind}");
    }

    let good: Value = serde_json::from_str(&fs::read_to_string("fixtures/records/fusionauth.json").unwrap()).unwrap();
    for (pointer, value) in [
        ("/schema", json!("refresh-audit/2")),
        ("/seq", json!(0)),
        ("/kind", json!("rumour")),
        ("/prev", json!("00")),
        ("/hash", json!("A".repeat(64))),
        ("/source", Value::Null),
        ("/event/outcome", json!("maybe")),
        ("/event/ip", Value::Null),
        ("/event/location/latitude", json!("north")),
        ("/event/tokens/access/issued/claims/aud", json!("a")),
        ("/findings/0/severity", json!("awful")),
        ("/verdict/action", Value::Null),
        ("/verdict/risk", json!(1.0)),
        ("/verdict/risk", json!(-0.1)),
        ("/node", json!("")),
        ("/event/user_id", json!("")),
        ("/event/id", json!("")),
        ("/event/tokens/access/issued/claims/aud/0", json!("")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        assert!(!schema.is_valid(&bad), "{pointer}");
    }
    let mut bad = good.clone();
    bad.as_object_mut().unwrap().remove("seq");
    assert!(!schema.is_valid(&bad));
}

/// All that a service writes of a theft, a replay, an operator's command and an alarm.
#[test]
fn the_schema_takes_what_a_service_writes() {
    let app = TestApp::start(Settings::new());
    let session = Session::new(1);
    let first = session.refresh(1, 10, From::Home);
    for event in [&first, &session.refresh(1, 12, From::Abroad), &session.refresh(1, 14, From::Overseas)] {
        assert_eq!(send(&app, event).status, 200);
    }
    let mut again = first.clone();
    again.body.push(b' ');
    assert_eq!(send(&app, &again).status, 200);
    assert!(app.run(&["gate", "stop"]).status.success());
    let has = |kind: &str| records(&app).iter().any(|record| record["kind"] == kind);
    for kind in ["event", "replay", "incident", "operator", "alarm"] {
        eventually(&format!("a record of the kind {kind}"), || has(kind));
    }
    let schema = published();
    records(&app).iter().for_each(|record| takes(&schema, record));
}
