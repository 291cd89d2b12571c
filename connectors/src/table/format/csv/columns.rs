//! Columns made from the values of records.

use super::records::{Cell, Cells, Record};
use super::type_name;
use crate::error::{ConnectorError, Result};
use crate::table::format::malformed::shown;
use crate::table::format::times::Times;
use arrow::array::{
    ArrayRef, BooleanBuilder, LargeStringBuilder, NullArray, PrimitiveBuilder, StringBuilder,
    StringViewBuilder,
};
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal};
use arrow::datatypes::*;
use std::sync::Arc;

/// Makes columns from values.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) null_value: String,
    pub(super) empty_value: String,
    pub(super) times: Times,
}

/// One column of some records.
struct Column<'a> {
    rules: &'a Columns,
    field: &'a Field,
    index: usize,
    cells: Cells<'a>,
    records: &'a mut [Record],
}

impl Columns {
    /// Makes the column of a field from the values at `index` of the records. A value that cannot be read is
    /// null, and a problem of its record.
    pub(super) fn make(
        &self,
        field: &Field,
        index: usize,
        cells: Cells<'_>,
        records: &mut [Record],
    ) -> Result<ArrayRef> {
        Column { rules: self, field, index, cells, records }.make()
    }
}

impl Column<'_> {
    fn make(mut self) -> Result<ArrayRef> {
        let times = &self.rules.times;
        Ok(match self.field.data_type() {
            DataType::Null => Arc::new(NullArray::new(self.records.len())),
            DataType::Boolean => self.booleans(),
            DataType::Int8 => self.parsed::<Int8Type>(),
            DataType::Int16 => self.parsed::<Int16Type>(),
            DataType::Int32 => self.parsed::<Int32Type>(),
            DataType::Int64 => self.parsed::<Int64Type>(),
            DataType::UInt8 => self.parsed::<UInt8Type>(),
            DataType::UInt16 => self.parsed::<UInt16Type>(),
            DataType::UInt32 => self.parsed::<UInt32Type>(),
            DataType::UInt64 => self.parsed::<UInt64Type>(),
            DataType::Float32 => self.parsed::<Float32Type>(),
            DataType::Float64 => self.parsed::<Float64Type>(),
            DataType::Decimal32(precision, scale) => self.decimals::<Decimal32Type>(*precision, *scale),
            DataType::Decimal64(precision, scale) => self.decimals::<Decimal64Type>(*precision, *scale),
            DataType::Decimal128(precision, scale) => self.decimals::<Decimal128Type>(*precision, *scale),
            DataType::Decimal256(precision, scale) => self.decimals::<Decimal256Type>(*precision, *scale),
            DataType::Date32 => self.primitives::<Date32Type>(|text| times.parse_date(text)),
            DataType::Time32(TimeUnit::Second) => self.clock_times::<Time32SecondType>(),
            DataType::Time32(_) => self.clock_times::<Time32MillisecondType>(),
            DataType::Time64(TimeUnit::Microsecond) => self.clock_times::<Time64MicrosecondType>(),
            DataType::Time64(_) => self.clock_times::<Time64NanosecondType>(),
            DataType::Timestamp(TimeUnit::Second, zone) => self.timestamps::<TimestampSecondType>(zone)?,
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                self.timestamps::<TimestampMillisecondType>(zone)?
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                self.timestamps::<TimestampMicrosecondType>(zone)?
            }
            DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
                self.timestamps::<TimestampNanosecondType>(zone)?
            }
            DataType::Utf8 => {
                let mut builder = StringBuilder::with_capacity(self.records.len(), 0);
                self.strings(|text| builder.append_option(text));
                Arc::new(builder.finish())
            }
            DataType::LargeUtf8 => {
                let mut builder = LargeStringBuilder::with_capacity(self.records.len(), 0);
                self.strings(|text| builder.append_option(text));
                Arc::new(builder.finish())
            }
            DataType::Utf8View => {
                let mut builder = StringViewBuilder::with_capacity(self.records.len());
                self.strings(|text| builder.append_option(text));
                Arc::new(builder.finish())
            }
            other => {
                return Err(ConnectorError::internal(format!(
                    "a column of type {other} came past the check"
                )));
            }
        })
    }

    /// Notes a problem of a record, unless it has one.
    fn fail(&mut self, row: usize, text: Option<&str>) {
        let problem = &mut self.records[row].problem;
        if problem.is_none() {
            let (name, wanted) = (self.field.name(), type_name(self.field.data_type()));
            *problem = Some(match text {
                Some(text) => format!("column `{name}`: `{}` is no {wanted}", shown(text.as_bytes())),
                None => format!("column `{name}`: the value is not UTF-8"),
            });
        }
    }

    fn strings(&mut self, mut append: impl FnMut(Option<&str>)) {
        let rules = self.rules;
        for row in 0..self.records.len() {
            match self.cells.cell(&self.records[row], self.index) {
                Cell::Null => append(None),
                Cell::QuotedEmpty => append(Some(&rules.empty_value)),
                Cell::Text(text) => append((text != rules.null_value).then_some(text)),
                Cell::NotText => {
                    self.fail(row, None);
                    append(None);
                }
            }
        }
    }

    /// Parses each value; calls `append` with what came of it.
    fn each<V>(&mut self, parse: impl Fn(&str) -> Option<V>, mut append: impl FnMut(Option<V>)) {
        for row in 0..self.records.len() {
            let value = match self.cells.cell(&self.records[row], self.index) {
                Cell::Text(text) if text != self.rules.null_value => {
                    let value = parse(text);
                    if value.is_none() {
                        self.fail(row, Some(text));
                    }
                    value
                }
                Cell::NotText => {
                    self.fail(row, None);
                    None
                }
                Cell::Null | Cell::QuotedEmpty | Cell::Text(_) => None,
            };
            append(value);
        }
    }

    fn booleans(&mut self) -> ArrayRef {
        let mut builder = BooleanBuilder::with_capacity(self.records.len());
        let parse = |text: &str| match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        self.each(parse, |value| builder.append_option(value));
        Arc::new(builder.finish())
    }

    fn build<T: ArrowPrimitiveType>(
        &mut self,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> arrow::array::PrimitiveArray<T> {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(self.records.len());
        self.each(parse, |value| builder.append_option(value));
        builder.finish()
    }

    fn primitives<T: ArrowPrimitiveType>(&mut self, parse: impl Fn(&str) -> Option<T::Native>) -> ArrayRef {
        Arc::new(self.build::<T>(parse))
    }

    fn parsed<T: Parser>(&mut self) -> ArrayRef {
        self.primitives::<T>(T::parse)
    }

    /// Times of day. Plain numbers, which Arrow takes, are none.
    fn clock_times<T: Parser>(&mut self) -> ArrayRef {
        self.primitives::<T>(|text| text.contains(':').then(|| T::parse(text))?)
    }

    fn decimals<T: DecimalType>(&mut self, precision: u8, scale: i8) -> ArrayRef {
        let array = self.build::<T>(|text| parse_decimal::<T>(text, precision, scale).ok());
        Arc::new(array.with_data_type(self.field.data_type().clone()))
    }

    fn timestamps<T: ArrowTimestampType>(&mut self, column: &Option<Arc<str>>) -> Result<ArrayRef> {
        let times = &self.rules.times;
        let zone =
            times.zone_of(column.as_deref()).map_err(|error| ConnectorError::user(error.to_string()))?;
        let array = self.build::<T>(|text| times.parse_timestamp::<T>(text, &zone));
        Ok(Arc::new(array.with_timezone_opt(column.clone())))
    }
}
