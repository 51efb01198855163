//! Bodies as FusionAuth writes them (compact, keys sorted, absent when unknown), with tokens of the shape of real ones. The
//! signatures are noise: nothing here opens anything.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    family::Family,
    networks::{Address, Kind},
    places::{CITIES, HOUR, MINUTE, Ms, SECOND},
    policy::{App, Info},
    rng::{mix, unit, uuid},
    traffic::{Event, Traffic},
};

/// Deliveries that come twice, that come seconds to minutes late, and that come an hour late (assumed).
const TWICE: f64 = 0.003;
const LATE: f64 = 0.002;
const VERY_LATE: f64 = 0.0002;

/// When an event arrives: once, now and then twice.
pub fn deliveries(seed: u64, event: &Event) -> [Option<Ms>; 2] {
    let draw = |what: u64| unit(mix(&[seed, 50, event.id as u64, what]));
    let mut delay = 15.0 - 60.0 * (1.0 - draw(0)).ln();
    if draw(1) < VERY_LATE {
        delay += HOUR as f64 * draw(2);
    } else if draw(1) < VERY_LATE + LATE {
        delay += 3.0 * MINUTE as f64 * draw(2) * draw(2);
    }
    let arrives = event.at + delay as Ms;
    let again = arrives + (2.0 * MINUTE as f64 * draw(4).powi(4)) as Ms + 1;
    [Some(arrives), (draw(3) < TWICE).then_some(again)]
}

pub fn body(traffic: &Traffic, event: &Event, out: &mut String) {
    let family = &traffic.families[event.family];
    let app = &traffic.apps[family.app];
    let user = &traffic.people[family.person].uuid;
    out.push_str("{\"event\":{");
    let _ = write!(
        out,
        "\"applicationId\":\"{}\",\"createInstant\":{},\"id\":\"{}\"",
        app.id,
        event.created,
        uuid(event.id)
    );
    info(traffic, event, app, out);
    let _ = write!(out, ",\"linkedObjectId\":\"{user}\"");
    if let Some((of, number)) = event.original {
        out.push_str(",\"original\":\"");
        token(traffic, &traffic.families[of], number, out);
        out.push('"');
    }
    out.push_str(",\"refreshToken\":\"");
    refresh_token(traffic.seed, event, out);
    let _ = write!(out, "\",\"tenantId\":\"{}\",\"token\":\"", traffic.tenants[app.tenant].id);
    token(traffic, family, event.token, out);
    let _ = write!(out, "\",\"type\":\"jwt.refresh\",\"userId\":\"{user}\"}}}}");
}

fn info(traffic: &Traffic, event: &Event, app: &App, out: &mut String) {
    if app.info == Info::None {
        return;
    }
    let mut members = Vec::new();
    let mut push = |name: &str, value: String| members.push(format!("\"{name}\":{value}"));
    if let Some((name, kind, _)) = &event.device {
        push("deviceName", format!("\"{name}\""));
        push("deviceType", format!("\"{kind}\""));
    }
    if let Some(address) = event.address {
        push("ipAddress", format!("\"{}\"", address.ip));
        if app.info == Info::Full {
            push("location", location(traffic, address, event.at));
        }
    }
    if let Some((.., system)) = &event.device {
        push("os", format!("\"{system}\""));
    }
    if let Some(agent) = event.agent.as_ref().filter(|_| app.info != Info::AddressOnly) {
        push("userAgent", format!("\"{agent}\""));
    }
    let _ = write!(out, ",\"info\":{{{}}}", members.join(","));
}

/// Where a database knows only the country, FusionAuth's coordinates are zeros.
fn location(traffic: &Traffic, address: Address, at: Ms) -> String {
    let city = &CITIES[traffic.world.city(address, at)];
    if traffic.world.kind(address) == Kind::Inflight {
        let country = city.country;
        return format!(
            "{{\"country\":\"{country}\",\"displayString\":\"{country}\",\"latitude\":0.0,\"longitude\":0.0}}"
        );
    }
    format!(
        "{{\"city\":\"{0}\",\"country\":\"{1}\",\"displayString\":\"{0}, {2}, {1}\",\"latitude\":{3:?},\"longitude\":{4:?},\
         \"region\":\"{2}\"}}",
        city.name, city.country, city.region, city.latitude, city.longitude
    )
}

/// Of the family of the session, whoever presents it.
fn refresh_token(seed: u64, event: &Event, out: &mut String) {
    noise(&[seed, 51, event.family as u64, event.refresh as u64], 48, out);
}

fn noise(parts: &[u64], bytes: usize, out: &mut String) {
    let root = mix(parts);
    let block = |number: u64| mix(&[root, number]).to_le_bytes();
    let bytes: Vec<u8> = (0..).flat_map(block).take(bytes).collect();
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// A family's access token by its number.
fn token(traffic: &Traffic, family: &Family, number: usize, out: &mut String) {
    let app = &traffic.apps[family.app];
    let made = family.tokens[number];
    let parts = [traffic.seed, 52, family.id as u64, number as u64];
    let (alg, bytes) = if app.rsa { ("RS256", 256) } else { ("HS256", 32) };
    let grants = if number == 0 { "\"authorization_code\"" } else { "\"authorization_code\",\"refresh_token\"" };
    let key = mix(&[traffic.seed, 53, app.tenant as u64, u64::from(app.rsa), u64::from(made.new_key)]);
    let header = format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\",\"kid\":\"fixture-{key:016x}\",\"gty\":[{grants}]}}");
    let (how, roles) = (
        if number == 0 { "PASSWORD" } else { "REFRESH_TOKEN" },
        if made.promoted { "\"user\",\"editor\"" } else { "\"user\"" },
    );
    let mut claims = format!(
        "{{\"aud\":\"{}\",\"exp\":{},\"iat\":{},\"iss\":\"auth.example.invalid\",\"sub\":\"{}\",\"jti\":\"{}\",\
         \"authenticationType\":\"{how}\",\"applicationId\":\"{}\",\"scope\":\"openid offline_access\",\"roles\":[{roles}]",
        app.id,
        made.expires,
        made.issued,
        traffic.people[family.person].uuid,
        uuid(u128::from(mix(&parts)) << 64 | u128::from(mix(&[mix(&parts)]))),
        app.id,
    );
    if app.sid {
        let _ = write!(claims, ",\"sid\":\"{}\"", uuid(family.sid));
    }
    if app.lambda {
        let _ = write!(claims, ",\"balance\":{}", mix(&parts) % 5_000);
    }
    let _ = write!(claims, ",\"auth_time\":{},\"tid\":\"{}\"}}", family.login / SECOND, traffic.tenants[app.tenant].id);
    BASE64_URL_SAFE_NO_PAD.encode_string(header, out);
    out.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims, out);
    out.push('.');
    noise(&parts, bytes, out);
}
