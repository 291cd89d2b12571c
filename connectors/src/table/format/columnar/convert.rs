//! Conversions that lose nothing.

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
    StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Whether every value of one type has its equal in another, or (timestamps, decimals of another size) the
/// conversion notices the values that have not.
pub(super) fn lossless(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    if from == to {
        return true;
    }
    match (from, to) {
        (Dictionary(_, values), _) => lossless(values, to),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        | (Binary | LargeBinary | BinaryView | FixedSizeBinary(_), Binary | LargeBinary | BinaryView)
        | (Float16, Float32 | Float64)
        | (Float32, Float64)
        | (Int8 | Int16 | UInt8 | UInt16, Float32 | Float64)
        | (Int32 | UInt32, Float64)
        | (Date32, Date64 | Timestamp(_, _))
        | (Timestamp(_, _), Timestamp(_, _)) => true,
        (Time32(from), Time32(to) | Time64(to)) | (Time64(from), Time64(to)) => rank(*from) <= rank(*to),
        (List(from) | LargeList(from) | FixedSizeList(from, _), List(to) | LargeList(to)) => {
            lossless(from.data_type(), to.data_type())
        }
        (Map(from, _), Map(to, _)) => entries(from).zip(entries(to)).is_some_and(|(from, to)| {
            from.iter().zip(to).all(|(from, to)| lossless(from.data_type(), to.data_type()))
        }),
        (Struct(from), Struct(to)) => to.iter().all(|to| {
            from.find(to.name()).is_none_or(|(_, from)| lossless(from.data_type(), to.data_type()))
        }),
        _ => whole_numbers(from, to),
    }
}

/// Whole numbers and decimals: the digits before and after the point must have room.
fn whole_numbers(from: &DataType, to: &DataType) -> bool {
    if let (Some((from_signed, from_bits)), Some((to_signed, to_bits))) = (integer(from), integer(to)) {
        return from_bits < to_bits && (to_signed || !from_signed);
    }
    let (Some((from_whole, from_scale)), Some((to_whole, to_scale))) = (digits(from), digits(to)) else {
        return false;
    };
    integer(to).is_none() && from_whole <= to_whole && from_scale <= to_scale
}

/// Whether an integer type has a sign, and its bits.
fn integer(kind: &DataType) -> Option<(bool, u32)> {
    Some(match kind {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

/// Digits before and after the point.
fn digits(kind: &DataType) -> Option<(i32, i32)> {
    Some(match kind {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            (i32::from(*precision) - i32::from(*scale), i32::from(*scale))
        }
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        _ => return None,
    })
}

fn rank(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// The fields of the entries of a map: key and value.
pub(super) fn entries(field: &Field) -> Option<&Fields> {
    match field.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => Some(fields),
        _ => None,
    }
}

/// Converts rows to a schema with the same number of columns, each of which converts without loss.
///
/// # Errors
/// The column with a value that the other type does not have.
pub(in super::super) fn convert_rows(rows: &RecordBatch, to: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().zip(to.fields()).map(|(column, field)| {
        convert(column, field.data_type())
            .map_err(|cause| ArrowError::CastError(format!("column `{}`: {cause}", field.name())))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(to), columns, &options)
}

/// Converts an array to a type for which [`lossless`] holds.
///
/// A timestamp without a zone is taken as UTC, and one with a zone becomes the time in UTC. A field that a
/// struct does not have is null.
///
/// # Errors
/// If there is a value that the other type does not have.
pub(in super::super) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    use DataType::*;
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), to) {
        (Timestamp(from, _), Timestamp(unit, zone)) => timestamps(array, *from, *unit, zone.clone()),
        (Date32, Timestamp(unit, zone)) => {
            let midnight = cast(array, &Timestamp(*unit, None))?;
            timestamps(&midnight, *unit, *unit, zone.clone())
        }
        (Struct(_), Struct(fields)) => structs(array, fields),
        (FixedSizeList(item, _), List(_) | LargeList(_)) => {
            let list = cast(array, &List(Arc::clone(item)))?;
            convert(&list, to)
        }
        (List(_), List(item)) => lists::<i32>(array, item),
        (LargeList(_), LargeList(item)) => lists::<i64>(array, item),
        (List(item), LargeList(_)) => convert(&cast(array, &LargeList(Arc::clone(item)))?, to),
        (LargeList(item), List(_)) => convert(&cast(array, &List(Arc::clone(item)))?, to),
        (Map(_, _), Map(entries, sorted)) => maps(array, entries, *sorted),
        (Dictionary(_, values), _) if values.as_ref() != to => convert(&cast(array, values)?, to),
        _ => cast(array, to),
    }
}

fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn timestamps(
    array: &ArrayRef,
    from: TimeUnit,
    to: TimeUnit,
    zone: Option<Arc<str>>,
) -> Result<ArrayRef, ArrowError> {
    let numbers = cast(array, &DataType::Int64)?;
    if from == to {
        return cast(&numbers, &DataType::Timestamp(to, zone));
    }
    let plain = cast(&numbers, &DataType::Timestamp(from, None))?;
    let converted = cast(&plain, &DataType::Timestamp(to, None))?;
    if rank(to) < rank(from) && &cast(&converted, &DataType::Timestamp(from, None))? != &plain {
        return Err(ArrowError::CastError(format!(
            "there is a timestamp that is no whole number of {to:?}s; declare the column with a finer unit"
        )));
    }
    cast(&cast(&converted, &DataType::Int64)?, &DataType::Timestamp(to, zone))
}

fn structs(array: &ArrayRef, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    let from = array.as_struct();
    let columns = fields.iter().map(|field| match from.column_by_name(field.name()) {
        Some(column) => convert(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), from.len())),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = from.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, from.len())?))
}

fn lists<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let from = array.as_list::<O>();
    let values = convert(from.values(), item.data_type())?;
    let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
    Ok(Arc::new(GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, nulls)?))
}

fn maps(array: &ArrayRef, field: &FieldRef, sorted: bool) -> Result<ArrayRef, ArrowError> {
    let from = array.as_map();
    let Some(fields) = entries(field) else {
        return Err(ArrowError::SchemaError("the entries of a map are a key and a value".to_owned()));
    };
    let columns = from.entries().columns().iter().zip(fields);
    let columns =
        columns.map(|(column, field)| convert(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, sorted)?))
}
