//! FusionAuth: its webhook with the header `X-FusionAuth-Signature-JWT`, and its events.
//!
//! Owns the source's configuration and the order of the checks; `body` owns what the bytes mean, `keep` the members
//! that an operator asks for by name. FusionAuth signs `{"request_body_sha256": …}` and no time; the claim is the only
//! thing that tells a webhook's signature from a user's access token, which the published keys verify as well.

mod body;
mod config;
mod keep;
mod types;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
pub use config::{Config, Encoding, KeyConfig};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use self::keep::Keep;
use super::{
    Authentic, Decoded, RawRequest, Signature, Source, SourceError,
    credentials::{Credentials, only},
    json::Value,
    jwks::Jwks,
    jws::{Jws, Match},
    keys::{Alg, Key},
};
use crate::{record::Evidence, secret::Fingerprinter};

/// How FusionAuth signs: the claim ties the signature to the body.
pub const SIGNATURE: Signature =
    Signature { header: "X-FusionAuth-Signature-JWT", body_claim: "request_body_sha256" };

/// A FusionAuth instance that sends webhooks.
pub struct Fusionauth {
    credentials: Credentials,
    /// `None`: unsigned.
    signed: Option<Signed>,
    decoder: Decoder,
    quiet_after: Option<Duration>,
    notes: Vec<String>,
}

/// What reads FusionAuth's bodies.
pub struct Decoder {
    events: Vec<String>,
    keep: Keep,
}

impl Decoder {
    /// See [`Source::decode`].
    pub fn decode(&self, body: &Authentic<'_>, fingerprints: &Fingerprinter) -> Result<Vec<Decoded>, SourceError> {
        body::decode(body.body(), &self.events, &self.keep, fingerprints).map(|decoded| vec![decoded])
    }
}

/// Where signatures are checked against.
struct Signed {
    keys: Vec<Key>,
    jwks: Option<Jwks>,
}

fn refuse<T>(step: &'static str, fix: impl Into<String>) -> Result<T, SourceError> {
    Err(SourceError::Unauthenticated { step, fix: fix.into() })
}

impl Source for Fusionauth {
    async fn authenticate<'a>(&self, request: &RawRequest<'a>) -> Result<Authentic<'a>, SourceError> {
        self.credentials.check(request)?;
        let mut evidence = Evidence { channel: Some(Evidence::WEBHOOK.to_owned()), ..Evidence::default() };
        let hash: [u8; 32] = match &self.signed {
            Some(signed) => {
                let jws = signature(request)?;
                signed.verify(&jws, request).await?;
                let hash = Sha256::digest(request.body).into();
                check_claims(&jws, &hash)?;
                evidence.authenticity = Some(Evidence::SIGNED.to_owned());
                evidence.alg = Some(jws.alg.name().to_owned());
                evidence.key_id = jws.recorded_kid();
                hash
            }
            None => {
                evidence.authenticity = Some(Evidence::SHARED_SECRET.to_owned());
                Sha256::digest(request.body).into()
            }
        };
        evidence.body_sha256 = Some(hex::encode(hash));
        Ok(Authentic::new(request.body, evidence))
    }

    fn decode(&self, body: &Authentic<'_>, fingerprints: &Fingerprinter) -> Result<Vec<Decoded>, SourceError> {
        self.decoder.decode(body, fingerprints)
    }

    async fn connect(&self) -> Result<(), SourceError> {
        match self.jwks() {
            Some(jwks) => jwks.connect().await,
            None => Ok(()),
        }
    }

    fn quiet_after(&self) -> Option<Duration> {
        self.quiet_after
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn standing(&self) -> Option<Result<(), String>> {
        self.jwks().map_or(Some(Ok(())), Jwks::standing)
    }
}

impl Fusionauth {
    fn jwks(&self) -> Option<&Jwks> {
        self.signed.as_ref()?.jwks.as_ref()
    }
}

/// The one signature of a request, taken apart.
fn signature<'a>(request: &RawRequest<'a>) -> Result<Jws<'a>, SourceError> {
    const STEP: &str = "signature header";
    let Some(value) = only(request, SIGNATURE.header) else {
        return match request.header_values(SIGNATURE.header).next() {
            Some(_) => refuse(STEP, "X-FusionAuth-Signature-JWT came more than once: see what the proxy in between adds"),
            None => refuse(
                STEP,
                "there is no X-FusionAuth-Signature-JWT: turn on \"Sign events\" for the webhook in FusionAuth (Settings \
                 -> Webhooks -> Security), and let the proxy in between pass the header",
            ),
        };
    };
    if value.is_empty() {
        return refuse(STEP, "X-FusionAuth-Signature-JWT is empty: see what the proxy in between does with it");
    }
    if value.contains(&b',') {
        return refuse(STEP, "X-FusionAuth-Signature-JWT holds two values: see what the proxy in between joins");
    }
    Jws::parse(value).or_else(|problem| {
        refuse(STEP, format!("X-FusionAuth-Signature-JWT is not a signature that is taken: {problem}"))
    })
}

impl Signed {
    /// Configured keys first; published ones where none of those has the signature's key id.
    async fn verify(&self, jws: &Jws<'_>, request: &RawRequest<'_>) -> Result<(), SourceError> {
        match jws.matches(&self.keys) {
            Match::Verified => return Ok(()),
            Match::Refused => return refuse("signature", self.advice(jws)),
            Match::Unknown => {}
        }
        let Some(jwks) = self.jwks.as_ref().filter(|_| !jws.alg.is_hmac()) else {
            return refuse("signature", self.advice(jws));
        };
        if !jwks.allows(jws.kid.as_deref()) {
            return refuse("signature", format!("the key id {} is not in allowed_kids", shown(jws)));
        }
        let answer = |keys: &[Key]| match jws.matches(keys) {
            Match::Verified => Some(true),
            Match::Refused => Some(false),
            Match::Unknown => None,
        };
        match jwks.ask(request.arrived, request.deadline, answer).await? {
            Some(true) => Ok(()),
            Some(false) => refuse(
                "signature",
                format!("the published key {} did not sign this: the header was changed or made up", shown(jws)),
            ),
            None => refuse(
                "signature",
                format!("no key at jwks_url has the id {} and signed this: does jwks_url name the right FusionAuth?", shown(jws)),
            ),
        }
    }

    /// What an operator can do about a signature that no configured key verifies.
    fn advice(&self, jws: &Jws<'_>) -> String {
        let (alg, kid) = (jws.alg, shown(jws));
        if self.keys.iter().all(|key| key.alg != alg) {
            let configured: Vec<_> = self.keys.iter().map(|key| key.alg.name()).collect();
            let configured = if configured.is_empty() { "jwks_url only".to_owned() } else { configured.join(", ") };
            return format!(
                "it is signed with {alg}, and configured is {configured}: add an entry with alg = \"{alg}\" to keys, or \
                 choose another key for the webhook in FusionAuth"
            );
        }
        if self.keys.iter().filter(|key| key.alg == alg).all(|key| key.kid.is_some() && key.kid != jws.kid)
            && jws.kid.is_some()
        {
            return format!("its key id {kid} is not the kid of any {alg} entry of keys: compare them, or leave kid out");
        }
        let what = if alg.is_hmac() { "the secret (check `encoding` too)" } else { "the public key" };
        format!(
            "the signature does not verify: the key in FusionAuth's Key Master (id {kid}) is not the one configured \
             for {alg}; compare {what}"
        )
    }
}

/// The header's key id for a log line, bounded and quoted.
fn shown(jws: &Jws<'_>) -> String {
    jws.recorded_kid().map_or_else(|| "none, since the signature names none".to_owned(), |kid| format!("{kid:?}"))
}

/// The signature is right; now whether it is for this body, and now.
fn check_claims(jws: &Jws<'_>, hash: &[u8; 32]) -> Result<(), SourceError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let same_body = jws.claims(now, |claims| match claims.get(SIGNATURE.body_claim) {
        Some(Value::Text(claimed)) => Ok(bool::from(STANDARD.encode(hash).as_bytes().ct_eq(claimed.as_bytes()))),
        Some(_) => Err("its claim request_body_sha256 is not a string"),
        None => Err("it has no claim request_body_sha256: it is a token for something else, not a webhook's signature"),
    });
    match same_body {
        Ok(true) => Ok(()),
        Ok(false) => refuse(
            "body hash",
            "the body is not the one that was signed: something between FusionAuth and this service rewrites it \
             (compression, re-encoding, a changed line end)",
        ),
        Err(problem) => refuse("claims", problem),
    }
}
