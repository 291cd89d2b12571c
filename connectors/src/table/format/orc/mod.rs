//! ORC.
//!
//! Written by the `orc-rust` crate, which has the flat types only: booleans, numbers, strings, bytes, dates
//! and timestamps. What else a table may hold is refused before the query starts. Read as far as the crate
//! reads, nested columns and decimals included.

mod footer;
mod wire;
mod writer;

use super::columnar::{ColumnarReader, Plan, file_size, guarded, open, plain};
use super::{FileFormat, FileReader, FileWriter, OpenRequest};
use crate::error::{ConnectorError, Result};
use crate::limits::COLUMNAR_READ_ROWS;
use crate::table::options::{OptionSpec, Options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use orc_rust::ArrowReaderBuilder;
use orc_rust::projection::ProjectionMask;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use writer::{Settings, stored_schema};

/// The ORC format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Orc;

impl FileFormat for Orc {
    fn name(&self) -> &'static str {
        "orc"
    }

    fn extension(&self) -> &'static str {
        "orc"
    }

    fn summary(&self) -> &'static str {
        "Apache ORC: columns with their types, compressed. Nested columns and decimals are read, not written."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        Vec::new()
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        writer::OPTIONS.to_vec()
    }

    fn infer_schema(&self, path: &Path, _options: &Options) -> Result<Schema> {
        Ok(plain(&builder(path)?.schema()))
    }

    fn check_read(&self, _schema: &Schema, _options: &Options) -> Result<()> {
        Ok(())
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>> {
        let path = request.path;
        let builder = builder(path)?;
        let file_schema = builder.schema();
        let plan = Plan::new(&file_schema, request.schema, path)?;
        let decoded: Fields = plan
            .roots()
            .iter()
            .map(|root| {
                let field = file_schema.field(*root);
                let asked = plan.target(*root).map_or(field.data_type(), |asked| asked.data_type());
                Field::new(field.name(), decode_as(field.data_type(), asked), true)
            })
            .collect();
        let reader = guarded("ORC", path, || {
            let root = builder.file_metadata().root_data_type();
            let indices =
                plan.roots().iter().map(|column| root.children()[*column].data_type().column_index());
            let mask = ProjectionMask::roots(root, indices);
            let schema = Arc::new(Schema::new(decoded));
            let builder = builder.with_projection(mask).with_schema(schema);
            Ok::<_, std::io::Error>(builder.with_batch_size(COLUMNAR_READ_ROWS).build())
        })?;
        Ok(Box::new(ColumnarReader::new("ORC", path, plan, Box::new(reader))))
    }

    fn check_write(&self, schema: &Schema, options: &Options) -> Result<()> {
        stored_schema(schema)?;
        Settings::new(options).map(|_| ())
    }

    fn compression_suffix(&self, options: &Options) -> Result<&'static str> {
        Settings::new(options).map(|_| "")
    }

    fn create(&self, schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>> {
        writer::create(schema, options, file)
    }
}

fn builder(path: &Path) -> Result<ArrowReaderBuilder<File>> {
    let file = open(path)?;
    let size = file_size(&file, "ORC", path)?;
    guarded("ORC", path, || footer::check(&file, size))?;
    guarded("ORC", path, || ArrowReaderBuilder::try_new(file))
}

/// The type to decode a column as, so that timestamps have the unit asked for: those that nanoseconds cannot
/// hold are read, and those that the unit cannot hold are an error.
fn decode_as(found: &DataType, asked: &DataType) -> DataType {
    let item = |found: &Field, asked: &Field| {
        Arc::new(found.clone().with_data_type(decode_as(found.data_type(), asked.data_type())))
    };
    match (found, asked) {
        (DataType::Timestamp(_, zone), DataType::Timestamp(unit, _)) => {
            DataType::Timestamp(*unit, zone.clone())
        }
        (DataType::Struct(found), DataType::Struct(asked)) => {
            let fields = found.iter().map(|found| match asked.find(found.name()) {
                Some((_, asked)) => item(found, asked),
                None => Arc::clone(found),
            });
            DataType::Struct(fields.collect())
        }
        (DataType::List(found), DataType::List(asked) | DataType::LargeList(asked)) => {
            DataType::List(item(found, asked))
        }
        (DataType::Map(found, sorted), DataType::Map(asked, _)) => {
            match (found.data_type(), asked.data_type()) {
                (DataType::Struct(from), DataType::Struct(to)) if from.len() == 2 && to.len() == 2 => {
                    let pair = from.iter().zip(to).map(|(found, asked)| item(found, asked)).collect();
                    let entries = found.as_ref().clone().with_data_type(DataType::Struct(pair));
                    DataType::Map(Arc::new(entries), *sorted)
                }
                _ => found_map(found, *sorted),
            }
        }
        _ => found.clone(),
    }
}

fn found_map(entries: &Arc<Field>, sorted: bool) -> DataType {
    DataType::Map(Arc::clone(entries), sorted)
}

/// The error for a column that ORC files cannot hold.
fn refused(column: &str, kind: &DataType) -> ConnectorError {
    let way_out = match kind {
        DataType::Null => format!("give it a type, such as CAST({column} AS STRING)"),
        DataType::Date64 => format!("use CAST({column} AS DATE) or CAST({column} AS TIMESTAMP)"),
        kind if kind.is_nested() => "select its parts as columns of their own, or write Parquet".to_owned(),
        _ => format!("use CAST({column} AS STRING), or write Parquet"),
    };
    ConnectorError::user(format!("column `{column}` of type {kind} cannot be written as ORC: {way_out}"))
}
