//! One refresh of one holder, with what can go wrong: lost answers, vetoes of other webhooks, racing and duplicated tabs,
//! restored browsers, refused tokens.

use crate::{
    places::{HOUR, Ms, SECOND, START},
    policy::{App, Storage},
    session::{Life, Session},
    theft::{From, Guise},
    traffic::Event,
};

/// Of refreshes by people with several tabs, those that two tabs do at once (assumed).
const RACES: f64 = 0.012;
/// Of refreshes from per-tab storage, those before which a tab was duplicated (assumed).
const DUPLICATES: f64 = 0.004;
/// Of refreshes in browsers, those with an old token from a restored session (assumed).
const RESTORES: f64 = 0.0003;

pub struct Step<'a, 'b> {
    pub life: &'a mut Life<'b>,
    pub session: &'a mut Session,
    pub number: usize,
    pub at: Ms,
}

impl Step<'_, '_> {
    pub fn take(mut self) {
        let thief = self.session.actors[self.number].thief;
        let address = if thief { self.thief_address() } else { self.life.address(self.at) };
        let in_bout = thief || address.is_some();
        if !in_bout {
            let pause = self.life.dark();
            self.session.actors[self.number].retry = Some(self.at + pause);
            return self.replan();
        }
        let retries = std::mem::take(&mut self.session.actors[self.number].failed);
        let restored = self.surprise();
        let presented = self.session.actors[self.number].held.refresh;
        let original = self.original();
        let moment = self.life.moment(self.at, true);
        let app = &self.life.traffic.apps[self.life.app];
        let Some((token, next)) = self.session.family.refresh(presented, &moment, app) else { return self.refused() };
        let lost = self.life.loses(address);
        let note = match original {
            _ if !moment.commits => "rollback",
            _ if lost => "lost",
            _ if retries => "retry",
            _ if restored => "restored",
            Some((of, _)) if of != self.session.family.id => "leftover",
            _ if self.session.actors[self.number].throttled => "branch",
            _ => "",
        };
        self.record(moment.at + moment.skew, original, token, presented, address, note);
        let actor = &mut self.session.actors[self.number];
        if moment.commits && !lost {
            actor.held.access = Some(token);
            actor.held.refresh = next;
            if !thief {
                self.race(original, presented, address);
                self.duplicate();
            }
        } else {
            self.fails();
        }
        self.replan();
    }

    fn app(&self) -> &App {
        &self.life.traffic.apps[self.life.app]
    }

    fn expires(&self) -> Option<Ms> {
        let held = self.session.actors[self.number].held.access?;
        Some(self.session.family.tokens[held].expires * SECOND)
    }

    fn replan(&mut self) {
        let expires = self.expires();
        self.session.actors[self.number].plan(expires, self.at, &mut self.life.rng);
    }

    fn original(&mut self) -> Option<(usize, usize)> {
        let expires = self.expires();
        let own = self.session.actors[self.number].original(expires, self.at, &mut self.life.rng);
        let own = own.map(|number| (self.session.family.id, number));
        if self.session.actors[self.number].thief {
            return own;
        }
        match self.session.leftover.take() {
            Some(leftover) if own.is_some() => Some(leftover),
            _ => own,
        }
    }

    /// A browser restores a window of days ago, and with it an old token.
    fn surprise(&mut self) -> bool {
        let app = self.app();
        let can = app.in_browser() && app.one_time.is_none() && app.storage != Storage::Memory;
        let actor = &mut self.session.actors[self.number];
        let restores = can && !actor.thief && self.life.rng.chance(RESTORES * self.life.traffic.variant.faults());
        if restores {
            let back = 2 + self.life.rng.below(20);
            actor.held.access = actor.held.access.map(|access| access.saturating_sub(back));
        }
        restores
    }

    fn refused(&mut self) {
        if self.session.actors[self.number].thief {
            self.session.actors.remove(self.number);
            return;
        }
        self.session.over = Some(self.at);
        self.session.logout = None;
        self.session.actors.retain(|actor| actor.thief);
    }

    /// Tries again within seconds, or when the user is back.
    fn fails(&mut self) {
        let quick = self.life.rng.chance(0.7);
        let pause = self.life.patience();
        let actor = &mut self.session.actors[self.number];
        actor.failed = true;
        if quick || actor.thief {
            actor.retry = Some(self.at + pause);
        } else {
            actor.cursor += 1;
        }
    }

    /// Another tab does the same within seconds; the last to be answered wins.
    fn race(&mut self, original: Option<(usize, usize)>, presented: usize, address: Option<crate::networks::Address>) {
        let shared = self.app().in_browser() && self.app().storage == Storage::Shared;
        if !shared || !self.life.many_tabs() || !self.life.rng.chance(RACES * self.life.traffic.variant.races()) {
            return;
        }
        let at = self.at + 4 + (self.life.rng.wait(700.0)) as Ms;
        let moment = self.life.moment(at, true);
        let app = &self.life.traffic.apps[self.life.app];
        let Some((token, next)) = self.session.family.refresh(presented, &moment, app) else { return };
        self.at = at;
        self.record(moment.at + moment.skew, original, token, presented, address, "race");
        let actor = &mut self.session.actors[self.number];
        if moment.commits && self.life.rng.chance(0.6) {
            actor.held.access = Some(token);
            actor.held.refresh = next;
        }
    }

    /// A tab is duplicated, tokens and all; from now on there are two chains.
    fn duplicate(&mut self) {
        if self.app().storage != Storage::Tab || self.session.actors.len() > 3 || !self.life.rng.chance(DUPLICATES) {
            return;
        }
        let mut twin = self.session.actors[self.number].clone();
        let until = self.at + HOUR + (self.life.rng.wait(20.0 * HOUR as f64)) as Ms;
        twin.bouts.retain(|bout| bout.from < until && bout.to > self.at && self.life.rng.chance(0.7));
        twin.cursor = 0;
        twin.throttled = true;
        let expires = self.expires();
        twin.plan(expires, self.at, &mut self.life.rng);
        self.session.actors.push(twin);
    }

    fn thief_address(&mut self) -> Option<crate::networks::Address> {
        let near = self.life.address(self.at);
        let city = self.life.who().place(self.at).0;
        let home = self.life.who().city;
        let (plan, _, calls) = self.session.theft.as_mut()?;
        *calls += 1;
        // Bought for where the victim lives, except where it follows the victim.
        let city = if plan.from == From::SameHost { city } else { home };
        plan.address(self.at, *calls, city, near, &self.life.traffic.world)
    }

    fn record(
        &mut self,
        created: Ms,
        original: Option<(usize, usize)>,
        token: usize,
        refresh: usize,
        address: Option<crate::networks::Address>,
        note: &'static str,
    ) {
        let thief = self.session.actors[self.number].thief;
        let id = self.life.rng.wide();
        if self.at < START {
            return;
        }
        let (agent, device) = match self.session.theft.as_ref().filter(|_| thief) {
            Some((plan, ..)) => match &plan.guise {
                Guise::Tool(name) => ((*name).to_owned(), None),
                Guise::Own => (plan.machine.browser(self.at, false), None),
                Guise::Copied if plan.from == From::SameHost => (self.life.agent(self.at), self.life.device()),
                Guise::Copied => (self.life.agent(plan.at), self.life.device()),
            },
            None => (self.life.agent(self.at), self.life.device()),
        };
        let theft = self.session.theft.as_ref().map(|(_, number, _)| *number);
        if let Some(theft) = theft.filter(|_| thief) {
            let theft = &mut self.life.traffic.thefts[theft];
            theft.first = if theft.events == 0 { self.at } else { theft.first };
            theft.last = self.at;
            theft.events += 1;
        }
        let family = self.session.family.id;
        self.life.traffic.events.push(Event {
            id,
            created,
            at: self.at,
            family,
            original,
            token,
            refresh,
            address,
            agent: Some(agent),
            device,
            theft,
            thief,
            note,
        });
    }
}
