//! What a lookup join may be told.

use std::time::Duration;

/// In which order rows leave a lookup join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LookupOrder {
    /// As they came: an answer waits for those of the rows before it.
    #[default]
    Ordered,
    /// As their answers come, but no row overtakes a watermark or a marker, nor is overtaken by one of them:
    /// rows behind a marker wait for those in front of it.
    Unordered,
}

/// What becomes of a row whose key got no answer, after all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The query fails, or is restarted if its restart policy says so.
    #[default]
    Fail,
    /// The row counts as one without a match.
    NoMatch,
}

/// How a lookup join remembers answers, those that there is no match among them.
///
/// With it, requests for one key at a time are merged: rows that come while their key is being asked for
/// share the answer. What is remembered is no part of checkpoints: a restored query asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupCache {
    pub(super) entries: usize,
    pub(super) ttl: Duration,
}

impl LookupCache {
    /// Remembers at most this many answers in each instance, each for `ttl` of processing time since it came.
    /// When it is full the oldest makes room.
    #[must_use]
    pub fn new(entries: usize, ttl: Duration) -> Self {
        LookupCache { entries, ttl }
    }
}

/// How a lookup join asks.
///
/// By default: 100 rows held, ordered, one attempt without a time limit, a failure fails the query, no cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupOptions {
    pub(super) capacity: usize,
    pub(super) order: LookupOrder,
    pub(super) on_failure: OnFailure,
    pub(super) cache: Option<LookupCache>,
    timeout: Option<Duration>,
    attempts: u32,
    pause: Duration,
}

impl Default for LookupOptions {
    fn default() -> Self {
        LookupOptions {
            capacity: 100,
            order: LookupOrder::Ordered,
            on_failure: OnFailure::Fail,
            cache: None,
            timeout: None,
            attempts: 1,
            pause: Duration::ZERO,
        }
    }
}

impl LookupOptions {
    /// Rows that each instance holds, and so requests that it has in flight, at most (at least one). When
    /// that many are held it takes no more input until one has left.
    #[must_use]
    pub fn capacity(mut self, rows: usize) -> Self {
        self.capacity = rows.max(1);
        self
    }

    /// In which order rows leave.
    #[must_use]
    pub fn order(mut self, order: LookupOrder) -> Self {
        self.order = order;
        self
    }

    /// What becomes of rows without an answer. A panic of the function fails the query in any case.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Remembers answers and merges requests for one key.
    #[must_use]
    pub fn cache(mut self, cache: LookupCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The time that one attempt may take; then its future is dropped and it has failed.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often a key is asked for before its request has failed (at least once), and the pause after an
    /// attempt that failed.
    #[must_use]
    pub fn attempts(mut self, attempts: u32, pause: Duration) -> Self {
        self.attempts = attempts.max(1);
        self.pause = pause;
        self
    }

    /// For the runtime: the time that one attempt may take.
    pub fn attempt_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// For the runtime: attempts at most, and the pause between two.
    pub fn attempts_and_pause(&self) -> (u32, Duration) {
        (self.attempts, self.pause)
    }
}
