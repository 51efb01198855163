//! The operator's listener: health, metrics, records, sinks. Never reachable with the public one.
//!
//! Off loopback everything but `/healthz` and `/readyz` needs the token. On loopback without a token, a request must name
//! a loopback host, and a change must be JSON: so no web page that an operator happens to visit can read or change
//! anything.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{ConnectionType, StatusCode, header},
    middleware::Next,
    web,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    asked::{Asked, said_as_json},
    held::hold,
    reading, refusal,
    scan::scan,
};
use crate::{
    deliver::{RequestError, SinkHandle, Triage, Which, parked::Page},
    host::{Addresses, is_this_machine},
    ledger::Ledger,
    record::{Kind, OperatorAction, Record, RecordFilter, Seq},
    secret::Secret,
    telemetry::{Alarms, Metrics},
};

/// What the handlers need.
pub struct Shared {
    /// Required of every request but health, where set.
    pub token: Option<Secret>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// What is raised.
    pub alarms: Alarms,
    /// How far the start is; empty = ready.
    pub starting: Mutex<String>,
    /// Set once the ledger is ready.
    pub ledger: OnceLock<Ledger>,
    /// Set once the sinks run.
    pub sinks: OnceLock<Vec<SinkHandle>>,
}

/// Records in one answer at most.
const RECORDS_MAX: usize = 1_000;

/// Nobody waits longer for a ledger that waits for its disk; of metrics the last numbers stand then.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_millis(250);

/// Who may ask. See the module.
pub async fn guard(request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse, Error> {
    let is_open = matches!(request.path(), "/healthz" | "/readyz");
    if let Some(answer) = refused_by_head(&request, is_open) {
        let (request, payload) = request.into_parts();
        return Ok(ServiceResponse::new(request, hold(answer, payload)));
    }
    let mut answer = next.call(request).await.map(said_as_json)?;
    if is_open {
        // Anybody's: nobody is to keep the connections of whoever has the token.
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

fn refused_by_head(request: &ServiceRequest, is_open: bool) -> Option<HttpResponse> {
    let headers = request.headers();
    let token = request.app_data::<web::Data<Shared>>().and_then(|shared| shared.token.as_ref());
    match token {
        _ if headers.contains_key(header::TRANSFER_ENCODING) => {
            Some(refusal(StatusCode::LENGTH_REQUIRED, "a body needs a Content-Length"))
        }
        _ if is_open => None,
        Some(token) if !has_token(headers, token) => {
            let mut answer = refusal(StatusCode::UNAUTHORIZED, "a bearer token is needed: see admin.token_file");
            // A browser asks for it and sends it as a password; the user name says nothing.
            let basic = header::HeaderValue::from_static("Basic realm=\"refresh-audit\", charset=\"UTF-8\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
            Some(answer)
        }
        None if !names_loopback(headers) => {
            Some(refusal(StatusCode::FORBIDDEN, "the Host header must name a loopback address"))
        }
        _ => None,
    }
}

fn has_token(headers: &header::HeaderMap, token: &Secret) -> bool {
    let Some(sent) = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes) else { return false };
    // Schemes are written in any case (RFC 9110, section 11.1).
    let after = |scheme: &[u8]| {
        let (head, rest) = sent.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if let Some(sent) = after(b"Bearer ") {
        return sent.ct_eq(token.expose()).into();
    }
    let pair = after(b"Basic ").and_then(|sent| STANDARD.decode(sent).ok()).map(Zeroizing::new);
    pair.is_some_and(|pair| {
        let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
        password.is_some_and(|password| password.ct_eq(token.expose()).into())
    })
}

fn names_loopback(headers: &header::HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|value| value.to_str().ok()) else { return false };
    is_this_machine(match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    })
}

/// The paths.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .configure(super::page::routes)
        .service(reading("/healthz", async || "ok\n"))
        .service(reading("/readyz", ready))
        .service(reading("/metrics", metrics))
        .service(reading("/api/records", records))
        // Its body does not end: there is no head of it to ask for.
        .service(web::resource("/api/stream").get(super::stream::stream))
        .service(reading("/api/alarms", alarms))
        .service(reading("/api/sinks", sinks))
        .service(web::resource("/api/sinks/{name}/redeliver").post(redeliver))
        .service(reading("/api/sinks/{name}/parked", parked).post(change_parked))
        .configure(super::applications::routes)
        .configure(super::findings::routes);
}

async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    let starting = shared.starting.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if starting.is_empty() {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body(format!("{starting}\n"))
    }
}

async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    super::applications::measure(&shared).await;
    for sink in shared.sinks.get().into_iter().flatten() {
        sink.status();
    }
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    HttpResponse::Ok().content_type(openmetrics).body(shared.metrics.text())
}

/// What `/api/records` may be asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    from: Option<Seq>,
    limit: Option<usize>,
    kind: Option<Kind>,
    user: Option<String>,
    session: Option<String>,
    ip: Option<Addresses>,
    rule: Option<String>,
}

async fn records(shared: web::Data<Shared>, Asked(query): Asked<Query>) -> HttpResponse {
    let Some(ledger) = shared.ledger.get() else { return starting() };
    let synced = *ledger.synced().borrow();
    let (from, limit) = (query.from.unwrap_or(1), query.limit.unwrap_or(100).clamp(1, RECORDS_MAX));
    let Query { kind, user, session, ip, rule, .. } = query;
    let wanted = RecordFilter { kind, user, session, ip, rule };
    let found = scan(ledger, (from, synced), Vec::new(), move |found: &mut Vec<Record>, record| {
        if wanted.takes(&record) {
            found.push(record);
        }
        found.len() < limit
    });
    match found.await {
        Ok((records, next)) => {
            HttpResponse::Ok().json(serde_json::json!({ "records": records, "next": next, "synced": synced }))
        }
        Err(response) => response,
    }
}

pub(super) fn starting() -> HttpResponse {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "starting or stopping; try again")
}

pub(super) fn not_journaled() -> HttpResponse {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the change cannot be journaled now, so it is not made; try again")
}

/// What is raised now.
async fn alarms(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.alarms.raised())
}

async fn sinks(shared: web::Data<Shared>) -> HttpResponse {
    let Some(sinks) = shared.sinks.get() else { return starting() };
    HttpResponse::Ok().json(sinks.iter().map(SinkHandle::status).collect::<Vec<_>>())
}

fn sink<'a>(shared: &'a Shared, request: &HttpRequest) -> Result<&'a SinkHandle, HttpResponse> {
    let name = request.match_info().get("name").unwrap_or_default();
    let Some(sinks) = shared.sinks.get() else { return Err(starting()) };
    sinks
        .iter()
        .find(|sink| sink.name() == name)
        .ok_or_else(|| refusal(StatusCode::NOT_FOUND, &format!("no sink is named `{name}`")))
}

fn refused(error: &RequestError) -> HttpResponse {
    refusal(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
}

/// Journals what an operator does: what would be refused is none, and it comes before it is done.
async fn journal(shared: &Shared, action: &str, sink: &SinkHandle, detail: String) -> Result<(), HttpResponse> {
    let Some(ledger) = shared.ledger.get() else { return Err(starting()) };
    let action =
        OperatorAction { action: action.to_owned(), subject: Some(sink.name().to_owned()), detail: Some(detail) };
    match ledger.operator(action).await {
        crate::ledger::Admission::Accepted { .. } => Ok(()),
        _ => Err(not_journaled()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRedeliver {
    from: Option<Seq>,
    to: Option<Seq>,
    #[serde(default)]
    cancel: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "AskedRedeliver")]
enum Redeliver {
    Range { from: Seq, to: Option<Seq> },
    Cancel,
}

impl TryFrom<AskedRedeliver> for Redeliver {
    type Error = &'static str;

    fn try_from(asked: AskedRedeliver) -> Result<Self, &'static str> {
        match asked {
            AskedRedeliver { from: Some(from), to, cancel: false } => Ok(Self::Range { from, to }),
            AskedRedeliver { from: None, to: None, cancel: true } => Ok(Self::Cancel),
            AskedRedeliver { cancel: true, .. } => Err("`cancel` takes back whatever waits: leave `from` and `to` out"),
            AskedRedeliver { from: None, .. } => Err("missing field `from`, or `cancel`"),
        }
    }
}

async fn redeliver(request: HttpRequest, shared: web::Data<Shared>, asked: web::Json<Redeliver>) -> HttpResponse {
    let change = async {
        let sink = sink(&shared, &request)?;
        match *asked {
            Redeliver::Range { from, to } => {
                sink.check_redeliver(from, to).await.map_err(|error| refused(&error))?;
                let to_text = to.map_or_else(|| "the end".to_owned(), |to| to.to_string());
                journal(&shared, "redeliver", sink, format!("from {from} to {to_text}")).await?;
                sink.redeliver(from, to).await.map_err(|error| refused(&error))
            }
            Redeliver::Cancel => {
                let waiting = sink.check_cancel().await.map_err(|error| refused(&error))?;
                if waiting == 0 {
                    return Ok(0);
                }
                journal(&shared, "redeliver_cancel", sink, format!("{waiting} records")).await?;
                sink.cancel().await.map_err(|error| refused(&error))
            }
        }
    };
    match change.await {
        Ok(records) => HttpResponse::Ok().json(serde_json::json!({ "records": records })),
        Err(response) => response,
    }
}

/// What a sink's parked records may be asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ParkedQuery {
    from: Option<Seq>,
    limit: Option<usize>,
    full: bool,
}

async fn parked(request: HttpRequest, shared: web::Data<Shared>, Asked(query): Asked<ParkedQuery>) -> HttpResponse {
    let usual = Page::default();
    let page =
        Page { from: query.from.unwrap_or(usual.from), limit: query.limit.unwrap_or(usual.limit), full: query.full };
    let listed = async { sink(&shared, &request)?.parked(page).await.map_err(|error| refused(&error)) };
    listed.await.map_or_else(|response| response, |records| HttpResponse::Ok().json(records))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeParked {
    action: ParkedAction,
    #[serde(default)]
    seqs: Vec<Seq>,
    #[serde(default)]
    all: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ParkedAction {
    Retry,
    Drop,
    Park,
}

async fn change_parked(
    request: HttpRequest,
    shared: web::Data<Shared>,
    asked: web::Json<ChangeParked>,
) -> HttpResponse {
    let change = async {
        let sink = sink(&shared, &request)?;
        let which = if asked.all { Which::All } else { Which::Seqs(asked.seqs.clone()) };
        let triage = match asked.action {
            ParkedAction::Retry => Triage::Retry(which),
            ParkedAction::Drop => Triage::Drop(which),
            ParkedAction::Park => Triage::Park(which),
        };
        sink.check_triage(triage.clone()).await.map_err(|error| refused(&error))?;
        journal(&shared, triage.name(), sink, triage.which().to_string()).await?;
        sink.triage(triage).await.map_err(|error| refused(&error))
    };
    match change.await {
        Ok(records) => HttpResponse::Ok().json(serde_json::json!({ "records": records })),
        Err(response) => response,
    }
}
