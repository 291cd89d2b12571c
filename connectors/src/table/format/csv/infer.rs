//! The schema of a CSV file.

use super::dialect::Dialect;
use super::records::{Cell, Cells, Record, Records};
use crate::error::{ConnectorError, Result};
use crate::limits::INFER_RECORDS;
use crate::table::Options;
use crate::table::format::lines::Lines;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use std::path::Path;

/// Records that are looked at together.
const STEP: usize = 1024;

/// The columns: their names from the header, or `_c0`, `_c1` and so on; their types STRING, or with
/// `inferSchema` what all the first records fit.
pub(super) fn infer(path: &Path, options: &Options) -> Result<Schema> {
    let dialect = Dialect::for_reading(options)?;
    let infer_types = options.bool("inferSchema", false)?;
    let null_value = dialect.null_value.clone();
    let has_header = dialect.header;
    let mut records = Records::new(dialect, Lines::open(path, None)?);
    if !records.read(1)? {
        return Ok(Schema::empty());
    }
    let names = names(records.cells(), has_header);
    if !infer_types {
        let fields = names.iter().map(|name| Field::new(name, DataType::Utf8, true));
        return Ok(Schema::new(fields.collect::<Vec<_>>()));
    }
    // Arrow finds the types, from the values in the plainest way of writing them.
    let mut plain = Vec::new();
    let mut more = !has_header || records.read(STEP)?;
    let mut seen = 0;
    while more && seen < INFER_RECORDS {
        seen += records.records.len();
        append_plain(records.cells(), names.len(), &null_value, &mut plain);
        more = records.read(STEP)?;
    }
    if plain.is_empty() {
        append_row(std::iter::repeat_n("", names.len()), &mut plain);
    }
    let (found, _) = Format::default()
        .infer_schema(plain.as_slice(), None)
        .map_err(|error| ConnectorError::user(format!("{}: {error}", path.display())))?;
    let fields = names.iter().zip(found.fields()).map(|(name, field)| {
        let data_type = match field.data_type() {
            DataType::Null => DataType::Utf8,
            DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            other => other.clone(),
        };
        Field::new(name, data_type, true)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The names of the columns, from the record read last. An empty or repeated name gets its number.
fn names((records, cells): (&mut [Record], Cells<'_>), has_header: bool) -> Vec<String> {
    let Some(record) = records.first() else { return Vec::new() };
    let mut names: Vec<String> = Vec::with_capacity(record.width());
    for column in 0..record.width() {
        let name = match cells.cell(record, column) {
            Cell::Text(name) if has_header && names.iter().any(|other| other == name) => {
                format!("{name}{column}")
            }
            Cell::Text(name) if has_header => name.to_owned(),
            _ => format!("_c{column}"),
        };
        names.push(name);
    }
    names
}

fn append_plain(
    (records, cells): (&mut [Record], Cells<'_>),
    width: usize,
    null_value: &str,
    plain: &mut Vec<u8>,
) {
    for record in records.iter().filter(|record| record.problem.is_none()) {
        let values = (0..width).map(|column| match cells.cell(record, column) {
            Cell::Text(value) if value != null_value => value,
            Cell::NotText => "?",
            _ => "",
        });
        append_row(values, plain);
    }
}

fn append_row<'a>(values: impl Iterator<Item = &'a str>, plain: &mut Vec<u8>) {
    for (column, value) in values.enumerate() {
        plain.extend_from_slice(if column > 0 { b",\"" } else { b"\"" });
        plain.extend_from_slice(value.replace('"', "\"\"").as_bytes());
        plain.push(b'"');
    }
    plain.push(b'\n');
}
