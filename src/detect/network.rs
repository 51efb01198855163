//! RA4xx: where a refresh comes from.

use serde_json::json;

use super::{
    facts::labels,
    findings::{Findings, NO_EVIDENCE},
    lineage::level,
    seen::Seen,
    signals::{Company, Kind, Net, Path},
};
use crate::record::Severity;

/// Looks at one refresh.
pub fn observe(seen: &Seen<'_>, findings: &mut Findings) {
    if seen.is_backend {
        return say_company(seen, findings);
    }
    say_travel(seen, findings);
    say_country(seen, findings);
    say_kind(seen, findings);
    say_company(seen, findings);
    if seen.signals.path == Path::Flip {
        let reason = "back in a network that the session left less than two token lifetimes ago";
        findings.say(&seen.config.ra406, Severity::Medium, reason, NO_EVIDENCE);
    }
}

fn say_travel(seen: &Seen<'_>, findings: &mut Findings) {
    let (rule, net) = (&seen.config.ra401, seen.signals.place());
    let found = match (seen.travel(), seen.elsewhere()) {
        (Some(found), _) => Some((found, in_session(net), "the session's last place")),
        // Where this session is at home, it is the other one that was elsewhere.
        (None, Some(found)) if net >= Net::Area => {
            Some((found, across_sessions(net), "the user's place in another session"))
        }
        _ => None,
    };
    let Some(((km, kmh), severity, what)) = found else { return };
    let reason = format!("{km:.0} km from {what}, at {kmh:.0} km/h");
    findings.say(rule, severity, reason, [("km", json!(km.round())), ("km_per_hour", json!(kmh.round()))]);
}

/// Addresses of one provider, and networks that are the user's own, are where a database says, or they are not: nobody
/// travelled between them.
fn in_session(net: Net) -> Severity {
    match net {
        Net::Unknown | Net::Same | Net::Own => Severity::Low,
        Net::Area | Net::City | Net::Afar => Severity::Medium,
        Net::Country | Net::Abroad => Severity::High,
    }
}

fn across_sessions(net: Net) -> Severity {
    if matches!(net, Net::Area | Net::Afar) { Severity::Low } else { Severity::Medium }
}

fn say_country(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(user), rule) = (seen.user, &seen.config.ra402) else { return };
    let known = u64::from(seen.at.saturating_sub(user.first)) >= rule.known.get().as_secs();
    if seen.signals.place() != Net::Abroad || !known || user.events < rule.events_min {
        return;
    }
    // An aircraft's country is its satellite's, that of a VPN whatever its user has chosen.
    if seen.facts.place.labels & labels::ROAMING != 0 || seen.signals.kind == Kind::Habit {
        return;
    }
    let of_place = seen.event.location.as_ref().and_then(|location| location.country.clone());
    let country = of_place.or_else(|| seen.event.network.as_ref()?.country.clone()).unwrap_or_default();
    let reason = format!("this user was never seen in {country} before");
    findings.say(rule, Severity::Medium, reason, [("country", json!(country))]);
}

fn say_kind(seen: &Seen<'_>, findings: &mut Findings) {
    // Of whom nothing is known yet, nobody can say that it is not their way.
    let is_known = seen.last_context().is_some() || seen.user.is_some_and(|user| user.places().next().is_some());
    let org = seen.event.network.as_ref().and_then(|network| network.org.clone());
    match seen.signals.kind {
        Kind::Hosting => {
            let reason = "from a data centre's network, where this user was never seen";
            let severity = if is_known { Severity::High } else { Severity::Low };
            findings.say(&seen.config.ra403, severity, reason, [("org", json!(org))]);
        }
        kind @ (Kind::Hidden | Kind::Tor) => {
            let rule = &seen.config.ra404;
            let habit = seen.user.is_some_and(|user| {
                user.events > 0 && f64::from(user.hidden) >= rule.habit * f64::from(user.events)
            });
            if !habit || kind == Kind::Tor {
                // Who has done so before does it at times.
                let at_times = seen.user.is_some_and(|user| user.hidden > 0);
                let severity = match kind {
                    Kind::Tor => Severity::High,
                    _ if at_times || !is_known => Severity::Low,
                    _ => Severity::Medium,
                };
                let labels = seen.event.network.as_ref().map(|network| network.labels.clone());
                let reason = "through an anonymising network, which is not this user's habit";
                findings.say(rule, severity, reason, [("labels", json!(labels)), ("org", json!(org))]);
            }
        }
        _ => {}
    }
}

fn say_company(seen: &Seen<'_>, findings: &mut Findings) {
    if seen.signals.company == Company::Many {
        let (users, usual) = seen.company;
        let reason = format!("{users} users that are new to this network refreshed from it within an hour");
        let evidence = [("users", json!(users)), ("usually", json!(usual)), ("network", level(seen.signals.place()))];
        findings.say(&seen.config.ra405, Severity::Critical, reason, evidence);
    }
}
