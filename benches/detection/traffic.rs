//! The events of a run, and everything they are drawn from.

use crate::{
    family::Family,
    generate::Options,
    networks::{Address, Kind, World},
    person::{Company, Person},
    places::{self, CITIES, DAY, HOUR, MINUTE, Ms, SECOND, START},
    policy::{self, App, Tenant},
    rng::{Rng, mix, unit},
    theft::{SCENARIOS, Scenario},
    variant::Variant,
};

/// Of users, those from whom a thief takes a session; two in three thefts come to something. (Far more than in life: rates are
/// per event of the others, and detection is counted per theft.)
const STOLEN: f64 = 0.36;
/// Leaks of a store of tokens, and how many users each brings down.
const LEAKS: usize = 3;
const LEAKED: f64 = 0.02;
/// Refreshes undone by another webhook, while all is well and while it fails (assumed).
const UNDONE: f64 = 0.0004;
const UNDONE_IN_OUTAGE: f64 = 0.5;

/// A refresh.
pub struct Event {
    pub id: u128,
    /// By the sender's clock.
    pub created: Ms,
    /// By a true one.
    pub at: Ms,
    pub family: usize,
    /// Family and number.
    pub original: Option<(usize, usize)>,
    pub token: usize,
    pub refresh: usize,
    pub address: Option<Address>,
    pub agent: Option<String>,
    /// Name, type and system.
    pub device: Option<(String, &'static str, &'static str)>,
    pub theft: Option<usize>,
    pub thief: bool,
    /// What went wrong, or is out of the ordinary.
    pub note: &'static str,
}

/// A theft that came to something.
pub struct Theft {
    pub family: usize,
    pub scenario: Scenario,
    pub first: Ms,
    pub last: Ms,
    pub events: usize,
    pub how: String,
}

pub struct Traffic {
    pub seed: u64,
    pub variant: Variant,
    pub end: Ms,
    pub world: World,
    pub tenants: Vec<Tenant>,
    pub apps: Vec<App>,
    pub companies: Vec<Vec<Company>>,
    pub people: Vec<Person>,
    pub families: Vec<Family>,
    pub events: Vec<Event>,
    pub thefts: Vec<Theft>,
    outages: Vec<(usize, Ms, Ms)>,
}

/// Who is robbed, when and in which scenario, before it is known of which session.
pub struct Fate {
    pub scenario: Scenario,
    pub at: Ms,
    pub hand: u64,
    /// In this application only.
    pub app: Option<usize>,
}

impl Traffic {
    pub fn new(options: &Options) -> Self {
        let Options { seed, users, days, variant } = *options;
        let mut rng = Rng::new(seed, 0);
        let world = World::new(seed);
        let mut tenants = policy::tenants(&mut rng);
        let mut apps = policy::apps(&mut rng);
        variant.change(&mut tenants, &mut apps);
        let companies: Vec<Vec<Company>> = tenants
            .iter()
            .map(|tenant| {
                let count = (users as f64 * tenant.share * tenant.employed / 25.0) as usize + 2;
                (0..count).map(|_| company(tenant, &world, &mut rng)).collect()
            })
            .collect();
        let people = (0..users).map(|id| Person::new(id, seed, &tenants, &world, &companies)).collect();
        let outages = (0..tenants.len() * 2)
            .map(|number| {
                let from = START + (rng.unit() * (days * DAY) as f64) as Ms;
                (number % tenants.len(), from, from + 4 * MINUTE + rng.below(20) as Ms * MINUTE)
            })
            .collect();
        Self {
            seed,
            variant,
            end: START + days * DAY,
            world,
            tenants,
            apps,
            companies,
            people,
            families: Vec::new(),
            events: Vec::new(),
            thefts: Vec::new(),
            outages,
        }
    }

    /// What awaits each person; thefts begin in the second week, when there is something to compare with.
    pub fn fates(&self) -> Vec<Option<Fate>> {
        let mut rng = Rng::new(self.seed, 3);
        let span = (self.end - START - 9 * DAY).max(DAY);
        let when = |rng: &mut Rng| START + 7 * DAY + (rng.unit() * span as f64) as Ms;
        let single: Vec<Scenario> = SCENARIOS.iter().copied().filter(|scenario| *scenario != Scenario::Bulk).collect();
        let mut fates: Vec<Option<Fate>> = self
            .people
            .iter()
            .map(|_| {
                let scenario = *rng.pick(&single);
                let fate = Fate { scenario, at: when(&mut rng), hand: rng.next(), app: None };
                rng.chance(STOLEN).then_some(fate)
            })
            .collect();
        for _ in 0..LEAKS {
            let app = rng.below(self.apps.len());
            let (at, hand) = (when(&mut rng), rng.next());
            let tenant = self.apps[app].tenant;
            let share = LEAKED / self.tenants[tenant].share;
            for (person, fate) in self.people.iter().zip(&mut fates) {
                if person.tenant == tenant && rng.chance(share) {
                    let at = at + (rng.wait(3.0 * HOUR as f64)) as Ms;
                    *fate = Some(Fate { scenario: Scenario::Bulk, at, hand, app: Some(app) });
                }
            }
        }
        fates
    }

    /// How wrong the clock of the node is that answers: three nodes, one of which is off by most of a minute for two days.
    pub fn skew(&self, at: Ms, draw: u64) -> Ms {
        let days = (at - START).div_euclid(DAY);
        match mix(&[self.seed, 40, draw]) % 3 {
            0 => -120,
            1 => 35,
            _ if (12..14).contains(&days) => 45 * SECOND,
            _ => 310,
        }
    }

    pub fn undone(&self, tenant: usize, at: Ms, draw: u64) -> bool {
        let outage = self.outages.iter().any(|(of, from, to)| *of == tenant && (*from..*to).contains(&at));
        unit(mix(&[self.seed, 41, draw])) < if outage { UNDONE_IN_OUTAGE } else { UNDONE * self.variant.faults() }
    }

    /// The address of an application's own servers: two of them, behind one provider.
    pub fn backend(&self, app: &App, draw: u64) -> Address {
        let hosts = self.world.of(Kind::Hosting, None);
        let pools = &self.world.networks[hosts[app.backend as usize % hosts.len()]].pools;
        self.world.v4(pools[(app.backend >> 8) as usize % pools.len()], (app.backend >> 16) + draw % 2)
    }
}

fn company(tenant: &Tenant, world: &World, rng: &mut Rng) -> Company {
    let (countries, weights): (Vec<_>, Vec<_>) = tenant.countries.iter().copied().unzip();
    let country = *rng.pick_weighted(&countries, &weights);
    let cities = places::of_country(country);
    let city = cities.start + rng.below(cities.len());
    let pools = world.pools_in(*rng.pick(&world.of(Kind::Fixed, Some(country))), city);
    let first = rng.next() >> 8;
    let office = (0..1 + rng.below(2) as u64).map(|number| world.v4(pools[0], first + number)).collect();
    let gateway = rng.chance(0.2).then(|| world.of(Kind::Gateway, None)[0]);
    debug_assert!(city < CITIES.len());
    Company { city, office, gateway }
}
