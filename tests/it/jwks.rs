//! Published keys: when they are fetched, and what holds while they cannot be.
