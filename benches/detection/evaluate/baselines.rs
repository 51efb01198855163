//! The published score and public rules, from their documented logic, on the fields that the product gets too.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{measure::Truth, similar::ratio};
use crate::{
    body,
    freeman::{Features, Freeman, Limits},
    networks::Kind,
    places::{CITIES, DAY, HOUR, MINUTE, Ms, great_circle},
    policy::Info,
    traffic::Event,
};

/// What a rule sees of an event.
struct Seen<'a> {
    number: usize,
    at: Ms,
    family: usize,
    person: usize,
    address: Option<String>,
    asn: Option<u32>,
    place: Option<(f64, f64)>,
    country: Option<&'static str>,
    agent: Option<&'a str>,
    browser: String,
    system: &'static str,
    kind: &'static str,
}

/// Scores by event, of each method.
pub fn all(truth: &Truth) -> Vec<(&'static str, Vec<f64>)> {
    let traffic = truth.traffic;
    let mut order: Vec<(Ms, usize)> = Vec::with_capacity(traffic.events.len());
    for (number, event) in traffic.events.iter().enumerate() {
        order.extend(body::deliveries(traffic.seed, event)[0].map(|arrives| (arrives, number)));
    }
    order.sort_unstable();
    let seen: Vec<Seen> = order.into_iter().map(|(_, number)| see(number, truth)).collect();
    let rule = |judge: &mut dyn FnMut(&Seen) -> bool| {
        let mut scores = vec![0.0; traffic.events.len()];
        for event in &seen {
            scores[event.number] = f64::from(u8::from(judge(event)));
        }
        scores
    };
    vec![
        ("Freeman et al.", freeman(&seen, traffic.events.len())),
        ("Auth0 Action (initial ASN or UA)", rule(&mut auth0())),
        ("Panther stolen session", rule(&mut panther())),
        ("Splunk session cookie", rule(&mut splunk())),
        ("Okta velocity (805 km/h)", rule(&mut okta())),
        ("Elastic multiple addresses", rule(&mut elastic())),
    ]
}

fn see<'a>(number: usize, truth: &Truth<'a>) -> Seen<'a> {
    let traffic = truth.traffic;
    let event: &Event = &traffic.events[number];
    let info = traffic.apps[traffic.families[event.family].app].info;
    let address = event.address.filter(|_| info != Info::None);
    let agent = event.agent.as_deref().filter(|_| matches!(info, Info::Full | Info::NoLocation));
    let city = address.filter(|_| info == Info::Full).map(|address| &CITIES[traffic.world.city(address, event.at)]);
    let placed = address.filter(|address| traffic.world.kind(*address) != Kind::Inflight).and(city);
    let (browser, system, kind) = client(agent.unwrap_or_default());
    Seen {
        number,
        at: event.created,
        family: event.family,
        person: truth.person(number),
        address: address.map(|address| address.ip.to_string()),
        asn: address.map(|address| traffic.world.networks[traffic.world.pools[address.pool].network].asn),
        place: placed.map(|city| (city.latitude, city.longitude)),
        country: city.map(|city| city.country),
        agent,
        browser,
        system,
        kind,
    }
}

/// Browser and version, system, kind of device: enough for the agents that there are here.
fn client(agent: &str) -> (String, &'static str, &'static str) {
    let products =
        ["Edg/", "SamsungBrowser/", "Firefox/", "CriOS/", "Electron/", "HeadlessChrome/", "Chrome/", "Version/"];
    let browser = products.iter().find_map(|product| {
        let rest = &agent[agent.find(product)?..];
        Some(rest.split([' ', '.', ';']).next()?.to_owned())
    });
    let systems =
        [("iPhone", "iOS"), ("iPad", "iOS"), ("CFNetwork", "iOS"), ("Android", "Android"), ("okhttp", "Android")];
    let more = [("Windows", "Windows"), ("Macintosh", "macOS"), ("Linux", "Linux")];
    let system =
        systems.into_iter().chain(more).find(|(mark, _)| agent.contains(mark)).map_or("other", |(_, name)| name);
    let kind = if matches!(system, "iOS" | "Android") { "mobile" } else { "desktop" };
    (browser.unwrap_or_else(|| agent.split(['/', ' ']).next().unwrap_or_default().to_owned()), system, kind)
}

fn freeman(seen: &[Seen], events: usize) -> Vec<f64> {
    let mut freeman = Freeman::new(Limits { values: 1 << 20, ..Limits::default() });
    let mut scores = vec![0.0; events];
    for event in seen {
        let user = event.person.to_string();
        let features = Features {
            address: event.address.as_deref(),
            asn: event.asn,
            country: event.country,
            agent: event.agent,
            browser: Some(&event.browser),
            system: Some(event.system),
            kind: Some(event.kind),
        };
        // A user's first login is accepted.
        scores[event.number] = freeman.score(&user, &features).unwrap_or(0.0);
        freeman.learn(&user, &features);
    }
    scores
}

/// Auth0's Action: AS or user agent differ from those at the session's start.
fn auth0() -> impl FnMut(&Seen) -> bool {
    let mut first: HashMap<usize, (Option<u32>, Option<String>)> = HashMap::new();
    move |event| {
        let now = (event.asn, event.agent.map(str::to_owned));
        *first.entry(event.family).or_insert_with(|| now.clone()) != now
    }
}

/// panther-analysis `okta_potentially_stolen_session.py`: another address and a user agent less than 95 % alike than a day's
/// first.
fn panther() -> impl FnMut(&Seen) -> bool {
    let mut cache: HashMap<usize, (Ms, String, String)> = HashMap::new();
    move |event| {
        let (Some(address), Some(agent)) = (&event.address, event.agent) else { return false };
        let entry = cache.get(&event.family).filter(|(at, ..)| event.at < at + DAY);
        match entry {
            Some((_, known, like)) => known != address && like != agent && ratio(like, agent) < 0.95,
            None => {
                cache.insert(event.family, (event.at, address.clone(), agent.to_owned()));
                false
            }
        }
    }
}

/// Events of each session in the last day.
struct Window<T>(BTreeMap<usize, Vec<(Ms, T)>>);

impl<T> Window<T> {
    fn push(&mut self, family: usize, at: Ms, value: T) -> &[(Ms, T)] {
        let events = self.0.entry(family).or_default();
        events.retain(|(then, _)| at - then < DAY);
        events.push((at, value));
        events
    }
}

fn several<T: Ord>(values: impl Iterator<Item = T>) -> bool {
    values.collect::<BTreeSet<_>>().len() > 1
}

/// Splunk `okta_suspicious_use_of_a_session_cookie.yml`: several addresses, and several systems or browsers.
fn splunk() -> impl FnMut(&Seen) -> bool {
    let mut window = Window(BTreeMap::new());
    move |event| {
        if event.agent.is_none() || event.address.is_none() {
            return false;
        }
        // Without the version: the field is the browser's name.
        let browser = event.browser.split('/').next().unwrap_or_default().to_owned();
        let events = window.push(event.family, event.at, (event.address.clone(), event.system, browser));
        several(events.iter().map(|(_, (address, ..))| address))
            && (several(events.iter().map(|(_, (_, system, _))| system))
                || several(events.iter().map(|(_, (.., browser))| browser)))
    }
}

/// Okta's velocity behaviour: faster than 805 km/h since the user's last event (20 km and less do not count, its radius).
fn okta() -> impl FnMut(&Seen) -> bool {
    let mut last: HashMap<usize, (Ms, (f64, f64))> = HashMap::new();
    move |event| {
        let Some(place) = event.place else { return false };
        let Some((then, from)) = last.insert(event.person, (event.at, place)) else { return false };
        let distance = great_circle(from, place);
        let hours = (event.at - then).max(MINUTE) as f64 / HOUR as f64;
        distance > 20.0 && distance / hours > 805.0
    }
}

/// Elastic `entra_id_graph_single_session_from_multiple_addresses`: several addresses and several ASes within a day.
fn elastic() -> impl FnMut(&Seen) -> bool {
    let mut window = Window(BTreeMap::new());
    move |event| {
        let (Some(address), Some(asn)) = (event.address.clone(), event.asn) else { return false };
        let events = window.push(event.family, event.at, (address, asn));
        several(events.iter().map(|(_, (address, _))| address)) && several(events.iter().map(|(_, (_, asn))| asn))
    }
}
