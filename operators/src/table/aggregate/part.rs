//! Keys of state of which a group key has several: its sessions, or the panes of its windows.

use crate::key::{KeyHasher, group_of};
use crate::limits::KEY_GROUPS;
use crate::table::keys::{KeyBytes, hash_bytes};
use serde::{Deserialize, Serialize};
use std::hash::Hasher;

/// A part of a group key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PartKey {
    pub(super) key: KeyBytes,
    /// Which part; unique among those that the key has at a time.
    pub(super) part: i64,
}

impl PartKey {
    pub(super) fn hash(&self) -> u64 {
        part_hash(hash_bytes(self.key.as_slice()), self.part)
    }
}

/// The hash by which a part is looked up and owned: the owner is that of the key, of which this is the hash,
/// and below the key group the parts of a key lie apart.
#[inline]
pub(super) fn part_hash(key: u64, part: i64) -> u64 {
    const BITS: u32 = KEY_GROUPS.trailing_zeros();
    let mut hasher = KeyHasher::default();
    hasher.write_u64(key);
    hasher.write_i64(part);
    (hasher.finish() >> BITS) | (u64::from(group_of(key)) << (u64::BITS - BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::owner_of;
    use std::collections::BTreeSet;

    #[test]
    fn the_parts_of_a_key_lie_apart_and_with_its_owner() {
        for key in (0..100).map(|n: u64| hash_bytes(&n.to_le_bytes())) {
            let hashes: BTreeSet<u64> = (-50..50).map(|part| part_hash(key, part)).collect();
            assert_eq!(hashes.len(), 100);
            assert!(hashes.iter().all(|hash| owner_of(*hash, 128) == owner_of(key, 128)));
        }
    }
}
