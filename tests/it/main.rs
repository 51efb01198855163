//! Tests from outside, in one binary: one `mod` line per file.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops by panicking")]

mod cli;
mod config;
