//! The sessions that are open: what is kept of them, and indexes by key and by time.

use crate::state::{KeyedState, Timers};
use crate::table::aggregate::calls::{GroupState, HoldsGroup};
use crate::table::keys::{KeyBytes, hash_bytes};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::ops::Range;

/// A session: the state of its rows, and its bounds in ticks of its event time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) group: GroupState,
}

impl HoldsGroup for Session {
    #[inline]
    fn group(&self) -> &GroupState {
        &self.group
    }

    #[inline]
    fn group_mut(&mut self) -> &mut GroupState {
        &mut self.group
    }
}

/// Where an open session is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) slot: u32,
}

/// Those of a key, in order of time; no two of them touch.
pub(super) type Opens = SmallVec<[Open; 1]>;

/// An index of the sessions in keyed state. It is not part of a snapshot, but rebuilt.
#[derive(Debug)]
pub(super) struct Directory {
    keys: KeyedState<KeyBytes, Opens>,
}

impl Directory {
    pub(super) fn new() -> Directory {
        Directory { keys: KeyedState::new("open-sessions") }
    }

    /// Where the sessions of a key are; never none once the caller has put one there.
    pub(super) fn place(&mut self, hash: u64, key: &KeyBytes) -> u32 {
        self.keys.slot(hash, key, Opens::new).0
    }

    pub(super) fn at(&mut self, place: u32) -> &mut Opens {
        self.keys.at_mut(place)
    }

    /// Takes in a session that was restored.
    pub(super) fn add(&mut self, key: &KeyBytes, open: Open) {
        let place = self.place(hash_bytes(key.as_slice()), key);
        let opens = self.at(place);
        opens.insert(opens.partition_point(|other| other.start < open.start), open);
    }

    /// Takes out the session in a slot.
    pub(super) fn remove(&mut self, key: &KeyBytes, slot: u32) {
        let hash = hash_bytes(key.as_slice());
        if let Some(opens) = self.keys.get_mut(hash, key) {
            opens.retain(|open| open.slot != slot);
            if opens.is_empty() {
                self.keys.remove(hash, key);
            }
        }
    }
}

/// The sessions that one from `start` to `end` touches: as in Spark, also where one ends as another begins.
pub(super) fn touched(opens: &Opens, start: i64, end: i64) -> Range<usize> {
    let from = opens.partition_point(|open| open.end < start);
    from..opens.partition_point(|open| open.start <= end)
}

/// When sessions are to be looked at: at their ends, or before if they have grown since.
#[derive(Debug, Default)]
pub(super) struct Ends {
    timers: Timers<u32>,
    /// For each slot where it stands among the timers, none if it is free. A timer that its slot does not
    /// stand at is skipped.
    of_slot: Vec<Option<Timestamp>>,
}

impl Ends {
    pub(super) fn set(&mut self, slot: u32, time: Timestamp) {
        let slot_at = slot as usize;
        if self.of_slot.len() <= slot_at {
            self.of_slot.resize(slot_at + 1, None);
        }
        self.of_slot[slot_at] = Some(time);
        self.timers.add(time, slot);
    }

    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(time) = self.of_slot.get_mut(slot as usize) {
            *time = None;
        }
    }

    /// Takes the earliest timer that is due: none inside if it is void.
    pub(super) fn pop_due(&mut self, watermark: Timestamp) -> Option<Option<u32>> {
        let (time, slot) = self.timers.pop_due(watermark)?;
        let of_slot = &mut self.of_slot[slot as usize];
        if *of_slot != Some(time) {
            return Some(None);
        }
        *of_slot = None;
        Some(Some(slot))
    }
}
