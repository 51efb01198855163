//! RA2xx: what the tokens say of themselves.

use serde_json::json;

use super::{findings::Findings, seen::Seen, state::session::said};
use crate::{
    event::Claims,
    record::Severity,
};

/// A value seen this often is no news any more.
const NEWS_MAX: u32 = 3;
/// Nodes of one identity provider agree on the time to within this, seconds.
const NODES_APART_SECS: i64 = 2;
/// Refreshes of an application before its issuers mean anything.
const EVENTS_MIN: u32 = 10;

/// Looks at one refresh.
pub fn observe(seen: &Seen<'_>, findings: &mut Findings) {
    let access = &seen.event.tokens.access;
    let issued = access.issued.as_ref().and_then(|token| token.claims.as_ref());
    let previous = access.previous.as_ref().and_then(|token| token.claims.as_ref());
    say_lifetime(seen, findings);
    if let Some(issued) = issued {
        say_issuer(seen, issued, findings);
        say_clock(seen, findings);
        if let Some(previous) = previous {
            say_growth(seen, previous, issued, findings);
        }
    }
    say_age(seen, findings);
}

fn say_lifetime(seen: &Seen<'_>, findings: &mut Findings) {
    let (application, rule) = (seen.application, &seen.config.ra201);
    let Some(secs) = seen.facts.lifetime() else { return };
    let is_news = application.lifetimes.count(secs) < NEWS_MAX && !application.lifetimes.are_many();
    if application.events >= rule.events_min && is_news {
        let reason = format!("the access token lives {secs} s, which this application's tokens never did");
        findings.say(rule, Severity::Medium, reason, [("lifetime_seconds", json!(secs))]);
    }
}

fn say_issuer(seen: &Seen<'_>, issued: &Claims, findings: &mut Findings) {
    let (application, rule) = (seen.application, &seen.config.ra202);
    let previous = seen.event.tokens.access.previous.as_ref().and_then(|token| token.claims.as_ref());
    let is_unsigned = |claims: &Claims| claims.alg.as_deref().is_some_and(|alg| alg.eq_ignore_ascii_case("none"));
    if is_unsigned(issued) || previous.is_some_and(is_unsigned) {
        findings.say(rule, Severity::High, "an access token is not signed (alg none)", [("alg", json!("none"))]);
        return;
    }
    let known = u64::from(seen.at.saturating_sub(application.first)) >= rule.known.get().as_secs();
    let known = known && !application.issuers.are_many();
    if known && application.events >= EVENTS_MIN && application.issuers.count(seen.facts.issuer) < NEWS_MAX {
        // A new key of the same issuer and algorithm is what a rotation looks like.
        let rotated = application.issuers.count(seen.facts.issuer_family) >= NEWS_MAX;
        let (severity, reason) = if rotated {
            (Severity::Medium, "the access token is signed with a key that this application's tokens never had: a rotation, or a forgery")
        } else {
            (Severity::High, "the access token has an issuer or algorithm that this application's tokens never had")
        };
        let evidence = [("iss", json!(issued.iss)), ("kid", json!(issued.kid)), ("alg", json!(issued.alg))];
        findings.say(rule, severity, reason, evidence);
    }
}

fn say_clock(seen: &Seen<'_>, findings: &mut Findings) {
    let (facts, rule) = (seen.facts, &seen.config.ra203);
    let limit = i64::try_from(rule.skew.get().as_secs()).unwrap_or(i64::MAX);
    let off = facts.issued.iat.saturating_sub(facts.occurred);
    let moved = seen.session.map_or(0, |session| session.auth_time);
    let auth_time = facts.issued.auth_time;
    let problem = if facts.issued.iat != 0 && off.saturating_abs() > limit {
        let side = if off > 0 { "after" } else { "before" };
        Some((format!("the access token was issued {} s {side} the event", off.unsigned_abs()), off))
    } else if facts.previous.iat > facts.issued.iat.saturating_add(NODES_APART_SECS) && facts.issued.iat != 0 {
        let younger = facts.previous.iat.saturating_sub(facts.issued.iat);
        Some(("the previous access token is younger than the issued one".to_owned(), younger))
    } else if moved != 0 && auth_time != 0 && i64::from(moved) != auth_time {
        let later = auth_time.saturating_sub(i64::from(moved));
        Some(("the session's instant of authentication has moved".to_owned(), later))
    } else {
        None
    };
    if let Some((reason, off)) = problem {
        findings.say(rule, Severity::Medium, reason, [("seconds_off", json!(off))]);
    }
}

fn say_age(seen: &Seen<'_>, findings: &mut Findings) {
    let rule = &seen.config.ra204;
    let signed_in = seen.facts.auth_time();
    let said = seen.session.is_some_and(|session| session.said & said::OVER_AGE != 0);
    let age = seen.now.saturating_sub(signed_in);
    if signed_in > 0 && !said && age > i64::try_from(rule.age.get().as_secs()).unwrap_or(i64::MAX) {
        let days = age / 86_400;
        findings.say(rule, Severity::Low, format!("the session is {days} days old"), [("days", json!(days))]);
    }
}

fn say_growth(seen: &Seen<'_>, previous: &Claims, issued: &Claims, findings: &mut Findings) {
    let scopes = |claims: &Claims| -> Vec<String> {
        claims.scope.iter().flat_map(|scope| scope.split_whitespace()).map(str::to_owned).collect()
    };
    let (had, has) = (scopes(previous), scopes(issued));
    let gained: Vec<&String> = has.iter().filter(|scope| !had.contains(scope)).collect();
    let roles = |claims: &Claims| claims.roles.as_ref().map(|roles| roles.count);
    let more_roles = roles(previous).zip(roles(issued)).is_some_and(|(had, has)| has > had);
    if !had.is_empty() && !gained.is_empty() {
        let reason = "the issued access token has a scope that the previous one had not";
        findings.say(&seen.config.ra205, Severity::Medium, reason, [("gained", json!(gained))]);
    } else if more_roles {
        let reason = "the issued access token has more roles than the previous one";
        let evidence = [("roles", json!(roles(issued))), ("roles_before", json!(roles(previous)))];
        findings.say(&seen.config.ra205, Severity::Medium, reason, evidence);
    }
}
