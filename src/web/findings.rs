//! `/api/findings`, `/api/incidents` and `/api/gate`: what was found, what belongs together of it, and the gate's switch.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    admin::{SCANNED_MAX, Shared, starting},
    reading,
};
use crate::{
    ledger::{Admission, read::Item},
    record::{Incident, IncidentChange, OperatorAction, Record, Seq, Severity},
};

/// Findings or incidents in one answer at most.
const ANSWERS_MAX: usize = 1_000;

/// The paths.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(reading("/api/findings", findings))
        .service(reading("/api/incidents", incidents))
        .service(web::resource("/api/gate").post(gate));
}

/// What may be asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Query {
    from: Option<Seq>,
    limit: Option<usize>,
    rule: Option<String>,
    at_least: Option<Severity>,
    user: Option<String>,
    open: Option<bool>,
}

impl Query {
    fn is_of(&self, user: Option<&str>) -> bool {
        self.user.as_ref().is_none_or(|wanted| user.is_some_and(|user| user.eq_ignore_ascii_case(wanted)))
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, ANSWERS_MAX)
    }
}

/// Shows `take` the records from `from` on until it wants no more; the next one, and the last there is.
async fn scan<T: Send + 'static>(
    shared: &Shared,
    from: Option<Seq>,
    mut state: T,
    take: impl Fn(&mut T, Record) -> bool + Send + 'static,
) -> Result<(T, Seq, Seq), HttpResponse> {
    let Some(ledger) = shared.ledger.get() else { return Err(starting()) };
    let synced = *ledger.synced().borrow();
    let mut reader = ledger.reader(from.unwrap_or(1));
    let read = web::block(move || {
        for _ in 0..SCANNED_MAX {
            // One at a time, so that `next` is exact.
            let items = reader.read(synced, 1, usize::MAX)?;
            if items.is_empty() {
                break;
            }
            for item in items {
                let Item::Line { text, .. } = item else { continue };
                if let Ok(record) = serde_json::from_slice::<Record>(&text)
                    && !take(&mut state, record)
                {
                    return Ok((state, reader.next()));
                }
            }
        }
        Ok::<_, std::io::Error>((state, reader.next()))
    });
    match read.await {
        Ok(Ok((state, next))) => Ok((state, next, synced)),
        Ok(Err(error)) => Err(HttpResponse::InternalServerError().json(json!({ "error": error.to_string() }))),
        Err(_) => Err(starting()),
    }
}

async fn findings(shared: web::Data<Shared>, query: web::Query<Query>) -> HttpResponse {
    let query = query.into_inner();
    let from = query.from;
    let found = scan(&shared, from, Vec::new(), move |found: &mut Vec<Value>, record| {
        let event = record.event.as_ref();
        let user = event.and_then(|event| event.user_id.as_ref()).map(|id| id.as_str());
        if !query.is_of(user) {
            return true;
        }
        let wanted = |finding: &&crate::record::Finding| {
            query.rule.as_ref().is_none_or(|rule| *rule == finding.rule)
                && query.at_least.is_none_or(|at_least| finding.severity >= at_least)
        };
        for finding in record.findings.iter().filter(wanted) {
            found.push(json!({
                "seq": record.seq,
                "received_at": record.received_at,
                "event_id": event.map(|event| &event.id),
                "user_id": user,
                "session_id": event.and_then(|event| event.session_id.as_ref()),
                "application_id": event.and_then(|event| event.application_id.as_ref()),
                "finding": finding,
            }));
        }
        found.len() < query.limit()
    });
    match found.await {
        Ok((findings, next, synced)) => {
            HttpResponse::Ok().json(json!({ "findings": findings, "next": next, "synced": synced }))
        }
        Err(response) => response,
    }
}

/// Incidents as they stood at their last record among those looked at, in the order of their first event.
async fn incidents(shared: web::Data<Shared>, query: web::Query<Query>) -> HttpResponse {
    let query = query.into_inner();
    let (from, limit, open) = (query.from, query.limit(), query.open.unwrap_or(false));
    let latest: BTreeMap<(Seq, String), Incident> = BTreeMap::new();
    let found = scan(&shared, from, latest, move |latest, record| {
        let Some(incident) = record.incident else { return true };
        let user = incident.user_id.as_ref().map(|id| id.as_str());
        let fits = query.rule.as_ref().is_none_or(|rule| incident.rules.contains(rule));
        if fits && query.is_of(user) && query.at_least.is_none_or(|at_least| incident.severity >= at_least) {
            latest.insert((incident.first_seq, incident.id.clone()), incident);
        }
        latest.len() < limit
    });
    match found.await {
        Ok((latest, next, synced)) => {
            let is_wanted = |incident: &&Incident| !open || incident.change != IncidentChange::Closed;
            let incidents: Vec<&Incident> = latest.values().filter(is_wanted).collect();
            HttpResponse::Ok().json(json!({ "incidents": incidents, "next": next, "synced": synced }))
        }
        Err(response) => response,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    action: SwitchTo,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SwitchTo {
    Stop,
    Start,
}

/// Journals it first; counts from the next event on.
async fn gate(shared: web::Data<Shared>, to: web::Json<Switch>) -> HttpResponse {
    let Some(ledger) = shared.ledger.get() else { return starting() };
    let action = match to.action {
        SwitchTo::Stop => OperatorAction::GATE_STOP,
        SwitchTo::Start => OperatorAction::GATE_START,
    };
    match ledger.operator(OperatorAction { action: action.to_owned(), subject: None, detail: None }).await {
        Admission::Accepted { seq } => HttpResponse::Ok().json(json!({ "seq": seq })),
        _ => HttpResponse::ServiceUnavailable()
            .json(json!({ "error": "the change cannot be journaled now, so it is not made; try again" })),
    }
}
