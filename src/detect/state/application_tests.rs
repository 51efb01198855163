//! What an application is taken for.

use super::*;
use crate::detect::{facts::testing::refresh, key::key};

fn users(count: u64) -> Distinct {
    let mut users = Distinct::default();
    (0..count).for_each(|user| users.add(key(&[&user.to_string()])));
    users
}

#[test]
fn tabs_have_to_be_more_than_one_in_a_hundred() {
    let keeps = |branches: f32, others: f32, many: u64| {
        let mut application = Application::default();
        (application.rates.lineage[0], application.rates.lineage[5]) = (others, branches);
        application.branched = users(5);
        application.users = users(many);
        application.keeps_tabs()
    };
    assert!(keeps(6.0, 594.0, 5) && !keeps(5.0, 595.0, 5) && !keeps(4.0, 10.0, 5) && keeps(5.0, 10.0, 5));
    // Of five users in a hundred, and not of five in two thousand.
    assert!(keeps(50.0, 50.0, 100) && !keeps(50.0, 50.0, 2_000));
}

#[test]
fn who_calls_themselves_a_server_is_one_user() {
    let mut application = Application::default();
    let count = |application: &mut Application, user, server| {
        let facts = refresh(1_795_329_600, 1, 2);
        let place = crate::detect::facts::Place { near: user + 1, ..facts.place };
        let agent = crate::detect::facts::Agent { server, ..facts.agent };
        application.learn(&Facts { user: crate::detect::key::key_of(user), place, agent, ..facts }, false);
    };
    (0..10).for_each(|user| count(&mut application, user, false));
    (0..1_000).for_each(|_| count(&mut application, 10, true));
    assert!(!application.is_backend());
    // Eleven of twenty-one are more than half.
    (11..21).for_each(|user| count(&mut application, user, true));
    assert!(application.is_backend());
}

#[test]
fn tokens_work_once_until_two_in_a_row_did_not() {
    let mut application = Application::default();
    (0..19).for_each(|_| application.count_presented(false));
    assert_eq!(application.is_one_time(), None);
    (19..100).for_each(|_| application.count_presented(false));
    let said = [true, true, false].map(|same| {
        application.count_presented(same);
        application.is_one_time()
    });
    // 100 of 102 changed, which is more than 19 in 20.
    assert_eq!(said, [Some(true), None, Some(true)]);
}

#[test]
fn the_rarest_value_goes_and_few_sessions_say_nothing() {
    let mut values = Values::default();
    (1..=8).chain((1..=8).filter(|value| *value != 5)).for_each(|value| values.add(value));
    values.add(9);
    assert_eq!([1, 5, 8, 9].map(|value| values.count(value)), [2, 0, 2, 1]);
    let lapses = |steady, lapsed| {
        Application { steady: users(steady), lapsed: users(lapsed), ..Application::default() }.lapses(8)
    };
    assert!(!lapses(5, 5) && lapses(40, 12) && !lapses(40, 2));
    let usual = |some, all| {
        let application = Application { users: users(all), ..Application::default() };
        application.are_usual(&users(some), 0.01)
    };
    // A few, or every other one; a hundredth of the others.
    assert!(!usual(1, 20) && usual(8, 100) && usual(2, 3) && !usual(8, 2_000));
}

#[test]
fn what_was_counted_for_years_keeps_its_shares() {
    // 1,000 refreshes a second are 4.3 thousand million in 50 days.
    let most = 1 << 30;
    let mut application = Application { events: most, originals: most, placed: most / 4, ..Application::default() };
    let facts = refresh(1_795_329_600, 1, 2);
    (0..10).for_each(|_| application.learn(&facts, false));
    let Application { events, originals, placed, .. } = application;
    assert_eq!((events, originals, placed), (most / 2 + 10, most / 2 + 10, most / 8));
    assert!(application.coverage() == 1.0);
}

#[test]
fn one_client_in_a_loop_makes_nobody_a_back_end() {
    let mut application = Application::default();
    let mut count = |user: u64, near: u64| {
        let facts = refresh(1_795_329_600, 1, 2);
        let place = crate::detect::facts::Place { near, ..facts.place };
        let agent = crate::detect::facts::Agent { text: 1, class: 1, by_program: true, ..facts.agent };
        application.learn(&Facts { user: crate::detect::key::key_of(user), place, agent, ..facts }, false);
        application.is_backend()
    };
    // Forty people at home, ten times each; then one of them 2,000 times.
    (0..400).for_each(|number| assert!(!count(number % 40, 1_000 + number % 40)));
    assert!((0..2_000).all(|_| !count(7, 1_007)));
    // And where all of them come from there, it is one, though some had other networks before.
    assert!((0..2_000).map(|number| count(number % 40, 1_007)).last() == Some(true));
}

#[test]
fn a_gap_that_many_of_its_clients_keep_is_one_of_theirs() {
    let keeps = |early: u32, others: u32| {
        let mut application = Application::default();
        (0..others).for_each(|_| application.count_gap(1.01));
        // A release that refreshes after about 0.78 of a token's life.
        (0..early).for_each(|number| application.count_gap(if number % 2 == 0 { 0.77 } else { 0.81 }));
        [0.78, 0.6, 0.1].map(|gap| application.keeps_gap(gap))
    };
    // 4 in 100, and of a hundred at least.
    assert_eq!(keeps(40, 960), [true, false, false]);
    assert_eq!(keeps(39, 961), [false; 3]);
    assert_eq!(keeps(40, 59), [false; 3]);
    // Pages that are opened at any time are no one's way.
    let mut application = Application::default();
    (0..900).for_each(|_| application.count_gap(1.01));
    (0..100).for_each(|number| application.count_gap(f64::from(number) / 100.0));
    assert!(!application.keeps_gap(0.5) && application.keeps_gap(1.0));
    // What was usual is forgotten for what is.
    (0..3_000).for_each(|_| application.count_gap(0.5));
    assert!(application.keeps_gap(0.5) && !application.keeps_gap(0.78));
}

/// An application with so many refreshes, each by another user.
fn of_users(users: u64, each: impl Fn(u64) -> Facts) -> Application {
    let mut application = Application::default();
    (0..users)
        .for_each(|user| application.learn(&Facts { user: crate::detect::key::key_of(user), ..each(user) }, false));
    application
}

#[test]
fn people_behind_one_address_are_no_back_end_and_neither_is_who_has_none() {
    use crate::detect::facts::{Agent, Place, labels};
    let at = refresh(1_795_329_600, 1, 2);
    let here = |labels: u16| Place { ip: 1, near: 1, labels, ..at.place };
    let by = |class: u64, by_program: bool| Agent {
        text: class as u32 + 1,
        class: class as u16 + 1,
        by_program,
        ..at.agent
    };
    for (what, expected, application) in [
        ("one program", true, of_users(30, |_| Facts { place: here(0), agent: by(1, true), ..at.clone() })),
        ("programs", true, of_users(30, |user| Facts { place: here(0), agent: by(user % 3, true), ..at.clone() })),
        ("one user agent", true, of_users(30, |_| Facts { place: here(0), agent: by(1, false), ..at.clone() })),
        ("none known", true, of_users(30, |_| Facts { place: here(0), ..at.clone() })),
        (
            "their browsers",
            false,
            of_users(30, |user| Facts { place: here(0), agent: by(user % 3, false), ..at.clone() }),
        ),
        ("an office", false, of_users(30, |_| Facts { place: here(labels::OFFICE), agent: by(1, true), ..at.clone() })),
        ("no address", false, of_users(30, |_| Facts { agent: by(1, true), ..at.clone() })),
        ("few", false, of_users(15, |_| Facts { place: here(0), agent: by(1, true), ..at.clone() })),
    ] {
        assert_eq!(application.is_backend(), expected, "{what}");
    }
}

#[test]
fn more_values_than_are_remembered_are_no_news_and_a_rotation_now_and_then_is() {
    let mut values = Values::default();
    (0..900).for_each(|number| values.add(number % 9));
    assert!(values.are_many());
    let mut values = Values::default();
    (0..30_000).for_each(|number| values.add(number / 100));
    assert!(!values.are_many());
}
