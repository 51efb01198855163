//! `/api/findings`, `/api/incidents` and `/api/gate`: what was found, what belongs together of it, and the gate's switch.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    admin::{ANSWER_WAIT_MAX, Shared, not_journaled, starting},
    asked::Asked,
    reading,
    scan::scan,
};
use crate::{
    ledger::{Admission, Ledger},
    record::{Incident, IncidentChange, OperatorAction, Seq, Severity},
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

    fn is_by(&self, rule: &str) -> bool {
        self.rule.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(rule))
    }

    fn takes(&self, incident: &Incident) -> bool {
        (self.rule.is_none() || incident.rules.iter().any(|rule| self.is_by(rule)))
            && self.is_of(incident.user_id.as_ref().map(|id| id.as_str()))
            && self.at_least.is_none_or(|at_least| incident.severity >= at_least)
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, ANSWERS_MAX)
    }
}

async fn findings(shared: web::Data<Shared>, Asked(query): Asked<Query>) -> HttpResponse {
    let Some(ledger) = shared.ledger.get() else { return starting() };
    let synced = *ledger.synced().borrow();
    let found = scan(ledger, (query.from.unwrap_or(1), synced), Vec::new(), move |found: &mut Vec<Value>, record| {
        let event = record.event.as_ref();
        let user = event.and_then(|event| event.user_id.as_ref()).map(|id| id.as_str());
        if !query.is_of(user) {
            return true;
        }
        let wanted = |finding: &&crate::record::Finding| {
            query.is_by(&finding.rule) && query.at_least.is_none_or(|at_least| finding.severity >= at_least)
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
        Ok((findings, next)) => {
            HttpResponse::Ok().json(json!({ "findings": findings, "next": next, "synced": synced }))
        }
        Err(response) => response,
    }
}

/// Incidents by their last record, each once: open ones, of which detection knows, at their first event; closed ones, of
/// which nothing more comes, at that record.
async fn incidents(shared: web::Data<Shared>, Asked(query): Asked<Query>) -> HttpResponse {
    let Some(ledger) = shared.ledger.get() else { return starting() };
    // In this order: what opens after it is further on.
    let synced = *ledger.synced().borrow();
    let Ok(Some(open)) = timeout(ANSWER_WAIT_MAX, ledger.open_incidents()).await else { return starting() };
    let (from, limit) = (query.from.unwrap_or(1), query.limit());
    let filter = query.clone();
    let Ok(open) = web::block(move || open.first(from..=synced, limit, |one| filter.takes(one))).await else {
        return starting();
    };
    let found = if query.open.unwrap_or(false) {
        let next = open.last().filter(|_| open.len() >= limit).map_or(synced, |last| last.first_seq) + 1;
        Ok((open, next.max(from)))
    } else {
        with_closed(ledger, (from, synced), query, open).await
    };
    match found {
        Ok((incidents, next)) => {
            HttpResponse::Ok().json(json!({ "incidents": incidents, "next": next, "synced": synced }))
        }
        Err(response) => response,
    }
}

/// Those that were closed in a part of the journal and those open ones that began in it, as far as one answer goes.
async fn with_closed(
    ledger: &Ledger,
    part: (Seq, Seq),
    query: Query,
    open: Vec<Incident>,
) -> Result<(Vec<Incident>, Seq), HttpResponse> {
    let limit = query.limit();
    let full = open.last().filter(|_| open.len() >= limit).map(|last| last.first_seq + 1);
    let both = (open, Vec::new());
    let ((mut open, mut closed), next) =
        scan(ledger, part, both, move |(open, closed): &mut (Vec<Incident>, Vec<(Seq, Incident)>), record| {
            let is_closed = |one: &Incident| one.change == IncidentChange::Closed && query.takes(one);
            if let Some(incident) = record.incident.filter(is_closed) {
                // It may have been open a moment ago.
                open.retain(|one| one.id != incident.id);
                closed.push((record.seq, incident));
            }
            closed.len() + open.partition_point(|one| one.first_seq <= record.seq) < limit
        })
        .await?;
    // There may be more open ones behind the last, whose own record may be gone.
    let next = full.map_or(next, |full| next.min(full));
    open.retain(|one| one.first_seq < next);
    closed.retain(|(seq, _)| *seq < next);
    open.extend(closed.into_iter().map(|(_, one)| one));
    open.sort_by(|a, b| (a.first_seq, &a.id).cmp(&(b.first_seq, &b.id)));
    Ok((open, next))
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
        _ => not_journaled(),
    }
}
