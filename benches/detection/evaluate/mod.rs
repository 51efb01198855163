//! `evaluate`: the product's verdicts and those of published rules against the truth, on the same traffic.
//!
//! For each seed the traffic is made anew, its bodies are given to `refresh-audit backtest`, and what it prints is matched
//! with the labels by `event.id`. Thresholds are set on the seeds for tuning and applied to the others.

mod baselines;
mod measure;
mod product;
mod report;
mod similar;

use std::{fs, path::PathBuf, time::Instant};

use crate::{
    generate::{self, Options},
    number, option, variant,
    variant::Variant,
};
use measure::{Seed, Truth};

/// Rates of false positives per clean event at which detection is reported.
const BUDGETS: &[f64] = &[0.005, 0.002, 0.001];

/// `101..110`, both included; or `1,5,9`.
fn seeds(text: &str) -> Option<Vec<u64>> {
    if text == "none" {
        return Some(Vec::new());
    }
    match text.split_once("..") {
        Some((from, to)) => Some((from.parse().ok()?..=to.trim_start_matches('=').parse().ok()?).collect()),
        None => text.split(',').map(|one| one.parse().ok()).collect(),
    }
}

struct Run {
    users: u64,
    days: i64,
    /// Of the seeds reported on.
    variant: Variant,
    product: Option<product::Product>,
    /// Already made output, of the one seed reported on.
    records: Option<PathBuf>,
    dir: PathBuf,
    keep: bool,
}

/// `None`: usage.
pub fn run(words: &[String]) -> Option<()> {
    let tune = seeds(&option(words, "tune").unwrap_or_else(|| "1..5".to_owned()))?;
    let judge = seeds(&option(words, "seeds").unwrap_or_else(|| "101..110".to_owned()))?;
    let keep = option(words, "keep").map(PathBuf::from);
    let run = Run {
        users: number(words, "users", 1_500).unsigned_abs(),
        days: number(words, "days", 45),
        variant: variant(words)?,
        product: product::Product::new(words),
        records: option(words, "records").map(PathBuf::from),
        dir: keep.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("detection-{}", std::process::id()))),
        keep: keep.is_some(),
    };
    let measured: Vec<Seed> = tune.iter().map(|seed| run.seed(*seed, false)).collect();
    let judged: Vec<Seed> = judge.iter().map(|seed| run.seed(*seed, true)).collect();
    if !run.keep {
        let _ = fs::remove_dir_all(&run.dir);
    }
    report::print(&measured, &judged, option(words, "format").as_deref() == Some("json"));
    Some(())
}

impl Run {
    fn seed(&self, seed: u64, judged: bool) -> Seed {
        let begun = Instant::now();
        let traffic = generate::traffic(&Options {
            seed,
            users: self.users,
            days: self.days,
            variant: if judged { self.variant } else { Variant::None },
        });
        let truth = Truth::new(&traffic);
        let mut result = Seed::new(seed, &truth);
        let read = match (&self.records, &self.product) {
            (Some(records), _) if judged => Some(product::read(records, &truth)),
            (None, Some(product)) => {
                let dir = self.dir.join(format!("seed-{seed}"));
                generate::write(&traffic, &dir).unwrap();
                let verdicts = product.backtest(&dir, &truth);
                if !self.keep {
                    fs::remove_dir_all(&dir).unwrap();
                }
                Some(verdicts)
            }
            _ => None,
        };
        if let Some(verdicts) = read {
            result.verdicts(verdicts, &truth);
        }
        for (name, scores) in baselines::all(&truth) {
            result.method(name, &scores, &truth);
        }
        eprintln!("seed {seed}: {} events, {:.0} s", truth.traffic.events.len(), begun.elapsed().as_secs_f64());
        result
    }
}
