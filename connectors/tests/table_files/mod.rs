//! Reading and writing one file, and rows as text.
#![allow(clippy::unwrap_used, reason = "tests")]

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic_connectors::Result;
use lotic_connectors::table::Options;
use lotic_connectors::table::format::{BadRecord, FileFormat, OpenRequest};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn schema_of(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// All of a file; the error as text.
pub(crate) fn read_all(
    format: &dyn FileFormat,
    path: &Path,
    schema: &SchemaRef,
    table_schema: &SchemaRef,
    options: &Options,
    rows_max: usize,
) -> Result<(Vec<RecordBatch>, Vec<BadRecord>), String> {
    let read = || -> Result<(Vec<RecordBatch>, Vec<BadRecord>)> {
        options.check(format.name(), &format.read_options())?;
        let mut reader = format.open(&OpenRequest { path, schema, table_schema, options })?;
        let (mut batches, mut bad) = (Vec::new(), Vec::new());
        while let Some(batch) = reader.next(rows_max)? {
            assert!(batch.num_rows() > 0 && batch.num_rows() <= rows_max);
            assert_eq!(batch.schema(), *schema);
            batches.push(batch);
            bad.extend(reader.bad_records());
        }
        bad.extend(reader.bad_records());
        Ok((batches, bad))
    };
    read().map_err(|error| error.to_string())
}

/// Writes a file.
pub(crate) fn write_all(
    format: &dyn FileFormat,
    path: &Path,
    options: &Options,
    batches: &[RecordBatch],
) -> Result<()> {
    options.check(format.name(), &format.write_options())?;
    let mut writer = format.create(&batches[0].schema(), options, File::create(path).unwrap())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish().map(drop)
}

/// Each row as text, null as `∅`.
pub(crate) fn rows_of(batches: &[RecordBatch]) -> Vec<String> {
    let format = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &format).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(values.join("|"));
        }
    }
    rows
}
