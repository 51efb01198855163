//! Tests from outside, one binary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends so")]

mod decode;
mod jwks;
mod signatures;
