//! File formats: bytes to rows and rows to bytes, one file at a time.

#[cfg(any(feature = "orc", feature = "parquet"))]
mod columnar;
mod compression;
pub mod csv;
pub mod json;
mod lines;
mod malformed;
#[cfg(feature = "orc")]
pub mod orc;
#[cfg(feature = "parquet")]
pub mod parquet;
mod pattern;
pub mod text;
mod times;

use super::options::{OptionSpec, Options};
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::fmt::Debug;
use std::fs::File;
use std::path::Path;

/// What a reader is to be opened for.
#[derive(Debug)]
pub struct OpenRequest<'a> {
    /// The file.
    pub path: &'a Path,
    /// The columns to return, in this order. A column that the file does not have is null (or an error, if
    /// the format's rules say so).
    pub schema: &'a SchemaRef,
    /// The columns of the table, of which `schema` holds some. A file without names (CSV) has these, in this
    /// order.
    pub table_schema: &'a SchemaRef,
    /// The options given; checked before.
    pub options: &'a Options,
}

/// A record that could not be read, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The text.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// A file format.
///
/// Malformed records follow the option `mode` as in Spark: `PERMISSIVE` (the default) gives a row with nulls
/// where the record cannot be read, and the raw text in `columnNameOfCorruptRecord` if the schema has that
/// column; `DROPMALFORMED` leaves the record out; `FAILFAST` is an error naming file, line and text.
pub trait FileFormat: Debug + Send + Sync + 'static {
    /// The name, in lower case.
    fn name(&self) -> &'static str;

    /// What the names of its files end in, without a dot.
    fn extension(&self) -> &'static str;

    /// One sentence for the documentation.
    fn summary(&self) -> &'static str;

    /// The options it reads with, besides those of all files.
    fn read_options(&self) -> Vec<OptionSpec>;

    /// The options it writes with, besides those of all file sinks.
    fn write_options(&self) -> Vec<OptionSpec>;

    /// The schema of every file, if the format fixes it.
    fn fixed_schema(&self) -> Option<SchemaRef> {
        None
    }

    /// The schema of a file, found by reading it. Stable: the same file gives the same schema.
    ///
    /// # Errors
    /// If the file cannot be read.
    fn infer_schema(&self, path: &Path, options: &Options) -> Result<Schema>;

    /// Makes sure that the options can be read with, and this schema with them.
    ///
    /// # Errors
    /// The option or column that cannot be used.
    fn check_read(&self, schema: &Schema, options: &Options) -> Result<()>;

    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be opened or is no file of this format, naming it.
    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>>;

    /// Whether any reader of Parquet finds these columns in the file, with these types.
    fn is_plain_parquet(&self, _path: &Path, _schema: &Schema) -> bool {
        false
    }

    /// Makes sure that rows of this schema can be written with these options.
    ///
    /// # Errors
    /// The column whose type the format does not have, or the option that is wrong.
    fn check_write(&self, schema: &Schema, options: &Options) -> Result<()>;

    /// What is appended to the extension for the compression that the options ask for, such as `.gz`; empty
    /// if nothing.
    fn compression_suffix(&self, options: &Options) -> Result<&'static str>;

    /// Begins a file; `file` is empty and stands at its start.
    ///
    /// # Errors
    /// If it cannot be written.
    fn create(&self, schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>>;
}

/// A file being read. The rows and their order are the same each time the file is read with the same options.
pub trait FileReader: Send {
    /// At most `rows_max` further rows, with the columns asked for; `None` at the end. Never an empty batch.
    ///
    /// # Errors
    /// If the file cannot be read further: file and line.
    fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>>;

    /// The bad records met since the last call.
    fn bad_records(&mut self) -> Vec<BadRecord> {
        Vec::new()
    }
}

/// A file being written.
pub trait FileWriter: Send {
    /// Adds rows.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// About how many bytes the file has by now, what is still in memory included.
    fn bytes(&self) -> u64;

    /// Ends the file and returns it, with all bytes handed to the operating system, not yet synced.
    ///
    /// # Errors
    /// If it cannot be written.
    fn finish(self: Box<Self>) -> Result<File>;
}
