//! What an operator asks for: the journal holds what was done, and not what was refused.

use std::fs;

use rand::{SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    app::{Settings, TestApp, free_port},
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
fn what_waits_to_be_delivered_again_is_taken_back_and_that_is_journaled() {
    let mut rng = StdRng::seed_from_u64(seed("taken back"));
    let mut app = TestApp::start(Settings::new());
    for _ in 0..6 {
        assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    }
    eventually("the sink has them", || app.file_sink_lines().len() == 6);
    let sinks = |app: &TestApp, arguments: &[&str], code: i32| {
        let output = app.run(&[&["sinks", "redeliver", "audit-file"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for arguments in [&[][..], &["--to", "2"], &["--cancel", "--from", "1"], &["--cancel", "--to", "2"]] {
        sinks(&app, arguments, 2);
    }
    let nothing = "audit-file: 0 records will not be delivered again\n";
    assert_eq!((sinks(&app, &["--cancel"], 0).as_str(), actions(&app)), (nothing, 0), "by the running service");
    app.stop();
    assert_eq!((sinks(&app, &["--cancel"], 0).as_str(), actions(&app)), (nothing, 0), "without a service");
    sinks(&app, &["--from", "2", "--to", "3"], 0);
    assert_eq!(sinks(&app, &["--cancel"], 0), "audit-file: 2 records will not be delivered again\n");
    assert_eq!(actions(&app), 2);

    // The sink is one that nobody answers for: what is asked for waits, and is taken back from the running service.
    sinks(&app, &["--from", "4", "--to", "6"], 0);
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    let nobody = format!("type = \"http\"\nurl = \"http://{}/\"", free_port());
    fs::write(app.path("config.toml"), config.replace("type = \"file\"\npath = \"data/audit.jsonl\"", &nobody))
        .unwrap();
    app.launch();
    assert_eq!(sinks(&app, &["--cancel"], 0), "audit-file: 3 records will not be delivered again\n");
    assert_eq!((sinks(&app, &["--cancel"], 0).as_str(), actions(&app)), (nothing, 4));
    let output = app.run(&["records", "--kind", "operator"]);
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let said = serde_json::json!({ "action": "redeliver_cancel", "subject": "audit-file", "detail": "3 records" });
    assert_eq!(last["operator"], said);
}

/// More than a page of them; the files are written by hand.
#[test]
fn parked_records_are_shown_in_full_but_a_page_at_a_time() {
    const PARKED: u64 = 1_100;
    let mut app = TestApp::start(Settings::new());
    let sent = app.run(&["send", "--example", "--repeat", &PARKED.to_string(), "--concurrency", "8"]);
    assert!(sent.status.success(), "{sent:?}");
    app.stop();
    let cursor = app.path("data/sinks/audit-file/cursor");
    let mut counts: serde_json::Value = serde_json::from_slice(&fs::read(&cursor).unwrap()).unwrap();
    (counts["start"], counts["next"]) = (1.into(), (PARKED + 1).into());
    (counts["delivered"], counts["parked"]) = (0.into(), PARKED.into());
    counts.as_object_mut().unwrap().remove("last");
    fs::write(&cursor, counts.to_string()).unwrap();
    let line = |seq| {
        format!(
            "{{\"seq\":{seq},\"key\":\"k{seq}\",\"parked_at\":\"2026-11-22T06:40:00.000000Z\",\"reason\":\"no\",\"record\":{{\"seq\":{seq}}}}}\n"
        )
    };
    fs::write(app.path("data/sinks/audit-file/parked.jsonl"), (1..=PARKED).map(line).collect::<String>()).unwrap();
    let shown = |app: &TestApp, arguments: &[&str]| {
        let output = app.run(&[&["sinks", "parked", "audit-file"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (json, table) = (shown(&app, &["--format", "json"]), shown(&app, &[]));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!((1..).zip(&rows).all(|(seq, row): (u64, _)| row["seq"] == seq && row["record"]["seq"] == seq));
    assert_eq!((rows.len() as u64, table.lines().count() as u64), (PARKED, PARKED + 1));
    assert_eq!(json, serde_json::to_string_pretty(&rows).unwrap() + "\n", "one array");

    app.launch();
    assert_eq!((shown(&app, &["--format", "json"]), shown(&app, &[])), (json, table), "by the running service");
    let page = |query: &str| {
        let (status, text) = app.get(&format!("/api/sinks/audit-file/parked{query}")).unwrap();
        assert_eq!(status, 200, "{query}: {text}");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let full = rows.iter().filter(|row| !row["record"].is_null()).count();
        (rows.len(), full, rows.first().map(|row| row["seq"].clone()))
    };
    assert_eq!(page(""), (100, 0, Some(1.into())));
    assert_eq!(page("?limit=5000&full=true"), (1_000, 1_000, Some(1.into())));
    assert_eq!(page("?from=1095&full=true"), (6, 6, Some(1095.into())));
    assert_eq!(page("?from=1101"), (0, 0, None));
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
