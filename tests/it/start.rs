//! What a start reads and says, a check of it, and what is refused before either.

use std::{fs, process::Command};

use serde_json::Value;

use crate::support::app::{Settings, TestApp};

const BINARY: &str = env!("CARGO_BIN_EXE_refresh-audit");

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Of bodies all are read: what would leave some out is refused, not passed over.
#[test]
fn a_span_is_for_the_journal_only() {
    for only_of_journal in ["--since", "--until"] {
        let output = Command::new(BINARY).args(["backtest", "bodies.jsonl", only_of_journal, "2h"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{only_of_journal}: {}", text(&output.stderr));
    }
}

/// What ends a start with 78 ends a check with 78, in the same words.
#[test]
fn a_check_reads_every_file_that_a_start_reads() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("k"), "fixture-key-not-a-secret").unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let source =
        "[[sources]]\nname = \"a\"\ntype = \"fusionauth\"\nkeys = [{ alg = \"HS256\", secret_file = \"k\" }]\n";
    for (settings, named) in [
        ("[server]\ntls = { cert = \"no.crt\", key = \"no.key\" }\n", "no.crt"),
        ("[admin]\ntoken_file = \"no.token\"\n", "no.token"),
        ("[admin]\ntoken_file = \"empty\"\n", "empty is empty"),
        ("[journal]\ncheckpoint_key_file = \"k\"\n", "k: "),
        ("[fingerprint]\nprevious_key_files = [\"no.old\"]\n", "no.old"),
    ] {
        let ports = [("REFRESH_AUDIT_SERVER__LISTEN", "127.0.0.1:0"), ("REFRESH_AUDIT_ADMIN__LISTEN", "127.0.0.1:0")];
        fs::write(dir.path().join("config.toml"), format!("{settings}{source}")).unwrap();
        // The default key files are there, as they are wherever it has run once.
        for arguments in [&["serve"][..], &["check"]] {
            let output =
                Command::new(BINARY).args(arguments).current_dir(dir.path()).env_clear().envs(ports).output().unwrap();
            assert_eq!(output.status.code(), Some(78), "{settings} {arguments:?}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains(named), "{settings} {arguments:?}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn what_travels_in_the_clear_is_said() {
    let warnings = ["takes events in the clear", "takes its token in the clear"];
    let app = TestApp::start(Settings::new());
    assert!(warnings.iter().all(|warning| !app.log().contains(warning)), "{}", app.log());
    drop(app);
    let mut app = TestApp::prepare(Settings::new());
    fs::write(app.path("admin.token"), "fixture-token-not-a-secret-0123456789").unwrap();
    let config = fs::read_to_string(app.path("config.toml")).unwrap().replace("127.0.0.1:", "0.0.0.0:");
    fs::write(app.path("config.toml"), config.replace("[admin]\n", "[admin]\ntoken_file = \"admin.token\"\n")).unwrap();
    app.launch();
    assert!(warnings.iter().all(|warning| app.log().contains(warning)), "{}", app.log());
}

#[test]
fn a_log_for_programs_holds_nothing_else() {
    let mut app = TestApp::start(Settings::new().and("[log]\nformat = \"json\"\n"));
    app.stop();
    let log = app.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let told = |member: &str, value: String| assert!(lines.iter().any(|line| line[member] == *value), "{log}");
    told("webhooks", format!("http://{}/webhooks/fusionauth", app.listen));
    told("admin", format!("http://{}/", app.admin));
}
