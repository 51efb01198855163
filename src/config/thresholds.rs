//! The bounds of `[detect]`: a rule that can never speak, or always does, is a slip and not a setting. What each threshold
//! may be stands beside it in the catalogue; here are the members that are no rule's, and what members owe to each other.

use super::{document::Document, error::ConfigError};
use crate::detect::catalogue::{Allowed, Config};

/// Checks every number and span of `[detect]`.
pub(super) fn check(detect: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let refuse = |path: &str, bounds: String, hint: &str| {
        Err(document.error(&format!("detect.{path}"), format!("detect.{path} is not {bounds}")).hint(hint))
    };
    if let Some((bounds, hint)) = outside(detect.incidents.risk, Allowed::Share) {
        return refuse("incidents.risk", bounds, hint);
    }
    for (path, count) in [("sessions_max", detect.sessions_max), ("users_max", detect.users_max)] {
        if count == 0 {
            return refuse(path, "1 or more".to_owned(), "write how many are to be remembered");
        }
    }
    for one in detect.thresholds() {
        if let Some((bounds, hint)) = outside(one.value, one.allowed) {
            return refuse(&format!("{}.{}", one.rule, one.member), bounds, hint);
        }
    }
    let spans = [
        ("session_kept", detect.session_kept),
        ("user_kept", detect.user_kept),
        ("incidents.idle", detect.incidents.idle),
    ];
    if let Some((path, _)) = spans.iter().find(|(_, span)| span.get().is_zero()) {
        return refuse(path, "more than zero".to_owned(), "write e.g. \"1d\"");
    }
    if detect.ra304.high < detect.ra304.refreshes {
        return refuse("RA304.high", "at least RA304.refreshes".to_owned(), "a worse storm has more refreshes");
    }
    let risk = &detect.ra601;
    if !(risk.medium <= risk.high && risk.high <= risk.critical) {
        let hint = "write medium <= high <= critical";
        return refuse("RA601", "in the order of its severities".to_owned(), hint);
    }
    Ok(())
}

const OFF: &str = "to switch a rule off, write enabled = false";

/// What the value would have to be, and what to do, where it is not.
fn outside(value: f64, allowed: Allowed) -> Option<(String, &'static str)> {
    match allowed {
        Allowed::Share if !(0.0..=1.0).contains(&value) => {
            Some(("between 0 and 1".to_owned(), "it is a share: write e.g. 0.05 for one in twenty"))
        }
        Allowed::Amount if !(0.0..=f64::MAX).contains(&value) => Some(("a number from 0 on".to_owned(), OFF)),
        Allowed::Count | Allowed::CountTo(_) if value < 1.0 => Some(("1 or more".to_owned(), OFF)),
        Allowed::CountTo(most) if value > most as f64 => {
            Some((format!("between 1 and {most}"), "more are not told apart"))
        }
        _ => None,
    }
}
