//! A change of the fingerprint key in the middle of every case: what is found does not change where the key of before is
//! kept, and nobody is accused where it is not.

use std::{collections::BTreeSet, fs, thread};

use refresh_audit::{
    config::Config,
    detect::{
        Facts,
        judge::{Case as Judged, Judge, Memory},
        state::spilled::Guests,
    },
    event::RefreshEvent,
    record::Evidence,
    secret::{Fingerprinter, Secret},
    source::{Authentic, Decoded},
    time::ReceivedAt,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AT_ONCE, CONFIG, DIR, files, read, steps::Case};

/// Longer cases are about rates of many users, not about tokens.
const STEPS_MAX: usize = 150;

/// Keys by their number, the one that writes first.
fn fingerprints(keys: &[u8]) -> Fingerprinter {
    Fingerprinter::new(&keys.iter().map(|key| Secret::new(vec![*key; 32])).collect::<Vec<_>>())
}

/// Findings and risk of each event of a case; `keys` are those that step has.
fn judged(case: &Case, keys: impl Fn(usize) -> Vec<u8>) -> Vec<Value> {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(&file, format!("{CONFIG}{}", case.config)).unwrap();
    fs::copy(format!("{DIR}/networks.csv"), dir.path().join("networks.csv")).unwrap();
    let config = Config::load(Some(file.as_path())).unwrap();
    let enricher = config.enrich.build(&config.base).unwrap();
    let decoder = config.sources[0].config.decoder().unwrap();
    let mut judge = Judge::new(&config.policy, Memory::default());
    let mut latest = 0;
    let steps = case.steps.iter().enumerate().filter(|(_, step)| !step.is_duplicate);
    let judge_step = |(nth, step): (usize, &super::steps::Step)| {
        let (body, fingerprints) = (step.body.to_string(), fingerprints(&keys(nth)));
        let Decoded::Event(mut event) =
            decoder.decode(&Authentic::imported(body.as_bytes()), &fingerprints).unwrap().remove(0)
        else {
            panic!("{body}");
        };
        enricher.enrich(&mut event);
        config.privacy.apply(&mut event, &fingerprints);
        // As a replay reads it: what is known of it is in the record.
        let event: RefreshEvent = serde_json::from_value(serde_json::to_value(event).unwrap()).unwrap();
        latest = event.occurred_at.millis().max(latest);
        let (facts, evidence, at) = (Facts::of(&event), Evidence::default(), ReceivedAt::from_micros(latest * 1_000));
        let case = Judged { event: &event, facts: &facts, evidence: &evidence, at, seq: 1 };
        let ruling = judge.event(case, Guests::default(), &|| false);
        json!({"findings": ruling.findings, "risk": ruling.verdict.unwrap().risk})
    };
    steps.map(judge_step).collect()
}

#[test]
fn a_change_of_the_key_changes_no_finding_and_no_risk() {
    let mut cases: Vec<Case> = files().iter().flat_map(|path| read(path)).collect();
    cases.retain(|case| case.steps.len() <= STEPS_MAX);
    let share = cases.len().div_ceil(AT_ONCE);
    let found: BTreeSet<String> = thread::scope(|scope| {
        let parts: Vec<_> = cases.chunks(share).map(|part| scope.spawn(|| compared(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    for rule in ["RA101", "RA102", "RA103", "RA105", "RA106"] {
        assert!(found.contains(rule), "{rule} is found nowhere: nothing was compared");
    }
}

/// Compares cases with and without changes of the key; the rules that spoke.
fn compared(cases: &[Case]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for case in cases {
        let without = judged(case, |_| vec![1]);
        let len = case.steps.len();
        // Once, at each of these; and twice.
        for at in [len / 2, len - 1] {
            let with = judged(case, |nth| if nth < at { vec![1] } else { vec![2, 1] });
            assert_eq!(with, without, "{}: changed before step {at} of {len}", case.name);
        }
        let twice = judged(case, |nth| match nth {
            nth if nth < len / 2 => vec![1],
            nth if nth < len - 1 => vec![2, 1],
            _ => vec![3, 2, 1],
        });
        assert_eq!(twice, without, "{}: changed twice", case.name);
        let rules = without.iter().flat_map(|one| one["findings"].as_array().unwrap());
        found.extend(rules.map(|finding| finding["rule"].as_str().unwrap().to_owned()));
    }
    found
}

#[test]
fn without_the_key_of_before_sessions_count_as_new() {
    for rule in ["RA101", "RA102", "RA103", "RA105"] {
        for case in files().iter().flat_map(|path| read(path)).filter(|case| case.name.starts_with(rule)) {
            let len = case.steps.len();
            let changed = judged(&case, |nth| if nth < len - 1 { vec![1] } else { vec![2] });
            let last = changed.last().unwrap()["findings"].to_string();
            assert!(
                !["RA101", "RA102", "RA103", "RA105"].iter().any(|rule| last.contains(rule)),
                "{}: {last}",
                case.name
            );
        }
    }
}
