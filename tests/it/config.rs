//! The configuration from outside: what loads, what is refused and in which words, what the environment changes.

use std::{collections::BTreeSet, fs, path::Path};

use refresh_audit::config::{Config, EMBEDDED};

/// One source and one sink, everything else left out.
const LEAST: &str = r#"
    [[sources]]
    name = "fusionauth"
    type = "fusionauth"
    keys = [{ alg = "HS256", secret_file = "data/webhook.key" }]
    events = ["jwt.refresh"]
    [[sinks]]
    name = "audit-file"
    type = "file"
    path = "data/audit.jsonl"
"#;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, "config.toml", Path::new(""), variables).map_err(|error| error.to_string())
}

/// Every file begins with the error that its reading ends in; a message that goes on longer than written there is right
/// only where it goes on with the list of allowed keys.
#[test]
fn every_wrong_configuration_is_refused_in_the_written_words() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for file in fs::read_dir("fixtures/config").unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# error: ").unwrap();
        let error = parse(&text, &[]).map_or_else(|error| error, |_| "none".to_owned());
        let open = expected.ends_with('?') || expected.ends_with(": ");
        let right = if open { error.starts_with(expected) } else { error == expected };
        if !right || error.contains("hush") {
            wrong.push(format!("{}:\n  expected {expected}\n  got      {error}", path.display()));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 30, "{cases}");
}

/// The example of the documented contract, with what this version does not have yet left at its default.
#[test]
fn the_documented_example_loads() {
    let config = parse(include_str!("../../fixtures/config-ok/documented.toml"), &[]).unwrap();
    assert_eq!(config.node, "audit-1");
    assert_eq!(config.dedupe.window.get().as_secs(), 7 * 86_400);
    assert_eq!(config.journal.max_bytes.get(), 50 << 30);
    assert_eq!(config.sinks[0].name, "audit-file");
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let node = ("REFRESH_AUDIT_NODE", "n");
    let shipped = parse(EMBEDDED, &[node]).unwrap();
    let least = parse(LEAST, &[node]).unwrap();
    assert_eq!(format!("{shipped:#?}"), format!("{least:#?}"));
}

/// Lines such as `#key = value   # e.g.` are settings that are off. Turned on, the file still loads, and those that are
/// not marked as examples change nothing.
#[test]
fn the_shipped_files_settings_that_are_off_are_true() {
    let is_setting = |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase());
    let on = |examples: bool| {
        let lines = EMBEDDED.lines().map(|line| match line {
            line if is_setting(line) && (examples || !line.contains("# e.g.")) => &line[1..],
            line => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(EMBEDDED.lines().filter(|line| is_setting(line)).count() > 10);
    parse(&on(true), &[]).unwrap();
    let node = ("REFRESH_AUDIT_NODE", "n");
    let (defaults, shipped) = (parse(&on(false), &[node]).unwrap(), parse(EMBEDDED, &[node]).unwrap());
    assert_eq!(defaults.fingerprint_key_file(), shipped.fingerprint_key_file());
    assert_eq!(defaults.checkpoint_key_file(), shipped.checkpoint_key_file());
    assert_eq!(format!("{:?}", defaults.scope), format!("{:?}", shipped.scope));
}

/// Which keys there are is taken from the errors that list them.
#[test]
fn the_shipped_file_explains_every_key() {
    let mut keys = BTreeSet::new();
    for section in ["server", "admin", "log", "scope", "privacy", "fingerprint", "dedupe", "journal", "enrich", "gate"]
    {
        let error = parse(&format!("[{section}]\nxxxxxxxx = 1\n{LEAST}"), &[]).unwrap_err();
        keys.extend(error.split_once("allowed: ").expect(&error).1.split(", ").map(str::to_owned));
    }
    for entry in [
        "[[sources]]\nname = \"a\"\ntype = \"fusionauth\"",
        "[[sinks]]\nname = \"a\"\ntype = \"file\"\npath=\"p\"",
        "[[sinks]]\nname = \"a\"\ntype = \"http\"\nurl=\"u\"",
        "[[sinks]]\nname = \"a\"\ntype = \"syslog\"\naddress=\"a\"",
        "[[sinks]]\nname = \"a\"\ntype = \"splunk_hec\"\nurl=\"u\"",
    ] {
        let error = parse(&format!("{entry}\nxxxxxxxx = 1\n"), &[]).unwrap_err();
        keys.extend(error.split_once("allowed: ").expect(&error).1.split(", ").map(str::to_owned));
    }
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let told = EMBEDDED.lines().any(|line| {
            line.trim_start_matches(['#', ' '])
                .strip_prefix(&key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        });
        assert!(told, "config.toml does not explain `{key}`");
    }
}

#[test]
fn variables_override_the_file() {
    let config = parse(
        LEAST,
        &[
            ("REFRESH_AUDIT_SERVER__LISTEN", "127.0.0.1:7070"),
            ("REFRESH_AUDIT_SERVER__WORKERS", "3"),
            ("REFRESH_AUDIT_SERVER__TLS", r#"{ cert = "c", key = "k" }"#),
            ("REFRESH_AUDIT_SERVER__TLS__KEY", "other"),
            ("REFRESH_AUDIT_DATA_DIR", "elsewhere"),
            // Looks like a number, is a text.
            ("REFRESH_AUDIT_NODE", "7"),
            ("REFRESH_AUDIT_DEDUPE__WINDOW", "14d"),
            ("REFRESH_AUDIT_SCOPE__TENANTS", r#"["800D17BE-ad77-4f3d-93e1-ef73dfa50cf2"]"#),
            ("REFRESH_AUDIT_SINKS__AUDIT_FILE__BATCH__RECORDS", "9"),
            ("REFRESH_AUDIT_DETECT__RA401__SPEED_KMH", "700"),
            ("REFRESH_AUDIT_DETECT__RA402", "{ enabled = false }"),
            ("REFRESH_AUDIT_CONFIG", "not an override"),
            ("REFRESH_AUDITOR", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.server.workers.unwrap().get(), 3);
    let tls = config.server.tls.as_ref().unwrap();
    assert_eq!((tls.cert.as_path(), tls.key.as_path()), (Path::new("c"), Path::new("other")));
    assert_eq!(config.data_dir, Path::new("elsewhere"));
    assert_eq!(config.node, "7");
    assert_eq!(config.dedupe.window.get().as_secs(), 14 * 86_400);
    assert_eq!(config.scope.tenants[0].as_str(), "800d17be-ad77-4f3d-93e1-ef73dfa50cf2");
    assert_eq!(config.sinks[0].delivery.batch.records, 9);
    assert_eq!((config.policy.detect.ra401.speed_kmh, config.policy.detect.ra402.enabled), (700.0, false));
}

#[test]
fn wrong_variables_are_refused_by_name() {
    for (name, value, expected) in [
        (
            "REFRESH_AUDIT_SERVER__LISTN",
            "x",
            "unknown key `listn` in [server] in the environment variable REFRESH_AUDIT_SERVER__LISTN; did you mean `listen`?",
        ),
        (
            "REFRESH_AUDIT_SERVER__LISTEN",
            "x",
            "`listen` in [server]: invalid socket address syntax, expected an address and a port, e.g. \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\" in the environment variable REFRESH_AUDIT_SERVER__LISTEN",
        ),
        (
            "REFRESH_AUDIT_SERVER__WORKERS",
            "many",
            "`workers` in [server]: invalid type: string, expected a whole number from 1 on in the environment variable REFRESH_AUDIT_SERVER__WORKERS",
        ),
        (
            "REFRESH_AUDIT_SERVR__LISTEN",
            "x",
            "no such setting in the environment variable REFRESH_AUDIT_SERVR__LISTEN; did you mean `REFRESH_AUDIT_SERVER`?",
        ),
        (
            "REFRESH_AUDIT_SERVER_LISTEN",
            "x",
            "no such setting in the environment variable REFRESH_AUDIT_SERVER_LISTEN; two underscores stand before each key: REFRESH_AUDIT_SERVER__LISTEN",
        ),
        (
            "REFRESH_AUDIT_SERVER_TLS__KEY",
            "x",
            "no such setting in the environment variable REFRESH_AUDIT_SERVER_TLS__KEY; two underscores stand before each key: REFRESH_AUDIT_SERVER__TLS__KEY",
        ),
        (
            "REFRESH_AUDIT_SINKS_AUDIT_FILE_PATH",
            "x",
            "no such setting in the environment variable REFRESH_AUDIT_SINKS_AUDIT_FILE_PATH; two underscores stand before each key: REFRESH_AUDIT_SINKS__<NAME>__<KEY>",
        ),
        (
            "REFRESH_AUDIT_NODE_NAME",
            "x",
            "no such setting in the environment variable REFRESH_AUDIT_NODE_NAME; did you mean `REFRESH_AUDIT_NODE`?",
        ),
        (
            "REFRESH_AUDIT_SINKS__OTHER__PATH",
            "x",
            "no such setting in the environment variable REFRESH_AUDIT_SINKS__OTHER__PATH; write REFRESH_AUDIT_SINKS__<NAME>__<KEY>; entries of [[sinks]]: audit-file",
        ),
        (
            "REFRESH_AUDIT_SERVER__LISTEN__PORT",
            "1",
            "no such setting in the environment variable REFRESH_AUDIT_SERVER__LISTEN__PORT; `listen` is of the type string, which has no keys in it",
        ),
        (
            "REFRESH_AUDIT_ADMIN__LISTEN",
            "0.0.0.0:9",
            "admin.listen = \"0.0.0.0:9\" is reachable from outside this machine in the environment variable REFRESH_AUDIT_ADMIN__LISTEN;",
        ),
    ] {
        let text = format!("[server]\nlisten = \"127.0.0.1:8080\"\n{LEAST}");
        let error = parse(&text, &[(name, value)]).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_value_that_another_program_should_have_unwrapped_is_refused() {
    for (name, value, expected) in [
        (
            "REFRESH_AUDIT_DATA_DIR",
            "\"/var/lib/ra\"",
            "the value stands in quotes in the environment variable REFRESH_AUDIT_DATA_DIR; write it without them: ",
        ),
        (
            "REFRESH_AUDIT_SINKS__AUDIT_FILE__PATH",
            "'audit.jsonl'",
            "the value stands in quotes in the environment variable REFRESH_AUDIT_SINKS__AUDIT_FILE__PATH; ",
        ),
        (
            "REFRESH_AUDIT_DATA_DIR",
            "/var/lib/ra\r",
            "the value holds a control character in the environment variable REFRESH_AUDIT_DATA_DIR; take out ",
        ),
        (
            "REFRESH_AUDIT_NODE",
            "7\n",
            "the value holds a control character in the environment variable REFRESH_AUDIT_NODE;",
        ),
    ] {
        let error = parse(LEAST, &[(name, value)]).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// The embedded default follows the data directory, whatever its name is; a quote in it is a quote.
#[test]
fn a_value_is_taken_as_it_stands_where_that_can_be_meant() {
    for dir in ["/var/lib/it's", "\""] {
        assert_eq!(parse(LEAST, &[("REFRESH_AUDIT_DATA_DIR", dir)]).unwrap().data_dir, Path::new(dir));
    }
    let lines = [("REFRESH_AUDIT_SCOPE__TENANTS", "[\n\"t\",\r\n\"u\"\n]\n"), ("REFRESH_AUDIT_SERVER__WORKERS", "3\n")];
    let config = parse(LEAST, &lines).unwrap();
    assert_eq!((config.scope.tenants.len(), config.server.workers.map(usize::from)), (2, Some(3)));
}

#[test]
fn a_variable_that_the_file_names_is_a_secret_and_no_override() {
    let text = LEAST.replace("secret_file = \"data/webhook.key\"", "secret_env = \"REFRESH_AUDIT_WEBHOOK_SECRET\"");
    parse(&text, &[("REFRESH_AUDIT_WEBHOOK_SECRET", "hush")]).unwrap();
    assert!(parse(LEAST, &[("REFRESH_AUDIT_WEBHOOK_SECRET", "hush")]).is_err());
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let config = Config::parse(LEAST, "x", Path::new("/etc/ra"), []).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/ra/data"));
    assert_eq!(config.path(Path::new("a/b")), Path::new("/etc/ra/a/b"));
    assert_eq!(config.path(Path::new("/a/b")), Path::new("/a/b"));
    assert_eq!(config.fingerprint_key_file(), Path::new("/etc/ra/data/fingerprint.key"));
}
