//! `[privacy]`: how much of the personal members of an event is written down. What is hashed into a chain cannot be
//! taken back, so this comes before the journal.
//!
//! Pure; knows `event` and `secret`. What was derived before from the address and the user agent (`network`, `client`)
//! stays as it is; a place derived from the address is a `location` like any other. A value that `keep`
//! copied into `kept` is removed where it repeats what was changed here.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{
    event::{Device, Location, RefreshEvent},
    secret::Fingerprinter,
};

/// Texts shorter than this are looked for in `kept` as whole values only: `US` is inside of anything.
const SEARCHED_BYTES_MIN: usize = 6;

/// What to do with a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As it came.
    #[default]
    Keep,
    /// Less exact: an address to its /24 or /48; a place to 0.1 degree (about 11 km), without `zipcode` and `display`.
    Truncate,
    /// A keyed fingerprint of it: equal values stay equal, and no one without the key can tell which.
    Pseudonym,
    /// Not at all.
    Drop,
}

/// `[privacy]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `event.ip`.
    pub ip: Mode,
    /// `event.user_agent`.
    #[serde(deserialize_with = "whole")]
    pub user_agent: Mode,
    /// `event.location`. As a pseudonym, each text is one and the coordinates are dropped.
    pub location: Mode,
    /// `event.device`. As a pseudonym, each text is one.
    #[serde(deserialize_with = "whole")]
    pub device: Mode,
}

/// A mode for what has no lesser exactness.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
    match Mode::deserialize(from)? {
        Mode::Truncate => {
            Err(D::Error::custom("`truncate` is for ip and location only; use `keep`, `pseudonym` or `drop`"))
        }
        mode => Ok(mode),
    }
}

impl Config {
    /// Makes the event say only what it may.
    pub fn apply(&self, event: &mut RefreshEvent, fingerprints: &Fingerprinter) {
        let mut hidden = Hidden::default();
        let pseudonym = |text: String| fingerprints.fingerprint(text.as_bytes()).to_string();
        if self.ip != Mode::Keep {
            hidden.text(&event.ip);
            event.ip = event.ip.take().and_then(|ip| match self.ip {
                Mode::Keep => Some(ip),
                Mode::Truncate => truncated(&ip),
                Mode::Pseudonym => Some(pseudonym(ip)),
                Mode::Drop => None,
            });
        }
        if self.user_agent != Mode::Keep {
            hidden.text(&event.user_agent);
            event.user_agent = event.user_agent.take().filter(|_| self.user_agent == Mode::Pseudonym).map(pseudonym);
        }
        if self.device != Mode::Keep {
            if let Some(Device { name, kind, description, os }) = &event.device {
                [name, kind, description, os].into_iter().for_each(|text| hidden.text(text));
            }
            event.device = event.device.take().filter(|_| self.device == Mode::Pseudonym).map(|device| Device {
                name: device.name.map(pseudonym),
                kind: device.kind.map(pseudonym),
                description: device.description.map(pseudonym),
                os: device.os.map(pseudonym),
            });
        }
        if self.location != Mode::Keep {
            event.location = event.location.take().and_then(|place| self.place(place, &mut hidden, pseudonym));
        }
        if !hidden.is_empty() {
            event.kept.retain(|_, value| !hidden.in_value(value));
        }
    }

    fn place(&self, place: Location, hidden: &mut Hidden, pseudonym: impl Fn(String) -> String) -> Option<Location> {
        hidden.numbers.extend([place.latitude, place.longitude].into_iter().flatten());
        hidden.text(&place.zipcode);
        hidden.text(&place.display);
        if self.location != Mode::Truncate {
            [&place.city, &place.region, &place.country].into_iter().for_each(|text| hidden.text(text));
        }
        match self.location {
            Mode::Keep => Some(place),
            Mode::Truncate => Some(Location {
                latitude: place.latitude.map(tenth),
                longitude: place.longitude.map(tenth),
                zipcode: None,
                display: None,
                ..place
            }),
            Mode::Pseudonym => Some(Location {
                city: place.city.map(&pseudonym),
                region: place.region.map(&pseudonym),
                country: place.country.map(&pseudonym),
                zipcode: place.zipcode.map(&pseudonym),
                display: place.display.map(&pseudonym),
                latitude: None,
                longitude: None,
                from: place.from,
            }),
            Mode::Drop => None,
        }
        .filter(|place| *place != Location { from: place.from.clone(), ..Location::default() })
    }
}

/// The /24 or /48 an address lies in; nothing of what is no address.
fn truncated(ip: &str) -> Option<String> {
    let address = ip.parse::<IpAddr>().ok()?.to_canonical();
    IpNet::new(address, truncated_to(&address.into())).ok().map(|net| net.network().to_string())
}

/// Bits that [`Mode::Truncate`] leaves of the addresses in a network.
pub fn truncated_to(network: &IpNet) -> u8 {
    match network {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 48,
    }
}

/// To one decimal, never -0.
fn tenth(degrees: f64) -> f64 {
    (degrees * 10.0).round() / 10.0 + 0.0
}

/// What was there and must not be found elsewhere.
#[derive(Default)]
struct Hidden {
    texts: Vec<String>,
    numbers: Vec<f64>,
}

impl Hidden {
    fn text(&mut self, text: &Option<String>) {
        self.texts.extend(text.clone());
    }

    fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.numbers.is_empty()
    }

    fn in_value(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => number.as_f64().is_some_and(|number| self.numbers.contains(&number)),
            Value::String(text) => self.in_text(text),
            Value::Array(list) => list.iter().any(|item| self.in_value(item)),
            Value::Object(members) => members.iter().any(|(name, item)| self.in_text(name) || self.in_value(item)),
        }
    }

    fn in_text(&self, text: &str) -> bool {
        // The same address may be written in another way.
        let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical().to_string());
        self.texts.iter().any(|hidden| {
            hidden == text
                || address.as_ref() == Some(hidden)
                || (hidden.len() >= SEARCHED_BYTES_MIN && text.contains(hidden.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    fn event() -> RefreshEvent {
        serde_json::from_value(json!({
            "id": "e1", "type": "jwt.refresh", "occurred_at": "2019-08-26T18:08:28.643Z", "outcome": "attempted",
            "ip": "203.0.113.77", "user_agent": "Agent/1.0",
            "device": {"name": "Pixel", "type": "MOBILE", "os": "Android"},
            "location": {"city": "Denver", "region": "CO", "country": "US", "zipcode": "80202", "latitude": 39.77777,
                         "longitude": -104.9191, "display": "Denver, CO, US", "from": "sender"},
            "kept": {"info.data.ticket": "T-1", "info.data.seen": ["203.0.113.77"], "info.data.agent": "x Agent/1.0 y",
                     "info.data.at": {"lat": 39.77777}, "info.data.country": "US", "info.data.status": "BUSY"}
        }))
        .unwrap()
    }

    fn applied(modes: Value) -> Value {
        let (mut event, config) = (event(), serde_json::from_value::<Config>(modes).unwrap());
        // RFC 4231, test case 2 has the key "Jefe".
        config.apply(&mut event, &Fingerprinter::new(&[Secret::new(b"Jefe".to_vec())]));
        serde_json::to_value(event).unwrap()
    }

    #[test]
    fn nothing_changes_by_default() {
        assert_eq!(applied(json!({})), serde_json::to_value(event()).unwrap());
    }

    #[test]
    fn truncated_is_less_exact_and_the_exact_is_nowhere() {
        let event = applied(json!({"ip": "truncate", "location": "truncate"}));
        assert_eq!(event["ip"], "203.0.113.0");
        assert_eq!(
            event["location"],
            json!({"city": "Denver", "region": "CO", "country": "US", "latitude": 39.8, "longitude": -104.9,
                   "from": "sender"})
        );
        assert_eq!(
            event["kept"],
            json!({"info.data.ticket": "T-1", "info.data.agent": "x Agent/1.0 y", "info.data.country": "US",
                   "info.data.status": "BUSY"})
        );
    }

    #[test]
    fn addresses_lose_their_last_bits() {
        for (whole, cut) in [
            ("203.0.113.255", Some("203.0.113.0")),
            ("::ffff:203.0.113.255", Some("203.0.113.0")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1::")),
            ("2001:db8:ffff:ffff::1", Some("2001:db8:ffff::")),
            ("::1", Some("::")),
            ("unknown", None),
            ("203.0.113.7, 192.0.2.1", None),
        ] {
            assert_eq!(truncated(whole).as_deref(), cut, "{whole}");
        }
    }

    #[test]
    fn dropped_is_gone() {
        let event = applied(json!({"ip": "drop", "user_agent": "drop", "location": "drop", "device": "drop"}));
        for member in ["ip", "user_agent", "location", "device"] {
            assert_eq!(event.get(member), None, "{member}");
        }
        assert_eq!(event["kept"], json!({"info.data.ticket": "T-1", "info.data.status": "BUSY"}));
    }

    #[test]
    fn pseudonyms_are_keyed_and_equal_for_equal_values() {
        let event = applied(json!({"ip": "pseudonym", "user_agent": "pseudonym", "location": "pseudonym",
                                   "device": "pseudonym"}));
        // printf %s VALUE | openssl dgst -sha256 -hmac Jefe, the first 32 digits.
        for (member, digest) in [
            (&event["ip"], "707722bd6f862f0f83fd9d37becd197a"),
            (&event["user_agent"], "ab52e4adcdcdaf4274ff3dbcce5a9eca"),
            (&event["location"]["city"], "d65b7afef6166ac2f7c0e2a91f372323"),
            (&event["device"]["os"], "e28ea5ddd0d5aa180add4c0d8cb4ae06"),
        ] {
            assert_eq!(member.as_str().unwrap().split_once(':').unwrap().1, digest);
        }
        assert_eq!(event["location"].get("latitude"), None);
        assert_eq!(event["location"]["from"], "sender");
        assert_eq!(event["kept"], json!({"info.data.ticket": "T-1", "info.data.status": "BUSY"}));
    }

    #[test]
    fn truncate_is_refused_where_it_means_nothing() {
        for field in ["user_agent", "device"] {
            let error = serde_json::from_value::<Config>(json!({field: "truncate"})).unwrap_err().to_string();
            assert!(error.contains("ip and location only"), "{error}");
        }
        assert!(serde_json::from_value::<Config>(json!({"adress": "drop"})).is_err());
    }
}
