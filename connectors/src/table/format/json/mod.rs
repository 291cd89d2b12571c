//! JSON, a record a line or a document a file, as Spark reads and writes it.
//!
//! Arrow decodes whole batches. A batch in which something fails is decoded again record by record; a record
//! that is no JSON object gives a row of nulls, a value of a wrong type is null and the rest of its record is
//! kept. Dates and times are strings. `BINARY` is written in hexadecimal digits.

mod decode;
mod infer;
mod input;
mod reader;
mod writer;

use super::compression::{COMPRESSION, Compression};
use super::malformed::{self, CORRUPT, MODE, Mode};
use super::times::{DATE_FORMAT, TIME_ZONE, TIMESTAMP_FORMAT, Times};
use super::{FileFormat, FileReader, FileWriter, OpenRequest};
use crate::error::{ConnectorError, Result};
use crate::table::{OptionSpec, Options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::fs::File;
use std::path::Path;

const MULTI_LINE: &str = "multiLine";
const IGNORE_NULL_FIELDS: &str = "ignoreNullFields";

/// JSON lines, or one document a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl FileFormat for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn extension(&self) -> &'static str {
        "json"
    }

    fn summary(&self) -> &'static str {
        "JSON, an object a line, or one object or list of objects a file."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        let multi_line = "whether a file is one object or one list of objects, over any number of lines";
        let multi_line = OptionSpec::new(MULTI_LINE, "false", multi_line);
        vec![multi_line, DATE_FORMAT, TIMESTAMP_FORMAT, TIME_ZONE, MODE, CORRUPT]
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        let ignore =
            "whether fields that are null are left out; a table with maps is written with all of them";
        let ignore = OptionSpec::new(IGNORE_NULL_FIELDS, "true", ignore);
        vec![ignore, DATE_FORMAT, TIMESTAMP_FORMAT, COMPRESSION]
    }

    fn infer_schema(&self, path: &Path, options: &Options) -> Result<Schema> {
        infer::infer(path, options)
    }

    fn check_read(&self, schema: &Schema, options: &Options) -> Result<()> {
        options.bool(MULTI_LINE, false)?;
        Mode::of(options)?;
        let times = Times::of(options)?;
        malformed::corrupt_column(schema, options)?;
        check_fields(schema, "read from", &|name, data_type| match data_type {
            DataType::Timestamp(_, zone) => times
                .zone_of(zone.as_deref())
                .map(drop)
                .map_err(|error| ConnectorError::user(format!("column `{name}` has no known zone: {error}"))),
            _ => Ok(()),
        })
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>> {
        self.check_read(request.table_schema, request.options)?;
        Ok(Box::new(reader::JsonReader::open(request)?))
    }

    fn check_write(&self, schema: &Schema, options: &Options) -> Result<()> {
        options.bool(IGNORE_NULL_FIELDS, true)?;
        Compression::of(options)?;
        let times = Times::of(options)?;
        check_fields(schema, "written to", &|name, data_type| times.check_write(name, data_type))
    }

    fn compression_suffix(&self, options: &Options) -> Result<&'static str> {
        Ok(Compression::of(options)?.suffix())
    }

    fn create(&self, schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>> {
        self.check_write(schema, options)?;
        Ok(Box::new(writer::JsonWriter::new(schema, options, file)?))
    }
}

type Check<'a> = &'a dyn Fn(&str, &DataType) -> Result<()>;

fn check_fields(schema: &Schema, done: &str, check: Check<'_>) -> Result<()> {
    schema.fields().iter().try_for_each(|field| check_type(field.name(), field, done, check))
}

/// Makes sure that JSON has the type of a field; `name` is its column.
fn check_type(name: &str, field: &Field, done: &str, check: Check<'_>) -> Result<()> {
    let refused = |why: &str| {
        let data_type = field.data_type();
        ConnectorError::user(format!(
            "column `{name}`: {data_type} cannot be {done} JSON{why}: cast it or use another format"
        ))
    };
    match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check_type(name, item, done, check)
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(name, field, done, check)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 && *fields[0].data_type() == DataType::Utf8 => {
                check_type(name, &fields[1], done, check)
            }
            _ => Err(refused(", whose maps have STRING keys")),
        },
        DataType::Null
        | DataType::Boolean
        | DataType::Date32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::Timestamp(_, _) => check(name, field.data_type()),
        other if other.is_string() || (other.is_numeric() && *other != DataType::Float16) => Ok(()),
        _ => Err(refused("")),
    }
}
