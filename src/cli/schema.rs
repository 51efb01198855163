//! `schema`: the JSON Schema of a record, for those who read records with other programs.

use clap::Args;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{Ended, print};
use crate::record::{Record, SCHEMA};

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

/// The schema that the types give, plus what the types do not say: the version, the form of hashes, and that what is
/// unknown is absent, never null. Other members may be added within the version, so none is forbidden.
fn schema() -> anyhow::Result<Value> {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = serde_json::to_value(generator.into_root_schema_for::<Record>())?;
    without_null(&mut schema);
    schema["$id"] = json!("urn:refresh-audit:record:1");
    schema["title"] = json!(format!("Record of {SCHEMA}"));
    let members = &mut schema["properties"];
    members["schema"]["const"] = json!(SCHEMA);
    members["seq"]["minimum"] = json!(1);
    members["journal"]["pattern"] = json!("^[0-9a-f]{8}$");
    for hash in ["prev", "hash"] {
        members[hash]["pattern"] = json!("^[0-9a-f]{64}$");
    }
    Ok(schema)
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
