//! Networks of a made-up internet: providers with pools of addresses, each pool with the place that a geo database would
//! give it. Addresses are drawn from the whole unicast space and say nothing of whoever holds them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    places::{self, CITIES, DAY, Ms, START},
    rng::{Rng, mix, unit},
};

/// Of geo databases, how many /24 of fixed lines lie in another city than they say. One in five: "80 % city accuracy" is what
/// vendors state for the US.
const WRONG_CITY: f64 = 0.20;
/// In another country: vendors state 99.x % (assumed 0.3 %).
const WRONG_COUNTRY: f64 = 0.003;
/// /24 whose place changes with a weekly release of the database (assumed).
const MOVES_A_WEEK: f64 = 0.015;
/// Mobile gateways are placed 10 times worse than fixed lines (arXiv 2605.21937: medians of 179 to 207 km, not 3 to 16 km).
const WRONG_CITY_MOBILE: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fixed,
    Mobile,
    Hosting,
    Vpn,
    Tor,
    /// Apple's Private Relay and its like.
    Relay,
    Inflight,
    /// A company's traffic leaves through a security vendor's cloud.
    Gateway,
}

pub struct Network {
    pub kind: Kind,
    pub asn: u32,
    pub org: String,
    pub country: &'static str,
    /// Of fixed lines: how often a line gets another address; `None`: about every two months.
    pub renumbers: Option<Ms>,
    /// Of fixed lines: many households behind one address.
    pub shared: bool,
    pub v6: bool,
    /// Indices of [`World::pools`].
    pub pools: Vec<usize>,
}

pub struct Pool {
    pub network: usize,
    pub city: usize,
    pub base: u32,
    pub bits: u8,
    /// Its /40 (upper 40 bits), out of the documentation prefix 3fff::/20.
    pub v6: u64,
}

pub struct World {
    seed: u64,
    pub networks: Vec<Network>,
    pub pools: Vec<Pool>,
    blocks: Blocks,
}

/// Hands out /16 once each, and parts of one to the same network.
struct Blocks {
    free: Vec<u16>,
    current: u32,
    left: u32,
}

impl Blocks {
    fn new(rng: &mut Rng) -> Self {
        let special = |a: u16, b: u16| {
            matches!((a, b), (0 | 10 | 127 | 224.., _) | (100, 64..128) | (169, 254))
                || matches!((a, b), (172, 16..32) | (192, 0 | 2 | 88 | 168) | (198, 18 | 19 | 51) | (203, 0))
        };
        let mut free: Vec<u16> = (0..=u16::MAX).filter(|block| !special(block >> 8, block & 0xff)).collect();
        for index in (1..free.len()).rev() {
            free.swap(index, rng.below(index + 1));
        }
        Self { free, current: 0, left: 0 }
    }

    fn take(&mut self, bits: u8) -> u32 {
        let size = 1u32 << (32 - bits);
        if self.left < size {
            self.next_network();
        }
        let base = self.current;
        self.current += size;
        self.left -= size;
        base
    }

    fn next_network(&mut self) {
        self.current = u32::from(self.free.pop().unwrap()) << 16;
        self.left = 1 << 16;
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Address {
    pub pool: usize,
    pub ip: IpAddr,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let blocks = Blocks::new(&mut rng);
        let mut world = Self { seed, networks: Vec::new(), pools: Vec::new(), blocks };
        for country in places::countries() {
            world.country(country, &mut rng);
        }
        world.hosting(&mut rng);
        world
    }

    fn network(&mut self, kind: Kind, name: String, country: &'static str) -> usize {
        let index = self.networks.len();
        self.blocks.next_network();
        let asn = 4_200_000_000 + index as u32;
        let org = format!("{name} {country} {index}");
        self.networks.push(Network {
            kind,
            asn,
            org,
            country,
            renumbers: None,
            shared: false,
            v6: false,
            pools: Vec::new(),
        });
        index
    }

    fn pool(&mut self, network: usize, city: usize, bits: u8) -> usize {
        let base = self.blocks.take(bits);
        let index = self.pools.len();
        let v6 = (0x3fff_0000 | network as u64 & 0xfff) << 8 | self.networks[network].pools.len() as u64;
        debug_assert!(self.networks[network].pools.len() < 256);
        self.pools.push(Pool { network, city, base, bits, v6 });
        self.networks[network].pools.push(index);
        index
    }

    fn country(&mut self, country: &'static str, rng: &mut Rng) {
        let cities = places::of_country(country);
        for number in 0..4 {
            let isp = self.network(Kind::Fixed, format!("Example Broadband {number}"), country);
            // 20 of 929 providers renumber by the day, most of them large ones in Europe (Padmanabhan et al. 2016).
            self.networks[isp].renumbers = rng.chance(0.2).then_some(*rng.pick(&[DAY, DAY, 7 * DAY]));
            self.networks[isp].shared = number == 3 || rng.chance(0.1);
            self.networks[isp].v6 = rng.chance(0.55);
            for city in cities.clone() {
                // Two prefixes: "almost half" of changed addresses come from another one (ibid.).
                self.pool(isp, city, 21);
                self.pool(isp, city, 21);
            }
        }
        for number in 0..3 {
            let carrier = self.network(Kind::Mobile, format!("Example Mobile {number}"), country);
            self.networks[carrier].v6 = rng.chance(0.6);
            for _ in 0..cities.len().clamp(1, 4) {
                let city = cities.start + rng.below(cities.len());
                self.pool(carrier, city, 25);
            }
        }
        let relay = self.network(Kind::Relay, "Example Relay".to_owned(), country);
        self.networks[relay].v6 = true;
        for city in cities {
            self.pool(relay, city, 26);
        }
    }

    fn hosting(&mut self, rng: &mut Rng) {
        for number in 0..10 {
            let country = *rng.pick(&["US", "DE", "NL", "GB", "FR", "SG", "CA", "RO"]);
            let host = self.network(Kind::Hosting, format!("Example Cloud {number}"), country);
            self.networks[host].v6 = rng.chance(0.5);
            for _ in 0..3 {
                let city = places::of_country(rng.pick::<&str>(&[country, "US", "NL"])).start;
                self.pool(host, city, 20);
            }
        }
        for number in 0..6 {
            let vpn = self.network(Kind::Vpn, format!("Example Transit {number}"), "NL");
            for country in places::countries() {
                let cities = places::of_country(country);
                for _ in 0..if cities.len() > 3 { 2 } else { 1 } {
                    self.pool(vpn, cities.start + rng.below(cities.len()), 27);
                }
            }
        }
        let tor = self.network(Kind::Tor, "Example Nonprofit".to_owned(), "DE");
        for country in ["DE", "NL", "US", "RO", "SE"] {
            self.pool(tor, places::of_country(country).start, 28);
        }
        for (number, country) in ["US", "GB", "DE"].into_iter().enumerate() {
            let sky = self.network(Kind::Inflight, format!("Example Sky {number}"), country);
            self.pool(sky, places::of_country(country).start, 25);
        }
        let gateway = self.network(Kind::Gateway, "Example Secure Edge".to_owned(), "US");
        for country in places::countries() {
            let cities = places::of_country(country);
            for city in cities.clone().take(2.min(cities.len())) {
                self.pool(gateway, city, 26);
            }
        }
    }

    /// Those of a kind, in a country if one is given.
    pub fn of(&self, kind: Kind, country: Option<&str>) -> Vec<usize> {
        let wanted = |network: &&usize| {
            let network = &self.networks[**network];
            network.kind == kind && country.is_none_or(|country| network.country == country)
        };
        (0..self.networks.len()).collect::<Vec<_>>().iter().filter(wanted).copied().collect()
    }

    /// Of a network, its pools in a city; all of them if there is none.
    pub fn pools_in(&self, network: usize, city: usize) -> Vec<usize> {
        let all = &self.networks[network].pools;
        let near: Vec<usize> = all.iter().copied().filter(|pool| self.pools[*pool].city == city).collect();
        if near.is_empty() { all.clone() } else { near }
    }

    /// The address of a pool that `bits` stand for.
    pub fn v4(&self, pool: usize, bits: u64) -> Address {
        let Pool { base, bits: prefix, .. } = self.pools[pool];
        let size = 1u64 << (32 - prefix);
        // Not the network's own address, nor broadcast.
        let ip = Ipv4Addr::from(base + 1 + (bits % (size - 2)) as u32);
        Address { pool, ip: IpAddr::V4(ip) }
    }

    /// `line` picks the /56, as providers delegate them, `host` the address in its first /64.
    pub fn v6(&self, pool: usize, line: u64, host: u64) -> Address {
        let prefix = u128::from(self.pools[pool].v6) << 88 | u128::from(line & 0xffff) << 72;
        Address { pool, ip: IpAddr::V6(Ipv6Addr::from(prefix | u128::from(host))) }
    }

    /// The city that a geo database of that day gives.
    pub fn city(&self, address: Address, at: Ms) -> usize {
        let pool = &self.pools[address.pool];
        let network = &self.networks[pool.network];
        let prefix = match address.ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip) >> 8),
            IpAddr::V6(ip) => (u128::from(ip) >> 80) as u64,
        };
        let draw = |what: u64, more: u64| mix(&[self.seed, 2, prefix, what, more]);
        let wrong = if network.kind == Kind::Mobile { WRONG_CITY_MOBILE } else { WRONG_CITY };
        if unit(draw(0, 0)) < WRONG_COUNTRY {
            return draw(1, 0) as usize % CITIES.len();
        }
        let cities = places::of_country(CITIES[pool.city].country);
        let week = ((at - START).div_euclid(7 * DAY)).max(0) as u64;
        let moved = (0..=week).rev().find(|week| unit(draw(2, *week)) < MOVES_A_WEEK);
        match moved {
            Some(week) if week > 0 => cities.start + draw(3, week) as usize % cities.len(),
            _ if unit(draw(4, 0)) < wrong => cities.start + draw(5, 0) as usize % cities.len(),
            _ => pool.city,
        }
    }

    pub fn kind(&self, address: Address) -> Kind {
        self.networks[self.pools[address.pool].network].kind
    }
}
