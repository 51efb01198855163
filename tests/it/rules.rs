//! Rules of the operator's own through the real service: what they find, what follows from it, and what is refused.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    app::{Settings, TestApp},
    event::{Event, Session, now_ms},
    journal,
};

const NETWORK: &str = r#"
[[rules]]
id = "documentation-net"
name = "a refresh from the documentation network"
when = 'event.ip.inNetwork("192.0.2.0/24") && event.client.browser == "Firefox"'
severity = "critical"
attack = ["T1078"]
dedup = "1h"

[[rules.tests]]
name = "from the network"
fires = true
event = { ip = "192.0.2.7", client = { browser = "Firefox" } }

[[rules.tests]]
name = "from elsewhere"
fires = false
event = { ip = "198.51.100.7", client = { browser = "Firefox" } }

[[rules]]
id = "tried"
when = 'findings.exists(f, f.rule == "documentation-net")'
severity = "high"
shadow = true
"#;

const REFUSE: &str = "[gate]\nmode = \"enforce\"\ndeny = [{ rule = \"documentation-net\", severity = \"critical\" }]\n";

fn records(app: &TestApp) -> Vec<Value> {
    let text: Vec<u8> = journal::segments(&app.data()).iter().flat_map(|path| journal::read_plain(path)).collect();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn findings(app: &TestApp, event: &Event) -> Vec<(String, String)> {
    let record = records(app).into_iter().find(|record| record["event"]["id"] == *event.id).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = record["findings"].as_array().cloned().unwrap_or_default();
    let found = found.iter().map(|one| (text(&one["rule"]), text(&one["severity"])));
    found.filter(|(rule, _)| !rule.starts_with("RA")).collect()
}

/// Two sessions of one application, each by Firefox from 192.0.2.0/24: the refreshes of one, an hour apart, then the other's.
fn refreshes(seed: u64, count: u128) -> Vec<Event> {
    let mut rng = rand::SeedableRng::seed_from_u64(seed);
    let hours_ago = |hours: u128| now_ms() - hours * 3_600_000;
    let mut session = Session::new(&mut rng, hours_ago(count));
    let mut other = Session::new(&mut rng, hours_ago(1)).beside(&session, &mut rng, hours_ago(1));
    let mut all: Vec<Event> = (1..count).map(|number| session.refresh(&mut rng, hours_ago(count - number))).collect();
    all.push(other.refresh(&mut rng, hours_ago(0)));
    all
}

fn send(app: &TestApp, event: &Event) -> u16 {
    app.client().send(event, &app.signer()).unwrap().status
}

#[test]
fn what_a_rule_finds_is_in_the_record_once_and_remembered_over_restarts() {
    let mut app = TestApp::start(Settings::new().and(NETWORK));
    let [first, second, third, other] = &refreshes(1, 4)[..] else { panic!() };
    let own = |rule: &str, severity: &str| (rule.to_owned(), severity.to_owned());
    assert_eq!(send(&app, first), 200);
    assert_eq!(findings(&app, first), [own("documentation-net", "critical"), own("tried", "info")]);
    let record = records(&app).into_iter().find(|record| record["event"]["id"] == *first.id).unwrap();
    let said = record["findings"].as_array().unwrap().iter().find(|one| one["rule"] == "documentation-net").unwrap();
    assert_eq!(said["name"], "a refresh from the documentation network");
    assert_eq!(said["attack"], json!(["T1078"]));
    assert!(said["incident"].is_string(), "{said}");
    let tried = record["findings"].as_array().unwrap().iter().find(|one| one["rule"] == "tried").unwrap();
    assert_eq!((&tried["evidence"]["shadow"], &tried["incident"]), (&json!("high"), &Value::Null));
    // What decides is recorded.
    assert!(records(&app).iter().any(|record| record["config"]["what"] == "rules"), "no config record");
    // Said within the hour: not again, whatever becomes of the process.
    assert_eq!(send(&app, second), 200);
    assert_eq!(findings(&app, second), []);
    // Also by the durable copy that an orderly end leaves, and then by that and the journal.
    app.stop();
    app.launch();
    app.kill();
    app.launch();
    assert_eq!(send(&app, third), 200);
    assert_eq!(findings(&app, third), []);
    // Of another session it is news.
    assert_eq!(send(&app, other), 200);
    assert_eq!(findings(&app, other), [own("documentation-net", "critical"), own("tried", "info")]);
    // A restart with the same rules is no change.
    let changes = records(&app).iter().filter(|record| record["config"]["what"] == "rules").count();
    assert_eq!(changes, 1);
    // Counted since the start.
    let labels = [("rule", "documentation-net"), ("severity", "critical")];
    assert_eq!(app.metric("refresh_audit_findings_total", &labels), Some(1.0));
    // In words.
    let said = app.run(&["explain", &first.id]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("documentation-net a refresh from the documentation network (critical)"), "{said}");
    assert!(said.contains("holds when: event.ip.inNetwork"), "{said}");
}

#[test]
fn the_gate_refuses_for_a_rule_of_the_operators_own() {
    let deny = |rule: &str| REFUSE.replace("documentation-net", rule);
    for (settings, gate, expected) in [
        (NETWORK, REFUSE.to_owned(), "rule `documentation-net` has `dedup`: a second try would not be refused"),
        (NETWORK, deny("tried"), "rule `tried` is a shadow: nothing would be refused for it"),
        ("[detect]\nRA101.enabled = false\n", deny("RA101"), "rule `RA101` is not enabled: nothing would be refused"),
    ] {
        let output = TestApp::prepare(Settings::new().and(settings).and(&gate)).run(&["check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    // The list that nobody wrote names RA101, too.
    let app = TestApp::prepare(Settings::new().and("[detect]\nRA101.enabled = false\n[gate]\nmode = \"enforce\"\n"));
    assert!(app.run(&["check"]).status.success());
    let app = TestApp::start(Settings::new().and(&NETWORK.replace("dedup = \"1h\"\n", "")).and(REFUSE));
    let [first, second] = &refreshes(2, 2)[..] else { panic!() };
    assert_eq!(send(&app, first), 403);
    assert_eq!(send(&app, second), 403);
}

#[test]
fn rules_test_shows_every_example_and_a_start_refuses_what_fails() {
    let app = TestApp::prepare(Settings::new().and(NETWORK));
    let output = app.run(&["rules", "test"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "documentation-net (critical)",
        "  from the network: ok",
        "  from elsewhere: ok",
        "tried (high, shadow)",
        "  no tests",
        "2 rules, 2 tests, 0 failed",
    ] {
        assert!(said.lines().any(|one| one == line), "no line {line:?} in:\n{said}");
    }
    let config = app.path("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("198.51.100.7", "192.0.2.8")).unwrap();
    let output = app.run(&["rules", "test"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("  from elsewhere: FAILED: the condition holds, and should not"), "{said}");
    assert!(said.contains("2 rules, 2 tests, 1 failed"), "{said}");
    let output = app.run(&["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let line = text.lines().position(|line| line.contains("198.51.100.7")).unwrap();
    let begin =
        text.lines().take(line).collect::<Vec<_>>().iter().rposition(|line| *line == "[[rules.tests]]").unwrap() + 1;
    assert!(said.contains("fails its test `from elsewhere`"), "{said}");
    assert!(said.contains(&format!("config.toml:{begin}:")), "line {begin}: {said}");
}

#[test]
fn a_rule_that_cannot_mean_anything_stops_the_start_where_it_stands() {
    let app = TestApp::prepare(Settings::new().and(&NETWORK.replace("event.client.browser", "event.client.browsr")));
    let output = app.run(&["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let text = fs::read_to_string(app.path("config.toml")).unwrap();
    let line = text.lines().position(|line| line.starts_with("when = ")).unwrap() + 1;
    assert!(said.contains("there is no member `browsr`; did you mean `browser`?"), "{said}");
    assert!(said.contains(&format!("config.toml:{line}:")), "{said}");
}
