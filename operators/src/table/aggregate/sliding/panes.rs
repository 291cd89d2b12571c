//! The panes that each key holds, and which window of a key is next.

use crate::state::{KeyedState, Timers};
use crate::table::keys::{KeyBytes, hash_bytes};
use crate::time::Timestamp;
use crate::window::cut::Cut;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The panes of a key that have rows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Panes {
    /// Numbers and slots, in order of time.
    panes: VecDeque<(i128, u32)>,
    /// The next window to be emitted; every pane is in it or in a later one.
    next: i128,
    /// Where the key stands among the timers.
    timer: Option<Timestamp>,
}

/// A window of a key that is over, with the slots of its panes, and those that are in no later one.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) window: i128,
    pub(super) panes: Vec<u32>,
    pub(super) gone: Vec<u32>,
}

/// An index of the panes in keyed state. It is not part of a snapshot, but rebuilt.
#[derive(Debug)]
pub(super) struct Directory {
    cut: Cut,
    keys: KeyedState<KeyBytes, Panes>,
    /// Places of keys by when they are to be looked at. A timer that is not the key's own is skipped.
    timers: Timers<u32>,
}

impl Directory {
    pub(super) fn new(cut: Cut) -> Directory {
        Directory { cut, keys: KeyedState::new("panes-of-keys"), timers: Timers::default() }
    }

    /// Takes in a new pane of a key, of whose windows those that end after the watermark are still to come.
    pub(super) fn add(&mut self, key: &KeyBytes, pane: i128, slot: u32, watermark: Timestamp) {
        let (place, new) = self.keys.slot(hash_bytes(key.as_slice()), key, Panes::default);
        let held = self.keys.at_mut(place);
        held.panes.insert(held.panes.partition_point(|(other, _)| *other < pane), (pane, slot));
        let first = self.cut.first_of_pane(pane).max(self.cut.first_open(watermark));
        if new || first < held.next {
            held.next = first;
        }
        let due = self.cut.end(held.next);
        if held.timer.is_none_or(|timer| due < timer) {
            held.timer = Some(due);
            self.timers.add(due, place);
        }
    }

    /// Takes the next window that is over, the earliest first; `None` inside if there was a void timer.
    pub(super) fn pop_over(&mut self, watermark: Timestamp) -> Option<Option<Over>> {
        let (time, place) = self.timers.pop_due(watermark)?;
        if self.keys.at(place).is_none_or(|(_, held)| held.timer != Some(time)) {
            return Some(None);
        }
        let (cut, held) = (self.cut, self.keys.at_mut(place));
        let mut over = Over { window: held.next, ..Over::default() };
        let of_window = held.panes.iter().take_while(|(pane, _)| cut.first_of_pane(*pane) <= over.window);
        over.panes.extend(of_window.map(|(_, slot)| *slot));
        while let Some((_, slot)) =
            held.panes.pop_front_if(|(pane, _)| cut.last_of_pane(*pane) <= over.window)
        {
            over.gone.push(slot);
        }
        match held.panes.front() {
            Some((pane, _)) => {
                held.next = cut.first_of_pane(*pane).max(over.window + 1);
                let due = cut.end(held.next);
                held.timer = Some(due);
                self.timers.add(due, place);
            }
            None => {
                if let Some((key, _)) = self.keys.at(place) {
                    let hash = hash_bytes(key.as_slice());
                    self.keys.remove_slot(hash, place);
                }
            }
        }
        Some(Some(over))
    }
}
