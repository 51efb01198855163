//! Finds any 12-byte piece of any secret in any bytes, plain, in base64, in base64url and in hex.

use std::collections::HashMap;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Bytes of a secret that must not be seen together.
const PIECE_BYTES: usize = 12;
/// What the pieces are long in their encodings: plain, base64 (4 characters for 3 bytes), hex.
const LENGTHS: [usize; 3] = [PIECE_BYTES, PIECE_BYTES / 3 * 4, PIECE_BYTES * 2];
/// Slots of the sieve that spares most places a look-up.
const SLOTS: usize = 1 << 24;

/// The pieces of all secrets.
pub struct Needles {
    pieces: HashMap<Vec<u8>, String>,
    sieve: Vec<bool>,
}

/// The slot of the 8 bytes at the start of `bytes`.
fn slot(bytes: &[u8]) -> usize {
    let word = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    // Fibonacci hashing: the top bits of the product with 2^64 / golden ratio.
    usize::try_from(word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).unwrap() % SLOTS
}

impl Needles {
    /// None yet.
    pub fn new() -> Self {
        Self { pieces: HashMap::new(), sieve: vec![false; SLOTS] }
    }

    /// Every piece of a secret of at least 12 bytes; `name` is what a find is called.
    pub fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= PIECE_BYTES, "{name} is too short to look for");
        for (at, piece) in secret.as_bytes().windows(PIECE_BYTES).enumerate() {
            let hex = hex::encode(piece);
            for (how, form) in [
                ("plain", piece.to_vec()),
                ("base64", BASE64_STANDARD_NO_PAD.encode(piece).into_bytes()),
                ("base64url", BASE64_URL_SAFE_NO_PAD.encode(piece).into_bytes()),
                ("hex", hex.to_ascii_uppercase().into_bytes()),
                ("hex", hex.into_bytes()),
            ] {
                self.sieve[slot(&form)] = true;
                self.pieces.insert(form, format!("{name}, {how}, byte {at}"));
            }
        }
    }

    /// The first find in `bytes`: where, and what.
    pub fn find(&self, bytes: &[u8]) -> Option<(usize, &str)> {
        for at in 0..(bytes.len() + 1).saturating_sub(PIECE_BYTES) {
            let rest = &bytes[at..];
            if self.sieve[slot(rest)] {
                let found = LENGTHS.iter().find_map(|len| self.pieces.get(rest.get(..*len)?));
                if let Some(name) = found {
                    return Some((at, name));
                }
            }
        }
        None
    }
}

#[test]
fn a_piece_is_found_in_every_encoding_and_at_every_place() {
    let secret = "abcdefghijklmnopqrstuvwxyz0123456789";
    let mut needles = Needles::new();
    needles.add("the secret", secret);
    // Encodings by coreutils: printf ghijklmnopqr | base64; … | xxd -p
    for hidden in ["klmnopqrstuv", "Z2hpamtsbW5vcHFy", "6768696a6b6c6d6e6f707172", "6768696A6B6C6D6E6F707172"] {
        for before in 0..5 {
            let hay = format!("{}{hidden}#", "#".repeat(before));
            assert!(needles.find(hay.as_bytes()).is_some_and(|(at, _)| at == before), "{hay}");
        }
        assert!(needles.find(&hidden.as_bytes()[1..]).is_none(), "11 bytes of {hidden} are no piece");
    }
    assert!(needles.find(b"").is_none() && needles.find(b"abcdefghijk").is_none());
}
