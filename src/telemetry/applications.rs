//! Metrics by application: how many of its refreshes name the token before. Set when scraped; who is no longer among those
//! that are told has no series any more.

use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// Labels of metrics by application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApplicationLabels {
    /// Its tenant; empty where events name none.
    pub tenant: String,
    /// Its id; empty where events name none.
    pub application: String,
}

/// See the module.
#[derive(Default)]
pub struct ApplicationMetrics {
    refreshes: Family<ApplicationLabels, Gauge>,
    originals: Family<ApplicationLabels, Gauge>,
    coverage: Family<ApplicationLabels, Gauge<f64, AtomicU64>>,
    told: Mutex<Vec<ApplicationLabels>>,
}

impl ApplicationMetrics {
    /// Their names and what they say.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("application_refreshes", "Refreshes of an application", self.refreshes.clone());
        registry.register(
            "application_originals",
            "Refreshes of an application that named the previous access token",
            self.originals.clone(),
        );
        registry.register("original_coverage", "The share of them, 0 to 1", self.coverage.clone());
    }

    /// Tells of these, each with its refreshes and how many of them named the previous token, and of no others.
    pub fn set(&self, applications: impl IntoIterator<Item = (ApplicationLabels, u64, u64)>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *told);
        for (labels, refreshes, originals) in applications {
            let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            self.refreshes.get_or_create(&labels).set(count(refreshes));
            self.originals.get_or_create(&labels).set(count(originals));
            self.coverage.get_or_create(&labels).set(originals as f64 / refreshes.max(1) as f64);
            told.push(labels);
        }
        for gone in before.iter().filter(|labels| !told.contains(labels)) {
            self.refreshes.remove(gone);
            self.originals.remove(gone);
            self.coverage.remove(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn who_is_not_told_any_more_has_no_series() {
        let mut registry = Registry::default();
        let metrics = ApplicationMetrics::default();
        metrics.register(&mut registry);
        let labels = |id: &str| ApplicationLabels { tenant: "t".to_owned(), application: id.to_owned() };
        metrics.set([(labels("a"), 10, 7), (labels("b"), 4, 0)]);
        metrics.set([(labels("a"), 20, 15)]);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let of = "{tenant=\"t\",application=\"a\"}";
        let expected =
            [("application_refreshes", "20"), ("application_originals", "15"), ("original_coverage", "0.75")]
                .map(|(name, value)| format!("{name}{of} {value}"));
        assert_eq!(series, expected);
    }
}
