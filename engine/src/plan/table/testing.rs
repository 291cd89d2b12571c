//! SQL over streams and bounded tables in memory, through the planner alone: for tests.

use super::{Tables, plan};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::stream::Query;
use crate::table::event_time::WatermarkOptions;
use crate::table::{OutputMode, StreamProvider};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::prelude::{SessionConfig, SessionContext};
use lotic_connectors::SinkFactory;
use lotic_connectors::table::StreamTable;
use lotic_operators::table::TableBatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A session with tables, streams and bounded ones, over which SQL is planned.
pub struct PlanBench {
    session: Session,
    context: SessionContext,
    runtime: Runtime,
}

impl std::fmt::Debug for PlanBench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlanBench({:?})", self.session)
    }
}

fn wrong(error: DataFusionError) -> Error {
    Error::user(error.strip_backtrace())
}

impl PlanBench {
    /// No tables yet.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub fn new(session: Session) -> Result<PlanBench> {
        // A runtime numbers its threads itself.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("bench-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).build();
        let runtime = runtime.map_err(|error| Error::external(error.to_string()))?;
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        crate::table::event_time::install(&context);
        Ok(PlanBench { session, context, runtime })
    }

    fn register(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        self.context.deregister_table(name).map_err(wrong)?;
        self.context.register_table(name, table).map_err(wrong)?;
        Ok(())
    }

    /// Adds a stream, or replaces a table by one.
    ///
    /// # Errors
    /// If the name cannot be a table's.
    pub fn stream(&self, name: &str, table: Arc<dyn StreamTable>) -> Result<()> {
        self.register(name, Arc::new(StreamProvider::new(name, table)))
    }

    /// Adds a stream with a watermark, or replaces a table by one.
    ///
    /// # Errors
    /// If the name cannot be a table's, or there is no such column with times.
    pub fn stream_with_watermark(
        &self,
        name: &str,
        table: Arc<dyn StreamTable>,
        column: &str,
        delay: Duration,
    ) -> Result<()> {
        let watermark = WatermarkOptions { column: column.to_owned(), delay };
        self.register(name, watermark.provider(name, Arc::new(StreamProvider::new(name, table)))?)
    }

    /// Adds a bounded table, or replaces one.
    ///
    /// # Errors
    /// If the rows do not have the schema.
    pub fn table(&self, name: &str, schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<()> {
        self.register(name, Arc::new(MemTable::try_new(schema, vec![rows]).map_err(wrong)?))
    }

    async fn sql(&self, sql: &str) -> datafusion::common::Result<DataFrame> {
        let state = self.context.state();
        let mut statement = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        crate::table::event_time::resolve(&mut statement);
        let plan = state.statement_to_plan(statement).await?;
        Ok(DataFrame::new(self.context.state(), plan))
    }

    /// The batch answer: the query run by DataFusion over bounded tables.
    ///
    /// # Errors
    /// If the query is wrong or reads a stream.
    pub fn batch(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let run = async {
            let frame = self.sql(sql).await?;
            let schema = Arc::clone(frame.schema().inner());
            Ok((schema, frame.collect().await?))
        };
        self.runtime.block_on(run).map_err(wrong)
    }

    /// The schema of a query's rows.
    ///
    /// # Errors
    /// If the query is wrong.
    pub fn schema(&self, sql: &str) -> Result<SchemaRef> {
        let frame = self.runtime.block_on(self.sql(sql)).map_err(wrong)?;
        Ok(Arc::clone(frame.schema().inner()))
    }

    /// The query as a stream, to be started.
    ///
    /// # Errors
    /// If the query is wrong, or a stream cannot do it in this mode.
    pub fn query(
        &self,
        sql: &str,
        mode: OutputMode,
        sink: Box<dyn SinkFactory<TableBatch>>,
    ) -> Result<Query> {
        let frame = self.runtime.block_on(self.sql(sql)).map_err(wrong)?;
        let tables = Tables::new(self.context.state(), self.runtime.handle().clone());
        Ok(plan(&self.session, &tables, frame.logical_plan(), mode)?.sink(sink).uid("sink"))
    }
}
