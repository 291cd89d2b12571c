//! Sinks that throw rows away: for measurements, and for queries run for what they do on the way.

use super::{TableFormat, WriteRequest, no_partitions};
use crate::error::Result;
use crate::limits::PARALLELISM;
use crate::sink::{Delivery, Sink, SinkFactory, SinkTraits};
use lotic_operators::table::TableBatch;
use lotic_operators::{Batch, Epoch, Instance};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// A sink that counts rows and throws them away.
///
/// ```
/// let sink = lotic_connectors::table::blackhole::Blackhole::new("blackhole");
/// assert_eq!(sink.rows(), 0);
/// ```
///
/// # Delivery
/// At least once: after a restart, rows since the last checkpoint are counted again.
///
/// # Cost
/// One atomic addition for each batch.
#[derive(Debug, Clone)]
pub struct Blackhole {
    name: &'static str,
    rows: Arc<AtomicU64>,
}

impl Blackhole {
    /// A sink of this name.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Blackhole { name, rows: Arc::default() }
    }

    /// Rows thrown away so far, by all instances and clones.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

impl SinkFactory<TableBatch> for Blackhole {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.name.to_owned(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sink<TableBatch> for Blackhole {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        self.rows.fetch_add(batch.rows() as u64, Ordering::Relaxed);
        drop(batch.split_front(usize::MAX));
        Ok(())
    }
}

/// The format `blackhole`, also called `noop` as in Spark.
#[derive(Debug, Clone, Copy)]
pub struct BlackholeFormat {
    name: &'static str,
}

impl BlackholeFormat {
    /// The format under its own name.
    pub const BLACKHOLE: BlackholeFormat = BlackholeFormat { name: "blackhole" };
    /// The format under Spark's name.
    pub const NOOP: BlackholeFormat = BlackholeFormat { name: "noop" };
}

impl TableFormat for BlackholeFormat {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        "Throws rows away, after they were computed: for measurements."
    }

    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        request.options.check(self.name, &[])?;
        no_partitions(self.name, request)?;
        Ok(Box::new(Blackhole::new(self.name)))
    }
}
