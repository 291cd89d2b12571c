//! CSV, as Spark reads and writes it.
//!
//! Records are split here, and not by Arrow's decoder: it cannot tell `""` (an empty string) from nothing at
//! all (null), loses the text of a record and gives up a batch for one bad field. Values are parsed by Arrow,
//! one column at a time, so one way serves good and bad records alike.
//!
//! A quoted empty value is an empty string, an empty value without quotes is null. A value that equals
//! `nullValue` is null, in quotes or not. Lines of nothing but spaces are skipped; so a null in a table of one
//! string column cannot be written as nothing, and is written as `""`, unless `nullValue` is given.

mod columns;
mod dialect;
mod infer;
mod reader;
mod records;
mod writer;

use super::compression::{COMPRESSION, Compression};
use super::malformed::{self, CORRUPT, MODE, Mode};
use super::times::{DATE_FORMAT, TIME_ZONE, TIMESTAMP_FORMAT, Times};
use super::{FileFormat, FileReader, FileWriter, OpenRequest};
use crate::error::{ConnectorError, Result};
use crate::table::{OptionSpec, Options};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use dialect::Dialect;
use std::fs::File;
use std::path::Path;

/// Comma-separated values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Csv;

impl FileFormat for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn extension(&self) -> &'static str {
        "csv"
    }

    fn summary(&self) -> &'static str {
        "Comma-separated values, with a header or without."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        let mut options = dialect::READ.to_vec();
        options.extend([DATE_FORMAT, TIMESTAMP_FORMAT, TIME_ZONE, MODE, CORRUPT]);
        options
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        let mut options = dialect::WRITE.to_vec();
        options.extend([DATE_FORMAT, TIMESTAMP_FORMAT, COMPRESSION]);
        options
    }

    fn infer_schema(&self, path: &Path, options: &Options) -> Result<Schema> {
        infer::infer(path, options)
    }

    fn check_read(&self, schema: &Schema, options: &Options) -> Result<()> {
        Dialect::for_reading(options)?;
        let times = Times::of(options)?;
        Mode::of(options)?;
        malformed::corrupt_column(schema, options)?;
        check_columns(schema, "read from")?;
        for field in schema.fields() {
            if let DataType::Timestamp(_, zone) = field.data_type() {
                times.zone_of(zone.as_deref()).map_err(|error| {
                    ConnectorError::user(format!("column `{}` has no known zone: {error}", field.name()))
                })?;
            }
        }
        Ok(())
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>> {
        self.check_read(request.table_schema, request.options)?;
        Ok(Box::new(reader::CsvReader::open(request)?))
    }

    fn check_write(&self, schema: &Schema, options: &Options) -> Result<()> {
        Dialect::for_writing(options)?;
        Compression::of(options)?;
        let times = Times::of(options)?;
        if schema.fields().is_empty() {
            return Err(ConnectorError::user("a CSV file needs at least one column"));
        }
        check_columns(schema, "written to")?;
        schema.fields().iter().try_for_each(|field| times.check_write(field.name(), field.data_type()))
    }

    fn compression_suffix(&self, options: &Options) -> Result<&'static str> {
        Ok(Compression::of(options)?.suffix())
    }

    fn create(&self, schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>> {
        self.check_write(schema, options)?;
        Ok(Box::new(writer::CsvWriter::new(schema, options, file)?))
    }
}

fn check_columns(schema: &Schema, done: &str) -> Result<()> {
    for field in schema.fields() {
        let data_type = field.data_type();
        let simple = data_type.is_numeric() && !matches!(data_type, DataType::Float16);
        let known = simple
            || data_type.is_string()
            || matches!(
                data_type,
                DataType::Null
                    | DataType::Boolean
                    | DataType::Date32
                    | DataType::Timestamp(_, _)
                    | DataType::Time32(_)
                    | DataType::Time64(_)
            );
        if !known {
            return Err(ConnectorError::user(format!(
                "column `{}` of type {data_type} cannot be {done} CSV: cast it to STRING or use another format",
                field.name()
            )));
        }
    }
    Ok(())
}

/// What a type is called in a message.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Date32 => "DATE",
        DataType::Timestamp(_, _) => "TIMESTAMP",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => return format!("DECIMAL({precision}, {scale})"),
        other => return other.to_string(),
    }
    .to_owned()
}
