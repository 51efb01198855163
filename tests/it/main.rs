//! The proofs from outside: the real binary, driven over its sockets and read through its files.
//!
//! One test binary, one `mod` line per file. Nothing here uses the crate's own code (but [`config`] and
//! [`journal_props`], where it is what is on trial): signing, HTTP, the reading of the journal and the chain's check are
//! written a second time in [`support`], from the published format.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops by panicking")]
#![expect(clippy::print_stderr, reason = "seeds and figures are for whoever reads a failed run")]

mod cli;
mod config;
mod crash;
mod faults;
mod index;
mod journal_props;
mod order;
mod secrets;
mod storm;
mod support;
