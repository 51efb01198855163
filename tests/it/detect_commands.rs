//! What an operator asks of detection: `incidents`, `explain`, `gate report`, `backtest`, over one journal whose findings,
//! sums and differences are worked out by hand from what the rules say they do.

use std::{fs, process::Output};

use serde_json::{Value, json};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    session::{APPLICATION as A, From, Session, record_of, records, rules, send},
};

mod backtest;
mod told;

const B: &str = "10000000-0000-4000-8000-00000000000b";

/// The composite is learned, so no hand works it out; what is said of networks alone is another test's.
const DETECT: &str =
    "[detect]\nRA403 = { enabled = false }\nRA404 = { enabled = false }\nRA601 = { enabled = false }\n";

/// One event, and what is found in it.
struct Step {
    event: Event,
    found: &'static [&'static str],
}

/// Three stolen sessions and an accident. A parent spent again after 180 s, more than RA101's `leeway`, is `critical` from
/// a data centre or Tor, `medium` at home. A refresh of a session that was revoked 90 s before is RA106. The gate refuses both
/// where they are critical: five of the ten refreshes.
fn traffic() -> Vec<Step> {
    let (one, two) = (Session::new(1), Session { user: 1, application: B, ..Session::new(2) });
    let (three, four) = (Session { application: B, ..Session::new(3) }, Session::new(4));
    let step = |event, found| Step { event, found };
    vec![
        step(one.refresh(1, 10, From::Home), &[]),
        step(one.refresh(1, 12, From::Abroad), &["RA101 critical"]),
        step(one.refresh(1, 14, From::Overseas), &["RA101 critical"]),
        step(two.refresh(1, 10, From::Home), &[]),
        step(two.refresh(1, 12, From::Abroad), &["RA101 critical"]),
        step(three.refresh(1, 10, From::Home), &[]),
        step(three.revocation(11), &[]),
        step(three.refresh(10, 12, From::Home), &["RA106 critical"]),
        step(three.refresh(10, 14, From::Abroad), &["RA101 critical", "RA106 critical"]),
        step(four.refresh(1, 10, From::Home), &[]),
        step(four.refresh(1, 12, From::Home), &["RA101 medium"]),
    ]
}

fn settings() -> Settings {
    let source = "events = [\"jwt.refresh\", \"jwt.refresh-token.revoke\"]\n".to_owned();
    Settings { source, ..Settings::new() }.and("[enrich]\nnetworks = \"networks.csv\"\n").and(DETECT)
}

/// A service that knows what the networks elsewhere are.
fn start(settings: Settings) -> TestApp {
    let mut app = TestApp::prepare(settings);
    fs::write(app.path("networks.csv"), "203.0.113.0/24,hosting\n198.18.0.0/16,tor\n").unwrap();
    app.launch();
    app
}

/// A service that was sent the traffic, and what it was.
fn started() -> (TestApp, Vec<Step>) {
    let app = start(settings());
    let steps = traffic();
    for step in &steps {
        assert_eq!(send(&app, &step.event).status, 200);
    }
    for (number, step) in steps.iter().enumerate() {
        let found = rules(&record_of(&app, &step.event));
        let found: Vec<String> = found.iter().map(|(rule, severity)| format!("{rule} {severity}")).collect();
        assert_eq!(found, step.found, "step {number}");
    }
    (app, steps)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The words of a table's row that begins with these.
fn row(table: &str, begins: &[&str]) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let found = table
        .lines()
        .map(words)
        .find(|words| words.iter().zip(begins).filter(|(a, b)| a == *b).count() == begins.len());
    found.unwrap_or_else(|| panic!("no row {begins:?} in\n{table}")).split_off(begins.len())
}

#[test]
fn the_gates_report_sums_by_rule_application_and_user() {
    let (app, _) = started();
    let report = |since: &str| -> Value {
        serde_json::from_str(&text(&app.run(&["gate", "report", "--since", since, "--format", "json"]))).unwrap()
    };
    let share = |denials: u64, sessions: u64| json!({ "denials": denials, "sessions": sessions });
    // Ten refreshes: the revocation is none. 5 of 10 are 500,000 in a million.
    let expected = json!({
        "refreshes": 10, "denied": 0, "would_deny": 5, "per_million": 500_000.0,
        "rules": { "RA101": share(4, 3), "RA106": share(2, 1) },
        "applications": { A: share(2, 1), B: share(3, 2) },
        "users": { "user-1": share(3, 2), "user-3": share(2, 1) },
    });
    assert_eq!(report("14d"), expected);
    let table = text(&app.run(&["gate", "report", "--since", "14d"]));
    assert!(table.starts_with("10 refreshes, 0 denied, 5 would have been denied (500000.0 in a million)\n"), "{table}");
    for (name, counts) in [("RA101", ["4", "3"]), ("RA106", ["2", "1"]), (A, ["2", "1"]), (B, ["3", "2"])] {
        assert_eq!(row(&table, &[name]), counts, "{name}");
    }
    let nothing = report("2100-01-01");
    assert_eq!((&nothing["refreshes"], &nothing["users"]), (&json!(0), &json!({})));
}

#[test]
fn the_gates_report_tells_what_was_denied_from_what_would_have_been() {
    let one_application = format!("[gate]\napplications = {{ \"{B}\" = \"enforce\" }}\n");
    let app = start(settings().and(&one_application));
    let statuses: Vec<u16> = traffic().iter().map(|step| send(&app, &step.event).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 403, 200, 200, 403, 403, 200, 200]);
    let report: Value = serde_json::from_str(&text(&app.run(&["gate", "report", "--format", "json"]))).unwrap();
    assert_eq!((&report["denied"], &report["would_deny"]), (&json!(3), &json!(2)));
}

#[test]
fn incidents_are_listed_once_each_as_they_stand() {
    let closing = DETECT.to_owned() + "incidents = { idle = \"1s\" }\n";
    let mut app = start(Settings { tables: settings().tables.replace(DETECT, &closing), ..settings() });
    let [first, theft] =
        [(10, From::Home), (12, From::Abroad)].map(|(child, from)| Session::new(9).refresh(1, child, from));
    send(&app, &first);
    send(&app, &theft);
    eventually("it is closed", || records(&app).iter().any(|record| record["incident"]["change"] == "closed"));
    app.stop();
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    fs::write(app.path("config.toml"), config.replace(&closing, DETECT)).unwrap();
    app.launch();
    let steps = traffic();
    steps.iter().for_each(|step| drop(send(&app, &step.event)));

    let listed = |filters: &[&str]| -> Vec<Value> {
        let found = json_lines(&app.run(&[&["incidents", "--format", "json"], filters].concat()));
        let member = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        let told = |one: &Value| {
            assert_eq!((member(one, "id").len(), &one["key"]["kind"]), (16, &json!("session")), "{one}");
            json!([one["key"]["value"], one["change"], one["severity"], one["rules"], one["user_id"], one["events"]])
        };
        found.iter().map(told).collect()
    };
    // Worse findings of the same kind, or the same once more, are not told again: one event each.
    let closed = json!(["session-9", "closed", "critical", ["RA101"], "user-9", 1]);
    let open = [
        json!(["session-1", "opened", "critical", ["RA101"], "user-1", 1]),
        json!(["session-2", "opened", "critical", ["RA101"], "user-1", 1]),
        json!(["session-3", "opened", "critical", ["RA106"], "user-3", 1]),
        json!(["session-4", "opened", "medium", ["RA101"], "user-4", 1]),
    ];
    assert_eq!(listed(&[]), [std::slice::from_ref(&closed), &open].concat());
    assert_eq!(listed(&["--open"]), open);
    assert_eq!(listed(&["--open", "--at-least", "high"]), open[..3]);
    assert_eq!(listed(&["--since", "2100-01-01"]), [] as [Value; 0]);
    let since = record_of(&app, &steps[3].event)["received_at"].as_str().unwrap().to_owned();
    assert_eq!(listed(&["--since", &since]), open[1..]);
    // The same of the service.
    let (_, answer) = app.get("/api/incidents?open=true&at_least=high").unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        json!(answer["incidents"]),
        json!(json_lines(&app.run(&["incidents", "--format", "json", "--open", "--at-least", "high"])))
    );

    let table = text(&app.run(&["incidents"]));
    assert_eq!(table.lines().count(), 6, "{table}");
    let id = answer["incidents"][0]["id"].as_str().unwrap();
    assert_eq!(row(&table, &[id])[..2], ["opened", "critical"]);
    let wrong = app.run(&["incidents", "--at-least", "grave"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("one of info, low, medium, high, critical"), "{wrong:?}");
}

#[test]
fn the_api_finds_by_rule_severity_and_user() {
    let (app, _) = started();
    let count = |what: &str, asked: &str| {
        let answer: Value = serde_json::from_str(&app.get(&format!("/api/{what}?{asked}")).unwrap().1).unwrap();
        answer[what].as_array().unwrap().len()
    };
    // As `traffic` has them: RA101 at three of user-1, one of user-3, one, medium, of user-4; RA106 at two of user-3.
    for (asked, found) in [
        ("", 7),
        ("rule=RA101", 5),
        ("rule=ra106", 2),
        ("rule=RA1", 0),
        ("at_least=high", 6),
        ("user=USER-1", 3),
        ("rule=RA101&user=user-4&at_least=medium", 1),
        ("rule=RA101&user=user-4&at_least=high", 0),
        ("limit=2", 2),
    ] {
        assert_eq!(count("findings", asked), found, "{asked}");
    }
    for (asked, found) in [("rule=ra106", 1), ("rule=RA101", 3), ("user=USER-1", 2), ("at_least=critical", 3)] {
        assert_eq!(count("incidents", asked), found, "{asked}");
    }
}

#[test]
fn explain_says_state_evidence_and_history_of_a_finding() {
    let (app, steps) = started();
    let record = |step: usize| record_of(&app, &steps[step].event);
    let explained = |step: usize| text(&app.run(&["explain", &steps[step].event.id.to_uppercase()]));
    let incident = json_lines(&app.run(&["incidents", "--format", "json"]))[0]["id"].as_str().unwrap().to_owned();
    let at = |step: usize| {
        format!("record {}, {}", record(step)["seq"], record(step)["event"]["occurred_at"].as_str().unwrap())
    };
    let said = explained(1);
    for line in [
        format!("event {}, record {}, ", steps[1].event.id, record(1)["seq"]),
        format!("user user-1, application {A}, session session-1\n"),
        "from 203.0.113.9, BR, hosting, Firefox, Linux\n".to_owned(),
        "let through; the gate's policy would deny it\n".to_owned(),
        "RA101 chain_fork (critical): ".to_owned(),
        "  looks for: The parent was already spent by another refresh.\n".to_owned(),
        "  network: abroad\n  seconds since spent: 180\n  software: same\n".to_owned(),
        "  set now: leeway = \"1m\"\n".to_owned(),
        "  ATT&CK: T1550.001, T1528\n".to_owned(),
        format!("  incident: {incident}\n"),
        "who issued the previous access token is not in the journal\n".to_owned(),
        format!("it was spent before by {}, from 192.0.2.17, FI, Firefox, Linux\n", at(0)),
        format!("refreshes of this session before it: 1\n  {}, from 192.0.2.17, FI, Firefox, Linux\n", at(0)),
    ] {
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
    }
    let said = explained(7);
    for line in [
        "RA106 refresh_after_revoke (critical): the tokens of the session were revoked 90 s before this refresh\n"
            .to_owned(),
        "  seconds after: 90\n".to_owned(),
        format!("the previous access token was issued by {}, from 192.0.2.17, FI, Firefox, Linux\n", at(5)),
        format!("revoked or stopped before it: {}, jwt.refresh-token.revoke\n", at(6)),
    ] {
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
    }
    // Of this user: three in the other session, one in this.
    let said = explained(4);
    let first = record(0)["event"]["occurred_at"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("\nrefreshes of this user before it: 4, the first {first}\n")), "{said}");
    assert!(!explained(5).contains("revoked or stopped"), "{}", explained(5));
    assert!(explained(0).contains("\nnothing was found in it\n"), "{}", explained(0));
    let unknown = app.run(&["explain", "no-such-event"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!((unknown.status.code(), unknown.stdout.is_empty()), (Some(1), true), "{said}");
    assert!(
        said.contains("the journal holds no event no-such-event") && said.contains("refresh-audit records"),
        "{said}"
    );
}

#[test]
fn the_documented_example_sent_twice_is_one_record_however_old_it_is() {
    let example = include_bytes!("../../fixtures/fusionauth/example/jwt-refresh.json");
    let id = serde_json::from_slice::<Value>(example).unwrap()["event"]["id"].as_str().unwrap().to_owned();
    // It is of 2026-11-22; what is older than the window is not judged.
    for window in ["7d", "1h"] {
        let mut app = start(settings().and(&format!("[dedupe]\nwindow = \"{window}\"\n")));
        let answers = [(); 2].map(|()| app.client().post(example, &app.signer().sign(example)).unwrap().verdict());
        assert_eq!(answers.each_ref().map(|answer| answer.word.as_str()), ["accepted", "duplicate"]);
        assert_eq!(answers[0].seq, answers[1].seq);
        app.stop();
        assert_eq!(app.journal().seq_of(&id), answers[0].seq.unwrap());
        let records = records(&app);
        let found: Vec<&Value> =
            records.iter().flat_map(|record| record["findings"].as_array().into_iter().flatten()).collect();
        assert!(found.iter().all(|finding| finding["severity"] == "info"), "{found:?}");
        assert!(!records.iter().any(|record| record["kind"] == "incident"), "{records:?}");
        let evidence = &records.iter().find(|record| record["event"]["id"] == *id).unwrap()["evidence"];
        assert!(window != "1h" || evidence["stale"] == true, "{evidence}");
    }
}

#[test]
fn how_many_refreshes_name_their_parent_is_measured_by_application() {
    let mut app = start(settings());
    let (one, two) = (Session::new(1), Session::new(2));
    let three = Session { application: B, ..Session::new(3) };
    let omitted = one.refresh(0, 13, From::Home);
    // A: three with it, then one without of a client that does not, then one without of the client that always did.
    for event in [
        &one.refresh(1, 10, From::Home),
        &one.refresh(10, 11, From::Home),
        &one.refresh(11, 12, From::Home),
        &two.refresh(0, 10, From::Home),
        &omitted,
        &three.refresh(0, 10, From::Home),
    ] {
        assert_eq!(send(&app, event).status, 200);
    }
    // Three of four before it.
    let finding = &record_of(&app, &omitted)["findings"][0];
    assert_eq!((&finding["rule"], &finding["evidence"]["application_coverage"]), (&json!("RA103"), &json!(0.75)));
    assert!(text(&app.run(&["explain", &omitted.id])).contains("  application coverage: 0.75\n"));
    // Three of five, and none of one. Whether tokens work once is not known of so few.
    let of = |application: &str, refreshes: u64, originals: u64, coverage: f64, users: u64| {
        json!({
            "tenant_id": "tenant-fixture", "application_id": application, "refreshes": refreshes, "originals": originals,
            "coverage": coverage, "back_end": false, "users": users, "networks": 1,
        })
    };
    let expected = [of(A, 5, 3, 0.6, 2), of(B, 1, 0, 0.0, 1)];
    let (status, answer) = app.get("/api/applications").unwrap();
    assert_eq!((status, serde_json::from_str(&answer).ok()), (200, Some(json!({ "applications": expected }))));
    for (name, values) in [
        ("refresh_audit_original_coverage", [0.6, 0.0]),
        ("refresh_audit_application_refreshes", [5.0, 1.0]),
        ("refresh_audit_application_originals", [3.0, 0.0]),
    ] {
        let told = [A, B].map(|id| app.metric(name, &[("application", id), ("tenant", "tenant-fixture")]).unwrap());
        assert_eq!(told, values, "{name}");
    }
    assert_eq!(json_lines(&app.run(&["applications", "--format", "json"])), expected);
    app.stop();
    assert_eq!(json_lines(&app.run(&["applications", "--format", "json"])), expected);
    let table = text(&app.run(&["applications"]));
    assert_eq!(row(&table, &[A]), ["tenant-fixture", "5", "60.0", "%", "not", "known", "yet", "no", "2", "1"]);
}
