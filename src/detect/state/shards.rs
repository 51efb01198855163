//! A sorted map of small things in shards, by 64-bit keys: 8 bytes an entry beside the thing itself. A copy shares its shards
//! until one side changes them, as a [`super::table::Table`] does.

use std::sync::Arc;

/// As many as a table has: with a million entries about 250 in each.
pub const SHARDS: usize = 4_096;
/// The shard is the top of the key.
const SHIFT: u32 = 64 - 12;

/// Where a key lies.
pub const fn shard_of(key: u64) -> usize {
    (key >> SHIFT) as usize
}

type Shard<T> = Vec<(u64, T)>;

/// See the module.
#[derive(Clone)]
pub struct Shards<T> {
    shards: Vec<Arc<Shard<T>>>,
    len: usize,
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self { shards: vec![Arc::default(); SHARDS], len: 0 }
    }
}

impl<T: Copy> Shards<T> {
    /// What is known of a key.
    pub fn get(&self, key: u64) -> Option<T> {
        let shard = &self.shards[shard_of(key)];
        shard.binary_search_by_key(&key, |(key, _)| *key).ok().map(|at| shard[at].1)
    }

    /// Remembers it, instead of what was known before.
    pub fn insert(&mut self, key: u64, value: T) {
        let shard = Arc::make_mut(&mut self.shards[shard_of(key)]);
        match shard.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => shard[at].1 = value,
            Err(at) => {
                if shard.len() == shard.capacity() {
                    // Doubling would leave a third of it empty.
                    shard.reserve_exact(shard.len() / 8 + 4);
                }
                shard.insert(at, (key, value));
                self.len += 1;
            }
        }
    }

    /// Forgets it.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let shard = &mut self.shards[shard_of(key)];
        let at = shard.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.len -= 1;
        Some(Arc::make_mut(shard).remove(at).1)
    }

    /// Makes room for one more beside `key`: forgets what `keeps` says no to and, where `most` are left, the least by
    /// `rank`.
    pub fn make_room<R: Ord>(&mut self, key: u64, most: usize, keeps: impl Fn(T) -> bool, rank: impl Fn(T) -> R) {
        let shard = &mut self.shards[shard_of(key)];
        let before = shard.len();
        if before < most {
            return;
        }
        let shard = Arc::make_mut(shard);
        shard.retain(|(_, value)| keeps(*value));
        while shard.len() >= most.max(1) {
            let least = shard.iter().enumerate().min_by_key(|(_, (key, value))| (rank(*value), *key));
            match least.map(|(at, _)| at) {
                Some(at) => drop(shard.remove(at)),
                None => break,
            }
        }
        self.len -= before - shard.len();
    }

    /// Keeps only those that `keeps` says yes to.
    pub fn retain(&mut self, keeps: impl Fn(u64, T) -> bool) {
        for shard in &mut self.shards {
            if !shard.iter().all(|(key, value)| keeps(*key, *value)) {
                Arc::make_mut(shard).retain(|(key, value)| keeps(*key, *value));
            }
        }
        self.len = self.shards.iter().map(|shard| shard.len()).sum();
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, T)> {
        self.shards.iter().flat_map(|shard| shard.iter().copied())
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::key::key_of;

    #[test]
    fn it_is_a_map_and_a_copy_of_it_does_not_change() {
        let mut shards = Shards::default();
        let mut map = std::collections::BTreeMap::new();
        for n in 0..20_000_u64 {
            let key = key_of(n % 7_000);
            if n % 3 == 0 {
                assert_eq!(shards.remove(key), map.remove(&key));
            } else {
                shards.insert(key, n);
                map.insert(key, n);
            }
        }
        let copy = shards.clone();
        shards.retain(|_, n| n % 2 == 0);
        assert_eq!((copy.len(), copy.iter().collect::<Vec<_>>()), (map.len(), map.clone().into_iter().collect()));
        map.retain(|_, n| *n % 2 == 0);
        assert_eq!((shards.len(), shards.iter().collect::<Vec<_>>()), (map.len(), map.into_iter().collect()));
    }

    #[test]
    fn where_there_is_no_room_the_unwanted_go_first_and_then_the_least() {
        let mut shards = Shards::default();
        for (key, value) in [(1, 5), (2, 3), (3, 9), (4, 3)] {
            shards.insert(key, value);
        }
        shards.make_room(7, 5, |_| false, |value| value);
        assert_eq!(shards.len(), 4);
        shards.make_room(7, 3, |value| value != 9, |value| value);
        assert_eq!((shards.len(), shards.iter().collect::<Vec<_>>()), (2, vec![(1, 5), (4, 3)]));
    }
}
