//! A change of the fingerprint key under a running service's journal: what was spent before it is still found after it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    app::{Settings, TestApp},
    session::{From, Session, record_of, rules, send},
};

/// The rules that compare tokens.
fn of_tokens(record: &Value) -> Vec<String> {
    rules(record).into_iter().map(|(rule, _)| rule).filter(|rule| rule.starts_with("RA10")).collect()
}

fn key_of(fingerprint: &Value) -> &str {
    fingerprint.as_str().unwrap().split_once(':').unwrap().0
}

#[test]
fn sessions_move_over_to_a_new_key_by_themselves() {
    let mut app = TestApp::start(Settings::new().and("[gate]\nmode = \"enforce\"\n"));
    let (moved, unmoved) = (Session::new(1), Session::new(2));
    let first = moved.refresh(1, 10, From::Home);
    for event in [&first, &moved.refresh(10, 20, From::Home), &unmoved.refresh(1, 10, From::Home)] {
        send(&app, event);
    }
    app.stop();

    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    let made = app.run(&["keygen", "hmac", "--out", app.path("second.key").to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let rotated = "[fingerprint]\nkey_file = \"second.key\"\n";
    fs::write(app.path("config.toml"), format!("{config}{rotated}previous_key_files = [\"data/fingerprint.key\"]\n"))
        .unwrap();
    app.launch();
    // Spent before the change, and refused after it.
    let theft = moved.refresh(1, 21, From::Away);
    assert_eq!(send(&app, &theft).status, 403);
    let record = record_of(&app, &theft);
    assert_eq!(of_tokens(&record), ["RA102"], "{record}");
    // Each fingerprint says by which key it is, and what it was called before.
    let (before, after) = (
        &record_of(&app, &first)["event"]["tokens"]["access"]["previous"],
        &record["event"]["tokens"]["access"]["previous"],
    );
    assert_eq!(after["old_fingerprints"], json!([before["fingerprint"]]));
    assert_ne!(key_of(&after["fingerprint"]), key_of(&before["fingerprint"]));
    assert_eq!(before.get("old_fingerprints"), None);
    let explained = app.run(&["explain", &theft.id]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    let spent = format!("it was spent before by record {},", record_of(&app, &first)["seq"]);
    assert!(explained.contains(&spent), "{explained}");
    // The owner goes on, also where all is learned again from the journal.
    assert_eq!(send(&app, &moved.refresh(20, 30, From::Home)).status, 200);
    app.kill();
    fs::remove_dir_all(app.data().join("state")).unwrap();
    app.launch();
    let next = moved.refresh(30, 40, From::Home);
    send(&app, &next);
    assert_eq!(of_tokens(&record_of(&app, &next)), [] as [&str; 0]);
    app.stop();

    // The old key is gone: the session that was refreshed meanwhile is known, the other one counts as new.
    fs::write(app.path("config.toml"), format!("{config}{rotated}")).unwrap();
    app.launch();
    let again = moved.refresh(1, 41, From::Away);
    assert_eq!(send(&app, &again).status, 403);
    let stolen = unmoved.refresh(1, 12, From::Away);
    assert_eq!(send(&app, &stolen).status, 200);
    assert_eq!(of_tokens(&record_of(&app, &stolen)), [] as [&str; 0]);
    assert!(!app.journal().has_alarm("fingerprint_key_new", "raised"));
    app.stop();
    app.verify();
}
