//! The published baseline: the risk score of Freeman et al. (NDSS 2016, equation 7, without attack data), with the hierarchy,
//! weights and edge cases of Wiefling et al. (ACM TOPS 2022; das-group/rba-algorithm).
//!
//! ```text
//! S(x, u) = Π_k p(x_k) / p(x_k | u, L) · p(u | A) / p(u | L)        k: address, user agent
//! p(u | A) = 1 / |U|        p(u | L) = n_u / N
//! ```
//!
//! Each p(x_k) is the weighted sum of the shares of x's values on the levels of its hierarchy: address > AS > country, and user
//! agent > browser > system > kind. Over everybody's history the first level is smoothed (a value seen c times:
//! c / (N + M), one never seen: 1 / (N + M), M the number of values on the levels below, and one), over the user's own nothing is;
//! where the user has shown none of the values, a quarter of everybody's share stands in. A user without history has no score.
//!
//! As in the authors' program, p(x | level) is 1 for what was seen on that level, so that the sum is a plain mix of shares, and on
//! the first level it is smoothed over the logins alike (c / (c + levels)). An address is taken to belong to one AS and country,
//! a user agent to one browser. Memory is bounded, which the published method is not: see [`Limits`]. Self-contained: it knows
//! nothing of events, and gives the same scores for the same calls.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::key::{key, key_of};

/// Levels of both hierarchies, finest first: address, AS, country; agent, browser, system, kind.
const LEVELS: usize = 7;
/// Where the hierarchies lie in the levels.
const HIERARCHIES: [std::ops::Range<usize>; 2] = [0..3, 3..7];
/// The authors' weights for their data set; each hierarchy's sum to 1.
const WEIGHTS: [f64; LEVELS] = [
    0.6,
    0.3,
    0.1,
    0.538_665_384_055_135_9,
    0.268_045_149_862_566_6,
    0.188_182_951_001_095_36,
    0.005_106_515_081_202_152_5,
];

/// What one event shows. A hierarchy whose finest value is absent takes no part in the score.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features<'a> {
    /// IP address.
    pub address: Option<&'a str>,
    /// Number of its autonomous system.
    pub asn: Option<u32>,
    /// ISO code.
    pub country: Option<&'a str>,
    /// The whole `User-Agent`.
    pub agent: Option<&'a str>,
    /// Browser and version.
    pub browser: Option<&'a str>,
    /// Operating system and version.
    pub system: Option<&'a str>,
    /// Phone, tablet, desktop.
    pub kind: Option<&'a str>,
}

/// Values are kept as hashes; 0 stands for an absent one, which counts as a value of its own below the finest level.
type Values = [u64; LEVELS];

fn hash(value: Option<&str>) -> u64 {
    value.map_or(0, |value| key(&[value]).max(1))
}

impl Features<'_> {
    fn values(&self) -> Values {
        [
            hash(self.address),
            self.asn.map_or(0, |asn| key_of(asn.into()).max(1)),
            hash(self.country),
            hash(self.agent),
            hash(self.browser),
            hash(self.system),
            hash(self.kind),
        ]
    }
}

/// Bounds of memory. The published method keeps everything for ever.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Events kept of a user; the oldest go first (the authors' Keystone plugin: 100). At about 56 bytes each.
    pub history: usize,
    /// Users kept; those unseen for longest go first.
    pub users: usize,
    /// Values counted on each level; those unseen for longest go first. At about 100 bytes each.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { history: 100, users: 100_000, values: 50_000 }
    }
}

/// A map of bounded size that forgets what was touched longest ago.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Recent<T> {
    entries: BTreeMap<u64, (u64, T)>,
    by_age: BTreeMap<u64, u64>,
    clock: u64,
}

impl<T: Default> Recent<T> {
    fn get(&self, key: u64) -> Option<&T> {
        self.entries.get(&key).map(|(_, entry)| entry)
    }

    fn touch(&mut self, key: u64, limit: usize) -> &mut T {
        self.clock += 1;
        let known = self.entries.get(&key).map(|(age, _)| *age);
        match known {
            Some(age) => {
                self.by_age.remove(&age);
            }
            None if self.entries.len() >= limit.max(1) => {
                if let Some((_, oldest)) = self.by_age.pop_first() {
                    self.entries.remove(&oldest);
                }
            }
            None => {}
        }
        self.by_age.insert(self.clock, key);
        let entry = self.entries.entry(key).or_default();
        entry.0 = self.clock;
        &mut entry.1
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct User {
    /// n_u: all events, also those no longer in `history`.
    count: u64,
    history: VecDeque<Values>,
}

/// What was learnt.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Freeman {
    limits: Limits,
    /// N.
    count: u64,
    /// Shared with the copies that are written to disk: of a user's history only what changes is copied.
    users: Recent<Arc<User>>,
    /// Per level: how often each value was seen.
    seen: [Recent<u64>; LEVELS],
}

impl Freeman {
    /// Knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The score of an event of a user, over what was learnt before: 0 and up, higher is more suspicious, about 1 where
    /// user and attacker are equally likely. `None`: nothing is known of the user, or the event shows nothing.
    pub fn score(&self, user: &str, features: &Features<'_>) -> Option<f64> {
        let own = self.users.get(hash(Some(user)))?;
        let values = features.values();
        if HIERARCHIES.iter().all(|levels| values[levels.start] == 0) {
            return None;
        }
        let mut score = 1.0;
        for levels in HIERARCHIES {
            if values[levels.start] == 0 {
                continue;
            }
            let everybody = self.everybody(&values, levels.clone());
            let own = own_share(&own.history, &values, levels);
            score *= everybody / if own > 0.0 { own } else { everybody / 4.0 };
        }
        let attacked = 1.0 / as_f64(self.users.entries.len() as u64);
        Some(score * (attacked / (as_f64(own.count) / as_f64(self.count))))
    }

    /// Takes the event into the history of its user and of all.
    pub fn learn(&mut self, user: &str, features: &Features<'_>) {
        let values = features.values();
        let user = Arc::make_mut(self.users.touch(hash(Some(user)), self.limits.users));
        user.count += 1;
        if user.history.len() >= self.limits.history.max(1) {
            user.history.pop_front();
        }
        user.history.push_back(values);
        self.count += 1;
        for (seen, value) in self.seen.iter_mut().zip(values) {
            *seen.touch(value, self.limits.values) += 1;
        }
    }

    /// p(x_k).
    fn everybody(&self, values: &Values, levels: std::ops::Range<usize>) -> f64 {
        let first = levels.start;
        let count = |level: usize| self.seen[level].get(values[level]).copied().unwrap_or(0);
        let events = as_f64(self.count);
        let below: usize = self.seen[first + 1..levels.end].iter().map(|seen| seen.entries.len()).sum();
        let missing = as_f64(below as u64 + 1);
        let finest = match count(first) {
            0 => 1.0 / (events + missing),
            seen => {
                // Among those alike there is one value on each level below, and one unseen.
                let alike = as_f64(seen) / (as_f64(seen) + as_f64(levels.len() as u64));
                alike * as_f64(seen) / (events + missing)
            }
        };
        let coarser = (first + 1..levels.end).map(|level| WEIGHTS[level] * as_f64(count(level)) / events);
        WEIGHTS[first] * finest + coarser.sum::<f64>()
    }
}

/// p(x_k | u, L).
fn own_share(history: &VecDeque<Values>, values: &Values, levels: std::ops::Range<usize>) -> f64 {
    let share = |level: usize| {
        let alike = history.iter().filter(|event| event[level] == values[level]).count();
        WEIGHTS[level] * as_f64(alike as u64) / as_f64(history.len() as u64)
    };
    levels.map(share).sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts of events stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[path = "freeman/tests.rs"]
mod tests;
