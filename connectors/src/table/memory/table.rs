//! A table in memory: its rows, and the handle on it.

use super::{sink, source};
use crate::error::{ConnectorError, Result};
use crate::limits::TABLE_BATCH_ROWS;
use crate::sink::SinkFactory;
use crate::source::SourceFactory;
use crate::table::{BoundedTable, OutputMode, RowReader, StreamTable};
use crate::waiters::Waiters;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use lotic_operators::Epoch;
use lotic_operators::table::TableBatch;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The rows of one partition: batches, each with the number of its first row.
#[derive(Default)]
pub(super) struct Partition {
    batches: Vec<(u64, RecordBatch)>,
    rows: u64,
}

impl Partition {
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn add(&mut self, batch: RecordBatch) {
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        self.batches.push((first, batch));
    }

    /// The batch that holds a row, and where in it.
    pub(super) fn find(&self, row: u64) -> (&RecordBatch, usize) {
        let after = self.batches.partition_point(|(first, _)| *first <= row);
        let (first, batch) = &self.batches[after - 1];
        (batch, (row - first) as usize)
    }
}

/// What a table holds.
pub(super) struct Log {
    pub(super) partitions: Vec<Partition>,
    /// All batches, in the order in which they came, each with its partition.
    arrived: Vec<(usize, RecordBatch)>,
    pub(super) finished: bool,
    /// Whether rows were ever taken away, so that offsets mean nothing any more.
    pub(super) replaced: bool,
    pub(super) written: sink::Written,
}

impl Log {
    fn add_to(&mut self, partition: usize, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.partitions[partition].add(batch.clone());
            self.arrived.push((partition, batch));
        }
    }

    /// Adds a batch to the partition whose turn it is.
    pub(super) fn add(&mut self, batch: RecordBatch) {
        let partition = self.arrived.len() % self.partitions.len();
        self.add_to(partition, batch);
    }

    /// Takes all rows away.
    pub(super) fn clear(&mut self) {
        self.replaced |= !self.arrived.is_empty();
        self.arrived.clear();
        self.partitions.iter_mut().for_each(|partition| *partition = Partition::default());
    }
}

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) schema: SchemaRef,
    log: Mutex<Log>,
    pub(super) sources: Waiters,
}

impl Shared {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        // No user code runs under the lock.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table in memory, to be read as a stream and as a bounded table, and written by queries. Clones share
/// the rows: keep one to add rows, or to see what a query wrote.
///
/// Rows lie in partitions; a batch that is added goes to the next partition in turn, whole. The stream ends
/// once [`MemoryTable::finish`] was called.
///
/// ```
/// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use lotic_connectors::table::memory::MemoryTable;
/// use std::sync::Arc;
///
/// let rows = |values: Vec<i64>| {
///     RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap()
/// };
/// let table = MemoryTable::new("numbers", rows(vec![]).schema());
/// table.add(rows(vec![1, 2])).unwrap();
/// table.add(rows(vec![3])).unwrap();
/// assert_eq!(table.rows(), rows(vec![1, 2, 3]));
/// ```
///
/// # Delivery
/// Replayable while the process lives.
#[derive(Clone)]
pub struct MemoryTable {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryTable({}, {} rows)", self.shared.name, self.row_count())
    }
}

impl MemoryTable {
    /// An empty table in one partition.
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        MemoryTable::partitioned(name, schema, 1)
    }

    /// An empty table in this many partitions, at least one: how many instances of a source can share it.
    pub fn partitioned(name: impl Into<String>, schema: SchemaRef, partitions: usize) -> Self {
        let log = Mutex::new(Log {
            partitions: (0..partitions.max(1)).map(|_| Partition::default()).collect(),
            arrived: Vec::new(),
            finished: false,
            replaced: false,
            written: sink::Written::default(),
        });
        MemoryTable {
            shared: Arc::new(Shared { name: name.into(), schema, log, sources: Waiters::default() }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.shared.schema)
    }

    /// Adds rows to the partition whose turn it is. They are seen together, not one by one.
    ///
    /// # Errors
    /// If they have other columns than the table, or the table was finished.
    pub fn add(&self, rows: RecordBatch) -> Result<()> {
        self.add_with(rows, |log, rows| log.add(rows))
    }

    /// Adds rows to a partition, counted from 0.
    ///
    /// # Errors
    /// As for [`MemoryTable::add`], or if there is no such partition.
    pub fn add_to(&self, partition: usize, rows: RecordBatch) -> Result<()> {
        let count = self.shared.log().partitions.len();
        if partition >= count {
            return Err(ConnectorError::user(format!(
                "table `{}` in memory has {count} partitions, counted from 0: there is no {partition}",
                self.name()
            )));
        }
        self.add_with(rows, |log, rows| log.add_to(partition, rows))
    }

    fn add_with(&self, rows: RecordBatch, add: impl FnOnce(&mut Log, RecordBatch)) -> Result<()> {
        self.check_schema(&rows.schema())?;
        let rows = self.conform(rows)?;
        let mut log = self.shared.log();
        if log.finished {
            return Err(ConnectorError::user(format!(
                "table `{}` in memory was finished: no rows can be added",
                self.name()
            )));
        }
        add(&mut log, rows);
        drop(log);
        self.shared.sources.wake_all();
        Ok(())
    }

    /// Ends the streams that read it: nothing is added any more.
    pub fn finish(&self) {
        self.shared.log().finished = true;
        self.shared.sources.wake_all();
    }

    /// Its rows as they are now, in the order in which they came, as one batch.
    pub fn rows(&self) -> RecordBatch {
        let batches = self.batches();
        concat_batches(&self.shared.schema, &batches).expect("invariant: all batches have the table's schema")
    }

    /// Its rows as they are now, in the order in which they came, in the batches in which they came.
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.shared.log().arrived.iter().map(|(_, batch)| batch.clone()).collect()
    }

    /// How many rows it has now.
    pub fn row_count(&self) -> usize {
        self.shared.log().partitions.iter().map(|partition| partition.rows as usize).sum()
    }

    /// The newest epoch that a stream has committed here with rows; [`Epoch::NONE`] if none.
    pub fn last_committed(&self) -> Epoch {
        self.shared.log().written.last_committed()
    }

    /// A sink that adds the rows of a stream, or, in complete mode, replaces what is there with each epoch
    /// that has a result, which may be no rows.
    ///
    /// # Delivery
    /// Exactly once while the process lives, visible when the epoch is committed. One query at a time writes
    /// to a table, and a later one has to continue from its checkpoint.
    pub fn sink(&self, mode: OutputMode) -> Box<dyn SinkFactory<TableBatch>> {
        Box::new(sink::TableSink::of_stream(self.clone(), mode == OutputMode::Complete))
    }

    /// A sink for one bounded write, which may come after others.
    pub(super) fn bounded_sink(&self, replace: bool) -> Box<dyn SinkFactory<TableBatch>> {
        Box::new(sink::TableSink::of_bounded_write(self.clone(), replace))
    }

    /// Makes sure that rows of this schema can be added: the same names and types in the same order.
    pub(super) fn check_schema(&self, schema: &Schema) -> Result<()> {
        let same = |(ours, theirs): (&Arc<arrow::datatypes::Field>, &Arc<arrow::datatypes::Field>)| {
            ours.name() == theirs.name() && ours.data_type() == theirs.data_type()
        };
        let ours = &self.shared.schema;
        if ours.fields().len() == schema.fields().len() && ours.fields().iter().zip(schema.fields()).all(same)
        {
            return Ok(());
        }
        Err(ConnectorError::user(format!(
            "table `{}` in memory has the columns {}, not {}: give it the same, or take another name",
            self.name(),
            columns(ours),
            columns(schema),
        )))
    }

    /// The rows under the table's own schema, which may differ in what can be null.
    pub(super) fn conform(&self, rows: RecordBatch) -> Result<RecordBatch> {
        rows.with_schema_of(&self.shared.schema).map_err(|error| {
            ConnectorError::user(format!("rows for table `{}` in memory do not fit: {error}", self.name()))
        })
    }
}

/// Puts rows under another schema of the same types.
trait WithSchemaOf: Sized {
    fn with_schema_of(self, schema: &SchemaRef) -> Result<Self, arrow::error::ArrowError>;
}

impl WithSchemaOf for RecordBatch {
    fn with_schema_of(self, schema: &SchemaRef) -> Result<Self, arrow::error::ArrowError> {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(schema), self.columns().to_vec(), &options)
    }
}

/// A batch in slices of a size to be worked on at once.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(TABLE_BATCH_ROWS);
    starts.map(|start| batch.slice(start, TABLE_BATCH_ROWS.min(batch.num_rows() - start)))
}

fn columns(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    format!("({})", columns.collect::<Vec<_>>().join(", "))
}

impl StreamTable for MemoryTable {
    fn schema(&self) -> SchemaRef {
        MemoryTable::schema(self)
    }

    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        Ok(Box::new(source::TableSource::new(self.clone(), projection)))
    }
}

impl BoundedTable for MemoryTable {
    fn schema(&self) -> SchemaRef {
        MemoryTable::schema(self)
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.shared.log().partitions.len())
    }

    fn read(&self, partition: usize, projection: Option<&[usize]>) -> Result<RowReader> {
        let log = self.shared.log();
        let of_partition = log.arrived.iter().filter(|(of, _)| *of == partition);
        let batches: Vec<RecordBatch> = of_partition.flat_map(|(_, batch)| pieces(batch)).collect();
        let projection = projection.map(<[usize]>::to_vec);
        Ok(Box::new(batches.into_iter().map(move |batch| source::projected(batch, projection.as_deref()))))
    }
}
