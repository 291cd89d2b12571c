//! Timers of all keys, and the times that they wait for.

use crate::limits::DUE_TIMERS_SET_BY_TIMERS;
use crate::state::{KeyTimers, Timers};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A timer that has come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The watermark has reached this event time.
    Event(Timestamp),
    /// Processing time has reached this.
    Processing(Timestamp),
}

/// Both indexes of timers. Between two calls no event-time timer in them is due.
#[derive(Debug)]
pub(super) struct Clocks<K> {
    pub(super) event: KeyTimers<K>,
    pub(super) processing: KeyTimers<K>,
    pub(super) watermark: Timestamp,
    /// The last watermark that was not the end of the input: by it state expires.
    pub(super) reached: Timestamp,
    /// Due timers that timers may still set until no timer is due; see [`DUE_TIMERS_SET_BY_TIMERS`].
    pub(super) allowance: Option<u64>,
    /// When the state of keys expires next, by event and by processing time.
    pub(super) expiry: [Timers<K>; 2],
}

impl<K: Eq> Clocks<K> {
    pub(super) fn new() -> Self {
        Clocks {
            event: KeyTimers::default(),
            processing: KeyTimers::default(),
            watermark: Timestamp::MIN,
            reached: Timestamp::MIN,
            allowance: None,
            expiry: [Timers::default(), Timers::default()],
        }
    }

    pub(super) fn reach(&mut self, watermark: Timestamp) {
        self.watermark = watermark;
        if watermark < Timestamp::MAX {
            self.reached = watermark;
        }
    }

    /// The times by which state expires, event and processing.
    pub(super) fn of_expiry(&self, now: Timestamp) -> [Timestamp; 2] {
        [self.reached, now]
    }

    pub(super) fn add(&mut self, timer: Timer, hash: u64, key: K) {
        match timer {
            Timer::Event(time) => self.event.add(time, hash, key),
            Timer::Processing(time) => self.processing.add(time, hash, key),
        }
    }

    pub(super) fn cancel(&mut self, timer: Timer, hash: u64, key: &K) {
        match timer {
            Timer::Event(time) => self.event.cancel(time, hash, key),
            Timer::Processing(time) => self.processing.cancel(time, hash, key),
        }
    }

    pub(super) fn pop_event(&mut self) -> Option<(Timer, u64, K)> {
        self.event.pop_due(self.watermark).map(|(time, hash, key)| (Timer::Event(time), hash, key))
    }

    pub(super) fn pop_processing(&mut self, now: Timestamp) -> Option<(Timer, u64, K)> {
        self.processing.pop_due(now).map(|(time, hash, key)| (Timer::Processing(time), hash, key))
    }

    /// Counts a timer that was set while another came up, unless that cannot go on for ever: a later timer
    /// of the same kind brings the end nearer.
    pub(super) fn count_chained(&mut self, from: Timer, to: Timer, now: Timestamp) {
        let advances = match (from, to) {
            (Timer::Event(from), Timer::Event(to)) => from < to && self.watermark < Timestamp::MAX,
            (Timer::Processing(from), Timer::Processing(to)) => from < to,
            _ => false,
        };
        let due = match to {
            Timer::Event(time) => time <= self.watermark,
            Timer::Processing(time) => time <= now,
        };
        if due && !advances {
            let registered = (self.event.len() + self.processing.len()) as u64;
            let most = registered.max(DUE_TIMERS_SET_BY_TIMERS) * DUE_TIMERS_SET_BY_TIMERS;
            let allowed = self.allowance.get_or_insert(most);
            *allowed = allowed.saturating_sub(1);
        }
    }
}
