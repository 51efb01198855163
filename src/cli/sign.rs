//! Signs bodies as a source's senders do, for `send`: a compact JWS whose one claim is the body's SHA-256. Knows keys and
//! bytes, nothing of events and of no source.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    secret::Secret,
    source::{Alg, Signature},
};

/// A key, ready to sign.
pub(super) struct Signer {
    form: Signature,
    alg: Alg,
    kid: Option<String>,
    key: Key,
}

enum Key {
    Hmac(Box<hmac::Key>),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why there is no signature. Never says anything of the key's content.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error("the key file is not a private key in PKCS#8 PEM (-----BEGIN PRIVATE KEY-----)")]
    NotPkcs8,
    #[error("the private key does not fit {0}")]
    WrongKey(&'static str),
    #[error("signing failed")]
    Failed,
}

impl Signer {
    /// `key` is the secret's bytes for HMAC, a PKCS#8 PEM for the others.
    pub(super) fn new(form: Signature, alg: Alg, kid: Option<String>, key: &Secret) -> Result<Self, SignError> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let pair = RsaKeyPair::from_pkcs8(pkcs8(key)?.secret_pkcs8_der());
            pair.map(|pair| Key::Rsa(pair, encoding)).map_err(|_| SignError::WrongKey(alg.name()))
        };
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8(key)?.secret_pkcs8_der());
            pair.map(Key::Ecdsa).map_err(|_| SignError::WrongKey(alg.name()))
        };
        let hmac = |algorithm| Key::Hmac(Box::new(hmac::Key::new(algorithm, key.expose())));
        let key = match alg {
            Alg::Hs256 => hmac(hmac::HMAC_SHA256),
            Alg::Hs384 => hmac(hmac::HMAC_SHA384),
            Alg::Hs512 => hmac(hmac::HMAC_SHA512),
            Alg::Rs256 => rsa(&RSA_PKCS1_SHA256)?,
            Alg::Rs384 => rsa(&RSA_PKCS1_SHA384)?,
            Alg::Rs512 => rsa(&RSA_PKCS1_SHA512)?,
            Alg::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Alg::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Alg::Es512 => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING)?,
            Alg::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8(key)?.secret_pkcs8_der());
                Key::Ed25519(pair.map_err(|_| SignError::WrongKey(alg.name()))?)
            }
        };
        Ok(Self { form, alg, kid, key })
    }

    /// The header that the signature travels in.
    pub(super) fn header(&self) -> &'static str {
        self.form.header
    }

    /// The signature header's value for a body.
    pub(super) fn sign(&self, body: &[u8]) -> Result<String, SignError> {
        let mut header = json!({ "alg": self.alg.name(), "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        let payload = json!({ self.form.body_claim: STANDARD.encode(Sha256::digest(body)) });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Hmac(key) => Ok(hmac::sign(key, bytes).as_ref().to_vec()),
            Key::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, bytes, &mut signature).map_err(|_| SignError::Failed)?;
                Ok(signature)
            }
            Key::Ecdsa(pair) => {
                pair.sign(&random, bytes).map(|signature| signature.as_ref().to_vec()).map_err(|_| SignError::Failed)
            }
            Key::Ed25519(pair) => Ok(pair.sign(bytes).as_ref().to_vec()),
        }
    }
}

fn pkcs8(key: &Secret) -> Result<PrivatePkcs8KeyDer<'static>, SignError> {
    PrivatePkcs8KeyDer::from_pem_slice(key.expose()).map_err(|_| SignError::NotPkcs8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hs256_header_is_what_openssl_makes() {
        // h={"alg":"HS256","typ":"JWT"}, p={"request_body_sha256":"<openssl dgst -sha256 -binary | base64>"}, both
        // base64url, then openssl dgst -sha256 -hmac key.
        let form = Signature { header: "X-Signature", body_claim: "request_body_sha256" };
        let signer = Signer::new(form, Alg::Hs256, None, &Secret::new(b"key".to_vec())).unwrap();
        let expected = concat!(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
            "eyJyZXF1ZXN0X2JvZHlfc2hhMjU2IjoiUkJOdm8xV3paNG9SUnEwVzkraGtucFQ3VDhJZjUzNkRFTUJnOWh5cS80bz0ifQ.",
            "2UBGlAMh-AEnQBmE0IyZYkqa93tgDKJeZAv9q1O7mFQ",
        );
        assert_eq!(signer.sign(b"{}").unwrap(), expected);
    }
}
