//! RA1xx: which token was issued from which. The one sign that needs no history of places or browsers.

use serde_json::{Value, json};

use super::{
    findings::Findings,
    seen::Seen,
    signals::{Kind, Net, Software},
    state::chain::Parent,
};
use crate::{
    event::Claims,
    record::{Evidence, Severity},
};

/// A client of which this share forks keeps a token in each of its tabs.
const TABS_SHARE: f64 = 0.2;
/// Refreshes before that share says anything.
const TABS_EVENTS_MIN: u16 = 10;
/// A revocation and a refresh this close may have overtaken each other, seconds.
const REVOKED_LEEWAY: i64 = 2;

/// Looks at one refresh.
pub fn observe(seen: &Seen<'_>, findings: &mut Findings) {
    match seen.parent {
        Parent::Race if seen.signals.agent() >= Software::Other => {
            say_fork(seen, findings, "was spent a moment ago by other software", 0);
        }
        Parent::Retry(gap) => say_fork(seen, findings, "was spent before, and what it was spent for was never used", gap),
        Parent::Branch => {
            say_fork(seen, findings, "is not the newest of this session: two clients are using one session", 0);
        }
        Parent::Left => {
            say_fork(seen, findings, "was left behind by a newer one: two clients are using one session", 0);
        }
        Parent::Stale(behind) => say_stale(seen, findings, behind),
        Parent::Denied => findings.say(
            &seen.config.ra102,
            Severity::Info,
            "the previous token came from a refresh that was denied here: another party let it through",
            [("network", level(seen.signals.place())), ("software", level(seen.signals.agent()))],
        ),
        Parent::Before => findings.say(
            &seen.config.ra102,
            Severity::Medium,
            "the previous token is older than all that was seen of this session: it has more than one",
            [("network", level(seen.signals.place())), ("software", level(seen.signals.agent()))],
        ),
        Parent::None => say_missing(seen, findings),
        _ => {}
    }
    say_mismatch(seen, findings);
    say_reuse(seen, findings);
    say_revoked(seen, findings);
}

/// What makes a fork better or worse.
fn surroundings(seen: &Seen<'_>) -> Surroundings {
    let (net, software) = (seen.signals.place(), seen.signals.agent());
    let is_hosted = seen.signals.kind >= Kind::Hosting;
    let forks = seen.session.is_some_and(|session| {
        let odd = f64::from(session.forked);
        session.originals >= TABS_EVENTS_MIN && odd >= TABS_SHARE * f64::from(session.originals)
    });
    // Where tabs keep tokens, the fork is theirs: it is no worse in a VPN that was switched on. Tor is none.
    let is_foreign = is_hosted && (seen.signals.kind == Kind::Tor || !forks && !seen.application.keeps_tabs());
    // Other software where the session always was is as a rule the same person's, who opened it there.
    if software >= Software::Other && net >= Net::Area || is_foreign {
        return Surroundings::Foreign;
    }
    if net >= Net::Area || software >= Software::Older || is_hosted {
        return Surroundings::New;
    }
    if seen.session.is_none() {
        return Surroundings::Same;
    }
    if forks || seen.is_one_device() || net <= Net::Same && software <= Software::Same && seen.application.keeps_tabs() {
        return Surroundings::Habit;
    }
    if net == Net::Own || software == Software::Own { Surroundings::Changed } else { Surroundings::Same }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    /// This session, or its application's, fork all the time, in their own surroundings.
    Habit,
    /// Same network, same software.
    Same,
    /// Others of the session's own.
    Changed,
    /// A network that is new, or older or other software.
    New,
    /// Other software in a network that is new, a data centre or Tor.
    Foreign,
}

fn say_fork(seen: &Seen<'_>, findings: &mut Findings, how: &str, gap: u32) {
    let is_retry = matches!(seen.parent, Parent::Retry(_));
    let severity = match surroundings(seen) {
        Surroundings::Habit => Severity::Low,
        Surroundings::Same if is_retry => Severity::Medium,
        Surroundings::Same | Surroundings::Changed | Surroundings::New => Severity::High,
        Surroundings::Foreign => Severity::Critical,
    };
    let reason = format!("the previous access token {how}");
    let gap = if gap == 0 { Value::Null } else { json!(gap) };
    findings.say(
        &seen.config.ra101,
        severity,
        reason,
        [("seconds_since_spent", gap), ("network", level(seen.signals.place())), ("software", level(seen.signals.agent()))],
    );
}

fn say_stale(seen: &Seen<'_>, findings: &mut Findings, behind: u32) {
    let surroundings = surroundings(seen);
    // A browser that was restored from an old copy wakes once, where it always was, after its token has expired.
    let restored = seen.session.is_some_and(|session| session.lifetime > 0 && seen.gap() > Some(session.lifetime));
    let severity = match surroundings {
        Surroundings::Habit => Severity::Low,
        Surroundings::Same if restored => Severity::Medium,
        Surroundings::Foreign => Severity::Critical,
        _ => Severity::High,
    };
    // Its own child is a generation, too.
    let generations = behind.saturating_add(1);
    let reason = format!("the previous access token is {generations} or more generations old: an old copy of it is in use");
    findings.say(
        &seen.config.ra102,
        severity,
        reason,
        [("generations", json!(generations)), ("network", level(seen.signals.place())), ("software", level(seen.signals.agent()))],
    );
}

fn say_missing(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(session), rule) = (seen.session, &seen.config.ra103) else { return };
    let (with, without) = (u32::from(session.originals), u32::from(session.omitted));
    if with < rule.seen_min || with < without.saturating_mul(rule.ratio_min) {
        return;
    }
    let severity = match (surroundings(seen), seen.application.lapses(rule.ratio_min)) {
        (Surroundings::Foreign, _) | (Surroundings::New, false) => Severity::High,
        (Surroundings::New, true) | (_, false) => Severity::Medium,
        // Clients of this application do so, sooner or later.
        (_, true) => Severity::Low,
    };
    let reason = format!("no previous access token was sent; this session's client sent it {with} times of {}", with + without);
    // How much that says: of an application whose clients seldom send it, little.
    let coverage = (seen.application.coverage() * 1_000.0).round() / 1_000.0;
    let evidence = [("sent", json!(with)), ("not_sent", json!(without)), ("application_coverage", json!(coverage))];
    findings.say(rule, severity, reason, evidence);
}

fn say_mismatch(seen: &Seen<'_>, findings: &mut Findings) {
    let access = &seen.event.tokens.access;
    let claims = |token: &Option<crate::event::Token>| token.as_ref().and_then(|token| token.claims.clone());
    let (Some(from), Some(to)) = (claims(&access.previous), claims(&access.issued)) else { return };
    let differing = differing(&from, &to);
    // Who signs in anew may still hold the token of the session before, and send it along once.
    let is_newer = from.auth_time.zip(to.auth_time).is_some_and(|(from, to)| from < to);
    let is_first = seen.session.is_none() && seen.user.is_some_and(|user| user.events != 0);
    let is_leftover = is_first && is_newer && differing.iter().all(|claim| ["sid", "auth_time"].contains(claim));
    let severity = if is_leftover { Severity::Medium } else { Severity::High };
    if !differing.is_empty() {
        let reason = format!("previous and issued access token differ in {}", differing.join(", "));
        findings.say(&seen.config.ra104, severity, reason, [("claims", json!(differing))]);
    }
}

/// Claims that no refresh changes. One that is absent on a side says nothing.
fn differing(from: &Claims, to: &Claims) -> Vec<&'static str> {
    let mut aud = (from.aud.clone(), to.aud.clone());
    aud.0.sort_unstable();
    aud.1.sort_unstable();
    let differ = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b);
    [
        ("sid", differ(&from.sid, &to.sid)),
        ("sub", differ(&from.sub, &to.sub)),
        ("aud", !aud.0.is_empty() && !aud.1.is_empty() && aud.0 != aud.1),
        ("tid", differ(&from.tid, &to.tid)),
        ("auth_time", from.auth_time.zip(to.auth_time).is_some_and(|(a, b)| a != b)),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

fn say_reuse(seen: &Seen<'_>, findings: &mut Findings) {
    let (Some(session), rule) = (seen.session, &seen.config.ra105) else { return };
    let presented = super::key::short(seen.facts.presented);
    if seen.facts.presented == 0 || seen.application.is_one_time() != Some(true) || !session.presented.contains(&presented) {
        return;
    }
    let gap = seen.gap().unwrap_or(0);
    let same = seen.signals.place() <= Net::Same && seen.signals.agent() <= Software::Same;
    let at_once = u64::from(gap) <= rule.leeway.get().as_secs();
    let severity = match same {
        true if at_once => Severity::Info,
        // None was shown in between: a long grace period does this, and so does a policy that was just changed.
        true if session.presented[0] == presented => Severity::Medium,
        _ => Severity::High,
    };
    let reason = "a refresh token that works once in this application was shown a second time";
    findings.say(rule, severity, reason, [("seconds_since", json!(gap))]);
}

fn say_revoked(seen: &Seen<'_>, findings: &mut Findings) {
    let signed_in = match seen.facts.auth_time() {
        // By the sender's clock, which may be ahead of ours.
        0 => seen.session.map_or(seen.now, |session| {
            i64::from(session.first) + (seen.now - i64::from(seen.at)).max(0)
        }),
        auth_time => auth_time,
    };
    let revoked = [
        (seen.revoked.session, "the session"),
        (seen.revoked.user_in_application, "the user in this application"),
        (seen.revoked.user, "the user"),
        (seen.revoked.application, "the application"),
    ];
    for (when, what) in revoked {
        let when = i64::from(when);
        let before = what == "the session" || signed_in < when;
        if when != 0 && before && seen.now > when + REVOKED_LEEWAY {
            let after = seen.now - when;
            let reason = format!("the tokens of {what} were revoked {after} s before this refresh");
            findings.say(&seen.config.ra106, Severity::Critical, reason, [("seconds_after", json!(after))]);
            return;
        }
    }
}

/// An id that came again with another body.
pub fn replayed(config: &super::catalogue::Config, of: u64, findings: &mut Findings) {
    let reason = format!("the event's id was recorded before (seq {of}) with another body");
    findings.say(&config.ra108, Severity::High, reason, [("of", json!(of))]);
}

/// An instant that the sender cannot have meant. `usual`: how far ahead its clock usually is, seconds.
pub fn skewed(seen: &Seen<'_>, evidence: &Evidence, usual: f32, findings: &mut Findings) {
    let ahead = seen.facts.occurred - i64::from(seen.at);
    let limit = i64::try_from(seen.config.ra108.skew.get().as_secs()).unwrap_or(i64::MAX);
    if !evidence.clock_skew || ahead <= 0 || ahead - usual as i64 <= limit {
        return;
    }
    let reason = format!("the event says it happens {ahead} s from now");
    findings.say(&seen.config.ra108, Severity::Medium, reason, [("seconds_ahead", json!(ahead))]);
}

/// A level of a signal, in a word.
pub fn level(level: impl serde::Serialize) -> Value {
    serde_json::to_value(level).ok().filter(|word| word != "unknown").unwrap_or_default()
}
