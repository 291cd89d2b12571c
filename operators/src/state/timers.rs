//! An index of timers by time.

use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Keys that want to be called at a time, earliest first; equal times in the order of registration.
///
/// The index is not part of a snapshot: whoever owns it keeps each key's timers in the key's entry and
/// registers them again at a restore. Cancelled timers stay here and are recognised when they come up.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeMap<Timestamp, VecDeque<K>>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_time: BTreeMap::new() }
    }
}

impl<K> Timers<K> {
    /// Registers a key at a time.
    pub fn add(&mut self, time: Timestamp, key: K) {
        self.by_time.entry(time).or_default().push_back(key);
    }

    /// The earliest time registered.
    pub fn first(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|(time, _)| *time)
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, K)> {
        let mut first = self.by_time.first_entry()?;
        let time = *first.key();
        if time > now {
            return None;
        }
        let key = first.get_mut().pop_front().expect("invariant: no empty queue is kept");
        if first.get().is_empty() {
            first.remove();
        }
        Some((time, key))
    }
}
