//! `/api/applications`, and the same in `/metrics`: what was learned of each application, above all how many of its
//! refreshes name the token before.

use actix_web::{HttpResponse, web};
use serde_json::json;
use tokio::time::timeout;

use super::{
    admin::{ANSWER_WAIT_MAX, Shared, starting},
    reading,
};
use crate::telemetry::ApplicationLabels;

/// Applications with metrics of their own; the rest is `other`.
const SERIES_MAX: usize = 100;

/// The paths.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(reading("/api/applications", applications));
}

async fn applications(shared: web::Data<Shared>) -> HttpResponse {
    let Some(ledger) = shared.ledger.get() else { return starting() };
    match timeout(ANSWER_WAIT_MAX, ledger.applications(usize::MAX)).await {
        Ok(Some(applications)) => HttpResponse::Ok().json(json!({ "applications": applications })),
        _ => starting(),
    }
}

/// Sets the metrics by application, where the ledger answers.
pub async fn measure(shared: &Shared) {
    let Some(ledger) = shared.ledger.get() else { return };
    let Ok(Some(applications)) = timeout(ANSWER_WAIT_MAX, ledger.applications(SERIES_MAX)).await else { return };
    let told = applications.into_iter().map(|one| {
        let labels = ApplicationLabels {
            tenant: one.tenant_id.unwrap_or_default(),
            application: one.application_id.unwrap_or_default(),
        };
        (labels, one.refreshes, one.originals)
    });
    shared.metrics.applications.set(told);
}
