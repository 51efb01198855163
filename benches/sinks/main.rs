//! Speed of the sinks: `cargo bench --bench sinks -- [NAME…]`, each against the bare client that sends the same bytes to the
//! same receiver, in turns, in one run.
//!
//! A sink's part is all that `Sink::deliver` does: making messages of records, sending, waiting for whatever says that they
//! arrived. The bare client has the bytes ready and only sends. Figures are kept in `benches/README.md`. Not a test.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops by panicking")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod messages;
mod splunk_hec;
mod syslog;
mod turns;

/// A new sink is a line here.
const SINKS: &[(&str, fn())] = &[("syslog", syslog::run), ("splunk_hec", splunk_hec::run)];

fn main() {
    // Cargo passes `--bench` too.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    for word in &words {
        assert!(
            SINKS.iter().any(|(name, _)| name == word),
            "no sink {word}: {:?}",
            SINKS.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
    }
    turns::head();
    for (name, run) in SINKS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            run();
        }
    }
}
