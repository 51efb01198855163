//! What a start reads and says, a check of it, and what is refused before either.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::support::{
    app::{Settings, TestApp, free_port},
    certs::Authority,
    eventually,
};

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

#[test]
fn help_is_had_as_a_command_too() {
    for arguments in [&["help"][..], &["help", "send"], &["help", "keygen", "hmac"], &["keygen", "help"]] {
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("Usage: "), "{arguments:?}: {output:?}");
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

/// The usual override of a container: one variable, and everything is in that directory.
#[test]
fn another_data_directory_needs_no_other_setting() {
    let dir = tempfile::tempdir().unwrap();
    let free = || free_port().to_string();
    for (cwd, data) in [("a", dir.path().join("var").to_str().unwrap().to_owned()), ("b", "state/here/".to_owned())] {
        let cwd = dir.path().join(cwd);
        fs::create_dir(&cwd).unwrap();
        let admin = free();
        let mut command = Command::new(BINARY);
        command.current_dir(&cwd).env_clear().env("REFRESH_AUDIT_DATA_DIR", &data);
        command.env("REFRESH_AUDIT_SERVER__LISTEN", free()).env("REFRESH_AUDIT_ADMIN__LISTEN", &admin);
        let mut child = command.stderr(fs::File::create(cwd.join("log")).unwrap()).spawn().unwrap();
        let log = || fs::read_to_string(cwd.join("log")).unwrap();
        eventually("it is ready, or has ended", || log().contains(" ready\n") || child.try_wait().unwrap().is_some());
        let data = cwd.join(data);
        let _ = child.kill();
        child.wait().unwrap();
        assert!(log().contains(" ready\n"), "{}", log());
        for file in ["webhook.key", "fingerprint.key", "checkpoint.key", "checkpoint.pub", "journal", "lock"] {
            assert!(data.join(file).exists(), "{file}");
        }
        assert!(!cwd.join("data").exists());
    }
}

/// Only `data_dir` is changed in a copy of the shipped file: other paths are what they say.
#[test]
fn the_key_that_the_shipped_file_names_is_made_where_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = refresh_audit::config::EMBEDDED.replace("data_dir = \"data\"", "data_dir = \"var\"");
    fs::write(dir.path().join("config.toml"), shipped).unwrap();
    let checked = Command::new(BINARY).arg("check").current_dir(dir.path()).env_clear().output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("note data/webhook.key does not exist yet"), "{}", text(&checked.stdout));
}

#[test]
fn what_is_printed_to_send_an_example_runs_as_it_stands() {
    let mut app = TestApp::start(Settings::new());
    let elsewhere = tempfile::tempdir().unwrap();
    // Who started the tests is told what it would write itself.
    let printed = app.log().replace("cargo run --release --", BINARY);
    let printed = printed.lines().find(|line| line.contains(" send ")).unwrap();
    for answer in ["200 accepted seq 1", "200 duplicate seq 1"] {
        let output = Command::new("sh").args(["-c", printed]).current_dir(elsewhere.path()).output().unwrap();
        assert!(output.status.success(), "{printed}: {}", text(&output.stderr));
        assert!(text(&output.stdout).starts_with(answer), "{}", text(&output.stdout));
    }
    app.stop();
}

#[test]
fn a_refused_delivery_is_found_by_its_id_and_its_peer() {
    let mut app = TestApp::start(Settings::new());
    let url = format!("{}:{}", app.listen.ip(), app.listen.port());
    let mut stream = std::net::TcpStream::connect(&url).unwrap();
    let request = format!(
        "POST /webhooks/fusionauth HTTP/1.1\r\nHost: {url}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         X-Request-Id: from-the-proxy-7\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    app.stop();
    let log = app.log();
    let line = log.lines().find(|line| line.contains("a delivery was refused")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("from-the-proxy-7") && line.contains("peer=127.0.0.1"), "{line}");
}

#[test]
fn a_file_sink_writes_over_nothing_that_is_read() {
    let app = TestApp::prepare(Settings::new());
    fs::create_dir_all(app.data().join("journal")).unwrap();
    std::os::unix::fs::symlink("data/journal", app.path("link")).unwrap();
    std::os::unix::fs::symlink("config.toml", app.path("other.toml")).unwrap();
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    for (path, what) in [
        ("config.toml", "is the configuration itself"),
        ("other.toml", "is the configuration itself"),
        ("hook.key", "is a key or certificate"),
        ("data/x/../checkpoint.pub", "is in checkpoint.pub of data_dir"),
        ("link/00000000000000000001.jsonl", "is in journal of data_dir"),
        ("link/../journal/new", "is in journal of data_dir"),
    ] {
        let sink = format!("\n[[sinks]]\nname = \"x\"\ntype = \"file\"\npath = \"{path}\"\n");
        fs::write(app.path("config.toml"), format!("{config}{sink}")).unwrap();
        let output = app.run(&["check"]);
        assert_eq!(output.status.code(), Some(78), "{path}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(what), "{path}: {}", text(&output.stderr));
    }
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_named_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    authority.issue("one");
    authority.issue("other");
    fs::write(dir.path().join("junk"), "junk").unwrap();
    fs::write(dir.path().join("k"), "fixture-key-not-a-secret").unwrap();
    let source =
        "[[sources]]\nname = \"a\"\ntype = \"fusionauth\"\nkeys = [{ alg = \"HS256\", secret_file = \"k\" }]\n";
    for (cert, key, said) in [
        ("junk", "one.key", "junk: it holds no certificate in PEM"),
        ("one.crt", "junk", "junk: it holds no private key in PEM"),
        ("one.crt", "other.key", "other.key: it is not the key of the first certificate in one.crt"),
        ("one.crt", "none", "none: it cannot be read"),
    ] {
        let tls = format!("[server]\ntls = {{ cert = \"{cert}\", key = \"{key}\" }}\n{source}");
        fs::write(dir.path().join("config.toml"), tls).unwrap();
        let output = Command::new(BINARY).arg("check").current_dir(dir.path()).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains(said), "{cert} {key}: {}", text(&output.stderr));
    }
}

#[test]
fn a_cas_own_certificate_is_called_what_it_is() {
    let ca = tempfile::tempdir().unwrap();
    let params = || {
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let (cert_file, key_file) = (ca.path().join("s.crt"), ca.path().join("s.key"));
    fs::write(&cert_file, params().self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}\n", cert_file.display(), key_file.display());
    let app = TestApp::start(Settings { server: tls, ..Settings::new() });
    let output = app.run(&["send", "--example", "--ca-file", cert_file.to_str().unwrap()]);
    assert!(text(&output.stderr).contains("is a CA's own"), "{}", text(&output.stderr));
    let sink = format!(
        "\n[[sinks]]\nname = \"x\"\ntype = \"http\"\nurl = \"https://{}/\"\nca_file = \"{}\"\n",
        app.listen,
        cert_file.display()
    );
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    fs::write(app.path("sink.toml"), config + &sink).unwrap();
    let output = app.run_with("sink.toml", &["check", "--connect"]);
    assert!(text(&output.stdout).contains("is a CA's own"), "{output:?}");
}

#[test]
fn a_start_that_fails_on_a_path_names_it() {
    type Harm<'a> = (&'a str, fn(&TestApp));
    let harms: [Harm<'_>; 2] = [
        ("data/state", |app| {
            fs::create_dir(app.data()).unwrap();
            fs::write(app.data().join("state"), "").unwrap();
        }),
        ("data/journal/checkpoints", |app| fs::create_dir_all(app.data().join("journal/checkpoints")).unwrap()),
    ];
    for (path, harm) in harms {
        let app = TestApp::prepare(Settings::new());
        harm(&app);
        let output = app.run(&["serve"]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert!(text(&output.stderr).contains(app.path(path).to_str().unwrap()), "{path}: {}", text(&output.stderr));
    }
}

#[test]
fn a_file_sink_without_a_directory_is_no_other_side() {
    let app =
        TestApp::prepare(Settings::new().and("[[sinks]]\nname = \"x\"\ntype = \"file\"\npath = \"/proc/none/x\"\n"));
    let output = app.run(&["check", "--connect"]);
    let said = text(&output.stdout);
    assert!(said.contains("FAIL sink x") && said.contains("mend the sink's settings"), "{said}");
    assert!(!said.contains("other side"), "{said}");
}

#[test]
fn an_open_data_directory_is_warned_of() {
    for (mode, is_said) in [(0o755, true), (0o750, false), (0o700, false)] {
        let mut app = TestApp::prepare(Settings::new());
        fs::create_dir(app.data()).unwrap();
        fs::set_permissions(app.data(), fs::Permissions::from_mode(mode)).unwrap();
        app.launch();
        assert_eq!(app.log().contains("(mode 755): chmod 700"), is_said, "{mode:o}");
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

/// A pipe that nobody writes to, in the place of a file that recovery reads.
#[test]
fn it_can_be_stopped_while_it_recovers() {
    let mut app = TestApp::start(Settings::new());
    app.stop();
    let begins = app.data().join("journal/begins");
    let _ = fs::remove_file(&begins);
    mknodat(CWD, &begins, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    app.spawn();
    eventually("it recovers", || {
        app.get("/readyz").is_some_and(|(status, text)| status == 503 && text.contains("recover"))
    });
    app.stop();
    assert!(app.log().contains("stopped before the journal was recovered"), "{}", app.log());
    fs::remove_file(&begins).unwrap();
    app.launch();
}

#[test]
fn a_check_makes_nothing_and_says_where_nothing_can_be_written() {
    let app = TestApp::prepare(Settings::new());
    let entries = || fs::read_dir(app.path("")).unwrap().count();
    let before = entries();
    assert!(app.run(&["check", "--connect"]).status.success());
    assert_eq!(entries(), before);
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    fs::write(app.path("config.toml"), config.replace("data_dir = \"data\"", "data_dir = \"hook.key/data\"")).unwrap();
    let output = app.run(&["check"]);
    assert!(!output.status.success() && text(&output.stderr).contains("cannot be written by this user"), "{output:?}");
}
