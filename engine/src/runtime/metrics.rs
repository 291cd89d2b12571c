//! What each actor counts while it runs.

use hdrhistogram::Histogram;
use lotic_operators::PartitionId;
use std::collections::BTreeMap;
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
    /// Entries of keyed state that were held at the last marker.
    pub(crate) state_rows: AtomicU64,
    /// Entries of keyed state that markers found changed.
    pub(crate) state_rows_updated: AtomicU64,
    /// Timers that have come up; with `rows_in` it tells whether anything happened.
    pub(crate) ticks: AtomicU64,
    /// The merged watermark, microseconds.
    pub(crate) watermark: AtomicU64,
    /// The partition that holds the watermark back, where a watermark is made of rows.
    held_by_partition: AtomicU64,
    /// One more than the input that does, where watermarks of several inputs meet.
    held_by_input: AtomicU64,
    /// The names of the inputs, if there are several.
    inputs: Vec<String>,
    /// Of a source, the names of its partitions.
    partitions: Mutex<BTreeMap<PartitionId, String>>,
    latency: Mutex<Histogram<u32>>,
}

impl ActorMetrics {
    pub(crate) fn new(name: String, inputs: Vec<String>) -> Arc<ActorMetrics> {
        Arc::new(ActorMetrics {
            name,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            late_rows: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            state_rows: AtomicU64::new(0),
            state_rows_updated: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            watermark: AtomicU64::new(i64::MIN as u64),
            held_by_partition: AtomicU64::new(PartitionId::NONE.0),
            held_by_input: AtomicU64::new(0),
            inputs,
            partitions: Mutex::default(),
            latency: Mutex::new(latency_histogram()),
        })
    }

    /// Adds to a counter that only one thread writes, without a read-modify-write on the bus.
    #[inline]
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// A partition holds the watermark back, or none does ([`PartitionId::NONE`]).
    pub(crate) fn hold_back(&self, partition: PartitionId) {
        self.held_by_partition.store(partition.0, Ordering::Relaxed);
    }

    /// An input holds the merged watermark back, or none does.
    pub(crate) fn hold_back_input(&self, input: Option<usize>) {
        self.held_by_input.store(input.map_or(0, |input| input as u64 + 1), Ordering::Relaxed);
    }

    /// A source reads a partition.
    pub(crate) fn name_partition(&self, id: PartitionId, name: String) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name);
    }

    /// The name of a partition, if this is the source that reads it.
    pub(crate) fn partition_name(&self, id: PartitionId) -> Option<String> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The partition that holds the watermark back, if one does.
    pub(crate) fn held_by_partition(&self) -> Option<PartitionId> {
        Some(PartitionId(self.held_by_partition.load(Ordering::Relaxed)))
            .filter(|id| *id != PartitionId::NONE)
    }

    /// The name of the input that holds the watermark back, if there are several.
    pub(crate) fn held_by_input(&self) -> Option<&str> {
        let input = usize::try_from(self.held_by_input.load(Ordering::Relaxed)).ok()?.checked_sub(1)?;
        if self.inputs.len() > 1 { self.inputs.get(input).map(String::as_str) } else { None }
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
