//! Conditions over events, by the CEL specification's own meaning of operators and macros.

use serde_json::{Value, json};

use super::{super::features::Numbers, *};
use crate::detect::signals::Signals;

pub(super) fn rule(when: &str) -> Rule {
    serde_json::from_value(json!({ "id": "mine", "when": when, "severity": "high" })).unwrap()
}

pub(super) fn event(members: Value) -> RefreshEvent {
    let mut event = json!({ "id": "e1", "type": "jwt.refresh", "occurred_at": "2026-11-22T06:40:00.000Z",
                            "outcome": "attempted", "session_id": "s1" });
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    serde_json::from_value(event).unwrap()
}

pub(super) fn found_with(
    rules: &mut Rules,
    said: &mut Said,
    event: &RefreshEvent,
    at: i64,
    before: Vec<Finding>,
) -> (Vec<Finding>, u32) {
    // 2026-11-22 06:40 UTC, a Sunday: date -u -d @1795329600; by a clock eight hours behind it is Saturday, 22:40.
    let when = (1_795_329_600, 1_795_329_600 - 8 * 3_600);
    let features = Features::new(&Signals::default(), Numbers::default(), 0.25, when);
    let at = ReceivedAt::from_micros(at * 1_000_000);
    let mut findings = before;
    let failed = rules.observe(said, &Asked { event, evidence: &Evidence::default(), features, at }, &mut findings);
    (findings, failed)
}

pub(super) fn says(when: &str, members: Value) -> Option<bool> {
    let mut rules = Rules::new(&[rule(when)]).unwrap_or_else(|(_, error)| panic!("{error}"));
    let (findings, failed) = found_with(&mut rules, &mut Said::default(), &event(members), 0, Vec::new());
    (failed == 0).then_some(!findings.is_empty())
}

pub(super) fn refused(when: &str) -> String {
    Rules::new(&[rule(when)]).err().unwrap_or_else(|| panic!("taken: {when}")).1.to_string()
}

#[test]
fn conditions_mean_what_the_language_says() {
    let them = json!({ "ip": "203.0.113.9", "user_agent": "curl/8.5.0", "tenant_id": "t",
                       "network": { "asn": 64500, "labels": ["vpn", "office"] },
                       "location": { "latitude": 48.5 },
                       "tokens": { "access": { "issued": { "fingerprint": "1a2b:00", "claims": {} } } } });
    for (when, expected) in [
        ("true", true),
        ("event.ip == '203.0.113.9'", true),
        ("event.ip.startsWith('203.') && event.user_agent.contains('curl')", true),
        ("event.user_agent.matches('^curl/[0-9]+')", true),
        ("event.user_agent.matches('^wget')", false),
        ("event.ip.inNetwork('203.0.113.0/24')", true),
        ("event.ip.inNetwork('203.0.113.128/25')", false),
        ("event.network.asn == 64500 && event.network.asn >= 64000", true),
        ("'vpn' in event.network.labels", true),
        ("event.network.labels.exists(l, l.startsWith('off'))", true),
        ("event.network.labels.all(l, l == 'vpn')", false),
        ("size(event.network.labels) == 2", true),
        ("event.network.labels.filter(l, l != 'vpn').size() == 1", true),
        ("event.network.labels.exists_one(l, l == 'vpn')", true),
        ("event.location.latitude > 48", true),
        ("features.risk > 0.2 && features.risk < 1", true),
        ("features.hour_utc == 6 && features.weekday_utc == 7", true),
        ("features.hour_local == 22 && features.weekday_local == 6", true),
        ("features.network == 'unknown'", true),
        ("event.outcome in ['attempted', 'success']", true),
        ("has(event.tokens.access.issued.fingerprint)", true),
        // What is absent: asked for, it says nothing; has(…) knows, however deep.
        ("event.user_id == 'u'", false),
        ("event.user_id != 'u'", false),
        ("!has(event.user_id)", true),
        ("!has(event.tokens.access.previous)", true),
        ("!has(event.device.name)", true),
        ("has(event.device.name)", false),
        ("event.user_id == 'u' || event.tenant_id == 't'", true),
        ("evidence.stale", false),
        ("size(findings) == 0 && !findings.exists(f, f.severity in ['high', 'critical'])", true),
        ("features.session_refreshes * 2 + 1 == 1", true),
        ("(event.ip == '203.0.113.9' ? 1 : 2) == 1", true),
    ] {
        assert_eq!(says(when, them.clone()), Some(expected), "{when}");
    }
}

#[test]
fn what_fails_says_nothing_and_is_counted() {
    assert_eq!(says("1 / features.session_refreshes == 1", json!({})), None);
    assert_eq!(says("int(event.ip) == 1", json!({ "ip": "203.0.113.9" })), None);
}

#[test]
fn what_cannot_mean_anything_is_refused_where_it_stands() {
    for (when, expected) in [
        ("event.ipp == 'x'", "there is no member `ipp`; did you mean `ip`?"),
        ("evnt.ip == 'x'", "there is no `evnt`"),
        ("event.ip == 5", "`==` does not fit a text and a whole number"),
        ("event.ip", "a condition is true or false, this is a text"),
        ("event.ip > 5", "`>` does not fit"),
        ("features.network == 'abraod'", "did you mean `abroad`?"),
        ("features.network in ['same', 'foreign']", "this is never `foreign`"),
        ("findings.exists(f, f.severity >= 'high')", "words have no order"),
        ("event.network.labels.exists(l, l == 3)", "`==` does not fit"),
        ("event.user_id == null", "nothing is ever null here"),
        ("event.ip.lower() == 'x'", "there is no function `lower`"),
        ("event.user_agent.matches('(')", "not a pattern"),
        ("event.user_agent.matches(event.ip)", "a pattern is written out"),
        ("event.ip.inNetwork('10.0.0.0/33')", "is no network"),
        ("event.kept.exists(k, true)", "only a list can be gone through"),
        ("{'a': 1}.a == 1", "cannot make groups"),
        ("'ééé' == '' && evnt.ip == 'x'", "(at `evnt.ip == 'x'`)"),
        ("event.ip ==", "not CEL"),
        ("", "not CEL"),
        ("findings.all(a, findings.all(b, findings.all(c, true)))", "more than 10000 steps"),
        ("event.?ip == 'x'", "unsupported syntax"),
    ] {
        let said = refused(when);
        assert!(said.contains(expected), "{when}: {said}");
    }
    let deep = format!("{}true{}", "(".repeat(500), ")".repeat(500));
    assert!(refused(&deep).contains("not CEL"), "{}", refused(&deep));
    assert!(refused(&" ".repeat(5_000)).contains("longer than"));
}

#[test]
fn ids_are_the_operators_own() {
    for (id, expected) in [
        ("RA101", "own rules"),
        ("ra101", "own rules"),
        ("Ra9999", "own rules"),
        ("", "1 to 64"),
        ("a b", "1 to 64"),
        ("9a", "1 to 64"),
        ("é", "1 to 64"),
    ] {
        let refused = Rules::new(&[Rule { id: id.to_owned(), ..rule("true") }]).err().unwrap().1;
        assert!(refused.to_string().contains(expected), "{id}: {refused}");
    }
    for id in ["r", "rate", "ra-101", "ra101x", "bra101"] {
        assert!(Rules::new(&[Rule { id: id.to_owned(), ..rule("true") }]).is_ok(), "{id}");
    }
    let twice = [rule("true"), rule("false")];
    assert!(Rules::new(&twice).err().unwrap().1.to_string().contains("two of this id"));
    let technique = Rule { attack: vec!["T15".to_owned()], ..rule("true") };
    assert!(Rules::new(&[technique]).is_err());
}

#[test]
fn later_rules_see_what_earlier_ones_found() {
    let first = Rule { id: "first".to_owned(), ..rule("event.ip == '203.0.113.9'") };
    let second = Rule { id: "second".to_owned(), ..rule("findings.exists(f, f.rule == 'first')") };
    let third = Rule { id: "third".to_owned(), shadow: true, ..rule("findings.exists(f, f.rule == 'RA101')") };
    let mut rules = Rules::new(&[first, second, third]).ok().unwrap();
    let before = json!([{ "rule": "RA101", "name": "n", "severity": "medium", "reason": "r" }]);
    let before = serde_json::from_value(before).unwrap();
    let event = event(json!({ "ip": "203.0.113.9" }));
    let (findings, _) = found_with(&mut rules, &mut Said::default(), &event, 0, before);
    let said: Vec<_> = findings.iter().map(|one| (one.rule.as_str(), one.severity)).collect();
    let expected =
        [("RA101", Severity::Medium), ("first", Severity::High), ("second", Severity::High), ("third", Severity::Info)];
    assert_eq!(said, expected);
    assert_eq!(findings[3].evidence["shadow"], "high");
}

#[test]
fn dedup_is_counted_by_session_from_what_was_said() {
    let hourly = Rule { dedup: Some(Span::from_secs(3_600)), ..rule("true") };
    let mut rules = Rules::new(&[hourly]).ok().unwrap();
    let mut said = Said::default();
    let (one, other) = (event(json!({})), event(json!({ "session_id": "s2" })));
    let mut speaks = |event, at| !found_with(&mut rules, &mut said, event, at, Vec::new()).0.is_empty();
    assert!(speaks(&one, 1_000));
    assert!(!speaks(&one, 4_599));
    assert!(speaks(&other, 4_599));
    assert!(speaks(&one, 4_600));
    assert!(!speaks(&one, 8_199));
}

#[test]
fn a_hostile_event_costs_no_more_than_the_bound() {
    let labels: Vec<String> = (0..50_000).map(|number| format!("label{number}")).collect();
    let event = event(json!({ "network": { "labels": labels }, "user_agent": "a".repeat(900_000) }));
    let mut rules = Rules::new(&[
        Rule { id: "size".to_owned(), ..rule("size(event.network.labels) == 64") },
        Rule { id: "text".to_owned(), ..rule("size(event.user_agent) == 8192") },
    ])
    .ok()
    .unwrap();
    let (findings, failed) = found_with(&mut rules, &mut Said::default(), &event, 0, Vec::new());
    assert_eq!((findings.len(), failed), (2, 0));
}

#[test]
fn examples_are_run_and_must_be_of_the_records_shape() {
    let mut rule = rule("event.ip.inNetwork('10.0.0.0/8') && features.network == 'abroad'");
    let case = |fires: bool, ip: &str, network: &str| json!({ "fires": fires, "event": { "ip": ip }, "features": { "network": network } });
    rule.tests = serde_json::from_value(json!([
        case(true, "10.1.2.3", "abroad"),
        case(true, "11.1.2.3", "abroad"),
        case(false, "10.1.2.3", "same"),
        case(false, "10.1.2.3", "abroad"),
        case(true, "10.1.2.3", "elsewhere"),
        { "fires": false },
        { "fires": true },
        { "fires": false, "event": { "address": "10.1.2.3" } },
    ]))
    .unwrap();
    let failed: Vec<_> = run(&[rule]).ok().unwrap().into_iter().map(|failed| (failed.case, failed.what)).collect();
    let numbers: Vec<usize> = failed.iter().map(|(case, _)| *case).collect();
    assert_eq!(numbers, [1, 3, 4, 6, 7], "{failed:?}");
    assert!(failed[2].1.contains("features.network: `elsewhere` is none of"), "{failed:?}");
    assert!(failed[4].1.contains("event has no member `address`"), "{failed:?}");
}
