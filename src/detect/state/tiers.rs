//! A table of which only a part is in memory: what is used least goes out, as bytes for somebody to keep, and comes back
//! when its next event comes, exactly as it was. What lies where is a part of the state: two who saw the same events agree
//! on it, so that it never matters what became of the bytes but for events that say so (`evidence.cold`).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, ser::SerializeSeq};

use super::{
    shards::Shards,
    table::{Limits, Table},
};
use crate::record::Seq;

/// How much may be remembered.
#[derive(Clone, Copy)]
pub struct TierLimits {
    /// In memory; and how long anything is kept.
    pub hot: Limits,
    /// Outside at most, give or take what chance puts into one shard; 0 = what goes out is forgotten.
    pub spilled: usize,
}

/// What is known of an entry outside: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// When it was last used, seconds since 1970.
    pub used: u32,
    /// The low half of the seq of the event that it had to make room for: tells it from what it was before.
    pub seq: u32,
}

/// All that is outside, by its key.
#[derive(Clone, Default)]
pub struct OutsideKeys(Shards<Outside>);

impl std::ops::Deref for OutsideKeys {
    type Target = Shards<Outside>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// An entry that was brought for the event at hand.
#[derive(Clone, Debug)]
pub struct Guest<V> {
    /// Its key.
    pub key: u64,
    /// See [`Outside`].
    pub seq: u32,
    /// What it was.
    pub value: V,
}

/// An entry that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its key.
    pub key: u64,
    /// The seq of the event that it made room for.
    pub seq: Seq,
    /// What it was.
    pub bytes: Vec<u8>,
}

/// See the module.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(deserialize = "V: DeserializeOwned + Clone"))]
pub struct Tiers<V> {
    hot: Table<V>,
    outside: OutsideKeys,
    /// Of the event at hand.
    #[serde(skip)]
    guests: Vec<Guest<V>>,
    /// That nobody took over yet.
    #[serde(skip)]
    leaving: Vec<Leaving>,
    /// Of the event at hand.
    #[serde(skip)]
    seq: Seq,
}

impl<V> Default for Tiers<V> {
    fn default() -> Self {
        Self { hot: Table::default(), outside: OutsideKeys::default(), guests: Vec::new(), leaving: Vec::new(), seq: 0 }
    }
}

impl<V: Clone + Serialize> Tiers<V> {
    /// The next event begins; `guests` were brought for it.
    pub fn begin(&mut self, seq: Seq, guests: Vec<Guest<V>>) {
        (self.seq, self.guests) = (seq, guests);
    }

    /// The event is over: who was not asked in goes.
    pub fn end(&mut self) {
        self.guests.clear();
    }

    /// What has gone out since the last time.
    pub fn take_leaving(&mut self) -> Vec<Leaving> {
        std::mem::take(&mut self.leaving)
    }

    /// An entry, if it is in memory or was brought.
    pub fn get(&self, key: u64) -> Option<&V> {
        self.hot.get(key).or_else(|| {
            let at = self.guest(key)?;
            Some(&self.guests[at].value)
        })
    }

    /// What is outside of what is known of a key; none where it is in memory, or unused for too long.
    pub fn outside(&self, key: u64, now: u32, limits: TierLimits) -> Option<u32> {
        if self.outside.is_empty() {
            return None;
        }
        let Outside { used, seq } = self.outside.get(key)?;
        (now.saturating_sub(used) <= limits.hot.kept).then_some(seq)
    }

    /// An entry to change, made where nothing is known of it; marks it as used at `now`.
    pub fn entry(&mut self, key: u64, now: u32, limits: TierLimits, new: impl FnOnce() -> V) -> &mut V {
        let guest = self.guest(key);
        let Self { hot, outside, guests, leaving, seq, .. } = self;
        let mut gone = Vec::new();
        let value = hot.entry_or_gone(key, now, limits.hot, &mut gone, || {
            outside.0.remove(key);
            guest.map_or_else(new, |at| guests.swap_remove(at).value)
        });
        let gone = gone.into_iter().filter(|_| limits.spilled > 0);
        for (key, used, value) in gone {
            let Ok(bytes) = postcard::to_stdvec(&*value) else { continue };
            let keeps = |known: Outside| now.saturating_sub(known.used) <= limits.hot.kept;
            let most = limits.spilled.div_ceil(super::shards::SHARDS);
            outside.0.make_room(key, most, keeps, |known| known.used);
            outside.0.insert(key, Outside { used, seq: low(*seq) });
            leaving.push(Leaving { key, seq: *seq, bytes });
        }
        value
    }

    /// An entry to change, if it is in memory or was brought; does not count as a use.
    pub fn get_mut(&mut self, key: u64, limits: TierLimits) -> Option<&mut V> {
        if let Some(at) = self.guest(key) {
            let used = self.outside.get(key)?.used;
            let Guest { value, .. } = self.guests[at].clone();
            return Some(self.entry(key, used, limits, || value));
        }
        self.hot.get_mut(key)
    }

    /// Forgets an entry, wherever it is.
    pub fn remove(&mut self, key: u64) {
        self.hot.remove(key);
        self.outside.0.remove(key);
    }

    /// Forgets all that is outside.
    pub fn forget_outside(&mut self) {
        self.outside = OutsideKeys::default();
    }

    /// How many are in memory.
    pub const fn len(&self) -> usize {
        self.hot.len()
    }

    /// Whether none is in memory.
    pub const fn is_empty(&self) -> bool {
        self.hot.len() == 0
    }

    /// What is outside.
    pub const fn outside_keys(&self) -> &OutsideKeys {
        &self.outside
    }

    /// Where among the guests it is, if it is the one that is outside now.
    fn guest(&self, key: u64) -> Option<usize> {
        let at = self.guests.iter().position(|guest| guest.key == key)?;
        self.outside.get(key).filter(|known| known.seq == self.guests[at].seq).map(|_| at)
    }
}

/// The low half.
pub const fn low(seq: Seq) -> u32 {
    (seq & 0xffff_ffff) as u32
}

impl Serialize for OutsideKeys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for entry in self.0.iter() {
            list.serialize_element(&entry)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for OutsideKeys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = OutsideKeys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("what is outside, by key")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<OutsideKeys, A::Error> {
                let mut keys = OutsideKeys::default();
                while let Some((key, known)) = seq.next_element()? {
                    keys.0.insert(key, known);
                }
                Ok(keys)
            }
        }
        from.deserialize_seq(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for one in memory and three outside, of all small keys.
    const ONE: TierLimits = TierLimits { hot: Limits { entries: 1, kept: 1_000 }, spilled: 3 * 4_096 };

    /// Touches a key at an instant that is its event's seq too; says what it was before and what went out.
    fn touch(tiers: &mut Tiers<u32>, key: u64, now: u32, guests: Vec<Guest<u32>>) -> (Option<u32>, Vec<(u64, u32)>) {
        tiers.begin(Seq::from(now), guests);
        let before = tiers.get(key).copied();
        *tiers.entry(key, now, ONE, || 100) += 1;
        tiers.end();
        let gone = tiers.take_leaving().into_iter();
        let gone = gone.map(|entry| {
            assert_eq!(entry.seq, Seq::from(now));
            (entry.key, postcard::from_bytes(&entry.bytes).unwrap())
        });
        (before, gone.collect())
    }

    fn guest(key: u64, seq: u32, value: u32) -> Guest<u32> {
        Guest { key, seq, value }
    }

    #[test]
    fn what_goes_out_comes_back_as_it_was() {
        let mut tiers = Tiers::default();
        assert_eq!(touch(&mut tiers, 1, 5, vec![]), (None, vec![]));
        assert_eq!(touch(&mut tiers, 2, 6, vec![]), (None, vec![(1, 101)]));
        assert_eq!((tiers.len(), tiers.outside(1, 6, ONE), tiers.outside(2, 6, ONE)), (1, Some(6), None));
        // Brought and not touched, it stays outside; and a guest is gone after the event.
        tiers.begin(7, vec![guest(1, 6, 101)]);
        assert_eq!((tiers.get(1), tiers.get(2)), (Some(&101), Some(&101)));
        tiers.end();
        assert_eq!((tiers.get(1), tiers.outside(1, 7, ONE)), (None, Some(6)));
        assert_eq!(touch(&mut tiers, 1, 8, vec![guest(1, 6, 101)]), (Some(101), vec![(2, 101)]));
        assert_eq!((tiers.outside(1, 8, ONE), tiers.outside(2, 8, ONE)), (None, Some(8)));
        // As it was before it went out for the last time, it is nobody.
        assert_eq!(touch(&mut tiers, 2, 9, vec![guest(2, 6, 55)]), (None, vec![(1, 102)]));
        // Changed without a use, it comes in all the same.
        tiers.begin(10, vec![guest(1, 9, 102)]);
        *tiers.get_mut(1, ONE).unwrap() = 7;
        tiers.end();
        assert_eq!(tiers.take_leaving().len(), 1);
        assert_eq!((tiers.get(1), tiers.get(2)), (Some(&7), None));
        assert_eq!(tiers.get_mut(2, ONE), None);
    }

    #[test]
    fn outside_too_there_is_a_bound_and_an_end() {
        let mut tiers = Tiers::default();
        for key in 1..=6 {
            touch(&mut tiers, key, 10 * u32::try_from(key).unwrap(), vec![]);
        }
        // The one unused for longest went for good.
        let outside = |tiers: &Tiers<u32>| tiers.outside_keys().iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(outside(&tiers), [3, 4, 5]);
        // Used at 30, 40 and 50, kept for 1,000.
        assert_eq!((tiers.outside(3, 1_030, ONE), tiers.outside(3, 1_031, ONE)), (Some(40), None));
        // Whoever is unused for too long makes room before anybody else does.
        assert_eq!(touch(&mut tiers, 7, 1_045, vec![]), (None, vec![(6, 101)]));
        assert_eq!(outside(&tiers), [5, 6]);
        tiers.remove(6);
        assert_eq!(outside(&tiers), [5]);
        let nothing = TierLimits { spilled: 0, ..ONE };
        tiers.begin(1_046, vec![]);
        tiers.entry(8, 1_046, nothing, || 0);
        assert_eq!((outside(&tiers), tiers.take_leaving().len(), tiers.len()), (vec![5], 0, 1));
    }

    #[test]
    fn a_copy_that_was_written_knows_what_is_outside() {
        let mut tiers = Tiers::default();
        for key in 1..=4 {
            touch(&mut tiers, key, 10 * u32::try_from(key).unwrap(), vec![]);
        }
        let bytes = postcard::to_stdvec(&tiers).unwrap();
        let again: Tiers<u32> = postcard::from_bytes(&bytes).unwrap();
        assert!(again.outside_keys().iter().eq(tiers.outside_keys().iter()) && again.outside_keys().len() == 3);
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
    }
}
