//! The edges of commands and settings: what asks for nothing, for what is not there, or for what cannot be; and that it is
//! told where, and by which exit code (0 done, 1 a problem, 2 usage, 78 configuration).

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output},
};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually, seed,
};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_shows_only_when_keys_are_read_is_named_with_its_place() {
    let sink = |text: &str| format!("[[sinks]]\nname = \"s\"\n{text}\n");
    let azure = "type = \"azure_logs\"\nendpoint = \"https://x.example.com\"\nrule_id = \"dcr-1\"\nstream = \"Custom-X\"\n\
                 tenant_id = \"t\"\nclient_secret_file = \"hook.key\"";
    let elastic = "type = \"elasticsearch\"\nurl = \"https://127.0.0.1:9200\"\nindex = \"a\"\nformat = \"cef\"";
    for (source, tables, words) in [
        (
            "events = [\"jwt.refreshh\"]\n",
            String::new(),
            "FusionAuth has no event `jwt.refreshh`; did you mean \"jwt.refresh\"?",
        ),
        ("events = [\"*\"]\n", String::new(), "events: `*` is no event type"),
        ("quiet_after = \"0s\"\n", String::new(), "quiet_after must be more than zero"),
        ("", sink(elastic), "takes JSON only"),
        ("", sink(&format!("{azure}\nclient_id = \"\"")), "client_id is not one"),
        ("", sink(&format!("{azure}\nclient_id = \"c\"\naudience = \"\"")), "audience is not one"),
        ("", sink("type = \"http\"\nurl = \"https://h/\"\nsign = { secret_file = \"gone\" }"), "gone: No such file"),
        ("", "[fingerprint]\nprevious_key_files = [\"gone\"]\n".to_owned(), "fingerprint.previous_key_files: "),
    ] {
        let app = TestApp::prepare(Settings { source: source.to_owned(), tables, ..Settings::new() });
        let output = app.run(&["check"]);
        let text = said(&output);
        let last = text.lines().last().unwrap_or_default();
        assert!(output.status.code() == Some(78) && last.contains(words), "{words}: {text}");
        assert!(last.contains("config.toml"), "{words}: {text}");
    }
}

#[test]
fn a_check_says_of_no_key_that_it_will_be_made_that_will_not() {
    let app = TestApp::prepare(Settings::new());
    let text = said(&app.run(&["check"]));
    // The source's key is hook.key.
    assert!(!text.contains("webhook.key") && text.contains("fingerprint.key does not exist yet"), "{text}");
}

#[test]
fn a_check_tells_of_suppressions_that_are_over() {
    let one = |until: &str| format!("[[suppress]]\nrule = \"RA403\"\nreason = \"r\"\nuntil = \"{until}\"\n");
    let app = TestApp::prepare(Settings::new().and(&one("2999-01-01")).and(&one("2020-01-01")));
    let text = said(&app.run(&["check"]));
    assert!(text.contains("note [[suppress]] 2 ended at 2020-01-01T00:00:00.000000Z"), "{text}");
    assert!(!text.contains("[[suppress]] 1"), "{text}");
}

#[test]
fn a_check_without_key_files_looks_at_all_else() {
    let made = |source: &str, keys: &str| {
        let app = TestApp::prepare(Settings { source: source.to_owned(), ..Settings::new() });
        let config = fs::read_to_string(app.path("config.toml")).unwrap();
        let key = "{ alg = \"HS256\", secret_file = \"hook.key\" }";
        assert!(config.contains(key), "{config}");
        fs::write(app.path("config.toml"), config.replace(key, keys)).unwrap();
        app.run(&["check"])
    };
    let unmade = "{ alg = \"HS256\", secret_file = \"data/webhook.key\" }";
    for (source, keys, words) in [
        ("keep = [\"refreshToken\"]\n", unmade, "keep: `refreshToken` names a secret"),
        ("quiet_after = \"0s\"\n", unmade, "quiet_after must be more than zero"),
        ("", &format!("{unmade}, {{ alg = \"RS256\", pem_file = \"gone.pem\" }}"), "gone.pem: No such file"),
        ("", "{ alg = \"RS256\", secret_file = \"data/webhook.key\" }", "RS256 needs pem_file"),
    ] {
        let output = made(source, keys);
        assert!(output.status.code() == Some(78) && said(&output).contains(words), "{words}: {output:?}");
    }
    for keys in [unmade, "{ alg = \"HS256\", secret_file = \"data/webhook.key\", encoding = \"base64\" }"] {
        let output = made("", keys);
        assert!(output.status.success() && said(&output).contains("ok   source fusionauth"), "{output:?}");
    }
}

#[test]
fn settings_of_the_gate_that_do_nothing_are_noted() {
    let gate = "[gate]\nmode = \"enforce\"\nmax_denials_per_minute = 0\n\
                deny = [{ rule = \"RA305\", severity = \"critical\" }, { rule = \"RA404\", severity = \"high\" }]\n";
    let mut app = TestApp::prepare(Settings::new().and(gate));
    let checked = app.run(&["check"]);
    app.launch();
    for (text, before) in [(said(&checked), "note "), (app.log(), "WARN ")] {
        for note in [
            "gate.max_denials_per_minute = 0: no refresh is refused",
            "gate.deny names RA305 at critical, but it is low at most: nothing is refused for it",
        ] {
            let is_it = |line: &str| line.contains(note) && line.contains(before);
            assert!(text.lines().any(is_it), "{note} is not in {text}");
        }
        assert!(!text.contains("RA404"), "{text}");
    }
    assert!(checked.status.success());
}

#[test]
fn what_should_be_looked_at_in_a_source_is_noted_by_check_and_at_a_start() {
    let source = "trusted_proxies = [\"127.0.0.1\"]\nheaders = { X-Api-Key = { file = \"api.key\" } }\n";
    let mut app = TestApp::prepare(Settings { source: source.to_owned(), ..Settings::new() });
    fs::write(app.path("hook.key"), "\u{feff}sixteen-bytes-16").unwrap();
    fs::write(app.path("api.key"), "\u{feff}k").unwrap();
    let checked = app.run(&["check"]);
    app.launch();
    for (text, before) in [(said(&checked), "note source fusionauth: "), (app.log(), "WARN ")] {
        for note in [
            "trusted_proxies does nothing without allow_from",
            "keys[0]: the secret has 19 bytes, fewer than the 32 of the hash",
            "keys[0]: the secret begins with a byte order mark",
            "headers.x-api-key begins with a byte order mark",
        ] {
            let is_it = |line: &str| line.contains(note) && line.contains(before);
            assert_eq!(text.lines().filter(|line| is_it(line)).count(), 1, "{note} is not in {text}");
        }
    }
    assert!(checked.status.success());
}

#[test]
fn secrets_that_can_be_guessed_or_never_arrive_are_refused() {
    let (open, closed) = ("0.0.0.0:", "127.0.0.1:");
    for (listen, token, fingerprint_key, words) in [
        (closed, "a", "sixteen-bytes-16", None),
        (open, "a", "sixteen-bytes-16", None),
        (closed, "a \n", "sixteen-bytes-16", Some("admin.token can never arrive in a header")),
        (closed, "a\u{1}b", "sixteen-bytes-16", Some("admin.token can never arrive in a header")),
        (closed, "\u{feff}a", "sixteen-bytes-16", Some("admin.token begins with a byte order mark")),
        (closed, "a", "1", Some("fingerprint.key has 1 bytes, fewer than 16: it can be guessed")),
    ] {
        let mut app = TestApp::prepare(Settings::new());
        fs::create_dir(app.data()).unwrap();
        fs::write(app.data().join("fingerprint.key"), fingerprint_key).unwrap();
        fs::write(app.path("admin.token"), token).unwrap();
        let config = fs::read_to_string(app.path("config.toml")).unwrap();
        let admin = format!("[admin]\ntoken_file = \"admin.token\"\nlisten = \"{listen}");
        fs::write(app.path("config.toml"), config.replace("[admin]\nlisten = \"127.0.0.1:", &admin)).unwrap();
        let checked = app.run(&["check"]);
        assert_eq!(checked.status.code(), Some(if words.is_some() { 78 } else { 0 }), "{checked:?}");
        let Some(words) = words else { continue };
        assert!(said(&checked).contains(words), "{words}: {checked:?}");
        app.spawn();
        assert!(app.wait().code() == Some(78) && app.log().contains(words), "{words}: {}", app.log());
    }
}

#[test]
fn quotes_around_a_data_directory_are_told_where_no_file_is_read_too() {
    let app = TestApp::prepare(Settings::new());
    let check = |dir: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refresh-audit"));
        command.arg("check").current_dir(app.path("nowhere")).env_clear().env("REFRESH_AUDIT_DATA_DIR", dir);
        command.output().unwrap()
    };
    fs::create_dir(app.path("nowhere")).unwrap();
    let quoted = check("\"/var/lib/ra\"");
    assert!(quoted.status.code() == Some(78) && said(&quoted).contains("the value stands in quotes"), "{quoted:?}");
    let dir = app.path("ends in \"").display().to_string();
    let checked = check(&dir);
    assert!(checked.status.success() && said(&checked).contains(&format!("{dir}/webhook.key")), "{checked:?}");
}

#[test]
fn a_secret_of_the_environment_may_end_a_line() {
    let mut rng = StdRng::seed_from_u64(seed("edges-env"));
    let app = TestApp::prepare(Settings::new());
    let key = fs::read_to_string(app.path("hook.key")).unwrap();
    drop(app);
    for end in ["", "\n", "\r\n"] {
        let mut app = TestApp::prepare(Settings::new().env("HOOK_SECRET", &format!("{key}{end}")));
        let config = fs::read_to_string(app.path("config.toml")).unwrap();
        let config = config.replace("secret_file = \"hook.key\"", "secret_env = \"HOOK_SECRET\"");
        fs::write(app.path("config.toml"), config).unwrap();
        app.launch();
        assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded(), "{end:?}");
    }
}

#[test]
fn commands_that_ask_for_nothing_say_so() {
    let mut rng = StdRng::seed_from_u64(seed("edges"));
    let mut app = TestApp::prepare(Settings::new());
    let output = app.run(&["gate", "report"]);
    assert!(output.status.code() == Some(1) && said(&output).contains("there is no data directory"), "{output:?}");
    app.launch();
    assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    eventually("it is delivered", || app.file_sink_lines().len() == 1);
    let mut refused = Vec::new();
    for running in [true, false] {
        for (arguments, code) in [
            (&["sinks", "parked", "audit-file"][..], 0),
            (&["sinks", "parked", "audit-file", "--retry"], 2),
            (&["sinks", "parked", "audit-file", "--all"], 2),
            (&["sinks", "parked", "audit-file", "5"], 2),
            (&["sinks", "parked", "audit-file", "--retry", "--drop", "5"], 2),
            (&["sinks", "parked", "audit-file", "--retry", "5"], 1),
            (&["sinks", "parked", "audit-file", "--retry", "--all"], 0),
            (&["sinks", "reconcile", "audit-file", "--from", "0"], 0),
            (&["verify", "--from", "18446744073709551615"], 1),
            (&["backtest", "-", "--source", "other"], 2),
        ] {
            let output = app.run(arguments);
            assert_eq!(output.status.code(), Some(code), "running: {running}, {arguments:?}: {}", said(&output));
        }
        eventually("the operator's action is delivered, too", || app.file_sink_lines().len() == 2);
        refused.push(said(&app.run(&["sinks", "redeliver", "audit-file", "--from", "9"])));
        let turned = said(&app.run(&["sinks", "redeliver", "audit-file", "--from", "2", "--to", "1"]));
        assert!(turned.contains("the range ends (1) before it begins (2)"), "{turned}");
        if running {
            app.stop();
        }
    }
    assert!(refused[0].contains("nothing to deliver again"), "{refused:?}");
    assert_eq!(refused[0], refused[1], "with a service and without one");
    // A public key that is none is no key to check by; without one, only hashes are checked.
    fs::write(app.data().join("checkpoint.pub"), "none\n").unwrap();
    let output = app.run(&["verify"]);
    assert!(output.status.code() == Some(1) && said(&output).contains("checkpoint.pub"), "{output:?}");
    fs::remove_file(app.data().join("checkpoint.pub")).unwrap();
    assert_eq!(app.run(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_stream_goes_on_behind_the_last_seq_there_can_be() {
    let app = TestApp::start(Settings::new());
    let mut stream = TcpStream::connect(app.admin).unwrap();
    let head = format!("GET /api/stream HTTP/1.1\r\nHost: {}\r\nLast-Event-ID: {}\r\n\r\n", app.admin, u64::MAX);
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_token_is_taken_whatever_the_case_of_its_scheme() {
    // RFC 9110, section 11.1: "case-insensitive".
    let app = TestApp::prepare(Settings::new());
    fs::write(app.path("admin.token"), "fixture-admin-token\n").unwrap();
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    fs::write(app.path("config.toml"), config.replace("[admin]\n", "[admin]\ntoken_file = \"admin.token\"\n")).unwrap();
    let mut app = app;
    app.launch();
    for (scheme, status) in
        [("Bearer fixture-admin-token", "200"), ("bearer fixture-admin-token", "200"), ("bearer no", "401")]
    {
        let mut stream = TcpStream::connect(app.admin).unwrap();
        let head = format!(
            "GET /api/alarms HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: {scheme}\r\n\r\n",
            app.admin
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{scheme}: {answer}");
    }
}
