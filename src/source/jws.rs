//! A compact JWS (RFC 7515) in a request header, checked by hand and strictly: what is not exactly as the standard
//! writes it is refused.
//!
//! The content is read only after the signature verified. Knows keys, no source and no body.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    json::{Members, Value},
    keys::{Alg, Key},
};

/// Bytes of the whole header value. An RS512 signature by an 8192-bit key with a long `kid` has 1.6 kB.
const JWS_BYTES_MAX: usize = 8 * 1_024;
/// Characters of a key id that are worth recording; a longer one is matched but not recorded.
const KID_CHARS_MAX: usize = 128;
/// How far the sender's clock and ours may differ.
const LEEWAY_SECONDS: f64 = 60.0;

/// A JWS of which nothing but the header has been read.
pub(in crate::source) struct Jws<'a> {
    pub(in crate::source) alg: Alg,
    pub(in crate::source) kid: Option<String>,
    signed: &'a [u8],
    payload: &'a [u8],
    signature: Vec<u8>,
}

/// Why a JWS is refused; the text goes to the log.
pub(in crate::source) type Refusal = &'static str;

/// What a set of keys says about a JWS.
pub(in crate::source) enum Match {
    /// One of them signed it.
    Verified,
    /// A key with its `kid` is here, and did not sign it.
    Refused,
    /// No key here is known to be the one.
    Unknown,
}

impl<'a> Jws<'a> {
    /// Takes it apart: three parts, base64url without padding, a header without surprises.
    pub(in crate::source) fn parse(value: &'a [u8]) -> Result<Self, Refusal> {
        if value.len() > JWS_BYTES_MAX {
            return Err("it is longer than 8 KiB");
        }
        let mut dots = memchr::memchr_iter(b'.', value);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err("it has not exactly three parts");
        };
        let header = decode(&value[..first])?;
        let header = Members::strict(&header).ok_or("its header is not a JSON object with each member once")?;
        let Some(Value::Text(alg)) = header.get("alg") else {
            return Err("its header has no `alg`");
        };
        let alg = Alg::parse(alg).ok_or("its `alg` is none that is taken (`none` never is)")?;
        if header.get("crit").is_some() {
            return Err("its header has `crit`: it asks for an extension that is not known here");
        }
        let kid = match header.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::Text(kid)) => Some(kid.to_string()),
            Some(_) => return Err("its `kid` is not a string"),
        };
        let signature = decode(&value[second + 1..])?;
        Ok(Self { alg, kid, signed: &value[..second], payload: &value[first + 1..second], signature })
    }

    /// Tries every key that its `alg` and `kid` allow.
    pub(in crate::source) fn matches(&self, keys: &[Key]) -> Match {
        let mut known = false;
        for key in keys {
            let same_kid = match (&key.kid, &self.kid) {
                (Some(key), Some(header)) if key == header => {
                    known = true;
                    true
                }
                (Some(_), Some(_)) => false,
                _ => true,
            };
            if same_kid && key.alg == self.alg && key.verifies(self.signed, &self.signature) {
                return Match::Verified;
            }
        }
        if known { Match::Refused } else { Match::Unknown }
    }

    /// The key id for the record.
    pub(in crate::source) fn recorded_kid(&self) -> Option<String> {
        self.kid.clone().filter(|kid| !kid.is_empty() && kid.chars().count() <= KID_CHARS_MAX)
    }

    /// Calls `check` with the claims, and checks those about time where there are any. Only for a verified JWS.
    pub(in crate::source) fn claims<T>(
        &self,
        now_seconds: f64,
        check: impl FnOnce(&Members<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let payload = decode(self.payload)?;
        let claims = Members::strict(&payload).ok_or("its claims are not a JSON object with each member once")?;
        let time = |name| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Integer(seconds)) => Ok(Some(*seconds as f64)),
            Some(Value::Float(seconds)) => Ok(Some(*seconds)),
            Some(_) => Err("`exp`, `nbf` or `iat` is not a number"),
        };
        if time("exp")?.is_some_and(|exp| now_seconds >= exp + LEEWAY_SECONDS) {
            return Err("it has expired: compare the clocks of the sender and of this machine");
        }
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|from| now_seconds < from - LEEWAY_SECONDS) {
                return Err("it is from the future: compare the clocks of the sender and of this machine");
            }
        }
        check(&claims)
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of it is not base64url without padding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jws(header: &str, claims: &str, signature: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{signature}", part(header), part(claims))
    }

    #[test]
    fn the_header_must_be_exactly_right() {
        let fine = jws(r#"{"alg":"HS256","typ":"JWT","kid":"a"}"#, "{}", "AAAA");
        assert_eq!(Jws::parse(fine.as_bytes()).ok().unwrap().kid.as_deref(), Some("a"));
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":null}"#,
            r#"{"alg":"HS256","kid":7}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"typ":"JWT"}"#,
            r#"["HS256"]"#,
            "",
        ] {
            assert!(Jws::parse(jws(header, "{}", "AAAA").as_bytes()).is_err(), "{header}");
        }
        for whole in [
            "",
            ".",
            "..",
            "a.b",
            &format!("{fine}.AAAA"),
            &format!("{fine}="),
            &format!("{fine} "),
            &format!(" {fine}"),
            &format!("{fine},{fine}"),
            // The last character carries two bits that must be zero.
            &jws(r#"{"alg":"HS256"}"#, "{}", "AB"),
            &jws(r#"{"alg":"HS256"}"#, "{}", &"A".repeat(9_000)),
        ] {
            assert!(Jws::parse(whole.as_bytes()).is_err(), "{whole}");
        }
    }

    #[test]
    fn times_are_honoured_when_present_with_60_seconds_of_leeway() {
        let now = 1_000_000.0;
        for (claims, fine) in [
            ("{}", true),
            (r#"{"exp":999941}"#, true),
            (r#"{"exp":999940}"#, false),
            (r#"{"exp":999940.5}"#, true),
            (r#"{"nbf":1000060}"#, true),
            (r#"{"nbf":1000061}"#, false),
            (r#"{"iat":1000060,"nbf":1,"exp":2000000}"#, true),
            (r#"{"iat":1000061}"#, false),
            (r#"{"exp":"2000000"}"#, false),
            (r#"{"exp":null,"nbf":null,"iat":null}"#, true),
            (r#"{"nbf":[1]}"#, false),
            (r#"{"iat":{}}"#, false),
            (r#"{"a":1,"a":1}"#, false),
            ("[]", false),
        ] {
            let text = jws(r#"{"alg":"HS256"}"#, claims, "AAAA");
            let parsed = Jws::parse(text.as_bytes()).ok().unwrap();
            assert_eq!(parsed.claims(now, |_| Ok(())).is_ok(), fine, "{claims}");
        }
    }
}
