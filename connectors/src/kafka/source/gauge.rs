//! The figures of each partition, shared by the reader, the source and whoever shows them.

use crate::source::Figures;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Read ahead: put in by the reader, taken out by the source.
    pub(super) ahead_rows: AtomicU64,
    pub(super) ahead_bytes: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) position: AtomicI64,
    pub(super) end: AtomicI64,
    /// Whether a broker has said where the partition ends.
    pub(super) end_known: AtomicBool,
    /// One more than the committed offset; 0 before the first.
    committed: AtomicI64,
}

impl Gauge {
    pub(super) fn set_committed(&self, offset: i64) {
        self.committed.store(offset + 1, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> BTreeMap<&'static str, f64> {
        let position = self.position.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed).max(position);
        let mut figures = BTreeMap::from([
            ("position", position as f64),
            ("end", end as f64),
            ("lag", (end - position) as f64),
            ("fetched_ahead_rows", self.ahead_rows.load(Ordering::Relaxed) as f64),
            ("fetched_ahead_bytes", self.ahead_bytes.load(Ordering::Relaxed) as f64),
            ("rows", self.rows.load(Ordering::Relaxed) as f64),
            ("bytes", self.bytes.load(Ordering::Relaxed) as f64),
        ]);
        let committed = self.committed.load(Ordering::Relaxed);
        if committed > 0 {
            figures.insert("committed", (committed - 1) as f64);
        }
        figures
    }
}

/// All partitions of a source, over its instances and runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauges(Arc<All>);

#[derive(Debug, Default)]
struct All {
    partitions: Mutex<BTreeMap<String, Arc<Gauge>>>,
    skipped_batches: AtomicU64,
    data_losses: AtomicU64,
}

impl Gauges {
    /// The gauge of a partition that begins to be read here; what it held ahead in an earlier run is gone.
    pub(super) fn begin(&self, name: &str, position: i64) -> Arc<Gauge> {
        let mut partitions = self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = Gauge::default();
        if let Some(before) = partitions.get(name) {
            gauge.rows.store(before.rows.load(Ordering::Relaxed), Ordering::Relaxed);
            gauge.bytes.store(before.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            gauge.committed.store(before.committed.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        gauge.position.store(position, Ordering::Relaxed);
        let gauge = Arc::new(gauge);
        partitions.insert(name.to_owned(), Arc::clone(&gauge));
        gauge
    }

    pub(super) fn figures(&self) -> Figures {
        let partitions = self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().map(|(name, gauge)| (name.clone(), gauge.figures())).collect()
    }

    pub(super) fn count_skipped_batch(&self) -> u64 {
        1 + self.0.skipped_batches.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn skipped_batches(&self) -> u64 {
        self.0.skipped_batches.load(Ordering::Relaxed)
    }

    pub(super) fn count_data_loss(&self) {
        self.0.data_losses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn data_losses(&self) -> u64 {
        self.0.data_losses.load(Ordering::Relaxed)
    }
}
