//! `[privacy]`
