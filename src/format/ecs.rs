//! `ecs`: the Elastic Common Schema, for Elasticsearch and OpenSearch.
//!
//! Fields and types are those of ECS 9.4; what has no place there stands under `refresh_audit` with our own names, so that
//! nothing of the record is lost but its order. <https://www.elastic.co/docs/reference/ecs>

use bytes::Bytes;
use serde::Deserialize;

use super::{
    gist::{Gist, PRODUCT, VERSION},
    members::{Members, object},
};
use crate::{
    event::{Outcome, RefreshEvent},
    record::{AlarmState, Kind, Record, Severity},
};

/// It has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// One document.
pub const MEDIA_TYPE: &str = "application/json";

/// The version whose fields these are.
const ECS_VERSION: &str = "9.4.0";

/// One document.
pub fn encode(line: &Bytes, key: &str, _config: Config) -> serde_json::Result<Bytes> {
    let record: Record = serde_json::from_slice(line)?;
    let gist = Gist::of(&record);
    object(line.len() + 1_024, |all| {
        all.put("@timestamp", &gist.time);
        all.object("ecs", |ecs| ecs.put("version", ECS_VERSION));
        all.maybe("message", gist.message.as_ref());
        all.object("event", |event| write_event(event, &gist, key));
        all.object("observer", |observer| {
            observer.put("vendor", PRODUCT);
            observer.put("product", PRODUCT);
            observer.put("version", VERSION);
            observer.put("name", &record.node);
        });
        all.object("organization", |organization| organization.maybe("id", gist.tenant()));
        all.object("user", |user| user.maybe("id", gist.user()));
        all.object("source", |source| write_source(source, &gist));
        if let Some(event) = &record.event {
            all.object("user_agent", |agent| write_user_agent(agent, event));
            all.object("error", |error| {
                error.maybe("type", event.failure.as_ref().map(|failure| &failure.class));
                error.maybe("code", event.failure.as_ref().and_then(|failure| failure.code.as_ref()));
            });
        }
        all.object("related", |related| {
            related.list("ip", gist.ip());
            related.list("user", gist.user());
        });
        all.object("rule", |rule| {
            rule.maybe("id", gist.worst.map(|worst| &worst.rule));
            rule.maybe("name", gist.worst.map(|worst| &worst.name));
        });
        all.object("threat", |threat| write_threat(threat, &gist));
        all.object("refresh_audit", |own| write_own(own, &gist));
    })
}

fn write_event(event: &mut Members<'_>, gist: &Gist<'_>, key: &str) {
    let record = gist.record;
    let (category, kind): (&[&str], &str) = match record.kind {
        Kind::Event | Kind::Replay => (&["authentication", "session"], "info"),
        Kind::Incident => (&["intrusion_detection"], "info"),
        Kind::Config => (&["configuration"], "change"),
        Kind::Operator => (&["configuration"], "info"),
        Kind::Checkpoint => (&[], "info"),
        Kind::Alarm => match record.alarm.as_ref().map(|alarm| alarm.state) {
            Some(AlarmState::Cleared) => (&[], "info"),
            _ => (&[], "error"),
        },
    };
    event.put("kind", if gist.is_alert() { "alert" } else { "event" });
    event.list("category", category);
    event.list("type", [kind]);
    event.put("action", gist.action);
    event.maybe("outcome", record.event.as_ref().map(|event| outcome(event.outcome)));
    event.put("id", key);
    event.maybe("code", record.event.as_ref().map(|event| &event.kind));
    event.maybe("provider", record.source.as_ref());
    event.put("module", "refresh_audit");
    event.put("dataset", "refresh_audit.audit");
    event.put("created", &record.received_at);
    event.put("sequence", &record.seq);
    event.put("hash", &record.hash);
    event.put("severity", &severity(gist.severity));
    event.maybe("reason", gist.worst.map(|worst| &worst.reason));
    if let Some(risk) = gist.risk() {
        event.put("risk_score", &risk);
        event.put("risk_score_norm", &(risk * 100.0));
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Attempted | Outcome::Unknown => "unknown",
    }
}

/// Numbers of Elastic's own detections: 21 low, 47 medium, 73 high, 99 critical.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 0,
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    }
}

fn write_source(source: &mut Members<'_>, gist: &Gist<'_>) {
    source.maybe("address", gist.address());
    source.maybe("ip", gist.ip());
    let Some(event) = &gist.record.event else { return };
    if let Some(place) = &event.location {
        let code = |country: &&String| country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        source.object("geo", |geo| {
            geo.maybe("city_name", place.city.as_ref());
            geo.maybe("region_name", place.region.as_ref());
            geo.maybe("country_iso_code", place.country.as_ref().filter(code));
            geo.maybe("country_name", place.country.as_ref().filter(|country| !code(country)));
            geo.maybe("postal_code", place.zipcode.as_ref());
            geo.maybe("name", place.display.as_ref());
            if let (Some(latitude), Some(longitude)) = (place.latitude, place.longitude) {
                geo.object("location", |location| {
                    location.put("lat", &latitude);
                    location.put("lon", &longitude);
                });
            }
        });
    }
    if let Some(network) = &event.network {
        source.object("as", |system| {
            system.maybe("number", network.asn);
            system.object("organization", |organization| organization.maybe("name", network.org.as_ref()));
        });
    }
}

fn write_user_agent(agent: &mut Members<'_>, event: &RefreshEvent) {
    agent.maybe("original", event.user_agent.as_ref());
    if let Some(client) = &event.client {
        agent.maybe("name", client.browser.as_ref());
        agent.maybe("version", client.version.as_ref());
        agent.object("os", |os| os.maybe("name", client.os.as_ref()));
    }
}

/// `T1550.001` is the sub-technique of `T1550`.
fn write_threat(threat: &mut Members<'_>, gist: &Gist<'_>) {
    let techniques = gist.techniques();
    if techniques.is_empty() {
        return;
    }
    let mut parents: Vec<&str> = Vec::new();
    for parent in techniques.iter().map(|id| id.split('.').next().unwrap_or(id)) {
        if !parents.contains(&parent) {
            parents.push(parent);
        }
    }
    threat.put("framework", "MITRE ATT&CK");
    threat.object("technique", |technique| {
        technique.put("id", &parents);
        technique.object("subtechnique", |sub| sub.list("id", techniques.iter().filter(|id| id.contains('.'))));
    });
}

/// What ECS has no field for, under the record's own names.
fn write_own(own: &mut Members<'_>, gist: &Gist<'_>) {
    let record = gist.record;
    own.put("schema", &record.schema);
    own.put("journal", &record.journal);
    own.put("kind", &record.kind);
    own.put("prev", &record.prev);
    own.maybe("evidence", record.evidence.as_ref());
    own.maybe("application_id", gist.application());
    own.maybe("session_id", gist.session());
    own.maybe("incident_id", gist.incident());
    if let Some(event) = &record.event {
        own.put("event_id", &event.id);
        own.put("occurred_at", &event.occurred_at);
        own.put("outcome", &event.outcome);
        own.maybe("linked_object_id", event.linked_object_id.as_ref());
        own.maybe("device", event.device.as_ref());
        own.maybe("location_from", event.location.as_ref().and_then(|place| place.from.as_ref()));
        own.object("network", |own| {
            own.maybe("country", event.network.as_ref().and_then(|network| network.country.as_ref()));
            own.list("labels", event.network.iter().flat_map(|network| &network.labels));
        });
        own.maybe("client_kind", event.client.as_ref().and_then(|client| client.kind.as_ref()));
        own.maybe("tokens", Some(&event.tokens).filter(|tokens| !tokens.is_empty()));
        own.maybe("rotated", event.rotated);
        own.maybe("grant", Some(&event.grant).filter(|grant| !grant.is_empty()));
        own.maybe("correlation_id", event.correlation_id.as_ref());
        own.maybe("vendor_risk", event.vendor_risk);
        own.maybe("kept", Some(&event.kept).filter(|kept| !kept.is_empty()));
    }
    own.list("findings", &record.findings);
    own.list("rules", gist.rules());
    own.maybe("verdict", record.verdict.as_ref());
    own.maybe("replay", record.replay.as_ref());
    own.maybe("alarm", record.alarm.as_ref());
    own.maybe("operator", record.operator.as_ref());
    own.maybe("config", record.config.as_ref());
    own.maybe("incident", record.incident.as_ref());
    own.maybe("checkpoint", record.checkpoint.as_ref());
}
