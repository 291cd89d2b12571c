//! Bounded tables of ours as DataFusion sees them.

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use lotic_connectors::ConnectorError;
use lotic_connectors::table::{BoundedTable, PlainFile};
use std::ops::Range;
use std::sync::Arc;

/// Batches that a reading thread may be ahead.
const BATCHES_AHEAD: usize = 2;

/// A bounded table. Its partitions are read on blocking threads, in as many streams as DataFusion runs side
/// by side; the columns that are not needed are not read. Parquet files that have the columns of the table are
/// read by DataFusion's own reader, which leaves out the parts that a filter rules out.
#[derive(Debug)]
pub(super) struct BoundedProvider(pub(super) Arc<dyn BoundedTable>);

/// How the rows of a table are to be read.
enum Found {
    /// By DataFusion, which leaves out what a filter rules out: row groups, pages.
    Parquet(Vec<PartitionedFile>),
    /// By the table itself, as it was found, in this many partitions.
    Partitions(Arc<dyn BoundedTable>, usize),
}

fn find(table: Arc<dyn BoundedTable>, columns: Option<&[usize]>) -> lotic_connectors::Result<Found> {
    let table = table.snapshot()?.unwrap_or(table);
    let files = table.parquet_files(columns)?;
    if let Some(files) = files.and_then(|files| files.iter().map(object).collect::<Option<_>>()) {
        return Ok(Found::Parquet(files));
    }
    let partitions = table.partitions()?;
    Ok(Found::Partitions(table, partitions))
}

/// A file as the object store has it; `None` if it has another name there.
fn object(file: &PlainFile) -> Option<PartitionedFile> {
    let location = Path::from_absolute_path(&file.path).ok()?;
    let same = LocalFileSystem::new().path_to_filesystem(&location).is_ok_and(|path| path == file.path);
    let mut object = PartitionedFile::new("", file.bytes);
    object.object_meta.location = location;
    same.then_some(object)
}

/// The plan that reads files of these columns.
fn parquet(
    files: Vec<PartitionedFile>,
    schema: &SchemaRef,
    state: &dyn Session,
    limit: Option<usize>,
) -> Arc<dyn ExecutionPlan> {
    let streams = state.config().target_partitions().max(1);
    let global = state.config_options().execution.parquet.clone();
    let source = ParquetSource::new(Arc::clone(schema))
        .with_table_parquet_options(TableParquetOptions { global, ..TableParquetOptions::default() });
    let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
        .with_file_groups(FileGroup::new(files).split_files(streams))
        // One stream stands for rows in an order that is always the same.
        .with_preserve_order(streams == 1)
        .with_limit(limit);
    DataSourceExec::from_data_source(scan.build())
}

fn outer(error: ConnectorError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[async_trait]
impl TableProvider for BoundedProvider {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (table, columns) = (Arc::clone(&self.0), projection.cloned());
        let found = tokio::task::spawn_blocking(move || find(table, columns.as_deref())).await;
        let found = found.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
        let schema = match projection {
            Some(columns) => Arc::new(self.0.schema().project(columns)?),
            None => self.0.schema(),
        };
        let (table, partitions) = match found.map_err(outer)? {
            Found::Parquet(files) => return Ok(parquet(files, &schema, state, limit)),
            Found::Partitions(table, partitions) => (table, partitions),
        };
        let streams = state.config().target_partitions().clamp(1, partitions.max(1));
        let parts = (0..streams).map(|stream| {
            Arc::new(Part {
                table: Arc::clone(&table),
                partitions: stream * partitions / streams..(stream + 1) * partitions / streams,
                projection: projection.cloned(),
                schema: Arc::clone(&schema),
            }) as Arc<dyn PartitionStream>
        });
        let plan = StreamingTableExec::try_new(Arc::clone(&schema), parts.collect(), None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// Some partitions of a table, read one after the other.
#[derive(Debug)]
struct Part {
    table: Arc<dyn BoundedTable>,
    partitions: Range<usize>,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let (put, table, partitions) = (builder.tx(), Arc::clone(&self.table), self.partitions.clone());
        let (projection, schema) = (self.projection.clone(), Arc::clone(&self.schema));
        builder.spawn_blocking(move || {
            for partition in partitions {
                // A row without columns is no row to a decoder: one column is read to count them.
                let columns = match projection.as_deref() {
                    Some([]) => Some(&[0][..]),
                    columns => columns,
                };
                for batch in table.read(partition, columns).map_err(outer)? {
                    let batch = fit(batch.map_err(outer)?, &schema)?;
                    if put.blocking_send(Ok(batch)).is_err() {
                        // Nobody wants more, as after a LIMIT.
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// The rows with the schema promised, which may differ in metadata or have no columns.
fn fit(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = if schema.fields().is_empty() { Vec::new() } else { batch.columns().to_vec() };
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
