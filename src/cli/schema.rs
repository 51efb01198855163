//! `schema`: the JSON Schema of a record, for those who read records with other programs.

use clap::Args;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{Ended, print};
use crate::record::{Kind, Record, SCHEMA};

/// Print the JSON Schema of the record
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit schema > refresh-audit-1.schema.json
  refresh-audit schema | jq '.\"$defs\".RefreshEvent.properties | keys'")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> anyhow::Result<Ended> {
    print(&serde_json::to_string_pretty(&schema()?)?)?;
    Ok(Ended::Well)
}

/// The schema that the types give, plus what the types do not say: the version, the form of hashes, bounds, what each kind
/// has, and that what is unknown is absent, never null or empty. Other members may be added within the version, so none is
/// forbidden.
fn schema() -> anyhow::Result<Value> {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = serde_json::to_value(generator.into_root_schema_for::<Record>())?;
    without_null(&mut schema);
    without_empty(&mut schema);
    schema["$id"] = json!("urn:refresh-audit:record:1");
    schema["title"] = json!(format!("Record of {SCHEMA}"));
    let members = &mut schema["properties"];
    members["schema"]["const"] = json!(SCHEMA);
    members["seq"]["minimum"] = json!(1);
    members["journal"]["pattern"] = json!("^[0-9a-f]{8}$");
    for hash in ["prev", "hash"] {
        members[hash]["pattern"] = json!("^[0-9a-f]{64}$");
    }
    let risk = &mut schema["$defs"]["Verdict"]["properties"]["risk"];
    (risk["minimum"], risk["exclusiveMaximum"]) = (json!(0), json!(1));
    let kinds = Kind::ALL.iter().chain([&Kind::Checkpoint]).map(|kind| {
        let is_it = json!({ "properties": { "kind": { "const": kind } }, "required": ["kind"] });
        json!({ "if": is_it, "then": { "required": members_of(*kind) } })
    });
    schema["allOf"] = kinds.collect();
    Ok(schema)
}

/// What a record of a kind has beside its head.
const fn members_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Event => &["source", "evidence", "event"],
        Kind::Replay => &["source", "evidence", "event", "replay"],
        Kind::Alarm => &["alarm"],
        Kind::Operator => &["operator"],
        Kind::Config => &["config"],
        Kind::Incident => &["incident"],
        Kind::Checkpoint => &["checkpoint"],
    }
}

/// No text is empty; one that is one of a list or has a form is not anyway.
fn without_empty(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_free = !["enum", "const", "format", "pattern"].iter().any(|form| members.contains_key(*form));
            if is_free && members.get("type").is_some_and(|name| name == "string") {
                members.insert("minLength".to_owned(), json!(1));
            }
            members.values_mut().for_each(without_empty);
        }
        Value::Array(list) => list.iter_mut().for_each(without_empty),
        _ => {}
    }
}

/// Takes null out of every choice of types.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}
