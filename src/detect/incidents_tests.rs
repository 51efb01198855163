//! Incidents as a person would tell them, worked out by hand.

use serde_json::json;

use super::*;

const HOUR: i64 = 3_600_000_000;
const START: i64 = 1_795_329_600_000_000;

struct Story {
    incidents: Incidents,
    seq: Seq,
}

impl Story {
    fn new() -> Self {
        Self { incidents: Incidents::default(), seq: 0 }
    }

    /// One event with findings, some hours in; what was told, and the incidents of its findings.
    fn event(&mut self, hours: i64, session: &str, rules: &[(&str, &str)]) -> (Vec<Incident>, Vec<Option<String>>) {
        self.scored(hours, session, None, rules)
    }

    /// The same of one with a risk.
    fn scored(
        &mut self,
        hours: i64,
        session: &str,
        risk: Option<f64>,
        rules: &[(&str, &str)],
    ) -> (Vec<Incident>, Vec<Option<String>>) {
        self.seq += 1;
        let event: RefreshEvent = serde_json::from_value(json!({
            "id": "e", "type": "jwt.refresh", "occurred_at": "2026-11-22T06:40:00.000Z", "outcome": "attempted",
            "tenant_id": "t", "application_id": "a", "user_id": "u", "session_id": session, "ip": "192.0.2.7"
        }))
        .unwrap();
        let finding = |(rule, severity): &(&str, &str)| -> Finding {
            let json = json!({ "rule": rule, "name": "n", "severity": severity, "reason": format!("why {rule}") });
            serde_json::from_value(json).unwrap()
        };
        let mut findings: Vec<Finding> = rules.iter().map(finding).collect();
        let at = ReceivedAt::from_micros(START + hours * HOUR);
        let mut told = Vec::new();
        let config = Config::default();
        self.incidents.close_idle(&config, at, &mut told);
        let happened = Happened { event: &event, seq: self.seq, at, risk };
        self.incidents.take(&config, happened, &mut findings, BTreeMap::new, &mut told);
        (told, findings.into_iter().map(|finding| finding.incident).collect())
    }
}

fn changes(told: &[Incident]) -> Vec<(&str, &str)> {
    told.iter().map(|incident| (incident.change.as_str(), incident.severity.as_str())).collect()
}

#[test]
fn a_stolen_session_is_told_once_then_when_it_gets_worse_then_daily_then_closed() {
    let mut story = Story::new();
    let (told, ids) = story.event(0, "s", &[("RA403", "medium"), ("RA305", "low")]);
    assert_eq!(changes(&told), [("opened", "medium")]);
    assert_eq!(ids, [Some(told[0].id.clone()), None], "what is below the threshold belongs to none");
    let id = told[0].id.clone();
    assert_eq!(id.len(), 16);
    assert!(changes(&story.event(1, "s", &[("RA403", "medium")]).0).is_empty());
    assert!(changes(&story.event(2, "s", &[("RA404", "medium")]).0).is_empty(), "the same family");
    let (told, _) = story.event(3, "s", &[("RA403", "high")]);
    assert_eq!(changes(&told), [("escalated", "high")]);
    let (told, ids) = story.event(4, "s", &[("RA101", "medium")]);
    assert_eq!(changes(&told), [("escalated", "high")], "another family");
    assert_eq!(ids, [Some(id.clone())]);
    for hour in 5..28 {
        assert!(changes(&story.event(hour, "s", &[("RA101", "high")]).0).is_empty(), "hour {hour}");
    }
    let (told, _) = story.event(28, "s", &[("RA101", "high")]);
    assert_eq!(changes(&told), [("ongoing", "high")], "a day after it was told last");
    // 5 events, then one for each hour from 5 to 28; one finding of each counts.
    assert_eq!((told[0].events, told[0].findings, told[0].first_seq, told[0].last_seq), (29, 29, 1, 29));
    assert_eq!(told[0].rules, ["RA101", "RA403", "RA404"]);
    // 24 h after the last one it is over; the next opens another.
    let (told, ids) = story.event(52, "s", &[("RA101", "high")]);
    assert_eq!(changes(&told), [("closed", "high"), ("opened", "high")]);
    assert_eq!((told[0].id.as_str(), told[0].last_seq), (id.as_str(), 29));
    assert_ne!(ids, [Some(id)]);
}

#[test]
fn who_reads_a_summary_knows_what_is_new() {
    let mut story = Story::new();
    story.event(0, "s", &[("RA101", "critical")]);
    for (rules, says) in [
        (
            &[("RA305", "medium"), ("RA101", "high")][..],
            "critical for a session, now by evidence of another kind as well: RA305: why RA305 (RA101, RA305)",
        ),
        (
            &[("RA202", "critical")],
            "critical for a session, now by evidence of another kind as well: RA202: why RA202 (RA101, RA202, RA305)",
        ),
    ] {
        let (told, _) = story.event(1, "s", rules);
        assert_eq!((changes(&told), told[0].summary.as_str()), (vec![("escalated", "critical")], says));
    }
    story.event(0, "other", &[("RA305", "medium")]);
    let (told, _) = story.event(1, "other", &[("RA101", "high")]);
    assert_eq!(told[0].summary, "worse for a session, now high: why RA101 (RA101, RA305)");
    // It is asked for as it was told.
    let asked = story.incidents.snapshot().first(1..=4, 9, |_| true);
    assert_eq!(asked.iter().map(|one| one.key.value.as_str()).collect::<Vec<_>>(), ["s", "other"]);
    assert_eq!((asked[1].clone(), asked[0].events), (told[0].clone(), 3));
    story.event(1, "other", &[("RA101", "high")]);
    assert_eq!(story.incidents.snapshot().first(4..=4, 9, |_| true), told);
    assert!(story.incidents.snapshot().first(2..=3, 9, |_| true).is_empty());
}

#[test]
fn sessions_are_apart_and_what_is_seen_across_users_is_the_networks() {
    let mut story = Story::new();
    let (first, _) = story.event(0, "s1", &[("RA101", "high")]);
    let (second, ids) = story.event(0, "s2", &[("RA101", "high"), ("RA405", "critical"), ("RA602", "critical")]);
    assert_ne!(first[0].id, second[0].id);
    let keys: Vec<_> = second.iter().map(|one| (one.key.kind.as_str(), one.key.value.as_str())).collect();
    assert_eq!(keys, [("session", "s2"), ("network", "192.0.2.0/24"), ("application", "a")]);
    assert_eq!(ids.iter().flatten().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!((&second[1].user_id, &second[1].session_id), (&None, &None));
    assert!(story.event(1, "s3", &[("RA405", "critical")]).0.is_empty());
}

#[test]
fn more_than_can_be_open_closes_the_quietest() {
    let mut story = Story::new();
    for n in 0..OPEN_MAX {
        story.event(0, &format!("s{n}"), &[("RA101", "high")]);
    }
    story.event(1, "s0", &[("RA101", "high")]);
    let (told, _) = story.event(1, "one more", &[("RA101", "high")]);
    assert_eq!(changes(&told), [("opened", "high"), ("closed", "high")]);
    assert_ne!(told[1].key.value, "s0");
    assert_eq!(story.incidents.how_many(), OPEN_MAX);
}

#[test]
fn after_a_storm_they_close_a_few_at_a_time() {
    let mut story = Story::new();
    for n in 0..600 {
        story.event(0, &format!("s{n}"), &[("RA101", "high")]);
    }
    let day_later = ReceivedAt::from_micros(START + 24 * HOUR);
    let mut closed = Vec::new();
    loop {
        let mut told = Vec::new();
        story.incidents.close_idle(&Config::default(), day_later, &mut told);
        if told.is_empty() {
            break;
        }
        closed.push(told.len());
    }
    assert_eq!((closed, story.incidents.how_many()), (vec![256, 256, 88], 0));
}

#[test]
fn a_durable_copy_goes_on_as_the_original() {
    let mut story = Story::new();
    story.event(0, "s", &[("RA101", "high")]);
    let bytes = postcard::to_stdvec(&story.incidents).unwrap();
    let mut copy = Story { incidents: postcard::from_bytes(&bytes).unwrap(), seq: story.seq };
    for (hours, severity) in [(1, "high"), (2, "critical"), (27, "critical"), (60, "high")] {
        let rules = [("RA101", severity)];
        assert_eq!(story.event(hours, "s", &rules), copy.event(hours, "s", &rules));
    }
}

#[test]
fn what_the_score_finds_ordinary_opens_none_below_critical() {
    // The rule, its severity, the risk; whether an incident opens.
    for (rule, severity, risk, opens) in [
        ("RA404", "medium", 0.004_9, false),
        ("RA404", "medium", 0.005, true),
        ("RA404", "high", 0.004_9, false),
        ("RA404", "critical", 0.000_1, true),
        ("RA101", "medium", 0.000_1, true),
        // The score does not weigh these: a role more, refusals in a row, a rule of the operator's own.
        ("RA205", "medium", 0.000_1, true),
        ("RA107", "medium", 0.000_1, true),
        ("our-own", "medium", 0.000_1, true),
    ] {
        let (told, ids) = Story::new().scored(0, "s", Some(risk), &[(rule, severity)]);
        assert_eq!((told.len(), ids[0].is_some()), (usize::from(opens), opens), "{rule} {severity} at {risk}");
    }
    // What is open takes it in.
    let mut story = Story::new();
    story.scored(0, "s", Some(0.9), &[("RA101", "high")]);
    let (told, ids) = story.scored(1, "s", Some(0.000_1), &[("RA404", "medium")]);
    assert_eq!(changes(&told), [("escalated", "high")]);
    assert!(ids[0].is_some());
}

#[test]
fn what_a_record_opened_is_what_goes_on_and_is_closed() {
    let record: crate::record::Record =
        serde_json::from_str(include_str!("../../fixtures/formats/records/incident.json")).unwrap();
    let incident = record.incident.unwrap();
    let mut incidents = Incidents::default();
    incidents.recorded(&incident);
    let (hour, day) = (std::time::Duration::from_secs(3_600), std::time::Duration::from_secs(86_400));
    let last_seen = incident.last_seen.plus(hour);
    let change = IncidentChange::Escalated;
    let escalated = Incident { change, last_seen, events: incident.events + 1, ..incident.clone() };
    incidents.recorded(&escalated);
    assert_eq!(incidents.how_many(), 1);
    let listed = incidents.snapshot().first(1..=Seq::MAX, 9, |_| true);
    assert_eq!((&listed[0].id, listed[0].change, listed[0].events), (&incident.id, escalated.change, escalated.events));
    let mut told = Vec::new();
    // By its last record, a day of nothing is over an hour later.
    incidents.close_idle(&Config::default(), incident.last_seen.plus(day), &mut told);
    assert!(told.is_empty());
    incidents.close_idle(&Config::default(), last_seen.plus(day), &mut told);
    assert_eq!((&told[0].id, told[0].change, &told[0].rules), (&incident.id, IncidentChange::Closed, &incident.rules));
    assert_eq!(incidents.how_many(), 0);
}
