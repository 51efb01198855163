//! What each rule finds, and what it lets pass: `fixtures/detect/*.steps` through the real `backtest`.
//!
//! A file is about one rule or one everyday thing that looks like a theft; its cases begin with `== fires`, `== nearly` or
//! `== benign`. A line is a refresh and, behind `=>`, what is found in it, worked out by hand from what the rule says it
//! does (`docs/detection.md`). `fixtures/detect/README.md` is the grammar.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use refresh_audit::{
    detect::{Facts, catalogue::CATALOGUE, judge::Judge, state::spilled::Guests},
    event::RefreshEvent,
    record::Evidence,
    time::ReceivedAt,
};
use serde_json::{Value, json};
use tempfile::TempDir;

mod rotation;
mod steps;

use steps::{Case, Kind, cases};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/detect");

/// Cases that run at a time.
const AT_ONCE: usize = 4;

const CONFIG: &str = r#"
node = "fixture"
[[sources]]
name = "fusionauth"
type = "fusionauth"
keys = [{ alg = "HS256", secret_file = "never-read.key" }]
events = ["jwt.refresh", "jwt.refresh-token.revoke", "user.deactivate", "user.delete", "user.delete.complete"]
[enrich]
networks = "networks.csv"
"#;

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(DIR).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "steps"));
    files.sort();
    files
}

fn read(path: &Path) -> Vec<Case> {
    let name = path.file_name().unwrap().to_str().unwrap();
    cases(name, &fs::read_to_string(path).unwrap())
}

/// What `backtest` says of bodies: per record its event's id and findings (`RA101 high`).
fn backtest(config: &str, bodies: impl Iterator<Item = Value>) -> Vec<(String, BTreeSet<String>)> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("config.toml"), format!("{CONFIG}{config}")).unwrap();
    fs::copy(format!("{DIR}/networks.csv"), dir.path().join("networks.csv")).unwrap();
    let mut lines = String::new();
    bodies.for_each(|body| writeln!(lines, "{body}").unwrap());
    fs::write(dir.path().join("bodies.jsonl"), lines).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_refresh-audit"))
        .args(["backtest", "bodies.jsonl"])
        .current_dir(dir.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = |record: Value| {
        let findings = record["findings"].as_array().cloned().unwrap_or_default().into_iter();
        let said = findings.map(|f| format!("{} {}", f["rule"].as_str().unwrap(), f["severity"].as_str().unwrap()));
        (record["event"]["id"].as_str().unwrap().to_owned(), said.collect())
    };
    // What incidents follow from the findings is another test's.
    let records = String::from_utf8(output.stdout).unwrap();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["kind"] != "incident").map(found).collect()
}

/// What is wrong with a case; empty if nothing.
fn check(case: &Case) -> String {
    let mut wrong = String::new();
    let mut records = backtest(&case.config, case.steps.iter().map(|step| step.body.clone())).into_iter();
    for step in case.steps.iter().filter(|step| !step.is_duplicate) {
        let Some((id, mut found)) = records.next() else {
            writeln!(wrong, "{}: line {}: no record", case.name, step.line).unwrap();
            break;
        };
        assert_eq!(id, step.id, "{}: line {}", case.name, step.line);
        // The composite is learned: what it says of a theft is measured elsewhere. Of what is benign it says nothing.
        let says_score = step.expected.iter().any(|expected| expected.starts_with("RA601"));
        if says_score {
            found = found
                .iter()
                .map(|said| if said.starts_with("RA601") { "RA601 any".to_owned() } else { said.clone() })
                .collect();
        } else if case.kind != Kind::Benign {
            found.retain(|said| !said.starts_with("RA601"));
        }
        if found != step.expected {
            let (expected, line) = (&step.expected, step.line);
            writeln!(wrong, "{}: line {line} ({id}): expected {expected:?}, found {found:?}", case.name).unwrap();
        }
    }
    wrong
}

#[test]
fn rules_find_what_is_found_by_hand() {
    let only = std::env::var("DETECT_CASE").unwrap_or_default();
    let all: Vec<Case> = files().iter().flat_map(|path| read(path)).filter(|case| case.name.contains(&only)).collect();
    let share = all.len().div_ceil(AT_ONCE).max(1);
    let wrong: String = thread::scope(|scope| {
        let parts: Vec<_> =
            all.chunks(share).map(|part| scope.spawn(|| part.iter().map(check).collect::<String>())).collect();
        parts.into_iter().map(|part| part.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(!all.is_empty());
}

#[test]
fn every_rule_has_a_case_that_fires_one_that_nearly_does_and_one_that_is_benign() {
    let mut kinds: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
    for case in files().iter().flat_map(|path| read(path)) {
        let rule = case.name.split('.').next().unwrap_or_default().to_owned();
        let fires = case.steps.iter().any(|step| step.expected.iter().any(|said| said.starts_with(&rule)));
        assert!(case.kind != Kind::Fires || !rule.starts_with("RA") || fires, "{} fires nothing", case.name);
        kinds.entry(rule).or_default().insert(case.kind);
    }
    // Refusals are events that FusionAuth does not send: below.
    for rule in CATALOGUE.iter().filter(|rule| rule.id != "RA107") {
        let all = BTreeSet::from([Kind::Fires, Kind::Nearly, Kind::Benign]);
        assert_eq!(kinds.get(rule.id), Some(&all), "{}", rule.id);
    }
}

/// Seconds of refusals -> which of them are found to be a burst.
fn bursts(refusals: &[(i64, &str, &str)]) -> Vec<usize> {
    const START: i64 = 1_772_442_000;
    let mut judge =
        Judge::new(&refresh_audit::detect::Policy::default(), refresh_audit::detect::judge::Memory::default());
    let mut found = Vec::new();
    for (number, (secs, session, ip)) in refusals.iter().enumerate() {
        let mut event = json!({
            "id": format!("refusal-{number}"), "type": "refresh.failed", "occurred_at": "2026-03-02T09:00:00.000Z",
            "outcome": "failure", "user_id": "ada", "session_id": session, "ip": ip,
            "tokens": {"refresh": {"presented": {"fingerprint": format!("00ff:{:032x}", 7)}}},
            "failure": {"class": "invalid_grant"},
        });
        event.as_object_mut().unwrap().retain(|_, value| value != "-");
        let event: RefreshEvent = serde_json::from_value(event).unwrap();
        let at = ReceivedAt::from_micros((START + secs) * 1_000_000);
        let (facts, evidence) = (Facts::of(&event), Evidence::default());
        let case = refresh_audit::detect::judge::Case { event: &event, facts: &facts, evidence: &evidence, at, seq: 1 };
        let ruling = judge.event(case, Guests::default(), &|| false);
        let said: Vec<_> =
            ruling.findings.iter().map(|finding| (finding.rule.as_str(), finding.severity.as_str())).collect();
        match said[..] {
            [] => {}
            [("RA107", "medium")] => found.push(number),
            _ => panic!("{said:?}"),
        }
    }
    found
}

#[test]
fn refusals_in_a_row_are_found_at_the_fifth_within_ten_minutes() {
    let row = |count: i64, every: i64, session: &'static str| -> Vec<(i64, &str, &str)> {
        (0..count).map(|number| (number * every, session, "192.0.2.10")).collect()
    };
    // Said once: at the fifth, and not again at each one after it.
    assert_eq!(bursts(&row(8, 60, "s")), [4]);
    // Nearly: four; and one every three minutes is never five within ten.
    assert_eq!(bursts(&row(4, 60, "s")), [] as [usize; 0]);
    assert_eq!(bursts(&row(12, 180, "s")), [] as [usize; 0]);
    // Wherever ten minutes begin: five in 50 s, three of them within ten minutes of one before, two not.
    assert_eq!(bursts(&[0, 570, 580, 590, 610, 620].map(|at| (at, "s", "192.0.2.10"))), [5]);
    // Ten minutes are ten minutes: 599 s from the first to the fifth, and 600.
    assert_eq!(bursts(&[0, 100, 200, 300, 599].map(|at| (at, "s", "192.0.2.10"))), [4]);
    assert_eq!(bursts(&[0, 100, 200, 300, 600].map(|at| (at, "s", "192.0.2.10"))), [] as [usize; 0]);
    // One a minute for half an hour is told at 4, 14 and 24 minutes.
    assert_eq!(bursts(&row(30, 60, "s")), [4, 14, 24]);
    // By address alone, where a sender names no session.
    assert_eq!(bursts(&row(5, 10, "-")), [4]);
    // Benign: as many, of as many people in as many places.
    let many: Vec<(String, String)> = (0..8).map(|n| (format!("s{n}"), format!("198.18.{n}.1"))).collect();
    let many: Vec<_> = many.iter().map(|(session, ip)| (0, session.as_str(), ip.as_str())).collect();
    assert_eq!(bursts(&many), [] as [usize; 0]);
}

/// Refreshes of one user (days after Monday 2026-03-02, hour in UTC) -> which of them are at an odd hour. From the 80th day
/// on the tenant's zone is `zone`.
fn odd_hours(zone: &str, refreshes: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    const MONDAY: i64 = 1_772_409_600;
    let mut policy = refresh_audit::detect::Policy::default();
    let mut judge = Judge::new(&policy, refresh_audit::detect::judge::Memory::default());
    policy.detect.zones = serde_json::from_value(json!({ "tenant": zone })).unwrap();
    let mut odd = Vec::new();
    for (day, hour) in refreshes {
        let at = ReceivedAt::from_micros((MONDAY + day * 86_400 + hour * 3_600) * 1_000_000);
        let event = json!({
            "id": format!("refresh-{day}-{hour}"), "type": "jwt.refresh", "occurred_at": at.to_string(),
            "outcome": "attempted", "tenant_id": "tenant", "user_id": "ada", "session_id": "s", "ip": "192.0.2.10",
        });
        let event: RefreshEvent = serde_json::from_value(event).unwrap();
        let (facts, evidence) = (Facts::of(&event), Evidence::default());
        if day == 80 {
            assert_eq!(
                judge.configure(&policy).iter().map(|change| change.what.as_str()).collect::<Vec<_>>(),
                ["detect"]
            );
        }
        let case = refresh_audit::detect::judge::Case { event: &event, facts: &facts, evidence: &evidence, at, seq: 1 };
        let found = judge.event(case, Guests::default(), &|| false).findings;
        if found.iter().any(|finding| finding.rule == "RA305") {
            odd.push((day, hour));
        }
    }
    odd
}

#[test]
fn a_zone_that_is_set_later_accuses_nobody_until_habits_are_learned_anew() {
    let nine = |days: std::ops::Range<i64>| days.map(|day| (day, 9));
    let then = |days, odd| nine(0..days).chain([(odd, 21)]);
    // 80 times at nine, then at 21 in UTC: odd, but not once hours are another clock's, by which it takes 80 more.
    assert_eq!(odd_hours("Asia/Tokyo", then(80, 79)), [(79, 21)]);
    assert_eq!(odd_hours("Asia/Tokyo", then(80, 80)), []);
    assert_eq!(odd_hours("Asia/Tokyo", then(159, 159)), []);
    assert_eq!(odd_hours("Asia/Tokyo", then(160, 160)), [(160, 21)]);
}

#[test]
fn the_documented_example_sent_twice_is_one_record_and_no_finding() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fusionauth/example/jwt-refresh.json");
    let example: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let id = example["event"]["id"].as_str().unwrap();
    // As it is; and old, as who tries it years later sends it: a clock that is two years on.
    let later = example["event"]["createInstant"].as_i64().unwrap() + 730 * 86_400_000;
    let nobody =
        json!({"event": {"type": "jwt.refresh", "id": "nobody", "createInstant": later, "tenantId": "nobody"}});
    let none = BTreeSet::new;
    let twice = [example.clone(), example.clone()];
    assert_eq!(backtest("", twice.clone().into_iter()), [(id.to_owned(), none())]);
    let expected = [("nobody".to_owned(), none()), (id.to_owned(), none())];
    assert_eq!(backtest("", [nobody].into_iter().chain(twice)), expected);
}

/// Without the service's key nobody can try which address a pseudonym is of, and what is found is the same each time.
#[test]
fn a_backtest_makes_pseudonyms_that_nobody_can_undo() {
    let dir = TempDir::new().unwrap();
    let privacy = "[privacy]\nip = \"pseudonym\"\nuser_agent = \"pseudonym\"\n";
    fs::write(dir.path().join("config.toml"), format!("{CONFIG}{privacy}").replace("networks = \"networks.csv\"", ""))
        .unwrap();
    let bodies: String = (0..40)
        .map(|number| {
            let event = json!({
                "type": "jwt.refresh", "id": format!("e{number}"), "createInstant": 1_566_842_908_643_i64 + number * 60_000,
                "userId": format!("u{}", number % 3), "refreshToken": format!("refresh-{}-0123456789", number % 3),
                "info": {"ipAddress": format!("203.0.113.{}", number % 7), "userAgent": format!("Agent/{}", number % 5)},
            });
            format!("{}\n", json!({"event": event}))
        })
        .collect();
    fs::write(dir.path().join("bodies.jsonl"), bodies).unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refresh-audit"));
        let output = command.args(["backtest", "bodies.jsonl"]).current_dir(dir.path()).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter(|record| record["kind"] == "event").collect::<Vec<Value>>()
    };
    let ips =
        |records: &[Value]| -> Vec<Value> { records.iter().map(|record| record["event"]["ip"].clone()).collect() };
    let [one, two] = [run(), run()];
    let risks = |records: &[Value]| -> Vec<Value> { records.iter().map(|record| record["verdict"].clone()).collect() };
    assert_eq!(risks(&one), risks(&two));
    assert_eq!(one.len(), 40);
    assert!(ips(&one).iter().zip(ips(&two)).all(|(one, two)| *one != two), "{one:?}");
    assert!(ips(&one)[0] == ips(&one)[7] && ips(&one)[0] != ips(&one)[1]);
    // HMAC-SHA-256 under 32 zero bytes of ff "ip" 00 "203.0.113.0", as Python's hmac has it.
    assert!(!ips(&one)[0].as_str().unwrap().ends_with("9ec4c8f828dfc34a1d72c5f120873e0c"));
    // With the service's key they are the service's: under 16 times "k".
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/fingerprint.key"), "k".repeat(16)).unwrap();
    assert!(ips(&run())[0].as_str().unwrap().ends_with("77eaef718e5eca21c141359a1b7dd487"));
}
