//! The bounded parts of a plan: run by DataFusion, as a whole.

use crate::error::{Error, Result};
use crate::table::StreamProvider;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use lotic_connectors::{
    ConnectorError, Latest, Offsets, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits,
};
use lotic_operators::Instance;
use lotic_operators::table::TableBatch;
use std::sync::{Arc, mpsc};
use std::task::Waker;

/// The stream that a table stands for, with its name.
pub(super) fn stream_of(
    source: &Arc<dyn datafusion::logical_expr::TableSource>,
) -> Option<(String, Arc<dyn lotic_connectors::table::StreamTable>)> {
    let provider = source_as_provider(source).ok()?;
    let stream = provider.downcast_ref::<StreamProvider>()?;
    Some((stream.name.clone(), Arc::clone(&stream.table)))
}

/// Where the typed stream stands of which a table was made.
pub(super) fn typed_end(
    source: &Arc<dyn datafusion::logical_expr::TableSource>,
) -> Option<crate::table::TypedEnd> {
    let provider = source_as_provider(source).ok()?;
    provider.downcast_ref::<StreamProvider>()?.typed.clone()
}

/// What runs the bounded parts of a query: DataFusion's state and the threads it runs on.
#[derive(Clone)]
pub(crate) struct Tables {
    state: Arc<SessionState>,
    runtime: tokio::runtime::Handle,
}

impl Tables {
    pub(crate) fn new(state: SessionState, runtime: tokio::runtime::Handle) -> Tables {
        Tables { state: Arc::new(state), runtime }
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    /// All rows of a bounded plan, in an order that depends on the tables alone: one partition.
    ///
    /// # Errors
    /// If the plan cannot be run.
    pub(super) fn collect(&self, plan: &LogicalPlan) -> Result<Vec<RecordBatch>> {
        let mut state = SessionState::clone(&self.state);
        state.config_mut().options_mut().execution.target_partitions = 1;
        let plan = plan.clone();
        let (put, ready) = mpsc::channel();
        self.runtime.spawn(async move {
            let run = async {
                let context = state.task_ctx();
                collect(state.create_physical_plan(&plan).await?, context).await
            };
            // Whoever asked may have given up.
            let _ = put.send(run.await);
        });
        ready
            .recv()
            .map_err(|_| Error::internal("a bounded read ended without an answer"))?
            .map_err(Error::from)
    }
}

/// A bounded part of a stream's plan as a source: read once, from its beginning to its end.
///
/// # Delivery
/// Replayable as long as the tables behind it do not change before it is read to the end; a checkpoint after
/// that knows that nothing is left.
pub(super) struct BoundedPart {
    pub(super) tables: Tables,
    pub(super) plan: LogicalPlan,
    pub(super) name: String,
}

/// The partition that counts rows, and the one that says that all were read.
const ROW: &str = "row";
const DONE: &str = "done";

impl SourceFactory<TableBatch> for BoundedPart {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.name.clone(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: 1,
        }
    }

    fn create(&self, _instance: Instance) -> lotic_connectors::Result<Box<dyn Source<TableBatch>>> {
        let part =
            BoundedPart { tables: self.tables.clone(), plan: self.plan.clone(), name: self.name.clone() };
        Ok(Box::new(Reading { part, rows: None, next: 0, end: 0 }))
    }
}

struct Reading {
    part: BoundedPart,
    rows: Option<RecordBatch>,
    next: u64,
    end: u64,
}

impl Reading {
    fn at(&self, row: u64) -> Offsets {
        let mut offsets = Offsets::single(ROW, row);
        offsets.merge(Offsets::single(DONE, u64::from(row == self.end)));
        offsets
    }
}

impl Source<TableBatch> for Reading {
    fn start(&mut self, from: &Offsets) -> lotic_connectors::Result<()> {
        self.next = from.get(ROW).unwrap_or(0);
        self.end = self.next;
        if from.get(DONE) == Some(1) {
            return Ok(());
        }
        let schema = Arc::clone(self.part.plan.schema().inner());
        let failed = |error: Error| {
            ConnectorError::external(format!("the bounded table `{}` cannot be read", self.part.name), error)
        };
        let batches = self.part.tables.collect(&self.part.plan).map_err(failed)?;
        let rows = concat_batches(batches.first().map_or(&schema, |batch| batch.schema_ref()), &batches)
            .map_err(|error| failed(Error::user(error.to_string())))?;
        self.end = rows.num_rows() as u64;
        if self.next > self.end {
            return Err(ConnectorError::user(format!(
                "the bounded table `{}` has {} rows, but the checkpoint has read {} of them: restore the \
                 table, or start from a new checkpoint location",
                self.part.name, self.end, self.next
            )));
        }
        self.rows = Some(rows);
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> lotic_connectors::Result<Polled<TableBatch>> {
        let Some(rows) = self.rows.as_ref().filter(|_| self.next < self.end) else {
            return Ok(Polled::Finished);
        };
        let until = request.until.map_or(self.end, |until| until.get(ROW).unwrap_or(0).min(self.end));
        let count = until.saturating_sub(self.next).min(request.max_rows as u64);
        if count == 0 {
            return Ok(Polled::AtEnd);
        }
        let batch = rows.slice(self.next as usize, count as usize);
        self.next += count;
        Ok(Polled::Batch(TableBatch::from(batch)))
    }

    fn offsets(&self) -> Offsets {
        self.at(self.next)
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> lotic_connectors::Result<Latest> {
        Ok(Latest::At(self.at(self.next.saturating_add(max_rows).min(self.end))))
    }
}
