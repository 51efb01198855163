//! The bounds of `[detect]`: a rule that can never speak, or always does, is a slip and not a setting.

use super::{document::Document, error::ConfigError};
use crate::detect::{catalogue::Config, state::burst::REFUSALS_MAX};

/// Checks every number and span of `[detect]`.
pub(super) fn check(detect: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let refuse = |path: &str, bounds: String, hint: &str| {
        Err(document.error(&format!("detect.{path}"), format!("detect.{path} is not {bounds}")).hint(hint))
    };
    for (path, share) in shares(detect) {
        if !(0.0..=1.0).contains(&share) {
            return refuse(path, "between 0 and 1".to_owned(), "it is a share: write e.g. 0.05 for one in twenty");
        }
    }
    for (path, amount) in amounts(detect) {
        if !(0.0..=f64::MAX).contains(&amount) {
            return refuse(path, "a number from 0 on".to_owned(), OFF);
        }
    }
    for (path, count) in counts(detect) {
        if count == 0 {
            let hint = if path.starts_with("RA") { OFF } else { "write how many are to be remembered" };
            return refuse(path, "1 or more".to_owned(), hint);
        }
    }
    for (path, is_zero) in spans(detect) {
        if is_zero {
            return refuse(path, "more than zero".to_owned(), "write e.g. \"1d\"");
        }
    }
    if detect.ra107.attempts as usize > REFUSALS_MAX {
        return refuse("RA107.attempts", format!("between 1 and {REFUSALS_MAX}"), "more are not told apart");
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

fn shares(detect: &Config) -> [(&'static str, f64); 10] {
    [
        ("incidents.risk", detect.incidents.risk),
        ("RA301.early_rate", detect.ra301.early_rate),
        ("RA305.share", detect.ra305.share),
        ("RA404.habit", detect.ra404.habit),
        ("RA503.share", detect.ra503.share),
        ("RA504.share", detect.ra504.share),
        ("RA505.share", detect.ra505.share),
        ("RA601.medium", detect.ra601.medium),
        ("RA601.high", detect.ra601.high),
        ("RA601.critical", detect.ra601.critical),
    ]
}

fn amounts(detect: &Config) -> [(&'static str, f64); 5] {
    [
        ("RA401.speed_kmh", detect.ra401.speed_kmh),
        ("RA401.distance_km", detect.ra401.distance_km),
        ("RA401.accuracy_km", detect.ra401.accuracy_km),
        ("RA405.factor", detect.ra405.factor),
        ("RA602.factor", detect.ra602.factor),
    ]
}

fn counts(detect: &Config) -> [(&'static str, usize); 8] {
    [
        ("sessions_max", detect.sessions_max),
        ("users_max", detect.users_max),
        ("RA107.attempts", detect.ra107.attempts as usize),
        ("RA302.alternations", detect.ra302.alternations as usize),
        ("RA304.refreshes", detect.ra304.refreshes as usize),
        ("RA405.users", detect.ra405.users as usize),
        ("RA505.users", detect.ra505.users as usize),
        ("RA602.findings", detect.ra602.findings as usize),
    ]
}

fn spans(detect: &Config) -> [(&'static str, bool); 3] {
    [
        ("session_kept", detect.session_kept.get().is_zero()),
        ("user_kept", detect.user_kept.get().is_zero()),
        ("incidents.idle", detect.incidents.idle.get().is_zero()),
    ]
}
