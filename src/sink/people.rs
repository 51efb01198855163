//! What the sinks for people share: a record in words, how often people are told, and telling one message at a time. Not
//! a sink; knows none.
//!
//! Such a sink tells an incident that opened or got worse and an alarm that was raised, and when either is over; never
//! that one goes on. What a sender wrote stands in a message as text only: no control characters, no marks that turn the
//! direction of writing, no markup of the service that shows it.

pub mod cap;
pub mod desk;
pub mod notice;
pub mod text;
pub mod webhook;

use std::num::NonZeroU32;

use crate::record::Kind;

/// The kinds of records that these sinks are for.
pub const KINDS: &[Kind] = &[Kind::Incident, Kind::Alarm];

/// `messages_per_hour` where the configuration says nothing: more is not read any more.
pub const fn messages_per_hour() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(19)
}
