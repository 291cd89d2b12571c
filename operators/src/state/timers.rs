//! Indexes of keys by time.

use crate::time::Timestamp;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

/// Keys that want to be called at a time, earliest first; equal times in the order of registration.
///
/// The index is not part of a snapshot: whoever owns it keeps each key's times in the key's entry and
/// registers them again at a restore, so the order of equal times is not kept over a restart.
///
/// # Cost
/// Constant for each key of a time, which suits windows: thousands of keys, a handful of times. There is no
/// way to take a key out before its time; see [`KeyTimers`].
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

/// Timers of keys that can be cancelled, earliest first; equal times in the order of the keys' hashes, which
/// a restart does not change.
///
/// Like [`Timers`] it is rebuilt from the entries at a restore.
///
/// # Cost
/// Logarithmic. A cancelled timer takes no memory.
#[derive(Debug)]
pub struct KeyTimers<K> {
    /// Keys whose hashes are equal share a place.
    by_time: BTreeMap<(Timestamp, u64), Vec<K>>,
}

impl<K> Default for KeyTimers<K> {
    fn default() -> Self {
        KeyTimers { by_time: BTreeMap::new() }
    }
}

impl<K: Eq> KeyTimers<K> {
    /// Registers a key, of that hash, at a time; once, however often it is called.
    pub fn add(&mut self, time: Timestamp, hash: u64, key: K) {
        let keys = self.by_time.entry((time, hash)).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }

    /// Takes a timer out, if it is registered.
    pub fn cancel(&mut self, time: Timestamp, hash: u64, key: &K) {
        if let Entry::Occupied(mut place) = self.by_time.entry((time, hash)) {
            place.get_mut().retain(|held| held != key);
            if place.get().is_empty() {
                place.remove();
            }
        }
    }

    /// The earliest time registered.
    pub fn first(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|((time, _), _)| *time)
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, u64, K)> {
        let mut first = self.by_time.first_entry()?;
        let (time, hash) = *first.key();
        if time > now {
            return None;
        }
        let key = first.get_mut().pop().expect("invariant: no empty place is kept");
        if first.get().is_empty() {
            first.remove();
        }
        Some((time, hash, key))
    }

    /// Times registered, those of keys with equal hashes counted once.
    pub fn len(&self) -> usize {
        self.by_time.len()
    }

    /// Whether no timer is registered.
    pub fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_come_up_in_the_order_of_registration() {
        let mut timers = Timers::default();
        [(2, 'b'), (1, 'x'), (2, 'a')].into_iter().for_each(|(time, key)| timers.add(Timestamp(time), key));
        assert_eq!(timers.pop_due(Timestamp(0)), None);
        let popped: Vec<char> =
            std::iter::from_fn(|| timers.pop_due(Timestamp(2))).map(|(_, key)| key).collect();
        assert_eq!(popped, ['x', 'b', 'a']);
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn a_cancelled_timer_is_gone_and_its_neighbours_stay_also_when_hashes_are_equal() {
        let mut timers = KeyTimers::default();
        for (time, hash, key) in [(5, 9, 'a'), (5, 9, 'b'), (5, 9, 'b'), (5, 1, 'c'), (7, 1, 'c')] {
            timers.add(Timestamp(time), hash, key);
        }
        timers.cancel(Timestamp(5), 9, &'a');
        timers.cancel(Timestamp(7), 1, &'c');
        timers.cancel(Timestamp(8), 1, &'c');
        let popped: Vec<char> =
            std::iter::from_fn(|| timers.pop_due(Timestamp::MAX)).map(|(.., key)| key).collect();
        assert_eq!(popped, ['c', 'b']);
        assert!(timers.is_empty());
    }
}
