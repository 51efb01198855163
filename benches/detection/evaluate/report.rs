//! The figures: a table to read, or JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    BUDGETS,
    measure::{BINARY, Seed, Trace},
};
use crate::{
    rng::Rng,
    theft::{SCENARIOS, Scenario},
};

/// Draws of seeds, for intervals.
const DRAWS: usize = 2_000;

/// A share with its 95 % interval over seeds.
struct Share {
    of: usize,
    value: f64,
    low: f64,
    high: f64,
}

/// Of each seed, how many of how many; seeds are drawn with replacement.
fn share(seeds: &[(usize, usize)]) -> Share {
    let ratio = |hits: usize, of: usize| if of == 0 { f64::NAN } else { hits as f64 / of as f64 };
    let sum = |of: &mut dyn Iterator<Item = (usize, usize)>| of.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let (hits, of) = sum(&mut seeds.iter().copied());
    let mut rng = Rng::new(1, 80);
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (hits, of) = sum(&mut (0..seeds.len()).map(|_| seeds[rng.below(seeds.len())]));
            ratio(hits, of)
        })
        .collect();
    draws.sort_unstable_by(f64::total_cmp);
    let at = |quantile: f64| draws.get((quantile * DRAWS as f64) as usize).copied().unwrap_or(f64::NAN);
    Share { of, value: ratio(hits, of), low: at(0.025), high: at(0.975) }
}

/// The score that no more than `budget` of the clean events of these seeds exceed.
fn cut(seeds: &[Seed], method: &str, budget: f64) -> f64 {
    if BINARY.contains(&method) {
        return 0.5;
    }
    let of = |seed: &Seed| seed.methods.iter().find(|one| one.name == method).map(|one| one.clean.clone());
    let mut clean: Vec<f64> = seeds.iter().filter_map(of).flatten().map(|(score, _)| score).collect();
    clean.sort_unstable_by(|a, b| b.total_cmp(a));
    let events: usize = seeds.iter().map(|seed| seed.clean_events).sum();
    clean.get((budget * events as f64) as usize).or(clean.last()).copied().unwrap_or(f64::MAX)
}

/// The share of clean events whose score is the cut itself: they count as not flagged.
fn ties(seeds: &[Seed], method: &str, cut: f64) -> f64 {
    let methods = seeds.iter().flat_map(|seed| seed.methods.iter().filter(|one| one.name == method));
    let on = methods.flat_map(|one| &one.clean).filter(|(score, _)| score.total_cmp(&cut).is_eq()).count();
    let events: usize = seeds.iter().map(|seed| seed.clean_events).sum();
    on as f64 / events.max(1) as f64
}

/// One method at one cut on the seeds reported on.
struct Figures<'a> {
    method: &'a str,
    seeds: &'a [Seed],
    cut: f64,
}

impl Figures<'_> {
    fn thefts(&self, wanted: impl Fn(&Trace) -> bool) -> Share {
        let count = |seed: &Seed| {
            let method = seed.methods.iter().find(|one| one.name == self.method);
            let of: Vec<&Trace> =
                method.iter().flat_map(|method| &method.thefts).filter(|theft| wanted(theft)).collect();
            (of.iter().filter(|theft| theft.passes(self.cut).is_some()).count(), of.len())
        };
        share(&self.seeds.iter().map(count).collect::<Vec<_>>())
    }

    fn clean(&self) -> Share {
        let count = |seed: &Seed| {
            let method = seed.methods.iter().find(|one| one.name == self.method);
            (method.map_or(0, |method| method.clean.partition_point(|(score, _)| *score > self.cut)), seed.clean_events)
        };
        share(&self.seeds.iter().map(count).collect::<Vec<_>>())
    }

    fn placebo(&self) -> Share {
        let count = |seed: &Seed| {
            let method = seed.methods.iter().find(|one| one.name == self.method);
            method.map_or((0, 0), |method| {
                (method.placebos.iter().filter(|score| **score > self.cut).count(), method.placebos.len())
            })
        };
        share(&self.seeds.iter().map(count).collect::<Vec<_>>())
    }

    /// The share of clean events above the cut, by application.
    fn apps(&self) -> Vec<(&'static str, f64)> {
        let mut apps: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for seed in self.seeds {
            for (name, events) in &seed.apps {
                apps.entry(name).or_default().1 += events;
            }
            for method in seed.methods.iter().filter(|one| one.name == self.method) {
                for (_, app) in method.clean.iter().take_while(|(score, _)| *score > self.cut) {
                    apps.entry(seed.apps[*app].0).or_default().0 += 1;
                }
            }
        }
        apps.into_iter().map(|(name, (flagged, of))| (name, flagged as f64 / of.max(1) as f64)).collect()
    }

    /// Median and 95th percentile of the time to detect, in token lifetimes; and of all thefts the share found within one.
    fn delays(&self) -> (f64, f64, f64) {
        let methods = self.seeds.iter().flat_map(|seed| seed.methods.iter().filter(|one| one.name == self.method));
        let thefts: Vec<&Trace> = methods.flat_map(|method| &method.thefts).collect();
        let mut times: Vec<f64> = thefts.iter().filter_map(|theft| theft.passes(self.cut)).collect();
        times.sort_unstable_by(f64::total_cmp);
        let at = |quantile: f64| times.get((quantile * times.len() as f64) as usize).copied().unwrap_or(f64::NAN);
        let soon = times.partition_point(|time| *time <= 1.0) as f64 / thefts.len().max(1) as f64;
        (at(0.5), at(0.95), soon)
    }

    fn json(&self) -> Value {
        let as_json =
            |share: Share| json!({"value": share.value, "low": share.low, "high": share.high, "of": share.of});
        let (median, late, soon) = self.delays();
        let mut scenarios = BTreeMap::new();
        for scenario in SCENARIOS {
            scenarios.insert(scenario.name(), as_json(self.thefts(|theft| theft.scenario == *scenario)));
        }
        json!({
            "method": self.method, "cut": self.cut, "false_positives": as_json(self.clean()),
            "placebo": as_json(self.placebo()), "all": as_json(self.thefts(|_| true)), "scenarios": scenarios,
            "always": {
                "all": as_json(self.thefts(|theft| theft.always)),
                "S4": as_json(self.thefts(|theft| theft.always && theft.scenario == Scenario::SameNetwork)),
            },
            "false_positives_by_application": self.apps().into_iter().collect::<BTreeMap<_, _>>(),
            "lifetimes_to_detect": {"median": median, "p95": late, "within_one": soon},
        })
    }

    fn line(&self) -> String {
        let percent = |share: &Share| format!("{:5.1}", 100.0 * share.value);
        let all = self.thefts(|_| true);
        let mut line = format!(
            "{:<34}{:8.3} {} [{:5.1} {:5.1}]",
            self.method,
            100.0 * self.clean().value,
            percent(&all),
            100.0 * all.low,
            100.0 * all.high
        );
        for scenario in SCENARIOS {
            line += &format!(" {}", percent(&self.thefts(|theft| theft.scenario == *scenario)));
        }
        let four = self.thefts(|theft| theft.always && theft.scenario == Scenario::SameNetwork);
        let (median, late, soon) = self.delays();
        let placebo = self.placebo();
        line + &format!(
            " | {} {} | {} | {median:6.2} {late:7.2} {:5.1}",
            percent(&self.thefts(|theft| theft.always)),
            percent(&four),
            percent(&placebo),
            100.0 * soon
        )
    }
}

fn names(seeds: &[Seed]) -> Vec<&'static str> {
    seeds.first().map_or_else(Vec::new, |seed| seed.methods.iter().map(|method| method.name).collect())
}

/// What only the product says: on the seeds reported on.
fn extra(seeds: &[Seed]) -> Option<Value> {
    let extras: Vec<_> = seeds.iter().filter_map(|seed| Some((seed, seed.extra.as_ref()?))).collect();
    let sum = |of: &dyn Fn(&super::measure::Extra) -> usize| extras.iter().map(|(_, extra)| of(extra)).sum::<usize>();
    let clean: usize = extras.iter().map(|(seed, _)| seed.clean_events).sum();
    let user_days: f64 = extras.iter().map(|(seed, _)| seed.clean_users as f64 * seed.days).sum();
    let days: f64 = extras.iter().map(|(seed, _)| seed.days).sum();
    let mut rules: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, rule) in extras.iter().flat_map(|(_, extra)| &extra.rules) {
        let entry = rules.entry(name).or_default();
        *entry = (entry.0 + rule.clean, entry.1 + rule.thefts.len());
    }
    let thefts: usize =
        extras.iter().map(|(seed, _)| seed.methods.first().map_or(0, |method| method.thefts.len())).sum();
    let bins: Vec<(usize, f64, usize)> = (0..extras.first()?.1.bins.len())
        .map(|bin| {
            let add = |sum: (usize, f64, usize), (_, extra): &(&Seed, &super::measure::Extra)| {
                let one = extra.bins[bin];
                (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)
            };
            extras.iter().fold((0, 0.0, 0), add)
        })
        .collect();
    let events: usize = bins.iter().map(|bin| bin.0).sum();
    let error: f64 = bins.iter().map(|(_, risk, held)| (risk - *held as f64).abs()).sum::<f64>() / events.max(1) as f64;
    let clean_denials = sum(&|extra| extra.denials_of_clean);
    Some(json!({
        "missing_records": sum(&|extra| extra.missing),
        "incidents_per_1000_clean_users_per_day": 1_000.0 * sum(&|extra| extra.incidents_of_clean_users) as f64 / user_days,
        "severe_incidents_per_1000_clean_users_per_day": 1_000.0 * sum(&|extra| extra.severe_incidents) as f64 / user_days,
        "incidents_without_user_per_day": sum(&|extra| extra.incidents_of_networks) as f64 / days,
        "false_denials": clean_denials,
        "false_denials_per_million_clean_refreshes": 1e6 * clean_denials as f64 / clean as f64,
        "denials_of_thieves": sum(&|extra| extra.denials_of_thieves),
        "expected_calibration_error": error,
        "calibration_bins": bins,
        "rules": rules.iter().map(|(name, (fired, hit))| json!({
            "rule": name, "clean_per_million": 1e6 * *fired as f64 / clean as f64, "thefts": *hit as f64 / thefts.max(1) as f64,
        })).collect::<Vec<_>>(),
    }))
}

pub fn print(measured: &[Seed], judged: &[Seed], as_json: bool) {
    let tuned = if measured.is_empty() { judged } else { measured };
    let numbers = |seeds: &[Seed]| seeds.iter().map(|seed| seed.seed).collect::<BTreeSet<_>>();
    let extra = extra(judged);
    let figures = |budget: f64| {
        let figure = move |method| Figures { method, seeds: judged, cut: cut(tuned, method, budget) };
        names(judged).into_iter().map(figure).collect::<Vec<_>>()
    };
    if as_json {
        let budgets: Vec<Value> = BUDGETS
            .iter()
            .map(|budget| json!({"budget": budget, "methods": figures(*budget).iter().map(Figures::json).collect::<Vec<_>>()}))
            .collect();
        let all = json!({"tuned_on": numbers(tuned), "seeds": numbers(judged), "budgets": budgets, "product": extra});
        println!("{all:#}");
        return;
    }
    println!("Thresholds from seeds {:?}, figures on seeds {:?}; percentages.", numbers(tuned), numbers(judged));
    for budget in BUDGETS {
        println!("\nAt {} % of clean events flagged (rules without a threshold: as they are)", 100.0 * budget);
        let scenarios: String = SCENARIOS.iter().map(|scenario| format!(" {:>5}", scenario.name())).collect();
        println!(
            "{:<34}{:>8} {:>5} {:<13}{scenarios} | {:>5} {:>5} | {:>5} | {:>6} {:>7} {:>5}",
            "", "FPR", "all", "95 % interval", "orig.", "S4", "plac.", "median", "p95", "<=1"
        );
        let figures = figures(*budget);
        for figure in &figures {
            println!("{}", figure.line());
        }
        if let Some(first) = figures.first() {
            let apps = first.apps().into_iter().map(|(name, share)| format!("{name} {:.2}", 100.0 * share));
            println!("{} by application: {}", first.method, apps.collect::<Vec<_>>().join(", "));
            let ties = ties(tuned, first.method, first.cut);
            if ties > budget / 10.0 {
                println!("{:.3} % of clean events share the score of the cut and count as not flagged", 100.0 * ties);
            }
        }
    }
    println!(
        "\norig., S4: of applications whose clients always send `original`. plac.: windows as long as thefts in clean sessions.\n\
         median, p95: lifetimes of the access token until detected, of those detected; <=1: of all thefts, those found within one."
    );
    if let Some(extra) = extra {
        println!("\n{extra:#}");
    }
}
