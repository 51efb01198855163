//! `backtest` over the journal and from what the service remembers.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{DETECT, json_lines, row, settings, start, started, text};
use crate::support::{
    app::TestApp,
    journal,
    session::{From, Session, record_of, records, rules, send},
};

/// The configuration with a leeway of five minutes, in which the 180 s of every fork are one client that asked twice.
fn with_longer_leeway(app: &TestApp) -> &'static str {
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    let tried = config.replace(DETECT, &format!("{DETECT}RA101 = {{ leeway = \"5m\" }}\n"));
    fs::write(app.path("tried.toml"), tried).unwrap();
    "tried.toml"
}

#[test]
fn a_backtest_of_the_journal_says_what_another_threshold_changes_and_nothing_else() {
    let (mut app, steps) = started();
    assert_eq!(text(&app.run(&["backtest", "--journal"])), "");
    app.stop();
    let before = fs::read(&journal::segments(&app.data())[0]).unwrap();
    let same = text(&app.run(&["backtest", "--journal", "--summary"]));
    for (of, counts) in [
        (&["RA101", "critical"][..], ["4", "4", "0", "0"]),
        (&["RA101", "medium"], ["1", "1", "0", "0"]),
        (&["RA106", "critical"], ["2", "2", "0", "0"]),
        (&["denied", "or", "would", "be"], ["5", "5", "0", "0"]),
    ] {
        assert_eq!(row(&same, of), counts, "{of:?}");
    }
    let day = records(&app)[0]["received_at"].as_str().unwrap()[..10].to_owned();
    assert_eq!(row(&same, &[&day]), ["4", "4"]);

    let tried = with_longer_leeway(&app);
    let told: Vec<Value> = json_lines(&app.run_with(tried, &["backtest", "--journal"]))
        .iter()
        .map(|line| json!([line["event_id"], line["then"], line["now"], line["would_then"], line["would_now"]]))
        .collect();
    let id = |step: usize| steps[step].event.id.as_str();
    let expected = [
        json!([id(1), ["RA101 critical"], [], "deny", "allow"]),
        json!([id(2), ["RA101 critical"], [], "deny", "allow"]),
        json!([id(4), ["RA101 critical"], [], "deny", "allow"]),
        json!([id(8), ["RA101 critical", "RA106 critical"], ["RA106 critical"], "deny", "deny"]),
        json!([id(10), ["RA101 medium"], [], "allow", "allow"]),
    ];
    assert_eq!(told, expected);
    let sums = text(&app.run_with(tried, &["backtest", "--journal", "--summary"]));
    for (of, counts) in [
        (&["RA101", "critical"][..], ["4", "0", "4", "0"]),
        (&["RA101", "medium"], ["1", "0", "1", "0"]),
        (&["RA106", "critical"], ["2", "2", "0", "0"]),
        (&["denied", "or", "would", "be"], ["5", "2", "3", "0"]),
    ] {
        assert_eq!(row(&sums, of), counts, "{of:?}");
    }
    let told = text(&app.run_with(tried, &["backtest", "--journal", "--summary", "--format", "json"]));
    let of = |rule: &str, severity: &str, [then, now, only_then, only_now]: [u64; 4]| {
        json!({
            "rule": rule, "severity": severity,
            "then": then, "now": now, "only_then": only_then, "only_now": only_now,
        })
    };
    let expected = json!({
        "events": 11,
        "rules": [of("RA101", "medium", [1, 0, 1, 0]), of("RA101", "critical", [4, 0, 4, 0]), of("RA106", "critical", [2, 2, 0, 0])],
        "denials": { "then": 5, "now": 2, "only_then": 3, "only_now": 0 },
        "incidents_opened": { &*day: { "then": 4, "now": 1 } },
    });
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), expected);
    // Of the four incidents only the revoked session's is left.
    assert_eq!(row(&sums, &[&day]), ["4", "1"]);
    assert!(sums.ends_with("\n11 events\n"), "{sums}");
    let table = text(&app.run_with(tried, &["backtest", "--journal", "--format", "table"]));
    assert!(table.contains(&format!("{}  -RA101 critical, -deny\n", id(1))), "{table}");
    assert_eq!(fs::read(&journal::segments(&app.data())[0]).unwrap(), before);
}

#[test]
fn a_backtest_follows_what_was_answered_then() {
    let mut app = start(settings().and("[gate]\nmode = \"enforce\"\n"));
    assert!(app.run(&["gate", "stop"]).status.success());
    // Let through while the gate stood still; so its token exists, and going on with it is no finding.
    let session = Session::new(1);
    for (parent, child, from) in [(1, 10, From::Home), (1, 12, From::Abroad), (12, 14, From::Abroad)] {
        assert_eq!(send(&app, &session.refresh(parent, child, from)).status, 200);
    }
    assert!(app.run(&["gate", "start"]).status.success());
    // And this one is not.
    assert_eq!(send(&app, &session.refresh(1, 16, From::Overseas)).status, 403);
    assert_eq!(send(&app, &session.refresh(14, 18, From::Abroad)).status, 200);
    app.stop();
    assert_eq!(text(&app.run(&["backtest", "--journal"])), "");
}

#[test]
fn a_backtest_from_live_knows_what_was_known_before() {
    let mut app = start(settings());
    let (one, two) = (Session::new(1), Session::new(2));
    send(&app, &one.refresh(1, 10, From::Home));
    // A durable copy of here; what comes until the theft is in the journal only.
    app.stop();
    app.launch();
    send(&app, &two.refresh(1, 10, From::Home));
    let thefts = [&one, &two].map(|session| session.refresh(1, 12, From::Abroad));
    thefts.iter().for_each(|theft| drop(send(&app, theft)));
    app.stop();
    let since = record_of(&app, &thefts[0])["received_at"].as_str().unwrap().to_owned();
    let since = ["backtest", "--journal", "--since", &since];
    let missed = json_lines(&app.run(&since));
    let missed: Vec<Value> = missed.iter().map(|line| json!([line["event_id"], line["then"], line["now"]])).collect();
    let id = |theft: usize| thefts[theft].id.as_str();
    assert_eq!(missed, [0, 1].map(|theft| json!([id(theft), ["RA101 critical"], []])));
    let knowing = [&since[..], &["--from-live"]].concat();
    assert_eq!(text(&app.run(&knowing)), "");
    // Raw bodies: the same session shown again, once more, five minutes after the theft.
    let next = one.refresh(1, 16, From::Overseas);
    fs::write(app.path("bodies.jsonl"), &next.body).unwrap();
    let found = |app: &TestApp, arguments: &[&str]| -> BTreeSet<(String, String)> {
        let found = json_lines(&app.run(&[&["backtest", "bodies.jsonl"], arguments].concat()));
        rules(&found[0]).into_iter().collect()
    };
    assert_eq!(found(&app, &[]), BTreeSet::new());
    assert_eq!(found(&app, &["--from-live"]), BTreeSet::from([("RA101".to_owned(), "critical".to_owned())]));
    let sums = ["backtest", "bodies.jsonl", "--from-live", "--summary", "--format", "json"];
    let rule = json!({ "rule": "RA101", "severity": "critical", "findings": 1 });
    // The session's incident is open already.
    let expected = json!({ "records": 1, "rules": [rule], "incidents_opened": 0, "would_deny": 1 });
    assert_eq!(json_lines(&app.run(&sums)), [expected]);
    // What came after the copy is known by its records.
    app.launch();
    let three = Session::new(3);
    send(&app, &three.refresh(1, 10, From::Home));
    app.kill();
    fs::write(app.path("bodies.jsonl"), &three.refresh(1, 16, From::Overseas).body).unwrap();
    assert_eq!(found(&app, &["--from-live"]), BTreeSet::from([("RA101".to_owned(), "critical".to_owned())]));
    // Without any copy it is learned from the journal.
    fs::remove_dir_all(app.data().join("state")).unwrap();
    assert_eq!(text(&app.run(&knowing)), "");
    assert_eq!(found(&app, &["--from-live"]), BTreeSet::from([("RA101".to_owned(), "critical".to_owned())]));
}

#[test]
fn a_backtest_from_live_needs_no_service_that_was_ever_stopped() {
    let app = start(settings());
    let session = Session::new(1);
    let first = session.refresh(1, 10, From::Home);
    send(&app, &first);
    fs::write(app.path("bodies.jsonl"), &session.refresh(1, 16, From::Overseas).body).unwrap();
    let found = json_lines(&app.run(&["backtest", "bodies.jsonl", "--from-live"]));
    assert_eq!(rules(&found[0]), [("RA101".to_owned(), "critical".to_owned())]);
    // What the journal has already is judged once more.
    fs::write(app.path("bodies.jsonl"), &first.body).unwrap();
    let again = json_lines(&app.run(&["backtest", "bodies.jsonl", "--from-live"]));
    assert_eq!((&again[0]["kind"], &again[0]["event"]["id"]), (&json!("event"), &json!(first.id)));
}
