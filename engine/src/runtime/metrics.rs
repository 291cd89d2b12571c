//! What each actor counts while it runs.

use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Latencies are kept between these bounds, to two significant digits: 15 KiB an actor, no allocation.
const LATENCY_NS: (u64, u64) = (100, 100_000_000_000);

/// A histogram of latencies in nanoseconds.
pub(crate) fn latency_histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, 2)
        .expect("invariant: the bounds are constant and valid")
}

/// The counters of one actor. The actor alone writes; reading them is rare.
#[derive(Debug)]
pub(crate) struct ActorMetrics {
    pub(crate) name: String,
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_out: AtomicU64,
    pub(crate) late_rows: AtomicU64,
    /// Nanoseconds in which the actor could not go on because a channel or a sink was full.
    pub(crate) blocked_ns: AtomicU64,
    /// Timers that have come up; with `rows_in` it tells whether anything happened.
    pub(crate) ticks: AtomicU64,
    /// The merged watermark, microseconds.
    pub(crate) watermark: AtomicU64,
    latency: Mutex<Histogram<u32>>,
}

impl ActorMetrics {
    pub(crate) fn new(name: String) -> Arc<ActorMetrics> {
        Arc::new(ActorMetrics {
            name,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            late_rows: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            watermark: AtomicU64::new(i64::MIN as u64),
            latency: Mutex::new(latency_histogram()),
        })
    }

    /// Adds to a counter that only one thread writes, without a read-modify-write on the bus.
    #[inline]
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// Notes the latency of a batch: its oldest row's.
    #[inline]
    pub(crate) fn record_latency(&self, ns: u64) {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.saturating_record(ns.max(LATENCY_NS.0));
    }

    /// The latencies since the last call.
    pub(crate) fn take_latency(&self) -> Histogram<u32> {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = latency.clone();
        latency.reset();
        taken
    }

    /// A number that grows whenever the actor did something that an epoch has to hold.
    pub(crate) fn activity(&self) -> u64 {
        self.rows_in
            .load(Ordering::Relaxed)
            .wrapping_add(self.rows_out.load(Ordering::Relaxed))
            .wrapping_add(self.ticks.load(Ordering::Relaxed))
    }
}
