//! The proofs: the real binary, driven over its sockets and read through its files; and the parts, where they are what
//! is on trial.
//!
//! One test binary, one `mod` line per file. What drives the binary uses none of the crate's own code: signing, HTTP, the
//! reading of the journal and the chain's check are written a second time in [`support`], from the published format.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops by panicking"
)]
#![expect(clippy::print_stderr, reason = "seeds and figures are for whoever reads a failed run")]

mod answers;
mod checkpoints;
mod cli;
mod cloud;
mod commands;
mod config;
mod crash;
mod cut;
mod decode;
mod delivery;
mod deploy;
mod detect;
mod detect_commands;
mod edges;
mod elasticsearch;
mod enrich;
mod enrich_files;
#[cfg(feature = "otlp")]
mod fake_grpc;
mod fake_hec;
mod fake_http;
#[cfg(feature = "smtp")]
mod fake_smtp;
mod fake_syslog;
mod faults;
mod formats;
mod full;
mod gate;
mod hec_sink;
mod held_connections;
mod http_sink;
mod index;
mod isolation;
mod journal;
mod journal_props;
mod jwks;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "smtp")]
mod mail;
mod missing;
#[cfg(feature = "nats")]
mod nats;
mod operator;
mod order;
#[cfg(feature = "otlp")]
mod otlp;
mod people;
mod proof;
#[cfg(all(feature = "kafka", feature = "nats", feature = "otlp", feature = "smtp"))]
mod readme;
mod record_schema;
mod redrive;
mod restore;
mod rotation;
mod rules;
mod scripted;
mod secrets;
mod server_frame;
mod servers;
mod signatures;
mod sinks;
mod spill;
mod standing;
mod start;
mod storm;
mod strangers;
mod support;
mod syslog_servers;
mod syslog_sink;
mod triage;
mod unordered;
mod wrong_sides;
