//! Every integration test, in one binary: one `mod` line a file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should say so")]

mod delivery;
mod fake_http;
mod http_sink;
mod journal;
mod redrive;
mod scripted;
mod sinks;
