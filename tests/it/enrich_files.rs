//! The parts of enrichment on files made here: what each layout of a database gives, what is refused and in which words,
//! what a change on disk changes, and that no bytes make it panic.

use std::{fs, path::Path};

use proptest::prelude::*;
use refresh_audit::{
    enrich::{Config, Enricher},
    event::RefreshEvent,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::mmdb::Mmdb;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// A directory with these files.
fn directory(files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn build(dir: &Path, databases: &[&str], networks: Option<&str>) -> Result<Enricher, String> {
    let config = Config { databases: databases.iter().map(Into::into).collect(), networks: networks.map(Into::into) };
    config.build(dir).map_err(|error| error.to_string())
}

/// The event's network, location and client after enrichment of an event with these members.
fn enriched(enricher: &Enricher, members: Value) -> Value {
    let mut event = json!({"id": "e1", "type": "jwt.refresh", "occurred_at": "2019-08-26T18:08:28.643Z",
                           "outcome": "attempted"});
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let mut event: RefreshEvent = serde_json::from_value(event).unwrap();
    enricher.enrich(&mut event);
    let mut event = serde_json::to_value(event).unwrap();
    event.as_object_mut().unwrap().retain(|name, _| ["network", "location", "client"].contains(&name.as_str()));
    event
}

fn at(enricher: &Enricher, ip: &str) -> Value {
    enriched(enricher, json!({ "ip": ip }))
}

/// As MaxMind documents it.
fn city() -> Value {
    json!({"city": {"geoname_id": 1, "names": {"de": "Türku", "en": "Turku", "ja": "トゥルク"}},
           "continent": {"code": "EU", "names": {"en": "Europe"}},
           "country": {"iso_code": "FI", "names": {"en": "Finland"}},
           "location": {"accuracy_radius": 20, "latitude": 60.4515, "longitude": 22.2687, "time_zone": "Europe/Helsinki"},
           "postal": {"code": "20100"},
           "registered_country": {"iso_code": "SE", "names": {"en": "Sweden"}},
           "subdivisions": [{"iso_code": "19", "names": {"en": "Southwest Finland"}}, {"iso_code": "99"}],
           "traits": {"is_anycast": true}})
}

fn turku() -> Value {
    json!({"city": "Turku", "region": "19", "country": "FI", "zipcode": "20100", "latitude": 60.4515,
           "longitude": 22.2687, "from": "city.mmdb"})
}

fn asn() -> Value {
    json!({"autonomous_system_number": 64500, "autonomous_system_organization": "Example Net"})
}

/// Records in the layouts that vendors document (MaxMind's, ipinfo's), each in a file of both versions and several sizes.
#[test]
fn every_layout_gives_the_same_members() {
    let cases = include_str!("../../fixtures/enrich/layouts.jsonl").lines();
    let cases: Vec<Value> = cases.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() > 10);
    for case in &cases {
        let (kind, record, expected) = (case["type"].as_str().unwrap(), &case["record"], &case["expected"]);
        for (ip_version, record_bits) in [(4, 24), (6, 28), (6, 32)] {
            let file = Mmdb { kind, ip_version, record_bits, records: &[("192.0.2.0/24", record.clone())] };
            let dir = directory(&[("city.mmdb", file.bytes())]);
            let enricher = build(dir.path(), &["city.mmdb"], None).unwrap();
            assert_eq!(&at(&enricher, "192.0.2.7"), expected, "{kind} {ip_version} {record_bits}: {record}");
            assert_eq!(at(&enricher, "192.0.3.7"), json!({}), "{kind}");
        }
    }
}

/// IPv4 is the same however it is written; IPv6 networks have records of their own.
#[test]
fn addresses_are_found_in_any_form() {
    let records = [
        ("192.0.2.0/24", json!({"asn": 64500})),
        ("192.0.2.128/25", json!({"asn": 64501})),
        ("2001:db8::/32", json!({"asn": 64502})),
        ("2001:db8:1::/48", json!({"asn": 64503})),
    ];
    let v4 = Mmdb { kind: "asn v4", ip_version: 4, record_bits: 24, records: &records[..2] };
    let dir = directory(&[("v6.mmdb", Mmdb::new("asn", &records).bytes()), ("v4.mmdb", v4.bytes())]);
    let both = build(dir.path(), &["v6.mmdb"], None).unwrap();
    for (ip, expected) in [
        ("192.0.2.127", Some(64500)),
        ("192.0.2.128", Some(64501)),
        ("192.0.1.255", None),
        ("::ffff:192.0.2.127", Some(64500)),
        // 6to4 and, beyond a database's aliases, nothing.
        ("2002:c000:0280::1", Some(64501)),
        ("2001:db8:0:ffff::1", Some(64502)),
        ("2001:db8:1::1", Some(64503)),
        ("2001:db9::", None),
        ("not an address", None),
        ("192.0.2.1, 192.0.2.2", None),
    ] {
        assert_eq!(at(&both, ip)["network"]["asn"].as_u64(), expected, "{ip}");
    }
    let v4 = build(dir.path(), &["v4.mmdb"], None).unwrap();
    assert_eq!(at(&v4, "::ffff:192.0.2.128")["network"]["asn"], 64501);
    assert_eq!(at(&v4, "2001:db8::1"), json!({}));
}

#[test]
fn the_sender_comes_first_then_the_first_file_then_the_next() {
    let net = "192.0.2.0/24";
    let dir = directory(&[
        ("country.mmdb", Mmdb::new("Country", &[(net, json!({"country": {"iso_code": "SE"}}))]).bytes()),
        ("city.mmdb", Mmdb::new("City", &[(net, city())]).bytes()),
        ("asn.mmdb", Mmdb::new("ASN", &[(net, asn())]).bytes()),
        ("other.mmdb", Mmdb::new("ASN", &[(net, json!({"asn": 1, "is_vpn": true}))]).bytes()),
        ("networks.csv", b"192.0.2.0/24,office\n192.0.2.0/28,vpn,lab\n".to_vec()),
    ]);
    let all = ["country.mmdb", "city.mmdb", "asn.mmdb", "other.mmdb"];
    let enricher = build(dir.path(), &all, Some("networks.csv")).unwrap();
    // The country file is first, but the city file knows the place; a place is never put together of two files.
    let network = json!({"asn": 64500, "org": "Example Net", "country": "SE", "labels": ["lab", "office", "vpn"]});
    assert_eq!(at(&enricher, "192.0.2.7"), json!({"network": network, "location": turku()}));
    let place = json!({"country": "DE", "from": "sender"});
    assert_eq!(
        enriched(&enricher, json!({"ip": "192.0.2.99", "location": place, "network": {"asn": 7, "labels": ["mine"]}})),
        json!({"network": {"asn": 7, "org": "Example Net", "country": "SE", "labels": ["mine", "office", "vpn"]},
               "location": place})
    );
    assert_eq!(
        enriched(&enricher, json!({ "user_agent": FIREFOX })),
        json!({"client": {"browser": "Firefox", "version": "140.0", "os": "Linux", "kind": "browser"}})
    );
    assert_eq!(
        enricher.summary()[2..],
        [
            "asn.mmdb: ASN, 1 records: asn, org",
            "other.mmdb: ASN, 1 records: asn, vpn",
            "networks.csv: 2 networks: lab, office, vpn"
        ]
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    let whole = Mmdb::new("GeoLite2-City", &[("192.0.2.0/24", city())]).bytes();
    let unused = Mmdb::new("GeoIP2-User-Count", &[("192.0.2.0/24", json!({"ipv4_24": 3}))]).bytes();
    // A double of which the length is not 8.
    let mut double = whole.clone();
    let at = double.windows(9).position(|bytes| bytes[0] == 0x68 && bytes[1..] == 60.4515_f64.to_be_bytes()).unwrap();
    double[at] = 0x67;
    let dir = directory(&[
        ("half.mmdb", whole[..whole.len() / 2].to_vec()),
        ("double.mmdb", double),
        ("unused.mmdb", unused),
        ("empty.mmdb", Vec::new()),
        ("text.mmdb", b"not a database".to_vec()),
        ("networks.csv", b"# none\n192.0.2.1/24,office\n".to_vec()),
    ]);
    fs::create_dir(dir.path().join("dir.mmdb")).unwrap();
    for (file, expected) in [
        ("half.mmdb", "enrich.databases: half.mmdb: is not a readable MaxMind DB file: "),
        ("double.mmdb", "enrich.databases: double.mmdb: is not a readable MaxMind DB file: "),
        ("unused.mmdb", "enrich.databases: unused.mmdb: holds nothing of use here"),
        ("empty.mmdb", "enrich.databases: empty.mmdb: is not a readable MaxMind DB file: "),
        ("text.mmdb", "enrich.databases: text.mmdb: is not a readable MaxMind DB file: "),
        ("dir.mmdb", "enrich.databases: dir.mmdb: is not a file"),
        ("none.mmdb", "enrich.databases: none.mmdb: cannot be read: No such file"),
    ] {
        let error = build(dir.path(), &[file], None).err().unwrap_or_else(|| panic!("{file} was taken"));
        assert!(error.starts_with(expected), "{error}");
    }
    let error = build(dir.path(), &[], Some("networks.csv")).err().unwrap();
    assert_eq!(
        error,
        "enrich.networks: networks.csv: line 2: 192.0.2.1/24 has bits behind its prefix; write 192.0.2.0/24"
    );
    // A list that is empty now may not be tomorrow.
    fs::write(dir.path().join("none-yet.mmdb"), Mmdb::new("GeoIP2-Anonymous-IP", &[]).bytes()).unwrap();
    build(dir.path(), &["none-yet.mmdb"], None).unwrap();
}

#[test]
fn a_change_is_taken_in_once_it_is_whole() {
    let file = |number: u32| Mmdb::new("ASN", &[("192.0.2.0/24", json!({ "asn": number }))]).bytes();
    let dir = directory(&[("a.mmdb", file(64500)), ("n.csv", b"192.0.2.0/24,old\n".to_vec())]);
    let (database, networks) = (dir.path().join("a.mmdb"), dir.path().join("n.csv"));
    let enricher = build(dir.path(), &["a.mmdb"], Some("n.csv")).unwrap();
    let now = || {
        let network = at(&enricher, "192.0.2.1")["network"].clone();
        (network["asn"].as_u64().unwrap(), network["labels"][0].as_str().unwrap().to_owned())
    };
    assert_eq!((enricher.refresh(), now()), (vec![], (64500, "old".to_owned())));

    fs::write(dir.path().join("new"), file(64501)).unwrap();
    fs::rename(dir.path().join("new"), &database).unwrap();
    fs::write(&networks, "192.0.2.0/24,new\n").unwrap();
    // The first look finds that it differs, the second that it is still the same.
    assert_eq!((enricher.refresh(), now().0), (vec![], 64500));
    assert_eq!((enricher.refresh(), now()), (vec![], (64501, "new".to_owned())));

    // Written in place, and not yet whole: each look finds another length.
    let next = file(64502);
    for end in [next.len() / 3, next.len() / 2, next.len() - 1] {
        fs::write(&database, &next[..end]).unwrap();
        assert_eq!((enricher.refresh(), now().0), (vec![], 64501));
    }
    fs::write(&database, &next).unwrap();
    assert_eq!(enricher.refresh(), vec![]);
    assert_eq!((enricher.refresh(), now().0), (vec![], 64502));

    // Broken and staying so, then gone: said each time, and what was read stays.
    fs::write(&database, &next[..next.len() / 2]).unwrap();
    fs::write(&networks, "192.0.2.0/24\n").unwrap();
    enricher.refresh();
    for _ in 0..2 {
        let stale = enricher.refresh();
        assert_eq!(stale.iter().map(|stale| stale.file.as_path()).collect::<Vec<_>>(), [&*database, &*networks]);
        assert!(stale[0].reason.contains("MaxMind DB"), "{stale:?}");
        assert_eq!(stale[1].reason, "line 1: has no label; write cidr,label");
        assert_eq!(now(), (64502, "new".to_owned()));
    }
    fs::remove_file(&database).unwrap();
    enricher.refresh();
    assert!(enricher.refresh()[0].reason.starts_with("cannot be read: No such file"));
    assert_eq!(now().0, 64502);

    fs::write(&database, file(64503)).unwrap();
    fs::write(&networks, "192.0.2.0/24,newest\n").unwrap();
    enricher.refresh();
    assert_eq!((enricher.refresh(), now()), (vec![], (64503, "newest".to_owned())));
}

proptest! {
    /// Whatever was done to a file, it is refused or read, and what was read can be asked.
    #[test]
    fn no_bytes_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        bits in prop::sample::select(vec![24_u16, 28, 32]),
        ips in prop::collection::vec(any::<u128>(), 4),
    ) {
        let records = [("192.0.2.0/24", city()), ("198.51.100.0/25", asn()), ("2001:db8::/32", json!({"is_vpn": true}))];
        let mut bytes = Mmdb { kind: "City", ip_version: 6, record_bits: bits, records: &records }.bytes();
        for (at, to) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *to;
        }
        if let Some(cut) = cut {
            bytes.drain(cut.index(bytes.len())..);
        }
        let dir = directory(&[("a.mmdb", bytes)]);
        if let Ok(enricher) = build(dir.path(), &["a.mmdb"], None) {
            let fixed = ["192.0.2.1", "198.51.100.1", "2001:db8::1", "::", "2002:c000:201::"].map(str::to_owned);
            let random = ips.iter().flat_map(|ip| {
                [std::net::Ipv6Addr::from(*ip).to_string(), std::net::Ipv4Addr::from(*ip as u32).to_string()]
            });
            for ip in fixed.into_iter().chain(random) {
                at(&enricher, &ip);
            }
        }
    }
}
