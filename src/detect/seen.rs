//! One refresh beside what is known: the signals it shows. Pure; changes nothing.

use super::{
    catalogue::Config,
    facts::{Cell, Facts, labels},
    geo::{is_elsewhere, is_one_place},
    key::short,
    others::Others,
    revoked::Revoked,
    signals::{Company, First, Hour, Kind, Lineage, Net, Pace, Signals, Software, Start},
    state::{
        application::Application,
        chain::Parent,
        session::{Context, Session},
        user::User,
    },
    zones::LocalHour,
};
use crate::event::RefreshEvent;

/// Refreshes closer than this are one client that asked twice, seconds.
pub const LEEWAY_SECS: u32 = 60;
/// After this many refreshes within ten minutes, one more at once is nothing new.
pub const BURST_RATE: u16 = 2;
/// A user known for less than this is new, seconds.
const NEW_USER_SECS: u32 = 5 * 86_400;
/// And one with fewer refreshes.
const NEW_USER_EVENTS: u32 = 10;
/// Refreshes before a user's hours say anything.
const HOURS_MIN: u32 = 80;

/// See the module.
pub struct Seen<'a> {
    /// `[detect]`.
    pub config: &'a Config,
    /// The event, for words.
    pub event: &'a RefreshEvent,
    /// The event, in numbers.
    pub facts: &'a Facts,
    /// The ledger's clock, seconds since 1970.
    pub at: u32,
    /// The sender's instant, clamped.
    pub now: i64,
    /// What is known of the session; none at its first sight, and as long as all of it was refused.
    pub session: Option<&'a Session>,
    /// What was revoked before.
    pub revoked: Revoked,
    /// What is known of the user.
    pub user: Option<&'a User>,
    /// What is known of the application.
    pub application: &'a Application,
    /// Whether that is a back end: estimates of its users and networks tell, and are made once.
    pub is_backend: bool,
    /// How the parent stands to the session's tokens.
    pub parent: Parent,
    /// Users new to the network in this hour, and how many usually are.
    pub company: (u32, f32),
    /// What the user's other sessions say.
    pub others: Others,
    /// How many users have a network of this provider for their own.
    pub owners: u32,
    /// The signals.
    pub signals: Signals,
}

/// What is needed to see.
pub struct Known<'a> {
    /// `[detect]`.
    pub config: &'a Config,
    /// See [`Seen`].
    pub session: Option<&'a Session>,
    /// See [`Seen`].
    pub revoked: Revoked,
    /// See [`Seen`].
    pub user: Option<&'a User>,
    /// See [`Seen`].
    pub application: &'a Application,
    /// See [`Seen`].
    pub company: (u32, f32),
    /// See [`Seen`].
    pub others: Others,
    /// See [`Seen`].
    pub owners: u32,
}

impl<'a> Seen<'a> {
    /// Looks at a refresh.
    pub fn new(event: &'a RefreshEvent, facts: &'a Facts, at: u32, now: i64, known: Known<'a>) -> Self {
        let Known { config, session, revoked, user, application, company, others, owners } = known;
        let leeway = u32::try_from(config.ra101.leeway.get().as_secs()).unwrap_or(LEEWAY_SECS);
        let parent = session.map_or(Parent::Fresh, |session| session.chain.parent(facts, now, leeway));
        let session = session.filter(|session| session.events != 0);
        let mut seen = Self {
            config,
            event,
            facts,
            at,
            now,
            session,
            revoked,
            user,
            application,
            is_backend: application.is_backend(),
            parent,
            company,
            others,
            owners,
            signals: Signals::default(),
        };
        seen.signals = seen.signals();
        seen
    }

    fn signals(&self) -> Signals {
        let lineage = self.lineage();
        // A race is a burst: one cause, told once.
        let when = if lineage == Lineage::Race { Pace::Unknown } else { self.pace() };
        // And who asks a second time is late by that.
        let told = if lineage == Lineage::Retry { Pace::Unknown } else { when };
        // Once, until it is known what became of the fork: who lost an answer begins anew, and so does their page.
        let begins = lineage == Lineage::Head && self.session.is_some_and(|session| session.fork_open == 1);
        let told = if begins && when == Pace::Early { Pace::Unknown } else { told };
        // Of several branches of one device it cannot be told whose it is.
        let told = if self.facts.parent == 0 && self.is_one_device() { Pace::Unknown } else { told };
        let (pace, blind) = if self.facts.parent == 0 { (Pace::Unknown, told) } else { (told, Pace::Unknown) };
        let fork = self.fork();
        let net = if self.is_backend { self.net_of_servers() } else { self.net() };
        // Where a session begins, where it wakes, and that it moves in mid-use are three things.
        let awake = matches!(when, Pace::Burst | Pace::Early | Pace::Ahead | Pace::OnTime) || lineage == Lineage::Race;
        let (within, wake) = match self.session {
            None => (Net::Unknown, Net::Unknown),
            Some(_) if awake => (net, Net::Unknown),
            Some(_) => (Net::Unknown, net),
        };
        let start = if self.session.is_some() { Start::Unknown } else { Start::from(net) };
        if self.is_backend {
            return self.of_servers(Signals {
                net: within,
                wake,
                start,
                lineage,
                fork,
                pace,
                blind,
                ..Signals::default()
            });
        }
        let software = self.software();
        Signals {
            net: within,
            wake,
            start,
            kind: self.kind(),
            path: self.path(net),
            software: if self.session.is_some() { software } else { Software::Unknown },
            first: match software {
                Software::Unknown => First::Unknown,
                _ if self.session.is_some() => First::Unknown,
                Software::Other => First::Other,
                Software::Tool => First::Tool,
                _ => First::Known,
            },
            lineage,
            fork,
            rival: self.rival(lineage),
            pace,
            blind,
            company: self.company_level(net),
            ground: self.ground(net),
            elsewhere: self.other_sessions(net),
            renewal: self.others.renewal,
            stamina: self.stamina(),
            drift: self.drift(net),
            beat: self.beat(),
            undone: self.application.undoes(self.at),
            at_once: lineage == Lineage::Race && self.gap() <= Some(LEEWAY_SECS) && self.is_among_own(),
            // Told when use begins, not at each refresh of the same sitting.
            hour: if awake { Hour::Unknown } else { self.hour() },
        }
    }

    /// Whether too little is known of the user to say what is unusual for them.
    pub fn is_new_user(&self) -> bool {
        let Some(user) = self.user else { return true };
        self.at.saturating_sub(user.first) < NEW_USER_SECS || user.events < NEW_USER_EVENTS
    }

    /// The session's last context.
    pub fn last_context(&self) -> Option<&'a Context> {
        self.session?.contexts().first()
    }

    /// This refresh as a context.
    pub fn context(&self) -> Context {
        Context::of(&self.facts.place, &self.facts.agent, self.seconds())
    }

    /// The sender's instant as state keeps it.
    pub fn seconds(&self) -> u32 {
        u32::try_from(self.now.max(0)).unwrap_or(u32::MAX)
    }

    /// Seconds since the session's last refresh.
    pub fn gap(&self) -> Option<u32> {
        self.session.map(|session| self.seconds().saturating_sub(session.last))
    }

    /// The hour where the tenant's people live.
    pub fn local_hour(&self) -> LocalHour {
        self.config.zones.hour(self.facts.tenant, self.now)
    }

    fn net(&self) -> Net {
        let place = &self.facts.place;
        if place.ip == 0 {
            return Net::Unknown;
        }
        let near = short(place.near);
        let contexts = self.session.map_or(&[][..], Session::contexts);
        let contexts = contexts.iter().filter(|context| context.ip != 0);
        if contexts.clone().next().is_some_and(|last| last.near == near || last.ip == place.ip) {
            return Net::Same;
        }
        if self.session.is_some_and(|session| session.was_in(near)) {
            return Net::Own;
        }
        let own = self.user.into_iter().flat_map(User::places);
        let known = contexts
            .map(spot_of_context)
            .chain(own.map(|known| (known.near, known.wide, known.country, known.spot.cell(), known.labels)));
        let mut net = Net::Unknown;
        for (other_near, wide, country, cell, had) in known {
            // A relay's next exit, another aircraft: who was in one may be in any.
            let level = if other_near == near || had & place.labels & labels::ROAMING != 0 {
                Net::Own
            } else if wide == place.wide {
                if is_elsewhere(cell, place.cell) { Net::Afar } else { Net::Area }
            } else if is_one_place(cell, place.cell) {
                Net::City
            } else if country == place.country && country != 0 {
                Net::Country
            } else if country == 0 || place.country == 0 {
                // Without a country, all that is known is that it is new.
                Net::Country
            } else {
                Net::Abroad
            };
            net = if net == Net::Unknown { level } else { net.min(level) };
        }
        net
    }

    fn kind(&self) -> Kind {
        let place = &self.facts.place;
        if place.ip == 0 {
            return Kind::Unknown;
        }
        let special = place.labels & (labels::ANONYMISER | labels::HOSTING);
        if special == 0 {
            return if labels::moves(place.labels) { Kind::Mobile } else { Kind::Plain };
        }
        let contexts = self.session.map_or(&[][..], Session::contexts).iter().map(|context| context.labels);
        let places = self.user.into_iter().flat_map(User::places).map(|known| known.labels);
        // A VPN makes nobody familiar with Tor.
        let alike = if special & labels::TOR == 0 { special } else { labels::TOR };
        if contexts.chain(places).any(|had| had & alike != 0) {
            Kind::Habit
        } else if special & labels::TOR != 0 {
            Kind::Tor
        } else if special & labels::HOSTING != 0 {
            Kind::Hosting
        } else {
            Kind::Hidden
        }
    }

    fn software(&self) -> Software {
        let agent = &self.facts.agent;
        if agent.text == 0 {
            return Software::Unknown;
        }
        let contexts: Vec<&Context> =
            self.session.map_or(&[][..], Session::contexts).iter().filter(|context| context.agent != 0).collect();
        let own = || self.user.into_iter().flat_map(User::agents);
        if contexts.first().is_some_and(|last| last.agent == agent.text) {
            return Software::Same;
        }
        if contexts.iter().any(|context| context.agent == agent.text) {
            return Software::Own;
        }
        if contexts.is_empty() {
            let any = own().next().is_some();
            return if own().any(|known| known.text == agent.text || known.class == agent.class) {
                Software::Own
            } else if agent.tool && self.tools_are_rare() && self.application.events >= self.config.ra503.events_min {
                Software::Tool
            } else if any {
                Software::Other
            } else {
                Software::Unknown
            };
        }
        match contexts.iter().find(|context| context.class == agent.class) {
            Some(known) if agent.major != 0 && agent.major < known.major => Software::Older,
            Some(_) => Software::Update,
            None if contexts.iter().any(|context| self.is_related(context) || self.is_desktop_mode(context)) => {
                Software::Update
            }
            None if agent.tool && self.tools_are_rare() => Software::Tool,
            None => Software::Other,
        }
    }

    /// Whether scripts are odd in this application.
    pub fn tools_are_rare(&self) -> bool {
        let rule = &self.config.ra503;
        !self.application.are_usual(&self.application.scripted, rule.share) || self.application.events < rule.events_min
    }

    /// How many other users are new to its network now, and how many usually are, in a word.
    pub fn company_level(&self, net: Net) -> Company {
        let rule = &self.config.ra405;
        let (count, usual) = (f64::from(self.company.0), f64::from(self.company.1));
        let place = &self.facts.place;
        // Where many people come and go behind one address.
        let is_shared = place.labels & labels::OFFICE != 0 || labels::moves(place.labels);
        // An application that was never seen elsewhere begins on its server: nobody can have stolen from it yet.
        let is_shared = is_shared || self.application.addresses.is_only(place.near);
        if place.ip == 0 {
            Company::Unknown
        } else if is_shared || net < Net::Area && net != Net::Unknown {
            Company::Alone
        } else if self.company.0 >= rule.users && count > rule.factor * usual {
            Company::Many
        } else if count >= 4.0 && count > 3.0 * usual + 2.0 {
            Company::Some
        } else {
            Company::Alone
        }
    }

    fn hour(&self) -> Hour {
        let now = self.local_hour();
        let Some(user) = self.user.filter(|user| user.zone == now.zone) else { return Hour::Unknown };
        let total: u32 = user.hours.iter().map(|count| u32::from(*count)).sum();
        if total < HOURS_MIN {
            return Hour::Unknown;
        }
        let around: u32 = [23, 0, 1].iter().map(|off| u32::from(user.hours[(now.hour + off) % 24])).sum();
        match around {
            few if f64::from(few) < self.config.ra305.share * f64::from(total) => Hour::Never,
            few if f64::from(few) < 0.02 * f64::from(total) => Hour::Rare,
            _ => Hour::Usual,
        }
    }
}

fn spot_of_context(context: &Context) -> (u32, u32, u16, Option<Cell>, u16) {
    (context.near, context.wide, context.country, context.spot.cell(), context.labels)
}
