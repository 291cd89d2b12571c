//! Which group each row of a batch belongs to.

use crate::state::KeyedState;
use crate::table::aggregate::calls::{Calls, GroupState};
use crate::table::aggregate::numbered::Numbered;
use crate::table::keys::{KeyBytes, hash_bytes};

/// The groups of the rows of a batch, numbered from 0 in the order of their first rows.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of each row.
    pub(super) of_row: Vec<u32>,
    /// The slot of each group in the keyed state.
    pub(super) slots: Numbered,
    /// The first row of each group.
    pub(super) first_rows: Vec<u32>,
    /// The first rows of the groups that were not held before.
    pub(super) new_rows: Vec<u32>,
    key: KeyBytes,
}

impl Groups {
    /// Begins a batch.
    pub(super) fn clear(&mut self) {
        self.of_row.clear();
        self.slots.clear();
        self.first_rows.clear();
        self.new_rows.clear();
    }

    /// Adds the rows of these keys until there would be more than `most` groups.
    pub(super) fn add<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a [u8]>,
        most: usize,
        calls: &Calls,
        state: &mut KeyedState<KeyBytes, GroupState>,
    ) {
        for (row, key) in keys.enumerate() {
            self.key.set(key);
            let hash = hash_bytes(key);
            if self.slots.len() >= most {
                // Only rows of the groups there are.
                let held = state.find_slot(hash, &self.key);
                match held.and_then(|slot| self.slots.number_of(slot)) {
                    Some(group) => self.of_row.push(group),
                    None => return,
                }
                continue;
            }
            let (slot, new) = state.slot(hash, &self.key, || calls.empty());
            let group = self.slots.number_of(slot).unwrap_or_else(|| self.begin(slot, row as u32, new));
            self.of_row.push(group);
        }
    }

    fn begin(&mut self, slot: u32, row: u32, new: bool) -> u32 {
        self.first_rows.push(row);
        if new {
            self.new_rows.push(row);
        }
        self.slots.add(slot)
    }
}
