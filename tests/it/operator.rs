//! What an operator asks for: the journal holds what was done, and not what was refused.

use std::fs;

use rand::{SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually, seed,
};

fn actions(app: &TestApp) -> usize {
    app.journal().lines.iter().filter(|line| line.kind == "operator").count()
}

#[test]
fn what_is_refused_is_not_journaled() {
    let mut rng = StdRng::seed_from_u64(seed("refused actions"));
    let mut app = TestApp::start(Settings::new());
    for _ in 0..6 {
        assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    }
    eventually("the sink has them", || app.file_sink_lines().len() == 6);
    let refused = |app: &TestApp| {
        for arguments in [
            &["redeliver", "audit-file", "--from", "9999"][..],
            &["redeliver", "audit-file", "--from", "5", "--to", "2"],
            &["redeliver", "audit-file", "--from", "0"],
            &["parked", "audit-file", "--drop", "99999"],
            &["parked", "audit-file", "--retry", "3"],
        ] {
            let output = app.run(&[&["sinks"], arguments].concat());
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        }
    };
    refused(&app);
    assert_eq!(actions(&app), 0, "by the running service");
    assert!(app.run(&["sinks", "redeliver", "audit-file", "--from", "2", "--to", "3"]).status.success());
    assert_eq!(actions(&app), 1);
    eventually("they came again", || app.file_sink_lines().len() == 9);
    app.stop();
    refused(&app);
    assert_eq!(actions(&app), 1, "without a service");
    assert!(app.run(&["sinks", "redeliver", "audit-file", "--from", "2"]).status.success());
    assert_eq!(actions(&app), 2);
}

#[test]
fn a_closed_terminal_stops_it_in_order() {
    let mut rng = StdRng::seed_from_u64(seed("SIGHUP"));
    let mut app = TestApp::start(Settings::new());
    assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    kill_process(Pid::from_raw(i32::try_from(app.pid()).unwrap()).unwrap(), Signal::HUP).unwrap();
    let status = app.wait();
    assert!(status.success() && app.log().contains("stopped"), "{status}: {}", app.log());
}

#[test]
fn without_a_service_no_sink_delivers() {
    let mut rng = StdRng::seed_from_u64(seed("stopped"));
    let mut app = TestApp::start(Settings::new());
    assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    let state = |app: &TestApp| {
        let output = app.run(&["sinks", "--format", "json"]);
        let sinks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        sinks[0]["state"].as_str().unwrap().to_owned()
    };
    eventually("the sink has it", || state(&app) == "idle");
    app.stop();
    assert_eq!(state(&app), "stopped");
}

#[test]
fn a_log_filter_that_is_none_is_told_and_the_configured_one_counts() {
    for (asked, told) in
        [("degub", true), ("info,refresh_audit=loud", true), ("", false), ("warn,refresh_audit=info", false)]
    {
        let mut app = TestApp::start(Settings::new().env("RUST_LOG", asked));
        app.stop();
        let log = app.log();
        assert_eq!(log.contains("is not a filter, so log.level = "), told, "{asked}: {log}");
        assert!(log.contains("stopped"), "{asked}: {log}");
    }
}

#[test]
fn a_source_that_is_added_to_a_journal_is_warned_of() {
    const SAID: &str = "this journal began with one";
    let mut app = TestApp::start(Settings::new());
    app.stop();
    assert!(!app.log().contains(SAID));
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    let second = "[[sources]]\nname = \"other\"\ntype = \"fusionauth\"\nkeys = [{ alg = \"HS256\", secret_file = \"hook.key\" }]\n";
    fs::write(app.path("config.toml"), config + second).unwrap();
    app.launch();
    assert!(app.log().contains(SAID), "{}", app.log());
}

#[test]
fn verify_finds_checkpoints_and_records_that_are_not_there() {
    let mut rng = StdRng::seed_from_u64(seed("verify"));
    let mut app = TestApp::start(Settings::new().and("[journal]\nsegment = \"64KiB\"\n"));
    let mut client = app.client();
    for _ in 0..100 {
        assert!(client.send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    }
    app.stop();
    app.verify();
    let says = |arguments: &[&str], what: &str| {
        let output = app.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(what), "{arguments:?}: {text}");
    };
    says(&["verify", "--from", "9999"], "record 9999: there is no such record: the last one is 100");
    assert!(app.run(&["verify", "--from", "100"]).status.success());
    fs::remove_file(app.data().join("journal/checkpoints")).unwrap();
    says(&["verify"], "no checkpoint is left");
}

#[test]
fn records_are_asked_for_by_network_and_rule_in_the_same_way_everywhere() {
    let mut rng = StdRng::seed_from_u64(seed("asked"));
    let app = TestApp::start(Settings::new());
    for _ in 0..3 {
        assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    }
    let found = |ip: &str| {
        let (status, text) = app.get(&format!("/api/records?ip={ip}")).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        (status, answer["records"].as_array().map(Vec::len))
    };
    // Every event of the tests is from there.
    assert_eq!(found("192.0.2.0/24"), (200, Some(3)));
    assert_eq!(found("198.51.100.0/24"), (200, Some(0)));
    for bad in ["nonsense", "10.0.0.1/8", "192.0.2.0/40"] {
        assert_eq!(found(bad), (400, None), "{bad}");
        assert_eq!(app.run(&["records", "--ip", bad]).status.code(), Some(2), "{bad}");
    }
    let by_rule = |rule: &str| {
        let output = app.run(&["records", "--rule", rule]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(by_rule("ra101"), (Some(0), String::new()));
    let (code, said) = by_rule("RA110");
    assert!(code == Some(2) && said.contains("there is no rule `RA110`; did you mean `RA1"), "{said}");
    assert_eq!(app.run(&["records", "--kind", "checkpoint"]).status.code(), Some(2));
    let (code, said) = by_rule("one-of-before");
    assert!(code == Some(0) && said.contains("no rule `one-of-before` is configured"), "{said}");
}
