//! What is kept of a seed: enough to apply any threshold later, little enough to hold many seeds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::product::Verdicts;
use crate::{
    places::{DAY, HOUR, Ms, START},
    policy::{Original, Storage},
    rng::Rng,
    theft::Scenario,
    traffic::Traffic,
};

/// How long after a thief's last refresh a detection still counts.
const AFTER: Ms = 48 * HOUR;
/// Of clean scores, the upper part that is kept; thresholds lie far above it.
const KEPT: f64 = 0.02;
/// Windows in clean sessions, for the placebo rate.
const PLACEBOS: usize = 1_000;
const BINS: usize = 15;

/// The labels, by event.
pub struct Truth<'a> {
    pub traffic: &'a Traffic,
    pub by_id: HashMap<u128, u32>,
    /// Events of each family, in order.
    pub families: Vec<Vec<u32>>,
    /// The theft of a family that came to something.
    pub thefts: BTreeMap<usize, usize>,
    /// Users with no stolen session.
    pub clean_users: BTreeSet<usize>,
    pub users: HashMap<String, usize>,
}

impl<'a> Truth<'a> {
    pub fn new(traffic: &'a Traffic) -> Self {
        let mut families = vec![Vec::new(); traffic.families.len()];
        let mut by_id = HashMap::with_capacity(traffic.events.len());
        for (number, event) in traffic.events.iter().enumerate() {
            by_id.insert(event.id & !(0xf << 76) & !(0xc << 60) | 4 << 76 | 8 << 60, number as u32);
            families[event.family].push(number as u32);
        }
        let real = traffic.thefts.iter().enumerate().filter(|(_, theft)| theft.events > 0);
        let thefts: BTreeMap<usize, usize> = real.map(|(number, theft)| (theft.family, number)).collect();
        let robbed: BTreeSet<usize> = thefts.keys().map(|family| traffic.families[*family].person).collect();
        let clean_users = (0..traffic.people.len()).filter(|person| !robbed.contains(person)).collect();
        let users = traffic.people.iter().enumerate().map(|(number, person)| (person.uuid.clone(), number)).collect();
        Self { traffic, by_id, families, thefts, clean_users, users }
    }

    /// Its session was never stolen.
    pub fn is_clean(&self, event: usize) -> bool {
        !self.thefts.contains_key(&self.traffic.events[event].family)
    }

    fn app(&self, event: usize) -> usize {
        self.traffic.families[self.traffic.events[event].family].app
    }

    pub fn person(&self, event: usize) -> usize {
        self.traffic.families[self.traffic.events[event].family].person
    }

    /// A thief is in the session at that moment.
    fn is_held(&self, event: usize) -> bool {
        let event = &self.traffic.events[event];
        self.thefts.get(&event.family).is_some_and(|theft| {
            let theft = &self.traffic.thefts[*theft];
            (theft.first..=theft.last).contains(&event.at)
        })
    }
}

/// A theft or a placebo: the rising maxima of the score in its window, with the time in token lifetimes.
pub struct Trace {
    pub scenario: Scenario,
    /// The application's clients always send `original`.
    pub always: bool,
    pub steps: Vec<(f64, f64)>,
}

impl Trace {
    /// When the score first passed a cut.
    pub fn passes(&self, cut: f64) -> Option<f64> {
        self.steps.iter().find(|(_, score)| *score > cut).map(|(at, _)| *at)
    }
}

pub struct Method {
    pub name: &'static str,
    /// The upper part, highest first, and of which application.
    pub clean: Vec<(f64, usize)>,
    pub thefts: Vec<Trace>,
    /// The highest score in each window.
    pub placebos: Vec<f64>,
}

#[derive(Default)]
pub struct Rule {
    pub clean: usize,
    pub thefts: BTreeSet<usize>,
}

/// What only the product says.
#[derive(Default)]
pub struct Extra {
    pub missing: usize,
    pub incidents_of_clean_users: usize,
    /// Of these, `high` or worse.
    pub severe_incidents: usize,
    pub incidents_of_networks: usize,
    pub denials_of_clean: usize,
    pub denials_of_thieves: usize,
    /// Per bin of risk: events, sum of risks, events held by a thief.
    pub bins: [(usize, f64, usize); BINS],
    pub rules: BTreeMap<String, Rule>,
}

pub struct Seed {
    pub seed: u64,
    pub clean_events: usize,
    pub clean_users: usize,
    /// Applications and their clean events.
    pub apps: Vec<(&'static str, usize)>,
    pub days: f64,
    pub methods: Vec<Method>,
    pub extra: Option<Extra>,
    /// Clean session, its event and the length of a theft.
    windows: Vec<(usize, usize, Ms)>,
}

impl Seed {
    pub fn new(seed: u64, truth: &Truth) -> Self {
        let traffic = truth.traffic;
        let clean: Vec<usize> = (0..traffic.events.len()).filter(|event| truth.is_clean(*event)).collect();
        let lengths: Vec<Ms> =
            truth.thefts.values().map(|theft| traffic.thefts[*theft].last - traffic.thefts[*theft].first).collect();
        let mut rng = Rng::new(seed, 70);
        // Thefts begin in the second week; so do these.
        let late = clean.partition_point(|event| traffic.events[*event].at < START + 7 * DAY);
        let windows = if lengths.is_empty() || late >= clean.len() {
            Vec::new()
        } else {
            let window = |_| {
                let event = *rng.pick(&clean[late..]);
                (traffic.events[event].family, event, *rng.pick(&lengths))
            };
            (0..PLACEBOS).map(window).collect()
        };
        let mut apps: Vec<(&str, usize)> = traffic.apps.iter().map(|app| (app.name, 0)).collect();
        clean.iter().for_each(|event| apps[truth.app(*event)].1 += 1);
        Self {
            seed,
            apps,
            clean_events: clean.len(),
            clean_users: truth.clean_users.len(),
            days: (traffic.end - START) as f64 / DAY as f64,
            methods: Vec::new(),
            extra: None,
            windows,
        }
    }

    /// `scores` by event; NaN where there is none.
    pub fn method(&mut self, name: &'static str, scores: &[f64], truth: &Truth) {
        let kept = (truth.traffic.events.len() as f64 * KEPT) as usize;
        let events = (0..scores.len()).filter(|event| truth.is_clean(*event) && !scores[*event].is_nan());
        let mut clean: Vec<(f64, usize)> = events.map(|event| (scores[event], truth.app(event))).collect();
        clean.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        // Rules that only say yes or no may flag most of it.
        let flagged = clean.partition_point(|(score, _)| *score >= 1.0);
        clean.truncate(if BINARY.contains(&name) { flagged } else { kept });
        let thefts = truth.thefts.iter().map(|(family, theft)| trace(*family, *theft, scores, truth)).collect();
        let highest = |(family, from, length): &(usize, usize, Ms)| {
            let begins = truth.traffic.events[*from].at;
            steps(*family, begins, begins + length + AFTER, 1.0, scores, truth)
                .last()
                .map_or(f64::MIN, |(_, score)| *score)
        };
        let placebos = self.windows.iter().map(highest).collect();
        self.methods.push(Method { name, clean, thefts, placebos });
    }

    pub fn verdicts(&mut self, verdicts: Verdicts, truth: &Truth) {
        let mut extra = Extra { rules: verdicts.rules, ..Extra::default() };
        for (event, risk) in verdicts.risk.iter().enumerate() {
            if risk.is_nan() {
                extra.missing += 1;
                continue;
            }
            let bin = &mut extra.bins[((risk * BINS as f64) as usize).min(BINS - 1)];
            bin.0 += 1;
            bin.1 += risk;
            bin.2 += usize::from(truth.is_held(event));
        }
        for event in &verdicts.denied {
            extra.denials_of_clean += usize::from(truth.is_clean(*event));
            extra.denials_of_thieves += usize::from(truth.traffic.events[*event].thief);
        }
        extra.incidents_of_clean_users = verdicts.incidents.len();
        extra.severe_incidents = verdicts.severe.len();
        extra.incidents_of_networks = verdicts.network_incidents;
        self.method("refresh-audit", &verdicts.risk, truth);
        for (name, scores) in [("findings >= high", &verdicts.high), ("findings = critical", &verdicts.critical)] {
            self.method(name, scores, truth);
        }
        self.extra = Some(extra);
    }
}

/// Methods without a threshold.
pub const BINARY: &[&str] = &[
    "findings >= high",
    "findings = critical",
    "Auth0 Action (initial ASN or UA)",
    "Panther stolen session",
    "Splunk session cookie",
    "Okta velocity (805 km/h)",
    "Elastic multiple addresses",
];

fn steps(family: usize, from: Ms, to: Ms, lifetime: f64, scores: &[f64], truth: &Truth) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for event in &truth.families[family] {
        let at = truth.traffic.events[*event as usize].at;
        let score = scores[*event as usize];
        if (from..=to).contains(&at) && steps.last().is_none_or(|(_, last)| score > *last) && !score.is_nan() {
            steps.push(((at - from) as f64 / lifetime, score));
        }
    }
    steps
}

fn trace(family: usize, theft: usize, scores: &[f64], truth: &Truth) -> Trace {
    let theft = &truth.traffic.thefts[theft];
    let app = &truth.traffic.apps[truth.traffic.families[family].app];
    let lifetime = app.lifetime(theft.first) as f64;
    Trace {
        scenario: theft.scenario,
        always: app.original == Original::Always && app.storage != Storage::Memory,
        steps: steps(family, theft.first, theft.last + AFTER, lifetime, scores, truth),
    }
}
