//! Sources: who sends events, how they prove it, and what their bytes mean.
//!
//! A new source is one file and one word in the list at the end of this file. Its file owns its `Config` and
//! `Config::build`. A source knows no other source and nothing of `config`, `app`, `web` or `ledger`.
//! Raw secrets exist here and nowhere further: [`Source::authenticate`] makes the only [`Authentic`] bodies,
//! [`Source::decode`] the only events.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer};

pub use crate::build_error::BuildError;
use crate::{
    event::RefreshEvent,
    record::Evidence,
    secret::{Fingerprinter, SecretRef},
};

/// One delivery, as it came off the wire.
pub struct RawRequest<'a> {
    /// Names in lower case and values, in order, repeated headers repeated.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body, whole and untouched.
    pub body: &'a [u8],
    /// What it is called in answers and the log.
    pub id: &'a str,
    /// The peer of the connection.
    pub peer: IpAddr,
    /// When the last byte of the body came.
    pub arrived: Instant,
    /// When the sender must have its answer.
    pub deadline: Instant,
}

impl<'a> RawRequest<'a> {
    /// Every value of a header.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// A body whose sender has proved itself. Made by [`Source::authenticate`] only.
pub struct Authentic<'a> {
    body: &'a [u8],
    evidence: Evidence,
}

impl<'a> Authentic<'a> {
    /// For sources: this body has been proved by what `evidence` says (channel, authenticity, alg, key id, body hash).
    pub(in crate::source) fn new(body: &'a [u8], evidence: Evidence) -> Self {
        Self { body, evidence }
    }

    /// For `backtest`: bodies out of a file, which nothing vouches for.
    pub fn imported(body: &'a [u8]) -> Self {
        Self { body, evidence: Evidence { channel: Some(Evidence::IMPORT.to_owned()), ..Evidence::default() } }
    }

    /// The bytes.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What vouches for them.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The same, when the bytes are done with.
    pub fn into_evidence(self) -> Evidence {
        self.evidence
    }
}

/// What a body turned out to hold.
#[derive(Debug)]
pub enum Decoded {
    /// A refresh, without its secrets.
    Event(Box<RefreshEvent>),
    /// Authentic, but of a type that this source is not asked to take.
    Ignored {
        /// The sender's name of the type.
        kind: String,
    },
}

/// Why a delivery is not taken; each variant is one answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// 401. `step` and `fix` go to the log only.
    #[error("not authentic: {step} ({fix})")]
    Unauthenticated {
        /// Which check failed.
        step: &'static str,
        /// What an operator can do about it.
        fix: String,
    },
    /// 503: cannot tell now, e.g. the JWKS cannot be fetched.
    #[error("cannot verify now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// 400: authentic, but not a readable event.
    #[error("{field}: {problem}")]
    Unreadable {
        /// Dotted path of the member, e.g. `event.createInstant`.
        field: String,
        /// What is wrong with it; never its value.
        problem: String,
    },
}

/// Who sends events.
pub trait Source {
    /// Proves the sender over the raw bytes, before any parse. Waits for the network only where a key was never seen
    /// before, and never past `request.deadline`.
    fn authenticate<'a>(
        &self,
        request: &RawRequest<'a>,
    ) -> impl Future<Output = Result<Authentic<'a>, SourceError>> + Send;

    /// Reads the event; every secret in it becomes a fingerprint and selected claims here. Pure.
    fn decode(&self, body: &Authentic<'_>, fingerprints: &Fingerprinter) -> Result<Vec<Decoded>, SourceError>;

    /// Fetches and checks what verification needs from elsewhere (a JWKS), for `check --connect`.
    fn connect(&self) -> impl Future<Output = Result<(), SourceError>> + Send {
        async { Ok(()) }
    }

    /// How long silence is normal; `None` = any.
    fn quiet_after(&self) -> Option<Duration>;

    /// What an operator should look at in its configuration, though it is no error.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// How its keys stand: what is wrong with them right now, in words (a JWKS that cannot be refreshed), `None` where that is
    /// not known yet. Polled, and raised as the alarm `jwks_stale`.
    fn standing(&self) -> Option<Result<(), String>> {
        Some(Ok(()))
    }
}

/// How a sender signs: a compact JWS in a header, one of whose claims is the body's SHA-256 in base64.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// The header's name.
    pub header: &'static str,
    /// The claim's name.
    pub body_claim: &'static str,
}

/// A secret that a sender signs with, as it is configured: what `send` needs to sign in the sender's place.
pub struct SharedKey {
    /// HS256, HS384 or HS512.
    pub alg: Alg,
    /// The key id it goes by.
    pub kid: Option<String>,
    /// Where the secret is.
    pub secret: SecretRef,
    /// Whether what is there is base64 of it.
    pub is_base64: bool,
}

/// What an operator does at the sender, in words: shown where a key was made for it.
#[derive(Clone, Copy, Debug)]
pub struct SetUp {
    /// What the sender is called.
    pub sender: &'static str,
    /// Where in it a shared secret goes.
    pub key_goes_to: &'static str,
    /// What to do there, a line each.
    pub steps: &'static [&'static str],
}

/// Why a source cannot be built from its entry, and which member is to blame where it is one.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct EntryError {
    /// Its path in the entry: `keys.0`.
    pub member: Option<String>,
    error: BuildError,
}

impl EntryError {
    /// What is wrong with a member, by its path in the entry.
    fn of(member: impl Into<String>) -> impl FnOnce(BuildError) -> Self {
        |error| Self { member: Some(member.into()), error }
    }
}

impl From<BuildError> for EntryError {
    fn from(error: BuildError) -> Self {
        Self { member: None, error }
    }
}

mod claims;
mod credentials;
mod json;
mod jwks;
mod jws;
mod keys;
mod needles;

pub use credentials::BasicAuth;
pub use keys::Alg;

macro_rules! sources {
    ($($module:ident => $variant:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// A source's own configuration, by its `type`.
        #[derive(Clone, Debug)]
        pub enum SourceConfig { $(#[doc = stringify!($module)] $variant($module::Config)),* }

        /// Any configured source.
        pub enum AnySource { $(#[doc = stringify!($module)] $variant($module::$variant)),* }

        /// What reads the bodies of any source, without proving them: for bodies out of a file.
        pub enum AnyDecoder { $(#[doc = stringify!($module)] $variant($module::Decoder)),* }

        impl AnyDecoder {
            /// See [`Source::decode`].
            pub fn decode(&self, body: &Authentic<'_>, fingerprints: &Fingerprinter) -> Result<Vec<Decoded>, SourceError> {
                match self { $(Self::$variant(decoder) => decoder.decode(body, fingerprints)),* }
            }
        }

        impl SourceConfig {
            /// What reads its bodies.
            pub fn decoder(&self) -> Result<AnyDecoder, EntryError> {
                match self { $(Self::$variant(config) => config.decoder().map(AnyDecoder::$variant)),* }
            }

            /// How its senders sign; `None` where they do not, or in a way of their own.
            pub fn signature(&self) -> Option<Signature> {
                match self { $(Self::$variant(_) => $module::Config::SIGNATURE),* }
            }

            /// The secrets that its senders may sign with, in the order of the configuration.
            pub fn shared_keys(&self) -> Vec<SharedKey> {
                match self { $(Self::$variant(config) => config.shared_keys()),* }
            }

            /// What is to be done at its sender.
            pub fn set_up(&self) -> &'static SetUp {
                match self { $(Self::$variant(_) => &$module::Config::SET_UP),* }
            }

            /// Which of the members that it keeps as they are `[privacy]` is about: the number in `keep`, the member, the key of
            /// `[privacy]`.
            pub fn keeps_personal(&self) -> Vec<(usize, &'static str, &'static str)> {
                match self { $(Self::$variant(config) => config.keeps_personal()),* }
            }

            /// Every `type` there is.
            pub const TYPES: &[&str] = &[$(stringify!($module)),*];

            /// Reads the members of the entry that are the source's own.
            pub fn parse<'de, D: Deserializer<'de>>(kind: &str, members: D) -> Result<Self, D::Error> {
                match kind {
                    $(stringify!($module) => $module::Config::deserialize(members).map(Self::$variant),)*
                    other => Err(serde::de::Error::unknown_variant(other, Self::TYPES)),
                }
            }

            /// Builds it; relative paths are relative to `base`. A key file among `unmade` is not read: for who checks what
            /// will hold once it is made.
            pub fn build(&self, base: &Path, unmade: &[PathBuf]) -> Result<AnySource, EntryError> {
                match self { $(Self::$variant(config) => config.build(base, unmade).map(AnySource::$variant)),* }
            }
        }

        impl Source for AnySource {
            async fn authenticate<'a>(&self, request: &RawRequest<'a>) -> Result<Authentic<'a>, SourceError> {
                match self { $(Self::$variant(source) => source.authenticate(request).await),* }
            }

            fn decode(&self, body: &Authentic<'_>, fingerprints: &Fingerprinter) -> Result<Vec<Decoded>, SourceError> {
                match self { $(Self::$variant(source) => source.decode(body, fingerprints)),* }
            }

            async fn connect(&self) -> Result<(), SourceError> {
                match self { $(Self::$variant(source) => source.connect().await),* }
            }

            fn quiet_after(&self) -> Option<Duration> {
                match self { $(Self::$variant(source) => source.quiet_after()),* }
            }

            fn notes(&self) -> &[String] {
                match self { $(Self::$variant(source) => source.notes()),* }
            }

            fn standing(&self) -> Option<Result<(), String>> {
                match self { $(Self::$variant(source) => source.standing()),* }
            }
        }
    };
}

sources! {
    fusionauth => Fusionauth,
}
