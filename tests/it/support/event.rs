//! Unique `jwt.refresh` bodies as FusionAuth writes them (sorted keys, compact, nulls left out) and their signatures.
//!
//! Every token is random; the issuer is `fixture.invalid`, so that nothing here can pass for a live one.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{RngExt as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// One event to send.
#[derive(Clone)]
pub struct Event {
    /// `event.id`.
    pub id: String,
    /// The request body.
    pub body: Vec<u8>,
    /// The tokens in it: none may be found anywhere afterwards.
    pub tokens: Vec<String>,
    /// What it says about the person that is not to be kept.
    pub unkept: Vec<String>,
}

fn uuid(rng: &mut StdRng) -> Uuid {
    Uuid::from_u128(rng.random())
}

/// `bytes` random bytes as base64url.
fn opaque(rng: &mut StdRng, bytes: usize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode((0..bytes).map(|_| rng.random()).collect::<Vec<u8>>())
}

/// Milliseconds since 1970.
pub fn now_ms() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()
}

/// A session that refreshes: each event names the token that the one before issued.
pub struct Session {
    person: Person,
    token: String,
    host: u8,
}

struct Person {
    user: Uuid,
    tenant: Uuid,
    application: Uuid,
    session: Uuid,
    email: String,
    name: String,
    signed_in_s: u128,
}

impl Person {
    fn new(rng: &mut StdRng) -> Self {
        let (user, tenant, application, session) = (uuid(rng), uuid(rng), uuid(rng), uuid(rng));
        let (email, name) = (format!("{}@mail.invalid", opaque(rng, 9)), format!("Name {}", opaque(rng, 9)));
        let signed_in_s = now_ms() / 1_000 - 10_800;
        Self { user, tenant, application, session, email, name, signed_in_s }
    }

    /// An access token with the claims that FusionAuth gives one.
    fn access_token(&self, rng: &mut StdRng, issued_s: u128) -> String {
        let header = r#"{"alg":"HS256","gty":["refresh_token"],"kid":"fixture-key","typ":"JWT"}"#;
        let Self { user, tenant, application, session, email, name, signed_in_s } = self;
        let (id, expires_s) = (uuid(rng), issued_s + 3_600);
        let claims = format!(
            concat!(
                r#"{{"aud":"{application}","auth_time":{signed_in},"#,
                r#""authenticationType":"REFRESH_TOKEN","email":"{email}","exp":{expires},"iat":{issued},"#,
                r#""iss":"fixture.invalid","jti":"{id}","name":"{name}","roles":["user"],"scope":"offline_access","#,
                r#""sid":"{session}","sub":"{user}","tid":"{tenant}"}}"#
            ),
            application = application,
            signed_in = signed_in_s,
            email = email,
            expires = expires_s,
            issued = issued_s,
            id = id,
            name = name,
            session = session,
            user = user,
            tenant = tenant,
        );
        let (header, claims) = (BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        format!("{header}.{claims}.{}", opaque(rng, 32))
    }
}

impl Event {
    /// A new event of a new person, now.
    pub fn new(rng: &mut StdRng) -> Self {
        let now = now_ms();
        Session::new(rng, now - 3_600_000).refresh(rng, now)
    }
}

impl Session {
    /// A new person's, in a tenant and an application of its own; its first token is issued at `at_ms`.
    pub fn new(rng: &mut StdRng, at_ms: u128) -> Self {
        let person = Person::new(rng);
        let token = person.access_token(rng, at_ms / 1_000);
        Self { person, token, host: rng.random_range(1..255) }
    }

    /// The same person's in another's tenant and application.
    pub fn beside(mut self, other: &Self, rng: &mut StdRng, at_ms: u128) -> Self {
        (self.person.tenant, self.person.application) = (other.person.tenant, other.person.application);
        self.token = self.person.access_token(rng, at_ms / 1_000);
        self
    }

    /// Its next refresh.
    pub fn refresh(&mut self, rng: &mut StdRng, now: u128) -> Event {
        let id = uuid(rng).to_string();
        let person = &self.person;
        let issued = person.access_token(rng, now / 1_000);
        let previous = std::mem::replace(&mut self.token, issued.clone());
        let refresh = opaque(rng, 48);
        let note = format!("note {}", opaque(rng, 9));
        let body = format!(
            concat!(
                r#"{{"event":{{"applicationId":"{application}","createInstant":{now},"id":"{id}","#,
                r#""info":{{"data":{{"note":"{note}"}},"deviceName":"desk","#,
                r#""deviceType":"BROWSER","ipAddress":"192.0.2.{host}","location":{{"city":"Turku","country":"FI","#,
                r#""displayString":"Turku, FI","latitude":60.45,"longitude":22.27,"region":"19","zipcode":"20100"}},"#,
                r#""os":"Linux","userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}},"#,
                r#""linkedObjectId":"{user}","original":"{original}","refreshToken":"{refresh}","tenantId":"{tenant}","#,
                r#""token":"{token}","type":"jwt.refresh","userId":"{user}"}}}}"#
            ),
            application = person.application,
            now = now,
            id = id,
            note = note,
            host = self.host,
            user = person.user,
            original = previous,
            refresh = refresh,
            tenant = person.tenant,
            token = issued,
        );
        let unkept = vec![person.email.clone(), person.name.clone(), note];
        Event { id, body: body.into_bytes(), tokens: vec![previous, issued, refresh], unkept }
    }
}

/// A webhook key that both sides know.
#[derive(Clone)]
pub struct Signer {
    key: Vec<u8>,
}

impl Signer {
    /// A signer with these key bytes.
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec() }
    }

    /// The value of `X-FusionAuth-Signature-JWT` for a body: HS256 (RFC 7515, RFC 7518 section 3.2) over
    /// `request_body_sha256` in padded base64.
    pub fn sign(&self, body: &[u8]) -> String {
        let digest = BASE64_STANDARD.encode(Sha256::digest(body));
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"fixture","typ":"JWT"}"#);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"request_body_sha256":"{digest}"}}"#));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap();
        mac.update(format!("{header}.{claims}").as_bytes());
        format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

#[test]
fn a_signature_is_what_openssl_says() {
    // H=$(printf '%s' '{"alg":"HS256","kid":"fixture","typ":"JWT"}' | basenc --base64url -w0 | tr -d =)
    // C=$(printf '{"request_body_sha256":"%s"}' $(printf hello | openssl dgst -sha256 -binary | base64) | basenc --base64url -w0 | tr -d =)
    // echo $H.$C.$(printf '%s' $H.$C | openssl dgst -sha256 -hmac key -binary | basenc --base64url -w0 | tr -d =)
    let expected = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImZpeHR1cmUiLCJ0eXAiOiJKV1QifQ.eyJyZXF1ZXN0X2JvZHlfc2hhMjU2IjoiTFBKTnVsK3dvdzRtNkRzcXhibmluaHNXSGx3ZnAwSmVjd1F6WXBPTG1DUT0ifQ.NgosXMcpU_G8C-XmNKlIPzyhHc-UJKP858tFYs72c0U";
    assert_eq!(Signer::new(b"key").sign(b"hello"), expected);
}

#[test]
fn an_event_is_json_of_the_documented_size() {
    use rand::SeedableRng as _;
    let event = Event::new(&mut StdRng::seed_from_u64(1));
    let read: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!(read["event"]["id"], event.id.as_str());
    assert!((1_700..=2_300).contains(&event.body.len()), "{}", event.body.len());
}
