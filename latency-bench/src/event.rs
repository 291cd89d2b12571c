//! The record that all workloads send, and its keys.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One record. Times are nanoseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The key.
    pub key: u64,
    /// When the schedule wanted it sent: latency is counted from here.
    pub intended_ns: u64,
    /// When it was sent.
    pub sent_ns: u64,
}

/// The first stateless step of `pass-through`, the same on every engine.
#[inline]
#[must_use]
pub fn transform(event: Event) -> Event {
    Event { key: event.key.wrapping_mul(31).wrapping_add(7), ..event }
}

/// The second stateless step of `pass-through`: it keeps every record that a generator can make, so that
/// none is missing at the end, but a compiler cannot know that.
#[inline]
#[must_use]
pub fn is_kept(event: &Event) -> bool {
    event.key != u64::MAX
}

/// What `keyed-count` emits for each record: its key, the running count of that key, and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The key.
    pub key: u64,
    /// Records of this key so far, this one included.
    pub count: u64,
    /// The record's intended send time.
    pub intended_ns: u64,
    /// The record's actual send time.
    pub sent_ns: u64,
}

/// Pseudo-random keys, evenly spread over `0..count`; key `i` depends on the seed and `i` alone.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    seed: u64,
    count: u64,
}

impl Keys {
    /// # Panics
    /// If `count` is 0.
    #[must_use]
    pub fn new(seed: u64, count: u64) -> Keys {
        assert!(count > 0, "there is at least one key");
        Keys { seed, count }
    }

    /// The key of record `index`.
    #[inline]
    pub fn at(&self, index: u64) -> u64 {
        let random = splitmix(self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        ((u128::from(random) * u128::from(self.count)) >> 64) as u64
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every output bit depends on every input bit.
#[inline]
pub fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A fast hasher for the maps of the floor and of the peers: one wide multiplication, the cost class of
/// Lotic's own. It hashes `u64` keys well and is no defence against chosen ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct FastHasher(u64);

impl Hasher for FastHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xe703_7ed1_a0b4_28db;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

/// The running counts of the floor and of the peers.
#[derive(Debug, Default)]
pub struct Counts(HashMap<u64, u64, BuildHasherDefault<FastHasher>>);

impl Counts {
    /// Counts a record and tells what is emitted for it.
    #[inline]
    pub fn add(&mut self, event: Event) -> Counted {
        let count = self.0.entry(event.key).or_default();
        *count += 1;
        Counted { key: event.key, count: *count, intended_ns: event.intended_ns, sent_ns: event.sent_ns }
    }

    /// Gives out all counts and begins anew.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, u64)> {
        self.0.drain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_even_and_repeatable() {
        let keys = Keys::new(1, 100);
        let mut seen = vec![0u32; 100];
        for index in 0..100_000 {
            seen[usize::try_from(keys.at(index)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        let again: Vec<u64> = (0..50).map(|index| Keys::new(1, 100).at(index)).collect();
        let other: Vec<u64> = (0..50).map(|index| Keys::new(2, 100).at(index)).collect();
        assert_eq!(again, (0..50).map(|index| keys.at(index)).collect::<Vec<_>>());
        assert_ne!(again, other);
    }

    #[test]
    fn pass_through_keeps_every_key_of_a_generator() {
        let keys = Keys::new(3, 10_000);
        let kept = (0..10_000)
            .map(|index| transform(Event { key: keys.at(index), intended_ns: 0, sent_ns: 0 }))
            .filter(is_kept)
            .count();
        assert_eq!(kept, 10_000);
    }

    #[test]
    fn the_hasher_spreads_small_keys() {
        let mut counts = Counts::default();
        for key in (0..10_000u64).chain(0..10_000) {
            let counted = counts.add(Event { key, intended_ns: 1, sent_ns: 2 });
            assert_eq!((counted.key, counted.intended_ns, counted.sent_ns), (key, 1, 2));
        }
        assert!(counts.0.len() == 10_000 && counts.0.values().all(|&count| count == 2));
        let low_bits: std::collections::HashSet<u64> = (0..256u64)
            .map(|key| {
                let mut hasher = FastHasher::default();
                hasher.write_u64(key);
                hasher.finish() & 0xff
            })
            .collect();
        assert!(low_bits.len() > 120, "{} of 256 slots used", low_bits.len());
    }
}
