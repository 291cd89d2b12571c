//! A table in memory as a source.

use super::MemoryTable;
use super::table::Log;
use crate::error::{ConnectorError, Result};
use crate::offsets::Offsets;
use crate::partitions::Partitions;
use crate::source::{Latest, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
use crate::waiters::Ticket;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use lotic_operators::Instance;
use lotic_operators::table::TableBatch;
use std::task::Waker;

/// The columns asked for.
pub(super) fn projected(rows: RecordBatch, projection: Option<&[usize]>) -> Result<RecordBatch> {
    let Some(projection) = projection else { return Ok(rows) };
    rows.project(projection)
        .map_err(|error| ConnectorError::internal(format!("a column asked for does not exist: {error}")))
}

#[derive(Debug)]
pub(super) struct TableSource {
    table: MemoryTable,
    projection: Option<Vec<usize>>,
}

impl TableSource {
    pub(super) fn new(table: MemoryTable, projection: Option<&[usize]>) -> Self {
        TableSource { table, projection: projection.map(<[usize]>::to_vec) }
    }
}

impl SourceFactory<TableBatch> for TableSource {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.table.name().to_owned(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: self.table.shared.log().partitions.len(),
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<TableBatch>>> {
        let partitions = Partitions::of(instance, self.table.shared.log().partitions.len());
        let (table, projection) = (self.table.clone(), self.projection.clone());
        Ok(Box::new(Reader { table, projection, partitions, ticket: None }))
    }
}

struct Reader {
    table: MemoryTable,
    projection: Option<Vec<usize>>,
    partitions: Partitions,
    ticket: Ticket,
}

impl Reader {
    /// What is ready, or why nothing is; `None` if the rows to come have to be waited for.
    fn attempt(&mut self, until: Option<&Offsets>, rows_max: usize) -> Result<Option<Polled<TableBatch>>> {
        let log = self.table.shared.log();
        if log.replaced {
            return Err(replaced(self.table.name()));
        }
        let end_of = |partition: usize| log.partitions[partition].rows();
        self.partitions.bound(until, end_of);
        let ready = usize::try_from(self.partitions.ready()).unwrap_or(usize::MAX).min(rows_max);
        if ready > 0 {
            let rows = read(&mut self.partitions, &log, ready)?;
            drop(log);
            let rows = projected(rows, self.projection.as_deref())?;
            return Ok(Some(Polled::Batch(TableBatch::from(rows))));
        }
        Ok(if log.finished && self.partitions.exhausted(end_of) {
            Some(Polled::Finished)
        } else if until.is_some_and(|until| self.partitions.reached(until)) {
            Some(Polled::AtEnd)
        } else {
            None
        })
    }
}

/// Up to this many rows, of which at least one is ready: from a single partition a slice of one batch, from
/// several their rows in turn.
fn read(partitions: &mut Partitions, log: &Log, ready: usize) -> Result<RecordBatch> {
    let single = partitions.single();
    if let Some((partition, next)) = single {
        let (batch, first) = log.partitions[partition].find(next);
        let rows = ready.min(batch.num_rows() - first);
        partitions.take(rows, |_, _| {});
        return Ok(batch.slice(first, rows));
    }
    let mut batches: Vec<&RecordBatch> = Vec::new();
    let mut places = Vec::with_capacity(ready);
    partitions.take(ready, |partition, row| {
        let (batch, place) = log.partitions[partition].find(row);
        let known = batches.iter().rposition(|known| std::ptr::eq(*known, batch));
        let number = known.unwrap_or_else(|| {
            batches.push(batch);
            batches.len() - 1
        });
        places.push((number, place));
    });
    interleave_record_batch(&batches, &places)
        .map_err(|error| ConnectorError::internal(format!("rows could not be put together: {error}")))
}

#[cold]
fn replaced(table: &str) -> ConnectorError {
    ConnectorError::user(format!(
        "table `{table}` in memory was replaced and cannot be read as a stream: rows of a stream never go \
         away; read it as a bounded table, or write to it in append or update mode"
    ))
}

impl Source<TableBatch> for Reader {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.partitions.start(self.table.name(), from)?;
        let log = self.table.shared.log();
        let beyond = |(partition, next): &(usize, u64)| *next > log.partitions[*partition].rows();
        match self.partitions.next_rows(None).find(beyond) {
            None => Ok(()),
            Some((partition, next)) => Err(ConnectorError::user(format!(
                "table `{}` in memory holds {} rows in partition {partition}, but the checkpoint continues at \
                 row {next}: rows in memory do not outlive their process; start from a new checkpoint location",
                self.table.name(),
                log.partitions[partition].rows(),
            ))),
        }
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<TableBatch>> {
        let rows_max = request.max_rows.max(1);
        if let Some(polled) = self.attempt(request.until, rows_max)? {
            return Ok(polled);
        }
        self.table.shared.sources.register(&mut self.ticket, request.waker);
        Ok(self.attempt(request.until, rows_max)?.unwrap_or(Polled::Pending(None)))
    }

    fn polled_partition(&self) -> Option<usize> {
        (!self.partitions.read_ahead()).then_some(0)
    }

    fn offsets(&self) -> Offsets {
        self.partitions.offsets()
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let log = self.table.shared.log();
        self.partitions.bound(None, |partition| log.partitions[partition].rows());
        Ok(Latest::At(self.partitions.plan(max_rows)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.table.shared.sources.cancel(self.ticket);
    }
}
