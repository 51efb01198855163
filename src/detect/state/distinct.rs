//! How many different ones: a small HyperLogLog (Flajolet et al. 2007), 64 registers, standard error 13 %.

use serde::{Deserialize, Serialize};

const REGISTERS: usize = 64;
/// The bias correction for 64 registers (Flajolet et al., figure 3).
const ALPHA: f64 = 0.709;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct(#[serde(with = "registers")] [u8; REGISTERS]);

impl Default for Distinct {
    fn default() -> Self {
        Self([0; REGISTERS])
    }
}

impl Distinct {
    /// Counts a key, if it was not counted before.
    pub fn add(&mut self, key: u64) {
        let register = (key & (REGISTERS as u64 - 1)) as usize;
        let rank = ((key >> 6) | 1 << 58).trailing_zeros() as u8 + 1;
        self.0[register] = self.0[register].max(rank);
    }

    /// Whether this key is the only one there is.
    pub fn is_only(&self, key: u64) -> bool {
        let mut only = Self::default();
        only.add(key);
        *self == only
    }

    /// About how many.
    pub fn estimate(&self) -> f64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| 1.0 / (1_u64 << rank) as f64).sum();
        let raw = ALPHA * registers * registers / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count();
        if raw <= 2.5 * registers && empty > 0 { registers * libm::log(registers / empty as f64) } else { raw }
    }
}

/// serde knows arrays up to 32.
mod registers {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use super::REGISTERS;

    pub(super) fn serialize<S: Serializer>(registers: &[u8; REGISTERS], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(registers)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; REGISTERS], D::Error> {
        let bytes = <Vec<u8>>::deserialize(from)?;
        bytes.try_into().map_err(|_| D::Error::custom("not 64 registers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::key::key_of;

    #[test]
    fn it_counts_within_three_standard_errors() {
        for many in [1_u64, 10, 100, 1_000, 100_000] {
            let mut distinct = Distinct::default();
            for key in (0..many).chain(0..many).map(key_of) {
                distinct.add(key);
            }
            let off = (distinct.estimate() - many as f64).abs() / many as f64;
            assert!(off < 0.4, "{many}: {}", distinct.estimate());
        }
        assert_eq!(Distinct::default().estimate(), 0.0);
    }

    #[test]
    fn one_key_is_told_from_none_and_from_two() {
        let mut distinct = Distinct::default();
        assert!(!distinct.is_only(key_of(1)));
        (0..3).for_each(|_| distinct.add(key_of(1)));
        assert!(distinct.is_only(key_of(1)) && !distinct.is_only(key_of(2)));
        distinct.add(key_of(2));
        assert!(!distinct.is_only(key_of(1)));
    }
}
