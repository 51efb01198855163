//! The gate and incidents through the real service: who is refused, when it is on disk, what is told of it, and that none
//! of it is forgotten or differs after a crash.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    app::{Settings, TestApp},
    copy_dir,
    event::Event,
    eventually,
    http::Verdict,
    session::{From, Session, record_of, records, rules, send},
};

const ENFORCE: &str = "[gate]\nmode = \"enforce\"\n";
fn answered(verdict: &Verdict) -> (u16, &str) {
    (verdict.status, &verdict.word)
}

#[test]
fn what_is_denied_is_journaled_first_and_stays_denied_for_ever() {
    let mut app = TestApp::start(Settings::new().and(ENFORCE));
    let session = Session::new(1);
    let [first, theft] = session.theft();
    assert_eq!(answered(&send(&app, &first)), (200, "accepted"));
    let denied = send(&app, &theft);
    assert_eq!(answered(&denied), (403, "denied"));
    let record = record_of(&app, &theft);
    assert_eq!(record["seq"].as_u64(), denied.seq);
    assert_eq!((&record["verdict"]["action"], &record["verdict"]["would"]), (&json!("deny"), &json!("deny")));
    assert!(rules(&record).contains(&("RA101".to_owned(), "critical".to_owned())), "{record}");
    assert_eq!(app.metric("refresh_audit_events_total", &[("outcome", "denied")]), Some(1.0));
    // Its duplicate is denied with the same reference, also after a restart and a crash.
    assert_eq!(send(&app, &theft), denied);
    app.stop();
    app.launch();
    assert_eq!(send(&app, &theft), denied);
    app.kill();
    fs::remove_dir_all(app.data().join("index")).unwrap();
    app.launch();
    assert_eq!(send(&app, &theft), denied);
    // The owner goes on undisturbed: what was refused did not become the newest token.
    let next = session.refresh(10, 20, From::Home);
    assert_eq!(answered(&send(&app, &next)), (200, "accepted"));
    let record = record_of(&app, &next);
    assert!(!rules(&record).iter().any(|(rule, _)| rule.starts_with("RA10")), "{record}");
    // Another party let it through after all: said, and adopted.
    let adopted = session.refresh(12, 22, From::Away);
    send(&app, &adopted);
    let record = record_of(&app, &adopted);
    assert!(rules(&record).contains(&("RA102".to_owned(), "info".to_owned())), "{record}");
    app.stop();
    app.verify();
}

#[test]
fn observing_denies_nobody_and_says_what_would_have_been() {
    let app = TestApp::start(Settings::new());
    let [first, theft] = Session::new(1).theft();
    for (event, would) in [(&first, "allow"), (&theft, "deny")] {
        assert_eq!(answered(&send(&app, event)), (200, "accepted"));
        let verdict = &record_of(&app, event)["verdict"];
        assert_eq!((&verdict["action"], &verdict["would"]), (&json!("allow"), &json!(would)));
        assert!(verdict["risk"].is_f64(), "{verdict}");
    }
    // Nothing was configured, so nothing is recorded as configured: the first event is the first record.
    assert_eq!(record_of(&app, &first)["seq"], 1);
}

#[test]
fn the_kill_switch_works_at_once_and_outlives_a_crash() {
    let mut app = TestApp::start(Settings::new().and(ENFORCE));
    let output = app.run(&["gate", "stop"]);
    assert!(output.status.success(), "{output:?}");
    let [first, theft] = Session::new(1).theft();
    send(&app, &first);
    assert_eq!(answered(&send(&app, &theft)), (200, "accepted"));
    let verdict = &record_of(&app, &theft)["verdict"];
    assert_eq!((&verdict["action"], &verdict["would"]), (&json!("allow"), &json!("deny")));
    app.kill();
    app.launch();
    let [first, theft] = Session::new(2).theft();
    send(&app, &first);
    assert_eq!(answered(&send(&app, &theft)), (200, "accepted"));
    let output = app.run(&["gate", "start"]);
    assert!(output.status.success(), "{output:?}");
    let [first, theft] = Session::new(3).theft();
    send(&app, &first);
    assert_eq!(answered(&send(&app, &theft)), (403, "denied"));
    eventually("the alarm is over", || app.metric("refresh_audit_alarm", &[("name", "gate_stopped")]) == Some(0.0));
    app.stop();
    let operators = records(&app).into_iter().filter(|record| record["kind"] == "operator");
    let actions: Vec<Value> = operators.map(|record| record["operator"]["action"].clone()).collect();
    assert_eq!(actions, ["gate_stop", "gate_start"]);
    assert!(app.journal().has_alarm("gate_stopped", "raised"));
}

#[test]
fn it_is_stopped_and_let_work_again_while_no_service_runs() {
    let mut app = TestApp::start(Settings::new().and(ENFORCE));
    for (number, action, status) in [(1, "stop", 200), (2, "start", 403)] {
        app.stop();
        let output = app.run(&["gate", action]);
        assert!(output.status.success(), "{output:?}");
        app.launch();
        let [first, theft] = Session::new(number).theft();
        send(&app, &first);
        assert_eq!(send(&app, &theft).status, status, "{action}");
        assert_eq!(record_of(&app, &theft)["verdict"]["would"], "deny");
    }
    app.stop();
    let operators = records(&app).into_iter().filter(|record| record["kind"] == "operator");
    let actions: Vec<Value> = operators.map(|record| record["operator"]["action"].clone()).collect();
    assert_eq!(actions, ["gate_stop", "gate_start"]);
    assert!(app.journal().has_alarm("gate_stopped", "raised") && app.journal().has_alarm("gate_stopped", "cleared"));
    app.verify();
}

#[test]
fn a_gate_that_nobody_can_stop_says_who_has_the_data() {
    let app = TestApp::start(Settings::new().and(ENFORCE));
    // Another address for the admin API: nothing answers there, and a service holds the data all the same.
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    fs::write(app.path("other.toml"), config.replace(&app.admin.to_string(), "127.0.0.1:9")).unwrap();
    let output = app.run_with("other.toml", &["gate", "stop"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("in use by pid {}", app.pid())), "{said}");
}

#[test]
fn every_record_of_an_event_has_a_verdict_with_a_risk() {
    let source = "events = [\"jwt.refresh\", \"jwt.refresh-token.revoke\", \"user.deactivate\"]\n".to_owned();
    let app = TestApp::start(Settings { source, ..Settings::new() });
    let session = Session::new(1);
    for event in [session.refresh(1, 10, From::Home), session.revocation(11), session.deactivation(12)] {
        assert_eq!(answered(&send(&app, &event)), (200, "accepted"));
        let verdict = &record_of(&app, &event)["verdict"];
        let risk = verdict["risk"].as_f64().unwrap_or(-1.0);
        assert!((0.0..1.0).contains(&risk) && verdict["action"] == "allow" && verdict["would"] == "allow", "{verdict}");
    }
    let refresh = session.refresh(10, 13, From::Home);
    send(&app, &refresh);
    assert!(rules(&record_of(&app, &refresh)).contains(&("RA106".to_owned(), "critical".to_owned())));
}

#[test]
fn past_the_cap_the_rest_is_let_through_with_an_alarm() {
    let mut app = TestApp::start(Settings::new().and(ENFORCE).and("max_denials_per_minute = 2\n"));
    let thefts: Vec<[Event; 2]> = (0..8).map(|number| Session::new(number).theft()).collect();
    let statuses: Vec<u16> = thefts
        .iter()
        .map(|[first, theft]| {
            send(&app, first);
            send(&app, theft).status
        })
        .collect();
    let denied = statuses.iter().filter(|status| **status == 403).count();
    // Two a minute, and this may run over the end of one.
    assert!(denied == 2 || denied == 4, "{statuses:?}");
    assert_eq!(statuses[..2], [403, 403]);
    let allowed = app.metric("refresh_audit_gate_allowed_total", &[("reason", "capped")]);
    assert_eq!(allowed, Some((8 - denied) as f64));
    app.stop();
    assert!(app.journal().has_alarm("gate_capped", "raised"));
}

#[test]
fn a_denied_client_that_does_not_give_up_raises_an_alarm() {
    let mut app = TestApp::start(Settings::new().and(ENFORCE));
    let session = Session::new(1);
    send(&app, &session.refresh(1, 10, From::Home));
    for n in 0..5 {
        assert_eq!(answered(&send(&app, &session.refresh(1, 12 + n, From::Away))), (403, "denied"), "{n}");
        let raised = app.metric("refresh_audit_alarm", &[("name", "gate_retry_loop")]);
        assert_eq!(raised, Some(f64::from(u8::from(n == 4))), "{n}");
    }
    app.stop();
    assert!(app.journal().has_alarm("gate_retry_loop", "raised"));
}

#[test]
fn applications_users_and_suppressions_are_spared() {
    let settings = "[gate]\nmode = \"enforce\"\nallow = { users = [\"user-2\"] }\n[[suppress]]\nuser = \"user-3\"\n\
                    reason = \"test phone\"\nuntil = \"2999-01-01\"\n";
    let app = TestApp::start(Settings::new().and(settings));
    for (number, status, would) in [(1, 403, "deny"), (2, 200, "allow"), (3, 200, "allow")] {
        let [first, theft] = Session::new(number).theft();
        send(&app, &first);
        assert_eq!(send(&app, &theft).status, status, "{number}");
        assert_eq!(record_of(&app, &theft)["verdict"]["would"], would, "{number}");
    }
    // What is suppressed stays in the record, and is in no incident.
    let all = records(&app);
    let silenced = all.iter().find(|record| {
        record["event"]["user_id"] == "user-3" && record["findings"].as_array().is_some_and(|found| !found.is_empty())
    });
    for finding in silenced.unwrap()["findings"].as_array().unwrap() {
        assert_eq!((&finding["severity"], &finding["incident"]), (&json!("info"), &Value::Null));
        assert_eq!(finding["evidence"]["suppressed"], "test phone");
    }
    let users: Vec<&Value> = all.iter().filter_map(|record| record["incident"].get("user_id")).collect();
    assert_eq!(users, ["user-1", "user-2"]);
    let configured: Vec<&Value> = all.iter().filter_map(|record| record["config"].get("what")).collect();
    assert_eq!(configured, ["gate", "suppressions"]);
}

#[test]
fn a_session_with_findings_at_each_refresh_is_told_once() {
    let app = TestApp::start(Settings::new());
    let session = Session::new(1);
    send(&app, &session.refresh(1, 10, From::Home));
    // Both go on with their own tokens, in turns.
    let (mut thief, mut owner) = (1, 10);
    for turn in 0..10 {
        let next = 12 + 2 * turn;
        send(&app, &session.refresh(thief, next, From::Away));
        send(&app, &session.refresh(owner, next + 1, From::Home));
        (thief, owner) = (next, next + 1);
    }
    let all = records(&app);
    let incidents: Vec<&Value> = all.iter().filter(|record| record["kind"] == "incident").collect();
    let changes: Vec<&str> = incidents.iter().map(|record| record["incident"]["change"].as_str().unwrap()).collect();
    assert_eq!(changes[0], "opened");
    assert!(changes[1..].iter().all(|change| *change == "escalated"), "{changes:?}");
    let grave = |finding: &&Value| finding["severity"] != "low" && finding["severity"] != "info";
    let found: Vec<&Value> =
        all.iter().flat_map(|record| record["findings"].as_array().into_iter().flatten()).filter(grave).collect();
    let events = all.iter().filter(|record| record["findings"].as_array().is_some_and(|f| f.iter().any(|f| grave(&f))));
    assert!(events.count() > 10, "this many events have findings");
    // A kind of evidence has a hundred rules, and a severity rises at most three times above the threshold.
    assert!(changes.len() <= 5, "{changes:?}");
    let id = &incidents[0]["incident"]["id"];
    assert_eq!(id.as_str().unwrap().len(), 16);
    assert!(found.iter().all(|finding| finding["incident"] == *id), "{found:#?}");
    let changed = &incidents[0]["incident"]["changed"];
    assert_eq!(changed["country"], json!({ "from": "FI", "to": "BR" }));
    assert_eq!(changed["network"], json!({ "from": "192.0.2.0/24", "to": "198.51.100.0/24" }));
    // The record of the incident follows its event.
    let first = incidents[0]["seq"].as_u64().unwrap();
    assert_eq!(incidents[0]["incident"]["first_seq"].as_u64(), Some(first - 1));
}

#[test]
fn an_incident_that_a_kill_cut_off_is_told_although_the_gate_was_stopped_since() {
    let mut app = TestApp::start(Settings::new());
    for event in Session::new(1).theft() {
        send(&app, &event);
    }
    app.kill();
    let open = app.data().join("journal/00000000000000000001.jsonl");
    let text = fs::read_to_string(&open).unwrap();
    let incident = text.lines().position(|line| line.contains("\"kind\":\"incident\"")).unwrap();
    let kept: String = text.split_inclusive('\n').take(incident).collect();
    fs::write(&open, kept).unwrap();
    assert!(app.run(&["gate", "stop"]).status.success());
    app.launch();
    let kinds = || -> Vec<String> {
        records(&app).iter().skip(incident).map(|record| record["kind"].as_str().unwrap().to_owned()).collect()
    };
    eventually("its record", || kinds().contains(&"incident".to_owned()));
    assert_eq!(kinds()[0], "operator");
}

/// What was judged of a record, without what no two runs share.
fn judged(record: &Value) -> Value {
    let mut incident = record["incident"].clone();
    if let Some(members) = incident.as_object_mut() {
        members.retain(|name, _| name != "last_seen" && name != "first_seen");
    }
    // An incident's id comes from where in the journal it began, which alarms before it shift.
    let mut findings = record["findings"].clone();
    for finding in findings.as_array_mut().into_iter().flatten() {
        finding.as_object_mut().unwrap().remove("incident");
    }
    json!([record["seq"], record["kind"], findings, record["verdict"], incident])
}

#[test]
fn copies_of_a_journal_with_and_without_state_judge_what_comes_alike() {
    let settings = || Settings::new().and(ENFORCE).and("max_denials_per_minute = 1000\n");
    let mut app = TestApp::start(settings());
    let sessions: Vec<Session> = (0..20).map(Session::new).collect();
    for session in &sessions {
        let [first, theft] = session.theft();
        send(&app, &first);
        if session.number % 2 == 0 {
            send(&app, &theft);
        }
    }
    app.run(&["gate", "stop"]);
    app.stop();
    app.launch();
    // Some more after the durable copy, then no chance to make another.
    for session in &sessions[..10] {
        send(&app, &session.refresh(10, 20, From::Home));
        send(&app, &session.refresh(1, 21, From::Away));
    }
    app.run(&["gate", "start"]);
    app.kill();
    let next: Vec<Event> = sessions
        .iter()
        .flat_map(|session| [session.refresh(20, 30, From::Home), session.refresh(10, 31, From::Away)])
        .collect();
    let mut outcomes = Vec::new();
    for with_state in [true, false] {
        let mut copy = TestApp::prepare(settings());
        copy_dir(&app.data(), &copy.data(), &|_| true);
        if with_state {
            assert!(fs::read_dir(copy.data().join("state")).unwrap().count() > 0);
        } else {
            fs::remove_dir_all(copy.data().join("state")).unwrap();
        }
        copy.launch();
        let before = copy.journal().last_seq();
        let statuses: Vec<u16> = next.iter().map(|event| send(&copy, event).status).collect();
        assert!(statuses.contains(&403) && statuses.contains(&200), "{statuses:?}");
        let judged: Vec<Value> = records(&copy)
            .iter()
            .filter(|record| record["seq"].as_u64() > Some(before) && record["kind"] != "alarm")
            .map(judged)
            .collect();
        outcomes.push((statuses, judged));
        copy.stop();
        copy.verify();
    }
    assert_eq!(outcomes[0].0, outcomes[1].0);
    // Alarms that stand in only one of them shift the numbers: compared from the first event on, in order.
    let unnumbered = |judged: &[Value]| judged.iter().map(|one| json!([one[1], one[2], one[3]])).collect::<Vec<_>>();
    assert_eq!(unnumbered(&outcomes[0].1), unnumbered(&outcomes[1].1));
}
