//! What a record of a database says, whoever made it: MaxMind's nested layout and the flat ones of others come out the
//! same. Which member means what is in [`Facts::take`], and nowhere else.
//!
//! Texts are borrowed from the database. A member of an unexpected type says nothing; it is no error.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Deeper members are skipped: `city.names.en` is the deepest that is read, below a vendor's `geo`.
const DEPTH_MAX: usize = 4;
/// Longer texts are skipped. The longest organisation names have about 100 bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Every label that databases give, sorted.
const LABELS: [&str; 9] =
    ["anonymous", "cellular", "hosting", "proxy", "relay", "residential_proxy", "satellite", "tor", "vpn"];
/// What makes a network anonymous, so that it need not be said as well.
const ANONYMISERS: [&str; 6] = ["hosting", "proxy", "relay", "residential_proxy", "tor", "vpn"];

/// What a record says of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Facts<'a> {
    pub(super) asn: Option<u32>,
    as_org: Option<&'a str>,
    isp: Option<&'a str>,
    org: Option<&'a str>,
    /// Where the network is registered, ISO 3166.
    pub(super) registered_country: Option<&'a str>,
    pub(super) place: Place<'a>,
    /// Bits by the order of [`LABELS`].
    labels: u16,
}

/// Where an address is used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place<'a> {
    pub(super) city: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    pub(super) region_code: Option<&'a str>,
    /// ISO 3166.
    pub(super) country: Option<&'a str>,
    pub(super) country_name: Option<&'a str>,
    pub(super) zipcode: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Place<'_> {
    /// Degrees north and east, where both are known and can be.
    pub(super) fn at(&self) -> Option<(f64, f64)> {
        let (latitude, longitude) = (self.latitude?, self.longitude?);
        (latitude.abs() <= 90.0 && longitude.abs() <= 180.0).then_some((latitude, longitude))
    }

    /// 0 = nothing known, 1 = a country or region, 2 = a city, 3 = coordinates.
    pub(super) fn exactness(&self) -> u8 {
        let Self { city, region, region_code, country, country_name, zipcode, .. } = self;
        if self.at().is_some() {
            3
        } else if city.is_some() || zipcode.is_some() {
            2
        } else {
            u8::from([region, region_code, country, country_name].into_iter().any(Option::is_some))
        }
    }
}

impl<'a> Facts<'a> {
    /// Who runs the network.
    pub(super) fn org(&self) -> Option<&'a str> {
        self.as_org.or(self.isp).or(self.org)
    }

    /// The network's country, ISO 3166.
    pub(super) fn country(&self) -> Option<&'a str> {
        self.place.country.or(self.registered_country)
    }

    /// What it says of the network's kind, sorted.
    pub(super) fn labels(&self) -> impl Iterator<Item = &'static str> + use<> {
        let mut bits = self.labels;
        if ANONYMISERS.iter().any(|label| bits & bit(label) != 0) {
            bits &= !bit("anonymous");
        }
        LABELS.into_iter().filter(move |label| bits & bit(label) != 0)
    }

    /// Adds one of [`LABELS`].
    pub(super) fn label(&mut self, label: &str) {
        self.labels |= bit(label);
    }

    /// Takes in one member by its path, e.g. `["city", "names", "en"]`. Members of a list have the list's path.
    fn take(&mut self, path: &[&str], value: Scalar<'a>) {
        // ipinfo puts the place below `geo`.
        let path = path.strip_prefix(&["geo"]).unwrap_or(path);
        let place = &mut self.place;
        match path {
            ["autonomous_system_number" | "asn" | "as_number"]
            | ["traits", "autonomous_system_number"]
            | ["as" | "asn", "asn" | "number"] => self.asn = self.asn.or(value.asn()),
            ["autonomous_system_organization" | "as_name" | "as_org" | "as_organization"]
            | ["traits", "autonomous_system_organization"]
            | ["as" | "asn", "name" | "org"] => value.text_into(&mut self.as_org),
            ["isp"] | ["traits", "isp"] => value.text_into(&mut self.isp),
            ["organization" | "org" | "name"] | ["traits", "organization"] => value.text_into(&mut self.org),
            ["registered_country", "iso_code"] => value.text_into(&mut self.registered_country),
            ["country", "iso_code"] | ["country_code" | "country_iso_code"] => value.text_into(&mut place.country),
            // One vendor's code is the next one's name.
            ["country"] if value.is_country_code() => value.text_into(&mut place.country),
            ["country", "names", "en"] | ["country" | "country_name"] => value.text_into(&mut place.country_name),
            ["city", "names", "en"] | ["city" | "city_name"] => value.text_into(&mut place.city),
            ["subdivisions", "iso_code"] | ["region_code"] => value.text_into(&mut place.region_code),
            ["subdivisions", "names", "en"] | ["region" | "region_name" | "state" | "state1"] => {
                value.text_into(&mut place.region);
            }
            ["postal", "code"] | ["postal" | "postal_code" | "postcode" | "zip" | "zipcode"] => {
                value.text_into(&mut place.zipcode);
            }
            ["location", "latitude"] | ["latitude" | "lat"] => place.latitude = place.latitude.or(value.degrees()),
            ["location", "longitude"] | ["longitude" | "lng" | "lon"] => {
                place.longitude = place.longitude.or(value.degrees());
            }
            ["loc"] => (place.latitude, place.longitude) = value.pair().unwrap_or((place.latitude, place.longitude)),
            [.., name] => self.labels |= bit(value.label(name)),
            [] => {}
        }
    }
}

fn bit(label: &str) -> u16 {
    LABELS.iter().position(|known| *known == label).map_or(0, |at| 1 << at)
}

/// The kinds of facts that a database has at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    asn: bool,
    org: bool,
    country: bool,
    place: bool,
    labels: u16,
}

impl Holds {
    /// Also what this record has.
    pub(super) fn add(&mut self, facts: &Facts<'_>) {
        self.asn |= facts.asn.is_some();
        self.org |= facts.org().is_some();
        self.country |= facts.country().is_some() || facts.place.country_name.is_some();
        self.place |= facts.place.exactness() > 1;
        self.labels |= facts.labels().map(bit).fold(0, |all, one| all | one);
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [(self.asn, "asn"), (self.org, "org"), (self.country, "country"), (self.place, "place")];
        let kinds = kinds.into_iter().filter_map(|(has, kind)| has.then_some(kind));
        let labels = LABELS.into_iter().filter(|label| self.labels & bit(label) != 0);
        let all: Vec<&str> = kinds.chain(labels).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// A member's value, where it is no map or list.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Text(&'a str),
    Whole(u64),
    Real(f64),
    Flag(bool),
}

impl<'a> Scalar<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text.trim()).filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX),
            _ => None,
        }
    }

    /// The first to know wins.
    fn text_into(self, member: &mut Option<&'a str>) {
        *member = member.or(self.text());
    }

    fn is_country_code(self) -> bool {
        self.text().is_some_and(|text| text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()))
    }

    /// 64500, `64500` or `AS64500`.
    fn asn(self) -> Option<u32> {
        let number = match self {
            Self::Whole(number) => u32::try_from(number).ok()?,
            Self::Text(text) => text.trim().trim_start_matches(['A', 'S', 'a', 's']).parse().ok()?,
            Self::Real(_) | Self::Flag(_) => return None,
        };
        Some(number).filter(|number| *number > 0)
    }

    fn degrees(self) -> Option<f64> {
        let degrees = match self {
            Self::Real(degrees) => degrees,
            Self::Text(text) => text.trim().parse().ok()?,
            Self::Whole(_) | Self::Flag(_) => return None,
        };
        Some(degrees).filter(|degrees| degrees.is_finite())
    }

    /// `60.45,22.27`.
    fn pair(self) -> Option<(Option<f64>, Option<f64>)> {
        let (latitude, longitude) = self.text()?.split_once(',')?;
        Some((Some(Scalar::Text(latitude).degrees()?), Some(Scalar::Text(longitude).degrees()?)))
    }

    fn is_set(self) -> bool {
        match self {
            Self::Flag(flag) => flag,
            Self::Whole(number) => number == 1,
            Self::Text(text) => ["true", "1", "yes"].iter().any(|yes| text.eq_ignore_ascii_case(yes)),
            Self::Real(_) => false,
        }
    }

    /// What a member called `name` says of the kind of network; `""` for nothing.
    fn label(self, name: &str) -> &'static str {
        let by_flag = match name {
            "is_anonymous" => "anonymous",
            "is_anonymous_vpn" | "is_vpn" | "vpn" => "vpn",
            "is_hosting_provider" | "is_hosting" | "is_datacenter" | "hosting" => "hosting",
            "is_public_proxy" | "is_anonymous_proxy" | "is_proxy" | "proxy" => "proxy",
            "is_residential_proxy" | "residential_proxy" | "res_proxy" => "residential_proxy",
            "is_tor_exit_node" | "is_tor" | "tor" => "tor",
            "is_relay" | "relay" => "relay",
            "is_satellite_provider" | "is_satellite" => "satellite",
            "is_mobile" | "mobile" => "cellular",
            "connection_type" | "user_type" | "as_type" | "type" => return self.kind_of_network(),
            _ => "",
        };
        if self.is_set() { by_flag } else { "" }
    }

    /// MaxMind's connection and user types; ipinfo's types of autonomous systems.
    fn kind_of_network(self) -> &'static str {
        let Some(kind) = self.text() else { return "" };
        let is = |word: &str| kind.eq_ignore_ascii_case(word);
        if is("cellular") {
            "cellular"
        } else if is("hosting") {
            "hosting"
        } else if is("satellite") {
            "satellite"
        } else {
            ""
        }
    }
}

impl<'de> Deserialize<'de> for Facts<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut facts = Facts::default();
        let path = Path { names: [""; DEPTH_MAX], depth: 0 };
        Fill { facts: &mut facts, path, in_list: false }.deserialize(from)?;
        Ok(facts)
    }
}

/// Where in the record we are.
#[derive(Clone, Copy)]
struct Path<'de> {
    names: [&'de str; DEPTH_MAX],
    depth: usize,
}

impl<'de> Path<'de> {
    fn names(&self) -> &[&'de str] {
        &self.names[..self.depth]
    }

    /// The path of a member, where it may be worth reading.
    fn to(self, name: &'de str) -> Option<Self> {
        let is_other_language = self.names().last() == Some(&"names") && name != "en";
        if self.depth == DEPTH_MAX || is_other_language || ["continent", "represented_country"].contains(&name) {
            return None;
        }
        let mut path = self;
        path.names[self.depth] = name;
        path.depth += 1;
        Some(path)
    }
}

/// Reads one value at a path into the facts.
struct Fill<'f, 'de> {
    facts: &'f mut Facts<'de>,
    path: Path<'de>,
    in_list: bool,
}

impl<'de> Fill<'_, 'de> {
    fn scalar<E>(self, value: Scalar<'de>) -> Result<(), E> {
        self.facts.take(self.path.names(), value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Fill<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fill<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<&'de str>()? {
            match self.path.to(name) {
                Some(path) => map.next_value_seed(Fill { facts: &mut *self.facts, path, in_list: false })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    /// Of a list the first entry is read: of subdivisions it is the largest. Lists in lists are skipped.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (facts, path) = (self.facts, self.path);
        if !self.in_list {
            list.next_element_seed(Fill { facts, path, in_list: true })?;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.scalar(Scalar::Flag(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.scalar(Scalar::Whole(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        u64::try_from(number).map_or(Ok(()), |number| self.scalar(Scalar::Whole(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.scalar(Scalar::Real(number))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }
}
