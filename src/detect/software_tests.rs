//! What several programs in one session come to: one device's, and another's.

use super::{
    tests::{START, judged},
    *,
};
use facts::{Agent, Place, testing::refresh};
use signals::{Lineage, Software};

const HOME: u64 = 1;
const AWAY: u64 = 9;

fn place(near: u64) -> Place {
    Place { ip: near as u32, near, wide: near as u32, ..Place::default() }
}

/// As user agents are read: the class by name, system and kind; apps of one system have one root.
fn agent(text: &str) -> Agent {
    let event = serde_json::json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-03-02T09:00:00.000Z",
                                    "outcome": "attempted", "user_agent": text });
    let mut event: RefreshEvent = serde_json::from_value(event).unwrap();
    let enricher = crate::enrich::Config::default().build(std::path::Path::new(".")).unwrap();
    enricher.enrich(&mut event);
    Facts::of(&event).agent
}

const APP: &str = "Orchid/8.28.0 (iPhone; iOS 18.5; Scale/3.00)";
const WIDGET: &str = "OrchidWidget/80280 CFNetwork/3826.500.131 Darwin/24.5.0";
const PAGE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                    Version/18.5 Mobile/15E148 Safari/604.1";
const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/134.0.0.0 Safari/537.36";

/// Of a user of its own.
fn raced(engine: &mut Engine, number: u64, programs: (&str, &str), near: u64) -> (Software, Option<Severity>) {
    raced_by(engine, (number, number + 10), programs, near)
}

/// A session that was refreshed ten times at home by the first program; then the same token is spent again, three seconds
/// later, by the second one: how that differs, and what RA101 says.
fn raced_by(
    engine: &mut Engine,
    (number, user): (u64, u64),
    (first, second): (&str, &str),
    near: u64,
) -> (Software, Option<Severity>) {
    let token = |at: u64| 1_000 * number + at;
    let start = START + 100_000 * number as i64;
    let facts = |secs: i64, from: u64, to: u64, near: u64, text: &str| Facts {
        session: number + 10,
        user,
        place: place(near),
        agent: agent(text),
        ..refresh(start + secs, token(from), token(to))
    };
    (1..=10).for_each(|at| drop(judged(engine, &facts(at as i64 * 3_650, at, at + 1, HOME, first))));
    let said = judged(engine, &facts(36_503, 10, 50, near, second));
    let severity = said.findings.iter().find(|found| found.rule == "RA101").map(|found| found.severity);
    assert_eq!(said.signals.lineage, Lineage::Race);
    (said.signals.software, severity)
}

#[test]
fn an_app_and_its_widget_are_one_device_s() {
    let engine = || Engine::new(Config::default());
    assert_eq!(raced(&mut engine(), 1, (APP, WIDGET), HOME), (Software::Update, None));
    assert_eq!(raced(&mut engine(), 1, (APP, WIDGET), AWAY), (Software::Update, None));
    // Another system's app is not: in the same network it may be the same person's.
    let android = "Orchid/8.28.0 (Linux; Android 15; Pixel 9) okhttp/4.12.0";
    assert_eq!(raced(&mut engine(), 1, (APP, android), HOME), (Software::Other, Some(Severity::High)));
    assert_eq!(raced(&mut engine(), 1, (APP, android), AWAY), (Software::Other, Some(Severity::Critical)));
}

#[test]
fn what_is_seen_together_of_five_users_is_one_device_s() {
    let mut engine = Engine::new(Config::default());
    let other = (Software::Other, Some(Severity::High));
    for number in 1..=5 {
        assert_eq!(raced(&mut engine, number, (APP, PAGE), HOME), other, "{number}");
    }
    assert_eq!(raced(&mut engine, 6, (APP, PAGE), HOME), (Software::Update, None));
    assert_eq!(raced(&mut engine, 7, (PAGE, APP), AWAY), (Software::Update, None));
    // Not of one user, however often.
    let mut engine = Engine::new(Config::default());
    for number in 1..=9 {
        raced_by(&mut engine, (number, 7), (APP, PAGE), HOME);
    }
    assert_eq!(raced(&mut engine, 20, (APP, PAGE), HOME), other);
    // Nor of five, of more than 250 users.
    let mut engine = Engine::new(Config::default());
    for number in 1..=400 {
        let user = crate::detect::key::key_of(number);
        let home = Place { near: user, ..place(100 + number) };
        judged(&mut engine, &Facts { session: user, user, place: home, ..refresh(START, 1, 2) });
    }
    for number in 1..=6 {
        raced(&mut engine, number, (APP, PAGE), HOME);
    }
    assert_eq!(raced(&mut engine, 7, (APP, PAGE), HOME), other);
    // Not what was never at the first one's own address, nor a script, however often it was.
    let mut engine = Engine::new(Config::default());
    let critical = (Software::Other, Some(Severity::Critical));
    for number in 1..=7 {
        assert_eq!(raced(&mut engine, number, (APP, WINDOWS), AWAY), critical, "{number}");
    }
    for number in 21..=25 {
        raced(&mut engine, number, ("curl/8.5.0", WINDOWS), HOME);
    }
    for number in 31..=34 {
        assert_eq!(raced(&mut engine, number, (APP, "curl/8.5.0"), HOME).1, Some(Severity::High), "{number}");
    }
}

#[test]
fn another_session_in_use_elsewhere_is_told_once_a_stay() {
    use signals::Elsewhere::{Apart, Quiet, Unknown};
    let mut engine = Engine::new(Config::default());
    let mut seen = |session: u64, secs: i64, near: u64, text: &str| {
        let facts = Facts { session, place: place(near), agent: agent(text), ..refresh(START + secs, 0, secs as u64) };
        judged(&mut engine, &facts).signals.elsewhere
    };
    // At home with both, for two days.
    for hour in 1..48 {
        seen(1, hour * 3_600, HOME, WINDOWS);
        seen(2, hour * 3_600 + 9, HOME, APP);
    }
    let day = 2 * 86_400;
    // Then with one of them in a hotel, while the other goes on at home.
    let mut told = Vec::new();
    for (secs, near) in [(0, AWAY), (1_800, AWAY), (3_600, AWAY), (5_400, HOME), (7_200, AWAY)] {
        seen(2, day + secs, HOME, APP);
        told.push(seen(1, day + secs + 60, near, WINDOWS));
    }
    assert_eq!(told, [Apart, Unknown, Unknown, Unknown, Apart]);
    // In a second hotel, where it begins later.
    let arrives = seen(1, day + 20_000, AWAY + 1, WINDOWS);
    seen(2, day + 21_000, HOME, APP);
    assert_eq!([arrives, seen(1, day + 21_060, AWAY + 1, WINDOWS)], [Quiet, Apart]);
}

#[test]
fn who_lost_an_answer_may_be_early_once() {
    let mut engine = Engine::new(Config::default());
    let mut seen = |secs: i64, from: u64, to: u64| {
        let facts = Facts { place: place(HOME), agent: agent(WINDOWS), ..refresh(START + secs, from, to) };
        judged(&mut engine, &facts).signals
    };
    for at in 1..10 {
        seen(at as i64 * 3_650, at, at + 1);
    }
    // The answer is lost, and asked for again when its token would have ended; then a page is opened anew.
    let again = seen(10 * 3_650, 9, 50);
    let early = seen(10 * 3_650 + 600, 50, 51);
    assert_eq!((again.lineage, early.lineage, early.pace), (Lineage::Retry, Lineage::Head, signals::Pace::Unknown));
    assert_eq!(seen(10 * 3_650 + 1_200, 51, 52).pace, signals::Pace::Early);
    // Without a fork it is told.
    let mut engine = Engine::new(Config::default());
    let mut seen = |secs: i64, from: u64, to: u64| judged(&mut engine, &refresh(START + secs, from, to)).signals.pace;
    for at in 1..10 {
        seen(at as i64 * 3_650, at, at + 1);
    }
    assert_eq!(seen(9 * 3_650 + 600, 10, 51), signals::Pace::Early);
}

#[test]
fn a_pace_that_many_clients_of_an_application_have_is_nobody_s_hurry() {
    let mut engine = Engine::new(Config::default());
    let mut pace = |user: u64, secs: i64, from: u64| {
        let facts = Facts { session: user, user, place: place(user), ..refresh(START + secs, from, from + 1) };
        judged(&mut engine, &facts).signals.pace
    };
    // Tokens live an hour. Twenty clients wait for their end; then one renews them after 2,600 s, and then the others do.
    for hour in 1..=10 {
        (1..=20).for_each(|user| assert_ne!(pace(user, hour * 3_650, hour as u64 + 100 * user), signals::Pace::Early));
    }
    let told: Vec<_> = (1..=20).map(|user| pace(user, 10 * 3_650 + 2_600, 11 + 100 * user)).collect();
    // As long as they are fewer than one in 25 of the two hundred or so.
    let early = told.iter().filter(|pace| **pace == signals::Pace::Early).count();
    assert_eq!((told[0], told[19], early), (signals::Pace::Early, signals::Pace::OnTime, 8));
}
