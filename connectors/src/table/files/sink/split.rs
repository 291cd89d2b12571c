//! Rows by the partition folder they belong to.

use super::super::partition;
use crate::error::{ConnectorError, Result};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::HashMap;
use std::sync::Arc;

/// How rows are split.
#[derive(Debug, Clone)]
pub(super) struct Split {
    /// Names and places of the partition columns.
    columns: Vec<(String, usize)>,
    /// Places of the columns that stay in the files.
    rest: Vec<usize>,
    /// The schema of the files.
    pub(super) schema: SchemaRef,
}

impl Split {
    pub(super) fn new(schema: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let mut columns = Vec::new();
        for name in partition_by {
            let at = schema.index_of(name).map_err(|_| {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                ConnectorError::user(format!(
                    "there is no column `{name}` to partition by: the columns are {}",
                    names.join(", ")
                ))
            })?;
            if columns.iter().any(|(other, _)| other == name) {
                return Err(ConnectorError::user(format!("column `{name}` is named twice in partition_by")));
            }
            check_type(name, schema.field(at).data_type())?;
            columns.push((name.clone(), at));
        }
        let rest: Vec<usize> =
            (0..schema.fields().len()).filter(|at| columns.iter().all(|(_, used)| used != at)).collect();
        if rest.is_empty() {
            return Err(ConnectorError::user(
                "all columns are partition columns: leave at least one to be written to the files",
            ));
        }
        let files: Schema =
            schema.project(&rest).map_err(|error| ConnectorError::internal(error.to_string()))?;
        Ok(Split { columns, rest, schema: Arc::new(files) })
    }

    /// The rows for each folder (empty: the sink's own), in the order of their first rows.
    pub(super) fn split(&self, rows: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
        let unfit = |error: ArrowError| ConnectorError::internal(format!("rows cannot be split: {error}"));
        let data = rows.project(&self.rest).map_err(unfit)?;
        if self.columns.is_empty() {
            return Ok(vec![(String::new(), data)]);
        }
        let format = FormatOptions::new()
            .with_display_error(true)
            .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
        let mut values = Vec::with_capacity(self.columns.len());
        for (name, at) in &self.columns {
            let array = rows.column(*at).as_ref();
            values.push((name, array, ArrayFormatter::try_new(array, &format).map_err(unfit)?));
        }
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        let mut by_folder: HashMap<String, usize> = HashMap::new();
        for row in 0..rows.num_rows() {
            let mut folder = String::new();
            for (name, array, text) in &values {
                let value = (!array.is_null(row)).then(|| text.value(row).to_string());
                folder.push_str(&partition::folder(name, value.as_deref())?);
                folder.push('/');
            }
            let number =
                u32::try_from(row).map_err(|_| ConnectorError::internal("a batch of over 2^32 rows"))?;
            match by_folder.get(&folder) {
                Some(&group) => groups[group].1.push(number),
                None => {
                    by_folder.insert(folder.clone(), groups.len());
                    groups.push((folder, vec![number]));
                }
            }
        }
        if groups.len() == 1 {
            return Ok(groups.into_iter().map(|(folder, _)| (folder, data.clone())).collect());
        }
        let taken = groups.into_iter().map(|(folder, rows)| {
            take_record_batch(&data, &UInt32Array::from(rows)).map(|rows| (folder, rows)).map_err(unfit)
        });
        taken.collect()
    }
}

fn check_type(name: &str, data_type: &DataType) -> Result<()> {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let plain = data_type.is_integer() || matches!(data_type, DataType::Boolean) || data_type.is_floating();
    let exact = matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..));
    let time = matches!(data_type, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    if text || plain || exact || time {
        return Ok(());
    }
    Err(ConnectorError::user(format!(
        "column `{name}` of type {data_type} cannot be partitioned by: cast it to STRING, a number, a date or a \
         timestamp"
    )))
}
