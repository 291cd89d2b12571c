//! Folders of files as tables: listing, the stream of new files, bounded reads, the exactly-once sink.
//!
//! [`FilesFormat`] makes a [`TableFormat`] of any [`FileFormat`], which knows a single file.
//!
//! # Partition folders
//! A file in `.../day=2024-01-01/` has the column `day`. A stream has those of them that its schema names; a
//! bounded read has them all: where the schema does not give a type, INT or BIGINT if all values are whole
//! numbers, else STRING.

mod bad_records;
mod bounded;
mod listing;
mod partition;
mod reader;
mod settings;
mod sink;
mod source;

use super::format::FileFormat;
use super::options::OptionSpec;
use super::{BoundedTable, OutputMode, ReadRequest, StreamTable, TableFormat, WriteRequest};
use crate::error::{ConnectorError, Result};
use crate::sink::SinkFactory;
use bounded::BoundedFiles;
use lotic_operators::table::TableBatch;
use reader::FilesTable;
use settings::ReadSettings;
use source::StreamFiles;
use std::path::PathBuf;
use std::sync::Arc;

/// Folders of files of one format as tables.
#[derive(Debug, Clone)]
pub struct FilesFormat<F> {
    format: Arc<F>,
}

impl<F: FileFormat> FilesFormat<F> {
    /// Folders of files of this format.
    pub fn new(format: F) -> Self {
        FilesFormat { format: Arc::new(format) }
    }

    fn shared(&self) -> Arc<dyn FileFormat> {
        Arc::clone(&self.format) as Arc<dyn FileFormat>
    }
}

/// The options of all files, and those of the format, which may say more of one of the same name.
fn merge(files: &[OptionSpec], format: Vec<OptionSpec>) -> Vec<OptionSpec> {
    let known = |spec: &&OptionSpec| !format.iter().any(|other| other.name.eq_ignore_ascii_case(spec.name));
    files.iter().filter(known).copied().chain(format.iter().copied()).collect()
}

impl<F: FileFormat> TableFormat for FilesFormat<F> {
    fn name(&self) -> &'static str {
        self.format.name()
    }

    fn summary(&self) -> &'static str {
        self.format.summary()
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        merge(&settings::READ, self.format.read_options())
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        merge(&settings::WRITE, self.format.write_options())
    }

    fn stream(&self, request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        request.options.check(self.name(), &self.read_options())?;
        let settings = ReadSettings::new(&request.options)?;
        let schema = request.schema.clone().or_else(|| self.format.fixed_schema()).ok_or_else(|| {
            ConnectorError::user(format!(
                "a stream of {} files needs a schema, since the files are still to come: give one, such as \
                 `.schema(\"name STRING, age INT\")`",
                self.name()
            ))
        })?;
        let table = FilesTable::new(&self.shared(), settings, &request.options, &schema)?;
        Ok(Arc::new(StreamFiles(Arc::new(table))))
    }

    fn bounded(&self, request: &ReadRequest) -> Result<Arc<dyn BoundedTable>> {
        request.options.check(self.name(), &self.read_options())?;
        Ok(Arc::new(BoundedFiles::new(&self.shared(), request)?))
    }

    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        request.options.check(self.name(), &self.write_options())?;
        if request.save_mode.is_none() && request.output_mode != OutputMode::Append {
            return Err(ConnectorError::user(format!(
                "format `{}` does not support output mode {:?}: rows in files cannot be changed later; use \
                 output mode Append (an aggregation then needs a watermark), or a sink that can update",
                self.name(),
                request.output_mode
            )));
        }
        sink::factory(self.shared(), request)
    }

    fn folder(&self, request: &WriteRequest) -> Option<PathBuf> {
        settings::path_of(&request.options).ok().map(PathBuf::from)
    }
}
