//! What conditions can cost: what is refused, what an operator needs and gets, how long the worst of what is taken takes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    tests::{event, found_with, refused, rule, says},
    *,
};

/// The longest that rules may take for one event here: some hundred times what they take where nothing else runs, and less
/// than the quickest of what was taken before sizes were counted.
const WORST_MAX: Duration = Duration::from_millis(500);

#[test]
fn what_grows_is_counted_by_its_size() {
    let doubled = |from: &str, times: usize| format!("{from}{}.exists(x, x == 'y')", ".map(a, a + a)".repeat(times));
    let patterns: Vec<_> =
        (0..40).map(|n| format!("event.user_agent.matches('^[ab]*a[ab]{{{}}}$')", n % 2 + 5)).collect();
    for when in [
        doubled("[event.user_agent]", 20),
        doubled("[event.ip]", 10),
        doubled("findings.map(f, event.user_agent)", 1),
        doubled("event.network.labels", 8),
        // 1,280 elements, though no list of the record has more than 64.
        format!("(findings{}).exists(f, f.rule == 'RA101')", " + findings".repeat(19)),
        // Added one to another, each sum is copied.
        format!("{} == ''", vec!["event.user_agent"; 40].join(" + ")),
        vec!["event.user_agent.contains('x')"; 40].join(" || "),
        patterns.join(" || "),
        "findings.exists(f, event.user_agent.matches('x'))".to_owned(),
        "event.network.labels.exists(l, l in event.network.labels)".to_owned(),
        // `has` asks for every beginning of the path.
        format!("has(event.kept{})", ".a".repeat(120)),
        // Each beginning of a path is looked for as a name of its own.
        format!("event.kept{} == 'x'", ".a".repeat(1_900)),
    ] {
        let said = refused(&when);
        assert!(said.contains("more than 10000 steps") && said.contains("go through fewer lists"), "{when}: {said}");
    }
}

#[test]
fn what_has_no_end_is_refused() {
    for (when, expected) in [
        ("[[event.ip]].size() == 1", "a list of a rule holds texts, numbers and groups"),
        ("[1.0].map(a, [a, a]).size() == 1", "a list of a rule holds"),
        ("[event.kept.roles].size() == 1", "write string(…) or int(…)"),
        ("event.kept.a + event.kept.b == 'x'", "say what it is with string(…)"),
        ("event.kept.a - event.kept.b == 1", "say what it is with string(…)"),
        ("(event.ip == '' ? 'x' : event.kept.a) + 'y' == 'x'", "say what it is with string(…)"),
        ("event.kept == event.kept", "compare their members"),
        ("event.kept.a == event.kept.b", "compare their members"),
        ("findings[0] in findings", "compare their members"),
        ("[event, findings[0]].size() == 2", "what stands before it is"),
        ("event.kept.a[0.5] == 1", "`[_]` does not fit"),
        ("event.user_agent.matches('[ab]*a[ab]{300}[0-9]')", "the pattern is larger than"),
        (r"event.user_agent.matches('\\w{500}')", "the pattern is larger than"),
        (r"event.user_agent.matches('\\bbot')", r"write (?-u:\b)"),
        ("event.user_agent.matches('[')", "not a pattern: error: unclosed character class"),
    ] {
        let said = refused(when);
        assert!(said.contains(expected), "{when}: {said}");
    }
}

#[test]
fn what_rules_need_is_taken() {
    let event = json!({ "ip": "203.0.113.9", "user_agent": "Mozilla/5.0 (X11; Bot)", "network": { "labels": ["vpn", "tor"] },
                        "kept": { "plan": "free", "roles": ["a", "b"], "limit": 3, "of": { "team": "x" } } });
    for (when, expected) in [
        ("event.kept.plan == 'free' && event.kept.of.team in ['x', 'y'] && event.kept.limit > 2", true),
        ("'a' in event.kept.roles && size(event.kept.roles) == 2 && event.kept.roles[1] == 'b'", true),
        ("has(event.kept.of.team) && !has(event.kept.of.name) && 'plan' in event.kept && size(event.kept) == 4", true),
        ("int(event.kept.limit) + 1 == 4 && string(event.kept.plan) + '!' == 'free!'", true),
        ("event.network.labels == ['vpn', 'tor'] && ['vpn', 'tor'] == event.network.labels", true),
        ("event.network.labels.map(l, l + '!').exists(l, l == 'tor!') && event.network.labels != []", true),
        ("event.network.labels.filter(l, l in ['vpn', 'tor']).map(l, l.startsWith('v')) == [true, false]", true),
        ("size(event.network.labels + ['x']) == 3 && [event.kept][0].plan == 'free' && findings == []", true),
        ("event.user_agent.matches('(?i)(?-u:\\\\b)bot(?-u:\\\\b)') && event.user_agent.matches('^Moz.*[)]$')", true),
        ("event.user_agent.matches('(?i)(googlebot|bingbot|yandex|slurp|semrush|ahrefs|curl|wget|okhttp)')", false),
        (r"event.user_agent.matches('^\\w+/\\d+[.]\\d ') && !event.user_agent.matches('é|ß')", true),
    ] {
        assert_eq!(says(when, event.clone()), Some(expected), "{when}");
    }
    let one = "findings.exists(f, f.rule == 'RA101' && f.severity == 'high') || event.user_agent.contains('x')";
    let many: Vec<_> = (0..20).map(|n| Rule { id: format!("r{n}"), ..rule(one) }).collect();
    assert!(Rules::new(&many).is_ok());
}

/// As many of these as are taken, for the event that costs the most: what is absent and found out late.
fn worst(when: &str) -> (usize, Duration) {
    let mut made = Made::new();
    let taken = (0..RULES_MAX).take_while(|n| made.add(&Rule { id: format!("r{n}"), ..rule(when) }).is_ok()).count();
    let mut rules = made.finish();
    // No byte foretells the next: of 2^31, by a linear congruence.
    let bits = std::iter::successors(Some(1_u32), |x| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    let text: String = bits.map(|x| if x >> 31 == 1 { 'a' } else { 'b' }).take(8_192).collect();
    let labels: Vec<_> = (0..64).map(|n| format!("{}{n:02}", "ab".repeat(511))).collect();
    let event =
        event(json!({ "ip": text, "user_agent": text, "network": { "labels": labels }, "kept": { "a": text } }));
    let finding =
        json!({ "rule": "RA101", "name": "n", "severity": "high", "reason": text, "evidence": { "a": text } });
    let before = vec![serde_json::from_value(finding).unwrap(); 64];
    let begin = Instant::now();
    found_with(&mut rules, &mut Said::default(), &event, 0, before);
    (taken, begin.elapsed())
}

#[test]
fn the_worst_that_is_taken_is_soon_over() {
    for when in [
        "[event.user_agent].map(a, a + a).map(a, a + a).map(a, a + a).exists(x, x.contains('evil'))".to_owned(),
        vec!["event.user_agent.contains('ababababababababababababababababababababababababac')"; 30].join(" || "),
        vec!["event.user_agent.matches('[ab]*a[ab]{5}[0-9][p-z]')"; 30].join(" || "),
        "event.user_agent.matches('[ab]*a[ab]{10}[0-9][p-z]')".to_owned(),
        "findings.exists(f, f.reason.startsWith(f.reason + 'c'))".to_owned(),
        "findings.exists(f, event.kept.a.b.c.d.e.f.g.h == 'x')".to_owned(),
        format!("has(event.kept{})", ".a".repeat(20)),
        "event.network.labels.map(l, l + l + l + 'x') == event.network.labels.map(l, l + l + l + 'y')".to_owned(),
    ] {
        let (taken, took) = worst(&when);
        assert!(taken > 0 && took < WORST_MAX, "{when}: {taken} of it took {took:?}");
    }
}
