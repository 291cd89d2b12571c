//! Tables in and out: formats by name, with options by the names Spark gives them.
//!
//! A [`TableFormat`] is what `format("csv")` finds in the [`registry()`]: it reads a stream, reads a bounded
//! table, writes, or some of these. A format is one folder or file here and one line in the registry.
//!
//! | room | what it holds |
//! |---|---|
//! | [`options`] | options, their checks and their documentation |
//! | [`mod@format`] | file formats: bytes to rows and rows to bytes, one file at a time |
//! | [`files`] | folders: listing, the stream of new files, bounded reads, the exactly-once sink |
//! | [`socket`], [`rate`], [`memory`], [`console`], [`blackhole`], [`foreach`] | what is not files |
//! | [`show`] | rows as a table of text |
//!
//! With the feature `kafka`, the topics of Apache Kafka are in the room `kafka`.

pub mod blackhole;
mod columns;
pub mod console;
mod document;
pub mod files;
pub mod foreach;
pub mod format;
mod from_rows;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod options;
pub mod rate;
mod registry;
pub mod show;
pub mod socket;

pub use document::document;
pub use options::{OptionSpec, Options};
pub use registry::{Registry, registry};

use crate::error::{ConnectorError, Result};
use crate::sink::SinkFactory;
use crate::source::SourceFactory;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lotic_operators::table::TableBatch;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which rows of the result a query writes in each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputMode {
    /// New rows, that never change again.
    #[default]
    Append,
    /// Rows that are new or have changed.
    Update,
    /// All rows of the result, at the end of each epoch in which it has changed.
    Complete,
}

/// What a bounded write does with what is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveMode {
    /// Refuses if there is something.
    #[default]
    ErrorIfExists,
    /// Adds to it.
    Append,
    /// Replaces it.
    Overwrite,
    /// Writes nothing if there is something.
    Ignore,
}

/// What is to be read.
#[derive(Debug, Clone, Default)]
pub struct ReadRequest {
    /// The options given, with `path` among them if there is one.
    pub options: Options,
    /// The schema given.
    pub schema: Option<SchemaRef>,
}

/// What is to be written.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The options given, with `path` among them if there is one.
    pub options: Options,
    /// The schema of the rows.
    pub schema: SchemaRef,
    /// Columns whose values become folders.
    pub partition_by: Vec<String>,
    /// Which rows come.
    pub output_mode: OutputMode,
    /// For a bounded write; `None` for a stream.
    pub save_mode: Option<SaveMode>,
}

/// A format by name.
pub trait TableFormat: Debug + Send + Sync {
    /// What `format(...)` and `STORED AS` call it, in lower case.
    fn name(&self) -> &'static str;

    /// One sentence for the documentation.
    fn summary(&self) -> &'static str;

    /// The options it reads with.
    fn read_options(&self) -> Vec<OptionSpec> {
        Vec::new()
    }

    /// The options it writes with.
    fn write_options(&self) -> Vec<OptionSpec> {
        Vec::new()
    }

    /// An unbounded table. Checks the request, options included.
    ///
    /// # Errors
    /// If the format cannot be read as a stream or the request is wrong: what, and what to do.
    fn stream(&self, _request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        Err(ConnectorError::user(format!("format `{}` cannot be read as a stream", self.name())))
    }

    /// A bounded table. Checks the request, options included.
    ///
    /// # Errors
    /// If the format cannot be read as a bounded table or the request is wrong.
    fn bounded(&self, _request: &ReadRequest) -> Result<Arc<dyn BoundedTable>> {
        Err(ConnectorError::user(format!(
            "format `{}` cannot be read as a bounded table: read it as a stream with `read_stream`",
            self.name()
        )))
    }

    /// A sink. Checks the request, options included; touches nothing outside before the sink is started.
    ///
    /// # Errors
    /// If the format cannot be written or the request is wrong.
    fn sink(&self, _request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        Err(ConnectorError::user(format!("format `{}` cannot be written", self.name())))
    }

    /// The folder that a sink for this request makes files in; `None` if it makes none.
    fn folder(&self, _request: &WriteRequest) -> Option<PathBuf> {
        None
    }
}

/// An unbounded table: makes sources. It is used for each query that reads it.
pub trait StreamTable: Debug + Send + Sync {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// A source whose batches hold these columns, in this order; all of them if `None`.
    ///
    /// # Errors
    /// If the source cannot be made.
    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>>;

    /// Whether files that a sink makes in this folder would be rows of this table.
    fn reads(&self, _folder: &Path) -> bool {
        false
    }
}

/// Rows of one partition of a bounded table.
pub type RowReader = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// A file that any reader of its format reads as the table does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainFile {
    /// The file, from the root of the file system.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// A bounded table. Reading it blocks: the engine reads each partition on a thread for it.
pub trait BoundedTable: Debug + Send + Sync {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The partitions as they are now; they may be read in parallel, each once or more often.
    ///
    /// # Errors
    /// If the outside cannot be asked.
    fn partitions(&self) -> Result<usize>;

    /// The rows of a partition, in batches of at most about 8,192 rows, with these columns in this order; all
    /// of them if `None`.
    ///
    /// # Errors
    /// If the partition cannot be opened.
    fn read(&self, partition: usize, projection: Option<&[usize]>) -> Result<RowReader>;

    /// The same table as it is now: what is added later is not in its partitions, however often they are asked
    /// for. `None` if the partitions of this one are all there is to hold on to. Who reads a table more than
    /// once in one query, or beside another query, reads a snapshot for each.
    ///
    /// # Errors
    /// If the outside cannot be asked.
    fn snapshot(&self) -> Result<Option<Arc<dyn BoundedTable>>> {
        Ok(None)
    }

    /// The Parquet files whose rows, with these columns by name and type, are the rows of this table and no
    /// more; `None` if there is more to it, and [`BoundedTable::read`] is the only way. Cost: reads the footer
    /// of each file.
    ///
    /// # Errors
    /// If the outside cannot be asked.
    fn parquet_files(&self, _projection: Option<&[usize]>) -> Result<Option<Vec<PlainFile>>> {
        Ok(None)
    }

    /// Whether files of this folder are rows of this table. Cost: looks for all files of the table.
    fn reads(&self, _folder: &Path) -> bool {
        false
    }
}

/// Refuses columns to be made folders of, for a format that has no folders.
fn no_partitions(format: &str, request: &WriteRequest) -> Result<()> {
    match request.partition_by.first() {
        None => Ok(()),
        Some(column) => Err(ConnectorError::user(format!(
            "format `{format}` has no folders to be partitioned by `{column}`: leave `partition_by` out"
        ))),
    }
}
