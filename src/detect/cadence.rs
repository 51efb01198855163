//! RA3xx: when a session is refreshed.

use serde_json::json;

use super::{
    facts::labels,
    findings::Findings,
    geo::TURN_SECS,
    seen::{BURST_RATE, LEEWAY_SECS, Seen},
    signals::{Hour, Net, Pace, Software},
    state::session::RATE_SECS,
};
use crate::{event::RefreshEvent, record::Severity};

impl Seen<'_> {
    /// How long after the token before, in lifetimes of it. Where the parent says when it was issued, its holder's own time
    /// counts, not that of another tab.
    pub fn lifetimes(&self) -> Option<f64> {
        let session = self.session.filter(|session| session.lifetime != 0 && session.events != 0)?;
        let own = self.now.saturating_sub(self.facts.previous.iat);
        let own = u32::try_from(own).ok().filter(|_| self.facts.previous.iat > 0);
        Some(f64::from(own.or(self.gap())?) / f64::from(session.lifetime))
    }

    /// When, by what is usual of the session and its application.
    pub fn pace(&self) -> Pace {
        let (Some(session), Some(lifetimes)) = (self.session, self.lifetimes()) else { return Pace::Unknown };
        let usual = if session.pace == 0 { self.application.pace } else { session.pace };
        let waits = usual >= 1_024;
        let usual = if usual == 0 { 1.0 } else { (f64::from(usual) / 1_024.0).clamp(0.05, 1.0) };
        let at_once = f64::from(LEEWAY_SECS) / f64::from(session.lifetime);
        if lifetimes <= at_once.clamp(0.02, 0.2) {
            // Who presses reload again and again says no more than who does it once.
            return if session.rate >= BURST_RATE { Pace::Unknown } else { Pace::Burst };
        }
        match lifetimes {
            early if early < 0.8 * usual && !self.application.keeps_gap(early) => Pace::Early,
            ahead if ahead >= 0.8 * usual && ahead < 1.0 && waits => Pace::Ahead,
            in_time if in_time < 1.2 => Pace::OnTime,
            late if late < 8.0 => Pace::Late,
            _ => Pace::Idle,
        }
    }
}

/// Looks at one refresh.
pub fn observe(seen: &Seen<'_>, findings: &mut Findings) {
    say_storm(seen, findings);
    if seen.is_backend {
        return;
    }
    say_early(seen, findings);
    say_trains(seen, findings);
    say_awake(seen, findings);
    say_hour(seen, findings);
}

fn say_early(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(session), rule) = (seen.session, &seen.config.ra301) else { return };
    let (early, timed) = (f64::from(session.early), f64::from(session.timed));
    if seen.signals.pace.max(seen.signals.blind) != Pace::Early || u32::from(session.timed) < rule.seen_min || early > rule.early_rate * timed {
        return;
    }
    let gap = seen.gap().unwrap_or(0);
    let lifetime = session.lifetime;
    let reason = format!(
        "refreshed {gap} s after the last time, with a token that lives {lifetime} s; of {timed} refreshes before, {early} \
         were that early"
    );
    findings.say(rule, Severity::Medium, reason, [("gap_seconds", json!(gap)), ("lifetime_seconds", json!(lifetime))]);
}

/// Whether this refresh is in the context before the last one, less than three lifetimes after it.
pub fn alternates(seen: &Seen<'_>) -> bool {
    let Some(session) = seen.session else { return false };
    let [last, before, ..] = session.contexts() else { return false };
    let now = seen.context();
    now.is_like(before)
        && !now.is_like(last)
        && !now.is_other_family(last)
        && !labels::moves(now.labels | last.labels)
        && seen.seconds().saturating_sub(before.last) <= session.lifetime.clamp(60, TURN_SECS).saturating_mul(3)
}

fn say_trains(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(session), rule) = (seen.session, &seen.config.ra302) else { return };
    let times = u32::from(session.alternations) + 1;
    if alternates(seen) && times >= rule.alternations {
        let reason = format!("two clients take turns in this session: {times} changes there and back");
        findings.say(rule, Severity::High, reason, [("alternations", json!(times))]);
    }
}

fn say_awake(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(session), rule) = (seen.session, &seen.config.ra303) else { return };
    let gap = seen.gap().unwrap_or(0);
    let sleep = u64::from(session.gap_max).saturating_mul(4).max(rule.idle.get().as_secs());
    let foreign = seen.signals.place() >= Net::Area || seen.signals.agent() >= Software::Other;
    if u64::from(gap) > sleep && foreign {
        let days = gap / 86_400;
        let reason = format!("the session slept for {days} days and wakes in surroundings that are new to it");
        findings.say(rule, Severity::Medium, reason, [("days", json!(days))]);
    }
}

fn say_storm(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(session), rule) = (seen.session, &seen.config.ra304) else { return };
    let in_window = seen.at.saturating_sub(session.rate_from) < RATE_SECS;
    let count = if in_window { u32::from(session.rate) + 1 } else { 1 };
    // Once when it begins, once when it is bad: not at every refresh of the storm.
    if count == rule.refreshes.saturating_add(1) || count == rule.high.saturating_add(1) {
        let severity = if count > rule.high { Severity::High } else { Severity::Low };
        let reason = format!("{count} refreshes of one session within 10 minutes");
        findings.say(rule, severity, reason, [("refreshes", json!(count))]);
    }
}

/// A session or address whose refreshes are refused in a row. `attempts`: this one included.
pub fn refused(config: &super::catalogue::Config, event: &RefreshEvent, attempts: u32, findings: &mut Findings) {
    let class = event.failure.as_ref().map(|failure| failure.class.clone());
    let reason = format!("{attempts} refused refreshes within 10 minutes");
    findings.say(&config.ra107, Severity::Medium, reason, [("attempts", json!(attempts)), ("class", json!(class))]);
}

fn say_hour(seen: &Seen<'_>, findings: &mut Findings) {
    if seen.signals.hour == Hour::Never {
        let (hour, zone) = (seen.local_hour().hour, seen.config.zones.name(seen.facts.tenant));
        let reason = format!("this user is never seen around {hour}:00 ({zone})");
        findings.say(&seen.config.ra305, Severity::Low, reason, [("hour", json!(hour)), ("zone", json!(zone))]);
    }
}
