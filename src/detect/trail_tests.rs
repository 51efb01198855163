//! What a session's places and gaps come to: networks that nobody comes back to, a household's and a company's several, one
//! holder and two, a clock.

use super::{
    tests::{START, observe},
    *,
};
use facts::{Place, testing::refresh};

/// What a refresh of the one session shows: from where, with which software, `secs` after the start.
fn seen_at(engine: &mut Engine, place: Place, secs: i64, tokens: (u64, u64)) -> signals::Signals {
    observe(engine, &Facts { place, ..refresh(START + secs, tokens.0, tokens.1) })
}

/// A network of a provider, somewhere.
fn network(near: u64, wide: u32, cell: facts::Cell, labels: u16) -> Place {
    Place {
        ip: near as u32,
        near,
        wide,
        cell: Some(cell),
        labels: labels | facts::labels::NUMBERED,
        ..Place::default()
    }
}

const HERE: facts::Cell = facts::Cell(6_017, 2_494);
const THERE: facts::Cell = facts::Cell(5_151, -13);
#[test]
fn nobody_comes_back_to_the_networks_of_a_thief() {
    use signals::Drift::{Many, One, Three, Two, Unknown};
    let mobile = facts::labels::MOBILE;
    for (places, expected) in [
        // Another provider each time; then a second network of one that was counted.
        (vec![(2, 2, HERE, 0), (3, 3, HERE, 0), (4, 4, HERE, 0), (5, 5, HERE, 0)], vec![One, Two, Three, Many]),
        (vec![(2, 2, HERE, 0), (3, 2, HERE, 0), (4, 2, THERE, 0)], vec![One, One, Two]),
        // Home again in between; a telephone's network; nothing new.
        (vec![(2, 2, HERE, 0), (1, 1, HERE, 0), (3, 3, HERE, 0)], vec![One, Unknown, One]),
        (vec![(2, 2, HERE, mobile), (3, 3, HERE, 0), (3, 3, HERE, 0)], vec![Unknown, One, Unknown]),
    ] {
        let mut engine = Engine::new(Config::default());
        seen_at(&mut engine, network(1, 1, HERE, 0), 0, (1, 2));
        let told = (1..).zip(&places).map(|(number, (near, wide, cell, labels))| {
            let place = network(*near, *wide, *cell, *labels);
            seen_at(&mut engine, place, number * 7_200, (number as u64 + 1, number as u64 + 2)).drift
        });
        assert_eq!(told.collect::<Vec<_>>(), expected, "{places:?}");
    }
}

#[test]
fn a_session_comes_back_to_where_it_was() {
    use signals::Net::{Abroad, Own};
    let mut engine = Engine::new(Config::default());
    let mut go = |number: i64, near: u64| {
        let country = near as u16;
        let place = Place { country, ..network(near, near as u32, HERE, 0) };
        let place = Place { cell: None, ..place };
        seen_at(&mut engine, place, number * 7_200, (number as u64, number as u64 + 1)).place()
    };
    for number in 1..=9 {
        go(number, number as u64);
    }
    // Eight networks ago; then one that no session remembers for so long, and one that is new.
    assert_eq!([go(10, 2), go(11, 20), go(12, 21), go(13, 3)], [Own, Abroad, Abroad, Abroad]);
}

#[test]
fn a_relays_exits_are_one_network() {
    use signals::Net::{City, Own};
    let relay = facts::labels::ROAMING;
    for (first, second, expected) in [(relay, relay, Own), (relay, 0, City), (0, relay, City)] {
        let mut engine = Engine::new(Config::default());
        seen_at(&mut engine, network(1, 1, HERE, first), 0, (1, 2));
        assert_eq!(seen_at(&mut engine, network(2, 2, HERE, second), 7_200, (2, 3)).place(), expected);
    }
}

#[test]
fn a_provider_of_theirs_in_another_city_is_no_place_of_theirs() {
    let mut engine = Engine::new(Config::default());
    let mut place = |near, cell, at| seen_at(&mut engine, network(near, 1, cell, 0), at, (0, near)).place();
    assert_eq!([place(1, HERE, 0), place(2, HERE, 7_200)], [signals::Net::Unknown, signals::Net::Area]);
    assert_eq!(place(3, THERE, 14_400), signals::Net::Afar);
}

#[test]
fn a_clock_is_heard_in_the_gaps_where_there_was_none() {
    use signals::Beat::{Loose, Steady, Thrice, Twice, Unknown};
    let told = |gaps: &[i64]| {
        let (mut engine, mut now, mut told) = (Engine::new(Config::default()), 0, Vec::new());
        for (number, gap) in (1..).zip(gaps) {
            now += gap;
            told.push(seen_at(&mut engine, Place::default(), now, (number, number + 1)).beat);
        }
        told
    };
    // Tokens live 3,600 s. 8 % of 9,900 s are 792 s.
    let gaps = [0, 3_650, 30_000, 10_000, 10_300, 9_900, 10_000, 10_200, 12_000];
    assert_eq!(told(&gaps), [Unknown, Unknown, Loose, Loose, Twice, Thrice, Steady, Steady, Loose]);
    // A script that always came by the clock; a page that waits for the token's end; once a day.
    assert_eq!(told(&[0, 10_000, 10_000, 10_000, 10_000]), [Unknown; 5]);
    assert_eq!(told(&[0, 30_000, 4_600, 4_600])[2..], [Unknown, Unknown]);
    assert_eq!(told(&[0, 30_000, 86_400, 86_400])[2..], [Unknown, Unknown]);
}

#[test]
fn a_household_with_two_kinds_of_addresses_is_one() {
    use signals::Path;
    let v6 = facts::labels::IPV6;
    // Two networks in turns, every five minutes: how the path of the third refresh is.
    for (other, expected) in [
        (network(2, 1, HERE, v6), Path::Plain),
        (network(2, 2, HERE, v6), Path::Flip),
        (network(2, 1, HERE, 0), Path::Flip),
    ] {
        let mut engine = Engine::new(Config::default());
        let home = network(1, 1, HERE, 0);
        seen_at(&mut engine, home, 0, (1, 2));
        seen_at(&mut engine, other, 300, (0, 3));
        assert_eq!(seen_at(&mut engine, home, 600, (0, 4)).path, expected, "{other:?}");
    }
}

#[test]
fn who_goes_back_and_forth_with_the_newest_token_is_one_holder() {
    use signals::{Lineage, Path};
    let mut engine = Engine::new(Config::default());
    let (home, away) = (network(1, 1, HERE, 0), network(2, 2, HERE, 0));
    seen_at(&mut engine, home, 0, (1, 2));
    seen_at(&mut engine, away, 300, (2, 3));
    let back = seen_at(&mut engine, home, 600, (3, 4));
    assert_eq!((back.lineage, back.path, back.of_holders().path), (Lineage::Head, Path::Flip, Path::Plain));
    // With an older one it is two.
    let away = seen_at(&mut engine, away, 900, (3, 5));
    assert_eq!((away.path, away.of_holders().path), (Path::Flip, Path::Flip));
}

#[test]
fn what_happens_to_many_at_once_is_a_fault() {
    use signals::Lineage;
    let mut engine = Engine::new(Config::default());
    let place = network(1, 1, HERE, 0);
    // Each session refreshes, and a minute and a half later with the same parent again; one after the other.
    let told = (0..5_u64).map(|session| {
        let at = START + session as i64 * 100;
        let facts = |now, tokens: (u64, u64)| Facts {
            session: session + 10,
            user: session + 10,
            place,
            ..refresh(now, session * 10 + tokens.0, session * 10 + tokens.1)
        };
        observe(&mut engine, &facts(at, (1, 2)));
        observe(&mut engine, &facts(at + 10, (2, 3)));
        observe(&mut engine, &facts(at + 99, (2, 4))).of_holders().lineage
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [Lineage::Retry, Lineage::Retry, Lineage::Retry, Lineage::Race, Lineage::Race]
    );
}

#[test]
fn a_company_that_leaves_by_several_networks_is_one_place_once_they_are_its_users_own() {
    use signals::Path;
    let (one, other) = (network(1, 1, HERE, 0), network(2, 1, HERE, 0));
    let mut engine = Engine::new(Config::default());
    let mut token = 1;
    // Without a parent, so that nothing says who holds what.
    let mut go = |engine: &mut Engine, place, at: i64| {
        token += 1;
        seen_at(engine, place, at, (0, token)).path
    };
    go(&mut engine, one, 0);
    assert_eq!([(other, 300), (one, 600)].map(|(place, at)| go(&mut engine, place, at)), [Path::Plain, Path::Flip]);
    // After three refreshes over a day it is known.
    for (place, at) in [(other, 90_000), (other, 90_300), (one, 180_000)] {
        go(&mut engine, place, at);
    }
    assert_eq!(
        [(other, 180_300), (one, 180_600)].map(|(place, at)| go(&mut engine, place, at)),
        [Path::Plain, Path::Plain]
    );
}
