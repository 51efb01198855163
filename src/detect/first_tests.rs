//! First sights: of who was refused, of who was revoked before, and of what a session does for the first time.

use serde_json::json;

use super::{
    facts::{Place, labels, testing::refresh},
    signals::{Kind, Net, Start},
    tests::{START, judged, observe},
    *,
};

const CLOUD: Place =
    Place { ip: 9, near: 9, wide: 9, country: 9, city: 9, cell: None, labels: labels::HOSTING | labels::NUMBERED };

fn refused(engine: &mut Engine, facts: &Facts) -> signals::Signals {
    let before = engine.before(facts);
    let signals = observe(engine, facts);
    engine.denied(facts, before);
    signals
}

#[test]
fn who_is_refused_at_first_sight_is_as_strange_when_they_try_again() {
    let mut engine = Engine::new(Config::default());
    let from_cloud =
        |at: i64, child: u64| Facts { place: CLOUD, user: 30, session: 40, ..refresh(START + at, 1, child) };
    for (at, child) in [(0, 2), (20, 3), (40, 4)] {
        let signals = refused(&mut engine, &from_cloud(at, child));
        assert_eq!((signals.kind, signals.net, signals.wake), (Kind::Hosting, Net::Unknown, Net::Unknown), "{at}");
    }
    // A user who is known, in a session that is not.
    let home = Place { ip: 1, near: 1, wide: 1, country: 1, ..Place::default() };
    for number in 1..40 {
        observe(&mut engine, &Facts { place: home, ..refresh(START + 3_600 * number as i64, number, number + 1) });
    }
    for at in [0, 20] {
        let facts = Facts { place: CLOUD, session: 5, ..refresh(START + 200_000 + at, 100, 101 + at as u64) };
        let signals = refused(&mut engine, &facts);
        assert_eq!((signals.start, signals.kind, signals.wake), (Start::Abroad, Kind::Hosting, Net::Unknown), "{at}");
    }
    // What was refused and seen in use after all happened: known by its token, wherever it comes from.
    let after_all = judged(&mut engine, &Facts { place: home, session: 5, ..refresh(START + 203_000, 121, 130) });
    assert!(after_all.findings.iter().any(|found| found.rule == "RA102"));
}

#[test]
fn tokens_revoked_before_their_owner_was_ever_seen_are_revoked() {
    let event = |kind: &str, member: serde_json::Value| {
        let mut event = json!({ "id": "e", "type": kind, "occurred_at": "2026-03-02T09:00:00.000Z", "outcome": "attempted",
                                "tenant_id": "t" });
        event.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        serde_json::from_value::<RefreshEvent>(event).unwrap()
    };
    let user = json!({ "user_id": "u" });
    for (kind, member) in [
        ("user.deactivate", &user),
        ("jwt.refresh-token.revoke", &user),
        ("jwt.refresh-token.revoke", &json!({ "application_id": "a" })),
    ] {
        let mut engine = Engine::new(Config::default());
        let revocation = event(kind, member.clone());
        let mut refreshed = event("jwt.refresh", json!({ "user_id": "u", "application_id": "a", "session_id": "s" }));
        refreshed.occurred_at = crate::time::EventTime::from_millis(revocation.occurred_at.millis() + 600_000).unwrap();
        let found = [revocation, refreshed].map(|event| {
            let at = ReceivedAt::from_micros(event.occurred_at.millis() * 1_000);
            // Signed in a day before.
            let mut facts = Facts::of(&event);
            facts.issued.auth_time = facts.occurred - 86_400;
            engine.observe(&event, &facts, &Evidence::default(), at).findings
        });
        assert_eq!(found[1].iter().map(|found| found.rule.as_str()).collect::<Vec<_>>(), ["RA106"], "{kind} {member}");
    }
}

#[test]
fn one_session_that_leaves_out_its_parent_again_and_again_counts_once() {
    let mut engine = Engine::new(Config::default());
    for number in 1..2_000_u64 {
        let parent = if number % 64 == 0 { 0 } else { number };
        observe(&mut engine, &refresh(START + 3_600 * number as i64, parent, number + 1));
    }
    let application = engine.state().applications.iter().next().unwrap().1;
    assert_eq!((application.steady, application.lapsed), (1, 1));
}
