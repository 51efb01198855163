//! A broker's side of SASL, which the real one here does not have: PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677), inside of
//! Kafka's SaslHandshake (version 1) and SaslAuthenticate (version 2). By hand, after those documents.

use std::num::NonZeroU32;

use aws_lc_rs::{
    digest::{Algorithm, SHA256, SHA512, digest},
    hmac, pbkdf2,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// <https://kafka.apache.org/protocol#protocol_error_codes>
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const SASL_AUTHENTICATION_FAILED: i16 = 58;
/// The least that RFC 7677 asks for.
const ITERATIONS: u32 = 4_096;
const SALT: &[u8] = b"fixture-salt-0123";

/// Who is let in, and how: user `fixture`.
#[derive(Clone, Copy)]
pub struct Login {
    pub mechanism: &'static str,
    pub password: &'static str,
    /// Lets everybody in and proves nothing, as one does that does not know the password itself.
    pub is_impostor: bool,
}

/// What to do with a request.
pub enum Step {
    Pass,
    Answer(Vec<u8>),
    Close,
}

/// One connection.
#[derive(Default)]
pub struct Session {
    is_known: bool,
    scram: Option<Scram>,
}

impl Session {
    pub fn step(&mut self, request: &[u8], login: Option<Login>) -> Step {
        let Some(login) = login else { return Step::Pass };
        match request[1] {
            17 => Step::Answer(handshake(request, login.mechanism)),
            36 => Step::Answer(self.authenticate(request, login)),
            // Which versions there are may be asked for by anybody.
            18 => Step::Pass,
            _ if self.is_known => Step::Pass,
            _ => Step::Close,
        }
    }

    fn authenticate(&mut self, request: &[u8], login: Login) -> Vec<u8> {
        assert_eq!(request[2..4], [0, 2], "version 2");
        // Behind the client's id and the tags of the head: bytes, their length and one more before them.
        let said = &request[after_client(request) + 1..];
        let (head, len) = if said[0] < 0x80 {
            (1, usize::from(said[0]) - 1)
        } else {
            (2, usize::from(said[0] & 0x7f) + (usize::from(said[1]) << 7) - 1)
        };
        let said = str::from_utf8(&said[head..head + len]).unwrap();
        let answer = match (login.mechanism, self.scram.take()) {
            ("PLAIN", _) => {
                self.is_known = said.ends_with(&format!("\0fixture\0{}", login.password));
                self.is_known.then(String::new)
            }
            (mechanism, None) => {
                let scram = Scram::begin(hash(mechanism), said, SALT, "fixture-nonce");
                let answer = scram.as_ref().map(|scram| scram.server_first.clone());
                self.scram = scram;
                answer
            }
            (_, Some(scram)) if login.is_impostor => {
                self.is_known = true;
                Some(format!("v={}", STANDARD.encode(digest(scram.hash, b"a guess"))))
            }
            (_, Some(scram)) => {
                let proven = scram.end(said, login.password);
                self.is_known = proven.is_some();
                proven
            }
        };
        // Tags of the head; error, no message, bytes, no lifetime, tags.
        let code = if answer.is_some() { 0 } else { SASL_AUTHENTICATION_FAILED };
        let bytes = answer.unwrap_or_default();
        let mut len = bytes.len() + 1;
        let mut length = Vec::new();
        while len >= 0x80 {
            length.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
            len >>= 7;
        }
        length.push(u8::try_from(len).unwrap());
        [&request[4..8], &[0], &code.to_be_bytes(), &[0], &length, bytes.as_bytes(), &[0; 8], &[0]].concat()
    }
}

/// Where the client's id ends.
fn after_client(request: &[u8]) -> usize {
    10 + usize::try_from(i16::from_be_bytes([request[8], request[9]])).unwrap()
}

/// Version 1: an error or none, and the one mechanism that there is.
fn handshake(request: &[u8], mechanism: &str) -> Vec<u8> {
    let asked = &request[after_client(request) + 2..];
    let code = if asked == mechanism.as_bytes() { 0 } else { UNSUPPORTED_SASL_MECHANISM };
    let len = i16::try_from(mechanism.len()).unwrap();
    [&request[4..8], &code.to_be_bytes(), &1_i32.to_be_bytes(), &len.to_be_bytes(), mechanism.as_bytes()].concat()
}

fn hash(mechanism: &str) -> &'static Algorithm {
    if mechanism == "SCRAM-SHA-512" { &SHA512 } else { &SHA256 }
}

/// One exchange of SCRAM, after its first two messages.
struct Scram {
    hash: &'static Algorithm,
    salt: Vec<u8>,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

impl Scram {
    /// `None` where the first message is not one, or of somebody else.
    fn begin(hash: &'static Algorithm, client_first: &str, salt: &[u8], more: &str) -> Option<Self> {
        // No channel binding, no other identity.
        let bare = client_first.strip_prefix("n,,")?;
        let (name, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
        (["fixture", "user"].contains(&name) && !nonce.is_empty()).then_some(())?;
        let nonce = format!("{nonce}{more}");
        let server_first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(salt));
        Some(Self { hash, salt: salt.to_owned(), nonce, client_first_bare: bare.to_owned(), server_first })
    }

    /// The server's last message, if the client proved that it knows the password.
    fn end(&self, client_final: &str, password: &str) -> Option<String> {
        let (without_proof, proof) = client_final.rsplit_once(",p=")?;
        (without_proof == format!("c=biws,r={}", self.nonce)).then_some(())?;
        let (of_hmac, of_pbkdf2) = if *self.hash == SHA512 {
            (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512)
        } else {
            (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256)
        };
        let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(of_hmac, key), text).as_ref().to_vec();
        let mut salted = vec![0; self.hash.output_len()];
        pbkdf2::derive(of_pbkdf2, NonZeroU32::new(ITERATIONS).unwrap(), &self.salt, password.as_bytes(), &mut salted);
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let client_key = mac(&salted, b"Client Key");
        let signature = mac(digest(self.hash, &client_key).as_ref(), message.as_bytes());
        let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        (STANDARD.decode(proof).ok()? == expected).then_some(())?;
        Some(format!("v={}", STANDARD.encode(mac(&mac(&salted, b"Server Key"), message.as_bytes()))))
    }
}

/// The example of RFC 7677, section 3.
#[test]
fn the_published_exchange_is_taken() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let more = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let scram = Scram::begin(&SHA256, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", &salt, more).unwrap();
    assert_eq!(scram.server_first, format!("r=rOprNGfwEbeRWgbNEkqO{more},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    let last = format!("c=biws,r=rOprNGfwEbeRWgbNEkqO{more},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_eq!(scram.end(&last, "pencil").as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    assert_eq!(scram.end(&last, "pencils"), None);
}
