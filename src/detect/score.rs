//! The composite score: how much likelier the signals of a session are with a thief in it than without.
//!
//! Without: learned, per application, from all applications, from a small table, in this order, and per session or user
//! for what is a habit of theirs (a client that refreshes early, a person who changes networks). With: a small table for
//! each of a few ways to be a thief, kept apart because they do not mix: who copies the network has no foreign one. The
//! evidence of a session adds up (a CUSUM per way, Page 1954) and fades; a refresh speaks for itself unless it adds to it.
//!
//! `ln` and `exp` are libm's: the same on every machine.

use serde::{Deserialize, Serialize};

use super::{
    habits::{HABIT_WEIGHT, Habit, Habits},
    signals::{
        Beat, Company, Drift, Elsewhere, First, Fork, Ground, Hour, Kind, Lineage, Net, Pace, Path, Renewal, Rival,
        Signals, Software, Stamina, Start,
    },
};

/// Ways to be a thief: see `THIEVES`.
pub const WAYS: usize = 5;
/// The ln odds that a refresh is a thief's, before anything is known: 1 in 10,000 (facts on operating points are in
/// `docs/detection.md`).
pub const PRIOR: f64 = -9.21;
/// Refreshes that the table below counts as, against what was really seen in all applications.
const TABLE_WEIGHT: f64 = 300.0;
/// Refreshes that all applications count as, against what was really seen in one.
const ALL_WEIGHT: f64 = 100.0;
/// Of two signals that have one cause, the weaker one counts this much.
const SHARED_CAUSE: f64 = 0.3;
/// Each refresh leaves this much of the evidence before it: the last ten or so count together.
const KEEPS: f64 = 0.9;
/// A session with this much evidence (99 %) stays suspect: only time takes from it. It is not told with every refresh: where
/// it is wrong, it would be wrong a hundred times.
const SURE: f64 = 13.8;
/// A refresh with this much evidence is told with all that came before it; one with less, with its share of that.
const WHOLE: f64 = 1.0;
/// Past this many, all counts of a table are halved: old habits fade.
const COUNT_MAX: f32 = 200_000.0;
/// No single signal says more than this, either way.
const TERM_MAX: f64 = 7.0;
/// That a provider is nobody's says no more than how far away it is and this.
const GROUND_MAX: f64 = 3.5;
/// Who comes just before a token's end, where they usually come at its end, says no more than this.
const AHEAD_MAX: f64 = 2.0;
/// That a token is spent again where it was spent before, by the same software, says no more than this: answers are lost, and
/// machines put back to what they were. Two holders do it again and again.
const ALIKE_MAX: f64 = 6.0;
/// A usual network does not excuse what else is odd.
const NETWORK_MIN: f64 = -0.5;
/// The evidence of a session never says more than this.
const WEIGHT_MAX: f64 = 60.0;
/// Evidence halves in this time, seconds.
const HALF_LIFE_SECS: f64 = 4.0 * 86_400.0;

/// The evidence of one session so far, one for each way.
pub type Weights = [f32; WAYS];

macro_rules! tables {
    ($($field:ident: $signal:ident [$($usual:expr),*] { $([$($attack:expr),*])* })*) => {
        /// How often each level came.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct Rates { $(#[doc = stringify!($signal)] pub(super) $field: [f32; $signal::LEVELS]),* }

        /// What a table says of each level.
        struct Table { $($field: [f64; $signal::LEVELS]),* }

        #[cfg(test)]
        impl Table {
            fn all(&self) -> Vec<(&'static str, &[f64])> {
                vec![$((stringify!($field), &self.$field)),*]
            }
        }

        /// What is usual before anything is learned.
        const USUAL: Table = Table { $($field: [$($usual),*]),* };

        /// What a session with a thief in it looks like, theirs and the victim's refreshes together: 0 a careless one
        /// elsewhere, 1 a careful one elsewhere (copied user agent), 2 one in the same network, 3 one who replays many, 4 one
        /// who has it alone, since the victim left or was put out: an ordinary client that never sleeps.
        const THIEVES: [Table; WAYS] = {
            $(let $field: [[f64; $signal::LEVELS]; WAYS] = [$([$($attack),*]),*];)*
            [
                Table { $($field: $field[0]),* }, Table { $($field: $field[1]),* }, Table { $($field: $field[2]),* },
                Table { $($field: $field[3]),* }, Table { $($field: $field[4]),* },
            ]
        };

        impl Rates {
            /// Counts what came; `weight`: how much it counts, at most 1.
            pub fn learn(&mut self, signals: &Signals, weight: f32) {
                $(count(&mut self.$field, signals.$field.index(), weight);)*
            }
        }
    };
}

tables! {
    net: Net [0.96, 0.02, 0.005, 0.003, 0.002, 0.007, 0.0005] {
        [0.34, 0.26, 0.01, 0.04, 0.02, 0.18, 0.15] [0.36, 0.24, 0.03, 0.12, 0.04, 0.17, 0.04]
        [0.85, 0.12, 0.016, 0.002, 0.004, 0.006, 0.002] [0.40, 0.10, 0.01, 0.03, 0.02, 0.29, 0.15]
        [0.90, 0.04, 0.01, 0.015, 0.005, 0.025, 0.005]
    }
    wake: Net [0.77, 0.13, 0.025, 0.01, 0.015, 0.045, 0.005] {
        [0.20, 0.15, 0.02, 0.07, 0.03, 0.31, 0.22] [0.20, 0.15, 0.04, 0.21, 0.06, 0.28, 0.06]
        [0.80, 0.13, 0.04, 0.005, 0.007, 0.013, 0.005] [0.30, 0.10, 0.02, 0.03, 0.03, 0.32, 0.20]
        [0.45, 0.15, 0.06, 0.12, 0.04, 0.15, 0.03]
    }
    start: Start [0.86, 0.045, 0.015, 0.07, 0.01] {
        [0.20, 0.03, 0.07, 0.45, 0.25] [0.25, 0.07, 0.28, 0.35, 0.05]
        [0.90, 0.063, 0.007, 0.02, 0.01] [0.15, 0.04, 0.06, 0.50, 0.25]
        [0.30, 0.07, 0.25, 0.33, 0.05]
    }
    kind: Kind [0.85, 0.10, 0.03, 0.004, 0.002, 0.0002] {
        [0.40, 0.04, 0.10, 0.14, 0.27, 0.05] [0.62, 0.08, 0.06, 0.20, 0.03, 0.01] [0.85, 0.10, 0.03, 0.01, 0.005, 0.005] [0.35, 0.05, 0.05, 0.25, 0.25, 0.05]
        [0.75, 0.10, 0.05, 0.06, 0.03, 0.01]
    }
    path: Path [0.972, 0.01, 0.015, 0.002, 0.001] {
        [0.54, 0.08, 0.22, 0.08, 0.08] [0.60, 0.10, 0.20, 0.06, 0.04] [0.94, 0.04, 0.01, 0.005, 0.005]
        [0.80, 0.03, 0.07, 0.05, 0.05]
        [0.95, 0.02, 0.02, 0.005, 0.005]
    }
    software: Software [0.96, 0.02, 0.01, 0.0005, 0.002, 0.0002] {
        [0.36, 0.24, 0.04, 0.04, 0.24, 0.08] [0.86, 0.08, 0.03, 0.02, 0.009, 0.001] [0.93, 0.04, 0.015, 0.005, 0.008, 0.002] [0.45, 0.05, 0.05, 0.05, 0.30, 0.10]
        [0.90, 0.06, 0.03, 0.005, 0.004, 0.001]
    }
    first: First [0.93, 0.069, 0.001] {
        [0.40, 0.45, 0.15] [0.94, 0.058, 0.002] [0.94, 0.058, 0.002] [0.40, 0.45, 0.15]
        [0.94, 0.058, 0.002]
    }
    lineage: Lineage [0.974, 0.003, 0.008, 0.004, 0.003, 0.003, 0.001, 0.0005, 0.001, 0.002] {
        [0.40, 0.12, 0.02, 0.11, 0.07, 0.02, 0.03, 0.12, 0.09, 0.02] [0.40, 0.12, 0.02, 0.11, 0.07, 0.02, 0.03, 0.12, 0.09, 0.02]
        [0.40, 0.12, 0.02, 0.12, 0.07, 0.02, 0.10, 0.05, 0.08, 0.02] [0.44, 0.20, 0.02, 0.05, 0.05, 0.02, 0.01, 0.03, 0.16, 0.02]
        [0.92, 0.02, 0.008, 0.01, 0.005, 0.003, 0.003, 0.005, 0.015, 0.01]
    }
    fork: Fork [0.95, 0.05] {
        [0.15, 0.85] [0.15, 0.85] [0.15, 0.85] [0.30, 0.70]
        [0.90, 0.10]
    }
    rival: Rival [0.80, 0.15, 0.05] {
        [0.12, 0.18, 0.70] [0.12, 0.18, 0.70] [0.80, 0.13, 0.07] [0.12, 0.18, 0.70]
        [0.30, 0.20, 0.50]
    }
    blind: Pace [0.02, 0.03, 0.01, 0.44, 0.35, 0.15] {
        [0.06, 0.38, 0.10, 0.16, 0.20, 0.10] [0.06, 0.38, 0.10, 0.16, 0.20, 0.10] [0.06, 0.42, 0.10, 0.16, 0.18, 0.08] [0.10, 0.38, 0.07, 0.10, 0.20, 0.15]
        [0.02, 0.08, 0.15, 0.50, 0.15, 0.10]
    }
    pace: Pace [0.02, 0.03, 0.01, 0.44, 0.35, 0.15] {
        [0.06, 0.38, 0.10, 0.16, 0.20, 0.10] [0.06, 0.38, 0.10, 0.16, 0.20, 0.10] [0.06, 0.42, 0.10, 0.16, 0.18, 0.08] [0.10, 0.38, 0.07, 0.10, 0.20, 0.15]
        [0.02, 0.08, 0.15, 0.50, 0.15, 0.10]
    }
    company: Company [0.99, 0.008, 0.0005] {
        [0.96, 0.03, 0.01] [0.98, 0.015, 0.005] [0.99, 0.008, 0.002] [0.10, 0.30, 0.60]
        [0.98, 0.015, 0.005]
    }
    ground: Ground [0.50, 0.20, 0.10, 0.20] {
        [0.25, 0.15, 0.15, 0.45] [0.40, 0.17, 0.13, 0.30] [0.50, 0.20, 0.10, 0.20] [0.20, 0.15, 0.15, 0.50]
        [0.40, 0.17, 0.13, 0.30]
    }
    elsewhere: Elsewhere [0.60, 0.10, 0.05, 0.25] {
        [0.66, 0.12, 0.18, 0.04] [0.66, 0.12, 0.18, 0.04] [0.60, 0.10, 0.05, 0.25] [0.66, 0.12, 0.18, 0.04]
        [0.66, 0.12, 0.18, 0.04]
    }
    renewal: Renewal [0.985, 0.012, 0.0015, 0.0015] {
        [0.85, 0.03, 0.05, 0.07] [0.85, 0.03, 0.05, 0.07] [0.88, 0.05, 0.065, 0.005] [0.85, 0.03, 0.05, 0.07]
        [0.80, 0.05, 0.08, 0.07]
    }
    stamina: Stamina [0.95, 0.03, 0.012, 0.005, 0.002, 0.001, 0.0005, 0.0003, 0.0001] {
        [0.34, 0.19, 0.14, 0.10, 0.07, 0.05, 0.045, 0.035, 0.03] [0.34, 0.19, 0.14, 0.10, 0.07, 0.05, 0.045, 0.035, 0.03]
        [0.34, 0.19, 0.14, 0.10, 0.07, 0.05, 0.045, 0.035, 0.03] [0.34, 0.19, 0.14, 0.10, 0.07, 0.05, 0.045, 0.035, 0.03]
        [0.25, 0.18, 0.15, 0.12, 0.10, 0.08, 0.06, 0.04, 0.02]
    }
    drift: Drift [0.75, 0.18, 0.05, 0.02] {
        [0.42, 0.20, 0.15, 0.23] [0.42, 0.20, 0.15, 0.23] [0.60, 0.20, 0.10, 0.10] [0.70, 0.20, 0.07, 0.03]
        [0.42, 0.20, 0.15, 0.23]
    }
    beat: Beat [0.93, 0.05, 0.015, 0.005] {
        [0.60, 0.10, 0.10, 0.20] [0.60, 0.10, 0.10, 0.20] [0.60, 0.10, 0.10, 0.20] [0.60, 0.10, 0.10, 0.20]
        [0.55, 0.10, 0.10, 0.25]
    }
    hour: Hour [0.97, 0.02, 0.01] {
        [0.80, 0.12, 0.08] [0.82, 0.11, 0.07] [0.85, 0.09, 0.06] [0.80, 0.12, 0.08]
        [0.78, 0.13, 0.09]
    }
}

fn count(counts: &mut [f32], level: Option<usize>, weight: f32) {
    let Some(level) = level else { return };
    counts[level] += weight;
    if counts[level] >= COUNT_MAX {
        counts.iter_mut().for_each(|count| *count /= 2.0);
    }
}

/// The rates of one application, and of all.
pub struct Usual<'a> {
    /// The application's.
    pub application: &'a Rates,
    /// All together.
    pub all: &'a Rates,
}

/// How often a level comes when nothing is wrong.
fn usual(level: usize, own: &[f32], all: &[f32], table: &[f64]) -> f64 {
    let sum = |counts: &[f32]| counts.iter().map(|count| f64::from(*count)).sum::<f64>();
    let of_all = f64::from(all.get(level).copied().unwrap_or(0.0));
    let all = (of_all + TABLE_WEIGHT * table[level]) / (sum(all) + TABLE_WEIGHT);
    (f64::from(own[level]) + ALL_WEIGHT * all) / (sum(own) + ALL_WEIGHT)
}

/// The same for someone with a habit: `odd` says which levels the habit is about.
fn personal(level: usize, own: &[f32], all: &[f32], table: &[f64], habit: Habit, odd: fn(usize) -> bool) -> f64 {
    let rate = |level| usual(level, own, all, table);
    let general: f64 = (0..table.len()).filter(|level| odd(*level)).map(rate).sum();
    let mine = (habit.odd + HABIT_WEIGHT * general) / (habit.of + HABIT_WEIGHT);
    let share = if odd(level) { mine / general } else { (1.0 - mine) / (1.0 - general) };
    rate(level) * share
}

/// Of the levels of `Net`: 0 where they were before, 1 a provider of theirs, 2 elsewhere.
pub fn how_far(level: usize) -> usize {
    level.saturating_sub(1).min(2)
}

/// The same for someone who moves more or less than others.
fn moving(level: usize, own: &[f32], all: &[f32], table: &[f64], counts: [f64; 3]) -> f64 {
    let rate = |level| usual(level, own, all, table);
    let far = how_far(level);
    let general: f64 = (0..table.len()).filter(|level| how_far(*level) == far).map(rate).sum();
    let mine = (counts[far] + HABIT_WEIGHT * general) / (counts.iter().sum::<f64>() + HABIT_WEIGHT);
    rate(level) * mine / general
}

/// One refresh: how much each way explains it better than nothing being wrong.
pub fn evidence(signals: &Signals, usual_rates: &Usual<'_>, habits: &Habits) -> [f64; WAYS] {
    let Usual { application: own, all } = *usual_rates;
    // How usual each is, once; then what each way says to it.
    macro_rules! usual {
        ($field:ident) => {
            signals.$field.index().map(|at| (at, usual(at, &own.$field, &all.$field, &USUAL.$field)))
        };
        ($field:ident, $habit:ident) => {
            signals.$field.index().map(|at| (at, moving(at, &own.$field, &all.$field, &USUAL.$field, habits.$habit)))
        };
        ($field:ident, $habit:ident, $odd:expr) => {
            signals
                .$field
                .index()
                .map(|at| (at, personal(at, &own.$field, &all.$field, &USUAL.$field, habits.$habit, $odd)))
        };
    }
    let net = usual!(net, moves);
    let wake = usual!(wake, wakes);
    let (start, kind, path) = (usual!(start), usual!(kind), usual!(path, flips, |level| level != 0));
    let (software, first) = (usual!(software), usual!(first));
    // Two that share address and software, and have been beside each other before, are as a rule one person's tabs; if not,
    // it has been told.
    let beside = habits.beside.share();
    let in_place = |(at, usual): (usize, f64)| (at, if at == 0 { usual } else { usual.max(beside) });
    let lineage = usual!(lineage, forks, |level| level != 0).map(in_place);
    // Whether tabs keep tokens of their own is an application's way: others say nothing about it.
    let fork = signals.fork.index().map(|at| in_place((at, usual(at, &own.fork, &[], &USUAL.fork))));
    let is_ahead = |at| Some(at) == Pace::Ahead.index();
    let by_habit = |(at, usual): (usize, f64)| (at, if is_ahead(at) { usual.max(habits.ahead.share()) } else { usual });
    let pace = usual!(pace, early, |level| level == 1).map(by_habit);
    let blind = usual!(blind, early, |level| level == 1).map(by_habit);
    let (rival, company) = (usual!(rival), usual!(company));
    let (stamina, drift, beat, hour) = (usual!(stamina), usual!(drift), usual!(beat), usual!(hour));
    let (ground, elsewhere, renewal) = (usual!(ground), usual!(elsewhere), usual!(renewal));
    std::array::from_fn(|way| {
        let thief = &THIEVES[way];
        macro_rules! term {
            ($field:ident) => {
                // What comes first of each is what is ordinary: it never accuses, however seldom it is in an application.
                $field.map(|(at, usual)| ratio(thief.$field[at], usual).min(if at == 0 { 0.0 } else { TERM_MAX }))
            };
        }
        // A telephone's network, or a VPN that is somebody's habit, is not odd where few others have one.
        let kind = term!(kind).map(|term| sign(!matches!(signals.kind, Kind::Mobile | Kind::Habit), term));
        // These say much the same: the loudest of those that say anything counts.
        let places = [term!(net), term!(wake), term!(start), kind, term!(path)];
        let network = places.into_iter().flatten().reduce(f64::max).map_or(0.0, |loudest| loudest.max(NETWORK_MIN));
        // One client that asked twice is no sign of two. Nor is one that names the newest token where few name any.
        let is_one = matches!(signals.lineage, Lineage::Race | Lineage::Head);
        let lineage = sign(!is_one, term!(lineage).unwrap_or(0.0));
        let lineage = if signals.rival == Rival::Alike { lineage.min(ALIKE_MAX) } else { lineage };
        let pace = pace.map(|(at, usual)| ratio(thief.pace[at], usual));
        let pace = pace.or(blind.map(|(at, usual)| ratio(thief.blind[at], usual))).unwrap_or(0.0);
        // Nor is who comes in time, or late: they are in no hurry.
        let is_patient = matches!(signals.pace.max(signals.blind), Pace::OnTime | Pace::Late | Pace::Idle);
        let pace = sign(!is_patient, pace);
        let pace = if signals.pace.max(signals.blind) == Pace::Ahead { pace.min(AHEAD_MAX) } else { pace };
        let holders = [term!(software), term!(first), term!(fork), term!(rival), term!(company)];
        let ground = term!(ground).map(|term| term.min(network.max(0.0) + GROUND_MAX));
        let others = [ground, term!(elsewhere), term!(renewal)];
        let seldom = [term!(stamina), term!(drift), term!(beat), term!(hour)];
        network
            + together(lineage, pace)
            + holders.into_iter().chain(others).flatten().sum::<f64>()
            + seldom.into_iter().flatten().map(|term| term.max(0.0)).sum::<f64>()
    })
}

/// What may excuse and, unless it is a sign of a thief, not accuse.
fn sign(is_one: bool, term: f64) -> f64 {
    if is_one { term } else { term.min(0.0) }
}

/// A second holder makes a fork and an early refresh at once; so does a second tab. When a fork comes is no excuse for it.
fn together(fork: f64, pace: f64) -> f64 {
    if fork > 0.0 { fork.max(pace) + SHARED_CAUSE * fork.min(pace).max(0.0) } else { fork + pace }
}

fn ratio(attack: f64, usual: f64) -> f64 {
    libm::log(attack / usual.max(1e-9)).clamp(-TERM_MAX, TERM_MAX)
}

/// Adds one refresh to a session's evidence, `secs` after the last; returns ln odds of a thief. `share`: how much of what
/// speaks for one is new, see [`Seen::share`](super::seen::Seen::share).
pub fn accumulate(weights: &mut Weights, evidence: &[f64; WAYS], share: f64, secs: u32) -> f64 {
    let fade = libm::exp(-f64::from(secs) / HALF_LIFE_SECS * std::f64::consts::LN_2);
    let mut said = [0.0; WAYS];
    for way in 0..WAYS {
        let (before, new) = (f64::from(weights[way]) * fade, evidence[way]);
        let new = if new > 0.0 { new * share } else { new };
        let kept = if before > SURE { before - new.min(0.0) } else { before * KEEPS };
        // What adds nothing is no worse for what came before it.
        let told = (new / WHOLE).clamp(0.0, 1.0) * share;
        weights[way] = (kept + new).clamp(0.0, WEIGHT_MAX) as f32;
        said[way] = new + kept.min(SURE) * told;
    }
    PRIOR + mean_of_exponents(&said)
}

/// ln of the mean of the exponentials.
fn mean_of_exponents(terms: &[f64; WAYS]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| libm::exp(term - most)).sum();
    most + libm::log(sum / WAYS as f64)
}

/// Above these ln odds a double has ever fewer digits left below 1.
const PLAIN_ODDS_MAX: f64 = 10.0;
/// So what is above them counts this much: further apart than a double can tell, and still in order.
const BEYOND: f64 = 0.4;

/// The probability of some ln odds: below 1, and the higher the higher they are.
pub fn probability(odds: f64) -> f64 {
    let odds = odds.min(PLAIN_ODDS_MAX) + BEYOND * (odds - PLAIN_ODDS_MAX).max(0.0);
    1.0 / (1.0 + libm::exp(-odds.clamp(-36.0, 36.0)))
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
