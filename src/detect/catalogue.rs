//! The catalogue: every rule's id, family, name, usual severity, ATT&CK techniques, thresholds and what these may be, in one
//! list; and `[detect]`, which is made from it.
//!
//! Sources of the defaults are in `docs/detection.md`, rule by rule.

use serde::{Deserialize, Serialize};

use super::{incidents, state::burst::REFUSALS_MAX, zones::Zones};
use crate::{record::Severity, units::Span};

mod rule;

pub use rule::{Allowed, Family, KEYED_BY, Rule, Threshold};
use rule::{BY_APPLICATION, BY_NETWORK};

/// A rule with its settings.
pub trait Configured {
    /// Which.
    const RULE: Rule;
    /// Whether it may speak.
    fn enabled(&self) -> bool;
    /// What an operator set instead of the rule's own severity.
    fn severity(&self) -> Option<Severity>;
}

/// Which score is `verdict.risk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Ours: context, cadence and lineage as one likelihood ratio.
    #[default]
    Composite,
    /// The published one of Freeman et al. with the hierarchy of Wiefling et al., for comparison.
    Freeman,
}

/// The rule with this id; none where it is an operator's own.
pub fn rule(id: &str) -> Option<&'static Rule> {
    CATALOGUE.iter().find(|rule| rule.id == id)
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])* $field:ident: $id:ident $family:ident $name:literal $severity:ident $(to $worst:ident)?
       [$($attack:literal),*] $(but($($trait:ident: $differs:expr),+))?
       { $($(#[$about:meta])* $member:ident: $type:ident $([$($allowed:tt)+])? = $default:expr),* $(,)? })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $id {
                /// Whether it may speak.
                pub enabled: bool,
                /// Instead of the rule's own.
                #[serde(skip_serializing_if = "Option::is_none")]
                pub severity: Option<Severity>,
                $($(#[$about])* pub $member: $type,)*
            }

            impl Default for $id {
                fn default() -> Self {
                    Self { enabled: true, severity: None, $($member: $default),* }
                }
            }

            impl Configured for $id {
                const RULE: Rule = Rule {
                    id: stringify!($id), name: $name, severity: Severity::$severity,
                    worst: { let all = [Severity::$severity, $(Severity::$worst)?]; all[all.len() - 1] },
                    attack: &[$($attack),*],
                    about: concat!($($doc),*),
                    $($($trait: $differs,)+)?
                    ..Rule::of(Family::$family)
                };

                fn enabled(&self) -> bool {
                    self.enabled
                }

                fn severity(&self) -> Option<Severity> {
                    self.severity
                }
            }
        )*

        /// `[detect]`: rules by their id beside what concerns all of them.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "UPPERCASE")]
        pub struct Config {
            /// Whether rules run.
            #[serde(rename = "enabled")]
            pub enabled: bool,
            /// Which score is `verdict.risk`.
            #[serde(rename = "score")]
            pub score: Score,
            /// Sessions in memory at most; past it the ones unused for longest go to disk.
            #[serde(rename = "sessions_max")]
            pub sessions_max: usize,
            /// Users in memory at most.
            #[serde(rename = "users_max")]
            pub users_max: usize,
            /// Sessions on disk at most, and as many users; past it the ones unused for longest are forgotten. 0 = what
            /// is not in memory is forgotten.
            #[serde(rename = "spilled_max")]
            pub spilled_max: usize,
            /// A session unused for this long is forgotten.
            #[serde(rename = "session_kept")]
            pub session_kept: Span,
            /// A user not seen for this long is forgotten.
            #[serde(rename = "user_kept")]
            pub user_kept: Span,
            /// How findings become incidents.
            #[serde(rename = "incidents")]
            pub incidents: incidents::Config,
            /// By which clocks tenants live; UTC for those not named.
            #[serde(rename = "zones")]
            pub zones: Zones,
            $($(#[doc = $doc])* pub $field: $id,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    enabled: true,
                    score: Score::default(),
                    sessions_max: 750_000,
                    users_max: 375_000,
                    spilled_max: 1_000_000,
                    session_kept: Span::from_days(45),
                    user_kept: Span::from_days(180),
                    incidents: incidents::Config::default(),
                    zones: Zones::default(),
                    $($field: $id::default()),*
                }
            }
        }

        /// Every rule there is, in the order of their ids.
        pub const CATALOGUE: &[Rule] = &[$($id::RULE),*];

        impl Config {
            /// The names of the members: what a loader may suggest.
            pub const KEYS: &[&str] = &[
                "enabled", "score", "sessions_max", "users_max", "spilled_max", "session_kept", "user_kept",
                "incidents", "zones",
                $(stringify!($id)),*
            ];

            /// Every threshold that may not be just anything.
            pub fn thresholds(&self) -> Vec<Threshold> {
                vec![$($($(Threshold {
                    rule: stringify!($id),
                    member: stringify!($member),
                    value: f64::from(self.$field.$member),
                    allowed: Allowed::$($allowed)+,
                },)?)*)*]
            }
        }
    };
}

rules! {
    /// The parent was already spent by another refresh.
    ra101: RA101 Lineage "chain_fork" High to Critical ["T1550.001", "T1528"] {
        /// Two refreshes of one parent within this are one client that asked twice.
        leeway: Span = Span::from_secs(60),
    }
    /// The parent is generations behind the newest token.
    ra102: RA102 Lineage "stale_ancestor" High to Critical ["T1550.001"] {}
    /// A client that always sends the previous token did not.
    ra103: RA103 Lineage "original_missing" Medium to High ["T1550.001"] but(is_weighed: true) {
        /// Refreshes with it before one without it means anything.
        seen_min: u32 = 3,
        /// How many with it for each without it.
        ratio_min: u32 = 20,
    }
    /// Parent and child are not of one session.
    ra104: RA104 Lineage "parent_mismatch" High ["T1550.001", "T1606"] but(is_weighed: true) {}
    /// A refresh token that works once was shown twice.
    ra105: RA105 Lineage "one_time_value_reuse" High ["T1528"] {
        /// The same twice within this is one client that asked twice.
        leeway: Span = Span::from_secs(60),
    }
    /// A refresh after its session was revoked, or its user stopped.
    ra106: RA106 Lineage "refresh_after_revoke" Critical ["T1550.001"] {}
    /// Refused refreshes in a row.
    ra107: RA107 Lineage "invalid_attempt_burst" Medium ["T1528"] {
        /// This many of one session or address within 10 minutes; 24 at most.
        attempts: u32 [CountTo(REFUSALS_MAX)] = 5,
    }
    /// An event's id came again with another body, or the sender's clock is off.
    ra108: RA108 Lineage "event_replay" High ["T1565.002"] {
        /// How far ahead the sender's clock may be, beyond what is usual for it.
        skew: Span = Span::from_secs(300),
    }
    /// An access token with a lifetime that its application never had.
    ra201: RA201 Tokens "token_lifetime_anomaly" Medium ["T1606"] {
        /// Refreshes of the application before a new lifetime means anything.
        events_min: u32 = 200,
    }
    /// Another issuer, signing key or algorithm.
    ra202: RA202 Tokens "issuer_anomaly" High ["T1606"] {
        /// How long an application must be known.
        known: Span = Span::from_days(7),
    }
    /// Instants inside the tokens that cannot be.
    ra203: RA203 Tokens "clock_lineage" Medium ["T1606"] {
        /// How far the token's own instant may be from the event's.
        skew: Span = Span::from_secs(120),
    }
    /// A session older than it should be.
    ra204: RA204 Tokens "session_over_age" Low ["T1078"] {
        /// How old.
        age: Span = Span::from_days(30),
    }
    /// The child may do more than the parent.
    ra205: RA205 Tokens "privilege_growth" Medium ["T1098"] {}
    /// A refresh long before the token expires, by a client that waits for it.
    ra301: RA301 Cadence "early_refresh" Medium ["T1550.001"] {
        /// Refreshes before the client's habit is known.
        seen_min: u32 = 10,
        /// The share of early ones that is still a habit of waiting.
        early_rate: f64 [Share] = 0.02,
    }
    /// Two clients take turns in one session.
    ra302: RA302 Cadence "two_trains" High ["T1550.001"] {
        /// Changes from one to the other and back.
        alternations: u32 [Count] = 3,
    }
    /// A session wakes after a long sleep, somewhere else.
    ra303: RA303 Cadence "dormant_wake" Medium ["T1078"] {
        /// How long a sleep is, or four times the session's longest gap.
        idle: Span = Span::from_days(14),
    }
    /// Far too many refreshes.
    ra304: RA304 Cadence "refresh_storm" Low to High ["T1499"] {
        /// This many within 10 minutes.
        refreshes: u32 [Count] = 30,
        /// This many are high.
        high: u32 = 300,
    }
    /// An hour at which this user is never seen.
    ra305: RA305 Cadence "odd_hour" Low ["T1078"] {
        /// The user's share of refreshes around that hour.
        share: f64 [Share] = 0.001,
    }
    /// Faster than anyone travels.
    ra401: RA401 Place "impossible_travel" High ["T1078", "T1550.001"] {
        /// Faster than this, km/h.
        speed_kmh: f64 [Amount] = 900.0,
        /// And further than this, km.
        distance_km: f64 [Amount] = 500.0,
        /// How wrong a place may be, km.
        accuracy_km: f64 [Amount] = 100.0,
    }
    /// A country where this user was never seen.
    ra402: RA402 Place "new_country" Medium ["T1078"] {
        /// How long a user must be known.
        known: Span = Span::from_days(5),
        /// And with how many refreshes.
        events_min: u32 = 10,
    }
    /// A hosting network where this user was never seen.
    ra403: RA403 Place "new_asn_hosting" High ["T1550.001", "T1090"] {}
    /// Tor, a VPN or a proxy, where that is not this user's habit.
    ra404: RA404 Place "anonymiser" Medium to High ["T1090.003"] {
        /// The share of a user's refreshes that makes it a habit.
        habit: f64 [Share] = 0.2,
    }
    /// One network refreshes for many users that are new to it.
    ra405: RA405 Place "fan_in" Critical ["T1528", "T1550.001"]
      but(needs_history: false, is_weighed: false, keyed_by: BY_NETWORK) {
        /// Users within an hour.
        users: u32 [Count] = 10,
        /// Times the network's own usual number.
        factor: f64 [Amount] = 5.0,
    }
    /// There and back again within two lifetimes of a token.
    ra406: RA406 Place "network_flip" Medium ["T1557", "T1550.001"] {}
    /// Another browser family, operating system or kind of device within a session.
    ra501: RA501 Software "ua_class_change" High ["T1550.001", "T1539"] {}
    /// The browser became older.
    ra502: RA502 Software "ua_downgrade" Medium ["T1036"] {}
    /// A script where people use browsers.
    ra503: RA503 Software "tool_ua" High ["T1550.001"] but(needs_history: false) {
        /// The application's share of scripts below which one is odd.
        share: f64 [Share] = 0.01,
        /// Refreshes of the application before that share means anything.
        events_min: u32 = 100,
    }
    /// The device's description contradicts its user agent.
    ra504: RA504 Software "field_inconsistency" Medium ["T1036"] but(is_weighed: false) {
        /// The application's share of contradictions below which one is odd.
        share: f64 [Share] = 0.01,
        /// Refreshes of the application before that share means anything.
        events_min: u32 = 100,
    }
    /// The same rare user agent from one network for many users.
    ra505: RA505 Software "rare_ua_fan_out" Medium ["T1528"] but(is_weighed: false, keyed_by: BY_NETWORK) {
        /// Users within a day.
        users: u32 [Count] = 5,
        /// The share of all refreshes below which a user agent is rare.
        share: f64 [Share] = 1e-4,
    }
    /// Everything together.
    ra601: RA601 Sum "session_risk" Medium to Critical ["T1550.001"] {
        /// The probability from which it is medium.
        medium: f64 [Share] = 0.5,
        /// The probability from which it is high.
        high: f64 [Share] = 0.9,
        /// The probability from which it is critical.
        critical: f64 [Share] = 0.99,
    }
    /// Far more lineage findings than usual for a tenant.
    ra602: RA602 Sum "tenant_surge" Critical ["T1528"] but(needs_history: false, keyed_by: BY_APPLICATION) {
        /// Times the usual number within an hour.
        factor: f64 [Amount] = 5.0,
        /// And at least this many.
        findings: u32 [Count] = 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_hundreds_of_an_id() {
        for rule in CATALOGUE {
            assert!(rule.id.starts_with(&format!("RA{}", 1 + rule.family as u8)), "{} {:?}", rule.id, rule.family);
        }
    }

    #[test]
    fn a_rule_is_set_by_its_id_and_nothing_is_misspelt_silently() {
        let config: Config =
            toml::from_str("RA401 = { speed_kmh = 800, severity = 'low' }\nRA301.enabled = false").unwrap();
        assert_eq!((config.ra401.speed_kmh, config.ra401.distance_km), (800.0, 500.0));
        assert_eq!((config.ra401.severity(), config.ra301.enabled()), (Some(Severity::Low), false));
        for wrong in ["RA999 = {}", "RA401 = { speed = 1 }", "enable = true", "RA101 = { leeway = 60 }"] {
            assert!(toml::from_str::<Config>(wrong).is_err(), "{wrong}");
        }
        let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }
}
