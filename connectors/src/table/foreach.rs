//! Sinks that call the user's own function with record batches.
//!
//! ```
//! use arrow::array::{ArrayRef, Int64Array, RecordBatch};
//! use lotic_connectors::table::foreach::ForEachBatchTable;
//! use lotic_connectors::SinkFactory;
//! use lotic_operators::{Epoch, Instance};
//! use std::sync::{Arc, Mutex};
//!
//! let calls = Arc::new(Mutex::new(Vec::new()));
//! let called = Arc::clone(&calls);
//! let factory = ForEachBatchTable::new(move |rows: Vec<RecordBatch>, epoch: Epoch| {
//!     called.lock().unwrap().push((rows.len(), epoch));
//! });
//! let mut sink = factory.create(Instance::ONLY).unwrap();
//! sink.start(Epoch(1)).unwrap();
//! let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
//! let rows = RecordBatch::try_from_iter([("n", n)]).unwrap();
//! sink.write(&mut rows.into(), std::task::Waker::noop()).unwrap();
//! let prepare = sink.pre_commit(Epoch(1)).unwrap().unwrap();
//! prepare().unwrap(); // the engine does it off the data path
//! assert_eq!(*calls.lock().unwrap(), [(1, Epoch(1))]);
//! ```

use crate::callback::{Outcome, failed};
use crate::error::Result;
use crate::limits::PARALLELISM;
use crate::sink::{Committer, Delivery, Prepare, Sink, SinkFactory, SinkTraits};
use arrow::array::RecordBatch;
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// A sink that calls a function with each batch of rows, as they come: whatever rows were ready together,
/// from one up.
///
/// The function is cloned once for each instance. It runs on a data thread and must not block. It returns
/// nothing or a `Result`; an error ends the query.
///
/// # Delivery
/// At least once, visible at once; after a restart rows come again, in other batches.
pub struct ForEachTable<F> {
    name: String,
    function: F,
}

impl<F> ForEachTable<F> {
    /// Calls `function` with each batch.
    pub fn new<R: Outcome>(function: F) -> Self
    where
        F: FnMut(RecordBatch) -> R,
    {
        ForEachTable { name: "foreach".to_owned(), function }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl<F> fmt::Debug for ForEachTable<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForEachTable({})", self.name)
    }
}

impl<F, R> SinkFactory<TableBatch> for ForEachTable<F>
where
    F: FnMut(RecordBatch) -> R + Clone + Send + 'static,
    R: Outcome,
{
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.name.clone(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(Each { name: self.name.clone(), function: self.function.clone() }))
    }
}

struct Each<F> {
    name: String,
    function: F,
}

impl<F, R> Sink<TableBatch> for Each<F>
where
    F: FnMut(RecordBatch) -> R + Send,
    R: Outcome,
{
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let rows = batch.split_front(usize::MAX);
        (self.function)(rows).into_result().map_err(|error| failed(&self.name, &error))
    }
}

/// A sink that calls a function once for each epoch, with all its rows and its number, after the rows have
/// come and before the epoch is acknowledged. Only for micro-batch mode.
///
/// The function runs off the data path and may block; the next batch waits for it. It returns nothing or a
/// `Result`; an error ends the query. It is not called for an epoch without rows: such an epoch is not
/// written down before it runs, so that its number may come again with rows. In output mode complete it is
/// called without rows when the result has become empty.
///
/// # Delivery
/// At least once: after a crash the same number comes again with the same rows, so that a function that
/// remembers the last number it has finished writes every row once. That takes a replayable source and a
/// checkpoint location.
///
/// # Cost
/// Holds the rows of one epoch in memory.
pub struct ForEachBatchTable {
    name: String,
    function: Function,
}

type Function = Arc<Mutex<dyn FnMut(Vec<RecordBatch>, Epoch) -> Result<(), String> + Send>>;

impl ForEachBatchTable {
    /// Calls `function` with the rows of each epoch and its number.
    pub fn new<F, R>(mut function: F) -> Self
    where
        F: FnMut(Vec<RecordBatch>, Epoch) -> R + Send + 'static,
        R: Outcome,
    {
        let function =
            Arc::new(Mutex::new(move |rows: Vec<RecordBatch>, epoch| function(rows, epoch).into_result()));
        ForEachBatchTable { name: "foreach_batch".to_owned(), function }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl fmt::Debug for ForEachBatchTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForEachBatchTable({})", self.name)
    }
}

impl SinkFactory<TableBatch> for ForEachBatchTable {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.name.clone(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: 1,
            batches_only: true,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        let function = Arc::clone(&self.function);
        Ok(Box::new(Collecting { name: self.name.clone(), function, rows: Vec::new(), whole: false }))
    }

    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(NothingToCommit)))
    }
}

struct Collecting {
    name: String,
    function: Function,
    rows: Vec<RecordBatch>,
    /// Whether the rows are a result even if there are none.
    whole: bool,
}

impl Sink<TableBatch> for Collecting {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let rows = batch.split_front(usize::MAX);
        if rows.num_rows() > 0 {
            self.rows.push(rows);
        }
        Ok(())
    }

    fn whole(&mut self) {
        self.whole = true;
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        if !std::mem::take(&mut self.whole) && self.rows.is_empty() {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        let (name, function) = (self.name.clone(), Arc::clone(&self.function));
        Ok(Some(Box::new(move || {
            // A call that panicked has ended the query, or is made again after its restart.
            let mut function = function.lock().unwrap_or_else(PoisonError::into_inner);
            match function(rows, epoch) {
                Ok(()) => Ok(Vec::new()),
                Err(error) => Err(failed(&name, &error)),
            }
        })))
    }
}

/// What the function did stays done.
struct NothingToCommit;

impl Committer for NothingToCommit {
    fn last_committed(&mut self) -> Result<Epoch> {
        Ok(Epoch::NONE)
    }

    fn commit(&mut self, _epoch: Epoch, _handles: &[&[u8]]) -> Result<()> {
        Ok(())
    }

    fn abort_prepared(&mut self) -> Result<()> {
        Ok(())
    }
}
