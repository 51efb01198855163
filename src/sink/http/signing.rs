//! Standard Webhooks signatures (<https://www.standardwebhooks.com>, `v1`): base64 of HMAC-SHA-256 over
//! `id.timestamp.body`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use crate::{
    secret::Secret,
    sink::{BuildError, SinkError, visible::visible},
};

/// What the secrets of that scheme begin with; base64 follows.
const PREFIX: &[u8] = b"whsec_";

/// Adds the idempotency key alone: also who signs nothing says what comes twice.
pub(super) fn name(headers: &mut HeaderMap, id: &str) -> Result<(), SinkError> {
    set(headers, "webhook-id", visible(id))
}

fn set(headers: &mut HeaderMap, name: &'static str, value: String) -> Result<(), SinkError> {
    let value =
        HeaderValue::try_from(value).map_err(|error| SinkError::passing(format!("{name} cannot be sent: {error}")))?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// Signs requests.
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// `whsec_` and base64, or the key's bytes themselves.
    pub(super) fn new(secret: &Secret) -> Result<Self, BuildError> {
        let key = match secret.expose().strip_prefix(PREFIX) {
            Some(text) => Secret::new(STANDARD.decode(text).map_err(|_| {
                BuildError(
                    "the signing secret begins with whsec_ but no base64 follows: copy it again, whole".to_owned(),
                )
            })?),
            None => Secret::new(secret.expose().to_vec()),
        };
        let mac = Hmac::<Sha256>::new_from_slice(key.expose())
            .map_err(|_| BuildError("the signing secret cannot be used as a key".to_owned()))?;
        Ok(Self(mac))
    }

    /// Adds the three headers.
    pub(super) fn sign(
        &self,
        headers: &mut HeaderMap,
        id: &str,
        now: SystemTime,
        body: &[Bytes],
    ) -> Result<(), SinkError> {
        let id = visible(id);
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let mac = self.0.clone().chain_update(&id).chain_update(".").chain_update(&timestamp).chain_update(".");
        let mac = body.iter().fold(mac, |mac, piece| mac.chain_update(piece));
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        for (name, value) in [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)] {
            set(headers, name, value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: Bytes = Bytes::from_static(br#"{"test": 2432232314}"#);

    fn signature(secret: &[u8], id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let signer = Signer::new(&Secret::new(secret.to_vec())).unwrap();
        signer
            .sign(&mut headers, id, UNIX_EPOCH + Duration::from_secs(TIMESTAMP), &[BODY.slice(..9), BODY.slice(9..)])
            .unwrap();
        headers
    }

    #[test]
    fn the_reference_example_is_signed_alike() {
        // Secret, id, time and body of the Standard Webhooks reference libraries' tests; the signature made again by
        // printf '%s' 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}' | openssl dgst -sha256 -binary \
        //   -mac HMAC -macopt hexkey:$(printf '%s' MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | xxd -p) | base64
        let headers = signature(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ID);
        assert_eq!(headers["webhook-id"], ID);
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // The same key as raw bytes.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(signature(&key, ID), headers);
    }

    #[test]
    fn no_id_can_break_a_header() {
        // Percent-encoding as in RFC 3986, section 2.1.
        assert_eq!(signature(b"k", "a\r\nx: y%é")["webhook-id"], "a%0D%0Ax:%20y%25%C3%A9");
    }

    #[test]
    fn a_bad_secret_is_told_without_showing_it() {
        let Err(error) = Signer::new(&Secret::new(b"whsec_not base64".to_vec())) else { panic!("taken") };
        assert!(!error.to_string().contains("not base64"), "{error}");
    }
}
