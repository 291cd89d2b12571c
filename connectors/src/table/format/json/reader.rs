//! Reading a JSON file as a table.

use super::decode::Decode;
use super::input::{Entry, Input};
use crate::error::{ConnectorError, Result};
use crate::table::format::malformed::{self, BadRecords, Mode};
use crate::table::format::times::Times;
use crate::table::format::{BadRecord, FileReader, OpenRequest};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, SchemaRef};
use std::path::PathBuf;
use std::sync::Arc;

/// A JSON file being read.
pub(super) struct JsonReader {
    path: PathBuf,
    schema: SchemaRef,
    /// The column for the text of malformed records.
    corrupt: Option<String>,
    decode: Decode,
    input: Input,
    bad: BadRecords,
}

/// Rows decoded, and beside them the texts of those that are malformed.
type Rows = (RecordBatch, Option<Vec<Option<String>>>);

impl JsonReader {
    pub(super) fn open(request: &OpenRequest<'_>) -> Result<Self> {
        let OpenRequest { path, schema, table_schema, options } = *request;
        let mode = Mode::of(options)?;
        let corrupt =
            malformed::corrupt_column(table_schema, options)?.map(|_| malformed::corrupt_name(options));
        let is_corrupt = |field: &FieldRef| Some(field.name().as_str()) == corrupt;
        // What is malformed must not depend on the columns that are asked for where it can be seen.
        let check_all = mode != Mode::Permissive
            || schema.fields().iter().any(&is_corrupt)
            || options.get("badRecordsPath").is_some();
        let mut fields: Vec<FieldRef> =
            schema.fields().iter().filter(|field| !is_corrupt(field)).cloned().collect();
        if check_all {
            let more = table_schema.fields().iter().filter(|field| !is_corrupt(field));
            let more = more.filter(|field| schema.column_with_name(field.name()).is_none());
            fields.extend(more.cloned());
        }
        Ok(JsonReader {
            path: path.to_owned(),
            schema: Arc::clone(schema),
            corrupt: corrupt.map(str::to_owned),
            decode: Decode::new(&fields, Times::of(options)?),
            input: Input::open(path, options)?,
            bad: BadRecords::new(path, mode),
        })
    }

    /// Decodes records; `None` if no row of them stays.
    fn rows(&mut self, entries: &[Entry]) -> Result<Option<Rows>> {
        if entries.iter().all(|entry| entry.problem.is_none()) {
            let records = entries.iter().map(|entry| self.input.text(entry));
            if let Some(batch) = self.decode.all(records)? {
                return Ok(Some((batch, None)));
            }
        }
        self.rows_one_by_one(entries)
    }

    fn rows_one_by_one(&mut self, entries: &[Entry]) -> Result<Option<Rows>> {
        let mut rows = Vec::with_capacity(entries.len());
        let mut texts = Vec::with_capacity(entries.len());
        for entry in entries {
            let text = self.input.text(entry);
            let (row, problem) = match &entry.problem {
                Some(problem) => (self.decode.nothing(), Some(problem.clone())),
                None => self.decode.one(text)?,
            };
            let shown = problem.is_some().then(|| String::from_utf8_lossy(text).into_owned());
            let kept = match problem {
                Some(problem) => self.bad.add(entry.line, text, problem)?,
                None => true,
            };
            if kept {
                rows.push(row);
                texts.push(shown);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.decode.together(&rows)?, Some(texts))))
    }

    /// The columns asked for.
    fn finish(&self, (rows, texts): Rows) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let texts = texts.map(|texts| -> ArrayRef { Arc::new(StringArray::from(texts)) });
        let column = |field: &FieldRef| match (rows.column_by_name(field.name()), &texts) {
            _ if Some(field.name()) == self.corrupt.as_ref() => {
                Ok(texts.clone().unwrap_or_else(|| new_null_array(field.data_type(), count)))
            }
            (Some(column), _) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            // The types differ in what may be null.
            (Some(column), _) => cast(column, field.data_type()),
            (None, _) => Ok(new_null_array(field.data_type(), count)),
        };
        let columns: Result<Vec<ArrayRef>, _> = self.schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        columns
            .and_then(|columns| {
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            })
            .map_err(|error| {
                ConnectorError::user(format!(
                    "{}: {error}: declare the column as one that may be null",
                    self.path.display()
                ))
            })
    }
}

impl FileReader for JsonReader {
    fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>> {
        loop {
            let entries = self.input.read(rows_max.max(1))?;
            if entries.is_empty() {
                return Ok(None);
            }
            if let Some(rows) = self.rows(&entries)? {
                return self.finish(rows).map(Some);
            }
        }
    }

    fn bad_records(&mut self) -> Vec<BadRecord> {
        self.bad.take()
    }
}
