//! What detection remembers: sessions, users, applications, networks, user agents; each bounded, all of it copied and
//! written as one. Of sessions and users, what is used least is outside ([`tiers`], [`spilled`]).

use serde::{Deserialize, Serialize};

pub mod application;
pub mod burst;
pub mod chain;
pub mod crowd;
pub mod distinct;
pub mod session;
pub mod shards;
pub mod spilled;
pub mod table;
pub mod tiers;
pub mod user;
pub mod values;

use application::Application;
use burst::Burst;
use crowd::Crowd;
use session::Session;
use table::{Limits, Table};
use tiers::{TierLimits, Tiers};
use user::User;

use super::{catalogue::Config, freeman::Freeman, score::Rates};

/// Applications remembered; about 1 KiB each.
const APPLICATIONS_MAX: usize = 4_096;
/// Networks remembered; about 150 bytes each.
const NETWORKS_MAX: usize = 200_000;
/// User agents, and user agents of one network, remembered.
const AGENTS_MAX: usize = 100_000;
/// Tokens remembered of sessions that only the chain of tokens tells.
const HEIRS_MAX: usize = 200_000;
/// Revocations remembered, of each kind: of sessions that were not seen, and of users and applications.
const REVOKED_MAX: usize = 200_000;
/// Tenants remembered.
const TENANTS_MAX: usize = 4_096;
/// What is not a session or a user is forgotten after this long unused, seconds.
const OTHERS_KEPT: u32 = 30 * 86_400;
/// An application is forgotten after this long unused, seconds.
const APPLICATIONS_KEPT: u32 = 365 * 86_400;

/// See the module.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// By their key.
    pub sessions: Tiers<Session>,
    /// By their key.
    pub users: Tiers<User>,
    /// By their key.
    pub applications: Table<Application>,
    /// Users new to a network, by its /24 or /48.
    pub networks: Table<Crowd>,
    /// How many users had a network of a provider for their own.
    pub owners: Table<u32>,
    /// How often a user agent comes.
    pub agents: Table<u32>,
    /// Users of one user agent from one network.
    pub fans: Table<Crowd>,
    /// The session of a token, where only the chain of tokens tells it.
    pub heirs: Table<u64>,
    /// When a session's tokens were revoked that was not seen, see `revoked`.
    pub revoked: Table<u32>,
    /// When all of a user, of a user in one application, or of an application were.
    pub stopped: Table<u32>,
    /// Refusals of a session or address.
    pub refusals: Table<Burst>,
    /// Lineage findings of a tenant.
    pub tenants: Table<Crowd>,
    /// What is usual in all applications together.
    pub rates: Rates,
    /// How many refreshes.
    pub events: u64,
    /// The latest instant of any event, seconds since 1970.
    pub now: u32,
    /// What the published score knows, where it is the one in use: a copy takes its maps along.
    pub freeman: Option<Box<Freeman>>,
    /// How far ahead the sender's clock usually is, seconds, and of how many that is known.
    pub ahead: (f32, u32),
}

impl State {
    /// How much each table may hold.
    pub fn limits(config: &Config) -> StateLimits {
        let secs = |span: crate::units::Span| u32::try_from(span.get().as_secs()).unwrap_or(u32::MAX);
        let limits = |entries, kept| Limits { entries, kept };
        let tiers = |entries, kept| TierLimits { hot: limits(entries, secs(kept)), spilled: config.spilled_max };
        StateLimits {
            sessions: tiers(config.sessions_max, config.session_kept),
            users: tiers(config.users_max, config.user_kept),
            applications: limits(APPLICATIONS_MAX, APPLICATIONS_KEPT),
            networks: limits(NETWORKS_MAX, OTHERS_KEPT),
            agents: limits(AGENTS_MAX, OTHERS_KEPT),
            heirs: limits(HEIRS_MAX, OTHERS_KEPT),
            revoked: limits(REVOKED_MAX, OTHERS_KEPT),
            stopped: limits(REVOKED_MAX, secs(config.user_kept)),
            tenants: limits(TENANTS_MAX, APPLICATIONS_KEPT),
        }
    }
}

/// See [`State::limits`].
#[derive(Clone, Copy)]
pub struct StateLimits {
    /// Of sessions.
    pub sessions: TierLimits,
    /// Of users.
    pub users: TierLimits,
    /// Of applications.
    pub applications: Limits,
    /// Of networks.
    pub networks: Limits,
    /// Of user agents, and of refusals.
    pub agents: Limits,
    /// Of tokens that stand for a session.
    pub heirs: Limits,
    /// Of revoked sessions.
    pub revoked: Limits,
    /// Of revoked users and applications.
    pub stopped: Limits,
    /// Of tenants.
    pub tenants: Limits,
}
