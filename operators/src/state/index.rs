//! From a key's hash to its place in the slab.

use crate::limits::INDEX_SHARDS;
use hashbrown::HashTable;

/// A hash index in shards, each of which grows on its own: growth moves every slot of what grows, which
/// took 65 ms for one table of two million keys and takes about a millisecond for a shard of it.
///
/// The top bits of a hash, which choose the owner of a key ([`crate::key::group_of`]), are the same for
/// many keys of one instance. Neither the shard nor the slot's hash takes them in.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[HashTable<Slot>]>,
    len: usize,
}

/// Eight bytes, so that a large index stays in the caches for longer. Keys whose short hashes are equal
/// are told apart by the keys themselves.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    number: u32,
}

const SHARD_BITS: u32 = INDEX_SHARDS.trailing_zeros();

#[inline]
fn shard_of(hash: u64) -> usize {
    hash as usize & (INDEX_SHARDS - 1)
}

#[inline]
fn short(hash: u64) -> u32 {
    (hash >> SHARD_BITS) as u32
}

/// Spreads a short hash again: a hash table takes the low bits and the top seven.
#[inline]
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Index {
    pub(crate) fn new() -> Self {
        Index { shards: (0..INDEX_SHARDS).map(|_| HashTable::new()).collect(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The number stored under `hash` for which `is_it` is true.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let short = short(hash);
        self.shards[shard_of(hash)]
            .find(spread(short), |slot| slot.hash == short && is_it(slot.number))
            .map(|slot| slot.number)
    }

    /// The first number stored under `hash`, or under one that looks the same here: the numbers of few keys do.
    #[inline(always)]
    pub(crate) fn first(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Stores a number that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        let short = short(hash);
        let slot = Slot { hash: short, number };
        self.shards[shard_of(hash)].insert_unique(spread(short), slot, |slot| spread(slot.hash));
        self.len += 1;
    }

    /// Removes and returns the number stored under `hash` for which `is_it` is true.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let short = short(hash);
        let found = self.shards[shard_of(hash)]
            .find_entry(spread(short), |slot| slot.hash == short && is_it(slot.number))
            .ok()?;
        self.len -= 1;
        Some(found.remove().0.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Instance, hash_of};

    #[test]
    fn the_keys_of_one_of_many_instances_spread_over_shards_and_tags() {
        let one = Instance { index: 5, parallelism: 128 };
        let hashes: Vec<u64> =
            (0..1_000_000u64).map(|key| hash_of(&key)).filter(|&hash| one.owns(hash)).collect();
        let (mut shards, mut tags) = (vec![0usize; INDEX_SHARDS], vec![0usize; 128]);
        for &hash in &hashes {
            shards[shard_of(hash)] += 1;
            tags[(spread(short(hash)) >> 57) as usize] += 1;
        }
        for counts in [shards, tags] {
            let fair = hashes.len() / counts.len();
            assert!(counts.iter().all(|&n| n > fair / 2 && n < fair * 2), "{counts:?}");
        }
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        let mut index = Index::new();
        (0..100).for_each(|number| index.insert(7, number));
        assert_eq!(index.find(7, |number| number == 42), Some(42));
        assert_eq!(index.remove(7, |number| number == 42), Some(42));
        assert_eq!(index.find(7, |number| number == 42), None);
        assert_eq!(index.len(), 99);
    }
}
