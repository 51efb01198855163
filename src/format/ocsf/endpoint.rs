//! Where a refresh came from: OCSF's `network_endpoint`, with its place and network.

use super::super::{gist::Gist, members::Members};
use crate::event::{Location, RefreshEvent};

/// The endpoint of an event. The schema wants an address or a name: without either it stays empty.
pub fn write(source: &mut Members<'_>, gist: &Gist<'_>, event: &RefreshEvent) {
    let name = event.device.as_ref().and_then(|device| device.name.as_deref());
    if gist.address().is_none() && name.is_none() {
        return;
    }
    match gist.ip() {
        Some(ip) => {
            source.put("ip", &ip);
            source.maybe("name", name);
        }
        None => source.maybe("name", name.or_else(|| gist.address())),
    }
    if let Some(kind) = event.device.as_ref().and_then(|device| device.kind.as_deref()) {
        let (id, caption) = device_type(kind);
        source.put("type_id", &id);
        source.put("type", caption);
    }
    let os = event.device.as_ref().and_then(|device| device.os.as_deref());
    if let Some(os) = os.or_else(|| event.client.as_ref().and_then(|client| client.os.as_deref())) {
        source.object("os", |members| {
            members.put("name", os);
            members.put("type_id", &os_type(os));
        });
    }
    if let Some(place) = &event.location {
        source.object("location", |location| write_location(location, place));
    }
    if let Some(network) = &event.network {
        source.object("autonomous_system", |system| {
            system.maybe("number", network.asn);
            system.maybe("name", network.org.as_ref());
        });
    }
}

/// The address alone.
pub fn write_address(source: &mut Members<'_>, gist: &Gist<'_>) {
    match gist.ip() {
        Some(ip) => source.put("ip", &ip),
        None => source.maybe("name", gist.address()),
    }
}

/// FusionAuth's types of devices in OCSF's numbers and words: beside a number stands its caption, beside 99, "Other", the
/// sender's own text.
fn device_type(kind: &str) -> (u8, &str) {
    match kind {
        "SERVER" => (1, "Server"),
        "DESKTOP" => (2, "Desktop"),
        "LAPTOP" => (3, "Laptop"),
        "TABLET" => (4, "Tablet"),
        "MOBILE" => (5, "Mobile"),
        "BROWSER" => (8, "Browser"),
        "UNKNOWN" => (0, "Unknown"),
        other => (99, other),
    }
}

/// By how its name begins; 99 is "Other".
fn os_type(name: &str) -> u16 {
    let known = [("Windows", 100), ("Linux", 200), ("Android", 201), ("macOS", 300), ("Mac OS", 300), ("iOS", 301)];
    known.iter().chain(&[("iPadOS", 302)]).find(|(begin, _)| name.starts_with(begin)).map_or(99, |(_, id)| *id)
}

/// The schema wants a city, country, postal code or region, and for the country a code of two letters.
fn write_location(location: &mut Members<'_>, place: &Location) {
    let country = place.country.as_deref().filter(|name| name.len() == 2 && name.bytes().all(|b| b.is_ascii_uppercase()));
    if place.city.is_none() && place.region.is_none() && place.zipcode.is_none() && country.is_none() {
        return;
    }
    location.maybe("city", place.city.as_ref());
    location.maybe("region", place.region.as_ref());
    location.maybe("country", country);
    location.maybe("postal_code", place.zipcode.as_ref());
    location.maybe("lat", place.latitude);
    location.maybe("long", place.longitude);
    location.maybe("desc", place.display.as_ref().or(place.country.as_ref()));
    location.maybe("provider", place.from.as_ref());
}
