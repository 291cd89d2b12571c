//! Which group each row of a batch belongs to.

use super::numbers::{NumberedGroups, Numbers};
use crate::error::Result;
use crate::limits::PROBES_AT_ONCE;
use crate::state::KeyedState;
use crate::table::aggregate::calls::{Calls, GroupState};
use crate::table::aggregate::numbered::Numbered;
use crate::table::expression::arrow_failed_to;
use crate::table::keys::{KeyBytes, hash_bytes};
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::DataType;
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
    /// Where the key is one number: the groups by it.
    numbered: Option<NumberedGroups>,
    /// The rows whose group is not among these.
    unknown: Vec<u32>,
}

impl Groups {
    /// The groups of keys of these types.
    pub(super) fn new(types: &[DataType]) -> Groups {
        let numbered = matches!(types, [of] if NumberedGroups::takes(of)).then(NumberedGroups::default);
        Groups { numbered, ..Groups::default() }
    }

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

    /// Finds the groups of rows whose keys are numbers that came before, if keys are numbers.
    pub(super) fn find_numbers(&mut self, columns: &[ArrayRef]) -> Option<Numbers> {
        let (Some(numbered), [column]) = (&self.numbered, columns) else { return None };
        let numbers = Numbers::of(column)?;
        self.slots.clear();
        self.new_rows.clear();
        self.unknown.clear();
        numbered.find(&numbers, &mut self.slots, &mut self.unknown);
        Some(numbers)
    }

    /// The keys of the other rows, if there are any.
    pub(super) fn unknown(&self, columns: &[ArrayRef]) -> Result<Option<Vec<ArrayRef>>> {
        if self.unknown.is_empty() {
            return Ok(None);
        }
        take_arrays(columns, &UInt32Array::from(self.unknown.clone()), None)
            .map(Some)
            .map_err(|error| arrow_failed_to("take the keys of new groups", &error))
    }

    /// Finds the groups of these other rows by their keys.
    pub(super) fn learn(&mut self, numbers: &Numbers, keys: &Rows, calls: &Calls, state: &mut State) {
        for (&row, key) in self.unknown.iter().zip(keys.iter()) {
            let (key, number) = (key.data(), numbers.at(row as usize));
            let hash = hash_bytes(key);
            let probe = (hash, state.probe_slot(hash));
            let (slot, new) =
                state.slot_probed(probe, |held| held.is(key), || (KeyBytes::from(key), calls.empty()));
            self.slots[row as usize] = slot;
            if new {
                self.new_rows.push(row);
            }
            self.numbered.take_if(|numbered| !numbered.add(number, slot));
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
