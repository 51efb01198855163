//! Speed of the sinks: `cargo bench --bench sinks -- [NAME…]`, each against the bare client that sends the same bytes to the
//! same receiver, in turns, in one run; what comes before a sink; and a dead sink beside seven that live.
//!
//! A sink's part is all that `Sink::deliver` does: putting requests together, sending, waiting for whatever says that they
//! arrived; what it makes of single records before (its `Pack`) is done on another thread, and measured by `messages`. The
//! bare client has the bytes ready and only sends. Figures are kept in `benches/README.md`. Not a test.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on stops by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

#[path = "../receiver/generate.rs"]
#[allow(dead_code, reason = "the receiver's benchmark uses the rest")]
mod generate;
#[path = "../../tests/it/servers/mod.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod servers;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, reason = "the proofs from outside use the rest")]
mod support;

mod dead_sink;
mod file;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod messages;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "otlp")]
mod otlp;
mod requests;
#[path = "../resident.rs"]
mod resident;
mod stdout;
mod syslog;
mod turns;

/// A new sink is a line here.
const PARTS: &[(&str, fn())] = &[
    ("messages", messages::run),
    ("syslog", syslog::run),
    ("splunk_hec", http::splunk_hec),
    ("elasticsearch", http::elasticsearch),
    ("http", http::http),
    ("presets", http::presets),
    ("azure_logs", http::azure_logs),
    #[cfg(feature = "otlp")]
    ("otlp", otlp::run),
    #[cfg(feature = "kafka")]
    ("kafka", kafka::run),
    #[cfg(feature = "nats")]
    ("nats", nats::run),
    ("file", file::run),
    ("stdout", stdout::run),
    ("dead-sink", dead_sink::run),
];

fn main() {
    // Cargo passes `--bench` too.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    for word in &words {
        assert!(
            PARTS.iter().any(|(name, _)| name == word),
            "nothing is called {word}: {:?}",
            PARTS.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
    }
    turns::head();
    for (name, run) in PARTS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            run();
        }
    }
}
