//! Reading a CSV file as a table.

use super::columns::Columns;
use super::dialect::Dialect;
use super::records::Records;
use crate::error::{ConnectorError, Result};
use crate::table::format::lines::Lines;
use crate::table::format::malformed::{self, BadRecords, Mode};
use crate::table::format::times::Times;
use crate::table::format::{BadRecord, FileReader, OpenRequest};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::filter;
use arrow::datatypes::{FieldRef, SchemaRef};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// The values at this place in each record.
    Values(usize),
    /// The text of malformed records.
    Corrupt,
    /// Nowhere: it is null.
    Missing,
}

/// A CSV file being read.
pub(super) struct CsvReader {
    path: PathBuf,
    schema: SchemaRef,
    origins: Vec<Origin>,
    /// Columns that are not asked for and are read to find malformed records.
    checked: Vec<(usize, FieldRef)>,
    /// How many values a record should have.
    width: usize,
    columns: Columns,
    records: Records,
    header_to_come: bool,
    bad: BadRecords,
}

impl CsvReader {
    pub(super) fn open(request: &OpenRequest<'_>) -> Result<Self> {
        let OpenRequest { path, schema, table_schema, options } = *request;
        let dialect = Dialect::for_reading(options)?;
        let mode = Mode::of(options)?;
        let corrupt =
            malformed::corrupt_column(table_schema, options)?.map(|_| malformed::corrupt_name(options));
        let in_file: Vec<&FieldRef> =
            table_schema.fields().iter().filter(|field| Some(field.name().as_str()) != corrupt).collect();
        let origin = |field: &FieldRef| match in_file.iter().position(|other| other.name() == field.name()) {
            Some(index) => Origin::Values(index),
            None if Some(field.name().as_str()) == corrupt => Origin::Corrupt,
            None => Origin::Missing,
        };
        let origins: Vec<Origin> = schema.fields().iter().map(origin).collect();
        let asked =
            |index: usize| origins.iter().any(|origin| matches!(origin, Origin::Values(at) if *at == index));
        // What is malformed must not depend on the columns that are asked for where it can be seen.
        let check_all = mode != Mode::Permissive
            || origins.iter().any(|origin| matches!(origin, Origin::Corrupt))
            || options.get("badRecordsPath").is_some();
        let checked = in_file.iter().enumerate().filter(|(index, _)| check_all && !asked(*index));
        Ok(CsvReader {
            path: path.to_owned(),
            schema: Arc::clone(schema),
            checked: checked.map(|(index, field)| (index, Arc::clone(field))).collect(),
            width: in_file.len(),
            columns: Columns {
                null_value: dialect.null_value.clone(),
                empty_value: dialect.empty_value.clone(),
                times: Times::of(options)?,
            },
            origins,
            header_to_come: dialect.header,
            records: Records::new(dialect, Lines::open(path, None)?),
            bad: BadRecords::new(path, mode),
        })
    }

    /// The columns of the records read last; what is wrong with a record is noted in it.
    fn columns(&mut self) -> Result<Vec<ArrayRef>> {
        let (records, cells) = self.records.cells();
        for record in records.iter_mut() {
            let width = record.width();
            if width != self.width && record.problem.is_none() {
                record.problem = Some(format!("it has {width} values where {} are expected", self.width));
            }
        }
        let mut columns = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            columns.push(match origin {
                Origin::Values(index) => self.columns.make(field, *index, cells, records)?,
                Origin::Corrupt | Origin::Missing => new_null_array(field.data_type(), records.len()),
            });
        }
        for (index, field) in &self.checked {
            self.columns.make(field, *index, cells, records)?;
        }
        Ok(columns)
    }

    /// Deals with the malformed records: which rows stay, and the column with their texts.
    fn malformed(&mut self) -> Result<(Vec<bool>, Vec<Option<String>>)> {
        let mut kept = Vec::with_capacity(self.records.records.len());
        let mut texts = Vec::with_capacity(kept.capacity());
        for record in &self.records.records {
            let text = self.records.text_of(record);
            match &record.problem {
                None => kept.push(true),
                Some(problem) => kept.push(self.bad.add(record.line, text, problem.clone())?),
            }
            texts.push(record.problem.as_ref().map(|_| String::from_utf8_lossy(text).into_owned()));
        }
        Ok((kept, texts))
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let mut columns = self.columns()?;
        let mut rows = self.records.records.len();
        if self.records.records.iter().any(|record| record.problem.is_some()) {
            let (kept, texts) = self.malformed()?;
            let texts: ArrayRef = Arc::new(StringArray::from(texts));
            for (column, origin) in columns.iter_mut().zip(&self.origins) {
                if matches!(origin, Origin::Corrupt) {
                    *column = Arc::clone(&texts);
                }
            }
            let kept = BooleanArray::from(kept);
            rows = kept.true_count();
            if rows < kept.len() {
                let filtered: Result<Vec<_>, _> =
                    columns.iter().map(|column| filter(column, &kept)).collect();
                columns = filtered.map_err(|error| ConnectorError::internal(error.to_string()))?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|error| {
            // The columns fit the schema but for nulls where it has none.
            ConnectorError::user(format!(
                "{}: {error}: declare the column as one that may be null",
                self.path.display()
            ))
        })
    }
}

impl FileReader for CsvReader {
    fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>> {
        if std::mem::take(&mut self.header_to_come) {
            self.records.read(1)?;
        }
        while self.records.read(rows_max.max(1))? {
            let batch = self.batch()?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn bad_records(&mut self) -> Vec<BadRecord> {
        self.bad.take()
    }
}
