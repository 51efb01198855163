//! Secrets and what may be known of them.
//!
//! A [`Secret`] has one door, [`Secret::expose`], no Debug, Display or Serialize, and is wiped when dropped.
//! A [`Fingerprinter`] turns a token into the keyed fingerprint that may leave the decoder. Knows no other part.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{build_error::BuildError, event::Fingerprint};

/// Bytes that must not be seen.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a secret could not be had. Never says what it is.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret file {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why. Said once, here.
        cause: io::Error,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// There is nothing in it.
    #[error("the secret from {0} is empty")]
    Empty(String),
}

impl From<SecretError> for BuildError {
    fn from(error: SecretError) -> Self {
        Self(error.to_string())
    }
}

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The file's bytes less one trailing LF or CRLF.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let mut bytes = fs::read(path).map_err(|cause| SecretError::File { path: path.to_owned(), cause })?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(SecretError::Empty(path.display().to_string()));
        }
        Ok(Self::new(bytes))
    }

    /// The variable's value.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let value = env::var(name).map_err(|_| SecretError::Env(name.to_owned()))?;
        if value.is_empty() {
            return Err(SecretError::Empty(name.to_owned()));
        }
        Ok(Self::new(value.into_bytes()))
    }

    /// The one door.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Where a configuration says a secret is: `{ file = "…" }` or `{ env = "…" }`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum SecretRef {
    /// A file, relative to the config file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl SecretRef {
    /// Reads it; a relative file is taken relative to `base`.
    pub fn read(&self, base: &Path) -> Result<Secret, SecretError> {
        match self {
            Self::File(path) => Secret::from_file(&base.join(path)),
            Self::Env(name) => Secret::from_env(name),
        }
    }
}

/// Bytes of HMAC output kept in a fingerprint: 128 bits, far past any collision by chance.
const FINGERPRINT_BYTES: usize = 16;

struct Key {
    id: String,
    mac: Hmac<Sha256>,
}

/// Makes keyed fingerprints. Writes with its first key; its others are for looking up.
pub struct Fingerprinter {
    keys: Vec<Key>,
}

impl Fingerprinter {
    /// The first key writes. With no key, a single all-zero one stands in (for `backtest`, which keeps nothing).
    pub fn new(keys: &[Secret]) -> Self {
        let zero = [Secret::new(vec![0; 32])];
        let keys = if keys.is_empty() { &zero } else { keys };
        Self { keys: keys.iter().map(|key| Key::new(key.expose())).collect() }
    }

    /// The fingerprint to write.
    pub fn fingerprint(&self, secret: &[u8]) -> Fingerprint {
        // `new` leaves at least one key.
        self.keys.first().map_or_else(|| Fingerprint(String::new()), |key| key.fingerprint(secret))
    }

    /// What stands for a personal text: equal where both the text and the member it is of (`device.name`) are equal, and never
    /// what a token is called.
    pub fn pseudonym(&self, member: &str, text: &str) -> Fingerprint {
        // 0xff is in no text, and so in no token; 0 in no member's name.
        let parts = [b"\xff".as_slice(), member.as_bytes(), b"\0", text.as_bytes()];
        self.keys.first().map_or_else(|| Fingerprint(String::new()), |key| key.name(&parts))
    }

    /// The fingerprints under the other keys: what it was called before.
    pub fn old_fingerprints(&self, secret: &[u8]) -> Vec<Fingerprint> {
        self.keys.iter().skip(1).map(|key| key.fingerprint(secret)).collect()
    }

    /// The writing key's id: 4 hex.
    pub fn key_id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }
}

impl Key {
    fn new(key: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104)")]
        let mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
        let id = mac.clone().chain_update(b"refresh-audit fingerprint key id").finalize().into_bytes();
        Self { id: hex::encode(&id[..2]), mac }
    }

    fn fingerprint(&self, secret: &[u8]) -> Fingerprint {
        self.name(&[secret])
    }

    fn name<T: AsRef<[u8]>>(&self, parts: &[T]) -> Fingerprint {
        let tag = parts.iter().fold(self.mac.clone(), |mac, part| mac.chain_update(part)).finalize().into_bytes();
        let mut text = String::with_capacity(5 + 2 * FINGERPRINT_BYTES);
        text.push_str(&self.id);
        text.push(':');
        text.push_str(&hex::encode(&tag[..FINGERPRINT_BYTES]));
        Fingerprint(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_hmac_sha256_cut_to_16_bytes() {
        // RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?".
        let made = Fingerprinter::new(&[Secret::new(b"Jefe".to_vec())]).fingerprint(b"what do ya want for nothing?");
        assert_eq!(made.to_string().split_once(':').unwrap().1, "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn a_file_loses_one_line_end_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (written, read) in [("a\n\n", "a\n"), ("a\r\n", "a"), (" a ", " a "), ("a\r", "a\r")] {
            fs::write(file.path(), written).unwrap();
            assert_eq!(Secret::from_file(file.path()).ok().unwrap().expose(), read.as_bytes());
        }
    }
}
