//! What is told of what was found, once more has happened since: over pages, under another policy, of an id that came again.

use std::fs;

use serde_json::{Value, json};

use super::{DETECT, json_lines, settings, start, text};
use crate::support::{
    app::TestApp,
    event::Event,
    eventually, journal,
    session::{From, Session, record_of, records, send},
};

/// Writes other tables in place of these.
fn reconfigure(app: &TestApp, from: &str, to: &str) {
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(app.path("config.toml"), config.replace(from, to)).unwrap();
}

/// All pages of `/api/incidents`: the id and the state of each.
fn pages(app: &TestApp, query: &str) -> Vec<(String, String)> {
    let (mut from, mut told) = (1, Vec::new());
    loop {
        let (status, answer) = app.get(&format!("/api/incidents?from={from}&{query}")).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(status, 200, "{answer}");
        told.extend(answer["incidents"].as_array().unwrap().iter().map(state));
        let next = answer["next"].as_u64().unwrap();
        if next > answer["synced"].as_u64().unwrap() {
            return told;
        }
        assert!(next > from, "{answer}");
        from = next;
    }
}

fn state(incident: &Value) -> (String, String) {
    let member = |name: &str| incident[name].as_str().unwrap().to_owned();
    (member("id"), member("change"))
}

#[test]
fn the_service_lists_each_incident_once_as_it_stands() {
    let closing = format!("{DETECT}incidents = {{ idle = \"1s\" }}\n");
    let mut app = start(settings());
    app.stop();
    reconfigure(&app, DETECT, &closing);
    app.launch();
    let theft = |app: &TestApp, number| {
        let session = Session::new(number);
        let events = [session.refresh(1, 10, From::Home), session.refresh(1, 12, From::Abroad)];
        events.iter().for_each(|event| assert_eq!(send(app, event).status, 200));
    };
    (1..=2).for_each(|number| theft(&app, number));
    let are_closed =
        |app: &TestApp| records(app).iter().filter(|record| record["incident"]["change"] == "closed").count() == 2;
    eventually("they are closed", || are_closed(&app));
    app.stop();
    reconfigure(&app, &closing, DETECT);
    app.launch();
    (3..=4).for_each(|number| theft(&app, number));
    // A copied session that goes on is still the one incident, and was told once.
    send(&app, &Session::new(4).refresh(1, 14, From::Overseas));

    let of_command = |filters: &[&str]| -> Vec<(String, String)> {
        json_lines(&app.run(&[&["incidents", "--format", "json"], filters].concat())).iter().map(state).collect()
    };
    let (all, open) = (of_command(&[]), of_command(&["--open"]));
    assert_eq!((all.len(), open.len()), (4, 2));
    for limit in [1, 2, 3, 100] {
        assert_eq!(pages(&app, &format!("open=true&limit={limit}")), open, "{limit}");
        let mut told = pages(&app, &format!("limit={limit}"));
        told.sort();
        let mut all = all.clone();
        all.sort();
        assert_eq!(told, all, "{limit}");
    }
    assert_eq!(pages(&app, "open=true&limit=1&user=user-4"), [open[1].clone()]);
    assert_eq!(pages(&app, "open=true&rule=RA106"), []);
    // To the letter, also after a start.
    for _ in 0..2 {
        let (_, answer) = app.get("/api/incidents?open=true").unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let told = json_lines(&app.run(&["incidents", "--format", "json", "--open"]));
        assert_eq!(answer["incidents"], json!(told));
        app.stop();
        app.launch();
    }
}

fn denying(rule: &str) -> String {
    format!("[gate]\ndeny = [{{ rule = \"{rule}\", severity = \"critical\" }}]\n")
}

/// A session that is revoked and then shown by another: RA101 and RA106, both critical.
fn revoked_and_copied(number: u32) -> [Event; 4] {
    let session = Session::new(number);
    [
        session.refresh(1, 10, From::Home),
        session.revocation(11),
        session.refresh(10, 12, From::Home),
        session.refresh(10, 14, From::Abroad),
    ]
}

#[test]
fn the_gates_report_goes_by_the_policy_that_was_in_force() {
    let segments = "[journal]\nsegment = \"64KiB\"\n";
    let mut app = start(settings().and(segments).and(&denying("RA106")));
    revoked_and_copied(1).iter().for_each(|event| assert_eq!(send(&app, event).status, 200));
    app.stop();
    let rules = |app: &TestApp, since: &str| -> Value {
        let report = text(&app.run(&["gate", "report", "--since", since, "--format", "json"]));
        serde_json::from_str::<Value>(&report).unwrap()["rules"].clone()
    };
    let share = |denials: u64, sessions: u64| json!({ "denials": denials, "sessions": sessions });
    assert_eq!(rules(&app, "14d"), json!({ "RA106": share(2, 1) }));
    // Another policy in the file that was never in force; then it is.
    reconfigure(&app, &denying("RA106"), &denying("RA101"));
    assert_eq!(rules(&app, "14d"), json!({ "RA106": share(2, 1) }));
    app.launch();
    for number in 100..200 {
        send(&app, &Session { user: 100, ..Session::new(number) }.refresh(1, 10, From::Home));
    }
    let events = revoked_and_copied(2);
    events.iter().for_each(|event| assert_eq!(send(&app, event).status, 200));
    let both = json!({ "RA101": share(1, 1), "RA106": share(2, 1) });
    assert_eq!(rules(&app, "14d"), both);
    app.stop();
    reconfigure(&app, &denying("RA101"), &denying("RA106"));
    assert_eq!(rules(&app, "14d"), both);
    // What says so is in a file from before.
    assert!(journal::segments(&app.data()).len() > 1);
    let since = record_of(&app, &events[3])["received_at"].as_str().unwrap().to_owned();
    assert_eq!(rules(&app, &since), json!({ "RA101": share(1, 1) }));
}

#[test]
fn explain_says_what_a_replay_found_and_counts_refreshes_only() {
    let app = start(settings());
    let session = Session::new(1);
    let (first, second) = (session.refresh(1, 10, From::Home), session.refresh(10, 20, From::Home));
    let elsewhere = session.refresh(1, 10, From::Abroad);
    let moved = |event: &Event| -> Event {
        let mut body: Value = serde_json::from_slice(&event.body).unwrap();
        body["event"]["id"] = first.id.clone().into();
        Event { id: first.id.clone(), body: body.to_string().into_bytes(), tokens: Vec::new(), unkept: Vec::new() }
    };
    for event in [&first, &moved(&elsewhere), &session.revocation(15), &second] {
        send(&app, event);
    }
    let records = records(&app);
    let replay = records.iter().find(|record| record["kind"] == "replay").unwrap();
    let (of, seq) = (&replay["replay"]["of"], &replay["seq"]);
    let explained = |id: &str| text(&app.run(&["explain", id]));
    let said = explained(&first.id);
    for line in [
        format!("event {}, record {of}, ", first.id),
        "\nnothing was found in it\n".to_owned(),
        format!(
            "\nrecord {seq}, {}, is a replay of it: its id came again with another body, from 203.0.113.9, ",
            replay["received_at"].as_str().unwrap()
        ),
        "\nRA108 event_replay (high): ".to_owned(),
    ] {
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
    }
    assert_eq!(explained(&format!("fusionauth/{}", first.id)), said);
    let nobodys = app.run(&["explain", &format!("another/{}", first.id)]);
    assert_eq!(nobodys.status.code(), Some(1), "{nobodys:?}");
    let said = explained(&second.id);
    assert!(said.contains("\nrefreshes of this session before it: 1\n"), "{said}");
    assert!(!said.contains(&format!("record {seq},")), "{said}");
}
