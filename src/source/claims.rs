//! Where a raw token ends: what is kept of it is a keyed fingerprint and a few claims by name.
//!
//! Tokens are decoded, not verified: they are evidence about a refresh, not proof. Whatever holds a token or looks
//! like one is left out, wherever it stands. Knows no source.

use base64::{Engine, alphabet, engine::general_purpose::GeneralPurpose, engine::general_purpose::PAD_INDIFFERENT};
use serde::{Deserialize, Deserializer, de::MapAccess};
use zeroize::Zeroizing;

use super::{
    json::{Object, Text, Value, object, read, too_deep},
    needles::Needles,
};
use crate::{
    event::{Claims, Roles, Token},
    secret::Fingerprinter,
};

/// Characters of a kept claim; a longer one is dropped, not cut: half an id misleads.
const CLAIM_CHARS_MAX: usize = 256;
/// Of a scope, which is a list.
const SCOPE_CHARS_MAX: usize = 4_096;
/// Values of `aud` and `gty`; with more, the claim is dropped.
const VALUES_MAX: usize = 16;
/// Base64url characters of a token's header or claims; a larger token has a fingerprint only.
const PART_BYTES_MAX: usize = 64 * 1_024;
/// Past this an integral double is no longer exact (2^53).
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Real tokens are encoded sloppily at times: padding and loose last bits are let pass.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, PAD_INDIFFERENT.with_decode_allow_trailing_bits(true));

object! {
    /// A token's header.
    Header at "" { "kid" => kid: Value, "alg" => alg: Value, "gty" => gty: Value }
}

object! {
    /// A token's claims.
    Payload at "" {
        "iss" => iss: Value, "sub" => sub: Value, "aud" => aud: Value, "exp" => exp: Value, "iat" => iat: Value,
        "jti" => jti: Value, "sid" => sid: Value, "auth_time" => auth_time: Value, "tid" => tid: Value,
        "applicationId" => application_id: Value, "authenticationType" => authentication_type: Value,
        "scope" => scope: Value, "roles" => roles: Value,
    }
}

/// The secrets of one body, to keep them out of everything that is stored.
pub(in crate::source) struct Secrets<'a>(Needles<'a>);

/// Whether it has more than `max` characters. Few texts have to be counted: a character has 1 to 4 bytes.
pub(in crate::source) fn longer_than(text: &str, max: usize) -> bool {
    text.len() > max && text.chars().count() > max
}

impl<'a> Secrets<'a> {
    pub(in crate::source) fn new(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Needles::new(tokens))
    }

    /// Whether the text is, holds or looks like a token, or a piece of one.
    pub(in crate::source) fn in_text(&self, text: &str) -> bool {
        self.0.are_in(text)
    }

    /// Its fingerprint and, if it is a JWT, its kept claims.
    pub(in crate::source) fn token(&self, raw: &str, fingerprints: &Fingerprinter) -> Token {
        Token {
            fingerprint: Some(fingerprints.fingerprint(raw.as_bytes())),
            old_fingerprints: fingerprints.old_fingerprints(raw.as_bytes()),
            claims: self.claims(raw, fingerprints),
        }
    }

    fn claims(&self, raw: &str, fingerprints: &Fingerprinter) -> Option<Claims> {
        let mut dots = memchr::memchr_iter(b'.', raw.as_bytes());
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else { return None };
        let (head, body) = (&raw[..first], &raw[first + 1..second]);
        let (head, body) = (decode(head)?, decode(body)?);
        let (header, payload) = (parse::<Header<'_>>(&head)?, parse::<Payload<'_>>(&body)?);
        let whole = matches!((&header.shape, &payload.shape), (Value::Object, Value::Object));
        if !whole || !header.twice.is_empty() || !payload.twice.is_empty() {
            // A name that stands twice means different things to different readers.
            return None;
        }
        let claims = Claims {
            iss: self.text(&payload.iss),
            sub: self.text(&payload.sub),
            aud: self.texts(&payload.aud),
            exp: integer(&payload.exp),
            iat: integer(&payload.iat),
            jti: self.text(&payload.jti),
            sid: self.text(&payload.sid),
            auth_time: integer(&payload.auth_time),
            tid: self.text(&payload.tid),
            application_id: self.text(&payload.application_id),
            authentication_type: self.text(&payload.authentication_type),
            scope: self.scope(&payload.scope),
            roles: roles(&payload.roles, fingerprints),
            kid: self.text(&header.kid),
            alg: self.text(&header.alg),
            gty: self.texts(&header.gty),
        };
        (!claims.is_empty()).then_some(claims)
    }

    fn keeps(&self, text: &str, chars: usize) -> bool {
        !text.is_empty() && !longer_than(text, chars) && !self.in_text(text)
    }

    fn text(&self, claim: &Option<Value<'_>>) -> Option<String> {
        match claim {
            Some(Value::Text(text)) if self.keeps(text, CLAIM_CHARS_MAX) => Some(text.to_string()),
            _ => None,
        }
    }

    fn texts(&self, claim: &Option<Value<'_>>) -> Vec<String> {
        match claim {
            Some(Value::Text(text)) if self.keeps(text, CLAIM_CHARS_MAX) => vec![text.to_string()],
            Some(Value::Texts(list)) if list.len() <= VALUES_MAX => {
                list.iter().filter(|text| self.keeps(text, CLAIM_CHARS_MAX)).map(|text| text.to_string()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn scope(&self, claim: &Option<Value<'_>>) -> Option<String> {
        let scope = match claim {
            Some(Value::Text(text)) => Zeroizing::new(text.to_string()),
            Some(Value::Texts(list)) => joined(list, " "),
            _ => return None,
        };
        self.keeps(&scope, SCOPE_CHARS_MAX).then(|| scope.to_string())
    }
}

fn joined(list: &[Text<'_>], separator: &str) -> Zeroizing<String> {
    let parts: Vec<&str> = list.iter().map(|text| &**text).collect();
    Zeroizing::new(parts.join(separator))
}

fn roles(claim: &Option<Value<'_>>, fingerprints: &Fingerprinter) -> Option<Roles> {
    let Some(Value::Texts(list)) = claim else { return None };
    let mut names: Vec<&str> = list.iter().map(|text| &**text).collect();
    names.sort_unstable();
    let lines = Zeroizing::new(names.join("\n"));
    Some(Roles { count: names.len(), digest: fingerprints.fingerprint(lines.as_bytes()) })
}

fn integer(claim: &Option<Value<'_>>) -> Option<i64> {
    match claim {
        Some(Value::Integer(number)) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53, as the guard says")]
        Some(Value::Float(number)) if number.fract() == 0.0 && number.abs() <= EXACT_MAX => Some(*number as i64),
        _ => None,
    }
}

fn decode(part: &str) -> Option<Zeroizing<Vec<u8>>> {
    if part.len() > PART_BYTES_MAX {
        return None;
    }
    LENIENT.decode(part).ok().map(Zeroizing::new)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let text = std::str::from_utf8(json).ok()?;
    if too_deep(text) {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    fn made(header: &serde_json::Value, payload: &str, engine: &GeneralPurpose) -> String {
        format!("{}.{}.bm90LWEtc2lnbmF0dXJl", engine.encode(header.to_string()), engine.encode(payload))
    }

    fn claims(payload: &str) -> serde_json::Value {
        let raw = made(&json!({"alg": "RS256"}), payload, &URL_SAFE_NO_PAD);
        let token = Secrets::new([raw.as_str()]).token(&raw, &Fingerprinter::new(&[Secret::new(vec![1; 32])]));
        serde_json::to_value(token.claims).unwrap()
    }

    #[test]
    fn only_named_claims_of_the_right_kind_are_kept() {
        let long = "x".repeat(257);
        for (payload, kept) in [
            (r#"{"sub":"a","email":"b@example.com","data":{"sid":"c"}}"#.to_owned(), json!({"sub": "a"})),
            (r#"{"aud":"a","scope":"x y"}"#.to_owned(), json!({"aud": ["a"], "scope": "x y"})),
            (r#"{"aud":["a","b"],"scope":["x","y"]}"#.to_owned(), json!({"aud": ["a", "b"], "scope": "x y"})),
            (r#"{"aud":["a",1],"sub":7,"exp":"1","iat":1.5}"#.to_owned(), json!({})),
            (
                r#"{"exp":1588353460,"iat":1.588353400e9,"auth_time":1.0}"#.to_owned(),
                json!({"exp": 1_588_353_460, "iat": 1_588_353_400, "auth_time": 1}),
            ),
            (format!(r#"{{"sub":"{long}","jti":"{}"}}"#, &long[1..]), json!({"jti": &long[1..]})),
            (r#"{"sub":"","jti":null}"#.to_owned(), json!({})),
            (format!(r#"{{"scope":"{}"}}"#, "s ".repeat(2_048)), json!({"scope": "s ".repeat(2_048)})),
            (format!(r#"{{"scope":"{}x"}}"#, "s ".repeat(2_048)), json!({})),
            (
                r#"{"sid":"eyJhbGciOiJub25lIn0.e30.","jti":"Bearer eyJh.eyJi","tid":"eyJh..aXY.Y3Q.dGFn"}"#.to_owned(),
                json!({}),
            ),
            (r#"{"sub":"eyJ is a prefix"}"#.to_owned(), json!({"sub": "eyJ is a prefix"})),
        ] {
            let mut expected = kept;
            expected["alg"] = json!("RS256");
            assert_eq!(claims(&payload), expected, "{payload}");
        }
        for unreadable in [r#"{"sub":"a","sub":"b"}"#, "[]", "no", r#"{"sub":"a"} {}"#, ""] {
            assert_eq!(claims(unreadable), json!(null), "{unreadable}");
        }
    }

    #[test]
    fn padding_is_let_pass_and_an_opaque_token_has_no_claims() {
        let fingerprints = Fingerprinter::new(&[]);
        let padded = made(&json!({"alg": "RS256", "kid": "k"}), r#"{"sub":"a"}"#, &URL_SAFE);
        assert!(padded.contains('='));
        let token = Secrets::new([padded.as_str()]).token(&padded, &fingerprints);
        assert_eq!(token.claims.unwrap().sub.as_deref(), Some("a"));
        for opaque in ["", "a", "a.b", "a.b.c", "a.b.c.d.e", "....", "e30.e30.e30.e30"] {
            assert_eq!(Secrets::new([opaque]).token(opaque, &fingerprints).claims, None, "{opaque}");
        }
    }

    #[test]
    fn a_claim_that_holds_any_token_of_the_body_is_dropped() {
        let refresh = "refresh-token-0123456789";
        let raw = made(&json!({"kid": "k"}), &format!(r#"{{"jti":"x{refresh}","sid":"s"}}"#), &URL_SAFE_NO_PAD);
        let token = Secrets::new([raw.as_str(), refresh]).token(&raw, &Fingerprinter::new(&[]));
        assert_eq!(serde_json::to_value(token.claims).unwrap(), json!({"sid": "s", "kid": "k"}));
    }
}
