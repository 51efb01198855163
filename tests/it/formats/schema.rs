//! What ECS and OCSF say, from the subsets of their published schemas in `fixtures/formats/schema`.

use std::{fs, net::IpAddr, sync::LazyLock};

use serde_json::{Map, Value};

use super::{FIXTURES, encode, records};

fn load(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(format!("{FIXTURES}/schema/{name}.json")).unwrap()).unwrap()
}

/// Fields of ECS by their dotted names, with their types.
pub static ECS: LazyLock<Value> = LazyLock::new(|| load("ecs"));
/// Classes and objects of OCSF.
pub static OCSF: LazyLock<Value> = LazyLock::new(|| load("ocsf"));

/// Every leaf of a document by its dotted name, lists as they are; a point on earth is a leaf.
pub fn flatten(value: &Value, name: &str, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) if name != "source.geo.location" => {
            for (key, value) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(value, &name, leaves);
            }
        }
        leaf => leaves.push((name.to_owned(), leaf.clone())),
    }
}

/// Complaints about a document: fields that ECS does not have or has with another type.
pub fn ecs(document: &Value) -> Vec<String> {
    let (fields, mut leaves, mut wrong) = (&*ECS, Vec::new(), Vec::new());
    flatten(document, "", &mut leaves);
    for (name, value) in leaves.iter().filter(|(name, _)| !name.starts_with("refresh_audit.")) {
        let Some(kind) = fields[name].as_str() else {
            wrong.push(format!("{name} is no field"));
            continue;
        };
        let (kind, is_list) = kind.strip_suffix("[]").map_or((kind, false), |kind| (kind, true));
        let values: Vec<&Value> = match value {
            Value::Array(values) if is_list => values.iter().collect(),
            value => vec![value],
        };
        if is_list != value.is_array() || values.is_empty() || !values.iter().all(|value| is_ecs(kind, value)) {
            wrong.push(format!("{name}: {value} is not {kind}"));
        }
    }
    // `schemas/event.yml`: categories, and the types that each expects.
    let event = &document["event"];
    let types: &[(&str, &[&str])] = &[
        ("authentication", &["start", "end", "info"]),
        ("session", &["start", "end", "info"]),
        ("intrusion_detection", &["allowed", "denied", "info"]),
        ("configuration", &["access", "change", "creation", "deletion", "info"]),
    ];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for category in texts(&event["category"]) {
        match types.iter().find(|(name, _)| *name == category) {
            Some((_, allowed)) if texts(&event["type"]).iter().all(|kind| allowed.contains(&kind.as_str())) => {}
            _ => wrong.push(format!("category {category} with type {}", event["type"])),
        }
    }
    if !["alert", "event"].contains(&event["kind"].as_str().unwrap_or("")) {
        wrong.push(format!("event.kind {}", event["kind"]));
    }
    if !event["outcome"].is_null() && !["success", "failure", "unknown"].contains(&event["outcome"].as_str().unwrap()) {
        wrong.push(format!("event.outcome {}", event["outcome"]));
    }
    wrong
}

fn is_ecs(kind: &str, value: &Value) -> bool {
    match kind {
        "keyword" | "match_only_text" => value.is_string(),
        "date" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "ip" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "long" => value.is_i64(),
        "float" => value.is_number(),
        "geo_point" => {
            let within = |name: &str, limit: f64| value[name].as_f64().is_some_and(|degrees| degrees.abs() <= limit);
            within("lat", 90.0) && within("lon", 180.0)
        }
        _ => false,
    }
}

/// Complaints about an event, by the class that it says it is.
pub fn ocsf(event: &Value) -> Vec<String> {
    let schema = &*OCSF;
    let classes = schema.as_object().unwrap().iter();
    let Some((name, class)) = classes
        .filter(|(_, class)| class["class_uid"].is_u64())
        .find(|(_, class)| class["class_uid"] == event["class_uid"])
    else {
        return vec![format!("no class {}", event["class_uid"])];
    };
    let mut wrong = Vec::new();
    if event["category_uid"] != class["category_uid"] {
        wrong.push(format!("category {} of {name}", event["category_uid"]));
    }
    let number = |name: &str| event[name].as_u64().unwrap();
    if number("type_uid") != number("class_uid") * 100 + number("activity_id") {
        wrong.push(format!("type_uid {}", event["type_uid"]));
    }
    object(schema, name, event.as_object().unwrap(), name, &mut wrong);
    wrong
}

fn object(schema: &Value, kind: &str, members: &Map<String, Value>, at: &str, wrong: &mut Vec<String>) {
    let known = schema[kind]["attributes"].as_object().unwrap();
    for (name, attribute) in known {
        if attribute["required"] == true && !members.contains_key(name) {
            wrong.push(format!("{at} lacks {name}"));
        }
    }
    if let Some(any) = schema[kind]["at_least_one"].as_array()
        && !any.iter().any(|name| members.contains_key(name.as_str().unwrap()))
    {
        wrong.push(format!("{at} has none of {any:?}"));
    }
    for (name, value) in members {
        let at = format!("{at}.{name}");
        let Some(attribute) = known.get(name) else {
            wrong.push(format!("{at} is no attribute"));
            continue;
        };
        match (attribute["array"] == true, value) {
            (true, Value::Array(values)) if !values.is_empty() => {
                values.iter().for_each(|value| one(schema, attribute, value, &at, wrong));
            }
            (false, value) => one(schema, attribute, value, &at, wrong),
            _ => wrong.push(format!("{at}: {value} is no list")),
        }
        // The text beside an enumerated number is its caption, unless the number says "other".
        if let Some(captions) = attribute["enum"].as_object()
            && let Some(text) = members.get(name.trim_end_matches("_id"))
            && value.as_u64() != Some(99)
            && captions.get(&value.to_string()).is_some_and(|caption| caption != text)
        {
            wrong.push(format!("{at}: {value} is called {text}"));
        }
    }
}

fn one(schema: &Value, attribute: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let kind = attribute["type"].as_str().unwrap();
    let right = match kind {
        "string_t" => value.is_string(),
        "ip_t" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok() || at.ends_with("sequence")),
        "long_t" => value.is_i64(),
        "float_t" => value.is_number(),
        "boolean_t" => value.is_boolean(),
        "object" => value.is_object(),
        kind => match value.as_object() {
            Some(members) => {
                object(schema, kind, members, at, wrong);
                true
            }
            None => false,
        },
    };
    if !right {
        wrong.push(format!("{at}: {value} is no {kind}"));
    }
    if let Some(captions) = attribute["enum"].as_object()
        && !captions.contains_key(&value.to_string())
    {
        wrong.push(format!("{at}: {value} is not one of {:?}", captions.keys()));
    }
}

/// Complaints about a CloudEvent, after the rules of its specification, version 1.0.2.
pub fn cloudevent(event: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in ["id", "source", "specversion", "type"] {
        if event[name].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("{name}: {}", event[name]));
        }
    }
    for (name, value) in event.as_object().unwrap() {
        let fits = name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !fits || (name != "data" && value.as_str().is_none_or(str::is_empty)) {
            wrong.push(format!("{name}: {value}"));
        }
    }
    if event["specversion"] != "1.0" || event["time"].as_str().is_none_or(|at| at.parse::<jiff::Timestamp>().is_err()) {
        wrong.push(format!("specversion {}, time {}", event["specversion"], event["time"]));
    }
    wrong
}

#[test]
fn every_kind_is_what_the_published_schemas_say() {
    for (kind, line) in records() {
        let read = |format: &str| -> Value { serde_json::from_str(&encode(format, &line)).unwrap() };
        assert_eq!(ecs(&read("'ecs'")), [""; 0], "ecs of {kind}");
        for format in ["'ocsf'", "{ type = 'ocsf', activity = 5 }", "{ type = 'ocsf', findings = true }"] {
            assert_eq!(ocsf(&read(format)), [""; 0], "{format} of {kind}");
        }
        assert_eq!(cloudevent(&read("'cloudevents'")), [""; 0], "cloudevents of {kind}");
    }
}

/// Whatever a source does not know: each member alone, those that stand in for each other, and all but the least.
#[test]
fn absent_members_leave_what_is_well_formed() {
    let event = &records()["event"];
    let mut records: Vec<Value> = Vec::new();
    let without = |names: &[&str]| {
        let mut record: Value = serde_json::from_str(event).unwrap();
        let members = record["event"].as_object_mut().unwrap();
        members.retain(|name, _| !names.contains(&name.as_str()));
        record
    };
    let all: Value = serde_json::from_str(event).unwrap();
    let least = ["id", "type", "occurred_at", "outcome"];
    let rest: Vec<&str> =
        all["event"].as_object().unwrap().keys().map(String::as_str).filter(|name| !least.contains(name)).collect();
    records.extend(rest.iter().map(|name| without(&[name])));
    records.extend([without(&rest), without(&["ip", "device"]), without(&["user_id", "session_id", "application_id"])]);
    for (pointer, members) in [
        ("/event/location", &["city", "region", "country", "zipcode"][..]),
        ("/event/location", &["latitude"]),
        ("/event/network", &["asn"]),
        ("/event/network", &["asn", "org"]),
        ("/event/device", &["name"]),
        ("/event/device", &["type", "os"]),
        ("", &["source", "evidence", "verdict"]),
        ("", &["findings"]),
    ] {
        let mut record = all.clone();
        record
            .pointer_mut(pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !members.contains(&name.as_str()));
        records.push(record);
    }
    for record in &records {
        let line = record.to_string();
        let read = |format: &str| -> Value { serde_json::from_str(&encode(format, &line)).unwrap() };
        assert_eq!(ecs(&read("'ecs'")), [""; 0], "{line}");
        for format in ["'ocsf'", "{ type = 'ocsf', findings = true }"] {
            assert_eq!(ocsf(&read(format)), [""; 0], "{format}: {line}");
        }
        assert_eq!(cloudevent(&read("'cloudevents'")), [""; 0], "{line}");
        super::cef::check(&super::cef::parse(&encode("'cef'", &line)).unwrap()).unwrap();
        super::leef::parse(&encode("'leef'", &line)).unwrap();
    }
    assert!(records.len() > 25, "{}", records.len());
}

/// The checks themselves can fail.
#[test]
fn what_the_schemas_do_not_say_is_noticed() {
    let event = &records()["event"];
    let read = |format: &str| -> Value { serde_json::from_str(&encode(format, event)).unwrap() };
    for (pointer, value) in [
        ("/event/sequence", Value::from("1")),
        ("/event/category", Value::from("session")),
        ("/event/kind", Value::from("signal")),
        ("/source/ip", Value::from("nowhere")),
        ("/user", serde_json::json!({ "uid": "1" })),
        ("/@timestamp", Value::from(1)),
    ] {
        let mut document = read("'ecs'");
        *document.pointer_mut(pointer).unwrap() = value;
        assert_eq!(ecs(&document).len(), 1, "{pointer}: {:?}", ecs(&document));
    }
    for (pointer, value) in [
        ("/time", Value::from("2026")),
        ("/authentication_token/type_id", Value::from(55)),
        ("/severity", Value::from("Low")),
        ("/type_uid", Value::from(1)),
        ("/user", serde_json::json!({})),
        ("/metadata/version", Value::from(1)),
        ("/src_endpoint/location", serde_json::json!({ "lat": 1.5 })),
        ("/attacks", serde_json::json!([])),
        ("/service", serde_json::json!({ "id": "1", "name": "n" })),
    ] {
        let mut document = read("'ocsf'");
        *document.pointer_mut(pointer).unwrap() = value;
        assert_eq!(ocsf(&document).len(), 1, "{pointer}: {:?}", ocsf(&document));
    }
}
