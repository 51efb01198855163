//! The life of one person's use of one application on one device: logins, refreshes, faults, and thieves that join in.

use crate::{
    actor::{self, Actor, Bout, Held, tidy},
    agents::Platform,
    family::{Family, Moment},
    networks::{Address, Kind},
    person::{Person, Place},
    places::{CITIES, DAY, HOUR, MINUTE, Ms, SECOND, START},
    policy::{App, Client, Original, Storage},
    rng::{Rng, mix, unit},
    session_step::Step,
    theft::{Plan, Scenario},
    traffic::{Fate, Theft, Traffic},
};

/// Sessions that began before the first day are known to nobody.
const BEFORE: Ms = 10 * DAY;
/// Logouts that only drop the tokens and do not revoke them (assumed).
const LAZY_LOGOUT: f64 = 0.2;

/// Plays everything.
pub fn play(traffic: &mut Traffic) {
    let fates = traffic.fates();
    for (person, fate) in fates.into_iter().enumerate() {
        let mut rng = Rng::new(traffic.seed, 1_000_000 + person as u64);
        let uses = memberships(traffic, person, &mut rng);
        let victim = match &fate {
            Some(Fate { app: Some(app), .. }) => uses.iter().position(|(of, _)| of == app),
            Some(Fate { scenario: Scenario::Weekly, .. }) => {
                let long =
                    |of: &(usize, usize)| traffic.apps[of.0].session >= 14 * DAY && traffic.apps[of.0].logout < 0.02;
                uses.iter().position(long).or(Some(0))
            }
            Some(_) => Some(rng.below(uses.len())),
            None => None,
        };
        for (number, (app, machine)) in uses.into_iter().enumerate() {
            let plan = fate.as_ref().filter(|_| victim == Some(number));
            let plan = plan.map(|fate| Plan::new(fate.scenario, fate.at, fate.hand, &mut rng));
            Life { traffic, person, app, machine, rng: Rng::new(mix(&[rng.next()]), 5), plan, last: None }.run();
        }
    }
}

/// Which applications on which devices; at least one.
fn memberships(traffic: &Traffic, person: usize, rng: &mut Rng) -> Vec<(usize, usize)> {
    let who = &traffic.people[person];
    let mut uses = Vec::new();
    for round in 0..10 {
        for (number, app) in traffic.apps.iter().enumerate().filter(|(_, app)| app.tenant == who.tenant) {
            if !rng.chance(app.share) || round > 0 && !uses.is_empty() {
                continue;
            }
            let fits = |machine: &usize| app.phone.is_none_or(|phone| phone == who.machines[*machine].is_mobile());
            let fitting: Vec<usize> = (0..who.machines.len()).filter(fits).collect();
            let Some(first) = fitting.first() else { continue };
            uses.push((number, *first));
            // A second device, with a session of its own.
            for more in &fitting[1..] {
                if rng.chance(0.35) {
                    uses.push((number, *more));
                }
            }
        }
    }
    uses
}

/// One person, one application, one device.
pub struct Life<'a> {
    pub traffic: &'a mut Traffic,
    pub person: usize,
    pub app: usize,
    pub machine: usize,
    pub rng: Rng,
    pub plan: Option<Plan>,
    /// The session before, and the last token held in it.
    pub last: Option<(usize, usize)>,
}

/// A session in progress.
pub struct Session {
    pub family: Family,
    pub actors: Vec<Actor>,
    pub logout: Option<Ms>,
    /// When the user's part was over.
    pub over: Option<Ms>,
    /// The thief's plan, its number in [`Traffic::thefts`] and how often it called.
    pub theft: Option<(Plan, usize, usize)>,
    /// What the first refresh sends along from the session before.
    pub leftover: Option<(usize, usize)>,
}

impl Life<'_> {
    pub fn app(&self) -> &App {
        &self.traffic.apps[self.app]
    }

    pub fn who(&self) -> &Person {
        &self.traffic.people[self.person]
    }

    fn run(mut self) {
        let mut bouts = self.uses();
        while let Some(first) = bouts.first().copied() {
            let over = self.session(&bouts, first.from);
            bouts.retain(|bout| bout.to > over + 20 * SECOND);
            if let Some(first) = bouts.first_mut() {
                first.from = first.from.max(over + 20 * SECOND);
            }
        }
    }

    /// When the person uses the application here.
    fn uses(&mut self) -> Vec<Bout> {
        let (uses, length, client, phone) = {
            let app = self.app();
            (app.uses, app.use_length, app.client, self.who().machines[self.machine].is_mobile())
        };
        let who = &self.traffic.people[self.person];
        let work = who.company.is_some() && self.traffic.apps[self.app].tenant == 1;
        let from = who.joins.max(START - BEFORE);
        // Some use it daily, some weekly.
        let habit = self.rng.between(0.25, 1.0);
        let mut bouts = Vec::new();
        let mut day = from.div_euclid(DAY);
        while day * DAY < self.traffic.end {
            let midnight = day * DAY - CITIES[who.city].offset(day * DAY);
            day += 1;
            let weekend = (day + 2).rem_euclid(7) >= 5;
            let mean = uses * who.zeal * if work && weekend { 0.1 } else { 1.0 };
            let count = if self.rng.chance(habit) { self.rng.poisson(mean) } else { 0 };
            for _ in 0..count {
                let from = midnight + actor::hour(work, &mut self.rng);
                let lasts = self.rng.log_normal(length as f64, 0.8).clamp(20_000.0, 9.0 * HOUR as f64);
                let travels = !matches!(who.place(from).1, Place::Home | Place::Office);
                if phone || client == Client::Backend || !travels || self.rng.chance(0.4) {
                    bouts.push(Bout { from, to: from + lasts as Ms });
                }
            }
            if client == Client::Background {
                for wake in 0..3 {
                    let from = midnight + wake * 8 * HOUR + self.rng.below(8 * HOUR as usize) as Ms;
                    bouts.push(Bout { from, to: from + 40 * SECOND });
                }
            }
        }
        bouts.retain(|bout| bout.from >= from && bout.to < self.traffic.end);
        tidy(bouts)
    }

    /// From the login on; returns when the user's part of it was over.
    fn session(&mut self, bouts: &[Bout], login: Ms) -> Ms {
        let mut session = self.log_in(bouts, login);
        if self.plan.as_ref().is_some_and(|plan| plan.scenario == Scenario::InTheMiddle && login >= plan.at) {
            self.steal(&mut session, login);
        }
        loop {
            let next = session.actors.iter().enumerate().filter_map(|(number, actor)| Some((actor.due?, number))).min();
            let Some((at, number)) = next.filter(|(at, _)| *at < self.traffic.end) else { break };
            if session.logout.is_some_and(|logout| at >= logout) {
                let logout = session.logout.take();
                session.over = session.over.or(logout);
                session.family.revoked |= !self.rng.chance(LAZY_LOGOUT);
                session.actors.retain(|actor| actor.thief);
                continue;
            }
            if let Some(plan) = self.plan.as_ref().filter(|plan| at >= plan.at && session.over.is_none()) {
                if plan.scenario == Scenario::InTheMiddle {
                    // A lure makes the user log in anew; the thief waits there.
                    session.over = Some(plan.at);
                    break;
                }
                if session.family.tokens.len() > 1 && !session.actors[number].thief {
                    self.steal(&mut session, at);
                    continue;
                }
            }
            Step { life: self, session: &mut session, number, at }.take();
        }
        let end = bouts.last().map_or(login, |bout| bout.to);
        self.last = session
            .actors
            .iter()
            .find(|actor| !actor.thief)
            .and_then(|actor| actor.held.access)
            .map(|held| (session.family.id, held));
        let over = session.over.or(session.logout).unwrap_or(end).max(login);
        self.traffic.families.push(session.family);
        over
    }

    fn log_in(&mut self, bouts: &[Bout], login: Ms) -> Session {
        let moment = self.moment(login, true);
        let id = self.traffic.families.len();
        let sid = self.rng.wide();
        let family = Family::new(id, self.person, self.app, sid, &moment, &self.traffic.apps[self.app]);
        let (logout, client, original, storage) = {
            let app = self.app();
            (app.logout, app.client, app.original, app.storage)
        };
        let logout = bouts.iter().find(|_| self.rng.chance(logout)).map(|bout| bout.to);
        let until = logout.unwrap_or(Ms::MAX);
        let own: Vec<Bout> = bouts.iter().copied().filter(|bout| bout.to <= until).collect();
        let held = Held { access: Some(0), refresh: 0 };
        let mut actor = Actor::new(held, own, client, original, storage);
        actor.plan(Some(self.traffic.apps[self.app].lifetime(login) + login), login, &mut self.rng);
        let keeps = self.app().in_browser() && storage != Storage::Memory && original != Original::Never;
        let leftover = self.last.filter(|_| keeps && self.rng.chance(0.02));
        Session { family, actors: vec![actor], logout, over: None, theft: None, leftover }
    }

    fn steal(&mut self, session: &mut Session, now: Ms) {
        let Some(plan) = self.plan.take() else { return };
        let Some(victim) = session.actors.iter().find(|actor| !actor.thief) else { return };
        let (original, client) = (self.traffic.apps[self.app].original, self.traffic.apps[self.app].client);
        let mut thief = plan.thief(victim.held, original, client, now, &mut self.rng);
        let expires = thief.held.access.map(|access| session.family.tokens[access].expires * SECOND);
        let start = thief.bouts.first().map_or(now, |bout| bout.from);
        thief.plan(expires, start - 1, &mut self.rng);
        if plan.victim_stops {
            session.over = Some(now);
            session.logout = None;
            session.actors.clear();
        }
        session.actors.push(thief);
        let how =
            format!("{:?}/{:?}/{:?}{}", plan.from, plan.guise, plan.manner, if plan.stuck { "/stuck" } else { "" });
        let theft = Theft { family: session.family.id, scenario: plan.scenario, first: 0, last: 0, events: 0, how };
        session.theft = Some((plan, self.traffic.thefts.len(), 0));
        self.traffic.thefts.push(theft);
    }

    pub fn moment(&mut self, at: Ms, commits: bool) -> Moment {
        let draw = self.rng.next();
        let tenant = self.app().tenant;
        Moment {
            at,
            skew: self.traffic.skew(at, draw),
            new_key: at >= self.traffic.tenants[tenant].rotates,
            promoted: self.who().promoted.is_some_and(|since| at >= since),
            commits: commits && !self.traffic.undone(tenant, at, draw),
        }
    }

    /// From where the user's own device calls; `None`: it has no network.
    pub fn address(&self, at: Ms) -> Option<Address> {
        let (who, app) = (self.who(), self.app());
        if app.client == Client::Backend {
            return Some(self.traffic.backend(app, mix(&[at as u64])));
        }
        let company = who.company.map(|company| &self.traffic.companies[who.tenant][company]);
        who.address(&who.machines[self.machine], at, &self.traffic.world, &self.traffic.tenants[app.tenant], company)
    }

    /// What the user's own device calls itself.
    pub fn agent(&self, at: Ms) -> String {
        let (machine, app) = (&self.who().machines[self.machine], self.app());
        match app.client {
            Client::Backend => "Restify (https://github.com/inversoft/restify)".to_owned(),
            Client::Command => format!("acme-cli/2.{}.0", 3 + (at - START - machine.lag).div_euclid(21 * DAY)),
            Client::Background if unit(mix(&[machine.id, 78, at.div_euclid(HOUR) as u64])) < 0.25 => {
                machine.background(at, &app.name.replace(' ', ""))
            }
            _ if app.in_browser() => machine.browser(at, machine.in_desktop_mode(at)),
            _ => machine.native(at, &app.name.replace(' ', ""), app.backend & 1 == 0),
        }
    }

    pub fn device(&self) -> Option<(String, &'static str, &'static str)> {
        let (machine, app) = (&self.who().machines[self.machine], self.app());
        let kind = match machine.platform {
            Platform::Ipad => "TABLET",
            _ if machine.is_mobile() => "MOBILE",
            _ => "DESKTOP",
        };
        app.devices.then(|| (format!("{} {:04}", app.name, machine.id % 10_000), kind, machine.system()))
    }

    /// Whether the answer gets lost: more often on the move (packet loss of 0.2 to 0.5 % by Codavel; whole answers: assumed).
    pub fn loses(&mut self, address: Option<Address>) -> bool {
        let mobile = address.is_some_and(|address| self.traffic.world.kind(address) == Kind::Mobile);
        let faults = self.traffic.variant.faults();
        self.rng.chance(faults * if mobile { 0.004 } else { 0.001 })
    }

    /// Keeps several tabs of an application open: "most people have between three and five windows open" (Aalto).
    pub fn many_tabs(&self) -> bool {
        unit(mix(&[self.traffic.seed, 42, self.person as u64])) < 0.4
    }

    /// A pause before a client tries again.
    pub fn patience(&mut self) -> Ms {
        1_000 + (self.rng.wait(4_000.0)) as Ms
    }

    /// A while with no network.
    pub fn dark(&mut self) -> Ms {
        10 * MINUTE + self.rng.below(30) as Ms * MINUTE
    }
}
