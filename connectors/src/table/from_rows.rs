//! A source of the user's own rows as a source of tables: what lets `socket` and `rate` be written once.

use crate::error::Result;
use crate::offsets::Offsets;
use crate::source::{
    Figures, Latest, PollRequest, Polled, Source, SourceFactory, SourcePartition, SourceTraits,
};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance, Restore, Rows, Snapshot};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

/// Makes the columns of some rows, one for each row.
pub(super) type Convert<T> = Arc<dyn Fn(&[T]) -> Result<RecordBatch, ArrowError> + Send + Sync>;

/// A factory whose batches are turned into Arrow's; all else is passed through.
pub(super) struct FromRows<F, T> {
    factory: F,
    convert: Convert<T>,
}

impl<F, T> FromRows<F, T> {
    pub(super) fn new(factory: F, convert: Convert<T>) -> Self {
        FromRows { factory, convert }
    }
}

impl<F: fmt::Debug, T> fmt::Debug for FromRows<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.factory.fmt(f)
    }
}

impl<F: SourceFactory<Rows<T>>, T: Send + 'static> SourceFactory<TableBatch> for FromRows<F, T> {
    fn traits(&self) -> SourceTraits {
        self.factory.traits()
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<TableBatch>>> {
        let source = self.factory.create(instance)?;
        Ok(Box::new(Converting { source, convert: Arc::clone(&self.convert) }))
    }
}

struct Converting<T> {
    source: Box<dyn Source<Rows<T>>>,
    convert: Convert<T>,
}

impl<T: Send + 'static> Source<TableBatch> for Converting<T> {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.source.start(from)
    }

    fn restore(&mut self, restore: Restore<'_>) -> Result<()> {
        self.source.restore(restore)
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<TableBatch>> {
        Ok(match self.source.poll(request)? {
            Polled::Batch(rows) => {
                let batch = (self.convert)(rows.as_slice());
                Polled::Batch(TableBatch::from(batch.expect("invariant: the columns are as the schema says")))
            }
            Polled::Pending(wait) => Polled::Pending(wait),
            Polled::AtEnd => Polled::AtEnd,
            Polled::Finished => Polled::Finished,
        })
    }

    fn offsets(&self) -> Offsets {
        self.source.offsets()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.source.snapshot()
    }

    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest> {
        self.source.latest(max_rows, waker)
    }

    fn partitions(&mut self) -> Option<Vec<SourcePartition>> {
        self.source.partitions()
    }

    fn polled_partition(&self) -> Option<usize> {
        self.source.polled_partition()
    }

    fn figures(&self) -> Figures {
        self.source.figures()
    }

    fn committed(&mut self, epoch: Epoch, offsets: &Offsets) {
        self.source.committed(epoch, offsets);
    }
}
