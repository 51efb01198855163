//! Tenants and applications: how long tokens live, how they may be used, and how clients refresh.

use crate::{
    places::{DAY, HOUR, MINUTE, Ms, SECOND, START},
    rng::{Rng, uuid},
};

/// How a client decides to refresh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Client {
    /// Browser, a timer shortly before expiry while the page is open.
    Timer,
    /// Browser or desktop, with the first call after expiry.
    Demand,
    /// Phone, when it comes to the front; `true`: even if the token has not expired.
    Resume(bool),
    /// Phone or television: on resume, and some wake-ups in the background.
    Background,
    /// A server keeps the tokens and refreshes for its users, from its own address.
    Backend,
    /// A command-line tool.
    Command,
}

/// When a client sends the old access token along.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Original {
    Always,
    Never,
    /// With this probability each time.
    Mostly(f64),
    /// It sits in a cookie that lives as long as the token.
    WhileAlive,
}

/// Where a browser keeps its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Storage {
    /// Shared by all tabs: they race.
    Shared,
    /// Per tab, copied when a tab is duplicated: copies branch.
    Tab,
    /// In memory, refresh token in a cookie: lost with every page load.
    Memory,
}

/// Which members of `info` the sender fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Info {
    Full,
    NoLocation,
    AddressOnly,
    None,
}

pub struct App {
    pub id: String,
    pub tenant: usize,
    pub name: &'static str,
    pub client: Client,
    pub original: Original,
    pub storage: Storage,
    pub info: Info,
    /// `info.deviceName` and its like are given at login.
    pub devices: bool,
    pub lifetime: Ms,
    /// Later lifetime and since when.
    pub changes: Option<(Ms, Ms)>,
    /// Refresh tokens are spent once; the grace in which the one before still works.
    pub one_time: Option<Ms>,
    /// FusionAuth's `onOneTimeTokenReuse`.
    pub revoke_on_reuse: bool,
    /// Of the refresh token: fixed from the login, or from the last use.
    pub session: Ms,
    pub sliding: bool,
    /// The share of uses after which people log out.
    pub logout: f64,
    /// Uses per active day, median, and their length.
    pub uses: f64,
    pub use_length: Ms,
    /// On phones (else on computers; `None`: on any).
    pub phone: Option<bool>,
    pub sid: bool,
    /// `RS256`, not `HS256`.
    pub rsa: bool,
    /// A populate lambda adds a claim that changes with every token.
    pub lambda: bool,
    /// How many users of its tenant use it.
    pub share: f64,
    /// Where the clients are those of a back end: its fixed number.
    pub backend: u64,
}

pub struct Tenant {
    pub id: String,
    pub share: f64,
    /// Home countries and their weights.
    pub countries: &'static [(&'static str, f64)],
    /// How many of its people belong to a company with an office.
    pub employed: f64,
    /// It can be reached over IPv6.
    pub dual_stack: bool,
    /// How often phones are on Wi-Fi, of what is usual.
    pub wifi: f64,
    /// The day on which a new signing key takes over.
    pub rotates: Ms,
}

impl App {
    fn base(tenant: usize, name: &'static str, client: Client, rng: &mut Rng) -> Self {
        Self {
            id: uuid(rng.wide()),
            tenant,
            name,
            client,
            original: Original::Always,
            storage: Storage::Shared,
            info: Info::Full,
            devices: false,
            lifetime: HOUR,
            changes: None,
            one_time: None,
            revoke_on_reuse: false,
            session: 30 * DAY,
            sliding: false,
            logout: 0.03,
            uses: 2.0,
            use_length: 12 * MINUTE,
            phone: None,
            sid: true,
            rsa: false,
            lambda: false,
            share: 0.5,
            backend: rng.next(),
        }
    }

    pub fn lifetime(&self, at: Ms) -> Ms {
        self.changes.filter(|(since, _)| at >= *since).map_or(self.lifetime, |(_, lifetime)| lifetime)
    }

    /// It runs in a browser that the user drives.
    pub fn in_browser(&self) -> bool {
        matches!(self.client, Client::Timer | Client::Demand) && self.name != "Acme Desk"
    }
}

pub fn tenants(rng: &mut Rng) -> Vec<Tenant> {
    let mut tenant = |share, countries, employed, dual_stack, day: i64| Tenant {
        id: uuid(rng.wide()),
        share,
        countries,
        employed,
        dual_stack,
        wifi: 1.0,
        rotates: START + day * DAY + 9 * HOUR,
    };
    vec![
        tenant(0.55, &[("DE", 0.4), ("FR", 0.15), ("GB", 0.15), ("PL", 0.1), ("IT", 0.1), ("TR", 0.1)], 0.2, true, 17),
        tenant(0.35, &[("US", 0.55), ("CA", 0.1), ("GB", 0.1), ("IN", 0.15), ("AU", 0.1)], 0.75, false, 31),
        tenant(0.10, &[("BR", 0.4), ("ES", 0.3), ("JP", 0.2), ("VN", 0.1)], 0.1, true, 80),
    ]
}

/// The applications. Lifetimes are FusionAuth's default (one hour) and what its customers set instead (assumed).
pub fn apps(rng: &mut Rng) -> Vec<App> {
    let mut base = |tenant, name, client| App::base(tenant, name, client, rng);
    let mut all = shop(&mut base);
    all.extend(work(&mut base));
    all.extend(media(&mut base));
    all
}

type Base<'a> = &'a mut dyn FnMut(usize, &'static str, Client) -> App;

/// A shop with apps around it.
fn shop(base: Base) -> Vec<App> {
    vec![
        App { logout: 0.12, share: 0.6, ..base(0, "Acme Shop", Client::Timer) },
        App {
            one_time: Some(30 * SECOND),
            devices: true,
            sliding: true,
            logout: 0.004,
            uses: 4.0,
            use_length: 4 * MINUTE,
            phone: Some(true),
            share: 0.75,
            ..base(0, "Acme", Client::Resume(false))
        },
        App {
            lifetime: 5 * MINUTE,
            one_time: Some(0),
            revoke_on_reuse: true,
            devices: true,
            logout: 0.01,
            uses: 0.9,
            use_length: 3 * MINUTE,
            phone: Some(true),
            rsa: true,
            share: 0.35,
            ..base(0, "Acme Pay", Client::Resume(true))
        },
        App {
            lifetime: DAY,
            original: Original::Never,
            logout: 0.001,
            uses: 1.2,
            use_length: HOUR,
            phone: Some(true),
            sid: false,
            share: 0.2,
            ..base(0, "Acme Watch", Client::Background)
        },
    ]
}

/// Software for companies.
fn work(base: Base) -> Vec<App> {
    vec![
        App {
            lifetime: 15 * MINUTE,
            original: Original::Mostly(0.94),
            storage: Storage::Tab,
            session: 14 * DAY,
            logout: 0.06,
            uses: 2.5,
            use_length: 35 * MINUTE,
            phone: Some(false),
            share: 0.55,
            ..base(1, "Acme Board", Client::Demand)
        },
        App {
            lifetime: 10 * MINUTE,
            session: 12 * HOUR,
            logout: 0.3,
            uses: 1.5,
            use_length: 30 * MINUTE,
            lambda: true,
            share: 0.5,
            ..base(1, "Acme Portal", Client::Backend)
        },
        App {
            sliding: true,
            logout: 0.005,
            uses: 2.0,
            use_length: MINUTE,
            phone: Some(false),
            info: Info::NoLocation,
            share: 0.12,
            ..base(1, "acme-cli", Client::Command)
        },
        App {
            lifetime: 30 * MINUTE,
            changes: Some((START + 24 * DAY + 13 * HOUR, HOUR)),
            one_time: Some(60 * SECOND),
            sliding: true,
            logout: 0.01,
            uses: 2.0,
            use_length: 80 * MINUTE,
            phone: Some(false),
            rsa: true,
            share: 0.4,
            ..base(1, "Acme Desk", Client::Demand)
        },
        App {
            original: Original::WhileAlive,
            devices: true,
            logout: 0.01,
            uses: 3.0,
            use_length: 5 * MINUTE,
            phone: Some(true),
            share: 0.4,
            ..base(1, "Acme Go", Client::Resume(false))
        },
    ]
}

/// A publisher.
fn media(base: Base) -> Vec<App> {
    vec![
        App {
            lifetime: 30 * MINUTE,
            original: Original::Always,
            storage: Storage::Memory,
            info: Info::NoLocation,
            logout: 0.05,
            uses: 2.0,
            use_length: 25 * MINUTE,
            share: 0.7,
            ..base(2, "Acme News", Client::Timer)
        },
        App {
            info: Info::None,
            sliding: true,
            logout: 0.005,
            uses: 3.0,
            use_length: 5 * MINUTE,
            phone: Some(true),
            share: 0.5,
            ..base(2, "Acme Radio", Client::Background)
        },
        App {
            lifetime: 20 * MINUTE,
            info: Info::AddressOnly,
            original: Original::Mostly(0.5),
            session: 7 * DAY,
            logout: 0.1,
            share: 0.25,
            ..base(2, "Acme Archive", Client::Backend)
        },
    ]
}
