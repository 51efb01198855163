//! What is damaged, missing or cut off when the service starts: it starts, says so, and `verify` says it, too, beside it.

use std::{fs, path::Path};

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually, journal, seed,
};

/// A service that has recorded five events and was stopped.
fn stopped(name: &str, settings: Settings) -> (TestApp, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed(name));
    let mut app = TestApp::start(settings);
    post(&app, &mut rng, 5);
    app.stop();
    (app, rng)
}

/// Without a sink: no cursor says anything.
fn without_sinks() -> Settings {
    Settings { tables: String::new(), ..Settings::new() }
}

fn post(app: &TestApp, rng: &mut StdRng, count: usize) {
    for _ in 0..count {
        assert!(app.client().send(&Event::new(rng), &app.signer()).unwrap().is_recorded());
    }
}

fn raised(app: &TestApp) -> Vec<String> {
    let alarms: Vec<Value> = serde_json::from_str(&app.get("/api/alarms").unwrap().1).unwrap();
    alarms.iter().map(|one| format!("{} {}", one["name"].as_str().unwrap(), one["subject"].as_str().unwrap())).collect()
}

fn verify(app: &TestApp) -> (Option<i32>, String) {
    let output = app.run(&["verify"]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn listed(app: &TestApp) -> Vec<Value> {
    let list = fs::read_to_string(app.data().join("damaged/list.jsonl")).unwrap_or_default();
    list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_journal_that_is_gone_is_told_of_where_no_sink_knows_of_it() {
    let (mut app, mut rng) = stopped("gone", without_sinks());
    fs::remove_dir_all(app.data().join("journal")).unwrap();
    app.launch();
    assert_eq!(raised(&app), ["damage_found end"], "{}", app.log());
    assert!(app.log().contains("up to seq 5 at least"), "{}", app.log());
    post(&app, &mut rng, 1);
    app.stop();
    assert!(app.journal().has_alarm("damage_found", "raised"));
    // Said once: the new journal is whole.
    app.launch();
    assert_eq!(raised(&app), [""; 0]);
    app.stop();
    app.verify();
}

#[test]
fn a_first_start_misses_nothing() {
    let app = TestApp::start(Settings::new());
    assert_eq!(raised(&app), [""; 0]);
    assert!(listed(&app).is_empty());
}

#[test]
fn a_cut_shows_beside_a_running_service() {
    let (mut app, mut rng) = stopped("cut beside", without_sinks());
    app.launch();
    // Far more than what a start itself has to say.
    post(&app, &mut rng, 40);
    app.stop();
    let path = journal::segments(&app.data()).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    app.launch();
    let (code, text) = verify(&app);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("a checkpoint vouches for seq 45, but the journal ends at"), "{text}");
    post(&app, &mut rng, 1);
    app.stop();
}

#[test]
fn lines_that_are_missing_in_the_open_segment_are_damage() {
    let (mut app, mut rng) = stopped("line", without_sinks());
    let path = journal::segments(&app.data()).pop().unwrap();
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(|line| format!("{line}\n")).collect();
    fs::write(&path, [&lines[..1], &lines[3..]].concat().concat()).unwrap();
    app.launch();
    assert_eq!(raised(&app), ["damage_found journal"], "{}", app.log());
    let [damage] = &listed(&app)[..] else { panic!("{:?}", listed(&app)) };
    assert_eq!((&damage["seq"], &damage["bytes"], &damage["offset"]), (&2.into(), &0.into(), &lines[0].len().into()));
    post(&app, &mut rng, 1);
    app.stop();
    let (code, text) = verify(&app);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("seq 2 is missing"), "{text}");
}

#[test]
fn bytes_among_the_checkpoints_stay_and_are_told_of() {
    type Harm<'a> = (&'a str, fn(&[u8]) -> Vec<u8>);
    let junk: [Harm<'_>; 4] = [
        ("instead", |_| b"junk\njunk\n".to_vec()),
        ("behind", |good| [good, &[0xff, 0xfe, 1, 2, 3]].concat()),
        ("zeros", |good| [good, &[0; 200]].concat()),
        ("within", |good| [&good[..30], b"\xff\xfe", &good[32..]].concat()),
    ];
    for (harm, change) in junk {
        let (mut app, mut rng) = stopped("checkpoints", without_sinks());
        let path = app.data().join("journal/checkpoints");
        let good = fs::read(&path).unwrap();
        let bad = change(&good);
        fs::write(&path, &bad).unwrap();
        assert_eq!(verify(&app).0, Some(1), "{harm}");
        app.launch();
        assert_eq!(raised(&app), ["damage_found checkpoints file"], "{harm}: {}", app.log());
        assert!(app.log().contains("damaged place(s) in "), "{harm}: {}", app.log());
        assert_eq!(listed(&app)[0]["segment"], "checkpoints", "{harm}");
        post(&app, &mut rng, 1);
        assert_eq!(verify(&app).0, Some(1), "{harm}");
        app.stop();
        assert!(fs::read(&path).unwrap().starts_with(&bad), "{harm}");
        assert_eq!(verify(&app).0, Some(1), "{harm}");
        // Mended by hand.
        let text = fs::read(&path).unwrap();
        fs::write(&path, [&good, &text[bad.len()..]].concat()).unwrap();
        app.launch();
        assert_eq!(raised(&app), [""; 0], "{harm}");
        app.stop();
        app.verify();
    }
    // A write that was cut short is none.
    let (mut app, _) = stopped("checkpoints", without_sinks());
    let path = app.data().join("journal/checkpoints");
    let good = fs::read(&path).unwrap();
    fs::write(&path, [&good[..], b"\n", &good[..40]].concat()).unwrap();
    app.verify();
    app.launch();
    assert_eq!(raised(&app), [""; 0]);
    app.stop();
    assert_eq!(fs::read(&path).unwrap(), good);
}

#[test]
fn a_checkpoint_key_that_was_lost_is_told_of_and_its_public_half_stays() {
    let (mut app, mut rng) = stopped("checkpoint key", without_sinks());
    let (key, public) = (app.data().join("checkpoint.key"), app.data().join("checkpoint.pub"));
    let old = fs::read_to_string(&public).unwrap();
    let id = old.split('+').nth(1).unwrap();
    fs::remove_file(&key).unwrap();
    app.launch();
    assert_eq!(raised(&app), ["damage_found checkpoint key"], "{}", app.log());
    post(&app, &mut rng, 1);
    app.stop();
    assert_ne!(fs::read_to_string(&public).unwrap(), old);
    let kept = app.data().join(format!("checkpoint-{id}.pub"));
    assert_eq!(fs::read_to_string(&kept).unwrap(), old);
    // The notes of both keys hold.
    app.verify();
    app.launch();
    assert_eq!(raised(&app), [""; 0]);
    app.stop();
    fs::remove_file(kept).unwrap();
    assert_eq!(verify(&app).0, Some(1));
}

#[test]
fn the_checkpoint_key_is_rotated_as_the_readme_says() {
    let (mut app, mut rng) = stopped("rotate checkpoints", without_sinks());
    let second = app.data().join("checkpoint-2.key");
    let made = app.run(&["keygen", "checkpoint", "--out", second.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    let config = format!("{config}\n[journal]\ncheckpoint_key_file = \"data/checkpoint-2.key\"\n");
    fs::write(app.path("config.toml"), config).unwrap();
    app.launch();
    post(&app, &mut rng, 1);
    app.stop();
    assert!(!app.journal().has_alarm("damage_found", "raised"));
    app.verify();
    fs::remove_file(app.data().join("checkpoint.pub")).unwrap();
    assert_eq!(verify(&app).0, Some(1));
}

/// The last seq of the file before this one.
fn end_before(segment: &Path) -> u64 {
    segment.file_name().unwrap().to_str().unwrap()[..20].parse::<u64>().unwrap() - 1
}

#[test]
fn a_segment_that_was_sealed_last_gets_the_checkpoint_that_a_kill_kept_from_it() {
    let (mut app, mut rng) = stopped("sealed", without_sinks().and("[journal]\nsegment = \"64KiB\"\n"));
    app.launch();
    while journal::segments(&app.data()).len() < 2 {
        post(&app, &mut rng, 1);
    }
    app.stop();
    let path = app.data().join("journal/checkpoints");
    let text = fs::read_to_string(&path).unwrap();
    let end = end_before(&journal::segments(&app.data()).pop().unwrap());
    // As it was before the seal: the notes up to there, without the one of the seal and what came since.
    let at = text.find(&format!("\n{end}\n")).unwrap();
    let before = text[..at].rfind("\n\n").unwrap_or_default();
    fs::write(&path, &text[..before + 1]).unwrap();
    app.launch();
    eventually("it is vouched for", || fs::read_to_string(&path).unwrap().contains(&format!("\n{end}\n")));
    app.stop();
    app.verify();
}

#[test]
fn a_checkpoint_of_a_closed_file_that_was_taken_away_shows_and_is_not_made_anew() {
    let (mut app, mut rng) = stopped("taken away", without_sinks().and("[journal]\nsegment = \"64KiB\"\n"));
    app.launch();
    while journal::segments(&app.data()).len() < 4 {
        post(&app, &mut rng, 1);
    }
    app.stop();
    app.verify();
    let path = app.data().join("journal/checkpoints");
    let end = end_before(&journal::segments(&app.data()).remove(1));
    let all = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> =
        all.split("\n\ntest-node/").filter(|note| note.lines().nth(1) != Some(&end.to_string())).collect();
    let one_less = kept.join("\n\ntest-node/");
    for (left, told) in [(one_less.as_str(), "1 closed file(s)"), ("", " closed file(s)")] {
        fs::write(&path, left).unwrap();
        assert_eq!(verify(&app).0, Some(1), "{left}");
        app.launch();
        assert_eq!(raised(&app), ["damage_found closed files"], "{left}: {}", app.log());
        assert!(app.log().contains(told), "{}", app.log());
        post(&app, &mut rng, 1);
        app.stop();
        let (code, text) = verify(&app);
        assert!(code == Some(1) && text.contains(&format!("record {end}: no checkpoint vouches for it")), "{text}");
    }
    fs::write(&path, all).unwrap();
    app.launch();
    assert_eq!(raised(&app), [""; 0]);
    app.stop();
    app.verify();
}
