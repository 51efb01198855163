//! What was usual, in words for a person: network, country and client of the last refresh of a session, and of a user,
//! that nothing was found in. Only told, never judged by.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    facts::Facts,
    key::{key, key_of},
    state::table::{Limits, Table},
};
use crate::{event::RefreshEvent, record::Changed};

/// Sessions and users together; about 80 bytes each.
const KEPT: Limits = Limits { entries: 200_000, kept: 45 * 86_400 };
/// Different words; past it a new one is not remembered.
const WORDS_MAX: usize = 8_192;
/// Characters of a word that are kept.
const WORD_CHARS_MAX: usize = 64;

/// See the module.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Usual {
    by_key: Table<Surroundings>,
    words: Words,
}

/// Where a refresh came from and by what; 0 = unknown, in words by their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Surroundings {
    /// 4 or 6, then the first bytes of the /24 or /48.
    near: [u8; 7],
    asn: u32,
    org: u16,
    country: u16,
    browser: u16,
    os: u16,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Words {
    list: Vec<String>,
    numbers: BTreeMap<u64, u16>,
}

impl Words {
    fn number(&mut self, text: Option<&String>) -> u16 {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return 0 };
        let key = key(&[text]);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.list.len() >= WORDS_MAX {
            return 0;
        }
        self.list.push(text.chars().take(WORD_CHARS_MAX).collect());
        let number = u16::try_from(self.list.len()).unwrap_or(0);
        self.numbers.insert(key, number);
        number
    }

    fn word(&self, number: u16) -> Option<&str> {
        self.list.get(usize::from(number).checked_sub(1)?).map(String::as_str)
    }
}

impl Usual {
    /// What differs from what was usual for the session, else for the user, where that is remembered.
    pub fn changed(&mut self, event: &RefreshEvent, facts: &Facts) -> BTreeMap<String, Changed> {
        let now = self.surroundings(event);
        let before = keys(facts).into_iter().filter(|key| *key != 0).find_map(|key| self.by_key.get(key));
        let Some(before) = before.copied() else { return BTreeMap::new() };
        let network = if before.asn != 0 && now.asn != 0 { before.asn != now.asn } else { before.near != now.near };
        let differ = |a: u16, b: u16| a != b && a != 0 && b != 0;
        let client = differ(before.browser, now.browser) || differ(before.os, now.os);
        [
            ("network", network, self.network(before), self.network(now)),
            ("country", differ(before.country, now.country), self.word(before.country), self.word(now.country)),
            ("client", client, self.client(before), self.client(now)),
        ]
        .into_iter()
        .filter(|(_, differs, ..)| *differs)
        .filter_map(|(what, _, from, to)| Some((what.to_owned(), Changed { from, to: to? })))
        .collect()
    }

    /// Remembers a refresh that nothing was found in.
    pub fn learn(&mut self, event: &RefreshEvent, facts: &Facts, at: u32) {
        let now = self.surroundings(event);
        for key in keys(facts).into_iter().filter(|key| *key != 0) {
            *self.by_key.entry(key, at, KEPT, Surroundings::default) = now;
        }
    }

    fn surroundings(&mut self, event: &RefreshEvent) -> Surroundings {
        let network = event.network.as_ref();
        let country = event.location.as_ref().and_then(|location| location.country.as_ref());
        let country = country.or_else(|| network?.country.as_ref());
        let client = event.client.as_ref();
        Surroundings {
            near: near(event),
            asn: network.and_then(|network| network.asn).unwrap_or(0),
            org: self.words.number(network.and_then(|network| network.org.as_ref())),
            country: self.words.number(country),
            browser: self.words.number(client.and_then(|client| client.browser.as_ref())),
            os: self.words.number(client.and_then(|client| client.os.as_ref())),
        }
    }

    fn word(&self, number: u16) -> Option<String> {
        self.words.word(number).map(str::to_owned)
    }

    fn network(&self, of: Surroundings) -> Option<String> {
        let org = self.words.word(of.org).map(|org| format!(" {org}")).unwrap_or_default();
        if of.asn != 0 { Some(format!("AS{}{org}", of.asn)) } else { block(of.near).map(|block| block.to_string()) }
    }

    fn client(&self, of: Surroundings) -> Option<String> {
        match (self.words.word(of.browser), self.words.word(of.os)) {
            (Some(browser), Some(os)) => Some(format!("{browser} on {os}")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    }
}

/// The session's key, then the user's.
fn keys(facts: &Facts) -> [u64; 2] {
    [facts.session, if facts.user == 0 { 0 } else { key_of(facts.user) }]
}

/// The /24 or /48 of an event's address.
pub fn network_of(event: &RefreshEvent) -> Option<IpNet> {
    let address = event.address()?;
    IpNet::new(address, if address.is_ipv4() { 24 } else { 48 }).ok().map(|net| net.trunc())
}

fn near(event: &RefreshEvent) -> [u8; 7] {
    match network_of(event) {
        Some(IpNet::V4(net)) => {
            let [a, b, c, _] = net.network().octets();
            [4, a, b, c, 0, 0, 0]
        }
        Some(IpNet::V6(net)) => {
            let [a, b, c, d, e, f, ..] = net.network().octets();
            [6, a, b, c, d, e, f]
        }
        None => [0; 7],
    }
}

fn block([version, a, b, c, d, e, f]: [u8; 7]) -> Option<IpNet> {
    let v6 = || [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    match version {
        4 => IpNet::new([a, b, c, 0].into(), 24).ok(),
        6 => IpNet::new(v6().into(), 48).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::detect::facts::testing;

    fn event(ip: &str, more: &serde_json::Value) -> RefreshEvent {
        let mut json = json!({ "id": "e", "type": "jwt.refresh", "occurred_at": "2026-11-22T06:40:00.000Z",
                               "outcome": "attempted", "ip": ip });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_changed_is_said_in_words() {
        let facts = testing::refresh(0, 1, 2);
        let home = json!({ "client": { "browser": "Firefox", "os": "Linux" },
                           "network": { "asn": 64500, "org": "Home Net", "country": "FI" } });
        let away = json!({ "client": { "browser": "curl" }, "network": { "asn": 64501, "country": "NL" } });
        let mut usual = Usual::default();
        assert!(usual.changed(&event("192.0.2.1", &home), &facts).is_empty());
        usual.learn(&event("192.0.2.1", &home), &facts, 1);
        // Another address of the same network is no change.
        assert!(usual.changed(&event("198.51.100.1", &home), &facts).is_empty());
        let changed = usual.changed(&event("198.51.100.1", &away), &facts);
        let said: Vec<_> = changed.iter().map(|(what, c)| (what.as_str(), c.from.as_deref(), c.to.as_str())).collect();
        let expected = [
            ("client", Some("Firefox on Linux"), "curl"),
            ("country", Some("FI"), "NL"),
            ("network", Some("AS64500 Home Net"), "AS64501"),
        ];
        assert_eq!(said, expected);
        // Without a database the block tells; a new session is compared with the user's last one.
        let facts = Facts { session: 99, ..facts };
        usual.learn(&event("2001:db8:1:2::3", &json!({})), &facts, 2);
        let facts = Facts { session: 98, ..facts };
        let changed = usual.changed(&event("192.0.2.1", &json!({})), &facts);
        let network = &changed["network"];
        assert_eq!((network.from.as_deref(), network.to.as_str()), (Some("2001:db8:1::/48"), "192.0.2.0/24"));
    }
}
