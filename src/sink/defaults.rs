//! What members of entries are that several sinks have, where the configuration says nothing. Not a sink; knows none.

use crate::units::Span;

/// `timeout` of what speaks HTTP and its like.
pub const fn timeout() -> Span {
    Span::from_secs(30)
}

/// A switch that is on.
pub const fn yes() -> bool {
    true
}
