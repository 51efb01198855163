//! People: where they live and work, what they carry, when they travel, and so from which network a device of theirs comes
//! at any instant. All of it a pure function of the seed and the instant, so that a thief on the same host can ask too.

use crate::{
    agents::{Browser, Machine, Platform},
    networks::{Address, Kind, World},
    places::{self, CITIES, DAY, HOUR, MINUTE, Ms, START},
    policy::Tenant,
    rng::{Rng, mix, unit},
};

/// Smartphones send about two thirds of their traffic over Wi-Fi (Mobidia 2012: 69 % worldwide, 63 % in the US); at home more.
const WIFI_AT_HOME: f64 = 0.85;
/// 29 % say that they use a VPN, 6 % on all devices (PCMag 2018); regularly for the account at hand, fewer (assumed).
const VPN_ALWAYS: f64 = 0.03;
const VPN_SOMETIMES: f64 = 0.10;
/// Private Relay is "in the permille range of total traffic" (DENOG15, 2023); of Safari's users, more (assumed).
const RELAY: f64 = 0.04;
/// Of requests over a line with IPv6, those that fall back to IPv4 (Happy Eyeballs; 2507.11678 finds a deviation of 15 % a day).
const FALLS_BACK: f64 = 0.12;
/// People who travel within six weeks, and of these abroad (assumed).
const TRAVELS: f64 = 0.35;
const ABROAD: f64 = 0.4;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Vpn {
    None,
    Sometimes,
    Always,
}

#[derive(Clone, Debug)]
pub struct Trip {
    pub from: Ms,
    pub to: Ms,
    pub city: usize,
    /// One hour to half a day, at both ends.
    pub flight: Ms,
    pub sky: usize,
}

pub struct Company {
    pub city: usize,
    pub office: Vec<Address>,
    /// Traffic leaves through a security vendor's cloud instead.
    pub gateway: Option<usize>,
}

pub struct Person {
    pub id: u64,
    pub uuid: String,
    pub tenant: usize,
    pub city: usize,
    pub joins: Ms,
    pub company: Option<usize>,
    pub presence: f64,
    line: (usize, u64),
    carrier: usize,
    vpn: (Vpn, usize),
    relay: bool,
    pub trips: Vec<Trip>,
    pub machines: Vec<Machine>,
    /// Uses more or less than others do.
    pub zeal: f64,
    /// Gets another role at this instant.
    pub promoted: Option<Ms>,
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Home,
    Office,
    Out,
    Hotel(usize),
    Flight(usize),
}

impl Person {
    pub fn new(id: u64, seed: u64, tenants: &[Tenant], world: &World, companies: &[Vec<Company>]) -> Self {
        let mut rng = Rng::new(seed, 1_000 + id);
        let tenant = rng.weighted(&tenants.iter().map(|tenant| tenant.share).collect::<Vec<_>>());
        let (countries, weights): (Vec<_>, Vec<_>) = tenants[tenant].countries.iter().copied().unzip();
        let employed = rng.chance(tenants[tenant].employed).then(|| rng.below(companies[tenant].len()));
        let country = employed.map_or_else(
            || *rng.pick_weighted(&countries, &weights),
            |company| CITIES[companies[tenant][company].city].country,
        );
        let cities = places::of_country(country);
        let city = match employed {
            Some(company) if rng.chance(0.85) => companies[tenant][company].city,
            _ => cities.start + rng.below(cities.len().min(5)),
        };
        let isp = *rng.pick(&world.of(Kind::Fixed, Some(country)));
        let vpn = if rng.chance(VPN_ALWAYS) {
            Vpn::Always
        } else if rng.chance(VPN_SOMETIMES) {
            Vpn::Sometimes
        } else {
            Vpn::None
        };
        let mut person = Self {
            id,
            uuid: crate::rng::uuid(rng.wide()),
            tenant,
            city,
            joins: if rng.chance(0.8) { START - 40 * DAY } else { START + (rng.unit() * 40.0 * DAY as f64) as Ms },
            company: employed,
            presence: rng.between(0.2, 0.95),
            line: (isp, rng.next()),
            carrier: *rng.pick(&world.of(Kind::Mobile, Some(country))),
            vpn: (vpn, *rng.pick(&world.of(Kind::Vpn, None))),
            relay: rng.chance(RELAY),
            trips: Vec::new(),
            machines: Vec::new(),
            zeal: rng.log_normal(1.0, 0.6).min(4.0),
            promoted: rng.chance(0.04).then(|| START + (rng.unit() * 45.0 * DAY as f64) as Ms),
        };
        person.travels(&mut rng, world);
        person.owns(&mut rng);
        person
    }

    fn travels(&mut self, rng: &mut Rng, world: &World) {
        let mut at = START - 10 * DAY;
        if !rng.chance(TRAVELS) {
            return;
        }
        loop {
            at += (rng.wait(22.0 * DAY as f64)) as Ms + DAY;
            if at > START + 60 * DAY {
                return;
            }
            let home = places::of_country(CITIES[self.city].country);
            let city = if rng.chance(ABROAD) || home.len() < 2 {
                rng.below(CITIES.len())
            } else {
                home.start + rng.below(home.len())
            };
            if city == self.city {
                continue;
            }
            let distance = places::distance(&CITIES[self.city], &CITIES[city]);
            let flight = HOUR + (distance / 800.0 * HOUR as f64) as Ms;
            let days = rng.log_normal(3.5, 0.7).clamp(1.0, 16.0);
            let from = at + rng.below(16) as Ms * HOUR;
            let to = from + 2 * flight + (days * DAY as f64) as Ms;
            self.trips.push(Trip { from, to, city, flight, sky: *rng.pick(&world.of(Kind::Inflight, None)) });
            at = to;
        }
    }

    fn owns(&mut self, rng: &mut Rng) {
        let mut machine = |rng: &mut Rng, platform: Platform| {
            let browsers: &[(Browser, f64)] = match platform {
                Platform::Iphone | Platform::Ipad => &[(Browser::Safari, 0.85), (Browser::Chrome, 0.15)],
                Platform::Android => &[(Browser::Chrome, 0.8), (Browser::Samsung, 0.15), (Browser::Firefox, 0.05)],
                Platform::Windows => &[(Browser::Chrome, 0.65), (Browser::Edge, 0.27), (Browser::Firefox, 0.08)],
                Platform::Mac => &[(Browser::Safari, 0.5), (Browser::Chrome, 0.45), (Browser::Firefox, 0.05)],
                Platform::Linux => &[(Browser::Chrome, 0.5), (Browser::Firefox, 0.5)],
            };
            let (kinds, weights): (Vec<_>, Vec<_>) = browsers.iter().copied().unzip();
            let lag = (rng.wait(4.0 * DAY as f64)) as Ms;
            let machine = Machine {
                id: rng.next(),
                platform,
                browser: *rng.pick_weighted(&kinds, &weights),
                lag,
                stuck: rng.chance(0.04),
                replaced: rng.chance(0.02).then(|| START + (rng.unit() * 45.0 * DAY as f64) as Ms),
            };
            self.machines.push(machine);
        };
        let phone = if rng.chance(0.4) { Platform::Iphone } else { Platform::Android };
        machine(rng, phone);
        let desk = *rng.pick_weighted(&[Platform::Windows, Platform::Mac, Platform::Linux], &[0.68, 0.27, 0.05]);
        machine(rng, desk);
        if rng.chance(0.15) {
            machine(rng, Platform::Ipad);
        } else if rng.chance(0.2) {
            machine(rng, Platform::Windows);
        }
    }

    fn draw(&self, what: u64, when: Ms) -> u64 {
        mix(&[self.id, self.line.1, what, when as u64])
    }

    /// The city of the body, and the place.
    pub fn place(&self, at: Ms) -> (usize, Place) {
        if let Some(trip) = self.trips.iter().find(|trip| (trip.from..trip.to).contains(&at)) {
            let flying = at < trip.from + trip.flight || at >= trip.to - trip.flight;
            let place = if flying { Place::Flight(trip.sky) } else { Place::Hotel(trip.city) };
            return (trip.city, place);
        }
        let local = at + CITIES[self.city].offset(at);
        let day = local.div_euclid(DAY);
        let hour = local.rem_euclid(DAY) as f64 / HOUR as f64;
        let weekend = (day + 3).rem_euclid(7) >= 5;
        let start = 8.0 + 1.5 * unit(self.draw(1, day));
        let works = !weekend && self.company.is_some() && unit(self.draw(2, day)) < self.presence;
        if works && (start..start + 8.5).contains(&hour) {
            return (self.city, Place::Office);
        }
        let commutes = works && ((start - 0.8..start).contains(&hour) || (start + 8.5..start + 9.3).contains(&hour));
        let out = if weekend {
            (11.0..17.0).contains(&hour) && unit(self.draw(3, day)) < 0.4
        } else {
            (18.5..22.0).contains(&hour) && unit(self.draw(3, day)) < 0.25
        };
        (self.city, if commutes || out { Place::Out } else { Place::Home })
    }

    /// The address that a device's request has at an instant; `None`: it has no network.
    pub fn address(
        &self,
        machine: &Machine,
        at: Ms,
        world: &World,
        tenant: &Tenant,
        company: Option<&Company>,
    ) -> Option<Address> {
        let place = self.place(at).1;
        let day = at.div_euclid(DAY);
        let vpn = match self.vpn.0 {
            Vpn::Always => unit(self.draw(10, day)) < 0.95,
            Vpn::Sometimes => unit(mix(&[machine.id, 10, day as u64])) < 0.2,
            Vpn::None => false,
        };
        if vpn && !matches!(place, Place::Flight(_)) {
            return Some(self.exit(at, world));
        }
        let browser = machine.browser == Browser::Safari;
        if self.relay
            && browser
            && !matches!(machine.platform, Platform::Windows | Platform::Linux)
            && place != Place::Office
        {
            return Some(self.relayed(machine, at, world));
        }
        let phone = matches!(machine.platform, Platform::Iphone | Platform::Android);
        // Wi-Fi or cellular is decided by the quarter of an hour.
        let slot = unit(mix(&[machine.id, 11, at.div_euclid(15 * MINUTE) as u64]));
        let wifi = !phone
            || slot / tenant.wifi
                < match place {
                    Place::Home => WIFI_AT_HOME,
                    Place::Office => 0.6,
                    Place::Out => 0.1,
                    Place::Hotel(_) => 0.55,
                    Place::Flight(_) => 1.0,
                };
        match place {
            Place::Flight(sky) if unit(self.draw(12, day)) < 0.3 => {
                Some(world.v4(world.networks[sky].pools[0], self.draw(13, day)))
            }
            Place::Flight(_) => None,
            _ if !wifi => Some(self.cellular(machine, at, world, tenant)),
            // The company's own VPN.
            Place::Home if self.dials_in(machine, day) => Some(office(self, machine, at, world, company?)),
            Place::Home => Some(self.home(machine, at, world, tenant)),
            Place::Office => Some(office(self, machine, at, world, company?)),
            Place::Out | Place::Hotel(_) if slot > 0.7 => Some(self.cellular(machine, at, world, tenant)),
            Place::Out => Some(self.guest(self.city, at, world)),
            Place::Hotel(city) => Some(self.guest(city, at, world)),
        }
    }

    /// On one day in three, a company's computer at home.
    fn dials_in(&self, machine: &Machine, day: Ms) -> bool {
        self.company.is_some()
            && !machine.is_mobile()
            && machine.id.is_multiple_of(3)
            && unit(mix(&[machine.id, 22, day as u64])) < 0.33
    }

    fn exit(&self, at: Ms, world: &World) -> Address {
        // The exit of the day: one in five days a country further.
        let day = at.div_euclid(DAY);
        let pools = &world.networks[self.vpn.1].pools;
        let own: Vec<usize> = pools
            .iter()
            .copied()
            .filter(|pool| CITIES[world.pools[*pool].city].country == CITIES[self.city].country)
            .collect();
        let of = if own.is_empty() || unit(self.draw(14, day)) < 0.2 { pools } else { &own };
        let pool = of[self.draw(15, day) as usize % of.len()];
        world.v4(pool, self.draw(16, at.div_euclid(9 * HOUR)))
    }

    fn relayed(&self, machine: &Machine, at: Ms, world: &World) -> Address {
        let country = CITIES[self.place(at).0].country;
        let relay = world.of(Kind::Relay, Some(country))[0];
        let near = world.pools_in(relay, self.place(at).0);
        let slot = mix(&[machine.id, 17, at.div_euclid(20 * MINUTE) as u64]);
        let pool = near[slot as usize % near.len()];
        if slot & 256 == 0 { world.v6(pool, slot >> 9, mix(&[slot])) } else { world.v4(pool, slot >> 9) }
    }

    /// A phone on its carrier: another shared address every few hours, now and then through another gateway; at home's
    /// carrier even abroad (roaming is routed home).
    fn cellular(&self, machine: &Machine, at: Ms, world: &World, tenant: &Tenant) -> Address {
        let pools = &world.networks[self.carrier].pools;
        let attach = mix(&[machine.id, 18, (at + (machine.id & 0xff_ffff) as Ms).div_euclid(3 * HOUR) as u64]);
        let usual = self.line.1 as usize % pools.len();
        let pool = if attach % 100 < 85 { pools[usual] } else { pools[(attach >> 8) as usize % pools.len()] };
        if world.networks[self.carrier].v6
            && tenant.dual_stack
            && unit(mix(&[attach, at.div_euclid(MINUTE) as u64])) > FALLS_BACK
        {
            world.v6(pool, attach, mix(&[attach, 1]))
        } else {
            world.v4(pool, attach >> 16)
        }
    }

    fn home(&self, machine: &Machine, at: Ms, world: &World, tenant: &Tenant) -> Address {
        line(self.line, self.city, machine, at, world, tenant)
    }

    /// A hotel's or a café's own line.
    fn guest(&self, city: usize, at: Ms, world: &World) -> Address {
        let isps = world.of(Kind::Fixed, Some(CITIES[city].country));
        let house = self.draw(19, at.div_euclid(3 * DAY));
        let pools = world.pools_in(isps[house as usize % isps.len()], city);
        world.v4(pools[(house >> 8) as usize % pools.len()], house >> 16)
    }
}

fn office(person: &Person, machine: &Machine, at: Ms, world: &World, company: &Company) -> Address {
    let slot = mix(&[machine.id, 20, at.div_euclid(4 * HOUR) as u64]);
    match company.gateway {
        Some(gateway) => {
            let near = world.pools_in(gateway, company.city);
            // One day in ten the vendor's next site takes over.
            let other = mix(&[company.city as u64, 21, at.div_euclid(DAY) as u64]).is_multiple_of(10);
            let sites = if other { &world.networks[gateway].pools } else { &near };
            let country = CITIES[company.city].country;
            let pools: Vec<usize> =
                sites.iter().copied().filter(|pool| CITIES[world.pools[*pool].city].country == country).collect();
            world.v4(pools[(slot >> 8) as usize % pools.len()], slot >> 16)
        }
        None => company.office[(person.id + slot % 2) as usize % company.office.len()],
    }
}

/// The address of a household's line.
pub fn line(line: (usize, u64), city: usize, machine: &Machine, at: Ms, world: &World, tenant: &Tenant) -> Address {
    let (isp, number) = line;
    let network = &world.networks[isp];
    let pools = world.pools_in(isp, city);
    let period = network.renumbers.unwrap_or(60 * DAY);
    let lease = mix(&[number, 30, (at + (number % (90 * DAY as u64)) as Ms).div_euclid(period) as u64]);
    let pool = pools[(lease & 1) as usize % pools.len()];
    if network.v6 && tenant.dual_stack && unit(mix(&[machine.id, 31, at.div_euclid(MINUTE) as u64])) > FALLS_BACK {
        // The prefix stays for months (DynamIPs, 2020), the address in it changes by the day (RFC 8981).
        return world.v6(pools[0], number, mix(&[machine.id, 32, at.div_euclid(DAY) as u64]));
    }
    // Where a provider shares addresses, a few carry everybody.
    world.v4(pool, if network.shared { lease >> 8 & 31 } else { lease >> 8 })
}
