//! Keys of what is remembered: 64 bits each, the same on every machine and in every run.
//!
//! FNV-1a with a final mix (Austin Appleby's 64-bit finaliser). Whose session and user it is, ids of the identity provider's
//! and keyed fingerprints say: nobody outside can aim for a collision there, and one by chance needs billions of entries.
//! Addresses, places and user agents are the client's, and two of them can be made to collide: who does so looks like
//! something that they could have sent as well.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The key of some parts, in order; parts are told apart.
pub fn key(parts: &[&str]) -> u64 {
    let mut hash = OFFSET;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    mix(hash)
}

/// The key of a number.
pub fn key_of(number: u64) -> u64 {
    mix(number ^ OFFSET)
}

/// The low half: for places where memory counts and a rare collision does no harm.
pub const fn short(key: u64) -> u32 {
    (key & 0xffff_ffff) as u32
}

/// The low quarter.
pub const fn tiny(key: u64) -> u16 {
    (key & 0xffff) as u16
}

const fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a", ""]), key(&["a"]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    }
}
