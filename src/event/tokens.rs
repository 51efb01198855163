//! The tokens of one refresh, without the tokens: fingerprints and the claims that are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// The tokens of one refresh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// The refresh token that was presented and the one given back.
    #[serde(default, skip_serializing_if = "RefreshTokens::is_empty")]
    pub refresh: RefreshTokens,
    /// The access token before and after.
    #[serde(default, skip_serializing_if = "AccessTokens::is_empty")]
    pub access: AccessTokens,
    /// The ID token given back.
    #[serde(default, skip_serializing_if = "IdTokens::is_empty")]
    pub id: IdTokens,
}

/// Refresh tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefreshTokens {
    /// Shown by the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented: Option<Token>,
    /// Given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<Token>,
}

/// Access tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccessTokens {
    /// The parent: the one that the client still held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Token>,
    /// The child: the one given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<Token>,
}

/// ID tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdTokens {
    /// Given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<Token>,
}

/// One token, without the token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Keyed fingerprint; equal fingerprints mean the same token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The same token's under each of `fingerprint.previous_key_files`, in order: what records from before the key was
    /// changed call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old_fingerprints: Vec<Fingerprint>,
    /// Selected claims, where it is a JWT; decoded, not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
}

impl Token {
    /// What it is called, under every key: the writing one's first.
    pub fn names(&self) -> impl Iterator<Item = &Fingerprint> {
        self.fingerprint.iter().chain(&self.old_fingerprints)
    }
}

/// The claims and header members that are kept; every other one is dropped at the decoder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claims {
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Audience; a single one is a list of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    /// Expires, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Issued, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Token id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// First authentication of the session, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// Tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<String>,
    /// FusionAuth's application claim.
    #[serde(rename = "applicationId", skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// FusionAuth's way of authentication, e.g. `PASSWORD`.
    #[serde(rename = "authenticationType", skip_serializing_if = "Option::is_none")]
    pub authentication_type: Option<String>,
    /// Scope, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How many roles, and a keyed digest of their sorted names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Roles>,
    /// Header: key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Header: algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Header: grant types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gty: Vec<String>,
}

/// Roles without their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Roles {
    /// How many.
    pub count: usize,
    /// Keyed digest of the sorted names, one a line.
    pub digest: Fingerprint,
}
