//! JSON records decoded by Arrow: many at once where all are well, one by one where not.

use crate::error::{ConnectorError, Result};
use crate::table::format::times::{Times, as_text};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use std::sync::Arc;

/// A column for when none is asked for: the decoder must see that there is an object.
const NO_COLUMN: &str = "\0";

/// Decodes records into columns. All columns may be null.
pub(super) struct Decode {
    /// The columns with strings for dates and times.
    as_text: SchemaRef,
    /// The columns.
    schema: SchemaRef,
    times: Times,
    strict: Option<Decoder>,
    lenient: Option<Decoder>,
    batch_rows: usize,
}

/// The type with everything in it nullable but the keys of maps.
fn nullable(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_data_type(nullable(field.data_type())).with_nullable(true))
    };
    match data_type {
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Fields>()),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return data_type.clone() };
            let pair = Fields::from(vec![Arc::clone(&pair[0]), field(&pair[1])]);
            DataType::Map(Arc::new(Field::clone(entries).with_data_type(DataType::Struct(pair))), *sorted)
        }
        other => other.clone(),
    }
}

fn reason(error: &ArrowError) -> String {
    let text = error.to_string();
    text.strip_prefix("Json error: ").unwrap_or(&text).to_owned()
}

impl Decode {
    /// Decodes these columns.
    pub(super) fn new(fields: &[FieldRef], times: Times) -> Self {
        let mut fields: Vec<FieldRef> = fields
            .iter()
            .map(|field| Arc::new(Field::new(field.name(), nullable(field.data_type()), true)))
            .collect();
        if fields.is_empty() {
            fields.push(Arc::new(Field::new(NO_COLUMN, DataType::Null, true)));
        }
        let texts: Vec<Field> =
            fields.iter().map(|field| Field::new(field.name(), as_text(field.data_type()), true)).collect();
        Decode {
            as_text: Arc::new(Schema::new(texts)),
            schema: Arc::new(Schema::new(fields)),
            times,
            strict: None,
            lenient: None,
            batch_rows: 0,
        }
    }

    fn build(&self, batch_rows: usize, lenient: bool) -> Result<Decoder, ArrowError> {
        ReaderBuilder::new(Arc::clone(&self.as_text))
            .with_batch_size(batch_rows)
            .with_coerce_primitive(true)
            .with_ignore_type_conflicts(lenient)
            .build_decoder()
    }

    /// Decodes all records, each of which is one object; `None` if anything about any of them is wrong.
    pub(super) fn all<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Option<RecordBatch>> {
        let rows = records.len();
        if self.strict.is_none() || self.batch_rows <= rows {
            self.batch_rows = (rows + 1).next_power_of_two();
            let built = self.build(self.batch_rows, false);
            self.strict = Some(built.map_err(|error| ConnectorError::internal(error.to_string()))?);
        }
        // The decoder is put back only if nothing failed: after an error it is of no use.
        let Some(mut decoder) = self.strict.take() else { return Ok(None) };
        for (index, record) in records.enumerate() {
            let whole = decoder.decode(record).is_ok_and(|read| read == record.len());
            if !whole || decoder.has_partial_record() || decoder.len() != index + 1 {
                return Ok(None);
            }
        }
        let Ok(Some(batch)) = decoder.flush() else { return Ok(None) };
        self.strict = Some(decoder);
        let mut failed = None;
        let batch = self.with_times(&batch, &mut failed)?;
        Ok(failed.is_none().then_some(batch))
    }

    /// Decodes one record: its row, and what is wrong with it.
    pub(super) fn one(&mut self, record: &[u8]) -> Result<(RecordBatch, Option<String>)> {
        let mut problem = None;
        let row = match self.decode_one(record, false) {
            Ok(row) => row,
            Err(error) => {
                problem = Some(reason(&error));
                self.decode_one(record, true).unwrap_or_else(|_| self.null_row(&self.as_text))
            }
        };
        let mut failed = None;
        let row = self.with_times(&row, &mut failed)?;
        Ok((row, problem.or(failed)))
    }

    fn decode_one(&mut self, record: &[u8], lenient: bool) -> Result<RecordBatch, ArrowError> {
        let kept = if lenient { self.lenient.take() } else { self.strict.take() };
        let mut decoder = match kept {
            Some(decoder) => decoder,
            None => {
                self.batch_rows = if lenient { self.batch_rows } else { 2 };
                self.build(2, lenient)?
            }
        };
        let broken = |why: &str| Err(ArrowError::JsonError(why.to_owned()));
        let read = decoder.decode(record)?;
        if decoder.has_partial_record() {
            return broken("the object is not complete");
        }
        if decoder.len() != 1 || read != record.len() {
            return broken("there is more or less than one object");
        }
        let Some(row) = decoder.flush()? else { return broken("there is no object") };
        *(if lenient { &mut self.lenient } else { &mut self.strict }) = Some(decoder);
        Ok(row)
    }

    fn null_row(&self, schema: &SchemaRef) -> RecordBatch {
        let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        RecordBatch::try_new(Arc::clone(schema), columns).expect("invariant: all columns may be null")
    }

    /// A row of nulls.
    pub(super) fn nothing(&self) -> RecordBatch {
        self.null_row(&self.schema)
    }

    /// Rows in one batch.
    pub(super) fn together(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        concat_batches(&self.schema, rows).map_err(|error| ConnectorError::internal(error.to_string()))
    }

    fn with_times(&self, batch: &RecordBatch, failed: &mut Option<String>) -> Result<RecordBatch> {
        let whole: ArrayRef = Arc::new(StructArray::from(batch.clone()));
        let target = DataType::Struct(self.schema.fields().clone());
        let read = self.times.from_text(&whole, &target, failed);
        let read = read.map_err(|error| ConnectorError::internal(error.to_string()))?;
        debug_assert_eq!(read.len(), batch.num_rows());
        Ok(RecordBatch::from(read.as_struct()))
    }
}
