//! What the rules need of an event, as numbers: made once, outside of the ledger's thread, from the event as it is
//! journaled, so that a replay makes the same.

use std::net::IpAddr;

use super::key::{key, short, tiny};
use crate::event::{Claims, Client, Location, Outcome, RefreshEvent, Token};

pub mod labels;
mod names;

pub use names::OldNames;
use names::{current, old_names, tag, writing_key};

/// What an event means to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A refresh that happened, or is about to.
    Refresh,
    /// A refresh that was refused.
    Refused,
    /// Tokens were revoked, or a user was stopped: what is refreshed after it should not be.
    Revocation,
    /// Nothing that rules know.
    Other,
}

/// The autonomous system of most aircraft and ships, wherever they are (Panther's rules leave it out, too).
const INTELSAT: u32 = 22_351;

/// The event types after which the user's older sessions should be quiet.
pub const STOPPED: &[&str] = &["jwt.refresh-token.revoke", "user.deactivate", "user.delete", "user.delete.complete"];

/// See the module. 0 = unknown in every key.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What it means.
    pub meaning: Meaning,
    /// The sender's instant, seconds since 1970.
    pub occurred: i64,
    /// The tenant.
    pub tenant: u64,
    /// The application within its tenant.
    pub application: u64,
    /// The user within the tenant.
    pub user: u64,
    /// The session, or what stands for it where the tokens name none.
    pub session: u64,
    /// Whether no claim tells it, so that it is that of the token before, if that is known: where refresh tokens work once, what
    /// was presented would make each refresh another session.
    pub unnamed: bool,
    /// The previous access token.
    pub parent: u64,
    /// The issued access token.
    pub child: u64,
    /// The presented refresh token.
    pub presented: u64,
    /// The key that these three were fingerprinted with.
    pub keyed: u16,
    /// What state of before the key was changed calls them.
    pub old: Vec<OldNames>,
    /// What the issued token says of itself.
    pub issued: Stamp,
    /// What the previous token says of itself.
    pub previous: Stamp,
    /// Where from.
    pub place: Place,
    /// By what.
    pub agent: Agent,
    /// The device as its client describes it.
    pub device: u32,
    /// Issuer, key and algorithm of the issued token.
    pub issuer: u32,
    /// The same without the key.
    pub issuer_family: u32,
}

/// The instants of a token, seconds since 1970; 0 = unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Issued.
    pub iat: i64,
    /// Expires.
    pub exp: i64,
    /// Authenticated.
    pub auth_time: i64,
}

/// Where an event came from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// The address; of IPv6 the /64.
    pub ip: u32,
    /// Its /24 or /48.
    pub near: u64,
    /// Its autonomous system where known, else its /16 or /32.
    pub wide: u32,
    /// The country.
    pub country: u16,
    /// The city.
    pub city: u32,
    /// The coordinates.
    pub cell: Option<Cell>,
    /// What the network is, of [`labels`].
    pub labels: u16,
}

/// Coordinates in hundredths of a degree (about 1.1 km).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cell(pub i16, pub i16);

/// Coordinates that may be unknown, in 4 bytes: no place has a latitude of -327.68 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Spot(Cell);

impl Default for Spot {
    fn default() -> Self {
        Self(Cell(i16::MIN, 0))
    }
}

impl Spot {
    /// Keeps them.
    pub fn new(cell: Option<Cell>) -> Self {
        cell.map_or_else(Self::default, Self)
    }

    /// The coordinates, where they are known.
    pub fn cell(self) -> Option<Cell> {
        (self != Self::default()).then_some(self.0)
    }
}

/// What software asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// The user agent's text.
    pub text: u32,
    /// Browser family, operating system and kind together.
    pub class: u16,
    /// The same, but one for all apps of a telephone: an app's widget and its other extensions go by names of their own.
    pub root: u16,
    /// The operating system.
    pub os: u16,
    /// The browser or program.
    pub browser: u16,
    /// The major version.
    pub major: u16,
    /// Whether it is a script.
    pub tool: bool,
    /// Whether it is a program on a server.
    pub server: bool,
    /// Whether it is known to be no browser.
    pub by_program: bool,
}

impl Facts {
    /// Whose it is: the user, or the session of one who is not named. So that one with many sessions counts once.
    pub fn whose(&self) -> u64 {
        if self.user == 0 { self.session } else { self.user }
    }

    /// Reads them from an event.
    pub fn of(event: &RefreshEvent) -> Self {
        let access = &event.tokens.access;
        let (issued, previous) = (stamp(access.issued.as_ref()), stamp(access.previous.as_ref()));
        let text = |id: Option<&str>| id.unwrap_or_default().to_owned();
        let tenant_id = text(event.tenant_id.as_ref().map(|id| id.as_str()));
        let application_id = text(event.application_id.as_ref().map(|id| id.as_str()));
        let user_id = text(event.user_id.as_ref().map(|id| id.as_str()));
        let mut facts = Self {
            meaning: Meaning::of(event),
            occurred: event.occurred_at.millis().div_euclid(1_000),
            tenant: key(&["t", &tenant_id]),
            application: key(&["a", &tenant_id, &application_id]),
            user: if user_id.is_empty() { 0 } else { key(&["u", &tenant_id, &user_id]) },
            session: 0,
            unnamed: false,
            parent: tag(current(access.previous.as_ref())),
            child: tag(current(access.issued.as_ref())),
            presented: tag(current(event.tokens.refresh.presented.as_ref())),
            keyed: writing_key(event),
            old: Vec::new(),
            issued,
            previous,
            place: place(event),
            agent: agent(event),
            device: device(event),
            issuer: issuer(event, true),
            issuer_family: issuer(event, false),
        };
        facts.session = session(event, &facts, facts.presented);
        facts.unnamed = facts.session != 0 && !has_name(event, &facts);
        facts.old = old_names(event, &facts);
        facts
    }

    /// The issued token's lifetime in seconds, where its claims say it and it makes sense.
    pub fn lifetime(&self) -> Option<u32> {
        let Stamp { iat, exp, .. } = self.issued;
        u32::try_from(exp.checked_sub(iat)?).ok().filter(|secs| iat > 0 && *secs > 0)
    }

    /// The instant of authentication that the tokens agree on.
    pub fn auth_time(&self) -> i64 {
        if self.issued.auth_time == 0 { self.previous.auth_time } else { self.issued.auth_time }
    }
}

impl Meaning {
    /// Of an event.
    pub fn of(event: &RefreshEvent) -> Self {
        if STOPPED.contains(&event.kind.as_str()) {
            Self::Revocation
        } else if event.tokens.is_empty() && event.kind != "jwt.refresh" {
            Self::Other
        } else if event.outcome == Outcome::Failure {
            Self::Refused
        } else {
            Self::Refresh
        }
    }
}

/// Whether claims tell the session.
fn has_name(event: &RefreshEvent, facts: &Facts) -> bool {
    event.session_id.is_some() || facts.user != 0 && facts.auth_time() != 0
}

/// What stands for the session: its id; else user and instant of authentication, which no refresh changes; else the
/// refresh token, which stays the same where it is reusable; else the user in the application.
fn session(event: &RefreshEvent, facts: &Facts, presented: u64) -> u64 {
    let tenant = facts.tenant.to_string();
    if let Some(id) = &event.session_id {
        return key(&["s", &tenant, id.as_str()]);
    }
    let (application, user) = (facts.application.to_string(), facts.user.to_string());
    match facts.user {
        _ if presented != 0 && !has_name(event, facts) => key(&["r", &application, &user, &presented.to_string()]),
        0 => 0,
        _ => key(&["f", &application, &user, &facts.auth_time().to_string()]),
    }
}

fn stamp(token: Option<&Token>) -> Stamp {
    let Some(Claims { iat, exp, auth_time, .. }) = token.and_then(|token| token.claims.as_ref()) else {
        return Stamp::default();
    };
    Stamp { iat: iat.unwrap_or(0), exp: exp.unwrap_or(0), auth_time: auth_time.unwrap_or(0) }
}

fn place(event: &RefreshEvent) -> Place {
    let mut place = Place::default();
    if let Some(ip) = &event.ip {
        place.ip = short(key(&[&host(ip, event.address())]));
        let (near, wide) = event.address().map_or_else(|| (ip.clone(), ip.clone()), blocks);
        place.near = key(&["n", &near]);
        place.wide = short(key(&["w", &wide]));
    }
    if let Some(network) = &event.network {
        place.labels = network.labels.iter().fold(0, |all, label| all | labels::of(label));
        if let Some(asn) = network.asn {
            place.wide = short(key(&["asn", &asn.to_string()]));
            place.labels |= labels::NUMBERED;
            if asn == INTELSAT {
                place.labels |= labels::ROAMING;
            }
        }
        if let Some(country) = &network.country {
            place.country = tiny(key(&[&country.to_uppercase()]));
        }
    }
    if event.address().is_some_and(|address| address.is_ipv6()) {
        place.labels |= labels::IPV6;
    }
    if let Some(location) = &event.location {
        read_location(location, &mut place);
    }
    place
}

fn read_location(location: &Location, place: &mut Place) {
    if let Some(country) = &location.country {
        place.country = tiny(key(&[&country.to_uppercase()]));
    }
    if let Some(city) = &location.city {
        place.city = short(key(&[&city.to_lowercase(), location.country.as_deref().unwrap_or_default()]));
    }
    place.cell = location.latitude.zip(location.longitude).map(|(latitude, longitude)| {
        // In range: the decoder checked them.
        Cell((latitude * 100.0) as i16, (longitude * 100.0) as i16)
    });
}

fn issuer(event: &RefreshEvent, with_key: bool) -> u32 {
    let Some(claims) = event.tokens.access.issued.as_ref().and_then(|token| token.claims.as_ref()) else { return 0 };
    let text = |member: &Option<String>| member.clone().unwrap_or_default();
    let kid = if with_key { text(&claims.kid) } else { "-".to_owned() };
    short(key(&[&text(&claims.iss), &kid, &text(&claims.alg)])).max(1)
}

/// What one host or household is called: its IPv4 address, or the /64 of it, within which IPv6 changes by the day (RFC 8981).
fn host(text: &str, address: Option<IpAddr>) -> String {
    match address {
        Some(IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
        _ => text.to_owned(),
    }
}

/// The /24 and /16 of an IPv4 address, the /48 and /32 of an IPv6 address.
fn blocks(address: IpAddr) -> (String, String) {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            (format!("{a}.{b}.{c}"), format!("{a}.{b}"))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            (format!("{a:x}:{b:x}:{c:x}"), format!("{a:x}:{b:x}"))
        }
    }
}

fn agent(event: &RefreshEvent) -> Agent {
    let mut agent = Agent::default();
    let Some(client) = &event.client else {
        if let Some(text) = &event.user_agent {
            // A pseudonym, or nothing that parses: the words without the numbers.
            let words: String = text.chars().filter(|c| c.is_alphabetic()).collect();
            (agent.text, agent.class) = (short(key(&[text])), tiny(key(&[&words])));
            agent.root = agent.class;
        }
        return agent;
    };
    let known = |member: &Option<String>| member.clone().unwrap_or_default();
    let (browser, os, kind) = (known(&client.browser), known(&client.os), known(&client.kind));
    // Where the text is dropped (`privacy.user_agent`), what was read of it stands for it.
    let read = || key(&["client", &browser, &known(&client.version), &os, &kind]);
    agent.text = short(event.user_agent.as_ref().map_or_else(read, |text| key(&[text])));
    agent.class = tiny(key(&["class", &browser, &os, &kind]));
    let is_app = kind == Client::APP && ["iOS", "Android"].contains(&os.as_str());
    agent.root = if is_app { tiny(key(&["apps", &os])) } else { agent.class };
    agent.os = if os.is_empty() { 0 } else { tiny(key(&[&os])) };
    agent.browser = if browser.is_empty() { 0 } else { tiny(key(&[&browser])) };
    let major = client.version.as_deref().and_then(|version| version.split('.').next()?.parse().ok());
    agent.major = major.unwrap_or(0);
    agent.tool = matches!(kind.as_str(), Client::TOOL | Client::BOT);
    agent.server = kind == Client::SERVER;
    agent.by_program = !kind.is_empty() && kind != Client::BROWSER;
    agent
}

fn device(event: &RefreshEvent) -> u32 {
    let Some(device) = &event.device else { return 0 };
    let text = |member: &Option<String>| member.clone().unwrap_or_default();
    short(key(&[&text(&device.name), &text(&device.kind), &text(&device.os)]))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A refresh of one user's one session at an instant (seconds), from one access token to the next, which lives an hour.
    pub(crate) fn refresh(now: i64, parent: u64, child: u64) -> Facts {
        Facts {
            meaning: Meaning::Refresh,
            occurred: now,
            tenant: 1,
            application: 2,
            user: 3,
            session: 4,
            unnamed: false,
            parent,
            child,
            presented: 5,
            keyed: 1,
            old: Vec::new(),
            issued: Stamp { iat: now, exp: now + 3_600, auth_time: 1 },
            previous: Stamp::default(),
            place: Place::default(),
            agent: Agent::default(),
            device: 0,
            issuer: 0,
            issuer_family: 0,
        }
    }
}
