//! `[[sources]]` with `type = "fusionauth"`: its keys, and what is refused before the first event comes.
//!
//! Knows the file's members; the order of checks is the parent's.

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::types::meant_by;
use super::{Alg, Credentials, Decoder, Fusionauth, Jwks, Keep, Key, SIGNATURE, Signature, Signed, keep};
use crate::{
    host::Addresses,
    secret::{Secret, SecretRef},
    source::{
        BuildError, EntryError, SetUp, SharedKey,
        credentials::{BasicAuth, Wanted, marked},
    },
    units::Span,
};

/// Below this an HMAC secret can be guessed from one captured request.
const SECRET_BYTES_MIN: usize = 16;
/// Below this it is weaker than the hash (RFC 7518, 3.2).
const SECRET_BYTES_GOOD: usize = 32;

/// Stands in for a secret that is yet to be made: of the form of those that are, 32 bytes in base64url.
const AS_MADE: &[u8] = &[b'A'; 43];

/// The members of the entry, but for `name` and `type`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys that may have signed; several for a rotation.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// Where public keys are published.
    pub jwks_url: Option<String>,
    /// The only key ids taken from there; empty = any.
    #[serde(default)]
    pub allowed_kids: Vec<String>,
    /// Whether the signature is done without.
    #[serde(default)]
    pub unsigned: bool,
    /// HTTP Basic to ask for.
    pub basic_auth: Option<BasicAuth>,
    /// Static headers to ask for, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
    /// Addresses to take requests from; empty = any.
    #[serde(default)]
    pub allow_from: Vec<Addresses>,
    /// Peers whose `X-Forwarded-For` says the address.
    #[serde(default)]
    pub trusted_proxies: Vec<Addresses>,
    /// How long silence is normal; absent = any.
    pub quiet_after: Option<Span>,
    /// Members below `event` to keep as they are, by dotted path.
    #[serde(default)]
    pub keep: Vec<String>,
    /// The event types to record.
    #[serde(default = "default_events")]
    pub events: Vec<String>,
}

fn default_events() -> Vec<String> {
    vec!["jwt.refresh".to_owned()]
}

/// One entry of `keys`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The only algorithm it is for.
    pub alg: Alg,
    /// HS*: a file with the secret.
    pub secret_file: Option<PathBuf>,
    /// HS*: or an environment variable with it.
    pub secret_env: Option<String>,
    /// RS*, ES*, Ed25519: a file with the public key.
    pub pem_file: Option<PathBuf>,
    /// HS*: how the secret is written.
    pub encoding: Option<Encoding>,
    /// The only key id it is for; absent = any.
    pub kid: Option<String>,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Its bytes are the secret.
    #[default]
    Utf8,
    /// Its bytes are base64 of the secret.
    Base64,
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, BuildError> {
    Err(BuildError(problem.into()))
}

fn wrong_member<T>(member: impl Into<String>, problem: impl Into<String>) -> Result<T, EntryError> {
    wrong(problem).map_err(EntryError::of(member))
}

impl Config {
    /// How its senders sign.
    pub const SIGNATURE: Option<Signature> = Some(SIGNATURE);

    /// What is to be done in FusionAuth's administration.
    pub const SET_UP: SetUp = SetUp {
        sender: "FusionAuth",
        key_goes_to: "Key Master, HMAC, HS256",
        steps: &[
            "Settings > Key Master > Import HMAC: the text of that file as the secret, HS256",
            "Settings > Webhooks > Add: the URL above; Events: jwt.refresh; Security: Sign events, that key",
            "Tenants > Edit > Webhooks: this webhook, and the event jwt.refresh",
        ],
    };

    /// Its keys that can sign: of the others only the public half is configured.
    pub fn shared_keys(&self) -> Vec<SharedKey> {
        let shared = self.keys.iter().filter(|key| key.alg.is_hmac()).filter_map(|key| {
            let secret = match (&key.secret_file, &key.secret_env) {
                (Some(file), _) => SecretRef::File(file.clone()),
                (None, Some(name)) => SecretRef::Env(name.clone()),
                (None, None) => return None,
            };
            let is_base64 = key.encoding == Some(Encoding::Base64);
            Some(SharedKey { alg: key.alg, kid: key.kid.clone(), secret, is_base64 })
        });
        shared.collect()
    }

    /// Reads the keys and checks that what is asked for can be had; relative paths are relative to `base`. Of those that are
    /// `unmade` all is checked but what is in them.
    pub fn build(&self, base: &Path, unmade: &[PathBuf]) -> Result<Fusionauth, EntryError> {
        let wanted = Wanted {
            basic_auth: self.basic_auth.as_ref(),
            headers: &self.headers,
            allow_from: &self.allow_from,
            trusted_proxies: &self.trusted_proxies,
        };
        let mut notes = Vec::new();
        let credentials = Credentials::build(&wanted, base, &mut notes)?;
        let signed = self.signed(base, unmade, &mut notes)?;
        if signed.is_none() && !credentials.any_secret() {
            return wrong_member(
                "unsigned",
                "unsigned = true needs basic_auth or headers: without them anyone can send events",
            );
        }
        let decoder = self.decoder()?;
        if self.quiet_after.is_some_and(|span| span.get().is_zero()) {
            return wrong_member("quiet_after", "quiet_after must be more than zero: leave it out for no alarm");
        }
        if !self.trusted_proxies.is_empty() && self.allow_from.is_empty() {
            notes.push("trusted_proxies does nothing without allow_from".to_owned());
        }
        Ok(Fusionauth {
            credentials,
            signed,
            decoder,
            quiet_after: self.quiet_after.map(Span::get),
            notes,
        })
    }

    /// Which of the members in `keep` are personal: the number there, the member, the key of `[privacy]`.
    pub fn keeps_personal(&self) -> Vec<(usize, &'static str, &'static str)> {
        keep::personal(&self.keep)
    }

    /// What reads its bodies: needs no key and proves nothing.
    pub fn decoder(&self) -> Result<Decoder, EntryError> {
        if self.events.iter().any(String::is_empty) || self.events.is_empty() {
            return wrong_member("events", "events must name at least one event type, such as \"jwt.refresh\"");
        }
        for (number, kind) in self.events.iter().enumerate() {
            let wrong = |problem: String| wrong_member(format!("events.{number}"), problem);
            if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
                return wrong(format!("events: `{kind}` is no event type; write each out, such as \"jwt.refresh\""));
            }
            if let Some(meant) = meant_by(kind) {
                return wrong(format!("events: FusionAuth has no event `{kind}`; did you mean \"{meant}\"?"));
            }
        }
        let keep = Keep::build(&self.keep).map_err(EntryError::of("keep"))?;
        Ok(Decoder { events: self.events.clone(), keep })
    }

    fn signed(
        &self,
        base: &Path,
        unmade: &[PathBuf],
        notes: &mut Vec<String>,
    ) -> Result<Option<Signed>, EntryError> {
        let any_key = !self.keys.is_empty() || self.jwks_url.is_some();
        match (self.unsigned, any_key) {
            (true, true) => return wrong_member("unsigned", "unsigned = true and keys or jwks_url exclude each other: take one out"),
            (true, false) => return Ok(None),
            (false, false) => {
                return wrong_member(
                    "keys",
                    "there is nothing to check signatures with: add keys = [{ alg = \"HS256\", secret_file = \"…\" }] or \
                     jwks_url (or unsigned = true with basic_auth or headers)",
                );
            }
            (false, true) => {}
        }
        if !self.allowed_kids.is_empty() && self.jwks_url.is_none() {
            return wrong_member("allowed_kids", "allowed_kids is for jwks_url; write kid into the entry of keys instead");
        }
        let keys = self.keys.iter().enumerate().map(|(at, key)| {
            let mut of_key = Vec::new();
            let built = key.build(base, unmade, &mut of_key);
            notes.extend(of_key.iter().map(|note| format!("keys[{at}]: {note}")));
            let error = |error| BuildError(format!("keys[{at}]: {error}"));
            built.map_err(error).map_err(EntryError::of(format!("keys.{at}")))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let jwks = self.jwks_url.as_deref().map(|url| Jwks::build(url, &self.allowed_kids)).transpose();
        let jwks = jwks.map_err(EntryError::of("jwks_url"))?;
        Ok(Some(Signed { keys, jwks }))
    }
}

impl KeyConfig {
    fn build(&self, base: &Path, unmade: &[PathBuf], notes: &mut Vec<String>) -> Result<Key, BuildError> {
        if self.kid.as_ref().is_some_and(String::is_empty) {
            return wrong("kid is empty: leave it out to take any");
        }
        let (alg, kid) = (self.alg, self.kid.clone());
        let key = match (&self.secret_file, &self.secret_env, &self.pem_file) {
            (Some(file), None, None) if alg.is_hmac() && unmade.contains(&base.join(file)) => {
                Key::of_secret(alg, kid, &self.secret(&Secret::new(AS_MADE.to_vec()), notes)?)
            }
            (Some(file), None, None) if alg.is_hmac() => {
                let file = base.join(file);
                let secret = Secret::from_file(&file).map_err(|error| {
                    let is_missing = matches!(file.try_exists(), Ok(false));
                    let file = file.display();
                    BuildError(match is_missing {
                        true => format!(
                            "{error}; `refresh-audit keygen hmac --out {file}` makes one, or write the path of yours"
                        ),
                        false => error.to_string(),
                    })
                })?;
                Key::of_secret(alg, kid, &self.secret(&secret, notes)?)
            }
            (None, Some(name), None) if alg.is_hmac() => {
                Key::of_secret(alg, kid, &self.secret(&Secret::from_env(name)?, notes)?)
            }
            (None, None, Some(file)) if !alg.is_hmac() => {
                if self.encoding.is_some() {
                    return wrong("encoding is for secrets; a PEM file has one form only");
                }
                let file = base.join(file);
                Key::of_pem(alg, kid, Secret::from_file(&file)?.expose())
                    .map_err(|error| crate::source::keys::KeyError(format!("{}: {}", file.display(), error.0)))
            }
            _ if alg.is_hmac() => return wrong(format!("{alg} needs one of secret_file and secret_env, and no pem_file")),
            _ => return wrong(format!("{alg} needs pem_file (its public key), and no secret_file or secret_env")),
        };
        key.map_err(|error| BuildError(error.0))
    }

    fn secret(&self, written: &Secret, notes: &mut Vec<String>) -> Result<Zeroizing<Vec<u8>>, BuildError> {
        notes.extend(marked(written, "the secret"));
        let written = written.expose();
        let secret = Zeroizing::new(match self.encoding.unwrap_or_default() {
            Encoding::Utf8 => written.to_vec(),
            Encoding::Base64 => STANDARD_PAD_INDIFFERENT
                .decode(written)
                .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(written))
                .map_err(|_| BuildError("encoding = \"base64\", but the secret is not base64".to_owned()))?,
        });
        if secret.len() < SECRET_BYTES_MIN {
            return wrong(format!(
                "the secret has {} bytes, fewer than {SECRET_BYTES_MIN}: it can be guessed; `refresh-audit keygen hmac \
                 --out FILE` makes a good one to import into FusionAuth",
                secret.len()
            ));
        }
        if secret.len() < SECRET_BYTES_GOOD {
            notes.push(format!(
                "the secret has {} bytes, fewer than the {SECRET_BYTES_GOOD} of the hash: replace it by a longer one",
                secret.len()
            ));
        }
        Ok(secret)
    }
}
