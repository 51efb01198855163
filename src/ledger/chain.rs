//! What a line of the journal is: a record's JSON whose last members are `prev` and `hash`, then one LF.
//!
//! `hash` is the lower-case hex SHA-256 of the line's bytes before the last `,"hash":`; `prev` is the hash of the line
//! before. So `sha256sum` is enough to check it. Pure functions over bytes.

use sha2::{Digest, Sha256};

use crate::record::{Seq, ZERO_HASH};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash before the first line.
pub const GENESIS: Hash = [0; 32];

/// `,"hash":"` + 64 hex + `"}` + LF.
const HASH_MEMBER_LEN: usize = 9 + 64 + 2 + 1;
/// `,"prev":"` + 64 hex + `"`.
const PREV_MEMBER_LEN: usize = 9 + 64 + 1;

/// Appends `prev`, `hash` and LF to a record's JSON (an object, not empty, without them) that starts at `start`.
/// Returns the line's hash.
pub fn seal_line(buffer: &mut Vec<u8>, start: usize, prev: &Hash) -> Hash {
    buffer.pop();
    buffer.extend_from_slice(b",\"prev\":\"");
    push_hex(buffer, prev);
    buffer.push(b'"');
    let hash: Hash = Sha256::digest(&buffer[start..]).into();
    buffer.extend_from_slice(b",\"hash\":\"");
    push_hex(buffer, &hash);
    buffer.extend_from_slice(b"\"}\n");
    hash
}

fn push_hex(buffer: &mut Vec<u8>, bytes: &Hash) {
    let mut text = [0; 64];
    // The lengths fit by type.
    let _ = hex::encode_to_slice(bytes, &mut text);
    buffer.extend_from_slice(&text);
}

/// A line whose form and own hash are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its seq.
    pub seq: Seq,
    /// The hash it says the line before has.
    pub prev: Hash,
    /// Its own.
    pub hash: Hash,
}

/// Checks one line, with its LF: its ending, its own hash, its seq. `None` = not a line.
pub fn check_line(line: &[u8]) -> Option<Checked> {
    let body_len = line.len().checked_sub(HASH_MEMBER_LEN)?;
    let (body, tail) = line.split_at(body_len);
    let stated = tail.strip_prefix(b",\"hash\":\"")?.strip_suffix(b"\"}\n")?;
    let prev =
        body.get(body.len().checked_sub(PREV_MEMBER_LEN)?..)?.strip_prefix(b",\"prev\":\"")?.strip_suffix(b"\"")?;
    let hash: Hash = Sha256::digest(body).into();
    if parse_hash(stated)? != hash {
        return None;
    }
    Some(Checked { seq: seq_of(line)?, prev: parse_hash(prev)?, hash })
}

/// 64 lower-case hex digits.
pub fn parse_hash(text: &[u8]) -> Option<Hash> {
    if text.len() != ZERO_HASH.len() || text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut hash = GENESIS;
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// The seq, read from the head of a line without a parse: `seq` is the first member that is a bare number, and the
/// members before it (`schema`, `journal`, `node`) are strings, whose quotes are escaped.
pub fn seq_of(line: &[u8]) -> Option<Seq> {
    const KEY: &[u8] = b"\",\"seq\":";
    let from = memchr::memmem::find(line, KEY)? + KEY.len();
    let digits = line[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&line[from..from + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_checks_with_sha256_of_another_hand() {
        let mut line =
            br#"{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a","seq":1,"kind":"event"}"#.to_vec();
        let hash = seal_line(&mut line, 0, &GENESIS);
        // printf '%s' '<the line before ,"hash":>' | sha256sum
        assert_eq!(hex::encode(hash), "cca1019c567ff3148d263fae34a296b6a569ee951440e03aee70f4fbd877c782");
        let checked = check_line(&line).unwrap();
        assert_eq!((checked.seq, checked.prev, checked.hash), (1, GENESIS, hash));
    }

    #[test]
    fn every_single_byte_change_shows() {
        let mut line =
            br#"{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a","seq":12,"kind":"event"}"#.to_vec();
        seal_line(&mut line, 0, &[7; 32]);
        for at in 0..line.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bad = line.clone();
                bad[at] ^= flip;
                assert_eq!(check_line(&bad), None, "byte {at} xor {flip}");
            }
        }
    }
}
