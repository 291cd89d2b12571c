//! Which group each row of a batch belongs to.

use super::cell::GroupState;
use crate::state::KeyedState;
use crate::table::keys::{KeyBytes, hash_bytes};
use std::collections::VecDeque;

/// The groups of the rows of a batch, numbered from 0 in the order of their first rows.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of each row.
    pub(super) of_row: Vec<u32>,
    /// The slot of each group in the keyed state.
    pub(super) slots: Vec<u32>,
    /// The first row of each group.
    pub(super) first_rows: Vec<u32>,
    /// The first rows of the groups that were not held before.
    pub(super) new_rows: Vec<u32>,
    /// For each slot the batch that touched it last, and the group it was in it.
    touched: Vec<(u32, u32)>,
    batch: u32,
    key: KeyBytes,
}

impl Groups {
    /// Begins a batch.
    pub(super) fn clear(&mut self) {
        self.of_row.clear();
        self.slots.clear();
        self.first_rows.clear();
        self.new_rows.clear();
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.touched.clear();
            self.batch = 1;
        }
    }

    /// Adds the rows of these keys until there would be more than `most` groups. New groups begin with
    /// `cells` empty cells.
    pub(super) fn add<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a [u8]>,
        most: usize,
        cells: usize,
        state: &mut KeyedState<KeyBytes, GroupState>,
    ) {
        for (row, key) in keys.enumerate() {
            self.key.set(key);
            let make = || GroupState::new(cells);
            let hash = hash_bytes(key);
            if self.slots.len() >= most {
                // Only rows of the groups there are.
                let held = state.find_slot(hash, &self.key);
                match held.and_then(|slot| self.group_of(slot)) {
                    Some(group) => self.of_row.push(group),
                    None => return,
                }
                continue;
            }
            let (slot, new) = state.slot(hash, &self.key, make);
            let group = self.group_of(slot).unwrap_or_else(|| self.begin(slot, row as u32, new));
            self.of_row.push(group);
        }
    }

    #[inline]
    fn group_of(&self, slot: u32) -> Option<u32> {
        self.touched.get(slot as usize).filter(|(batch, _)| *batch == self.batch).map(|(_, group)| *group)
    }

    fn begin(&mut self, slot: u32, row: u32, new: bool) -> u32 {
        let group = self.slots.len() as u32;
        self.slots.push(slot);
        self.first_rows.push(row);
        if new {
            self.new_rows.push(row);
        }
        if self.touched.len() <= slot as usize {
            self.touched.resize(slot as usize + 1, (0, 0));
        }
        self.touched[slot as usize] = (self.batch, group);
        group
    }

    /// The rows that count, group by group and in their order within a group, and where each group ends.
    pub(super) fn by_group(&self, counts: impl Fn(usize) -> bool) -> (Vec<u32>, Vec<usize>) {
        let mut ends = vec![0usize; self.slots.len()];
        let rows = || self.of_row.iter().enumerate().filter(|(row, _)| counts(*row));
        rows().for_each(|(_, &group)| ends[group as usize] += 1);
        let mut total = 0;
        let mut next: Vec<usize> = Vec::with_capacity(ends.len());
        for end in &mut ends {
            next.push(total);
            total += *end;
            *end = total;
        }
        let mut order = vec![0u32; total];
        for (row, &group) in rows() {
            let place = &mut next[group as usize];
            order[*place] = row as u32;
            *place += 1;
        }
        (order, ends)
    }
}

/// Slots that changed, each once, in the order in which they first did.
#[derive(Debug, Default)]
pub(super) struct ChangedSlots {
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

    /// Takes out the first ones.
    pub(super) fn take(&mut self, most: usize) -> Vec<u32> {
        let taken: Vec<u32> = self.slots.drain(..most.min(self.slots.len())).collect();
        taken.iter().for_each(|&slot| self.held[slot as usize] = false);
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
