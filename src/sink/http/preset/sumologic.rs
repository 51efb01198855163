//! Sumo Logic's HTTP source
//! (<https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/>): one record a line,
//! metadata in headers.

use reqwest::header::HeaderMap;

use super::{Labels, NAME, check_labels, header};
use crate::sink::BuildError;

/// Records and bytes of a request; documented is to stay between 100 kB and 1 MB before compression.
pub(super) const LIMITS: (usize, usize) = (usize::MAX, 1_000_000);

pub(super) fn headers(labels: &Labels) -> Result<HeaderMap, BuildError> {
    let good =
        |name: &str, value: &str| !name.is_empty() && !name.contains('=') && !format!("{name}{value}").contains(',');
    check_labels(labels, good, "fields hold no comma, and their names no =")?;
    let mut headers: HeaderMap = [header("x-sumo-name", NAME)?, header("x-sumo-category", NAME)?].into_iter().collect();
    if !labels.is_empty() {
        let fields = labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        headers.extend([header("x-sumo-fields", &fields)?]);
    }
    Ok(headers)
}
