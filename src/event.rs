//! The neutral refresh event: what any source says about one token refresh, with no secret in it.
//!
//! Shapes only. Nothing here can hold a token: a token exists past the decoder as a [`Fingerprint`] and [`Claims`].
//! Members are absent when unknown, never null or empty. Uses nothing else of this crate but [`crate::time`].

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::EventTime;

mod tokens;

pub use tokens::{AccessTokens, Claims, IdTokens, RefreshTokens, Roles, Token, Tokens};

mod ids;

pub use ids::{ApplicationId, EventId, Fingerprint, SessionId, TenantId, UserId, normalise_id};

/// One refresh, as its source tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefreshEvent {
    /// The sender's id.
    pub id: EventId,
    /// The sender's name for the type, e.g. `jwt.refresh`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sender's instant, unchanged.
    pub occurred_at: EventTime,
    /// Whether it happened, as far as the source knows.
    pub outcome: Outcome,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// The application (client).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_id: Option<ApplicationId>,
    /// The person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The session (claim `sid` of the issued, else of the previous access token).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// FusionAuth's `linkedObjectId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_object_id: Option<String>,
    /// The client's address: an IP address where it parses as one, else the sender's text, or a pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The client's user agent, or a pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The device, as the sender describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The network, from local files (enrichment).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The software, parsed from the user agent (enrichment).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// What is known of the tokens.
    #[serde(default, skip_serializing_if = "Tokens::is_empty")]
    pub tokens: Tokens,
    /// Whether the refresh token changed; only where both are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated: Option<bool>,
    /// What was asked for and given.
    #[serde(default, skip_serializing_if = "Grant::is_empty")]
    pub grant: Grant,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The sender's id that ties this to its other records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The sender's own risk score, unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_risk: Option<i64>,
    /// Members that `sources.keep` names, by their dotted path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, serde_json::Value>,
}

impl RefreshEvent {
    /// The client's address where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip.as_deref().and_then(|text| text.parse().ok())
    }
}

/// Whether the refresh happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Announced before its commit; another party could still undo it (FusionAuth).
    Attempted,
    /// It happened.
    Success,
    /// It was refused.
    Failure,
    /// The source does not say.
    Unknown,
}

impl Outcome {
    /// Its text in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

/// The device, as the sender describes it. The client can make these up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type, e.g. `BROWSER`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
}

/// A place on earth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Location {
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Region or state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Country, as the sender writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zipcode: Option<String>,
    /// Degrees north. Absent together with the longitude when the sender wrote 0, 0 (its way to say unknown).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// The place in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Who says so: `sender`, or the name of the local file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// The network an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// Autonomous system number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// ISO 3166 country of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Labels of the operator and of anonymiser lists: `vpn`, `tor`, `office`…
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// The software that asked, parsed from its user agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Browser or program family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Operating system family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// `browser`, `app`, `tool`, `bot`…
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl Client {
    /// `kind`: what people read pages with.
    pub const BROWSER: &str = "browser";
    /// `kind`: an application on a device.
    pub const APP: &str = "app";
    /// `kind`: scripts and programs that people write or run by hand.
    pub const TOOL: &str = "tool";
    /// `kind`: a back end that asks for its users.
    pub const SERVER: &str = "server";
    /// `kind`: crawlers, monitors, feed readers.
    pub const BOT: &str = "bot";
    /// Every `kind` there is.
    pub const KINDS: &[&str] = &[Self::BROWSER, Self::APP, Self::TOOL, Self::SERVER, Self::BOT];
}

/// What was asked for and given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// Scope asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope_requested: Option<String>,
    /// Scope given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Authentication methods (RFC 8176 names or the vendor's).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The vendor's type of authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<String>,
    /// Lifetime of the access token in seconds, as the answer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    /// Type of the access token, e.g. `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The identity provider that authenticated the person first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// Why a refresh failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The class, e.g. `invalid_grant`.
    pub class: String,
    /// The vendor's stable reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

macro_rules! empty_when_default {
    ($($name:ident)*) => {$(
        impl $name {
            /// Whether nothing is known.
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    )*};
}

empty_when_default! { Device Location Network Client Tokens RefreshTokens AccessTokens IdTokens Token Claims Grant }
