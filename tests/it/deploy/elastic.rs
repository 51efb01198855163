//! Templates and detection rules for Elasticsearch and OpenSearch.

use std::collections::BTreeSet;

use refresh_audit::telemetry::Alarm;
use serde_json::Value;

use super::{all_names, dotted, json, read, unquoted};
use crate::{
    formats::{encode, records},
    servers::osmem::Osmem,
};

/// Mapped fields with their definitions, and the objects whose inside is not mapped.
fn mapped(properties: &Value, name: &str, leaves: &mut BTreeSet<String>, closed: &mut BTreeSet<String>) {
    for (key, value) in properties.as_object().unwrap() {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        if value["enabled"] == false {
            closed.insert(name);
        } else if value["properties"].is_object() {
            mapped(&value["properties"], &name, leaves, closed);
        } else {
            assert!(value["type"].is_string(), "{name}");
            leaves.insert(name);
        }
    }
}

/// All tokens have the same members.
fn of_any_token(name: &str) -> String {
    let Some(rest) = name.strip_prefix("refresh_audit.tokens.") else { return name.to_owned() };
    let rest: Vec<&str> = rest.split('.').skip(2).collect();
    format!("refresh_audit.tokens.{}", rest.join("."))
}

#[test]
fn elastic_maps_exactly_what_the_format_writes() {
    let component = json("elastic/ecs/component-template.json");
    let (mut leaves, mut closed) = (BTreeSet::new(), BTreeSet::new());
    mapped(&component["template"]["mappings"]["properties"], "", &mut leaves, &mut closed);
    let stop: Vec<&str> = closed.iter().map(String::as_str).chain(["source.geo.location"]).collect();
    let written = all_names("'ecs'", "", &stop);
    let is_object = |name: &&String| written.iter().any(|other| other.starts_with(&format!("{name}.")));
    for name in written.iter().filter(|name| !is_object(name)) {
        assert!(leaves.contains(name) || closed.contains(name), "{name} is written and not mapped");
    }
    let written: BTreeSet<String> = written.iter().map(|name| of_any_token(name)).collect();
    let idle: Vec<_> = leaves.union(&closed).filter(|name| !written.contains(&of_any_token(name))).collect();
    assert!(idle.is_empty(), "mapped and never written: {idle:?}");
    for template in ["elastic/ecs/index-template.json", "elastic/ecs/data-stream-template.json"] {
        assert_eq!(json(template)["composed_of"], serde_json::json!(["refresh-audit"]), "{template}");
    }
    // The documents' samples write to `refresh-audit`; behind an alias it is `refresh-audit-000001`, say.
    let both = ["refresh-audit", "refresh-audit-*"];
    assert_eq!(json("elastic/ecs/index-template.json")["index_patterns"], serde_json::json!(both));
    for line in read("elastic/rules.ndjson").lines() {
        let rule: Value = serde_json::from_str(line).unwrap();
        let index: Vec<&str> = rule["index"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(both.iter().all(|name| index.contains(name)), "{}: {index:?}", rule["name"]);
    }
    assert!(json("elastic/ilm-policy.json")["policy"]["phases"]["hot"].is_object());
    rules(&leaves);
}

/// Elastic's detection rules.
fn rules(fields: &BTreeSet<String>) {
    let actions: BTreeSet<String> = ["opened", "escalated", "ongoing", "closed"]
        .iter()
        .map(|change| records()["incident"].replace("\"opened\"", &format!("\"{change}\"")))
        .chain(records().into_values())
        .map(|line| serde_json::from_str::<Value>(&encode("'ecs'", &line)).unwrap()["event"]["action"].to_string())
        .collect();
    assert_eq!(actions.len(), 10, "{actions:?}");
    let mut ids = BTreeSet::new();
    for line in read("elastic/rules.ndjson").lines() {
        let rule: Value = serde_json::from_str(line).unwrap();
        for member in ["rule_id", "name", "description", "type", "query", "severity", "risk_score", "from", "index"] {
            assert!(!rule[member].is_null(), "{member} of {}", rule["name"]);
        }
        assert!(ids.insert(rule["rule_id"].to_string()), "{} twice", rule["rule_id"]);
        let query = rule["query"].as_str().unwrap();
        let mut named: Vec<String> = dotted(&unquoted(query), "_.").map(str::to_owned).collect();
        assert!(!named.is_empty());
        for mapping in ["severity_mapping", "risk_score_mapping"] {
            named.extend(rule[mapping].as_array().unwrap().iter().map(|map| map["field"].as_str().unwrap().to_owned()));
        }
        named.extend(
            ["timestamp_override", "rule_name_override"]
                .iter()
                .filter_map(|name| rule[name].as_str())
                .map(str::to_owned),
        );
        for name in named {
            assert!(fields.contains(&name), "{} names {name}", rule["name"]);
        }
        for word in query.split('"').skip(1).step_by(2).filter(|word| !["refresh_audit", "alert"].contains(word)) {
            let is_alarm = Alarm::ALL.iter().any(|alarm| alarm.name() == word);
            assert!(is_alarm || actions.contains(&format!("\"{word}\"")), "{} compares with {word}", rule["name"]);
        }
    }
    assert_eq!(ids.len(), 4);
}

/// Whoever makes tokens writes their instants: numbers of 64 bits, of which hardly any is a date. Such a record is there
/// all the same, whole.
#[test]
fn no_claim_keeps_a_record_out() {
    let Some(osmem) = Osmem::start() else { return };
    osmem.ask("PUT", "/_component_template/refresh-audit", &read("elastic/ecs/component-template.json"));
    osmem.ask("PUT", "/_index_template/refresh-audit", &read("elastic/ecs/index-template.json"));
    let mut documents = Vec::new();
    for (at, [exp, iat, auth_time]) in
        [[i64::MIN, i64::MAX, 0], [i64::MAX, i64::MIN, -1], [0, 1_795_329_599, i64::MIN]].into_iter().enumerate()
    {
        let mut record: Value = serde_json::from_str(&records()["event"]).unwrap();
        let claims = serde_json::json!({ "exp": exp, "iat": iat, "auth_time": auth_time });
        let token = serde_json::json!({ "fingerprint": "1a2b:00", "claims": claims });
        record["event"]["tokens"] = serde_json::json!({
            "refresh": { "presented": token, "issued": token },
            "access": { "previous": token, "issued": token },
            "id": { "issued": token },
        });
        let document: Value = serde_json::from_str(&encode("'ecs'", &record.to_string())).unwrap();
        for index in ["refresh-audit", "refresh-audit-000001"] {
            osmem.ask("PUT", &format!("/{index}/_create/{at}"), &document.to_string());
        }
        documents.push((at.to_string(), document));
    }
    for index in ["refresh-audit", "refresh-audit-000001"] {
        let mut found = osmem.documents(index);
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(found, documents, "{index}");
        // The mapping is the template's: a plain index would take anything.
        let exp = "/mappings/properties/refresh_audit/properties/tokens/properties/access/properties/issued/properties/claims/properties/exp";
        let mapping = osmem.ask("GET", &format!("/{index}/_mapping"), "");
        assert_eq!(mapping[index].pointer(exp).unwrap()["type"], "date", "{index}");
    }
}
