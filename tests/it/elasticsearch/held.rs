//! What a real server makes of documents: their types by our template, and what it says it holds.

use std::collections::BTreeMap;

use refresh_audit::sink::{Acked, Sink as _};
use serde_json::{Value, json};

use super::{check, deliver, message, to};
use crate::{
    formats::{encode, records},
    servers::osmem::Osmem,
};

#[tokio::test]
async fn the_template_is_put_once_where_there_is_none() {
    let Some(osmem) = Osmem::start() else { return };
    let sink = to(osmem.address, "template = true");
    let odd = r#"{"event":{"ip":"not an address","kept":{"a":1}},"x_at":"2026-11-22T06:40:00Z"}"#;
    deliver(&sink, [message(1, odd)]).await.unwrap();
    let there = osmem.ask("GET", "/_index_template/refresh-audit-audit", "");
    assert_eq!(there["index_templates"][0]["index_template"]["index_patterns"], json!(["audit", "audit-*"]));
    let mapping = osmem.ask("GET", "/audit/_mapping", "");
    let properties = &mapping["audit"]["mappings"]["properties"];
    assert_eq!((&properties["@timestamp"]["type"], &properties["x_at"]["type"]), (&"date".into(), &"date".into()));
    // What an administrator changed stays.
    let mine = r#"{"index_patterns":["mine"],"template":{}}"#;
    osmem.ask("PUT", "/_index_template/refresh-audit-audit", mine);
    deliver(&to(osmem.address, "template = true"), [message(2, "{}")]).await.unwrap();
    let there = osmem.ask("GET", "/_index_template/refresh-audit-audit", "");
    assert_eq!(there["index_templates"][0]["index_template"]["index_patterns"], json!(["mine"]));
}

#[tokio::test]
async fn a_server_says_what_it_holds() {
    let Some(osmem) = Osmem::start() else { return };
    let sink = to(osmem.address, "");
    deliver(&sink, [message(1, "{}"), message(2, "{}")]).await.unwrap();
    let acked = |seq| Acked { seq, key: format!("k{seq}"), ack: String::new() };
    let held = sink.holds(&[acked(1), acked(2), acked(3)]).await.unwrap().unwrap();
    assert_eq!((held.missing, held.shared, held.total), (vec![3], vec![], Some(2)));
    // The test record is gone again.
    check(&sink, message(9, r#"{"test":true}"#)).await.unwrap();
    assert_eq!(osmem.documents("audit").len(), 2);
}

/// An event id that comes again after `dedupe.window` is a new record with the same key: the server keeps the first and
/// answers 409. That is told from a document that is not there, in every format that the sink takes.
#[tokio::test]
async fn a_record_with_anothers_key_is_told_from_one_that_is_missing() {
    let Some(osmem) = Osmem::start() else { return };
    for (at, format) in ["'json'", "'ecs'", "'ocsf'", "'cloudevents'"].into_iter().enumerate() {
        let index = format!("audit-{at}");
        let members = format!("url = 'http://{}'\nindex = '{index}'\ntimeout = '2s'", osmem.address);
        let sink = super::sink(std::path::Path::new("/"), &members);
        let record = |seq: u64| {
            let line = records()["event"].replace("\"seq\":1,", &format!("\"seq\":{seq},"));
            let mut message = message(seq, &encode(format, &line));
            message.key = if seq == 9 { "k1".to_owned() } else { message.key };
            message
        };
        let ack = deliver(&sink, [record(1), record(2), record(9)]).await.unwrap();
        assert_eq!(ack.records, [(9, "409 already there".to_owned())], "{format}");
        let acked = |seq, key: &str| Acked { seq, key: key.to_owned(), ack: String::new() };
        let asked = [acked(1, "k1"), acked(2, "k2"), acked(9, "k1"), acked(10, "k10")];
        let held = sink.holds(&asked).await.unwrap().unwrap();
        assert_eq!((held.missing, held.shared, held.total), (vec![10], vec![9], Some(2)), "{format}");
    }
}

/// Names of fields with their types; an object that is not looked into is one.
fn types(properties: &Value, name: &str, found: &mut BTreeMap<String, String>) {
    for (key, value) in properties.as_object().unwrap() {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        match value.get("properties") {
            Some(inner) => types(inner, &name, found),
            None if value["enabled"] == false => drop(found.insert(name, "closed".to_owned())),
            None => drop(found.insert(name, value["type"].as_str().unwrap_or("object").to_owned())),
        }
    }
}

/// Instants are dates, places are places, and what senders and rules fill as they like is not looked into, wherever a
/// format puts it: `docs/formats.md` says where, ECS what type a field of its own has.
#[tokio::test]
async fn the_template_knows_both_formats() {
    let Some(osmem) = Osmem::start() else { return };
    let expected: [(&str, &[(&str, &str)]); 2] = [
        (
            "'json'",
            &[
                ("@timestamp", "date"),
                ("received_at", "date"),
                ("event.occurred_at", "date"),
                ("event.ip", "ip"),
                ("event.kept", "closed"),
                ("findings.evidence", "closed"),
                ("config.now", "closed"),
                ("incident.changed", "closed"),
                ("incident.first_seen", "date"),
                ("incident.last_seen", "date"),
                ("source", "keyword"),
            ],
        ),
        (
            "'ecs'",
            &[
                ("@timestamp", "date"),
                ("event.created", "date"),
                ("source.ip", "ip"),
                ("source.geo.location", "geo_point"),
                ("event.action", "keyword"),
                ("refresh_audit.occurred_at", "date"),
                ("refresh_audit.kept", "closed"),
                ("refresh_audit.findings.evidence", "closed"),
                ("refresh_audit.config.now", "closed"),
                ("refresh_audit.incident.changed", "closed"),
                ("refresh_audit.incident.first_seen", "date"),
                ("refresh_audit.incident.last_seen", "date"),
            ],
        ),
    ];
    for (at, (format, fields)) in expected.into_iter().enumerate() {
        let index = format!("typed-{at}");
        let members = format!("url = 'http://{}'\nindex = '{index}'\ntimeout = '2s'\ntemplate = true", osmem.address);
        let sink = super::sink(std::path::Path::new("/"), &members);
        let records = records();
        let messages = (1..).zip(records.values()).map(|(seq, line)| message(seq, &encode(format, line)));
        deliver(&sink, messages.collect::<Vec<_>>()).await.unwrap();
        let mapping = osmem.ask("GET", &format!("/{index}/_mapping"), "");
        let mut found = BTreeMap::new();
        types(&mapping[&index]["mappings"]["properties"], "", &mut found);
        for (field, kind) in fields {
            assert_eq!(found.get(*field).map(String::as_str), Some(*kind), "{field} of {format}");
        }
    }
}
