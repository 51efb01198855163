//! Metrics of where what detection remembers is: in memory, or on disk.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// See the module.
#[derive(Default)]
pub struct StateMetrics {
    /// Sessions and users that are on disk and not in memory.
    pub spilled: Gauge,
    /// Times that an event waited for what is known of its session or user.
    pub fetched: Counter,
    /// Events that were judged without, because it did not come in time or is lost.
    pub cold: Counter,
}

impl StateMetrics {
    /// Names them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("state_spilled", "Sessions and users on disk, not in memory", self.spilled.clone());
        registry.register("state_fetched", "Fetches of a session or user from disk", self.fetched.clone());
        registry.register("state_cold", "Events judged without what is on disk", self.cold.clone());
    }
}
