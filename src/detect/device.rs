//! RA5xx: what software and device ask.

use serde_json::json;

use super::{
    findings::Findings,
    key::{key, tiny},
    seen::{LEEWAY_SECS, Seen},
    signals::Software,
    state::session::Context,
};
use crate::{
    event::RefreshEvent,
    record::Severity,
};

/// Refreshes before a user agent can be called rare.
const RARE_EVENTS_MIN: u64 = 10_000;

impl Seen<'_> {
    /// Whether both kinds of software are found on one device: apps of one telephone's system, or two that are seen together of
    /// several users of the application. A script never is.
    pub fn is_related(&self, context: &Context) -> bool {
        let agent = &self.facts.agent;
        let is_one_app = context.class == agent.class || agent.root != 0 && context.root == agent.root;
        is_one_app || !agent.tool && self.application.are_kin(context.class, agent.class)
    }

    /// Another kind of software than any before in the session, which comes at once to where the last one is: what that was.
    pub fn joins(&self) -> Option<u16> {
        let (session, agent) = (self.session?, &self.facts.agent);
        let last = self.last_context().filter(|last| last.agent != 0 && last.ip != 0 && last.ip == self.facts.place.ip)?;
        let is_new = agent.text != 0 && session.contexts().iter().all(|context| context.class != agent.class);
        (is_new && !agent.tool && self.gap() <= Some(LEEWAY_SECS)).then_some(last.class)
    }

    /// The same browser that asks for a desktop's page: an iPhone says Macintosh, an Android phone says Linux.
    pub fn is_desktop_mode(&self, context: &Context) -> bool {
        let agent = &self.facts.agent;
        let systems = |os: &str| tiny(key(&[os]));
        let class_of = |browser: &str, os: &str, kind: &str| tiny(key(&["class", browser, os, kind]));
        let Some(client) = &self.event.client else { return false };
        let (Some(browser), Some(kind)) = (&client.browser, &client.kind) else { return false };
        let turned = |from: &str, to: &str| {
            agent.os == systems(to)
                && [browser.as_str(), "Mobile Safari", "Safari"]
                    .iter()
                    .any(|browser| context.class == class_of(browser, from, kind))
        };
        turned("iOS", "macOS") || turned("macOS", "iOS") || turned("Android", "Linux") || turned("Linux", "Android")
    }
}

/// Looks at one refresh.
pub fn observe(seen: &Seen<'_>, findings: &mut Findings) {
    if seen.is_backend {
        return;
    }
    let client = seen.event.client.clone().unwrap_or_default();
    let (browser, os) = (json!(client.browser), json!(client.os));
    match seen.signals.agent() {
        Software::Other if seen.session.is_some() => {
            let reason = "another browser, operating system or kind of device than before in this session";
            findings.say(&seen.config.ra501, Severity::High, reason, [("browser", browser), ("os", os)]);
        }
        Software::Tool => {
            let reason = "a script refreshes where people use browsers or apps";
            findings.say(&seen.config.ra503, Severity::High, reason, [("client", browser)]);
        }
        Software::Older => {
            let reason = "the browser is older than before in this session";
            findings.say(&seen.config.ra502, Severity::Medium, reason, [("version", json!(client.version))]);
        }
        _ => {}
    }
    let rule = &seen.config.ra504;
    let application = seen.application;
    let is_odd = !application.are_usual(&application.contradictions, rule.share);
    if contradicts(seen.event) && application.events >= rule.events_min && is_odd {
        let reason = "the device's description contradicts its user agent";
        findings.say(rule, Severity::Medium, reason, [("os", json!(client.os))]);
    }
}

/// Many users of one rare user agent from one network. `users`: within a day; `count` of `all` refreshes had it.
pub fn fanned_out(seen: &Seen<'_>, users: u32, (count, all): (u32, u64), findings: &mut Findings) {
    let rule = &seen.config.ra505;
    let is_rare = all >= RARE_EVENTS_MIN && f64::from(count) < rule.share * all as f64;
    if is_rare && users >= rule.users && !seen.is_backend {
        let reason = format!("{users} users with the same rare user agent from one network within a day");
        findings.say(rule, Severity::Medium, reason, [("users", json!(users))]);
    }
}

/// Whether the device claims another operating system than its user agent names, or to be what that does not run on.
pub fn contradicts(event: &RefreshEvent) -> bool {
    let device = event.device.as_ref();
    let of_device = device.and_then(|device| device.os.as_deref()).and_then(system);
    let Some(of_client) = event.client.as_ref().and_then(|client| client.os.as_deref()).and_then(system) else {
        return false;
    };
    // A tablet asks for the desktop's page, as most do, in a desktop's name.
    let is_desktop_mode = |pair| matches!(pair, ("ios", "macos") | ("android", "linux"));
    let kind = device.and_then(|device| device.kind.as_deref()).unwrap_or_default().to_ascii_lowercase();
    let is_impossible = match kind.as_str() {
        "mobile" => ["windows", "chromeos"].contains(&of_client),
        "desktop" | "laptop" | "server" => ["ios", "android"].contains(&of_client),
        _ => false,
    };
    is_impossible || of_device.is_some_and(|of_device| of_device != of_client && !is_desktop_mode((of_device, of_client)))
}

fn system(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let names = [
        ("windows", "windows"),
        ("iphone", "ios"),
        ("ipad", "ios"),
        ("ios", "ios"),
        ("mac", "macos"),
        ("android", "android"),
        ("cros", "chromeos"),
        ("chrome os", "chromeos"),
        ("chromeos", "chromeos"),
        ("linux", "linux"),
        ("ubuntu", "linux"),
    ];
    names.into_iter().find(|(part, _)| text.contains(part)).map(|(_, name)| name)
}
