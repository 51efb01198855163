//! Why a source or sink cannot be built from its configuration. Knows no other part.

/// The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub String);
