//! Tests from outside, one binary.

mod decode;
mod jwks;
mod signatures;
