//! The score's arithmetic, worked out by hand from its tables.

use super::*;

#[test]
fn tables_are_distributions() {
    for table in [&USUAL, &THIEVES[0], &THIEVES[1], &THIEVES[2], &THIEVES[3], &THIEVES[4]] {
        for (signal, levels) in table.all() {
            let sum: f64 = levels.iter().sum();
            assert!((sum - 1.0).abs() < 0.02, "{signal}: {levels:?} sum up to {sum}");
        }
    }
}

#[test]
fn nothing_known_says_nothing_and_evidence_adds_up_and_fades() {
    let none = Rates::default();
    let usual = Usual { application: &none, all: &none };
    let nothing = evidence(&Signals::default(), &usual, &Habits::default());
    assert!(nothing.iter().all(|evidence| *evidence <= 0.0 && *evidence >= NETWORK_MIN));
    let mut weights = Weights::default();
    let once = accumulate(&mut weights, &[3.0; WAYS], 1.0, 0);
    let twice = accumulate(&mut weights, &[3.0; WAYS], 1.0, 0);
    assert!((once - (PRIOR + 3.0)).abs() < 1e-9 && (twice - (PRIOR + 3.0 * KEEPS + 3.0)).abs() < 1e-6);
    // Four days later half of it is left: (3 x 0.9 + 3) / 2 x 0.9 = 2.565; half a whole tells half of that.
    let later = accumulate(&mut weights, &[0.5; WAYS], 1.0, 4 * 86_400);
    assert!((later - (PRIOR + 1.2825 + 0.5)).abs() < 1e-5, "{later}");
    let nothing = accumulate(&mut weights, &[-0.5; WAYS], 1.0, 0);
    assert!((nothing - (PRIOR - 0.5)).abs() < 1e-9, "{nothing}");
    // Past all doubt it stays, though it is not told again by who adds nothing: no refresh takes from it, and time half of
    // it, which is doubtful again.
    let mut weights = [20.0; WAYS];
    let quiet = accumulate(&mut weights, &[-3.0; WAYS], 1.0, 0);
    assert!((quiet - (PRIOR - 3.0)).abs() < 1e-6, "{quiet}");
    assert!(weights.iter().all(|weight| (weight - 20.0).abs() < 1e-6), "{weights:?}");
    let later = accumulate(&mut weights, &[-3.0; WAYS], 1.0, 4 * 86_400);
    assert!((later - (PRIOR - 3.0)).abs() < 1e-9, "{later}");
    // Nor however far past it.
    let certain = accumulate(&mut [50.0; WAYS], &[-3.0; WAYS], 1.0, 0);
    assert!((certain - (PRIOR - 3.0)).abs() < 1e-6, "{certain}");
    assert!(weights.iter().all(|weight| (weight - 6.0).abs() < 1e-6), "{weights:?}");
    // Of what was told before, a part is new: half of 4, and half of the 4 x 0.9 that were before it.
    let part = accumulate(&mut [4.0; WAYS], &[4.0; WAYS], 0.5, 0);
    assert!((part - (PRIOR + 2.0 + 1.8)).abs() < 1e-6, "{part}");
    let most = PRIOR + WEIGHT_MAX;
    assert!(probability(most) < 1.0 && probability(most - 1e-3) < probability(most));
    assert!(probability(1e9) < 1.0 && probability(-1e9) > 0.0 && probability(0.0) == 0.5);
}

#[test]
fn what_one_device_does_now_and_then_never_says_more_than_so_much() {
    let never = || {
        let mut rates = Rates::default();
        (rates.lineage[0], rates.pace[3], rates.ground[0]) = (100_000.0, 100_000.0, 100_000.0);
        rates
    };
    let (application, all) = (never(), never());
    let said = |signals: Signals| {
        let usual = Usual { application: &application, all: &all };
        let said = evidence(&signals, &usual, &Habits::default());
        said.into_iter().fold(f64::NEG_INFINITY, f64::max)
    };
    let none = Signals::default();
    let is = |signals: Signals, expected: f64| assert!((said(signals) - expected).abs() < 1e-9, "{}", said(signals));
    is(Signals { pace: Pace::Ahead, ..none }, 2.0);
    is(Signals { ground: Ground::Nobody, ..none }, 3.5);
    // Of who is in the same network the rival says nothing: 0.80 of theirs are alike, and of all.
    is(Signals { lineage: Lineage::Retry, rival: Rival::Alike, ..none }, 6.0);
    is(Signals { lineage: Lineage::Stale, rival: Rival::Alike, ..none }, 6.0);
    assert!(said(Signals { lineage: Lineage::Retry, rival: Rival::Stranger, ..none }) > 9.0);
}

#[test]
fn a_habit_of_early_refreshes_makes_one_more_of_them_say_less() {
    let none = Rates::default();
    let usual = Usual { application: &none, all: &none };
    for pace in [Pace::Early, Pace::Ahead] {
        let of = |odd, of| {
            let habit = Habit { odd, of };
            let habits = match pace {
                Pace::Early => Habits { early: habit, ..Habits::default() },
                _ => Habits { ahead: habit, ..Habits::default() },
            };
            evidence(&Signals { pace, ..Signals::default() }, &usual, &habits)[2]
        };
        assert!(of(0.0, 0.0) > of(40.0, 100.0) && of(40.0, 100.0) < 0.5, "{pace:?}");
        assert!(pace == Pace::Ahead || of(0.0, 100.0) > of(0.0, 0.0));
    }
}

#[test]
fn who_travels_is_less_odd_elsewhere_and_who_is_renumbered_is_not() {
    let none = Rates::default();
    let usual = Usual { application: &none, all: &none };
    let signals = Signals { wake: Net::City, ..Signals::default() };
    let of = |wakes| evidence(&signals, &usual, &Habits { wakes, ..Habits::default() })[1];
    // ln(0.21 / (0.01 x 0.376 / 0.075)) = 1.43, ln(0.21 / (0.01 x 0.0056 / 0.075)) = 5.6, ln(0.21 / 0.01) = 3.0.
    assert!(of([60.0, 0.0, 40.0]) < 1.5 && of([60.0, 40.0, 0.0]) > 5.5);
    assert!(of([100.0, 0.0, 0.0]) > of([0.0; 3]));
}

/// What one signal says, one number for each way, where nothing is learned.
fn says(signals: Signals) -> [f64; WAYS] {
    let none = Rates::default();
    evidence(&signals, &Usual { application: &none, all: &none }, &Habits::default())
}

fn near(found: [f64; WAYS], expected: [f64; WAYS]) {
    let is_near = found.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 1e-9);
    assert!(is_near, "{found:?} is not {expected:?}");
}

#[test]
fn what_is_usual_excuses_little() {
    // ln(0.34 / 0.96) = -1.04, ln(0.36 / 0.96) = -0.98 and ln(0.40 / 0.96) = -0.88 are too much; ln(0.85 / 0.96) = -0.12 and
    // ln(0.90 / 0.96) = -0.06 are not.
    let same = [-0.5, -0.5, (0.85_f64 / 0.96).ln(), -0.5, (0.90_f64 / 0.96).ln()];
    near(says(Signals { net: Net::Same, ..Signals::default() }), same);
    // An hour that is usual is no excuse at all: ln(0.80 / 0.97) < 0. One that is not says ln(0.08 / 0.01).
    near(says(Signals { hour: Hour::Usual, ..Signals::default() }), [0.0; WAYS]);
    near(says(Signals { hour: Hour::Never, ..Signals::default() }), [8.0, 7.0, 6.0, 8.0, 9.0].map(f64::ln));
    // Nor is one client that asked twice a sign of two: ln(0.02 / 0.008) > 0.
    near(says(Signals { lineage: Lineage::Race, ..Signals::default() }), [0.0; WAYS]);
}

#[test]
fn a_client_that_names_no_parent_is_early_all_the_same() {
    // ln(0.38 / 0.03), in the same network ln(0.42 / 0.03), alone ln(0.08 / 0.03).
    let early = [0.38, 0.38, 0.42, 0.38, 0.08].map(|thief: f64| (thief / 0.03).ln());
    near(says(Signals { pace: Pace::Early, ..Signals::default() }), early);
    near(says(Signals { blind: Pace::Early, ..Signals::default() }), early);
}

#[test]
fn who_names_the_newest_token_is_no_thief_for_it_where_few_do() {
    let mut rare = Rates::default();
    rare.lineage[1] = 10_000.0;
    let usual = Usual { application: &rare, all: &Rates::default() };
    let said = |lineage| evidence(&Signals { lineage, ..Signals::default() }, &usual, &Habits::default())[2];
    assert!(said(Lineage::Head) <= 0.0 && said(Lineage::Stale) > 3.0);
}

#[test]
fn what_is_ordinary_accuses_nobody_however_seldom_it_is() {
    // An application in which nearly all do otherwise.
    let mut rare = Rates::default();
    (rare.software[1], rare.elsewhere[3], rare.kind[0], rare.pace[0]) = (10_000.0, 10_000.0, 10_000.0, 10_000.0);
    let usual = Usual { application: &rare, all: &Rates::default() };
    let none = Signals::default();
    let quiet = [
        Signals { software: Software::Same, ..none },
        Signals { elsewhere: Elsewhere::Quiet, ..none },
        Signals { kind: Kind::Mobile, ..none },
        Signals { kind: Kind::Habit, ..none },
        Signals { pace: Pace::OnTime, ..none },
        Signals { pace: Pace::Late, ..none },
        Signals { pace: Pace::Idle, ..none },
    ];
    for signals in quiet {
        let said = evidence(&signals, &usual, &Habits::default());
        assert!(said.iter().all(|said| *said <= 0.0), "{signals:?} {said:?}");
    }
    for signals in [Signals { kind: Kind::Hosting, ..none }, Signals { pace: Pace::Early, ..none }] {
        assert!(evidence(&signals, &usual, &Habits::default())[0] > 3.0, "{signals:?}");
    }
}

#[test]
fn a_fork_and_what_comes_with_it_are_one_cause() {
    for ((fork, pace), expected) in
        [((2.0, 1.0), 2.3), ((1.0, 2.0), 2.3), ((2.0, -1.0), 2.0), ((-1.0, 2.0), 1.0), ((-1.0, -2.0), -3.0)]
    {
        assert!((together(fork, pace) - expected).abs() < 1e-12, "{fork} {pace}");
    }
    assert_eq!((ratio(0.9, 1e-9), ratio(1e-9, 0.9)), (7.0, -7.0), "no signal says more");
}

#[test]
fn whether_tabs_keep_tokens_is_an_applications_own_way() {
    let (none, mut all) = (Rates::default(), Rates::default());
    let twins = Signals { fork: Fork::Twins, ..Signals::default() };
    (0..10_000).for_each(|_| all.learn(&twins, 1.0));
    // ln(0.85 / 0.05), ln(0.70 / 0.05) and ln(0.10 / 0.05), whatever others do.
    let said = evidence(&twins, &Usual { application: &none, all: &all }, &Habits::default());
    near(said, [17.0, 17.0, 17.0, 14.0, 2.0].map(f64::ln));
}

#[test]
fn of_a_client_that_forks_every_other_time_going_on_is_no_proof_of_innocence() {
    let none = Rates::default();
    let usual = Usual { application: &none, all: &none };
    let habits = Habits { forks: Habit { odd: 50.0, of: 100.0 }, ..Habits::default() };
    let said = evidence(&Signals { lineage: Lineage::Head, ..Signals::default() }, &usual, &habits);
    // Levels but the first come 0.0255 of the time; of this client (50 + 8 x 0.0255) / 108 = 0.46485; so the first comes
    // 0.974 x (1 - 0.46485) / (1 - 0.0255) = 0.53487, and ln(0.40 / 0.53487) = -0.29058.
    assert!((said[0] + 0.290_58).abs() < 1e-4, "{said:?}");
}
