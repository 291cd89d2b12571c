//! State of a key that time takes away: a value, a list, a map, each with its time to live.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// By which time something expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TtlClock {
    /// The watermark. What is written before the first one lives from then on; the end of the input takes nothing.
    Event,
    /// Processing time.
    Processing,
}

/// How long what is written lives. Writing it again begins its time anew; reading does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    pub(super) clock: TtlClock,
    pub(super) after: Duration,
}

impl Ttl {
    /// This long in event time.
    #[must_use]
    pub fn event_time(after: Duration) -> Ttl {
        Ttl { clock: TtlClock::Event, after }
    }

    /// This long in processing time, as Spark's `TTLConfig`.
    #[must_use]
    pub fn processing_time(after: Duration) -> Ttl {
        Ttl { clock: TtlClock::Processing, after }
    }
}

/// A part of a state that can expire: [`ValueState`], [`ListState`] or [`MapState`].
pub trait Expiring {
    /// Drops what expires at this time or earlier.
    fn expire(&mut self, now: Timestamp);

    /// Says when what was written since the last call expires.
    fn stamp(&mut self, expires: Timestamp);

    /// When something expires next.
    fn next_expiry(&self) -> Option<Timestamp>;

    /// Whether something was written since the last [`stamp`](Expiring::stamp).
    fn has_fresh(&self) -> bool;

    /// Whether nothing is left.
    fn is_empty(&self) -> bool;
}

/// Collects the parts of a state that expire; see [`super::Process::expiring`].
#[allow(missing_debug_implementations, reason = "it holds a function")]
pub struct Fields<'a> {
    pub(super) each: &'a mut dyn FnMut(Ttl, &mut dyn Expiring),
    pub(super) keep: bool,
}

impl Fields<'_> {
    /// This part expires.
    pub fn field(&mut self, field: &mut dyn Expiring, ttl: Ttl) -> &mut Self {
        (self.each)(ttl, field);
        self
    }

    /// Whether there is something besides for which the state is to be kept when all of its parts that expire are
    /// empty. Otherwise the state as a whole is forgotten then.
    pub fn keep_if(&mut self, keep: bool) -> &mut Self {
        self.keep |= keep;
        self
    }
}

const NEVER: Timestamp = Timestamp::MAX;

/// At most one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueState<T> {
    value: Option<T>,
    expires: Timestamp,
    fresh: bool,
}

impl<T> Default for ValueState<T> {
    fn default() -> Self {
        ValueState { value: None, expires: NEVER, fresh: false }
    }
}

impl<T> ValueState<T> {
    /// The value.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Replaces the value.
    pub fn set(&mut self, value: T) {
        (self.value, self.fresh) = (Some(value), true);
    }

    /// Changes the value, at first the default.
    pub fn update(&mut self, change: impl FnOnce(&mut T))
    where
        T: Default,
    {
        change(self.value.get_or_insert_default());
        self.fresh = true;
    }

    /// Forgets the value and returns it.
    pub fn take(&mut self) -> Option<T> {
        (self.expires, self.fresh) = (NEVER, false);
        self.value.take()
    }
}

impl<T> Expiring for ValueState<T> {
    fn expire(&mut self, now: Timestamp) {
        if !self.fresh && self.expires <= now {
            self.take();
        }
    }
    fn stamp(&mut self, expires: Timestamp) {
        if std::mem::take(&mut self.fresh) {
            self.expires = expires;
        }
    }
    fn next_expiry(&self) -> Option<Timestamp> {
        (self.value.is_some() && self.expires < NEVER).then_some(self.expires)
    }
    fn has_fresh(&self) -> bool {
        self.fresh
    }
    fn is_empty(&self) -> bool {
        self.value.is_none()
    }
}

/// A list, each element of which expires by itself, in the order in which they were added.
///
/// # Cost
/// The state of a key is one entry: a change of any part of it has all of the key's state written at the next
/// marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListState<T> {
    elements: VecDeque<(Timestamp, T)>,
    /// Elements at the end that have no time yet.
    fresh: usize,
}

impl<T> Default for ListState<T> {
    fn default() -> Self {
        ListState { elements: VecDeque::new(), fresh: 0 }
    }
}

impl<T> ListState<T> {
    /// Adds an element at the end.
    pub fn push(&mut self, element: T) {
        self.elements.push_back((NEVER, element));
        self.fresh += 1;
    }

    /// The elements, in the order in which they were added.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.elements.iter().map(|(_, element)| element)
    }

    /// Takes the oldest element out.
    pub fn pop_front(&mut self) -> Option<T> {
        let (_, element) = self.elements.pop_front()?;
        self.fresh = self.fresh.min(self.elements.len());
        Some(element)
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Forgets all elements.
    pub fn clear(&mut self) {
        self.elements.clear();
        self.fresh = 0;
    }
}

impl<T> Expiring for ListState<T> {
    fn expire(&mut self, now: Timestamp) {
        while self.elements.len() > self.fresh && self.elements.front().is_some_and(|(time, _)| *time <= now)
        {
            self.elements.pop_front();
        }
    }
    fn stamp(&mut self, expires: Timestamp) {
        let from = self.elements.len() - std::mem::take(&mut self.fresh);
        self.elements.range_mut(from..).for_each(|(time, _)| *time = expires);
    }
    fn next_expiry(&self) -> Option<Timestamp> {
        self.elements.front().map(|(time, _)| *time).filter(|time| *time < NEVER)
    }
    fn has_fresh(&self) -> bool {
        self.fresh > 0
    }
    fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
}

/// A map, each entry of which expires by itself after it was last written.
///
/// # Cost
/// That of a binary tree; besides as for [`ListState`]. With a time to live, a key is kept twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapState<K: Ord, V> {
    entries: BTreeMap<K, (Timestamp, V)>,
    /// In the order in which they were written; those written again since are there more than once.
    order: VecDeque<(Timestamp, K)>,
    fresh: Vec<K>,
}

impl<K: Ord, V> Default for MapState<K, V> {
    fn default() -> Self {
        MapState { entries: BTreeMap::new(), order: VecDeque::new(), fresh: Vec::new() }
    }
}

impl<K: Ord + Clone, V> MapState<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Sets the value of a key and returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.fresh.push(key.clone());
        self.entries.insert(key, (NEVER, value)).map(|(_, value)| value)
    }

    /// Changes the value of a key, at first the default.
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        self.fresh.push(key.clone());
        let (time, value) = self.entries.entry(key).or_insert_with(|| (NEVER, V::default()));
        *time = NEVER;
        change(value);
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        *self = MapState::default();
    }

    /// Whether what stands in the order is the last writing of its key.
    fn is_last(entries: &BTreeMap<K, (Timestamp, V)>, (time, key): &(Timestamp, K)) -> bool {
        entries.get(key).is_some_and(|(expires, _)| expires == time)
    }
}

impl<K: Ord + Clone, V> Expiring for MapState<K, V> {
    fn expire(&mut self, now: Timestamp) {
        while let Some(first) = self.order.front() {
            let last = Self::is_last(&self.entries, first);
            if last && first.0 > now {
                break;
            }
            if last {
                self.entries.remove(&first.1);
            }
            self.order.pop_front();
        }
    }
    fn stamp(&mut self, expires: Timestamp) {
        for key in std::mem::take(&mut self.fresh) {
            if let Some((time, _)) = self.entries.get_mut(&key)
                && *time == NEVER
            {
                *time = expires;
                self.order.push_back((expires, key));
            }
        }
        // Half of it at least are last writings, so that this costs a constant for each writing.
        if self.order.len() > 16 + 2 * self.entries.len() {
            self.order.retain(|entry| Self::is_last(&self.entries, entry));
        }
    }
    fn next_expiry(&self) -> Option<Timestamp> {
        self.order.iter().find(|entry| Self::is_last(&self.entries, entry)).map(|(time, _)| *time)
    }
    fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
