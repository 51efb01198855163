//! Speed and memory of the whole service, as released: `cargo bench --bench receiver -- throughput|slow-disk|million|detection|cold`.
//!
//! Drives the real binary and, in turns, an empty actix handler that reads the same body, with the same generator over
//! the same kind of connections. Figures and their commands are kept in `benches/README.md`. Not a test: it judges nothing.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on stops by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, reason = "the proofs from outside use the rest")]
mod support;

mod detection;
mod empty;
mod generate;
mod million;
#[path = "../resident.rs"]
mod resident;
mod slow_disk;
mod stats;
mod throughput;

fn main() {
    // Cargo passes `--bench` too.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [empty::ARGUMENT, address] => empty::serve(address),
        ["throughput"] => throughput::run(throughput::CONNECTIONS, throughput::TURNS),
        ["throughput", connections, turns] => throughput::run(&[number(connections)], number(turns)),
        ["slow-disk"] => slow_disk::run(),
        ["million"] => million::run(),
        ["detection"] => detection::run(),
        ["cold"] => detection::cold(),
        [] => {
            throughput::run(throughput::CONNECTIONS, throughput::TURNS);
            slow_disk::run();
            million::run();
            detection::run();
            detection::cold();
        }
        _ => eprintln!(
            "cargo bench --bench receiver -- [throughput [CONNECTIONS TURNS]|slow-disk|million|detection|cold]"
        ),
    }
}

fn number(word: &str) -> usize {
    word.parse().unwrap()
}
