//! Which key a record has, and which partition it goes to. Pure.

use crate::record::Kept;

/// The user, or the journal for what is about none.
pub(super) fn key(head: &Kept) -> &str {
    head.user_id().unwrap_or(head.journal())
}

/// As the Java client's default: `toPositive(murmur2(key)) % partitions`.
pub(super) fn partition(key: &[u8], partitions: usize) -> usize {
    let hash = murmur2(key) & 0x7fff_ffff;
    hash as usize % partitions.max(1)
}

/// 32-bit MurmurHash2 with the seed that Kafka uses (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let word = word.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ word >> 24).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Head;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
        // 479,470,107 = 159,823,369 * 3 + 0; -973,932,308 with the sign bit cleared is 1,173,551,340 = 391,183,780 * 3 + 0.
        assert_eq!((partition(b"abc", 3), partition(b"21", 3), partition(b"21", 7)), (0, 0, 1_173_551_340 % 7));
    }

    #[test]
    fn a_key_is_the_user_or_the_journal() {
        let of = |event: &str| {
            let line = format!(
                r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":1,"kind":"event","received_at":"2026-11-22T06:40:00.000000Z"{event},"hash":"ab"}}"#
            );
            key(&Head::read(line.as_bytes()).unwrap().keep()).to_owned()
        };
        assert_eq!(of(r#","event":{"id":"x","user_id":"u-\"1"}"#), "u-\"1");
        assert_eq!(of(r#","event":{"id":"x"}"#), "3f9a1c2e");
        // In order behind the user's events.
        assert_eq!(of(r#","incident":{"severity":"high","user_id":"u-2"}"#), "u-2");
        assert_eq!(of(r#","incident":{"severity":"high"}"#), "3f9a1c2e");
        assert_eq!(of(""), "3f9a1c2e");
    }
}
