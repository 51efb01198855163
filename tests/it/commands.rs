//! What commands say of how they are called and of the configuration, and what they do without either.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    cli::{command, run, text},
    support::app::{Settings, TestApp},
};

#[test]
fn keys_are_made_in_the_data_directory_unless_named() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(text(&run(dir.path(), &["keygen", "hmac"]).stdout), "data/webhook.key\n");
    assert_eq!((mode("data"), mode("data/webhook.key")), (0o700, 0o600));
    let key = fs::read(dir.path().join("data/webhook.key")).unwrap();
    let again = run(dir.path(), &["keygen", "hmac"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("data/webhook.key exists and is never overwritten"), "{again:?}");
    assert_eq!(fs::read(dir.path().join("data/webhook.key")).unwrap(), key);
    let elsewhere = |name: &str, arguments: &[&str]| {
        let output = command(dir.path(), arguments).env("REFRESH_AUDIT_DATA_DIR", name).output().unwrap();
        text(&output.stdout)
    };
    let made = elsewhere("var", &["keygen", "checkpoint", "--name", "audit-1"]);
    assert_eq!(made, "var/checkpoint.key\nvar/checkpoint.pub\n");
    assert_eq!((mode("var"), mode("var/checkpoint.key"), mode("var/checkpoint.pub")), (0o700, 0o600, 0o600));
    assert_eq!(elsewhere("var", &["keygen", "checkpoint", "--name", "audit-1"]), "");
}

/// Beside an error stands the usage of the help, in the order in which arguments are read.
#[test]
fn the_usage_shows_what_is_needed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, usage) in [
        (&["sinks", "parked", "--retry", "--config", "x"][..], "refresh-audit sinks parked [OPTIONS] <NAME> [SEQ]..."),
        (&["records", "--config", "x", "--nonsense"], "refresh-audit records [OPTIONS]"),
        (&["--nonsense"], "refresh-audit [OPTIONS] [COMMAND]"),
        (&["keygen"], "refresh-audit keygen [OPTIONS] <COMMAND>"),
    ] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.lines().any(|line| line.trim() == format!("Usage: {usage}")), "{arguments:?}: {said}");
    }
    let help = text(&run(dir.path(), &["sinks", "parked", "--help"]).stdout);
    assert!(help.contains("Usage: refresh-audit sinks parked [OPTIONS] <NAME> [SEQ]...\n"), "{help}");
}

#[test]
fn an_empty_variable_names_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let check = |value: &str, arguments: &[&str]| {
        let output = command(dir.path(), arguments).env("REFRESH_AUDIT_CONFIG", value).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(check("", &["check"]), (Some(0), String::new()));
    let (code, said) = check("none.toml", &["check"]);
    assert_eq!(code, Some(78));
    assert!(said.contains("cannot read the config file none.toml"), "{said}");
    // What an argument names goes first, and is not left out.
    let (code, said) = check("none.toml", &["check", "--config", "other.toml"]);
    assert!(code == Some(78) && said.contains("config file other.toml"), "{said}");
    assert_eq!(check("", &["check", "--config", ""]).0, Some(2));
}

/// What shows only when a source is built is named with its own place.
#[test]
fn what_is_wrong_with_a_source_is_said_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.pem"), "no key").unwrap();
    fs::write(dir.path().join("good.key"), "fixture-key-not-a-secret-0123456789abcdefgh").unwrap();
    let good = "keys = [{ alg = \"HS256\", secret_file = \"good.key\" }]";
    for (members, said, place) in [
        ("keys = [{ alg = \"HS256\", secret_file = \"missing.key\" }]".to_owned(), "missing.key", "4:9"),
        (
            format!(
                "{}\n",
                "keys = [\n  { alg = \"HS256\", secret_file = \"good.key\" },\n  { alg = \"RS256\", pem_file = \"bad.pem\" },\n]"
            ),
            "bad.pem",
            "6:3",
        ),
        ("jwks_url = \"http://auth.example.com/jwks\"".to_owned(), "jwks_url", "4:12"),
        (format!("{good}\nallowed_kids = [\"a\"]"), "allowed_kids", "5:16"),
        (format!("{good}\nevents = [\n  \"test\",\n  \"jwt.refesh\",\n]"), "did you mean \"jwt.refresh\"?", "7:3"),
        (format!("{good}\nkeep = [\"event.x\"]"), "must start below event", "5:8"),
        (format!("{good}\nquiet_after = \"0s\""), "quiet_after", "5:15"),
        (format!("{good}\nheaders = {{ \"X-Api-Key\" = {{ file = \"none\" }} }}"), "none", "5:27"),
        (format!("{good}\nunsigned = true"), "exclude each other", "5:12"),
        // About no member that is there.
        (String::new(), "there is nothing to check signatures with", "1:1"),
    ] {
        let config = format!("[[sources]]\nname = \"fusionauth\"\ntype = \"fusionauth\"\n{members}\n");
        fs::write(dir.path().join("config.toml"), &config).unwrap();
        for arguments in [&["check"][..], &["serve"]] {
            let output = run(dir.path(), arguments);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{config}: {error}");
            assert!(error.contains(said) && error.contains(&format!(" at config.toml:{place}")), "{config}: {error}");
        }
    }
    let config = format!("[[sources]]\nname = \"fusionauth\"\ntype = \"fusionauth\"\n{good}\nevents = [\"\"]\n");
    fs::write(dir.path().join("config.toml"), config).unwrap();
    let output = run(dir.path(), &["backtest", "none.jsonl"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("source fusionauth: events must name"), "{output:?}");
}

#[test]
fn a_rule_s_test_that_fails_keeps_nobody_from_reading_the_journal() {
    const FAILS: &str = "[[rules]]\nid = \"own\"\nwhen = 'event.ip == \"192.0.2.1\"'\nseverity = \"low\"\n\n\
                         [[rules.tests]]\nfires = true\nevent = { ip = \"192.0.2.2\" }\n";
    let mut app = TestApp::start(Settings::new());
    let write = |app: &TestApp| {
        let text = fs::read_to_string(app.path("config.toml")).unwrap();
        fs::write(app.path("config.toml"), format!("{text}\n{FAILS}")).unwrap();
    };
    write(&app);
    let all = |app: &TestApp, running: bool| {
        for arguments in [
            &["records"][..],
            &["incidents"],
            &["verify"],
            &["sinks"],
            &["gate", "report"],
            &["gate", "stop"],
            &["gate", "start"],
            &["applications"],
        ] {
            let output = app.run(arguments);
            assert!(output.status.success(), "running: {running}, {arguments:?}: {output:?}");
        }
        let unknown = app.run(&["explain", "none"]);
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        for arguments in [&["check"][..], &["backtest", "--journal"], &["backtest", "none.jsonl"]] {
            let output = app.run(arguments);
            assert_eq!(output.status.code(), Some(78), "{arguments:?}: {output:?}");
        }
        assert_eq!(app.run(&["rules", "test"]).status.code(), Some(1));
    };
    all(&app, true);
    app.stop();
    all(&app, false);
    assert_eq!(app.run(&["serve"]).status.code(), Some(78));
}

#[test]
fn names_are_looked_at_before_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["records", "--rule", "RA999"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("there is no rule `RA999`"), "{output:?}");
    assert_eq!(run(dir.path(), &["records", "--rule", "RA101"]).status.code(), Some(1));
    assert!(!Path::new(&dir.path().join("data")).exists());
}
