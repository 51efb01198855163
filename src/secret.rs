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
    /// It can be tried out.
    #[error(
        "the secret from {from} has {bytes} bytes, fewer than {min}: it can be guessed; `refresh-audit keygen hmac` makes a good one"
    )]
    Short {
        /// Where it is.
        from: String,
        /// How many it has.
        bytes: usize,
        /// How many it must have.
        min: usize,
    },
    /// No request can bring it.
    #[error("the secret from {0} can never arrive in a header: it has a control character, or blanks at an end")]
    NoHeaderValue(String),
    /// It begins with what nobody sees.
    #[error("the secret from {0} begins with a byte order mark: write it without one")]
    Marked(String),
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
        drop_line_end(&mut bytes);
        if bytes.is_empty() {
            return Err(SecretError::Empty(path.display().to_string()));
        }
        Ok(Self::new(bytes))
    }

    /// The variable's value less one trailing LF or CRLF, which it often got from a file.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let mut value = env::var(name).map_err(|_| SecretError::Env(name.to_owned()))?.into_bytes();
        drop_line_end(&mut value);
        if value.is_empty() {
            return Err(SecretError::Empty(name.to_owned()));
        }
        Ok(Self::new(value))
    }

    /// Itself, where it has so many bytes; `from` is where it was read.
    pub fn of_at_least(self, min: usize, from: &Path) -> Result<Self, SecretError> {
        match self.0.len() {
            bytes if bytes < min => Err(SecretError::Short { from: from.display().to_string(), bytes, min }),
            _ => Ok(self),
        }
    }

    /// Whether a request can bring it in a header as it is: no control characters, no blanks at an end (RFC 9110, 5.5).
    pub fn is_header_value(&self) -> bool {
        let can_stand = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        self.0.iter().all(can_stand) && self.0.trim_ascii().len() == self.0.len()
    }

    /// Whether it begins with what some editors put before a text, and show nobody.
    pub fn has_byte_order_mark(&self) -> bool {
        self.0.starts_with("\u{feff}".as_bytes())
    }

    /// The one door.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

fn drop_line_end(bytes: &mut Vec<u8>) {
    if bytes.pop_if(|last| *last == b'\n').is_some() {
        let _ = bytes.pop_if(|last| *last == b'\r');
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
    fn what_cannot_come_in_a_header_or_is_short_is_told() {
        let secret = |bytes: &[u8]| Secret::new(bytes.to_vec());
        for (bytes, fine) in [
            (&b"a b~"[..], true),
            (b"\xff\x80", true),
            (b" a", false),
            (b"a\t", false),
            (b"a\0b", false),
            (b"a\x7f", false),
        ] {
            assert_eq!(secret(bytes).is_header_value(), fine, "{bytes:?}");
        }
        assert!(secret(b"\xef\xbb\xbfkey").has_byte_order_mark() && !secret(b"key").has_byte_order_mark());
        let from = Path::new("f.key");
        assert!(secret(&[7; 16]).of_at_least(16, from).is_ok());
        let Err(error) = secret(&[7; 15]).of_at_least(16, from) else { panic!("taken") };
        assert!(error.to_string().starts_with("the secret from f.key has 15 bytes, fewer than 16"), "{error}");
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
