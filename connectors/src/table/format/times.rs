//! Dates and times as text, at any depth of a table.

use super::pattern::Pattern;
use crate::error::{ConnectorError, Result};
use crate::table::{OptionSpec, Options};
use arrow::array::timezone::Tz;
use arrow::array::types::{ArrowTimestampType, Date32Type};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    PrimitiveArray, StringArray, StringBuilder, StructArray,
};
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use std::fmt::Write;
use std::sync::Arc;

pub(super) const DATE_FORMAT: OptionSpec =
    OptionSpec::new("dateFormat", "yyyy-MM-dd", "the pattern of dates, in Spark's letters");
pub(super) const TIMESTAMP_FORMAT: OptionSpec = OptionSpec::new(
    "timestampFormat",
    "",
    "the pattern of times, in Spark's letters; without it ISO 8601, with as many digits as the time has",
);
pub(super) const TIME_ZONE: OptionSpec = OptionSpec::new(
    "timeZone",
    "",
    "the zone of times that are written without one, such as UTC, -03:00 or America/Sao_Paulo; without it the \
     zone of the column",
);

/// How dates and times are written as text.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    date: Option<Pattern>,
    timestamp: Option<Pattern>,
    zone: Option<Tz>,
}

/// A zone by its name. UTC needs no table of zones.
fn zone(name: &str) -> Result<Tz, ArrowError> {
    if ["utc", "z", "gmt"].contains(&name.to_ascii_lowercase().as_str()) { "+00:00" } else { name }.parse()
}

impl Times {
    /// As the options say.
    pub(super) fn of(options: &Options) -> Result<Self> {
        let pattern = |name| options.get(name).map(|text| Pattern::new(name, text)).transpose();
        let zone = options.get(TIME_ZONE.name).map(|name| {
            zone(name).map_err(|error| {
                let option = TIME_ZONE.name;
                ConnectorError::user(format!("option `{option}` is `{name}`, which is no time zone: {error}"))
            })
        });
        Ok(Times {
            date: pattern(DATE_FORMAT.name)?,
            timestamp: pattern(TIMESTAMP_FORMAT.name)?,
            zone: zone.transpose()?,
        })
    }

    /// Makes sure that the columns can be written: a pattern with a zone needs a column with one.
    pub(super) fn check_write(&self, name: &str, data_type: &DataType) -> Result<()> {
        let needs_zone = self.timestamp.as_ref().is_some_and(Pattern::needs_zone);
        if matches!(data_type, DataType::Timestamp(_, None)) && needs_zone {
            return Err(ConnectorError::user(format!(
                "column `{name}` has no time zone, and option `timestampFormat` asks for one: write it in \
                 brackets, as in `[XXX]`"
            )));
        }
        Ok(())
    }

    /// The zone that texts of a column without an offset are in.
    pub(super) fn zone_of(&self, column: Option<&str>) -> Result<Tz, ArrowError> {
        match (column, self.zone) {
            (None, _) => zone("UTC"),
            (Some(_), Some(zone)) => Ok(zone),
            (Some(column), None) => zone(column),
        }
    }

    /// The days since 1970 that a text stands for.
    pub(super) fn parse_date(&self, text: &str) -> Option<i32> {
        match &self.date {
            Some(pattern) => pattern.date(text).map(Date32Type::from_naive_date),
            // Plain numbers, which are days to Arrow, are no dates.
            None => text.trim_start_matches(['-', '+']).contains('-').then(|| Date32Type::parse(text))?,
        }
    }

    /// The time that a text stands for, in the unit of the column.
    pub(super) fn parse_timestamp<T: ArrowTimestampType>(&self, text: &str, zone: &Tz) -> Option<i64> {
        let time = match &self.timestamp {
            Some(pattern) => {
                let (local, offset) = pattern.timestamp(text)?;
                match offset {
                    Some(seconds) => local.checked_sub_signed(TimeDelta::seconds(seconds.into()))?.and_utc(),
                    None => zone.from_local_datetime(&local).single()?.to_utc(),
                }
            }
            None => string_to_datetime(zone, text).ok()?.to_utc(),
        };
        match T::UNIT {
            TimeUnit::Second => Some(time.timestamp()),
            TimeUnit::Millisecond => Some(time.timestamp_millis()),
            TimeUnit::Microsecond => Some(time.timestamp_micros()),
            TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
        }
    }

    /// Writes the days since 1970.
    fn write_date(&self, days: i32, out: &mut String) -> Option<()> {
        let date = Date32Type::to_naive_date_opt(days)?;
        match &self.date {
            Some(pattern) => pattern.write_date(date, out),
            None => write!(out, "{}", date.format("%Y-%m-%d")),
        }
        .ok()
    }

    /// Writes a time; without a zone if `zone` is `None`.
    fn write_timestamp(&self, time: NaiveDateTime, zone: Option<&Tz>, out: &mut String) -> Option<()> {
        const PLAIN: &str = "%Y-%m-%dT%H:%M:%S%.f";
        let zoned = zone.map(|zone| zone.from_utc_datetime(&time));
        match (&self.timestamp, zoned) {
            (Some(pattern), Some(zoned)) => pattern.write_zoned(&zoned.fixed_offset(), out),
            (Some(pattern), None) => pattern.write_local(time, out),
            (None, Some(zoned)) => write!(out, "{}", zoned.format("%Y-%m-%dT%H:%M:%S%.f%:z")),
            (None, None) => write!(out, "{}", time.format(PLAIN)),
        }
        .ok()
    }

    /// The same table with its dates and times as strings.
    pub(super) fn to_text(&self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        map_leaves(array, &as_text(array.data_type()), &mut |leaf, _| self.leaf_to_text(leaf))
    }

    fn leaf_to_text(&self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match array.data_type() {
            DataType::Date32 => {
                let days: &Date32Array = array.as_primitive();
                texts(days.iter().map(|day| day.map(i64::from)), |day, out| {
                    self.write_date(i32::try_from(day).ok()?, out)
                })
            }
            DataType::Timestamp(unit, column) => {
                let zone = column.as_deref().map(zone).transpose()?;
                let write = |value, out: &mut String| {
                    let time = match unit {
                        TimeUnit::Second => DateTime::<Utc>::from_timestamp(value, 0),
                        TimeUnit::Millisecond => DateTime::<Utc>::from_timestamp_millis(value),
                        TimeUnit::Microsecond => DateTime::<Utc>::from_timestamp_micros(value),
                        TimeUnit::Nanosecond => Some(DateTime::<Utc>::from_timestamp_nanos(value)),
                    };
                    self.write_timestamp(time?.naive_utc(), zone.as_ref(), out)
                };
                match unit {
                    TimeUnit::Second => texts(array.as_primitive::<TimestampSecondType>().iter(), write),
                    TimeUnit::Millisecond => {
                        texts(array.as_primitive::<TimestampMillisecondType>().iter(), write)
                    }
                    TimeUnit::Microsecond => {
                        texts(array.as_primitive::<TimestampMicrosecondType>().iter(), write)
                    }
                    TimeUnit::Nanosecond => {
                        texts(array.as_primitive::<TimestampNanosecondType>().iter(), write)
                    }
                }
            }
            _ => Ok(Arc::clone(array)),
        }
    }

    /// The inverse of [`Times::to_text`]. A text that is no date or time becomes null; the first such is
    /// noted in `failed`.
    pub(super) fn from_text(
        &self,
        array: &ArrayRef,
        target: &DataType,
        failed: &mut Option<String>,
    ) -> Result<ArrayRef, ArrowError> {
        map_leaves(array, target, &mut |leaf, target| self.leaf_from_text(leaf, target, failed))
    }

    fn leaf_from_text(
        &self,
        array: &ArrayRef,
        target: &DataType,
        failed: &mut Option<String>,
    ) -> Result<ArrayRef, ArrowError> {
        match target {
            DataType::Date32 => {
                let parse = |text: &str| self.parse_date(text);
                Ok(Arc::new(parsed::<Date32Type>(array.as_string(), parse, failed)))
            }
            DataType::Timestamp(unit, column) => Ok(match unit {
                TimeUnit::Second => self.timestamps::<TimestampSecondType>(array, column.as_ref(), failed)?,
                TimeUnit::Millisecond => {
                    self.timestamps::<TimestampMillisecondType>(array, column.as_ref(), failed)?
                }
                TimeUnit::Microsecond => {
                    self.timestamps::<TimestampMicrosecondType>(array, column.as_ref(), failed)?
                }
                TimeUnit::Nanosecond => {
                    self.timestamps::<TimestampNanosecondType>(array, column.as_ref(), failed)?
                }
            }),
            _ => Ok(Arc::clone(array)),
        }
    }

    fn timestamps<T: ArrowTimestampType>(
        &self,
        array: &ArrayRef,
        column: Option<&Arc<str>>,
        failed: &mut Option<String>,
    ) -> Result<ArrayRef, ArrowError> {
        let zone = self.zone_of(column.map(|name| &**name))?;
        let parse = |text: &str| self.parse_timestamp::<T>(text, &zone);
        Ok(Arc::new(parsed::<T>(array.as_string(), parse, failed).with_timezone_opt(column.cloned())))
    }
}

fn texts(
    values: impl ExactSizeIterator<Item = Option<i64>>,
    mut write: impl FnMut(i64, &mut String) -> Option<()>,
) -> Result<ArrayRef, ArrowError> {
    let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 24);
    let mut text = String::new();
    for value in values {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        text.clear();
        write(value, &mut text)
            .ok_or_else(|| ArrowError::CastError(format!("{value} is out of the range of dates")))?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

fn parsed<T: arrow::datatypes::ArrowPrimitiveType>(
    texts: &StringArray,
    parse: impl Fn(&str) -> Option<T::Native>,
    failed: &mut Option<String>,
) -> PrimitiveArray<T> {
    let read = |text: &str| {
        let value = parse(text);
        if value.is_none() && failed.is_none() {
            *failed = Some(format!("`{text}` is no {}", super::csv::type_name(&T::DATA_TYPE)));
        }
        value
    };
    let mut read = read;
    texts.iter().map(|text| text.and_then(&mut read)).collect()
}

/// The type with strings in place of dates and times.
pub(super) fn as_text(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_data_type(as_text(field.data_type())))
    };
    match data_type {
        DataType::Date32 | DataType::Timestamp(_, _) => DataType::Utf8,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Fields>()),
        other => other.clone(),
    }
}

type Leaf<'a> = dyn FnMut(&ArrayRef, &DataType) -> Result<ArrayRef, ArrowError> + 'a;

/// Rebuilds an array as one of type `target`, which differs in its leaves only.
fn map_leaves(array: &ArrayRef, target: &DataType, leaf: &mut Leaf<'_>) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == target && as_text(target) == *target {
        return Ok(Arc::clone(array));
    }
    Ok(match target {
        DataType::List(item) => list(array.as_list::<i32>(), item, leaf)?,
        DataType::LargeList(item) => list(array.as_list::<i64>(), item, leaf)?,
        DataType::FixedSizeList(item, size) => {
            let array = array.as_fixed_size_list();
            let values = map_leaves(array.values(), item.data_type(), leaf)?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *size, values, array.nulls().cloned())?)
        }
        DataType::Map(entries, sorted) => {
            let array = array.as_map();
            let whole: ArrayRef = Arc::new(array.entries().clone());
            let mapped = map_leaves(&whole, entries.data_type(), leaf)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            let mapped = mapped.as_struct().clone();
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, mapped, nulls, *sorted)?)
        }
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let columns = array.columns().iter().zip(fields);
            let columns: Result<Vec<_>, _> =
                columns.map(|(column, field)| map_leaves(column, field.data_type(), leaf)).collect();
            let nulls = array.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns?, nulls, array.len())?)
        }
        other => leaf(array, other)?,
    })
}

fn list<O: OffsetSizeTrait>(
    array: &GenericListArray<O>,
    item: &FieldRef,
    leaf: &mut Leaf<'_>,
) -> Result<ArrayRef, ArrowError> {
    let values = map_leaves(array.values(), item.data_type(), leaf)?;
    let offsets = array.offsets().clone();
    Ok(Arc::new(GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, array.nulls().cloned())?))
}
