//! Thieves: how they come by tokens, from where they use them, and how. Ten scenarios, each varied.

use std::net::IpAddr;

use crate::{
    actor::{Actor, Bout, Held, tidy},
    agents::{Browser, Machine, Platform, TOOLS},
    networks::{Address, Kind, World},
    places::{self, CITIES, DAY, HOUR, MINUTE, Ms},
    policy::{Client, Original, Storage},
    rng::{Rng, mix},
};

/// S1 to S10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Hosting,
    Vpn,
    Residential,
    SameNetwork,
    InTheMiddle,
    Bulk,
    Weekly,
    RefreshOnly,
    Rotating,
    VictimStops,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario::Hosting,
    Scenario::Vpn,
    Scenario::Residential,
    Scenario::SameNetwork,
    Scenario::InTheMiddle,
    Scenario::Bulk,
    Scenario::Weekly,
    Scenario::RefreshOnly,
    Scenario::Rotating,
    Scenario::VictimStops,
];

impl Scenario {
    pub fn name(self) -> &'static str {
        ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10"][self as usize]
    }
}

/// From where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum From {
    Hosting,
    Tor,
    VpnSameCountry,
    /// Another line in the victim's city, kept for so long.
    Residential(Ms),
    /// The victim's provider and prefix.
    Neighbour,
    /// Wherever the victim's device is: malware on it, or the same Wi-Fi.
    SameHost,
    /// Another line of the country with each call.
    EachCall,
}

/// As whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Guise {
    Tool(&'static str),
    Own,
    /// The victim's, as it was when it was stolen; kept current only by malware on the host.
    Copied,
}

/// A theft of one session.
pub struct Plan {
    pub scenario: Scenario,
    /// When the tokens are taken.
    pub at: Ms,
    pub from: From,
    pub guise: Guise,
    pub machine: Machine,
    /// What the addresses are drawn from; the same for all thefts of a leak.
    pub hand: u64,
    pub delay: Ms,
    pub lasts: Ms,
    /// Tokens this many generations old.
    pub older: usize,
    pub victim_stops: bool,
    pub sends: Original,
    pub stuck: bool,
    pub manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Keeps the session warm round the clock.
    Warm,
    /// At the thief's working hours, with need.
    Shifts,
    /// A few calls in a row, now and then.
    Bursts,
    Weekly,
}

impl Plan {
    pub fn new(scenario: Scenario, at: Ms, hand: u64, rng: &mut Rng) -> Self {
        let residential = From::Residential(*rng.pick(&[20 * MINUTE, 6 * HOUR, 3 * DAY]));
        let any = |rng: &mut Rng| {
            *rng.pick_weighted(
                &[From::Hosting, From::VpnSameCountry, residential, From::Neighbour, From::SameHost],
                &[0.25, 0.25, 0.3, 0.1, 0.1],
            )
        };
        let from = match scenario {
            Scenario::Hosting if rng.chance(0.1) => From::Tor,
            Scenario::Hosting => From::Hosting,
            Scenario::Vpn => From::VpnSameCountry,
            Scenario::Residential => residential,
            Scenario::SameNetwork => *rng.pick(&[From::Neighbour, From::SameHost]),
            Scenario::InTheMiddle => {
                *rng.pick_weighted(&[From::Hosting, From::VpnSameCountry, residential], &[0.4, 0.2, 0.4])
            }
            Scenario::Bulk => {
                if hand & 1 == 0 {
                    From::Hosting
                } else {
                    From::VpnSameCountry
                }
            }
            Scenario::Rotating => From::EachCall,
            Scenario::VictimStops => {
                *rng.pick_weighted(&[From::VpnSameCountry, residential, From::Neighbour], &[0.3, 0.5, 0.2])
            }
            Scenario::Weekly | Scenario::RefreshOnly => any(rng),
        };
        let guise = guise(scenario, from, hand, rng);
        let lasts = *rng.pick_weighted(&[6 * HOUR, 3 * DAY, 12 * DAY], &[0.25, 0.5, 0.25]);
        // Logs of infostealers change hands within hours to days; a man in the middle acts within minutes (assumed).
        let delay = match scenario {
            Scenario::InTheMiddle => rng.log_normal(8.0 * MINUTE as f64, 1.5),
            Scenario::SameNetwork => rng.log_normal(HOUR as f64, 1.0),
            _ => rng.log_normal(10.0 * HOUR as f64, 1.3),
        };
        let weekly = scenario == Scenario::Weekly;
        Self {
            scenario,
            at,
            from,
            guise,
            machine: machine(rng),
            hand,
            delay: delay.min(4.0 * DAY as f64) as Ms,
            lasts: if weekly { 40 * DAY } else { (rng.log_normal(lasts as f64, 0.5)) as Ms },
            older: if rng.chance(0.2) { 1 + rng.below(3) } else { 0 },
            victim_stops: scenario == Scenario::VictimStops || scenario == Scenario::InTheMiddle && rng.chance(0.3),
            sends: if scenario == Scenario::RefreshOnly || rng.chance(0.1) {
                Original::Never
            } else {
                Original::Always
            },
            stuck: rng.chance(0.08),
            manner: if weekly {
                Manner::Weekly
            } else {
                *rng.pick_weighted(&[Manner::Warm, Manner::Shifts, Manner::Bursts], &[0.35, 0.45, 0.2])
            },
        }
    }

    /// The thief with the stolen tokens.
    pub fn thief(&self, held: Held, sends: Original, client: Client, now: Ms, rng: &mut Rng) -> Actor {
        let access = held.access.map(|access| access.saturating_sub(self.older));
        let held = Held { access, refresh: held.refresh };
        let from = now.max(self.at) + self.delay;
        // An app that never sends the old token rarely teaches a thief to.
        let sends = if sends == Original::Never && rng.chance(0.85) { Original::Never } else { self.sends };
        let client = match self.manner {
            Manner::Bursts | Manner::Weekly => Client::Command,
            Manner::Warm => Client::Timer,
            Manner::Shifts if matches!(client, Client::Timer) => Client::Timer,
            Manner::Shifts => Client::Demand,
        };
        let mut thief = Actor::new(held, self.bouts(from, rng), client, sends, Storage::Shared);
        thief.thief = true;
        thief.stuck_on = held.access.filter(|_| self.stuck);
        thief
    }

    fn bouts(&self, from: Ms, rng: &mut Rng) -> Vec<Bout> {
        let to = from + self.lasts;
        let mut bouts = vec![Bout { from, to: from + 5 * MINUTE }];
        let mut at = from;
        while at < to {
            let (wait, length) = match self.manner {
                Manner::Warm => (0, self.lasts),
                Manner::Shifts => (9 * HOUR + rng.below(6) as Ms * HOUR, HOUR + rng.below(5) as Ms * HOUR),
                Manner::Bursts if rng.chance(0.7) => (10_000 + rng.below(240_000) as Ms, 8_000),
                Manner::Bursts => ((rng.wait(14.0 * HOUR as f64)) as Ms, 8_000),
                Manner::Weekly => (7 * DAY - 3 * HOUR + rng.below(6) as Ms * HOUR, MINUTE),
            };
            at += wait;
            bouts.push(Bout { from: at, to: at + length });
            at += length.max(1);
        }
        tidy(bouts)
    }

    /// The address of a call, unless it is the victim's own.
    pub fn address(&self, at: Ms, call: usize, city: usize, near: Option<Address>, world: &World) -> Option<Address> {
        let draw = |what: u64, more: u64| mix(&[self.hand, what, more]);
        let country = CITIES[city].country;
        let of = |kind: Kind, country: Option<&str>| {
            let all = world.of(kind, country);
            all[draw(1, 0) as usize % all.len()]
        };
        let few = (at / (3 * DAY)) as u64;
        Some(match self.from {
            From::Hosting => {
                let pools = &world.networks[of(Kind::Hosting, None)].pools;
                world.v4(pools[draw(2, 0) as usize % pools.len()], draw(3, few % 3))
            }
            From::Tor => {
                let pools = &world.networks[of(Kind::Tor, None)].pools;
                let circuit = (at / (10 * MINUTE)) as u64;
                world.v4(pools[draw(2, circuit) as usize % pools.len()], draw(3, circuit))
            }
            From::VpnSameCountry => {
                let pools = &world.networks[of(Kind::Vpn, None)].pools;
                let there = |pool: &&usize| CITIES[world.pools[**pool].city].country == country;
                let pools: Vec<usize> = pools.iter().filter(there).copied().collect();
                world.v4(pools[draw(2, 0) as usize % pools.len()], draw(3, few))
            }
            From::Residential(kept) => self.line(city, draw(4, (at / kept) as u64), world),
            From::EachCall => {
                let cities = places::of_country(country);
                let number = draw(5, call as u64);
                self.line(cities.start + number as usize % cities.len(), number >> 8, world)
            }
            From::Neighbour => {
                let near = near?;
                match near.ip {
                    IpAddr::V4(_) => world.v4(near.pool, draw(6, few)),
                    IpAddr::V6(_) => world.v6(near.pool, draw(6, 0), draw(7, few)),
                }
            }
            From::SameHost => return near,
        })
    }

    fn line(&self, city: usize, number: u64, world: &World) -> Address {
        let isps = world.of(Kind::Fixed, Some(CITIES[city].country));
        let pools = world.pools_in(isps[number as usize % isps.len()], city);
        world.v4(pools[(number >> 4) as usize % pools.len()], number >> 12)
    }
}

fn guise(scenario: Scenario, from: From, hand: u64, rng: &mut Rng) -> Guise {
    let tool = |rng: &mut Rng| Guise::Tool(rng.pick::<&str>(TOOLS));
    match (scenario, from) {
        (Scenario::Bulk, _) => Guise::Tool(TOOLS[(hand >> 3) as usize % TOOLS.len()]),
        (Scenario::Hosting, _) if rng.chance(0.5) => tool(rng),
        (Scenario::Hosting, _) => Guise::Own,
        (Scenario::Vpn, _) if rng.chance(0.2) => Guise::Copied,
        (Scenario::Vpn, _) if rng.chance(0.2) => tool(rng),
        (Scenario::Vpn, _) => Guise::Own,
        (Scenario::Residential | Scenario::SameNetwork, _) | (_, From::SameHost | From::Neighbour) => Guise::Copied,
        // A phishing proxy passes the victim's on, unless the thief then works by hand.
        (Scenario::InTheMiddle, _) if rng.chance(0.5) => Guise::Copied,
        _ if rng.chance(0.55) => Guise::Copied,
        _ if rng.chance(0.4) => tool(rng),
        _ => Guise::Own,
    }
}

fn machine(rng: &mut Rng) -> Machine {
    let platform = *rng.pick_weighted(&[Platform::Windows, Platform::Mac, Platform::Linux], &[0.7, 0.15, 0.15]);
    let browser = *rng.pick_weighted(&[Browser::Chrome, Browser::Firefox, Browser::Edge], &[0.7, 0.2, 0.1]);
    Machine { id: rng.next(), platform, browser, lag: 5 * DAY, stuck: rng.chance(0.3), replaced: None }
}
