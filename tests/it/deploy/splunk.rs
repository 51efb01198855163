//! The app for Splunk.

use super::{all_names, dotted, files, ini, read, unquoted};

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
            for path in value.split("spath(_raw, \"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(known.contains(path), "{}: {key} reads {path}", file.display());
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

fn settings(file: &str, stanza: &str) -> Vec<(String, String)> {
    ini(&read(format!("splunk/refresh_audit/default/{file}")))[stanza].clone()
}

fn is_set(file: &str, stanza: &str, key: &str, value: &str) {
    let settings = settings(file, stanza);
    assert!(settings.contains(&(key.to_owned(), value.to_owned())), "{file} [{stanza}] {key} = {value}: {settings:?}");
}

/// A record's findings and verdict come last, behind what a client calls itself; Splunk by itself extracts no more than the
/// first 5,000 bytes of JSON, 10,240 characters and 100 fields (limits.conf.spec 9).
#[test]
fn no_client_can_push_findings_out_of_sight() {
    // "0: no limit", "when non-zero, truncate", "when non-zero, the point".
    for key in ["limit", "maxchars", "maxcols"] {
        is_set("limits.conf", "kv", key, "0");
    }
    let cutoff = settings("limits.conf", "spath").iter().find(|(key, _)| key == "extraction_cutoff").unwrap().1.clone();
    // `server.max_body` is 1 MiB.
    assert!(cutoff.parse::<u64>().unwrap() >= 1 << 20, "{cutoff}");
    // And where no limits.conf can be had: by path from the record itself.
    let late = ["findings{}", "verdict."];
    for file in ["props.conf", "eventtypes.conf", "savedsearches.conf"] {
        for (key, value) in ini(&read(format!("splunk/refresh_audit/default/{file}"))).values().flatten() {
            let bare = unquoted(value);
            assert!(!late.iter().any(|name| bare.contains(name)), "{file}: {key} = {value}");
        }
    }
}

/// Of several findings the worst is told: `mvfind` gives the place of the first of that severity.
#[test]
fn the_worst_finding_is_told() {
    let props = settings("props.conf", "refresh_audit");
    for name in ["EVAL-severity", "EVAL-signature", "EVAL-signature_id", "EVAL-description", "EVAL-incident_id"] {
        let value = &props.iter().find(|(key, _)| key == name).unwrap().1;
        let places: Vec<usize> =
            ["critical", "high", "medium", "low"].iter().map(|one| value.find(&format!("^{one}$")).unwrap()).collect();
        assert!(places.is_sorted(), "{name} = {value}");
        let first = value.find("mvindex(").unwrap();
        assert!(first < places[0], "{name} = {value}");
    }
}

/// What the Common Information Model asks of incidents and of changes.
#[test]
fn incidents_and_changes_fill_their_models() {
    let props = settings("props.conf", "refresh_audit");
    let value = |name: &str| &props.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("{name}")).1;
    for (name, member) in [
        ("EVAL-user", "user_id"),
        ("EVAL-src", "ip"),
        ("EVAL-session_id", "session_id"),
        ("EVAL-app", "application_id"),
    ] {
        for of in ["event", "incident"] {
            assert!(value(name).contains(&format!("\"{of}.{member}\"")), "{name}");
        }
    }
    // Values that the model's documentation names for `action` and `status`.
    for word in ["modified", "stopped", "deleted"] {
        assert!(value("EVAL-action").contains(&format!("\"{word}\"")), "{word}");
    }
    assert!(value("EVAL-status").contains("\"success\""));
    for kind in ["config", "operator"] {
        for name in ["EVAL-action", "EVAL-object_category", "EVAL-status"] {
            assert!(value(name).contains(&format!("'kind'==\"{kind}\"")), "{name} of {kind}");
        }
    }
    for field in ["record_key", "record_seq"] {
        is_set("fields.conf", field, "INDEXED", "true");
    }
}

/// An escalation comes within the hour after the opening, with the same incident: what is told once is a record.
#[test]
fn an_escalation_is_not_suppressed() {
    let incidents = "Refresh audit - incidents";
    for (key, value) in [("alert.digest_mode", "0"), ("alert.suppress.fields", "journal,seq"), ("alert.suppress", "1")]
    {
        is_set("savedsearches.conf", incidents, key, value);
    }
    let search = settings("savedsearches.conf", incidents);
    let search = &search.iter().find(|(key, _)| key == "search").unwrap().1;
    // Only fields of the results can be compared.
    let (_, table) = search.split_once("| table ").unwrap();
    assert!(["journal", "seq"].iter().all(|field| table.split(' ').any(|word| word == *field)), "{table}");
}
