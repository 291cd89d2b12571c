//! Keys, their hash and the key groups they fall into.
//!
//! The hash decides which instance owns a key and is part of the checkpoint format, so it is fixed here
//! and may never change: a folded 64x64 multiplication over little-endian words, in the manner of
//! wyhash (Wang Yi, 2019). It is not a defence against chosen keys.

use crate::limits::KEY_GROUPS;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hash::{Hash, Hasher};

/// What can be a key: hashed to find its owner, compared, kept in state and written to checkpoints.
pub trait Key: Hash + Eq + Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<K: Hash + Eq + Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Key for K {}

/// What can be kept in state.
///
/// State is read back by a type of the same name and the same fields: one that has gained, lost or changed a field since
/// is refused at the start, with its name ([`crate::state::codec::decode`]).
pub trait Value: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Value for V {}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xe703_7ed1_a0b4_28db;

/// The hasher behind [`hash_of`]; its result is the same on every machine and in every version.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher(u64);

impl Default for KeyHasher {
    fn default() -> Self {
        KeyHasher(SEED)
    }
}

impl KeyHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(32);
    }
}

impl Hasher for KeyHasher {
    #[inline]
    fn finish(&self) -> u64 {
        let product = u128::from(self.0 ^ SEED) * u128::from(MULTIPLIER);
        (product as u64) ^ ((product >> 64) as u64)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks_exact(8) {
            self.mix(u64::from_le_bytes(word.try_into().expect("invariant: chunks of eight bytes")));
        }
        self.mix(last_word(bytes) ^ ((bytes.len() as u64) << 56));
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }
    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }
    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }
    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }
    #[inline]
    fn write_u128(&mut self, value: u128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }
    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
    fn write_i8(&mut self, value: i8) {
        self.mix(value as u64);
    }
    fn write_i16(&mut self, value: i16) {
        self.mix(value as u64);
    }
    fn write_i32(&mut self, value: i32) {
        self.mix(value as u64);
    }
    fn write_i64(&mut self, value: i64) {
        self.mix(value as u64);
    }
    fn write_i128(&mut self, value: i128) {
        self.write_u128(value as u128);
    }
    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }
}

/// The bytes behind the last whole word of eight, filled up with zeros. They are loaded a few at a time, parts of
/// which may overlap: a copy of so few bytes would be a call.
#[inline]
fn last_word(bytes: &[u8]) -> u64 {
    let rest = bytes.len() % 8;
    if rest == 0 {
        return 0;
    }
    if let Some(last) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (64 - 8 * rest);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | (u64::from(last) << (8 * (rest - 4)));
    }
    let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
    byte(0) | byte(rest / 2) | byte(rest - 1)
}

/// The fixed hash of a key.
#[inline]
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = KeyHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The key group of a hash: its top bits, so that a hash table, which takes the low ones, stays even.
#[inline]
pub fn group_of(hash: u64) -> u16 {
    const SHIFT: u32 = 64 - KEY_GROUPS.trailing_zeros();
    (hash >> SHIFT) as u16
}

/// A hash of the same key group for one of several things that belong to a key: state of theirs stays with the
/// key's owner, and lies apart in a hash table.
#[cfg(feature = "table")]
#[inline]
pub(crate) fn hash_within_group(hash: u64, number: u64) -> u64 {
    const BELOW: u64 = u64::MAX >> KEY_GROUPS.trailing_zeros();
    let mut hasher = KeyHasher(hash);
    hasher.mix(number);
    (hash & !BELOW) | (hasher.finish() & BELOW)
}

/// Which of `parallelism` instances owns a hash.
#[inline]
pub fn owner_of(hash: u64, parallelism: usize) -> usize {
    usize::from(group_of(hash)) * parallelism / usize::from(KEY_GROUPS)
}

/// The instance an operator is, among how many: it decides which keys it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Counted from 0.
    pub index: usize,
    /// How many there are; at most [`KEY_GROUPS`].
    pub parallelism: usize,
}

impl Instance {
    /// The only instance.
    pub const ONLY: Instance = Instance { index: 0, parallelism: 1 };

    /// Whether this instance owns the keys of that hash.
    pub fn owns(self, hash: u64) -> bool {
        owner_of(hash, self.parallelism) == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_part_of_the_checkpoint_format_and_never_changes() {
        assert_eq!(hash_of(&1u64), 5_866_589_299_712_756_859_u64);
        assert_eq!(hash_of("lotic"), 6_281_311_670_299_964_097);
    }

    #[test]
    fn the_last_word_is_what_is_left_filled_up_with_zeros() {
        let bytes: Vec<u8> = (1..=40).map(|number: u8| number.wrapping_mul(97)).collect();
        for length in 0..=bytes.len() {
            let mut last = [0u8; 8];
            let rest = &bytes[length / 8 * 8..length];
            last[..rest.len()].copy_from_slice(rest);
            assert_eq!(last_word(&bytes[..length]), u64::from_le_bytes(last), "of {length} bytes");
        }
    }

    #[test]
    fn every_key_has_exactly_one_owner_and_owners_share_evenly() {
        for parallelism in [1usize, 2, 3, 7, 128] {
            let mut owned = vec![0usize; parallelism];
            for key in 0..20_000u64 {
                let hash = hash_of(&key);
                let owners: Vec<usize> =
                    (0..parallelism).filter(|&index| Instance { index, parallelism }.owns(hash)).collect();
                assert_eq!(owners, vec![owner_of(hash, parallelism)]);
                owned[owners[0]] += 1;
            }
            let fair = 20_000 / parallelism;
            assert!(owned.iter().all(|&n| n > fair / 2 && n < fair * 2 + 64), "{parallelism}: {owned:?}");
        }
    }
}
