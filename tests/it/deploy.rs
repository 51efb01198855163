//! `deploy/`: every file parses, and names only fields, metrics and alarms that the program really writes.

mod elastic;
mod sentinel;
mod splunk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use refresh_audit::{
    config::Config,
    keys,
    telemetry::{
        Alarm, AlarmLabels, FindingLabels, Metrics, RequestOutcome, SinkLabels, SinkStateLabels, SourceLabels,
    },
};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::formats::{encode, records};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new("deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: impl AsRef<Path>) -> Yaml {
    let documents = YamlLoader::load_from_str(&read(&path)).unwrap();
    documents.into_iter().next().unwrap()
}

fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new("deploy").join(directory)).unwrap();
    let files: Vec<_> = entries.map(|entry| Path::new(directory).join(entry.unwrap().file_name())).collect();
    assert!(!files.is_empty(), "{directory}");
    files
}

/// Stanzas of settings, as Splunk and systemd write them; a setting may be given twice in systemd.
fn ini(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let (mut stanzas, mut at) = (BTreeMap::new(), None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            assert!(stanzas.insert(name.to_owned(), Vec::new()).is_none(), "[{name}] twice");
            at = Some(name.to_owned());
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no setting"));
            let stanza =
                stanzas.get_mut(at.as_ref().unwrap_or_else(|| panic!("{line:?} outside of a stanza"))).unwrap();
            stanza.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

/// Lines with every member that a record can have: ours of each kind, and those that fix the record's form.
fn lines() -> Vec<String> {
    let kept = fs::read_dir("fixtures/records").unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    // What none of them has.
    let more = records()["event"]
        .replace(r#""country":"US","zipcode""#, r#""country":"Denmark","zipcode""#)
        .replace(r#""fingerprint":"#, r#""old_fingerprints":["00ff:00"],"fingerprint":"#)
        .replace(r#""authenticity":"signed""#, r#""authenticity":"signed","stale":true,"clock_skew":true,"cold":true"#);
    let read = |path: PathBuf| fs::read_to_string(path).unwrap().trim_end().to_owned();
    records().into_values().chain(kept.map(read)).chain([more]).collect()
}

/// Dotted names of everything in a value, objects too; `list` is what a list adds to its name. Below `stop` all is free.
fn names(value: &Value, name: &str, list: &str, stop: &[&str], found: &mut BTreeSet<String>) {
    if !name.is_empty() {
        found.insert(name.to_owned());
    }
    match value {
        _ if stop.contains(&name) => {}
        Value::Object(members) => {
            for (key, value) in members {
                names(value, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, list, stop, found);
            }
        }
        Value::Array(values) => {
            values.iter().for_each(|value| names(value, &format!("{name}{list}"), list, stop, found))
        }
        _ => {}
    }
}

fn all_names(format: &str, list: &str, stop: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in lines() {
        names(&serde_json::from_str(&encode(format, &line)).unwrap(), "", list, stop, &mut found);
    }
    found
}

/// Words made of `letters` that have a dot within.
fn dotted<'t>(text: &'t str, letters: &'t str) -> impl Iterator<Item = &'t str> {
    let words = text.split(move |c: char| !(c.is_ascii_alphanumeric() || letters.contains(c)));
    words.map(|word| word.trim_matches('.')).filter(|word| {
        word.contains('.') && word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.ends_with(".conf")
    })
}

/// Without the texts in double quotes.
fn unquoted(text: &str) -> String {
    text.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn prometheus_names_metrics_that_there_are() {
    let metrics = Metrics::new();
    // What has labels is written once it has a value.
    metrics.count(&"s".into(), RequestOutcome::Accepted);
    drop(metrics.last_event_age.get_or_create(&SourceLabels { source: "s".into() }));
    drop(metrics.sink_records.get_or_create(&SinkStateLabels { sink: "s".into(), state: "parked" }));
    drop(metrics.sink_lag.get_or_create(&SinkLabels { sink: "s".into() }));
    drop(metrics.alarm.get_or_create(&AlarmLabels { name: Alarm::ALL[0].name() }));
    drop(metrics.findings.get_or_create(&FindingLabels { rule: "r".into(), severity: "high" }));
    let text = metrics.text();
    let metrics: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(metrics.contains("refresh_audit_sink_lag_seconds"), "{text}");
    let document = yaml("prometheus/alerts.yml");
    let rules = document["groups"][0]["rules"].as_vec().unwrap();
    for rule in rules {
        let expression = rule["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("refresh_audit_")) {
            let name = word.trim_end_matches("_total").trim_end_matches("_bucket");
            assert!(metrics.contains(name), "{word} is no metric");
        }
        let quoted = expression.split('"').skip(1).step_by(2).flat_map(|text| text.split('|'));
        for value in quoted {
            let outcomes = [RequestOutcome::Unavailable, RequestOutcome::Refused].map(RequestOutcome::as_str);
            let known = ["refresh-audit", "parked", "high", "critical"];
            let is_alarm = Alarm::ALL.iter().any(|alarm| alarm.name() == value);
            assert!(is_alarm || outcomes.contains(&value) || known.contains(&value), "{value}");
        }
    }
    assert_eq!(rules.len(), 11);
}

#[test]
fn the_units_configuration_writes_where_the_unit_may() {
    let guide = read("systemd/README.md");
    let line = guide.lines().find(|line| line.starts_with("sed ")).unwrap();
    let (command, target) = line.split_once(" > ").unwrap();
    assert_eq!(target, "/etc/refresh-audit/config.toml");
    let made = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    let config = Config::parse(&text, "config.toml", Path::new("/etc/refresh-audit"), []).unwrap();
    let sink = text.lines().find_map(|line| line.strip_prefix("path = ")).unwrap().trim_matches('"');
    let written = keys::default_keys(&config).into_iter().chain([config.data_dir, sink.into()]).collect::<Vec<_>>();
    // Three keys, the directory, the sink's file.
    assert!(written.len() == 5 && written.iter().all(|file| file.starts_with("/var/lib/refresh-audit")), "{written:?}");
}

#[test]
fn the_unit_starts_the_program_hardened() {
    let unit = ini(&read("systemd/refresh-audit.service"));
    let service = &unit["Service"];
    let has = |key: &str, value: &str| service.contains(&(key.to_owned(), value.to_owned()));
    for (key, value) in [
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("DynamicUser", "yes"),
        ("UMask", "0077"),
        ("LimitCORE", "0"),
    ] {
        assert!(has(key, value), "{key}={value}");
    }
    assert!(service.iter().any(|(key, value)| key == "ExecStart" && value.contains("refresh-audit serve --config")));
    // Every kind of socket that the program opens: the syslog sink's `sock_diag` is a netlink one.
    let families = &service.iter().find(|(key, _)| key == "RestrictAddressFamilies").unwrap().1;
    for family in ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"] {
        assert!(families.split(' ').any(|allowed| allowed == family), "{family}");
    }
}
