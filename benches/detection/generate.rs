//! `generate`: writes the traffic, its labels and what an operator might know of the networks.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use crate::{
    body,
    mmdb::{Database, Value},
    networks::{Kind, Pool},
    places::CITIES,
    policy::{Original, Storage},
    rng::{mix, unit, uuid},
    session,
    traffic::{Event, Traffic},
    variant::Variant,
};

/// What to make.
pub struct Options {
    pub seed: u64,
    pub users: u64,
    pub days: i64,
    pub variant: Variant,
}

/// Plays the traffic of a seed.
pub fn traffic(options: &Options) -> Traffic {
    let mut traffic = Traffic::new(options);
    session::play(&mut traffic);
    traffic.events.sort_by_key(|event| (event.at, event.id));
    traffic
}

/// `events.jsonl`, `labels.jsonl`, `thefts.jsonl`, `networks.csv`, `geo.csv`, `geo.mmdb`.
pub fn write(traffic: &Traffic, out: &Path) -> std::io::Result<()> {
    fs::create_dir_all(out)?;
    let open = |name: &str| File::create(out.join(name)).map(|file| BufWriter::with_capacity(1 << 20, file));
    events(traffic, &mut open("events.jsonl")?)?;
    labels(traffic, &mut open("labels.jsonl")?)?;
    thefts(traffic, &mut open("thefts.jsonl")?)?;
    networks(traffic, &mut open("networks.csv")?)?;
    geo(traffic, &mut open("geo.csv")?)?;
    fs::write(out.join("geo.mmdb"), database(traffic))
}

fn events(traffic: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    let mut order = Vec::with_capacity(traffic.events.len());
    for (number, event) in traffic.events.iter().enumerate() {
        order.extend(body::deliveries(traffic.seed, event).into_iter().flatten().map(|arrives| (arrives, number)));
    }
    order.sort_unstable();
    let mut line = String::with_capacity(4096);
    for (_, number) in order {
        line.clear();
        body::body(traffic, &traffic.events[number], &mut line);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn label(traffic: &Traffic, event: &Event) -> String {
    let family = &traffic.families[event.family];
    let app = &traffic.apps[family.app];
    let mut label = format!(
        "{{\"id\":\"{}\",\"at\":{},\"family\":{},\"user\":{},\"app\":\"{}\",\"lifetime\":{},\"actor\":\"{}\"",
        uuid(event.id),
        event.at,
        event.family,
        family.person,
        app.name,
        app.lifetime(event.at) / 1_000,
        if event.thief { "thief" } else { "user" },
    );
    if let Some(theft) = event.theft {
        label += &format!(",\"theft\":{theft},\"scenario\":\"{}\"", traffic.thefts[theft].scenario.name());
    }
    if let Some(address) = event.address {
        let network = &traffic.world.networks[traffic.world.pools[address.pool].network];
        label += &format!(",\"asn\":{},\"network\":\"{:?}\"", network.asn, network.kind);
    }
    if !event.note.is_empty() {
        label += &format!(",\"note\":\"{}\"", event.note);
    }
    label + "}\n"
}

fn labels(traffic: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    for event in &traffic.events {
        out.write_all(label(traffic, event).as_bytes())?;
    }
    out.flush()
}

fn thefts(traffic: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    for (number, theft) in traffic.thefts.iter().enumerate().filter(|(_, theft)| theft.events > 0) {
        let family = &traffic.families[theft.family];
        let app = &traffic.apps[family.app];
        let original = match (app.original, app.storage) {
            (Original::Always, Storage::Memory) => "memory",
            (Original::Always, _) => "always",
            (Original::Never, _) => "never",
            (Original::Mostly(_), _) => "mostly",
            (Original::WhileAlive, _) => "while_alive",
        };
        writeln!(
            out,
            "{{\"theft\":{number},\"scenario\":\"{}\",\"family\":{},\"user\":{},\"app\":\"{}\",\"lifetime\":{},\"original\":\
             \"{original}\",\"one_time\":{},\"first\":{},\"last\":{},\"events\":{},\"how\":\"{}\"}}",
            theft.scenario.name(),
            theft.family,
            family.person,
            app.name,
            app.lifetime(theft.first) / 1_000,
            app.one_time.is_some(),
            theft.first,
            theft.last,
            theft.events,
            theft.how.replace('"', "'"),
        )?;
    }
    out.flush()
}

/// What lists know: nearly all of what is published, not all of what VPNs rent (assumed).
fn listed(kind: Kind) -> Option<(&'static str, f64)> {
    match kind {
        Kind::Hosting => Some(("hosting", 0.95)),
        Kind::Vpn => Some(("vpn", 0.8)),
        Kind::Tor => Some(("tor", 0.9)),
        Kind::Relay => Some(("relay", 1.0)),
        Kind::Mobile => Some(("mobile", 0.9)),
        Kind::Inflight => Some(("inflight", 0.5)),
        Kind::Gateway => Some(("proxy", 0.7)),
        Kind::Fixed => None,
    }
}

fn prefixes(pool: &Pool, v6: bool) -> Vec<String> {
    let v4 = format!("{}/{}", Ipv4Addr::from(pool.base), pool.bits);
    let six = format!("{}/40", Ipv6Addr::from(u128::from(pool.v6) << 88));
    if v6 { vec![v4, six] } else { vec![v4] }
}

fn networks(traffic: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    for pool in &traffic.world.pools {
        let network = &traffic.world.networks[pool.network];
        let Some((name, share)) = listed(network.kind) else { continue };
        if unit(mix(&[traffic.seed, 60, u64::from(pool.base)])) < share {
            for prefix in prefixes(pool, network.v6) {
                writeln!(out, "{prefix},{name}")?;
            }
        }
    }
    // An operator knows some of its customers' offices.
    for company in traffic.companies.iter().flatten().filter(|company| company.gateway.is_none()) {
        for office in &company.office {
            if mix(&[traffic.seed, 61, office.pool as u64]).is_multiple_of(2) {
                writeln!(out, "{}/32,office", office.ip)?;
            }
        }
    }
    out.flush()
}

/// `cidr,asn,organisation,country,region,city,latitude,longitude`, as a database of the first day has it.
fn geo(traffic: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    for pool in &traffic.world.pools {
        let network = &traffic.world.networks[pool.network];
        let city = &CITIES[pool.city];
        for prefix in prefixes(pool, network.v6) {
            writeln!(
                out,
                "{prefix},{},{},{},{},{},{},{}",
                network.asn, network.org, city.country, city.region, city.name, city.latitude, city.longitude
            )?;
        }
    }
    out.flush()
}

/// What `geo.csv` says, as a provider's database.
fn database(traffic: &Traffic) -> Vec<u8> {
    let mut database = Database::new();
    for pool in &traffic.world.pools {
        let network = &traffic.world.networks[pool.network];
        let city = &CITIES[pool.city];
        let name = |name| Value::Map(vec![("names", Value::Map(vec![("en", Value::Text(name))]))]);
        let value = Value::Map(vec![
            ("autonomous_system_number", Value::U32(network.asn)),
            ("autonomous_system_organization", Value::Text(&network.org)),
            ("city", name(city.name)),
            ("country", Value::Map(vec![("iso_code", Value::Text(city.country))])),
            (
                "location",
                Value::Map(vec![
                    ("accuracy_radius", Value::U16(20)),
                    ("latitude", Value::Double(city.latitude)),
                    ("longitude", Value::Double(city.longitude)),
                ]),
            ),
            ("subdivisions", Value::Array(vec![Value::Map(vec![("iso_code", Value::Text(city.region))])])),
        ]);
        database.insert(Ipv4Addr::from(pool.base).into(), pool.bits, &value);
        if network.v6 {
            database.insert(Ipv6Addr::from(u128::from(pool.v6) << 88).into(), 40, &value);
        }
    }
    database.bytes("Example-City-ASN")
}
