//! The rows that a join holds: in keyed state, found by their key and by the time they are forgotten.

use crate::error::Result;
use crate::key::hash_within_group;
use crate::snapshot::{Restore, TableSnapshot};
use crate::state::{Index, KeyedState};
use crate::table::keys::{KeyBytes, hash_bytes};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

const ROWS: &str = "join-rows";

/// No slot, or no key.
const NONE: u32 = u32::MAX;

/// Which input a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Input {
    Left,
    Right,
}

impl Input {
    pub(super) fn other(self) -> Input {
        match self {
            Input::Left => Input::Right,
            Input::Right => Input::Left,
        }
    }
}

/// Tells the rows of a key apart. The rows of a key have slots of their own, so that a row that comes to a
/// key with thousands of them changes one page of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RowId {
    key: KeyBytes,
    /// Rows of one key have rising numbers, in the order in which they came.
    number: u64,
}

impl RowId {
    fn hash(&self) -> u64 {
        hash_within_group(hash_bytes(self.key.as_slice()), self.number)
    }
}

impl Hash for RowId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        state.write_u64(self.number);
    }
}

/// A row that is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HeldRow {
    pub(super) from: Input,
    /// Whether it has had a match; only kept up to date where it says what is emitted.
    pub(super) matched: bool,
    /// When no match can come any more; [`Timestamp::MAX`] if only the end of the input says so.
    pub(super) until: Timestamp,
    /// Its columns in Arrow's row format.
    pub(super) row: KeyBytes,
}

/// The rows of a key as two lists.
#[derive(Debug, Clone, Copy)]
struct Lists {
    first: [u32; 2],
    last: [u32; 2],
}

const EMPTY: Lists = Lists { first: [NONE; 2], last: [NONE; 2] };

/// The neighbours of a row in its list, and the number of the list.
#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    lists: u32,
}

/// The rows of both inputs. Only the rows themselves are part of a snapshot; the lists and the times are made
/// again at a restore.
#[derive(Debug)]
pub(super) struct HeldRows {
    rows: KeyedState<RowId, HeldRow>,
    next_number: u64,
    /// The number of a key's lists by the key's hash.
    keys: Index,
    lists: Vec<Lists>,
    free_lists: Vec<u32>,
    /// By slot.
    links: Vec<Link>,
    /// Slots by the time they are forgotten.
    times: BTreeSet<(Timestamp, u32)>,
    /// Whether rows of an input are emitted when they are forgotten, at the latest when the inputs end.
    emits: [bool; 2],
}

impl HeldRows {
    pub(super) fn new(emits: [bool; 2]) -> HeldRows {
        HeldRows {
            emits,
            rows: KeyedState::new(ROWS),
            next_number: 0,
            keys: Index::new(),
            lists: Vec::new(),
            free_lists: Vec::new(),
            links: Vec::new(),
            times: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of a key's lists.
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.keys.find(hash, |number| {
            let lists = &self.lists[number as usize];
            let any = if lists.first[0] == NONE { lists.first[1] } else { lists.first[0] };
            self.rows.at(any).is_some_and(|(id, _)| id.key.as_slice() == key)
        })
    }

    /// The first row of a key that came from an input.
    pub(super) fn first(&self, key: &[u8], from: Input) -> Option<u32> {
        let number = self.find(hash_bytes(key), key)?;
        Some(self.lists[number as usize].first[from as usize]).filter(|slot| *slot != NONE)
    }

    /// The row of the same key and input after this one.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        Some(self.links[slot as usize].after).filter(|slot| *slot != NONE)
    }

    /// A row that is held.
    pub(super) fn at(&self, slot: u32) -> &HeldRow {
        self.rows.at(slot).expect("invariant: listed slots are held").1
    }

    /// Notes that a row has had a match.
    pub(super) fn set_matched(&mut self, slot: u32) {
        if !self.at(slot).matched {
            self.rows.at_mut(slot).matched = true;
        }
    }

    pub(super) fn add(&mut self, key: &[u8], row: HeldRow) {
        let mut id = RowId { key: KeyBytes::default(), number: self.next_number };
        id.key.set(key);
        self.next_number += 1;
        let (from, until) = (row.from, row.until);
        let (slot, _) = self.rows.slot(id.hash(), &id, || row);
        self.link(slot, key, from, until);
    }

    /// Puts a row behind the others of its key and input.
    fn link(&mut self, slot: u32, key: &[u8], from: Input, until: Timestamp) {
        let hash = hash_bytes(key);
        let number = self.find(hash, key).unwrap_or_else(|| {
            let number = self.free_lists.pop().unwrap_or(self.lists.len() as u32);
            if number as usize == self.lists.len() {
                self.lists.push(EMPTY);
            }
            self.keys.insert(hash, number);
            number
        });
        let lists = &mut self.lists[number as usize];
        let before = std::mem::replace(&mut lists.last[from as usize], slot);
        if before == NONE {
            lists.first[from as usize] = slot;
        } else {
            self.links[before as usize].after = slot;
        }
        let link = Link { before, after: NONE, lists: number };
        if slot as usize >= self.links.len() {
            self.links.resize(slot as usize + 1, Link { before: NONE, after: NONE, lists: NONE });
        }
        self.links[slot as usize] = link;
        if until < Timestamp::MAX || self.emits[from as usize] {
            self.times.insert((until, slot));
        }
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, slot: u32) {
        let (id, row) = self.rows.at(slot).expect("invariant: listed slots are held");
        let (from, hash, row_hash) = (row.from as usize, hash_bytes(id.key.as_slice()), id.hash());
        self.times.remove(&(row.until, slot));
        let Link { before, after, lists: number } = self.links[slot as usize];
        let lists = &mut self.lists[number as usize];
        match before {
            NONE => lists.first[from] = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => lists.last[from] = before,
            after => self.links[after as usize].before = before,
        }
        if lists.first == [NONE; 2] {
            self.keys.remove(hash, |other| other == number);
            self.free_lists.push(number);
        }
        self.rows.remove_slot(row_hash, slot);
    }

    /// Takes the row to be forgotten first off the times, if its time has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<u32> {
        if self.times.first()?.0 > now {
            return None;
        }
        self.times.pop_first().map(|(_, slot)| slot)
    }

    pub(super) fn snapshot(&mut self) -> TableSnapshot {
        self.rows.snapshot()
    }

    pub(super) fn restore(&mut self, restore: Restore<'_>) -> Result<()> {
        self.rows.restore_by(restore, RowId::hash)?;
        let mut all: Vec<(u64, u32)> = (0..self.rows.slots_end())
            .filter_map(|slot| Some((self.rows.at(slot)?.0.number, slot)))
            .collect();
        all.sort_unstable();
        for (number, slot) in all {
            let (id, row) = self.rows.at(slot).expect("invariant: the slots were found filled");
            let (key, from, until) = (id.key.clone(), row.from, row.until);
            self.link(slot, key.as_slice(), from, until);
            self.next_number = number + 1;
        }
        Ok(())
    }
}
