//! Judges the detection on traffic that knows nothing of how it works:
//! `cargo bench --bench detection -- generate|evaluate|cost|memory …`.
//!
//! `generate` makes labelled traffic from a seed: raw bodies, and apart from them who was a thief. `evaluate` gives the bodies
//! to the released command (`backtest`) and compares what it says with the labels. `cost` times the judging alone, `memory`
//! weighs what is remembered. Where the parameters come from, and the
//! figures, stand in `README.md` beside this file.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod actor;
mod agents;
mod body;
mod cost;
mod evaluate;
mod family;
#[path = "../../src/detect/freeman.rs"]
#[allow(dead_code, reason = "its tests run where it belongs")]
mod freeman;
mod generate;
#[path = "../../src/detect/key.rs"]
#[allow(dead_code, unused_imports, reason = "its tests run where it belongs")]
mod key;
mod mmdb;
mod networks;
mod person;
mod places;
mod policy;
#[path = "../resident.rs"]
mod resident;
mod rng;
mod session;
mod session_step;
mod theft;
mod traffic;
mod variant;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use variant::Variant;

const USAGE: &str = "\
cargo bench --bench detection -- generate [--seed 1] [--users 1500] [--days 45] [--variant NAME] --out DIR
cargo bench --bench detection -- evaluate [--tune 1..5|none] [--seeds 101..110] [--users 1500] [--days 45] [--format json]
    [--product PATH|none] [--config FILE] [--plain]   the binary, settings of its own, without network lists and databases
    [--records FILE]                                  judge this output, of the one seed in --seeds, instead of running it
    [--variant NAME]                                  of the seeds reported on: mobile, sparse, short, faulty, tabs or open
    [--keep DIR]                                      leave the traffic there
cargo bench --bench detection -- cost [--seed 1] [--users 1500] [--days 45]
cargo bench --bench detection -- memory [--sessions 1000000]";

/// The value after `--name`.
fn option(words: &[String], name: &str) -> Option<String> {
    let at = words.iter().position(|word| word.strip_prefix("--") == Some(name))?;
    words.get(at + 1).cloned()
}

fn number(words: &[String], name: &str, otherwise: i64) -> i64 {
    option(words, name).map_or(otherwise, |text| text.parse().unwrap())
}

fn main() -> ExitCode {
    // Cargo passes `--bench` too.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let done = match words.first().map(String::as_str) {
        Some("generate") => generate(&words),
        Some("cost") => {
            cost::run(&options(&words));
            Some(ExitCode::SUCCESS)
        }
        Some("memory") => {
            cost::memory(number(&words, "sessions", 1_000_000).unsigned_abs());
            Some(ExitCode::SUCCESS)
        }
        None | Some("evaluate") => evaluate::run(&words).map(|()| ExitCode::SUCCESS),
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

fn options(words: &[String]) -> generate::Options {
    generate::Options {
        seed: number(words, "seed", 1).unsigned_abs(),
        users: number(words, "users", 1_500).unsigned_abs(),
        days: number(words, "days", 45),
        variant: variant(words).unwrap_or_default(),
    }
}

/// `None`: there is no such variant.
fn variant(words: &[String]) -> Option<Variant> {
    Variant::named(&option(words, "variant").unwrap_or_else(|| "none".to_owned()))
}

fn generate(words: &[String]) -> Option<ExitCode> {
    let begun = Instant::now();
    variant(words)?;
    let options = options(words);
    let out = PathBuf::from(option(words, "out")?);
    let traffic = generate::traffic(&options);
    generate::write(&traffic, &out).unwrap();
    let thefts = traffic.thefts.iter().filter(|theft| theft.events > 0).count();
    eprintln!(
        "{} refreshes of {} users in {} sessions, {thefts} thefts, in {:.1} s",
        traffic.events.len(),
        traffic.people.len(),
        traffic.families.len(),
        begun.elapsed().as_secs_f64()
    );
    Some(ExitCode::SUCCESS)
}
