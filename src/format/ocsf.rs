//! `ocsf`: the Open Cybersecurity Schema Framework 1.8, for data lakes and SIEMs that speak it.
//!
//! A refresh is an Authentication event (3002). Its activities are worded for Kerberos, so "Token Refresh" is 99 (Other)
//! unless `activity = 5` (Service Ticket Renew) is asked for. One record is always one event: with `findings = true` a
//! record with findings becomes a Detection Finding (2004) *instead*. An incident always is one; alarms, operators'
//! actions, changes of configuration and checkpoints are Base Events (0). What has no place stands under `unmapped` with our own
//! names. <https://schema.ocsf.io/1.8.0/>

use bytes::Bytes;
use serde::Deserialize;

use super::{
    gist::{Gist, PRODUCT, VERSION},
    members::{Members, object},
};
use crate::{
    event::{Outcome, RefreshEvent},
    record::{Action, Incident, IncidentChange, Kind, Record, Severity},
    time::ReceivedAt,
};

mod endpoint;

/// `format = { type = "ocsf", activity = 5, findings = true }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The activity of a refresh.
    pub activity: Activity,
    /// Whether a record with findings is a Detection Finding instead of an Authentication event.
    pub findings: bool,
}

/// `activity_id` of a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Activity {
    /// 99, "Token Refresh".
    #[default]
    Other,
    /// 5, "Service Ticket Renew".
    Renew,
}

impl TryFrom<u8> for Activity {
    type Error = &'static str;

    fn try_from(id: u8) -> Result<Self, Self::Error> {
        match id {
            5 => Ok(Self::Renew),
            99 => Ok(Self::Other),
            _ => Err("`activity` is 99 (Other, \"Token Refresh\") or 5 (Service Ticket Renew)"),
        }
    }
}

/// One event.
pub const MEDIA_TYPE: &str = "application/json";

/// The version whose classes and attributes these are.
const OCSF_VERSION: &str = "1.8.0";

/// A class of events, with the category it belongs to.
struct Class {
    category: (u32, &'static str),
    class: (u32, &'static str),
}

const BASE: Class = Class { category: (0, "Uncategorized"), class: (0, "Base Event") };
const AUTHENTICATION: Class = Class { category: (3, "Identity & Access Management"), class: (3002, "Authentication") };
const DETECTION: Class = Class { category: (2, "Findings"), class: (2004, "Detection Finding") };

/// One event.
pub fn encode(line: &Bytes, key: &str, config: Config) -> serde_json::Result<Bytes> {
    let record: Record = serde_json::from_slice(line)?;
    let gist = Gist::of(&record);
    object(line.len() + 1_536, |all| {
        match (&record.event, &record.incident) {
            (Some(event), _) if config.findings && gist.worst.is_some() => {
                write_class(all, &DETECTION, (1, "Create"));
                write_finding(all, &gist, event, key);
            }
            (Some(event), _) => {
                let activity = match (record.kind, config.activity) {
                    (Kind::Replay, _) => (99, "Token Refresh Replay"),
                    (_, Activity::Other) => (99, "Token Refresh"),
                    (_, Activity::Renew) => (5, "Service Ticket Renew"),
                };
                write_class(all, &AUTHENTICATION, activity);
                write_authentication(all, &gist, event);
            }
            (None, Some(incident)) => {
                let activity = match incident.change {
                    IncidentChange::Opened => (1, "Create"),
                    IncidentChange::Escalated | IncidentChange::Ongoing => (2, "Update"),
                    IncidentChange::Closed => (3, "Close"),
                };
                write_class(all, &DETECTION, activity);
                write_incident(all, &gist, incident);
            }
            (None, None) => write_class(all, &BASE, (99, gist.action)),
        }
        let (id, caption) = severity(gist.severity);
        all.put("severity_id", &id);
        all.put("severity", caption);
        all.put("time", &gist.time.millis());
        all.maybe("message", gist.message.as_ref());
        all.object("metadata", |metadata| write_metadata(metadata, &gist, key));
        if let Some(ip) = gist.ip() {
            all.objects("observables", [ip], |observable, ip| {
                let at = if has_endpoint(&record, config) { "src_endpoint.ip" } else { "evidences[].src_endpoint.ip" };
                observable.put("name", at);
                observable.put("type_id", &2);
                observable.put("type", "IP Address");
                observable.put("value", &ip);
            });
        }
        all.object("unmapped", |unmapped| write_unmapped(unmapped, &gist));
    })
}

/// Whether the address is at the top, as in Authentication events, or among the evidence of a finding.
fn has_endpoint(record: &Record, config: Config) -> bool {
    record.event.is_some() && (!config.findings || record.findings.is_empty())
}

fn write_class(all: &mut Members<'_>, class: &Class, (activity, name): (u32, &str)) {
    all.put("category_uid", &class.category.0);
    all.put("category_name", class.category.1);
    all.put("class_uid", &class.class.0);
    all.put("class_name", class.class.1);
    all.put("activity_id", &activity);
    all.put("activity_name", name);
    all.put("type_uid", &(class.class.0 * 100 + activity));
}

const fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn write_metadata(metadata: &mut Members<'_>, gist: &Gist<'_>, key: &str) {
    let record = gist.record;
    metadata.put("version", OCSF_VERSION);
    metadata.object("product", |product| {
        product.put("name", PRODUCT);
        product.put("vendor_name", PRODUCT);
        product.put("version", VERSION);
    });
    if record.event.is_some() {
        metadata.put("profiles", &["security_control"]);
    }
    metadata.put("uid", key);
    metadata.put("sequence", &record.seq);
    metadata.put("log_name", &record.journal);
    metadata.put("log_provider", &record.node);
    metadata.put("log_version", &record.schema);
    metadata.put("logged_time", &millis(record.received_at));
    if let Some(event) = &record.event {
        metadata.put("original_event_uid", &event.id);
        metadata.put("original_time", &event.occurred_at);
        metadata.put("event_code", &event.kind);
    }
    metadata.maybe("correlation_uid", gist.incident());
    metadata.maybe("tenant_uid", gist.tenant());
}

const fn millis(at: ReceivedAt) -> i64 {
    at.event_time().millis()
}

fn write_authentication(all: &mut Members<'_>, gist: &Gist<'_>, event: &RefreshEvent) {
    let (id, caption) = match event.outcome {
        Outcome::Success => (1, "Success"),
        Outcome::Failure => (2, "Failure"),
        Outcome::Unknown => (0, "Unknown"),
        Outcome::Attempted => (99, "Attempted"),
    };
    all.put("status_id", &id);
    all.put("status", caption);
    all.maybe("status_code", event.failure.as_ref().map(|failure| &failure.class));
    all.maybe("status_detail", event.failure.as_ref().and_then(|failure| failure.code.as_ref()));
    all.object("user", |user| write_user(user, gist));
    all.object("service", |service| {
        service.maybe("uid", gist.application());
        service.put("name", gist.record.source.as_deref().unwrap_or(PRODUCT));
    });
    all.object("session", |session| write_session(session, event));
    all.object("src_endpoint", |source| endpoint::write(source, gist, event));
    all.object("http_request", |request| request.maybe("user_agent", event.user_agent.as_ref()));
    all.put("auth_protocol_id", &6);
    all.put("auth_protocol", "OAUTH 2.0");
    all.object("authentication_token", |token| {
        token.put("type_id", &4);
        token.put("type", "Refresh Token");
        let presented = event.tokens.refresh.presented.as_ref();
        token.maybe("uid", presented.and_then(|token| token.fingerprint.as_ref()));
    });
    all.put("is_remote", &true);
    all.maybe("is_mfa", event.grant.amr.iter().any(|method| method == "mfa").then_some(true));
    all.put("is_alert", &gist.is_alert());
    write_control(all, gist);
    write_attacks(all, gist);
}

/// The schema asks for a name or an id.
fn write_user(user: &mut Members<'_>, gist: &Gist<'_>) {
    match gist.user() {
        Some(id) => user.put("uid", id),
        None => user.put("name", "unknown"),
    }
}

fn write_session(session: &mut Members<'_>, event: &RefreshEvent) {
    session.maybe("uid", event.session_id.as_ref());
    let access = &event.tokens.access;
    let claims = access.issued.as_ref().or(access.previous.as_ref()).and_then(|token| token.claims.as_ref());
    session.maybe("issuer", claims.and_then(|claims| claims.iss.as_ref()));
    session.maybe("created_time", claims.and_then(|claims| claims.auth_time?.checked_mul(1_000)));
}

/// What the gate did, and the risk it did it for, as a whole number from 0 to 100.
fn write_control(all: &mut Members<'_>, gist: &Gist<'_>) {
    if let Some(verdict) = &gist.record.verdict {
        let (action, disposition) = match verdict.action {
            Action::Allow => ((1, "Allowed"), (1, "Allowed")),
            Action::Deny => ((2, "Denied"), (2, "Blocked")),
        };
        all.put("action_id", &action.0);
        all.put("action", action.1);
        all.put("disposition_id", &disposition.0);
        all.put("disposition", disposition.1);
    }
    #[expect(clippy::cast_possible_truncation, reason = "0 <= risk < 1, and a cast of a float saturates")]
    all.maybe("risk_score", gist.risk().map(|risk| (risk * 100.0).round() as i64));
}

fn write_attacks(members: &mut Members<'_>, gist: &Gist<'_>) {
    members.objects("attacks", gist.techniques(), |attack, id| {
        attack.object("technique", |technique| technique.maybe("uid", id.split('.').next()));
        attack.object("sub_technique", |sub| sub.maybe("uid", id.contains('.').then_some(id)));
    });
}

fn write_finding(all: &mut Members<'_>, gist: &Gist<'_>, event: &RefreshEvent, key: &str) {
    all.put("status_id", &1);
    all.put("status", "New");
    all.object("finding_info", |info| {
        info.put("uid", key);
        info.put("title", &gist.title);
        info.maybe("desc", gist.message.as_ref());
        info.put("created_time", &millis(gist.record.received_at));
        info.put("first_seen_time", &gist.time.millis());
        info.put("last_seen_time", &gist.time.millis());
        if let Some(worst) = gist.worst {
            info.object("analytic", |analytic| write_rule(analytic, &worst.rule, Some(&worst.name)));
        }
        let others = gist.record.findings.iter().filter(|finding| gist.worst.is_none_or(|w| !std::ptr::eq(w, *finding)));
        info.objects("related_analytics", others, |analytic, finding| {
            write_rule(analytic, &finding.rule, Some(&finding.name));
        });
        write_attacks(info, gist);
    });
    all.objects("evidences", [event], |evidence, event| {
        evidence.object("user", |user| write_user(user, gist));
        evidence.object("src_endpoint", |source| endpoint::write(source, gist, event));
        evidence.object("http_request", |request| request.maybe("user_agent", event.user_agent.as_ref()));
    });
    all.put("is_alert", &gist.is_alert());
    write_control(all, gist);
}

fn write_rule(analytic: &mut Members<'_>, rule: &str, name: Option<&str>) {
    analytic.put("uid", rule);
    analytic.maybe("name", name);
    analytic.put("type_id", &1);
    analytic.put("type", "Rule");
}

fn write_incident(all: &mut Members<'_>, gist: &Gist<'_>, incident: &Incident) {
    let (id, caption) = match incident.change {
        IncidentChange::Opened => (1, "New"),
        IncidentChange::Escalated | IncidentChange::Ongoing => (2, "In Progress"),
        IncidentChange::Closed => (4, "Resolved"),
    };
    all.put("status_id", &id);
    all.put("status", caption);
    all.put("count", &incident.findings);
    all.put("start_time", &millis(incident.first_seen));
    all.put("end_time", &millis(incident.last_seen));
    all.object("finding_info", |info| {
        info.put("uid", &incident.id);
        info.put("title", &gist.title);
        info.put("desc", &incident.summary);
        info.put("created_time", &millis(incident.first_seen));
        info.put("modified_time", &millis(gist.record.received_at));
        info.put("first_seen_time", &millis(incident.first_seen));
        info.put("last_seen_time", &millis(incident.last_seen));
        info.put("related_events_count", &incident.events);
        info.objects("related_analytics", &incident.rules, |analytic, rule| write_rule(analytic, rule, None));
    });
    all.objects("evidences", [incident], |evidence, incident| {
        evidence.object("user", |user| user.maybe("uid", incident.user_id.as_ref()));
        evidence.object("src_endpoint", |source| endpoint::write_address(source, gist));
    });
    all.put("is_alert", &gist.is_alert());
}

/// What OCSF has no attribute for, under the record's own names.
fn write_unmapped(unmapped: &mut Members<'_>, gist: &Gist<'_>) {
    let record = gist.record;
    unmapped.put("kind", &record.kind);
    unmapped.put("prev", &record.prev);
    // Of the journal's line, which is not sent: `raw_data_hash` is defined as that of `raw_data`.
    unmapped.put("hash", &record.hash);
    unmapped.maybe("source", record.source.as_ref());
    unmapped.maybe("evidence", record.evidence.as_ref());
    if let Some(event) = &record.event {
        unmapped.maybe("application_id", event.application_id.as_ref());
        unmapped.maybe("session_id", event.session_id.as_ref());
        unmapped.put("outcome", &event.outcome);
        unmapped.maybe("linked_object_id", event.linked_object_id.as_ref());
        unmapped.maybe("ip", event.ip.as_ref());
        unmapped.maybe("device", event.device.as_ref());
        unmapped.maybe("network", event.network.as_ref());
        unmapped.maybe("client", event.client.as_ref());
        unmapped.maybe("tokens", Some(&event.tokens).filter(|tokens| !tokens.is_empty()));
        unmapped.maybe("rotated", event.rotated);
        unmapped.maybe("grant", Some(&event.grant).filter(|grant| !grant.is_empty()));
        unmapped.maybe("correlation_id", event.correlation_id.as_ref());
        unmapped.maybe("vendor_risk", event.vendor_risk);
        unmapped.maybe("kept", Some(&event.kept).filter(|kept| !kept.is_empty()));
    }
    unmapped.list("findings", &record.findings);
    unmapped.maybe("verdict", record.verdict.as_ref());
    unmapped.maybe("replay", record.replay.as_ref());
    unmapped.maybe("alarm", record.alarm.as_ref());
    unmapped.maybe("operator", record.operator.as_ref());
    unmapped.maybe("config", record.config.as_ref());
    unmapped.maybe("incident", record.incident.as_ref());
    unmapped.maybe("checkpoint", record.checkpoint.as_ref());
}
