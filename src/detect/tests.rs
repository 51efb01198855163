//! What several refreshes in a row come to.

use serde_json::json;

use super::*;
use facts::{Place, testing::refresh};
use signals::Pace;

pub(super) const START: i64 = 1_772_442_000;

pub(super) fn observe(engine: &mut Engine, facts: &Facts) -> signals::Signals {
    judged(engine, facts).signals
}

pub(super) fn judged(engine: &mut Engine, facts: &Facts) -> Judgement {
    let event = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-03-02T09:00:00.000Z",
                        "outcome": "attempted" });
    let at = ReceivedAt::from_micros(facts.occurred * 1_000_000);
    engine.observe(&serde_json::from_value(event).unwrap(), facts, &Evidence::default(), at)
}

#[test]
fn a_client_that_waits_for_the_end_and_one_that_does_not() {
    // Seconds between refreshes of tokens that live 3,600 s; how the last one came.
    for (gaps, expected) in [
        (vec![3_650; 7], Pace::OnTime),
        ([vec![3_650; 6], vec![3_570]].concat(), Pace::Ahead),
        (vec![3_570; 7], Pace::OnTime),
        ([vec![3_570; 6], vec![1_800]].concat(), Pace::Early),
    ] {
        let (mut engine, mut now, mut pace) = (Engine::new(Config::default()), START, Pace::Unknown);
        for (number, gap) in (1..).zip(&gaps) {
            now += gap;
            pace = observe(&mut engine, &refresh(now, number, number + 1)).pace;
        }
        assert_eq!(pace, expected, "{gaps:?}");
    }
}

#[test]
fn who_spent_the_parent_is_told_by_where() {
    use signals::Rival;
    let from = |near: u64| Place { ip: near as u32, near, wide: near as u32, ..Place::default() };
    // At 09:00, 10:00 at home; then two refreshes with the token of 10:00: from where, at which seconds after it.
    for (first, second, expected) in [
        ((1, 3_600), (1, 7_200), Rival::Alike),
        ((2, 3_600), (1, 7_200), Rival::Stranger),
        ((1, 3_600), (2, 7_200), Rival::Own),
    ] {
        let mut engine = Engine::new(Config::default());
        let issued = START + 3_600;
        let mut rival = Rival::Unknown;
        for (near, at, parent, child) in [
            (1, START, 1, 2),
            (1, issued, 2, 3),
            (first.0, issued + first.1, 3, 4),
            (second.0, issued + second.1, 3, 5),
        ] {
            let mut facts = Facts { place: from(near), ..refresh(at, parent, child) };
            facts.previous.iat = if parent == 3 { issued } else { at - 3_600 };
            rival = observe(&mut engine, &facts).rival;
        }
        assert_eq!(rival, expected, "{first:?} {second:?}");
    }
}

#[test]
fn who_reloads_again_and_again_is_no_thief() {
    let mut engine = Engine::new(Config::default());
    let refreshes = |engine: &mut Engine, numbers: std::ops::Range<u64>, start: i64, every: i64| {
        let mut most = 0.0_f64;
        for number in numbers {
            most = most.max(judged(engine, &refresh(start + every * number as i64, number, number + 1)).risk);
        }
        most
    };
    refreshes(&mut engine, 1..150, START, 3_600);
    let start = START + 150 * 3_600 - 150 * 20;
    let most = refreshes(&mut engine, 150..185, start, 20);
    assert!(most < Config::default().ra601.medium, "{most}");
}

#[test]
fn a_bot_that_moves_between_clouds_is_told_of_and_then_known() {
    let mut engine = Engine::new(Config::default());
    // Every 20 minutes for a month from one of seven data centres, each of another provider in another country.
    let cloud = |number: u64| {
        let at = 10 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 7;
        let country = at as u16;
        Place { ip: at as u32, near: at, wide: at as u32, country, labels: facts::labels::HOSTING, ..Place::default() }
    };
    let risks: Vec<f64> = (1..2_160)
        .map(|number| {
            let facts = refresh(START + 1_200 * number as i64, number, number + 1);
            judged(&mut engine, &Facts { place: cloud(number), ..facts }).risk
        })
        .collect();
    let told = |risks: &[f64]| risks.iter().filter(|risk| **risk >= 0.002).count();
    // Once for each network, its first and its next ones; of the last three weeks as good as nothing.
    assert!(told(&risks) <= 40 && told(&risks[648..]) <= 5, "{} {}", told(&risks), told(&risks[648..]));
}

#[test]
fn what_was_told_is_told_in_part() {
    let mut engine = Engine::new(Config::default());
    (1..20).for_each(|number| drop(judged(&mut engine, &refresh(START + 3_600 * number as i64, number, number + 1))));
    // Every two hours from a network where nobody ever was, in another country each time, with the same old token.
    let risks: Vec<f64> = (20..200)
        .map(|number| {
            let place = Place {
                ip: number as u32,
                near: number,
                wide: number as u32,
                country: number as u16,
                ..Place::default()
            };
            judged(&mut engine, &Facts { place, ..refresh(START + 7_200 * number as i64, 5, number + 1) }).risk
        })
        .collect();
    // As it gets worse, and then hardly.
    let told = |from: f64| risks.iter().filter(|risk| **risk >= from).count();
    assert!((1..=4).contains(&told(0.9)) && told(0.002) <= 12, "{} {} {risks:?}", told(0.9), told(0.002));
}

#[test]
fn tokens_used_up_in_a_row_are_told_of_when_they_are_more_than_ever() {
    use signals::Stamina::{Anew, More, Some, Unknown};
    let mut engine = Engine::new(Config::default());
    let (mut now, mut told) = (START, Vec::new());
    // Tokens live 3,600 s. Six in a row, a tab and a retry between them; a night; four again, which were there before.
    let gaps = [0, 3_650, 3_650, 20, 3_650, 1_700, 1_950, 5_400, 3_650, 5_401, 3_650, 3_650, 3_650, 3_650];
    for (number, gap) in (1..).zip(gaps) {
        now += gap;
        told.push(observe(&mut engine, &refresh(now, number, number + 1)).stamina);
    }
    let steps = [Unknown, Unknown, Unknown, Unknown, Unknown, Unknown, Some, Unknown, More];
    assert_eq!(told, [&steps[..], &[Anew, Unknown, Unknown, Unknown, Unknown]].concat());
}

#[test]
fn of_a_session_under_suspicion_every_fourth_oddity_becomes_a_habit() {
    let mut engine = Engine::new(Config::default());
    let from = |near: u64| Place { ip: near as u32, near, wide: near as u32, ..Place::default() };
    for day in 0..18 {
        // From the eleventh on: always from another network, with the first token.
        let (place, parent) = if day < 10 { (from(1), day + 1) } else { (from(day), 1) };
        observe(&mut engine, &Facts { place, ..refresh(START + day as i64 * 86_400, parent, day + 2) });
    }
    let session = engine.state().sessions.get(4).unwrap();
    let far: u32 = session.moves.iter().map(|counts| u32::from(counts[2])).sum();
    // The twelfth and the sixteenth.
    assert_eq!((session.events, far, session.forked), (18, 2, 2));
}

#[test]
fn whatever_tokens_say_of_themselves_judging_does_not_fail() {
    let extremes = [i64::MIN, -1, 1, START, i64::MAX];
    let mut engine = Engine::new(Config::default());
    let at = ReceivedAt::from_micros(START * 1_000_000);
    for (iat, exp) in extremes.into_iter().flat_map(|iat| extremes.map(|exp| (iat, exp))) {
        for (auth_time, before) in extremes.into_iter().flat_map(|one| extremes.map(|other| (one, other))) {
            let session = format!("{iat} {exp} {auth_time} {before}");
            for token in ["a", "b"] {
                let fingerprint = |of: &str| format!("1a2b:{:032x}", u64::from(of.as_bytes()[0]));
                let claims = json!({ "iat": iat, "exp": exp, "auth_time": auth_time, "iss": "i", "scope": "s" });
                let event: RefreshEvent = serde_json::from_value(json!({
                    "id": "e", "type": "jwt.refresh", "occurred_at": "2026-03-02T09:00:00.000Z",
                    "outcome": "attempted", "session_id": session, "user_id": "u",
                    "tokens": { "access": {
                        "issued": { "fingerprint": fingerprint(token), "claims": claims },
                        "previous": { "fingerprint": fingerprint("x"), "claims": { "iat": before, "scope": "s" } },
                    } },
                }))
                .unwrap();
                let risk = engine.observe(&event, &Facts::of(&event), &Evidence::default(), at).risk;
                assert!((0.0..1.0).contains(&risk), "{session}: {risk}");
            }
        }
    }
}

#[test]
fn a_fork_that_stays_open_for_ever_is_counted_no_further() {
    use signals::{Lineage, Signals};
    let mut engine = Engine::new(Config::default());
    observe(&mut engine, &refresh(START, 1, 2));
    // Tabs with a token each, in an application whose clients do so: of such a fork nobody ever says what became of it.
    let tabs = Signals { lineage: Lineage::Branch, ..Signals::default() };
    (0..9).for_each(|_| engine.state.applications.get_mut(2).unwrap().rates.learn(&tabs, 1.0));
    engine.state.applications.get_mut(2).unwrap().branched.add(3);
    observe(&mut engine, &refresh(START + 4_000, 1, 3));
    let mut heads = [2, 3];
    for number in 0..300 {
        let tab = &mut heads[number % 2];
        let child = 4 + number as u64;
        let signals = observe(&mut engine, &refresh(START + 8_000 + 2_000 * number as i64, *tab, child));
        assert_eq!(signals.lineage, Lineage::Branch, "{number}");
        *tab = child;
    }
    assert_eq!(engine.state.sessions.get(4).unwrap().fork_open, u8::MAX);
}

/// The risks of refreshes of one user's one session (seconds after the one before, previous token, issued one), after so many of
/// an hour each, the last of which issued the next token's number.
fn risks_after(before: u64, refreshes: &[(i64, u64, u64)]) -> Vec<f64> {
    let mut engine = Engine::new(Config::default());
    let mut now = START;
    let mut risk = |engine: &mut Engine, after: i64, parent: u64, child: u64| {
        now += after;
        let event = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-03-02T09:00:00.000Z",
                            "outcome": "attempted" });
        let place = Place { ip: 1, near: 1, wide: 1, ..Place::default() };
        let facts = Facts { place, ..refresh(now, parent, child) };
        let at = ReceivedAt::from_micros(now * 1_000_000);
        engine.observe(&serde_json::from_value(event).unwrap(), &facts, &Evidence::default(), at).risk
    };
    for number in 1..=before {
        risk(&mut engine, 3_650, number, number + 1);
    }
    refreshes.iter().map(|(after, parent, child)| risk(&mut engine, *after, *parent, *child)).collect()
}

#[test]
fn two_branches_in_one_place_are_told_once_and_not_for_ever() {
    // Two pages that each keep a token, half an hour apart: 31 is spent twice, then both go on. The third line is the first that
    // shows both in use.
    let mut refreshes = vec![(3_650, 31, 100), (1_800, 31, 200)];
    for n in 0..40 {
        refreshes.extend([(1_850, 100 + n, 101 + n), (1_800, 200 + n, 201 + n)]);
    }
    let risks = risks_after(30, &refreshes);
    let first = risks[2];
    assert!(first > 0.1, "{first}");
    // Only when eighty tokens were used up: more than ever, and two at a time.
    let mut later = risks[20..].to_vec();
    later.sort_by(f64::total_cmp);
    let later = later[later.len() - 2];
    assert!(later < first / 10.0, "{later} after {first}");
}

#[test]
fn a_client_that_begins_to_refresh_early_is_told_of_and_then_known_for_it() {
    // Tokens of an hour, used up for a day and more, or for six weeks; then one is asked for every 20 minutes.
    for before in [30, 1_000] {
        let refreshes: Vec<_> = (1..=60).map(|n| (1_200, before + n, before + n + 1)).collect();
        let risks = risks_after(before, &refreshes);
        assert!(risks[1] > risks[59] * 5.0, "{risks:?}");
        assert!(risks[40..].iter().all(|risk| *risk < 0.01), "{before}: {risks:?}");
    }
}

#[test]
fn an_ipv6_host_is_its_64_whatever_it_calls_itself_today() {
    let ip = |text: &str| {
        let event = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-03-02T09:00:00.000Z",
                            "outcome": "attempted", "ip": text });
        Facts::of(&serde_json::from_value(event).unwrap()).place.ip
    };
    assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff:eeee:dddd:cccc"));
    assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
    assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
}

/// The signals and the risk of a refresh at an instant, of one of some users' sessions, from a network.
fn refreshed(engine: &mut Engine, user: u64, session: u64, near: u64, facts: Facts) -> (signals::Signals, f64) {
    let event = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-03-02T09:00:00.000Z",
                        "outcome": "attempted" });
    let place = Place { ip: near as u32, near, wide: near as u32, ..Place::default() };
    let facts = Facts { user, session, place, ..facts };
    let at = ReceivedAt::from_micros(facts.occurred * 1_000_000);
    let judged = engine.observe(&serde_json::from_value(event).unwrap(), &facts, &Evidence::default(), at);
    (judged.signals, judged.risk)
}

#[test]
fn what_a_back_end_holds_is_odd_anywhere_else() {
    use signals::{Net, Start};
    let mut engine = Engine::new(Config::default());
    let server = 1;
    let mut now = START;
    for round in 0..20 {
        for user in 10..40 {
            now += 60;
            refreshed(&mut engine, user, user + 100, server, refresh(now, round + 1, round + 2));
        }
    }
    // Half an hour after the one before, as always.
    let token = |number| refresh(now - 29 * 60 + 1_800, number, number + 1);
    let (signals, usual) = refreshed(&mut engine.clone(), 10, 110, server, token(21));
    assert_eq!(signals.place(), Net::Same);
    let (signals, risk) = refreshed(&mut engine, 10, 110, 9, token(21));
    assert_eq!((signals.place(), signals.start), (Net::Country, Start::Unknown));
    assert!(risk > 0.005 && risk > usual * 50.0, "{risk} {usual}");
    // Told once; and who was never seen is as odd there.
    assert_eq!(refreshed(&mut engine, 10, 110, 9, token(22)).0.place(), Net::Same);
    assert_eq!(refreshed(&mut engine, 50, 150, 9, token(1)).0.start, Start::Country);
    // A second server is one of its own once one refresh in twenty comes from it.
    for user in 10..40 {
        refreshed(&mut engine, user, user + 100, 8, token(30));
    }
    assert_eq!(refreshed(&mut engine, 11, 111, 8, token(31)).0.place(), Net::Same);
    assert_eq!(refreshed(&mut engine, 51, 151, 8, token(1)).0.start, Start::Own);
}

#[test]
fn thieves_who_replay_a_back_end_s_store_do_not_make_it_something_else() {
    use signals::{Company, Net, Software};
    let mut engine = Engine::new(Config::default());
    let by = |class: u16| facts::Agent {
        text: class.into(),
        class,
        root: class,
        by_program: true,
        ..facts::Agent::default()
    };
    let mut now = START;
    let (server, thief) = (1, 2);
    // 30 users, 20 times each: three networks would be one in ten.
    for round in 0..20 {
        for user in 10..40 {
            now += 60;
            refreshed(
                &mut engine,
                user,
                user + 100,
                1,
                Facts { agent: by(server), ..refresh(now, round + 1, round + 2) },
            );
        }
    }
    // Each of 14 sessions from another network, and from one network with others' software; then in a network of one more server.
    for user in 10..24 {
        now += 60;
        let (signals, _) =
            refreshed(&mut engine, user, user + 100, 100 + user, Facts { agent: by(thief), ..refresh(now, 21, 22) });
        assert_eq!((signals.place(), signals.software), (Net::Country, Software::Other), "{user}");
    }
    let told = (24..35).map(|user| {
        now += 60;
        refreshed(&mut engine, user, user + 100, 9, Facts { agent: by(thief), ..refresh(now, 21, 22) })
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.last().unwrap().0.company, Company::Many);
    assert!(told.last().unwrap().1 > 0.5, "{}", told.last().unwrap().1);
    let added = refreshed(&mut engine, 38, 138, 8, Facts { agent: by(server), ..refresh(now + 60, 21, 22) }).0;
    assert_eq!((added.place(), added.software, added.company), (Net::Country, Software::Same, Company::Alone));
}

#[test]
fn an_instant_that_cannot_be_is_told_with_how_far_it_is_off() {
    // RA203, of claims of parent and child in seconds after the event: `seconds_off`.
    let off = |parent: serde_json::Value, child: serde_json::Value| {
        let mut engine = Engine::new(Config::default());
        let event = |at: i64, parent: &serde_json::Value, child: &serde_json::Value| {
            let occurred = jiff::Timestamp::from_second(at).unwrap();
            let token = |claims: &serde_json::Value| json!({ "claims": claims });
            let tokens = json!({ "access": { "previous": token(parent), "issued": token(child) } });
            let event = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": format!("{occurred:.3}"), "outcome": "attempted",
                                "user_id": "u", "session_id": "s", "tokens": tokens });
            serde_json::from_value::<RefreshEvent>(event).unwrap()
        };
        let mut found = Vec::new();
        let claims = |iat: i64| json!({ "iat": iat, "auth_time": START });
        for (at, parent, child) in [(START, claims(START - 9), claims(START)), (START + 3_600, parent, child)] {
            let event = event(at, &parent, &child);
            let facts = Facts::of(&event);
            let at = ReceivedAt::from_micros(at * 1_000_000);
            found = engine.observe(&event, &facts, &Evidence::default(), at).findings;
        }
        let found = found.into_iter().find(|finding| finding.rule == "RA203");
        found.map(|finding| finding.evidence["seconds_off"].as_i64().unwrap())
    };
    let now = START + 3_600;
    let claims = |iat: i64, auth_time: i64| json!({ "iat": iat, "auth_time": auth_time });
    assert_eq!(off(claims(START, START), claims(now, START)), None);
    assert_eq!(off(claims(START, START), claims(now + 121, START)), Some(121));
    assert_eq!(off(claims(now + 77, START), claims(now, START)), Some(77));
    assert_eq!(off(claims(START, START), claims(now, START + 50)), Some(50));
}
