//! The score against an independent implementation (`fixtures/detect/freeman/reference.py`, which agrees with the authors'
//! notebook to 6e-16 on 80 of its rows) and against arithmetic done by hand.

use serde::Deserialize;

use super::{Features, Freeman, Limits};

#[derive(Deserialize)]
struct Row {
    user: u32,
    ip: String,
    asn: u32,
    country: String,
    agent: String,
    browser: String,
    system: String,
    kind: String,
    score: Option<f64>,
}

impl Row {
    fn features(&self) -> Features<'_> {
        Features {
            address: Some(&self.ip),
            asn: Some(self.asn),
            country: Some(&self.country),
            agent: Some(&self.agent),
            browser: Some(&self.browser),
            system: Some(&self.system),
            kind: Some(&self.kind),
        }
    }
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-12 * right.abs()
}

#[test]
fn scores_are_those_of_the_reference() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("../../../fixtures/detect/freeman/rows.json")).unwrap();
    assert_eq!(rows.len(), 600);
    let mut freeman = Freeman::new(Limits::default());
    for (number, row) in rows.iter().enumerate() {
        let user = row.user.to_string();
        let score = freeman.score(&user, &row.features());
        let right = match (score, row.score) {
            (Some(score), Some(expected)) => close(score, expected),
            (score, expected) => score == expected,
        };
        assert!(right, "row {number}: {score:?}, not {:?}", row.score);
        freeman.learn(&user, &row.features());
    }
}

fn at(address: &str) -> Features<'_> {
    Features { address: Some(address), asn: Some(64_496), country: Some("DE"), ..Features::default() }
}

/// Ada three times from one address, Bob once from another of the same AS: N = 4, |U| = 2, M = 1 AS + 1 country + 1 = 3.
fn ada_and_bob() -> Freeman {
    let mut freeman = Freeman::new(Limits::default());
    for _ in 0..3 {
        freeman.learn("ada", &at("192.0.2.1"));
    }
    freeman.learn("bob", &at("192.0.2.2"));
    freeman
}

#[test]
fn by_hand() {
    let freeman = ada_and_bob();
    // Everybody: 0.6 · 3/(3+3) · 3/(4+3) + 0.3 + 0.1 = 0.528571…; own: 1; times (1/2) / (3/4) = 2/3.
    let usual = freeman.score("ada", &at("192.0.2.1")).unwrap();
    assert!(close(usual, (0.6 * 0.5 * 3.0 / 7.0 + 0.4) * 2.0 / 3.0), "{usual}");
    // Never seen: everybody 0.6 · 1/(4+3) + 0.4 = 0.485714…; own: 0.3 + 0.1 = 0.4.
    let other = freeman.score("ada", &at("192.0.2.9")).unwrap();
    assert!(close(other, (0.6 / 7.0 + 0.4) / 0.4 * 2.0 / 3.0), "{other}");
    // Nothing in common: a quarter of everybody's share stands in, so 4, whatever the shares.
    let foreign =
        Features { address: Some("198.51.100.1"), asn: Some(64_511), country: Some("FR"), ..Features::default() };
    let foreign = freeman.score("ada", &foreign).unwrap();
    assert!(close(foreign, 4.0 * 2.0 / 3.0), "{foreign}");
    // Bob has shown less: (1/2) / (1/4) = 2.
    let bob = freeman.score("bob", &at("192.0.2.2")).unwrap();
    assert!(close(bob, (0.6 * 0.25 / 7.0 + 0.4) * 2.0), "{bob}");
}

#[test]
fn who_has_no_history_and_what_shows_nothing_has_no_score() {
    let freeman = ada_and_bob();
    assert_eq!(freeman.score("eve", &at("192.0.2.1")), None);
    assert_eq!(freeman.score("ada", &Features::default()), None);
}

#[test]
fn an_absent_hierarchy_takes_no_part_and_absent_is_a_value_below_the_finest_level() {
    let agent = Features { agent: Some("other/1"), browser: Some("other"), ..Features::default() };
    // M = 3 values on the levels below and 1; of the others, system and kind are alike: absent.
    let (agents, alike) = (0.538_665_384_055_135_9, 0.188_182_951_001_095_36 + 0.005_106_515_081_202_152_5);
    let score = ada_and_bob().score("ada", &agent).unwrap();
    assert!(close(score, (agents / 8.0 + alike) / alike * 2.0 / 3.0), "{score}");
}

#[test]
fn histories_users_and_values_are_bounded() {
    let mut freeman = Freeman::new(Limits { history: 2, users: 2, values: 2 });
    for number in 0..50 {
        freeman.learn(&format!("user {}", number % 3), &at(&format!("192.0.2.{number}")));
        freeman.learn("ada", &at("192.0.2.77"));
    }
    assert_eq!(freeman.users.entries.len(), 2);
    assert_eq!(freeman.users.by_age.len(), 2);
    assert!(freeman.seen.iter().all(|seen| seen.entries.len() <= 2 && seen.by_age.len() == seen.entries.len()));
    // Who comes often stays, with all events counted and two kept.
    let ada = freeman.users.get(super::hash(Some("ada"))).unwrap();
    assert_eq!((ada.count, ada.history.len()), (50, 2));
    assert!(freeman.score("user 0", &at("192.0.2.1")).is_none(), "user 0 was last seen before the last two others");
    assert!(freeman.score("user 1", &at("192.0.2.1")).is_some(), "49 = 1 mod 3 was the last");
}

#[test]
fn a_short_memory_does_not_make_a_frequent_user_rare() {
    let mut freeman = Freeman::new(Limits { history: 1, ..Limits::default() });
    for (user, address) in [("ada", "192.0.2.1"), ("ada", "192.0.2.1"), ("ada", "192.0.2.1"), ("bob", "192.0.2.2")] {
        freeman.learn(user, &at(address));
    }
    // p(u | L) is 3/4 as with the whole history.
    let usual = freeman.score("ada", &at("192.0.2.1")).unwrap();
    assert!(close(usual, (0.6 * 0.5 * 3.0 / 7.0 + 0.4) * 2.0 / 3.0), "{usual}");
}

#[test]
fn the_same_calls_give_the_same_bits() {
    let bits = |freeman: &Freeman| freeman.score("ada", &at("192.0.2.9")).unwrap().to_bits();
    assert_eq!(bits(&ada_and_bob()), bits(&ada_and_bob()));
}
