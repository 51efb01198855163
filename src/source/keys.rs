//! Keys that verify signatures: the algorithms there are, and keys out of secrets, PEM files and JWKs.
//!
//! A key has exactly one algorithm and verifies nothing under another; an HMAC key is never made of anything public.
//! Knows no header, no source and no network.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{PublicEncryptingKey, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD_INDIFFERENT},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, de::Error as _};
use sha2::{Sha256, Sha384, Sha512};

macro_rules! algs {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A signature algorithm of RFC 7518 or RFC 9864 that FusionAuth's Key Master offers.
        #[expect(missing_docs, reason = "each is the name it stands for")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Alg { $($variant),* }

        impl Alg {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The one name used in records; `EdDSA` is called `Ed25519`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

algs! {
    Hs256 = "HS256", Hs384 = "HS384", Hs512 = "HS512",
    Rs256 = "RS256", Rs384 = "RS384", Rs512 = "RS512",
    Es256 = "ES256", Es384 = "ES384", Es512 = "ES512",
    Ed25519 = "Ed25519",
}

impl Alg {
    /// By its exact name; `EdDSA` (RFC 8037) and `Ed25519` (RFC 9864, FusionAuth) are the same.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self::Ed25519);
        }
        Self::ALL.iter().copied().find(|alg| alg.name() == name)
    }

    /// Whether its key is a shared secret.
    pub const fn is_hmac(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// How a public key is used under it; `None` for HMAC.
    fn verification(self) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => return None,
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &ECDSA_P521_SHA512_FIXED,
            Self::Ed25519 => &ED25519,
        })
    }

    /// The key that fits, in words.
    const fn wants(self) -> &'static str {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => "a shared secret",
            Self::Rs256 | Self::Rs384 | Self::Rs512 => "an RSA key",
            Self::Es256 => "an EC key on P-256",
            Self::Es384 => "an EC key on P-384",
            Self::Es512 => "an EC key on P-521",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Alg {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::parse(&name).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|alg| alg.name()).collect();
            D::Error::custom(format!("`{name}` is not a signature algorithm; use one of {}", all.join(", ")))
        })
    }
}

enum Verifier {
    Hs256(Hmac<Sha256>),
    Hs384(Hmac<Sha384>),
    Hs512(Hmac<Sha512>),
    Public(ParsedPublicKey),
}

/// One key under one algorithm.
pub(in crate::source) struct Key {
    pub(in crate::source) alg: Alg,
    /// The only header `kid` it is for; `None` = any.
    pub(in crate::source) kid: Option<String>,
    verifier: Verifier,
}

/// Why there is no key, to be put after "… ".
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct KeyError(pub(in crate::source) String);

fn wrong<T>(problem: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError(problem.into()))
}

impl Key {
    /// Of a shared secret. Strength is the caller's to judge.
    pub(in crate::source) fn of_secret(alg: Alg, kid: Option<String>, secret: &[u8]) -> Result<Self, KeyError> {
        let any_length = |_| KeyError("the secret has no length that HMAC takes".to_owned());
        let verifier = match alg {
            Alg::Hs256 => Verifier::Hs256(Hmac::new_from_slice(secret).map_err(any_length)?),
            Alg::Hs384 => Verifier::Hs384(Hmac::new_from_slice(secret).map_err(any_length)?),
            Alg::Hs512 => Verifier::Hs512(Hmac::new_from_slice(secret).map_err(any_length)?),
            _ => return wrong(format!("{alg} takes a public key (pem_file), not a secret")),
        };
        Ok(Self { alg, kid, verifier })
    }

    /// Of a PEM file's text: one `PUBLIC KEY` (SPKI) or `RSA PUBLIC KEY` (PKCS #1).
    pub(in crate::source) fn of_pem(alg: Alg, kid: Option<String>, pem: &[u8]) -> Result<Self, KeyError> {
        let der = public_der(pem)?;
        Self::of_der(alg, kid, &der).map_err(|error| match describe(&der) {
            Some((kind, fitting)) if !fitting.contains(&alg) => {
                let names: Vec<_> = fitting.iter().map(|alg| alg.name()).collect();
                KeyError(format!(
                    "{alg} needs {}, but this is {kind}: write alg = one of {}, or name the right file",
                    alg.wants(),
                    names.join(", ")
                ))
            }
            _ => error,
        })
    }

    fn of_der(alg: Alg, kid: Option<String>, der: &[u8]) -> Result<Self, KeyError> {
        let Some(verification) = alg.verification() else {
            return wrong(format!("{alg} takes a secret (secret_file or secret_env), never a public key"));
        };
        let Ok(key) = ParsedPublicKey::new(verification, der) else {
            return wrong(format!("{alg} needs {}, and this is none that can be read", alg.wants()));
        };
        if matches!(alg, Alg::Rs256 | Alg::Rs384 | Alg::Rs512) && !rsa_size_fits(&key) {
            return wrong("the RSA key is not of 2048 to 8192 bits: make a larger one");
        }
        Ok(Self { alg, kid, verifier: Verifier::Public(key) })
    }

    /// Whether `signature` is this key's over `message`. HMAC tags compare in constant time, in full length only.
    pub(in crate::source) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Hs256(mac) => mac.clone().chain_update(message).verify_slice(signature).is_ok(),
            Verifier::Hs384(mac) => mac.clone().chain_update(message).verify_slice(signature).is_ok(),
            Verifier::Hs512(mac) => mac.clone().chain_update(message).verify_slice(signature).is_ok(),
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

fn rsa_size_fits(key: &ParsedPublicKey) -> bool {
    let spki: Result<PublicKeyX509Der<'_>, _> = key.as_der();
    // `PublicEncryptingKey` takes 2048 to 8192 bits, as the verification does; here it is known before the first event.
    spki.is_ok_and(|spki| PublicEncryptingKey::from_der(spki.as_ref()).is_ok())
}

/// What a public key is, and the algorithms that take it.
fn describe(der: &[u8]) -> Option<(&'static str, &'static [Alg])> {
    let kinds: [(&'static str, &'static [Alg]); 5] = [
        ("an RSA key", &[Alg::Rs256, Alg::Rs384, Alg::Rs512]),
        ("an EC key on P-256", &[Alg::Es256]),
        ("an EC key on P-384", &[Alg::Es384]),
        ("an EC key on P-521", &[Alg::Es512]),
        ("an Ed25519 key", &[Alg::Ed25519]),
    ];
    kinds.into_iter().find(|(_, algs)| {
        let verification = algs.first().and_then(|alg| alg.verification());
        verification.is_some_and(|verification| ParsedPublicKey::new(verification, der).is_ok())
    })
}

/// The bytes inside the only PEM block, which must be a public key.
fn public_der(pem: &[u8]) -> Result<Vec<u8>, KeyError> {
    const HOW: &str = "openssl pkey -in KEY.pem -pubout -out webhook.pem";
    let text = String::from_utf8_lossy(pem);
    if text.contains("PRIVATE KEY-----") {
        return wrong(format!("it holds a private key, which has no business here; put its public half there: {HOW}"));
    }
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return wrong("it holds a certificate; put its key there: openssl x509 -in CERT.pem -noout -pubkey");
    }
    for label in ["PUBLIC KEY", "RSA PUBLIC KEY"] {
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let Some((_, rest)) = text.split_once(&begin) else { continue };
        let Some((inside, after)) = rest.split_once(&end) else {
            return wrong(format!("the line {end} is missing; the file is cut short"));
        };
        if after.contains("-----BEGIN ") {
            return wrong("it holds more than one key; write one entry and one file for each");
        }
        let packed: String = inside.split_ascii_whitespace().collect();
        return STANDARD.decode(packed).map_err(|_| KeyError("what is between its PEM lines is not base64".to_owned()));
    }
    wrong(format!("it holds no PEM public key (-----BEGIN PUBLIC KEY-----); make one: {HOW}"))
}

/// The members of a JWK (RFC 7517, 7518, 8037) that are read. Its certificates are not: an expired one may still sign.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys that one JWK stands for: none if it is no signature key of a known kind (`oct` never is), three for an
/// RSA key that names no algorithm.
pub(in crate::source) fn of_jwk(jwk: serde_json::Value) -> Vec<Key> {
    let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { return Vec::new() };
    let for_signatures = jwk.r#use.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_deref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let (Some((der, fitting)), true) = (jwk.material(), for_signatures) else { return Vec::new() };
    let named = jwk.alg.as_deref().map(Alg::parse);
    let algs = fitting.iter().filter(|alg| named.is_none_or(|named| named == Some(**alg)));
    algs.filter_map(|alg| Key::of_der(*alg, jwk.kid.clone(), &der).ok()).collect()
}

impl Jwk {
    /// The key in a form that `ParsedPublicKey` takes, and the algorithms that take it.
    fn material(&self) -> Option<(Vec<u8>, &'static [Alg])> {
        let point = |bytes: usize, alg: &'static [Alg]| {
            let mut point = vec![4]; // SEC 1, 2.3.3: an uncompressed point
            point.extend(padded(&self.x, bytes)?);
            point.extend(padded(&self.y, bytes)?);
            Some((point, alg))
        };
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (unsigned(&self.n)?, unsigned(&self.e)?);
                let spki: PublicKeyX509Der<'_> = PublicKeyComponents { n, e }.as_der().ok()?;
                Some((spki.as_ref().to_vec(), &[Alg::Rs256, Alg::Rs384, Alg::Rs512]))
            }
            ("EC", Some("P-256")) => point(32, &[Alg::Es256]),
            ("EC", Some("P-384")) => point(48, &[Alg::Es384]),
            ("EC", Some("P-521")) => point(66, &[Alg::Es512]),
            ("OKP", Some("Ed25519")) => {
                decoded(&self.x).filter(|x| x.len() == 32).map(|x| (x, [Alg::Ed25519].as_slice()))
            }
            _ => None,
        }
    }
}

fn decoded(member: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD_INDIFFERENT.decode(member.as_deref()?).ok()
}

/// A big-endian number without leading zeros (some writers keep one for the sign).
fn unsigned(member: &Option<String>) -> Option<Vec<u8>> {
    let bytes = decoded(member)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes.get(zeros..)?.to_vec())
}

/// A big-endian number of exactly this many bytes (some writers leave leading zeros out).
fn padded(member: &Option<String>, bytes: usize) -> Option<Vec<u8>> {
    let number = unsigned(member)?;
    let mut padded = vec![0; bytes.checked_sub(number.len())?];
    padded.extend(number);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_the_two_names_of_ed25519_are_one() {
        assert_eq!(Alg::parse("Ed25519"), Some(Alg::Ed25519));
        assert_eq!(Alg::parse("EdDSA"), Some(Alg::Ed25519));
        for none in ["none", "None", "NONE", "nOnE", "", "hs256", "PS256", "Ed448", "ES256K", "HS256 "] {
            assert_eq!(Alg::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_jwk_of_a_shared_secret_or_for_encryption_is_no_key() {
        // RFC 8037, appendix A.2: an Ed25519 public key.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let count = |jwk: serde_json::Value| of_jwk(jwk).len();
        assert_eq!(count(serde_json::json!({"kty":"OKP","crv":"Ed25519","x":x})), 1);
        assert_eq!(count(serde_json::json!({"kty":"OKP","crv":"Ed25519","x":x,"alg":"EdDSA","use":"sig"})), 1);
        assert_eq!(count(serde_json::json!({"kty":"OKP","crv":"Ed25519","x":x,"use":"enc"})), 0);
        assert_eq!(count(serde_json::json!({"kty":"OKP","crv":"Ed25519","x":x,"key_ops":["encrypt"]})), 0);
        assert_eq!(count(serde_json::json!({"kty":"OKP","crv":"Ed25519","x":x,"alg":"HS256"})), 0);
        assert_eq!(count(serde_json::json!({"kty":"OKP","crv":"Ed25519","x":"AAAA"})), 0);
        assert_eq!(count(serde_json::json!({"kty":"oct","k":x,"alg":"HS256"})), 0);
        assert_eq!(count(serde_json::json!({"kty":"RSA","n":"AQAB","e":"AQAB"})), 0);
        assert_eq!(count(serde_json::json!(["kty"])), 0);
    }
}
