//! Keyed state by the numbers of slots, for operators that keep more of a key than its state.

use super::keyed::{KeyedState, place};
use crate::key::{Key, Value};
use crate::limits::PAGE_ENTRIES;

impl<K: Key, V: Value> KeyedState<K, V> {
    /// The number of a key's slot, which is its own as long as it is held, and whether the key is new.
    #[inline]
    pub(crate) fn slot(&mut self, hash: u64, key: &K, default: impl FnOnce() -> V) -> (u32, bool) {
        match self.find(hash, key) {
            Some(number) => (number, false),
            None => (self.insert(hash, key.clone(), default()), true),
        }
    }

    /// The first half of a look-up for [`KeyedState::slot_probed`]: the slot where a hash says that its key
    /// probably is. For what it is good, see [`KeyedState::probe`].
    #[cfg(feature = "table")]
    #[inline]
    pub(crate) fn probe_slot(&self, hash: u64) -> Option<u32> {
        self.index.first(hash)
    }

    /// The second half: as [`KeyedState::slot`] of the key with that hash for which `is_it` is true. The table
    /// may have changed since the probe.
    #[cfg(feature = "table")]
    #[inline]
    pub(crate) fn slot_probed(
        &mut self,
        (hash, probed): (u64, Option<u32>),
        is_it: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> (u32, bool) {
        match probed {
            Some(slot) if self.at(slot).is_some_and(|(key, _)| is_it(key)) => (slot, false),
            _ => self.slot_anew(hash, is_it, make),
        }
    }

    /// The key is new, or shares a hash with another.
    #[cfg(feature = "table")]
    #[cold]
    #[inline(never)]
    fn slot_anew(
        &mut self,
        hash: u64,
        is_it: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> (u32, bool) {
        let found = self.index.find(hash, |number| self.at(number).is_some_and(|(key, _)| is_it(key)));
        match found {
            Some(number) => (number, false),
            None => {
                let (key, value) = make();
                (self.insert(hash, key, value), true)
            }
        }
    }

    /// The number of a key's slot, if the key is held.
    #[cfg(feature = "table")]
    #[inline]
    pub(crate) fn find_slot(&self, hash: u64, key: &K) -> Option<u32> {
        self.find(hash, key)
    }

    /// What a slot holds.
    #[inline]
    pub(crate) fn at(&self, slot: u32) -> Option<(&K, &V)> {
        let (page, at) = place(slot);
        self.pages.get(page)?.entries().get(at)?.as_ref().map(|(key, value)| (key, value))
    }

    /// The value of a slot that is held, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut V {
        self.value_mut(slot)
    }

    /// All slots lie below this number.
    pub(crate) fn slots_end(&self) -> u32 {
        (self.pages.len() * PAGE_ENTRIES) as u32
    }

    /// Forgets the key of a slot that is held; `hash` is that of the key.
    pub(crate) fn remove_slot(&mut self, hash: u64, slot: u32) {
        let removed = self.index.remove(hash, |number| number == slot);
        debug_assert_eq!(removed, Some(slot), "the hash is that of the slot's key");
        self.empty(slot);
    }
}
