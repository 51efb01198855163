//! `[privacy]`: how much of the personal members of an event is written down. What is hashed into a chain cannot be
//! taken back, so this comes before the journal.
//!
//! Pure; knows `event`, `secret` and which programs `enrich` knows. What was derived before from the address and the user
//! agent (`network`, `client`) stays as it is, but for a program's name that only the user agent itself says; a place
//! derived from the address is a `location` like any other. A value that `keep` copied into `kept` is removed where it
//! repeats what was changed here.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{
    enrich,
    event::{Device, Location, RefreshEvent},
    host,
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
    /// Whether any member is to become a pseudonym.
    pub fn makes_pseudonyms(&self) -> bool {
        [self.ip, self.user_agent, self.location, self.device].contains(&Mode::Pseudonym)
    }

    /// Makes the event say only what it may.
    pub fn apply(&self, event: &mut RefreshEvent, fingerprints: &Fingerprinter) {
        let mut hidden = Hidden::default();
        let pseudonym = |member: &str, text: String| fingerprints.pseudonym(member, &text).to_string();
        if self.ip != Mode::Keep {
            hidden.text(&event.ip);
            event.ip = event.ip.take().and_then(|ip| match self.ip {
                Mode::Keep => Some(ip),
                Mode::Truncate => truncated(&ip),
                Mode::Pseudonym => Some(pseudonym("ip", ip)),
                Mode::Drop => None,
            });
        }
        if self.user_agent != Mode::Keep {
            hidden.text(&event.user_agent);
            let pseudonym = |text| pseudonym("user_agent", text);
            event.user_agent = event.user_agent.take().filter(|_| self.user_agent == Mode::Pseudonym).map(pseudonym);
            drop_unknown_program(event);
        }
        if self.device != Mode::Keep {
            if let Some(Device { name, kind, description, os }) = &event.device {
                [name, kind, description, os].into_iter().for_each(|text| hidden.text(text));
            }
            event.device = event.device.take().filter(|_| self.device == Mode::Pseudonym).map(|device| Device {
                name: device.name.map(|text| pseudonym("device.name", text)),
                kind: device.kind.map(|text| pseudonym("device.type", text)),
                description: device.description.map(|text| pseudonym("device.description", text)),
                os: device.os.map(|text| pseudonym("device.os", text)),
            });
        }
        if self.location != Mode::Keep {
            event.location = event.location.take().and_then(|place| self.place(place, &mut hidden, pseudonym));
        }
        if !hidden.is_empty() {
            event.kept.retain(|_, value| !hidden.in_value(value));
        }
    }

    fn place(
        &self,
        place: Location,
        hidden: &mut Hidden,
        pseudonym: impl Fn(&str, String) -> String,
    ) -> Option<Location> {
        [place.latitude, place.longitude].into_iter().flatten().for_each(|degrees| hidden.number(degrees));
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
                city: place.city.map(|text| pseudonym("location.city", text)),
                region: place.region.map(|text| pseudonym("location.region", text)),
                country: place.country.map(|text| pseudonym("location.country", text)),
                zipcode: place.zipcode.map(|text| pseudonym("location.zipcode", text)),
                display: place.display.map(|text| pseudonym("location.display", text)),
                latitude: None,
                longitude: None,
                from: place.from,
            }),
            Mode::Drop => None,
        }
        .filter(|place| *place != Location { from: place.from.clone(), ..Location::default() })
    }
}

/// Of a program in no list the name is the client's own text, and may be a person's.
fn drop_unknown_program(event: &mut RefreshEvent) {
    let Some(client) = &mut event.client else { return };
    if client.browser.take_if(|name| !enrich::is_known_program(name)).is_some() {
        client.version = None;
    }
    event.client.take_if(|client| client.is_empty());
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

    fn number(&mut self, number: f64) {
        self.numbers.push(number);
        // Written out, with whatever says the direction.
        self.texts.push(number.abs().to_string());
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
        // The same address or number may be written in another way.
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "+-.:%[]".contains(c)));
        self.texts
            .iter()
            .any(|hidden| hidden == text || (hidden.len() >= SEARCHED_BYTES_MIN && text.contains(hidden.as_str())))
            || words.filter(|word| !word.is_empty()).any(|word| self.is_word(word))
    }

    fn is_word(&self, word: &str) -> bool {
        let word = word.trim_end_matches('.');
        let number =
            word.parse().is_ok_and(|number: f64| self.numbers.iter().any(|hidden| hidden.abs() == number.abs()));
        number || host::client_address(word).is_some_and(|address| self.texts.contains(&address.to_string()))
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
        // printf '\377MEMBER\0VALUE' | openssl dgst -sha256 -hmac Jefe, the first 32 digits.
        for (member, digest) in [
            (&event["ip"], "de78d619f3f952899ccd7b9b446c18b6"),
            (&event["user_agent"], "80e6eab3437ba4d26b33aaa88b3b466b"),
            (&event["location"]["city"], "1333de48a7fd617667f47e4022613ead"),
            (&event["device"]["os"], "cc2426e0b6f5e420188c23da5e586409"),
        ] {
            assert_eq!(member.as_str().unwrap().split_once(':').unwrap().1, digest);
        }
        assert_eq!(event["location"].get("latitude"), None);
        assert_eq!(event["location"]["from"], "sender");
        assert_eq!(event["kept"], json!({"info.data.ticket": "T-1", "info.data.status": "BUSY"}));
    }

    #[test]
    fn a_text_is_called_differently_in_each_member_and_as_a_token() {
        let keys = Fingerprinter::new(&[Secret::new(b"Jefe".to_vec())]);
        let mut event = event();
        event.ip = Some("203.0.113.77".to_owned());
        event.user_agent = event.ip.clone();
        event.device = Some(Device { name: event.ip.clone(), description: event.ip.clone(), ..Device::default() });
        let modes = json!({"ip": "pseudonym", "user_agent": "pseudonym", "device": "pseudonym"});
        serde_json::from_value::<Config>(modes).unwrap().apply(&mut event, &keys);
        let Device { name, description, .. } = event.device.unwrap();
        let token = Some(keys.fingerprint(b"203.0.113.77").to_string());
        let called = std::collections::BTreeSet::from([event.ip, event.user_agent, name, description, token]);
        assert!(called.len() == 5 && !called.contains(&None), "{called:?}");
    }

    #[test]
    fn a_programs_name_of_the_clients_making_goes_with_its_user_agent() {
        let client = |browser: &str, os: Option<&str>| json!({"browser": browser, "version": "4.2", "os": os, "kind": os.map(|_| "app")});
        for (modes, given, left) in [
            (json!({"user_agent": "drop"}), client("Chrome", Some("Windows")), client("Chrome", Some("Windows"))),
            (json!({"user_agent": "drop"}), client("python-requests", None), client("python-requests", None)),
            (
                json!({"user_agent": "drop"}),
                client("AcmeApp_john.doe@example.com", Some("iOS")),
                json!({"os": "iOS", "kind": "app"}),
            ),
            (json!({"user_agent": "pseudonym"}), client("john.doe@example.com", None), json!(null)),
            (json!({"ip": "drop"}), client("AcmeApp", None), client("AcmeApp", None)),
        ] {
            let mut event = event();
            event.client = serde_json::from_value(given).unwrap();
            let left: Option<crate::event::Client> = serde_json::from_value(left).unwrap();
            serde_json::from_value::<Config>(modes.clone()).unwrap().apply(&mut event, &Fingerprinter::new(&[]));
            assert_eq!(event.client, left, "{modes}");
        }
    }

    #[test]
    fn what_is_kept_says_nothing_of_it_in_other_words() {
        for (kept, stays) in [
            ("39.77777,-104.9191", false),
            ("lat=39.777770 lon=-1.049191e2", false),
            ("104.9191 W", false),
            ("https://maps.example/@39.77777,1z", false),
            ("39.7,-104.9", true),
            ("10.0.0.1, 203.0.113.77", false),
            ("for [2001:DB8::7]:443", false),
            ("from 2001:db8:0:0:0:0:0:7.", false),
            ("{\"ip\":\"2001:DB8:0::7\"}", false),
            ("10.0.0.1, 2001:db8::8", true),
        ] {
            let mut event = event();
            event.kept = [("info.data.x".to_owned(), json!({"deep": [kept]}))].into();
            for ip in ["203.0.113.77", "2001:db8::7"] {
                event.ip = Some(ip.to_owned());
                if let Some(place) = &mut event.location {
                    (place.latitude, place.longitude) = (Some(39.77777), Some(-104.9191));
                }
                let modes = json!({"ip": "drop", "location": "truncate"});
                serde_json::from_value::<Config>(modes).unwrap().apply(&mut event, &Fingerprinter::new(&[]));
            }
            assert_eq!(event.kept.len() == 1, stays, "{kept}");
        }
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
