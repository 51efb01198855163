//! Percentiles, medians, and what `/metrics` says of syncs.

use std::time::Duration;

use crate::support::app::TestApp;

/// The value that this share of all lies at or below. Sorts.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a list that fits in memory"
    )]
    let at = (values.len() as f64 * share).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Microseconds, for printing.
pub fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

/// Number of journal syncs so far, and their mean.
pub fn syncs(app: &TestApp) -> (f64, Duration) {
    let count = app.metric("refresh_audit_sync_seconds_count", &[]).unwrap();
    let sum = app.metric("refresh_audit_sync_seconds_sum", &[]).unwrap();
    (count, Duration::from_secs_f64(sum / count.max(1.0)))
}
