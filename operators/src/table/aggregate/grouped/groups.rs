//! Which group each row of a batch belongs to.

use crate::limits::PROBES_AT_ONCE;
use crate::state::KeyedState;
use crate::table::aggregate::calls::{Calls, GroupState};
use crate::table::aggregate::numbered::Numbered;
use crate::table::keys::{KeyBytes, hash_bytes};
use arrow::row::Rows;
use std::collections::VecDeque;
use std::ops::Range;

type State = KeyedState<KeyBytes, GroupState>;

/// The groups of the rows of a batch.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The slot in the keyed state of each row's group.
    pub(super) slots: Vec<u32>,
    /// The first rows of the groups that were not held before.
    pub(super) new_rows: Vec<u32>,
    /// The hashes of some keys, and where these probably are.
    probes: Vec<(u64, Option<u32>)>,
    touched: Numbered,
}

impl Groups {
    fn clear(&mut self) {
        self.slots.clear();
        self.new_rows.clear();
    }

    /// Finds the groups of all rows with these keys: first all look-ups of some rows, then what came of them
    /// ([`KeyedState::probe`]).
    pub(super) fn find(&mut self, keys: &Rows, calls: &Calls, state: &mut State) {
        self.clear();
        let rows = keys.num_rows();
        self.slots.reserve(rows);
        for start in (0..rows).step_by(PROBES_AT_ONCE) {
            let some = start..rows.min(start + PROBES_AT_ONCE);
            self.look_up(keys, some.clone(), state);
            self.settle(keys, some, calls, state);
        }
    }

    /// Apart from what comes of it, so that each of the two loops has the registers to itself.
    #[inline(never)]
    fn look_up(&mut self, keys: &Rows, rows: Range<usize>, state: &State) {
        self.probes.clear();
        self.probes.extend(rows.map(|row| {
            let hash = hash_bytes(keys.row(row).data());
            (hash, state.probe_slot(hash))
        }));
    }

    #[inline(never)]
    fn settle(&mut self, keys: &Rows, rows: Range<usize>, calls: &Calls, state: &mut State) {
        for (row, &probe) in rows.zip(&self.probes) {
            let key = keys.row(row);
            let key = key.data();
            let (slot, new) =
                state.slot_probed(probe, |held| held.is(key), || (KeyBytes::from(key), calls.empty()));
            self.slots.push(slot);
            if new {
                self.new_rows.push(row as u32);
            }
        }
    }

    /// As [`Groups::find`], of the first rows, as many as are in at most `most` groups.
    pub(super) fn find_some(&mut self, keys: &Rows, most: usize, calls: &Calls, state: &mut State) {
        self.clear();
        self.touched.clear();
        let mut key = KeyBytes::default();
        for (row, bytes) in keys.iter().enumerate() {
            key.set(bytes.data());
            let hash = hash_bytes(bytes.data());
            if self.touched.len() >= most {
                // Only rows of the groups there are.
                match state.find_slot(hash, &key).filter(|slot| self.touched.number_of(*slot).is_some()) {
                    Some(slot) => self.slots.push(slot),
                    None => return,
                }
                continue;
            }
            let (slot, new) = state.slot(hash, &key, || calls.empty());
            if self.touched.number_of(slot).is_none() {
                self.touched.add(slot);
            }
            if new {
                self.new_rows.push(row as u32);
            }
            self.slots.push(slot);
        }
    }

    /// Takes these rows as those of the one group that there is without group columns.
    pub(super) fn find_only(&mut self, rows: usize, calls: &Calls, state: &mut State) {
        self.clear();
        if rows > 0 {
            let (slot, new) = state.slot(hash_bytes(&[]), &KeyBytes::default(), || calls.empty());
            self.new_rows.extend(new.then_some(0));
            self.slots.resize(rows, slot);
        }
    }

    /// The groups of the batch in the order of their first rows: these rows and the groups' slots.
    pub(super) fn first_rows(&mut self) -> (Vec<u32>, &[u32]) {
        self.touched.clear();
        let mut first_rows = Vec::new();
        for (row, &slot) in self.slots.iter().enumerate() {
            if self.touched.number_of(slot).is_none() {
                self.touched.add(slot);
                first_rows.push(row as u32);
            }
        }
        (first_rows, self.touched.slots())
    }
}

/// Slots that changed, each once, in the order in which they first did.
#[derive(Debug, Default)]
pub(super) struct ChangedSlots {
    /// And slots that were removed.
    slots: VecDeque<u32>,
    /// For each slot, whether it is among them.
    held: Vec<bool>,
}

impl ChangedSlots {
    pub(super) fn add(&mut self, slots: &[u32]) {
        for &slot in slots {
            if self.held.len() <= slot as usize {
                self.held.resize(slot as usize + 1, false);
            }
            if !std::mem::replace(&mut self.held[slot as usize], true) {
                self.slots.push_back(slot);
            }
        }
    }

    /// Takes out one slot, if it is there.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        self.held.get_mut(slot as usize).is_some_and(std::mem::take)
    }

    /// Takes out the first ones.
    pub(super) fn take(&mut self, most: usize) -> Vec<u32> {
        let mut taken = Vec::with_capacity(most.min(self.slots.len()));
        while taken.len() < most
            && let Some(slot) = self.slots.pop_front()
        {
            if self.remove(slot) {
                taken.push(slot);
            }
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
