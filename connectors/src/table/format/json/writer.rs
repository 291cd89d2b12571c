//! Writing a table as JSON lines.

use super::IGNORE_NULL_FIELDS;
use crate::error::{ConnectorError, Result};
use crate::table::Options;
use crate::table::format::FileWriter;
use crate::table::format::compression::{Compression, Encoder as Output};
use crate::table::format::times::{Times, as_text};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type, Schema, SchemaRef,
};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, NullableEncoder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions, WriterBuilder};
use serde::Serialize;
use std::fs::File;
use std::sync::Arc;

/// A JSON file being written.
pub(super) struct JsonWriter {
    /// The columns with strings for dates and times.
    as_text: SchemaRef,
    times: Times,
    explicit_nulls: bool,
    out: Output,
    rows: Vec<u8>,
}

/// Writes numbers that JSON does not have as Spark does: `"NaN"`, `"Infinity"`, `"-Infinity"`.
#[derive(Debug)]
struct Floats;

struct FloatEncoder<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for FloatEncoder<'_, T>
where
    T::Native: Serialize + Into<f64>,
{
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let value = self.0.value(index);
        let as_double: f64 = value.into();
        if as_double.is_finite() {
            serde_json::to_writer(out, &value).expect("invariant: a finite number is written to memory");
        } else if as_double.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else {
            out.extend_from_slice(if as_double > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
        }
    }
}

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float32 => Box::new(FloatEncoder(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(FloatEncoder(array.as_primitive::<Float64Type>())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Whether there are maps in a type. Arrow leaves nulls out of them as it does out of objects, and so loses keys.
fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(_, _) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_map(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

impl JsonWriter {
    pub(super) fn new(schema: &SchemaRef, options: &Options, file: File) -> Result<Self> {
        let fields = schema.fields().iter();
        let texts: Vec<Field> =
            fields.map(|field| Field::clone(field).with_data_type(as_text(field.data_type()))).collect();
        let maps = schema.fields().iter().any(|field| has_map(field.data_type()));
        Ok(JsonWriter {
            as_text: Arc::new(Schema::new(texts)),
            times: Times::of(options)?,
            explicit_nulls: maps || !options.bool(IGNORE_NULL_FIELDS, true)?,
            out: Output::new(Compression::of(options)?, file)?,
            rows: Vec::new(),
        })
    }

    fn encode(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let columns: Result<Vec<ArrayRef>, _> =
            rows.columns().iter().map(|column| self.times.to_text(column)).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.as_text), columns?)?;
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(self.explicit_nulls)
            .with_encoder_factory(Arc::new(Floats))
            .build::<_, LineDelimited>(&mut self.rows);
        writer.write(&rows)?;
        writer.finish()
    }
}

impl FileWriter for JsonWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows.clear();
        self.encode(rows)
            .map_err(|error| ConnectorError::user(format!("a row cannot be written as JSON: {error}")))?;
        self.out.write(&self.rows)
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(self: Box<Self>) -> Result<File> {
        self.out.finish()
    }
}
