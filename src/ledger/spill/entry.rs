//! An entry as it lies in a file: a CRC-32 of what follows, the number of its bytes, of what it is, its key, the seq of the
//! event that it made room for (little-endian, 4, 4, 1, 8 and 8 bytes), and its bytes.

use std::io;

use crate::{
    detect::state::spilled::{Kind, Spilled},
    record::Seq,
};

/// Bytes before those of the entry itself.
pub const HEAD_BYTES: usize = 25;
/// Bytes of an entry at most: a session in its longest form has about 600.
const ENTRY_BYTES_MAX: usize = 4_096;

/// Puts an entry behind what is there.
pub fn encode(entry: &Spilled, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend([0; 4]);
    to.extend(u32::try_from(entry.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    to.push(entry.kind as u8);
    to.extend(entry.key.to_le_bytes());
    to.extend(entry.seq.to_le_bytes());
    to.extend(&entry.bytes);
    let crc = crc32fast::hash(&to[start + 4..]);
    to[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an entry is damaged")
}

/// How many bytes the entry has that begins here.
pub fn entry_bytes(bytes: &[u8]) -> io::Result<usize> {
    let len = bytes.get(4..8).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes).ok_or_else(damaged)?;
    let whole = usize::try_from(len).map_or(usize::MAX, |len| len.saturating_add(HEAD_BYTES));
    if whole <= ENTRY_BYTES_MAX { Ok(whole) } else { Err(damaged()) }
}

/// The entry that begins here, and how many bytes it has.
pub fn decode(bytes: &[u8]) -> io::Result<(Spilled, usize)> {
    let whole = entry_bytes(bytes)?;
    let bytes = bytes.get(..whole).ok_or_else(damaged)?;
    let number = |at: usize| bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
    if bytes[..4] != crc32fast::hash(&bytes[4..]).to_le_bytes() {
        return Err(damaged());
    }
    let kind = match bytes[8] {
        0 => Kind::Session,
        1 => Kind::User,
        _ => return Err(damaged()),
    };
    let (Some(key), Some(seq)): (Option<u64>, Option<Seq>) = (number(9), number(17)) else { return Err(damaged()) };
    Ok((Spilled { kind, key, seq, bytes: bytes[HEAD_BYTES..].to_vec() }, whole))
}
