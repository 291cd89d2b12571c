//! A table in memory as a sink.

use super::MemoryTable;
use crate::error::{ConnectorError, Result};
use crate::limits::PARALLELISM;
use crate::sink::{Committer, Delivery, Prepare, Sink, SinkFactory, SinkTraits};
use arrow::array::RecordBatch;
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::task::Waker;

/// What one instance wrote in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Part {
    /// 0 for the stream, other numbers for bounded writes.
    writer: u64,
    epoch: Epoch,
    instance: usize,
}

/// What a table knows of its sinks.
#[derive(Debug, Default)]
pub(super) struct Written {
    bounded_writes: u64,
    prepared: BTreeMap<Part, Vec<RecordBatch>>,
    committed: BTreeSet<Part>,
    /// The writer and epoch that last replaced the rows.
    replaced_by: Option<(u64, Epoch)>,
    /// The sink of the stream that writes, as long as it lives.
    stream: Weak<()>,
}

impl Written {
    pub(super) fn last_committed(&self) -> Epoch {
        self.last_committed_by(0)
    }

    fn last_committed_by(&self, writer: u64) -> Epoch {
        let of_writer = self.committed.iter().rev().find(|part| part.writer == writer);
        of_writer.map_or(Epoch::NONE, |part| part.epoch)
    }
}

#[derive(Debug, Clone)]
pub(super) struct TableSink {
    table: MemoryTable,
    writer: u64,
    replace: bool,
    /// Shared by the clones of this sink.
    itself: Arc<()>,
}

impl TableSink {
    pub(super) fn of_stream(table: MemoryTable, replace: bool) -> Self {
        TableSink { table, writer: 0, replace, itself: Arc::default() }
    }

    pub(super) fn of_bounded_write(table: MemoryTable, replace: bool) -> Self {
        let mut log = table.shared.log();
        log.written.bounded_writes += 1;
        let writer = log.written.bounded_writes;
        drop(log);
        TableSink { table, writer, replace, itself: Arc::default() }
    }

    fn name(&self) -> &str {
        self.table.name()
    }

    /// One stream at a time: two of them would take what the other has prepared for their own.
    fn claim(&self) -> Result<()> {
        if self.writer != 0 {
            return Ok(());
        }
        let mut log = self.table.shared.log();
        match log.written.stream.upgrade() {
            Some(other) if !Arc::ptr_eq(&other, &self.itself) => Err(ConnectorError::user(format!(
                "another running query writes to table `{}` in memory: stop that one first, or choose another \
                 name",
                self.name()
            ))),
            _ => {
                log.written.stream = Arc::downgrade(&self.itself);
                Ok(())
            }
        }
    }
}

impl SinkFactory<TableBatch> for TableSink {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.name().to_owned(),
            delivery: Delivery::ExactlyOnce,
            max_parallelism: if self.replace { 1 } else { PARALLELISM },
            batches_only: false,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(Writer { sink: self.clone(), instance: instance.index, rows: Vec::new(), whole: false }))
    }

    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(self.clone())))
    }
}

struct Writer {
    sink: TableSink,
    instance: usize,
    rows: Vec<RecordBatch>,
    /// Whether the rows replace the ones before even if there are none.
    whole: bool,
}

impl Sink<TableBatch> for Writer {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        self.sink.claim()
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let rows = batch.split_front(usize::MAX);
        if rows.num_rows() > 0 {
            self.rows.push(self.sink.table.conform(rows)?);
        }
        Ok(())
    }

    fn whole(&mut self) {
        self.whole = true;
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        let replaces = std::mem::take(&mut self.whole) && self.sink.replace;
        if self.rows.is_empty() && !replaces {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        let part = Part { writer: self.sink.writer, epoch, instance: self.instance };
        let table = self.sink.table.clone();
        Ok(Some(Box::new(move || {
            table.shared.log().written.prepared.insert(part, rows);
            serde_json::to_vec(&part)
                .map_err(|error| ConnectorError::internal(format!("a handle could not be encoded: {error}")))
        })))
    }
}

impl TableSink {
    /// Makes visible what one instance prepared.
    fn commit_part(&mut self, epoch: Epoch, handle: &[u8]) -> Result<()> {
        let part: Part = serde_json::from_slice(handle).map_err(|error| {
            ConnectorError::user(format!(
                "sink `{}` does not understand its handle for epoch {epoch} ({error}): the checkpoint was \
                 written by another kind of sink; start from a new checkpoint location",
                self.name()
            ))
        })?;
        let mut log = self.table.shared.log();
        let prepared = log.written.prepared.remove(&part);
        if log.written.committed.contains(&part) {
            // Of two attempts at an epoch, the first committed stays.
            return Ok(());
        }
        let Some(rows) = prepared else {
            return Err(ConnectorError::user(format!(
                "sink `{}` has nothing to commit for epoch {epoch}: it keeps rows in memory, and those of an \
                 earlier process are gone; use a sink that outlives the process, or start from a new \
                 checkpoint location",
                self.name()
            )));
        };
        log.written.committed.insert(part);
        let by = Some((part.writer, part.epoch));
        if self.replace && log.written.replaced_by != by {
            log.written.replaced_by = by;
            log.clear();
        }
        rows.into_iter().for_each(|batch| log.add(batch));
        drop(log);
        self.table.shared.sources.wake_all();
        Ok(())
    }
}

impl Committer for TableSink {
    fn last_committed(&mut self) -> Result<Epoch> {
        Ok(self.table.shared.log().written.last_committed_by(self.writer))
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        handles.iter().try_for_each(|handle| self.commit_part(epoch, handle))
    }

    fn abort_prepared(&mut self) -> Result<()> {
        self.claim()?;
        let writer = self.writer;
        self.table.shared.log().written.prepared.retain(|part, _| part.writer != writer);
        Ok(())
    }
}
