//! How parents stand, by hand and paper.

use super::*;
use crate::detect::facts::testing::refresh;

/// Runs refreshes (seconds, parent, child) through a chain; what the last one's parent is.
fn last(refreshes: &[(i64, u64, u64)]) -> Parent {
    let mut chain = Chain::default();
    let mut parent = Parent::Fresh;
    for (now, from, to) in refreshes {
        let facts = refresh(*now, *from, *to);
        parent = chain.parent(&facts, *now, 60);
        chain.learn(&facts, *now, parent);
    }
    parent
}

#[test]
fn a_parent_stands_where_hand_and_paper_put_it() {
    let day: &[(i64, u64, u64)] = &[(1_000, 1, 2), (4_600, 2, 3), (8_200, 3, 4)];
    for (more, expected) in [
        // As it should be.
        (&[][..], Parent::Head),
        (&[(11_800, 4, 5)], Parent::Head),
        // Two tabs ask for the same within the leeway, and go on with either.
        (&[(8_230, 3, 5)], Parent::Race),
        (&[(8_230, 3, 5), (11_800, 4, 6)], Parent::Race),
        (&[(8_230, 3, 5), (11_800, 5, 6)], Parent::Head),
        // Each tab goes on with its own for good; an old copy of one is still a fork.
        (&[(8_230, 3, 5), (11_800, 4, 6), (11_830, 5, 7), (15_400, 6, 8)], Parent::Race),
        (&[(8_230, 3, 5), (11_800, 4, 6), (11_830, 5, 7), (15_400, 6, 8), (15_430, 7, 9)], Parent::Race),
        (&[(8_230, 3, 5), (11_800, 4, 6), (15_400, 4, 7), (15_500, 6, 8)], Parent::Branch),
        // A lost answer: the same parent again, an hour later.
        (&[(11_800, 3, 5)], Parent::Retry(3_600)),
        (&[(11_800, 3, 5), (15_400, 5, 6)], Parent::Head),
        // Two holders: the other's child is used, too.
        (&[(11_800, 3, 5), (11_900, 4, 6)], Parent::Branch),
        // Left behind by a refresh that named no parent.
        (&[(11_800, 0, 5), (11_900, 4, 6)], Parent::Left),
        // A thief's old copy.
        (&[(11_800, 2, 5)], Parent::Stale(1)),
        (&[(11_800, 1, 5)], Parent::Stale(2)),
        // Nothing sent; never seen.
        (&[(11_800, 0, 5)], Parent::None),
        (&[(11_800, 99, 5)], Parent::Unknown),
    ] {
        assert_eq!(last(&[day, more].concat()), expected, "{more:?}");
    }
    assert_eq!(last(&day[..1]), Parent::Fresh);
}

#[test]
fn an_old_parent_is_as_many_generations_old_as_it_is_back() {
    for back in 2..=9 {
        let mut chain = Chain::default();
        for n in 1..=12 {
            chain.learn(&refresh(3_600 * n, n as u64, n as u64 + 1), 3_600 * n, Parent::Head);
        }
        // Token 13 is the newest; token `n` was issued at hour `n - 1`.
        let parent = 13 - back;
        let mut facts = refresh(50_000, parent as u64, 99);
        facts.previous.iat = 3_600 * (parent - 1);
        // Its own child is a generation more. Of what is not among the last eight, eight is what is known.
        let behind = u32::try_from(back).unwrap().min(8) - 1;
        assert_eq!(chain.parent(&facts, 50_000, 60), Parent::Stale(behind), "{back}");
    }
}

#[test]
fn tabs_that_are_open_at_once_are_in_step() {
    // Two tabs refresh 90 s apart, every hour; then one of them by itself, half an hour later.
    let mut chain = Chain::default();
    for (now, from, to) in [(1_000, 1, 2), (4_600, 2, 3), (4_690, 2, 4), (8_200, 3, 5), (8_290, 4, 6)] {
        chain.learn(&refresh(now, from, to), now, Parent::Head);
    }
    // Issued 90 s apart, whenever it comes; at the time of the newest; and neither.
    assert!(chain.is_in_step(5, 11_800, 90) && !chain.is_in_step(5, 11_800, 89));
    chain.learn(&refresh(11_800, 5, 7), 11_800, Parent::Branch);
    assert!(chain.is_in_step(6, 11_890, 90) && !chain.is_in_step(6, 13_600, 90));
}

#[test]
fn deliveries_that_overtake_each_other_are_no_fork() {
    // 2 -> 3 arrives after 3 -> 4.
    assert_eq!(last(&[(1_000, 1, 2), (8_200, 3, 4), (4_600, 2, 3)]), Parent::Head);
    assert_eq!(last(&[(1_000, 1, 2), (8_200, 3, 4), (4_600, 2, 3), (11_800, 4, 5)]), Parent::Head);
    // Two ask at once, and what one of them got is spent a second later, before the other's is announced.
    assert_eq!(last(&[(1_000, 1, 2), (4_600, 2, 3), (4_601, 3, 4), (4_600, 2, 5)]), Parent::Race);
    assert!(matches!(last(&[(1_000, 1, 2), (4_600, 2, 3), (4_601, 3, 4), (4_602, 2, 5)]), Parent::Stale(_)));
}

#[test]
fn a_storm_cannot_make_a_spent_parent_look_unknown() {
    let mut storm = vec![(1_000, 1, 2), (1_010, 2, 3)];
    storm.extend((0..20).map(|n| (1_100 + 100 * n, 3 + n as u64, 4 + n as u64)));
    storm.push((9_000, 2, 50));
    assert!(matches!(last(&storm), Parent::Stale(_)));
}

#[test]
fn tabs_go_on_beside_each_other_however_long_the_session_is() {
    for before in 1..=20 {
        let mut refreshes: Vec<_> = (0..before).map(|n| (1_000 + 3_600 * n, n as u64 + 1, n as u64 + 2)).collect();
        let (newest, now) = (before as u64, 1_000 + 3_600 * before);
        // The second tab asks with what the first has just spent; each goes on with its own.
        refreshes.extend([(now, newest + 1, 101), (now + 5, newest + 1, 201)]);
        for n in 0..4 {
            let later = now + 3_600 * (n + 1);
            refreshes.extend([(later, 101 + n as u64, 102 + n as u64), (later + 5, 201 + n as u64, 202 + n as u64)]);
        }
        for end in before as usize + 1..=refreshes.len() {
            let stands = last(&refreshes[..end]);
            assert!(matches!(stands, Parent::Head | Parent::Race), "{before} before, {end}: {stands:?}");
        }
    }
}

#[test]
fn a_refused_child_is_not_the_newest_and_is_recognised_if_it_is_used() {
    let mut chain = Chain::default();
    chain.learn(&refresh(1_000, 1, 2), 1_000, Parent::Fresh);
    let refused = |chain: &mut Chain, from: u64, to: u64| {
        let mut with = chain.clone();
        with.learn(&refresh(4_600, from, to), 4_600, Parent::Head);
        chain.refuse(&with, to);
    };
    refused(&mut chain, 2, 3);
    assert_eq!(chain.parent(&refresh(8_200, 3, 4), 8_200, 60), Parent::Denied);
    // What was refused has spent nothing: its parent is the newest token still.
    assert_eq!(chain.parent(&refresh(8_200, 2, 4), 8_200, 60), Parent::Head);
    chain.learn(&refresh(8_200, 2, 4), 8_200, Parent::Head);
    assert_eq!(chain.parent(&refresh(11_800, 4, 5), 11_800, 60), Parent::Head);
    // Used after all: from then on two tokens of one parent are in use.
    chain.learn(&refresh(9_000, 3, 6), 9_000, Parent::Denied);
    assert_eq!(chain.parent(&refresh(11_800, 4, 5), 11_800, 60), Parent::Branch);
    // However often somebody is refused, the holder's tokens and the last two refused ones are known.
    let mut chain = Chain::default();
    (1..=6).for_each(|n| chain.learn(&refresh(1_000 * n as i64, n, n + 1), 1_000 * n as i64, Parent::Head));
    (0..50).for_each(|n| refused(&mut chain, 7, 100 + n));
    let stands = |parent: u64| chain.parent(&refresh(8_200, parent, 200), 8_200, 60);
    assert_eq!([7, 149, 148].map(stands), [Parent::Head, Parent::Denied, Parent::Denied]);
    assert_eq!([3, 2].map(stands), [Parent::Stale(3), Parent::Stale(4)]);
    // Refused before anybody was let through: who comes then is as good as the first.
    let mut chain = Chain::default();
    refused(&mut chain, 2, 3);
    assert_eq!(chain.parent(&refresh(8_200, 2, 4), 8_200, 60), Parent::Fresh);
}
