//! The rows of one file as rows of the table: columns of the file and columns of its path.

use super::bad_records::BadRecordsFile;
use super::listing::FoundFile;
use super::partition;
use super::settings::ReadSettings;
use crate::error::{ConnectorError, Result};
use crate::table::Options;
use crate::table::format::{FileFormat, FileReader, OpenRequest};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;

/// What the files of a table are read with.
#[derive(Debug, Clone)]
pub(super) struct FilesTable {
    pub(super) format: Arc<dyn FileFormat>,
    pub(super) settings: ReadSettings,
    pub(super) options: Options,
    /// All columns; any may be null.
    pub(super) schema: SchemaRef,
}

impl FilesTable {
    pub(super) fn new(
        format: &Arc<dyn FileFormat>,
        settings: ReadSettings,
        options: &Options,
        schema: &Schema,
    ) -> Result<Self> {
        format.check_read(&of_files(format.as_ref(), schema), options)?;
        let schema = Arc::new(nullable(schema));
        Ok(FilesTable { format: Arc::clone(format), settings, options: options.clone(), schema })
    }

    pub(super) fn projected(&self, projection: Option<&[usize]>) -> Result<SchemaRef> {
        let Some(columns) = projection else { return Ok(Arc::clone(&self.schema)) };
        let schema = self.schema.project(columns);
        schema.map(Arc::new).map_err(|error| ConnectorError::internal(error.to_string()))
    }
}

/// The columns that files have, as far as that is known before they are listed: where the format fixes them,
/// others come from the path.
fn of_files(format: &dyn FileFormat, schema: &Schema) -> Schema {
    let fixed = format.fixed_schema();
    let known = |name: &str| fixed.as_ref().is_some_and(|fixed| fixed.index_of(name).is_ok());
    let fields: Vec<_> = schema.fields().iter().filter(|field| known(field.name())).cloned().collect();
    if fields.is_empty() { schema.clone() } else { Schema::new(fields) }
}

/// A file may lack any value, whatever the schema given says.
fn nullable(schema: &Schema) -> Schema {
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// Where a column of the result comes from.
#[derive(Debug)]
enum Column {
    /// The column of that number of what the format returns.
    File(usize),
    /// The path: an array of one row.
    Path(ArrayRef),
}

/// A file being read.
pub(super) struct FileRows {
    reader: Box<dyn FileReader>,
    output: SchemaRef,
    columns: Vec<Column>,
    bad_records: Option<BadRecordsFile>,
    ignore_corrupt: bool,
    relative: String,
    ended: bool,
}

impl FileRows {
    /// Opens a file; `None` if it cannot be opened and such files are left out.
    pub(super) fn open(table: &FilesTable, output: &SchemaRef, file: &FoundFile) -> Result<Option<FileRows>> {
        if !file.path.exists() {
            if table.settings.ignore_missing {
                tracing::warn!("`{}` was deleted before it was read: left out", file.path.display());
                return Ok(None);
            }
            return Err(ConnectorError::external(
                format!("cannot open `{}`", file.path.display()),
                "it was deleted after it was listed; set option `ignoreMissingFiles` to leave such files out",
            ));
        }
        let values =
            if table.settings.rules.recursive { Vec::new() } else { partition::of_path(&file.relative) };
        let (columns, wanted, table_schema) = plan_columns(table, output, &values, file)?;
        let request = OpenRequest {
            path: &file.path,
            schema: &wanted,
            table_schema: &table_schema,
            options: &table.options,
        };
        let reader = match table.format.open(&request) {
            Ok(reader) => reader,
            Err(error) if table.settings.ignore_corrupt => {
                tracing::warn!("left out: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let bad_records = match &table.settings.bad_records {
            Some(folder) => Some(BadRecordsFile::open(folder, file)?),
            None => None,
        };
        Ok(Some(FileRows {
            reader,
            output: Arc::clone(output),
            columns,
            bad_records,
            ignore_corrupt: table.settings.ignore_corrupt,
            relative: file.relative.clone(),
            ended: false,
        }))
    }

    /// At most this many further rows; `None` at the end.
    pub(super) fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>> {
        if self.ended {
            return Ok(None);
        }
        let rows = match self.reader.next(rows_max) {
            Ok(rows) => rows,
            Err(error) if self.ignore_corrupt => {
                tracing::warn!("the rest of `{}` is left out: {error}", self.relative);
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(file) = &mut self.bad_records {
            file.append(&self.reader.bad_records())?;
        }
        self.ended = rows.is_none();
        rows.map(|rows| self.assemble(&rows)).transpose()
    }

    fn assemble(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let arrays = self.columns.iter().map(|column| match column {
            Column::File(at) => Arc::clone(rows.column(*at)),
            Column::Path(constant) => partition::repeat(constant, rows.num_rows()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.output), arrays.collect(), &options).map_err(
            |error| {
                ConnectorError::internal(format!(
                    "the rows of `{}` do not fit the schema: {error}",
                    self.relative
                ))
            },
        )
    }
}

/// The columns of the result, those to ask the file for, and all that the file has.
fn plan_columns(
    table: &FilesTable,
    output: &SchemaRef,
    values: &[(String, Option<String>)],
    file: &FoundFile,
) -> Result<(Vec<Column>, SchemaRef, SchemaRef)> {
    let in_path = |name: &str| values.iter().rev().find(|(column, _)| column == name);
    let in_file = |schema: &SchemaRef| -> Vec<_> {
        schema.fields().iter().filter(|field| in_path(field.name()).is_none()).cloned().collect()
    };
    let (mut columns, mut next) = (Vec::with_capacity(output.fields().len()), 0);
    for field in output.fields() {
        columns.push(match in_path(field.name()) {
            None => {
                next += 1;
                Column::File(next - 1)
            }
            Some((_, value)) => {
                let constant = partition::constant(value.as_deref(), field.data_type()).map_err(|cause| {
                    ConnectorError::user(format!(
                        "partition column `{}` of `{}` is not of its type {}: {cause}",
                        field.name(),
                        file.path.display(),
                        field.data_type()
                    ))
                })?;
                Column::Path(constant)
            }
        });
    }
    let all = in_file(&table.schema);
    let mut wanted = in_file(output);
    if wanted.is_empty() {
        // So that the file's rows are counted, whatever the format makes of no columns.
        wanted.extend(all.first().cloned());
    }
    Ok((columns, Arc::new(Schema::new(wanted)), Arc::new(Schema::new(all))))
}
