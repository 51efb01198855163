//! `deploy/`: every file parses, and names only fields, metrics and alarms that the program really writes.

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
fn splunk_names_what_records_have() {
    let known = all_names("'json'", "{}", &[]);
    let mut used = 0;
    for file in files("splunk/refresh_audit/default") {
        let stanzas = ini(&read(&file));
        assert!(!stanzas.is_empty(), "{}", file.display());
        for (key, value) in stanzas.values().flatten() {
            let names_fields = ["EVAL-", "FIELDALIAS-"].iter().any(|prefix| key.starts_with(prefix)) || key == "search";
            for word in dotted(&unquoted(value), "_.{}").filter(|_| names_fields || key == "alert.suppress.fields") {
                assert!(known.contains(word), "{}: {key} names {word}", file.display());
                used += 1;
            }
        }
    }
    assert!(used > 50, "{used}");
    let eventtypes = ini(&read("splunk/refresh_audit/default/eventtypes.conf"));
    for name in ini(&read("splunk/refresh_audit/default/tags.conf")).keys() {
        assert!(eventtypes.contains_key(name.strip_prefix("eventtype=").unwrap()), "{name}");
    }
    let searches = ini(&read("splunk/refresh_audit/default/savedsearches.conf"));
    for (name, settings) in searches {
        let search = &settings.iter().find(|(key, _)| key == "search").unwrap().1;
        assert!(search.starts_with("`refresh_audit`"), "{name}");
        assert!(
            !settings.iter().any(|(key, _)| key == "enableSched")
                || settings.contains(&("disabled".into(), "1".into()))
        );
    }
    ini(&read("splunk/refresh_audit/metadata/default.meta"));
}

/// Mapped fields with their definitions, and the objects whose inside is not mapped.
fn mapped(properties: &Value, name: &str, leaves: &mut BTreeSet<String>, closed: &mut BTreeSet<String>) {
    for (key, value) in properties.as_object().unwrap() {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        if value["enabled"] == false {
            closed.insert(name);
        } else if value["properties"].is_object() {
            mapped(&value["properties"], &name, leaves, closed);
        } else {
            assert!(value["type"].is_string(), "{name}");
            leaves.insert(name);
        }
    }
}

/// All tokens have the same members.
fn of_any_token(name: &str) -> String {
    let Some(rest) = name.strip_prefix("refresh_audit.tokens.") else { return name.to_owned() };
    let rest: Vec<&str> = rest.split('.').skip(2).collect();
    format!("refresh_audit.tokens.{}", rest.join("."))
}

#[test]
fn elastic_maps_exactly_what_the_format_writes() {
    let component = json("elastic/ecs/component-template.json");
    let (mut leaves, mut closed) = (BTreeSet::new(), BTreeSet::new());
    mapped(&component["template"]["mappings"]["properties"], "", &mut leaves, &mut closed);
    let stop: Vec<&str> = closed.iter().map(String::as_str).chain(["source.geo.location"]).collect();
    let written = all_names("'ecs'", "", &stop);
    let is_object = |name: &&String| written.iter().any(|other| other.starts_with(&format!("{name}.")));
    for name in written.iter().filter(|name| !is_object(name)) {
        assert!(leaves.contains(name) || closed.contains(name), "{name} is written and not mapped");
    }
    let written: BTreeSet<String> = written.iter().map(|name| of_any_token(name)).collect();
    let idle: Vec<_> = leaves.union(&closed).filter(|name| !written.contains(&of_any_token(name))).collect();
    assert!(idle.is_empty(), "mapped and never written: {idle:?}");
    for template in ["elastic/ecs/index-template.json", "elastic/ecs/data-stream-template.json"] {
        assert_eq!(json(template)["composed_of"], serde_json::json!(["refresh-audit"]), "{template}");
    }
    assert!(json("elastic/ilm-policy.json")["policy"]["phases"]["hot"].is_object());
    rules(&leaves);
}

/// Elastic's detection rules.
fn rules(fields: &BTreeSet<String>) {
    let actions: BTreeSet<String> = ["opened", "escalated", "ongoing", "closed"]
        .iter()
        .map(|change| records()["incident"].replace("\"opened\"", &format!("\"{change}\"")))
        .chain(records().into_values())
        .map(|line| serde_json::from_str::<Value>(&encode("'ecs'", &line)).unwrap()["event"]["action"].to_string())
        .collect();
    assert_eq!(actions.len(), 10, "{actions:?}");
    let mut ids = BTreeSet::new();
    for line in read("elastic/rules.ndjson").lines() {
        let rule: Value = serde_json::from_str(line).unwrap();
        for member in ["rule_id", "name", "description", "type", "query", "severity", "risk_score", "from", "index"] {
            assert!(!rule[member].is_null(), "{member} of {}", rule["name"]);
        }
        assert!(ids.insert(rule["rule_id"].to_string()), "{} twice", rule["rule_id"]);
        let query = rule["query"].as_str().unwrap();
        let mut named: Vec<String> = dotted(&unquoted(query), "_.").map(str::to_owned).collect();
        assert!(!named.is_empty());
        for mapping in ["severity_mapping", "risk_score_mapping"] {
            named.extend(rule[mapping].as_array().unwrap().iter().map(|map| map["field"].as_str().unwrap().to_owned()));
        }
        named.extend(
            ["timestamp_override", "rule_name_override"]
                .iter()
                .filter_map(|name| rule[name].as_str())
                .map(str::to_owned),
        );
        for name in named {
            assert!(fields.contains(&name), "{} names {name}", rule["name"]);
        }
        for word in query.split('"').skip(1).step_by(2).filter(|word| !["refresh_audit", "alert"].contains(word)) {
            let is_alarm = Alarm::ALL.iter().any(|alarm| alarm.name() == word);
            assert!(is_alarm || actions.contains(&format!("\"{word}\"")), "{} compares with {word}", rule["name"]);
        }
    }
    assert_eq!(ids.len(), 4);
}

#[test]
fn sentinel_takes_the_record_as_it_is() {
    let template = json("sentinel/azuredeploy.json");
    let column = |column: &Value| column["name"].as_str().unwrap().to_owned();
    let columns = |list: &Value| -> BTreeSet<String> { list.as_array().unwrap().iter().map(column).collect() };
    let table = columns(&template["resources"][0]["properties"]["schema"]["columns"]);
    let rule = &template["resources"][1]["properties"];
    let stream = columns(&rule["streamDeclarations"]["Custom-RefreshAudit"]["columns"]);
    let known = all_names("'json'", "[0]", &[]);
    assert_eq!(stream, known.iter().filter(|name| !name.contains(['.', '['])).cloned().collect());
    let flow = &rule["dataFlows"][0];
    assert_eq!(
        (&flow["streams"][0], &flow["outputStream"]),
        (&"Custom-RefreshAudit".into(), &"Custom-RefreshAudit_CL".into())
    );
    let kql = flow["transformKql"].as_str().unwrap();
    for word in dotted(&unquoted(kql), "_.[]") {
        assert!(known.contains(word), "the transformation names {word}");
    }
    let projected: BTreeSet<String> =
        kql.split(" = ").map(|part| part.rsplit(' ').next().unwrap().to_owned()).collect();
    for name in &table {
        assert!(projected.contains(name), "{name} is in the table and not projected");
    }
    assert_eq!(kql.matches(" = ").count(), table.len(), "what is projected and not in the table is lost");
    let mut seen = 0;
    for file in files("sentinel/rules") {
        let rule = yaml(&file);
        for member in ["id", "name", "description", "severity", "query", "queryFrequency", "kind", "version"] {
            assert!(!rule[member].is_badvalue(), "{}: {member}", file.display());
        }
        let query = unquoted(rule["query"].as_str().unwrap());
        let query: String = query.lines().filter(|line| !line.trim().starts_with("//")).collect::<Vec<_>>().join("\n");
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)));
        for word in words.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            let name = word.split('.').next().unwrap();
            let is_made = query.contains(&format!("{name} = "));
            assert!(name == "RefreshAudit_CL" || table.contains(name) || is_made, "{}: {word}", file.display());
            seen += 1;
        }
        for entity in rule["entityMappings"].as_vec().into_iter().flatten() {
            let name = entity["fieldMappings"][0]["columnName"].as_str().unwrap();
            assert!(query.contains(name), "{}: {name}", file.display());
        }
    }
    assert!(seen > 30, "{seen}");
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
