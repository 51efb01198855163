//! The documents' samples, read by the real loader: what they show is what loads.

use refresh_audit::{config::Config, sink::SinkConfig};

const README: &str = include_str!("../../README.md");

/// What a sample leaves out because it shows something else.
const SOURCE: &str =
    "\n[[sources]]\nname = 'other'\ntype = 'fusionauth'\nkeys = [{ alg = 'HS256', secret_file = 'k' }]\n";

/// The fenced TOML of a text, each with the number of its first line.
fn samples(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut open) = (Vec::new(), None::<(usize, String)>);
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```toml" => open = Some((number + 2, String::new())),
            Some(_) if line.trim() == "```" => found.extend(open.take()),
            Some((_, sample)) => *sample += &format!("{line}\n"),
            None => {}
        }
    }
    assert!(open.is_none(), "a sample does not end");
    found
}

#[test]
fn every_sample_rule_loads_and_its_tests_hold() {
    let dir = tempfile::tempdir().unwrap();
    let samples = samples(include_str!("../../docs/rules.md"));
    assert!(!samples.is_empty());
    for (line, sample) in samples {
        let name = format!("docs/rules.md from line {line}");
        let config = Config::parse(&(sample + SOURCE), &name, dir.path(), []).unwrap_or_else(|error| panic!("{error}"));
        assert!(!config.policy.rules.is_empty());
    }
}

#[test]
fn every_sample_loads_and_every_sink_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut shown = Vec::new();
    for (line, sample) in samples(README) {
        let whole = if sample.contains("[[sources]]") { sample } else { sample + SOURCE };
        let name = format!("README.md from line {line}");
        let config = Config::parse(&whole, &name, dir.path(), []).unwrap_or_else(|error| panic!("{name}: {error}"));
        shown.extend(config.sinks.iter().map(|sink| sink.kind.clone()));
    }
    let missing: Vec<_> = SinkConfig::TYPES.iter().filter(|kind| !shown.iter().any(|one| one == *kind)).collect();
    assert!(missing.is_empty(), "README shows no sample of {missing:?}");
}

/// The shipped file shows whole entries as comments, three blanks in; each is there to be pasted.
#[test]
fn every_entry_that_the_shipped_file_shows_loads_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (mut entries, mut entry) = (Vec::new(), String::new());
    for line in refresh_audit::config::EMBEDDED.lines().chain([""]) {
        match line.strip_prefix("#   ") {
            Some(text) => entry += &format!("{text}\n"),
            None => entries.extend(Some(std::mem::take(&mut entry)).filter(|entry| entry.contains("[["))),
        }
    }
    assert!(entries.len() > 10, "{}", entries.len());
    for entry in entries {
        let whole = entry.clone() + SOURCE;
        Config::parse(&whole, "config.toml", dir.path(), []).unwrap_or_else(|error| panic!("{error}:\n{entry}"));
    }
}
