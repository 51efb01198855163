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
    let before = engine.before(facts, facts.occurred as u32);
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
    assert_eq!((engine.state().owners.len(), engine.state().users.len()), (0, 0));
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
fn what_is_refused_teaches_an_application_nothing() {
    let mut engine = Engine::new(Config::default());
    let home = Place { ip: 1, near: 1, wide: 1, country: 1, ..Place::default() };
    for number in 1..40 {
        observe(&mut engine, &Facts { place: home, ..refresh(START + 3_600 * number as i64, number, number + 1) });
    }
    let known = |engine: &Engine| {
        let application = engine.state().applications.get(2).unwrap().clone();
        (application, postcard::to_allocvec(&engine.state().rates).unwrap())
    };
    let before = known(&engine);
    for number in 0..500 {
        let facts = Facts { place: CLOUD, ..refresh(START + 200_000 + number, 3, 1_000 + number as u64) };
        refused(&mut engine, &facts);
    }
    assert!(known(&engine) == before);
    // Nor is a token spent by it: its holder goes on as if nothing had been.
    let facts = Facts { place: CLOUD, ..refresh(START + 201_000, 40, 5_000) };
    refused(&mut engine, &facts);
    let holder = observe(&mut engine, &Facts { place: home, ..refresh(START + 202_000, 40, 41) });
    assert_eq!(holder.lineage, signals::Lineage::Head);
}

fn event(kind: &str, members: &serde_json::Value) -> RefreshEvent {
    let mut event = json!({ "id": "e", "type": kind, "occurred_at": "2026-03-02T09:00:00.000Z", "outcome": "attempted",
                            "tenant_id": "t" });
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    serde_json::from_value(event).unwrap()
}

/// What is found in an event at an instant (milliseconds after the sender's first), received `ahead` before that; its user
/// signed in a day before.
fn found(engine: &mut Engine, event: &RefreshEvent, millis: i64, ahead: i64) -> Vec<String> {
    let occurred = crate::time::EventTime::from_millis(event.occurred_at.millis() + millis).unwrap();
    let event = RefreshEvent { occurred_at: occurred, ..event.clone() };
    let mut facts = Facts::of(&event);
    facts.issued.auth_time = facts.occurred - 86_400;
    let at = ReceivedAt::from_micros((occurred.millis() - ahead) * 1_000);
    let judged = engine.observe(&event, &facts, &Evidence::default(), at);
    judged.findings.into_iter().map(|finding| finding.rule).collect()
}

#[test]
fn tokens_revoked_before_their_owner_was_ever_seen_are_revoked() {
    let refreshed = event("jwt.refresh", &json!({ "user_id": "u", "application_id": "a", "session_id": "s" }));
    for (kind, revoked) in [
        ("user.deactivate", json!({ "user_id": "u" })),
        ("jwt.refresh-token.revoke", json!({ "user_id": "u" })),
        ("jwt.refresh-token.revoke", json!({ "application_id": "a" })),
        ("jwt.refresh-token.revoke", json!({ "user_id": "u", "application_id": "a" })),
        ("jwt.refresh-token.revoke", json!({ "user_id": "u", "application_id": "a", "session_id": "s" })),
    ] {
        for is_known in [false, true] {
            let mut engine = Engine::new(Config::default());
            if is_known {
                let other = json!({ "user_id": "u", "application_id": "a", "session_id": "other" });
                found(&mut engine, &event("jwt.refresh", &other), -600_000, 0);
            }
            assert_eq!(found(&mut engine, &event(kind, &revoked), 0, 0), [""; 0]);
            assert_eq!(found(&mut engine, &refreshed, 600_000, 0), ["RA106"], "{kind} {revoked} {is_known}");
        }
    }
    // Of another session, user or application: nothing.
    for other in [
        json!({ "user_id": "u", "application_id": "a", "session_id": "other" }),
        json!({ "user_id": "other" }),
        json!({ "user_id": "u", "application_id": "other" }),
        json!({ "application_id": "other" }),
    ] {
        let mut engine = Engine::new(Config::default());
        found(&mut engine, &event("jwt.refresh-token.revoke", &other), 0, 0);
        assert_eq!(found(&mut engine, &refreshed, 600_000, 0), [""; 0], "{other}");
    }
}

#[test]
fn a_clock_that_is_ahead_puts_no_refresh_behind_its_revocation() {
    let members = json!({ "user_id": "u", "application_id": "a", "session_id": "s" });
    for (ahead, after, expected) in
        [(0, -1_000, &[][..]), (5_000, -1_000, &[]), (240_000, 200, &[]), (5_000, 4_000, &["RA106"])]
    {
        let mut engine = Engine::new(Config::default());
        found(&mut engine, &event("jwt.refresh", &members), -600_000, ahead);
        found(&mut engine, &event("jwt.refresh-token.revoke", &members), 0, ahead);
        let found = found(&mut engine, &event("jwt.refresh", &members), after, ahead);
        assert_eq!(found.iter().filter(|rule| *rule == "RA106").collect::<Vec<_>>(), expected, "{ahead} {after}");
    }
}

#[test]
fn who_has_many_sessions_has_all_of_them_and_who_has_thousands_forgets_their_own() {
    let mut engine = Engine::new(Config::default());
    let place = Place { ip: 1, near: 1, wide: 1, country: 1, ..Place::default() };
    // Twelve applications, a session in each, refreshed in turns.
    let of = |turn: u64, number: u64| {
        let at = START + 3_600 * turn as i64 + number as i64;
        let tokens = 1_000 * (number + 1) + turn;
        Facts { place, session: number + 100, application: number + 100, ..refresh(at, tokens, tokens + 1) }
    };
    for turn in 1..6 {
        for number in 0..12 {
            observe(&mut engine, &of(turn, number));
        }
    }
    // The first one's parent again, from elsewhere.
    let stolen = Facts { place: CLOUD, child: 7, occurred: START + 30_000, ..of(5, 0) };
    assert!(judged(&mut engine, &stolen).findings.iter().any(|found| found.rule == "RA101"));

    // An account of another user's, which is opened again and again on one day.
    for number in 0..9_000 {
        let facts = Facts { user: 9, session: 10_000 + number, ..refresh(START + 40_000, 1, 2) };
        observe(&mut engine, &facts);
    }
    let limit = usize::from(state::user::SESSIONS_A_DAY) + state::user::SESSIONS;
    assert!(engine.state().sessions.len() <= 12 + limit, "{}", engine.state().sessions.len());
    let again = judged(&mut engine, &Facts { child: 8, occurred: START + 50_000, ..stolen });
    assert!(again.findings.iter().any(|found| found.rule == "RA101" || found.rule == "RA102"));

    // The day after, what is left of them is refreshed in turns: that day none was opened.
    let before = engine.state().sessions.len();
    for turn in 0..3 {
        for number in 0..u64::from(state::user::SESSIONS_A_DAY) - state::user::SESSIONS as u64 {
            let at = START + 40_000 + 86_400 + 3_600 * turn;
            observe(&mut engine, &Facts { user: 9, session: 10_000 + number, ..refresh(at, 2, 3) });
        }
    }
    assert_eq!(engine.state().sessions.len(), before);
}

#[test]
fn people_who_sign_out_push_out_nobody_who_was_stopped() {
    let mut engine = Engine::new(Config::default());
    found(&mut engine, &event("user.deactivate", &json!({ "user_id": "u" })), 0, 0);
    let mut session = event("jwt.refresh-token.revoke", &json!({ "user_id": "v", "session_id": "s" }));
    for number in 0..300_000 {
        session.session_id = serde_json::from_value(json!(format!("s{number}"))).unwrap();
        found(&mut engine, &session, 1_000, 0);
    }
    let refreshed = event("jwt.refresh", &json!({ "user_id": "u", "application_id": "a", "session_id": "s" }));
    assert_eq!(found(&mut engine, &refreshed, 600_000, 0), ["RA106"]);
}

#[test]
fn who_signs_in_anew_is_nobody_who_was_stopped_however_far_ahead_the_clock_is() {
    // No `auth_time`: when the session was first seen stands for it.
    let members = json!({ "user_id": "u", "application_id": "a", "session_id": "s" });
    let mut engine = Engine::new(Config::default());
    found(&mut engine, &event("user.deactivate", &json!({ "user_id": "u" })), 0, 240_000);
    for after in [60_000, 120_000] {
        let mut event = event("jwt.refresh", &members);
        event.occurred_at = crate::time::EventTime::from_millis(event.occurred_at.millis() + after).unwrap();
        let at = ReceivedAt::from_micros((event.occurred_at.millis() - 240_000) * 1_000);
        let judged = engine.observe(&event, &Facts::of(&event), &Evidence::default(), at);
        assert!(judged.findings.iter().all(|found| found.rule != "RA106"), "{after}");
    }
}

#[test]
fn one_session_that_leaves_out_its_parent_again_and_again_counts_once() {
    let mut engine = Engine::new(Config::default());
    for number in 1..2_000_u64 {
        let parent = if number % 150 == 0 { 0 } else { number };
        observe(&mut engine, &refresh(START + 3_600 * number as i64, parent, number + 1));
    }
    let application = engine.state().applications.iter().next().unwrap().1;
    // The same one.
    assert_eq!(application.steady, application.lapsed);
    assert_eq!(application.lapsed.estimate().round(), 1.0);
}
