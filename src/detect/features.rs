//! What a refresh showed, as rules of an operator's own can ask it: the signals in words, and the numbers behind them.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    seen::Seen,
    signals::{
        Beat, Company, Drift, Elsewhere, Fork, Ground, Hour, Kind, Lineage, Net, Pace, Path, Renewal, Rival, Signals,
        Software, Stamina,
    },
    state::{session::Session, user::User},
    zones::hour_of,
};

/// The signals in words. A word is `unknown` where nothing can be said.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Words {
    /// Where from, beside the session's and the user's networks.
    network: Net,
    /// What kind of network.
    network_kind: Kind,
    /// How the place follows from the last one.
    path: Path,
    /// By what, beside the session's and the user's software.
    software: Software,
    /// How parent and child follow from what is known of the session.
    lineage: Lineage,
    /// What became of the session's last fork.
    fork: Fork,
    /// Who spent the parent before, where it was.
    rival: Rival,
    /// When, in lifetimes of the token before.
    pace: Pace,
    /// How many other users are new to this network now.
    company: Company,
    /// Whose provider it is, where the network is new to its user.
    provider: Ground,
    /// Where the user's other sessions are, while this one is in a network that is not the user's own yet.
    other_sessions: Elsewhere,
    /// Whether the user signed in anew with the same software, to the same application.
    renewal: Renewal,
    /// How many tokens in a row the client has used up without a pause; said when a step is reached.
    stamina: Stamina,
    /// How many foreign networks in a row, without coming back; said when one is added.
    drift: Drift,
    /// How alike the gaps between refreshes are, where no token's end explains them.
    beat: Beat,
    /// At what hour, for this user; said when use begins.
    hour: Hour,
}

impl Words {
    /// Of what a refresh showed.
    pub fn of(signals: &Signals) -> Self {
        Self {
            network: signals.place(),
            network_kind: signals.kind,
            path: signals.path,
            software: signals.agent(),
            lineage: signals.lineage,
            fork: signals.fork,
            rival: signals.rival,
            pace: signals.pace.max(signals.blind),
            company: signals.company,
            provider: signals.ground,
            other_sessions: signals.elsewhere,
            renewal: signals.renewal,
            stamina: signals.stamina,
            drift: signals.drift,
            beat: signals.beat,
            hour: signals.hour,
        }
    }

    /// Those that say something, by their names.
    pub fn known(self) -> impl Iterator<Item = (String, Value)> {
        let words: Map<String, Value> =
            serde_json::to_value(self).ok().and_then(|words| words.as_object().cloned()).unwrap_or_default();
        words.into_iter().filter(|(_, word)| word != "unknown")
    }
}

/// Numbers of a session and its user, as they were before this refresh. One that is not known is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Numbers {
    /// Seconds since the session's last refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<u32>,
    /// The session's refreshes before this one.
    session_refreshes: u32,
    /// Seconds since the session was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_age: Option<u32>,
    /// The user's refreshes before this one.
    user_refreshes: u32,
    /// Seconds since the user was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_age: Option<u32>,
    /// Whether too little is known of the user to say what is unusual for them.
    is_new_user: bool,
    /// Share of the application's refreshes that name the parent, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<f64>,
}

impl Numbers {
    /// Of a refresh.
    pub fn of(seen: &Seen<'_>) -> Self {
        let application = seen.application;
        Self {
            gap: seen.gap(),
            session_refreshes: seen.session.map_or(0, |session| session.events),
            session_age: seen.session.map(|session| seen.at.saturating_sub(session.first)),
            user_refreshes: seen.user.map_or(0, |user| user.events),
            user_age: seen.user.map(|user| seen.at.saturating_sub(user.first)),
            is_new_user: seen.is_new_user(),
            coverage: (application.events > 0).then(|| application.coverage()),
        }
    }

    /// Of an event of another kind, by what is remembered of its session and user.
    pub fn beside(session: Option<&Session>, user: Option<&User>, at: u32) -> Self {
        Self {
            session_refreshes: session.map_or(0, |session| session.events),
            session_age: session.map(|session| at.saturating_sub(session.first)),
            user_refreshes: user.map_or(0, |user| user.events),
            user_age: user.map(|user| at.saturating_sub(user.first)),
            ..Self::default()
        }
    }
}

/// `features` of a rule.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Features {
    #[serde(flatten)]
    words: Words,
    #[serde(flatten)]
    numbers: Numbers,
    /// `verdict.risk`: 0 <= risk < 1.
    risk: f64,
    /// The hour of the event, UTC, 0 to 23.
    hour_utc: u8,
    /// The day of the event, UTC: 1 is Monday, 7 is Sunday.
    weekday_utc: u8,
    /// The hour by the clock of the tenant (`detect.zones`), 0 to 23; UTC where it has none.
    hour_local: u8,
    /// The day by the same clock: 1 is Monday, 7 is Sunday.
    weekday_local: u8,
}

/// 1970 began on a Thursday, the fourth day.
fn weekday_of(shown: i64) -> u8 {
    u8::try_from((shown.div_euclid(86_400) + 3).rem_euclid(7) + 1).unwrap_or(1)
}

impl Features {
    /// Of an event at `occurred`, seconds since 1970, when the tenant's clock showed `shown`.
    pub fn new(signals: &Signals, numbers: Numbers, risk: f64, (occurred, shown): (i64, i64)) -> Self {
        let hour = |shown| u8::try_from(hour_of(shown)).unwrap_or(0);
        Self {
            words: Words::of(signals),
            numbers,
            risk,
            hour_utc: hour(occurred),
            weekday_utc: weekday_of(occurred),
            hour_local: hour(shown),
            weekday_local: weekday_of(shown),
        }
    }
}
