//! A bounded table whose copy costs next to nothing: shards are shared until one side changes them.
//!
//! So a snapshot of a million entries stalls nobody: taking it is a few thousand reference counts, and whoever writes
//! afterwards copies the one shard it touches. Order, eviction and therefore everything that follows are the same in every
//! run: entries lie in the order of their keys, and the one unused for longest goes first.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeSeq};

use super::shards::{SHARDS, shard_of};

/// One entry.
#[derive(Clone)]
struct Slot<V> {
    key: u64,
    /// When it was last used, seconds since 1970.
    used: u32,
    value: Arc<V>,
}

type Shard<V> = Vec<Slot<V>>;

/// See the module.
pub struct Table<V> {
    shards: Vec<Arc<Shard<V>>>,
    len: usize,
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), len: self.len }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        let empty = Arc::new(Vec::new());
        Self { shards: vec![empty; SHARDS], len: 0 }
    }
}

/// How much a table may hold.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Entries at most, give or take what chance puts into one shard.
    pub entries: usize,
    /// An entry unused for this long is forgotten, seconds.
    pub kept: u32,
}

impl<V: Clone> Table<V> {
    /// An entry, if it is remembered.
    pub fn get(&self, key: u64) -> Option<&V> {
        let shard = &self.shards[shard_of(key)];
        shard.binary_search_by_key(&key, |slot| slot.key).ok().map(|at| &*shard[at].value)
    }

    /// An entry to change, made where there is none; marks it as used at `now`.
    pub fn entry(&mut self, key: u64, now: u32, limits: Limits, new: impl FnOnce() -> V) -> &mut V {
        self.entry_or_gone(key, now, limits, &mut Vec::new(), new)
    }

    /// The same; what had to make room, though it was not unused for too long, is in `gone` afterwards.
    pub fn entry_or_gone(
        &mut self,
        key: u64,
        now: u32,
        limits: Limits,
        gone: &mut Vec<(u64, u32, Arc<V>)>,
        new: impl FnOnce() -> V,
    ) -> &mut V {
        let shard = Arc::make_mut(&mut self.shards[shard_of(key)]);
        let at = match shard.binary_search_by_key(&key, |slot| slot.key) {
            Ok(at) => at,
            Err(_) => {
                self.len -= make_room(shard, now, limits, gone);
                let at = shard.partition_point(|slot| slot.key < key);
                if shard.len() == shard.capacity() {
                    // Doubling would leave a third of it empty.
                    shard.reserve_exact(shard.len() / 8 + 4);
                }
                shard.insert(at, Slot { key, used: now, value: Arc::new(new()) });
                self.len += 1;
                at
            }
        };
        let slot = &mut shard[at];
        slot.used = slot.used.max(now);
        Arc::make_mut(&mut slot.value)
    }

    /// An entry to change, if it is remembered; does not count as a use.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let shard = &mut self.shards[shard_of(key)];
        let at = shard.binary_search_by_key(&key, |slot| slot.key).ok()?;
        Some(Arc::make_mut(&mut Arc::make_mut(shard)[at].value))
    }

    /// Forgets an entry.
    pub fn remove(&mut self, key: u64) {
        let shard = &mut self.shards[shard_of(key)];
        if let Ok(at) = shard.binary_search_by_key(&key, |slot| slot.key) {
            Arc::make_mut(shard).remove(at);
            self.len -= 1;
        }
    }

    /// How many are remembered.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|slot| (slot.key, &*slot.value)))
    }
}

/// Drops what is unused for too long and, where that is not enough, lets the one unused for longest go. Returns how many
/// went.
fn make_room<V>(shard: &mut Shard<V>, now: u32, limits: Limits, gone: &mut Vec<(u64, u32, Arc<V>)>) -> usize {
    let before = shard.len();
    let most = limits.entries.div_ceil(SHARDS).max(1);
    if before < most {
        return 0;
    }
    shard.retain(|slot| now.saturating_sub(slot.used) <= limits.kept);
    while shard.len() >= most {
        let oldest = shard.iter().enumerate().min_by_key(|(_, slot)| (slot.used, slot.key)).map(|(at, _)| at);
        match oldest {
            Some(at) => {
                let Slot { key, used, value } = shard.remove(at);
                gone.push((key, used, value));
            }
            None => break,
        }
    }
    before - shard.len()
}

impl<V: Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.len))?;
        for slot in self.shards.iter().flat_map(|shard| shard.iter()) {
            list.serialize_element(&(slot.key, slot.used, &*slot.value))?;
        }
        list.end()
    }
}

impl<'de, V: Deserialize<'de> + Clone> Deserialize<'de> for Table<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<V>(Table<V>);
        impl<'de, V: Deserialize<'de> + Clone> serde::de::Visitor<'de> for Entries<V> {
            type Value = Table<V>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the entries of a table in the order of their keys")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut seq: A) -> Result<Table<V>, A::Error> {
                let mut last = None;
                while let Some((key, used, value)) = seq.next_element::<(u64, u32, V)>()? {
                    if last.replace(key).is_some_and(|last| last >= key) {
                        return Err(serde::de::Error::custom("the keys are out of order"));
                    }
                    let slot = Slot { key, used, value: Arc::new(value) };
                    Arc::make_mut(&mut self.0.shards[shard_of(key)]).push(slot);
                    self.0.len += 1;
                }
                Ok(self.0)
            }
        }
        from.deserialize_seq(Entries(Table::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::key::key_of;

    const LIMITS: Limits = Limits { entries: 4 * SHARDS, kept: 1_000 };

    /// Keys of one shard.
    fn crowded() -> impl Iterator<Item = u64> {
        (0..).map(key_of).filter(|key| shard_of(*key) == 7)
    }

    #[test]
    fn a_full_shard_forgets_what_was_unused_for_longest() {
        let mut table = Table::<u32>::default();
        let keys: Vec<u64> = crowded().take(6).collect();
        for (at, key) in keys.iter().take(4).enumerate() {
            table.entry(*key, at as u32, LIMITS, || 0);
        }
        *table.entry(keys[0], 10, LIMITS, || 0) += 1;
        table.entry(keys[4], 11, LIMITS, || 9);
        assert_eq!((table.get(keys[1]), table.get(keys[0]), table.len()), (None, Some(&1), 4));
        // All but the newest have been unused for too long.
        table.entry(keys[5], 1_011, LIMITS, || 0);
        assert_eq!((table.len(), table.get(keys[4])), (2, Some(&9)));
    }

    #[test]
    fn a_copy_does_not_change_with_the_original_and_survives_being_written() {
        let mut table = Table::<u32>::default();
        for key in (0..10_000).map(key_of) {
            table.entry(key, 1, Limits { entries: 1 << 20, kept: 9 }, || short_of(key));
        }
        let copy = table.clone();
        *table.entry(key_of(5), 2, LIMITS, || 0) = 77;
        assert_eq!((copy.get(key_of(5)), table.get(key_of(5))), (Some(&short_of(key_of(5))), Some(&77)));
        let bytes = postcard::to_stdvec(&table).unwrap();
        let again: Table<u32> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
        assert_eq!((again.len(), again.get(key_of(5))), (10_000, Some(&77)));
    }

    fn short_of(key: u64) -> u32 {
        crate::detect::key::short(key)
    }
}
