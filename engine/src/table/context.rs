//! What a session has for tables: DataFusion's state, the formats, and threads for bounded work.

use super::catalog::Catalog;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::stream::Piped;
use crate::table::OutputMode;
use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use futures::{SinkExt, StreamExt, stream};
use lotic_connectors::table::{TableFormat, registry};
use lotic_operators::table::TableBatch;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread::available_parallelism;
use tokio::runtime::{Builder, Handle, Runtime};

/// Batches computed before anybody has asked for them.
const BATCHES_AHEAD: usize = 2;

/// The part of a session that tables need. Made when the first table is.
pub(crate) struct TableContext {
    pub(crate) datafusion: SessionContext,
    formats: RwLock<lotic_connectors::table::Registry>,
    catalog: Mutex<Catalog>,
    /// Taken when the context is dropped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for TableContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableContext")
    }
}

impl TableContext {
    pub(crate) fn new(app_name: &str) -> Result<TableContext> {
        let threads = available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(format!("{app_name}-tables"))
            .enable_all()
            .build()
            .map_err(|error| {
                Error::external(format!("the threads for tables could not be started: {error}"))
            })?;
        let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(threads);
        let options = config.options_mut();
        // Text is text everywhere: sinks and user code see one type for it.
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.collect_spans = true;
        let datafusion = SessionContext::new_with_config(config);
        add_spark_functions(&datafusion);
        for function in super::json::functions() {
            datafusion.register_udf(function);
        }
        datafusion.register_udf(super::split::function());
        super::explode::install(&datafusion);
        super::event_time::install(&datafusion);
        Ok(TableContext {
            datafusion,
            formats: RwLock::new(registry()),
            catalog: Mutex::new(Catalog::default()),
            runtime: Some(runtime),
        })
    }

    /// DataFusion's state as it is now.
    pub(crate) fn state(&self) -> SessionState {
        self.datafusion.state()
    }

    /// The threads of bounded work.
    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.as_ref().expect("invariant: taken in drop alone").handle()
    }

    /// Runs bounded work on the session's threads and waits for it, whatever thread the caller is on.
    pub(crate) fn wait<T, E>(
        &self,
        work: impl Future<Output = std::result::Result<T, E>> + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: Send + 'static,
        Error: From<E>,
    {
        let (put, done) = mpsc::channel();
        self.runtime().spawn(async move {
            // Nobody waits if the caller was unwound.
            let _ = put.send(work.await);
        });
        match done.recv() {
            Ok(result) => Ok(result?),
            Err(_) => Err(panicked()),
        }
    }

    /// The format of that name.
    pub(crate) fn format(&self, name: &str) -> Result<Arc<dyn TableFormat>> {
        let formats = self.formats.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(formats.get(name)?))
    }

    /// The tables of the format `memory`.
    pub(crate) fn memory(&self) -> lotic_connectors::table::memory::MemoryTables {
        self.formats.read().unwrap_or_else(PoisonError::into_inner).memory().clone()
    }

    pub(crate) fn register_format(&self, format: Arc<dyn TableFormat>) {
        self.formats.write().unwrap_or_else(PoisonError::into_inner).register(format);
    }

    pub(crate) fn formats(&self) -> Vec<Arc<dyn TableFormat>> {
        self.formats.read().unwrap_or_else(PoisonError::into_inner).formats().cloned().collect()
    }

    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operators of a streaming plan, added to the session's dataflow.
    pub(crate) fn plan(
        &self,
        session: &Session,
        plan: &LogicalPlan,
        mode: OutputMode,
    ) -> Result<Piped<TableBatch>> {
        let tables = crate::plan::table::Tables::new(self.state(), self.runtime().clone());
        crate::plan::table::plan(session, &tables, plan, mode)
    }

    /// Whether a plan reads a table made of a typed stream.
    pub(crate) fn reads_typed(&self, plan: &LogicalPlan) -> bool {
        super::provider::reads(plan, |stream| stream.typed.is_some())
    }

    /// The rows of a bounded plan while they are computed.
    pub(crate) fn batches(
        &self,
        plan: &LogicalPlan,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send + use<> {
        let frame = datafusion::dataframe::DataFrame::new(self.state(), plan.clone());
        let (mut put, rows) = futures::channel::mpsc::channel(BATCHES_AHEAD);
        self.runtime().spawn(async move {
            let mut computed = frame.execute_stream().await.map_err(|error| vec![error]);
            loop {
                let next = match &mut computed {
                    Ok(batches) => batches.next().await.map(|batch| batch.map_err(Error::from)),
                    Err(error) => error.pop().map(|error| Err(error.into())),
                };
                let over = !matches!(next, Some(Ok(_)));
                // Nobody reads on if the iterator was dropped.
                if put.send(next).await.is_err() || over {
                    return;
                }
            }
        });
        // What ends without an end has panicked.
        let rows = futures::executor::block_on_stream(rows.chain(stream::iter([Some(Err(panicked()))])));
        let mut over = false;
        rows.map_while(move |next| {
            let next = next.filter(|_| !over);
            over |= next.as_ref().is_none_or(Result::is_err);
            next
        })
    }

    /// The rows of a bounded plan.
    pub(crate) fn collect(&self, plan: &LogicalPlan) -> Result<Vec<RecordBatch>> {
        let frame = datafusion::dataframe::DataFrame::new(self.state(), plan.clone());
        self.wait(frame.collect())
    }
}

impl Drop for TableContext {
    fn drop(&mut self) {
        // Waiting here would panic in a thread of an async runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Adds Spark's functions whose names DataFusion does not have; where both have a name DataFusion's stays.
fn panicked() -> Error {
    Error::user("a function panicked while a table was computed: see the log")
}

fn add_spark_functions(context: &SessionContext) {
    let state = context.state();
    for function in datafusion_spark::all_default_scalar_functions() {
        if !state.scalar_functions().contains_key(function.name()) {
            context.register_udf(function.as_ref().clone());
        }
    }
    for function in datafusion_spark::all_default_aggregate_functions() {
        if !state.aggregate_functions().contains_key(function.name()) {
            context.register_udaf(function.as_ref().clone());
        }
    }
}
