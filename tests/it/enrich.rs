//! Enrichment from outside: an event in, its record out with what local files know; a change on disk is taken in, a
//! broken file is not and raises an alarm; a broken file at start is a configuration error.

use std::fs;

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    mmdb::Mmdb,
    seed,
};

const FILES: &str = "[enrich]\ndatabases = [\"city.mmdb\"]\nnetworks = \"networks.csv\"\n";

fn city(name: &str) -> Vec<u8> {
    let record = json!({"city": {"names": {"en": name}}, "country": {"iso_code": "FI"},
                        "location": {"latitude": 60.4515, "longitude": 22.2687}, "asn": 64500});
    Mmdb::new("Test-City", &[("192.0.2.0/24", record)]).bytes()
}

/// An event; the sender says no place unless `with_place`.
fn event(rng: &mut StdRng, with_place: bool) -> Event {
    let mut event = Event::new(rng);
    if !with_place {
        let mut body: Value = serde_json::from_slice(&event.body).unwrap();
        body["event"]["info"].as_object_mut().unwrap().remove("location");
        event.body = serde_json::to_vec(&body).unwrap();
    }
    event
}

/// Sends one and returns the event of its record.
fn recorded(app: &TestApp, event: &Event) -> Value {
    let verdict = app.client().send(event, &app.signer()).unwrap();
    assert!(verdict.is_recorded(), "{verdict:?}");
    let records = app.run(&["records", "--format", "json"]);
    assert!(records.status.success(), "{records:?}");
    let text = String::from_utf8(records.stdout).unwrap();
    let mut records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.find(|record| record["event"]["id"] == event.id.as_str()).unwrap()["event"].clone()
}

fn prepared(tables: &str) -> TestApp {
    let app = TestApp::prepare(Settings::new().and(tables));
    fs::write(app.path("city.mmdb"), city("Turku")).unwrap();
    fs::write(app.path("networks.csv"), "192.0.2.0/24,office\n").unwrap();
    app
}

#[test]
fn a_record_says_what_local_files_know() {
    let mut rng = StdRng::seed_from_u64(seed("a_record_says_what_local_files_know"));
    let mut app = prepared(FILES);
    app.launch();
    let without = recorded(&app, &event(&mut rng, false));
    assert_eq!(without["network"], json!({"asn": 64500, "country": "FI", "labels": ["office"]}));
    assert_eq!(
        without["location"],
        json!({"city": "Turku", "country": "FI", "latitude": 60.4515, "longitude": 22.2687, "from": "city.mmdb"})
    );
    let client = json!({"browser": "Firefox", "version": "140.0", "os": "Linux", "kind": "browser"});
    assert_eq!(without["client"], client);
    let with = recorded(&app, &event(&mut rng, true));
    assert_eq!((&with["location"]["from"], &with["location"]["region"]), (&json!("sender"), &json!("19")));
    assert_eq!(with["network"]["asn"], 64500);
    let check = app.run(&["check"]);
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(said.contains("ok   enrichment from city.mmdb: Test-City, 1 records: asn, country, place\n"), "{said}");
    assert!(said.contains("ok   enrichment from networks.csv: 1 networks: office\n"), "{said}");
    app.verify();
    app.stop();
}

/// What was derived stays, what it was derived from does not; a derived place is a place like any other.
#[test]
fn privacy_comes_after() {
    let mut rng = StdRng::seed_from_u64(seed("privacy_comes_after"));
    let mut app =
        prepared(&format!("{FILES}[privacy]\nip = \"drop\"\nuser_agent = \"drop\"\nlocation = \"truncate\"\n"));
    app.launch();
    let event = recorded(&app, &event(&mut rng, false));
    assert_eq!((event.get("ip"), event.get("user_agent")), (None, None));
    assert_eq!((&event["network"]["asn"], &event["client"]["browser"]), (&json!(64500), &json!("Firefox")));
    assert_eq!(event["location"]["latitude"], 60.5);
    app.stop();
}

#[test]
fn a_change_is_taken_in_and_a_broken_one_is_not() {
    let mut rng = StdRng::seed_from_u64(seed("a_change_is_taken_in_and_a_broken_one_is_not"));
    let mut app = prepared(FILES);
    app.launch();
    let now = |app: &TestApp, rng: &mut StdRng| recorded(app, &event(rng, false))["location"]["city"].clone();
    fs::write(app.path("new.mmdb"), city("Naantali")).unwrap();
    fs::rename(app.path("new.mmdb"), app.path("city.mmdb")).unwrap();
    eventually("the new file is used", || now(&app, &mut rng) == "Naantali");

    let stale = |app: &TestApp| app.metric("refresh_audit_alarm", &[("name", "enrichment_stale")]);
    assert_eq!(stale(&app), Some(0.0));
    let half = city("Raisio");
    fs::write(app.path("city.mmdb"), &half[..half.len() / 2]).unwrap();
    eventually("the broken file is an alarm", || stale(&app) == Some(1.0));
    assert_eq!(now(&app, &mut rng), "Naantali");
    eventually("it is in the journal", || app.journal().has_alarm("enrichment_stale", "raised"));
    assert!(app.log().contains("city.mmdb is not a readable MaxMind DB file"), "{}", app.log());

    // A start is where it can be refused.
    app.stop();
    app.spawn();
    assert_eq!(app.wait().code(), Some(78));
    assert!(app.log().contains("enrich.databases: city.mmdb: is not a readable MaxMind DB file: "), "{}", app.log());

    fs::write(app.path("city.mmdb"), city("Raisio")).unwrap();
    app.launch();
    assert_eq!(now(&app, &mut rng), "Raisio");
    eventually("the alarm is over", || stale(&app) == Some(0.0));
    eventually("and said to be", || app.journal().has_alarm("enrichment_stale", "cleared"));
    app.stop();
}
