//! The aggregates that are computed here: count, sum, avg, min and max of numbers and times. Their results,
//! null rules and overflow are DataFusion's: integer and decimal sums wrap, floats are ordered with NaN
//! last. Rows are added in the order of their arrival, so that sums of floats do not depend on batches.
//!
//! Floats are ordered as by DataFusion's accumulators of one group, by `ORDER BY` and by Spark: NaN is the
//! largest. DataFusion's accumulators of many groups let every value replace a NaN and start from the
//! largest finite numbers, so that what they make of NaN and the infinities depends on the order and the
//! partitions of the rows. That cannot be agreed with, and cannot be merged, so it is not followed.

use super::AggregateCall;
use super::cell::{Bits, Cell};
use super::cells::Cells;
use crate::error::Result;
use crate::table::expression::{condition, evaluate};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion_functions_aggregate::average::Avg;
use datafusion_functions_aggregate::count::Count;
use datafusion_functions_aggregate::min_max::{Max, Min};
use datafusion_functions_aggregate::sum::Sum;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Literal;
use std::sync::Arc;

/// Adds the values of a batch to the cells of its groups: `slots` has the slot of each row's group.
type Update = fn(cells: &mut Cells, slots: &[u32], values: Option<&ArrayRef>, valid: Option<&NullBuffer>);
/// Adds a cell to another.
type Merge = fn(cell: &mut Cell, other: &Cell);
/// The results of cells.
type Results = fn(cells: &mut dyn Iterator<Item = Cell>, data_type: &DataType) -> ArrayRef;

/// What an aggregate does.
type Functions = (Update, Merge, Results);

/// One aggregate computed here.
pub(super) struct Native {
    /// What is aggregated; for a count, what must not be null.
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    update: Update,
    merge: Merge,
    results: Results,
    data_type: DataType,
}

impl Native {
    /// The aggregate, if it is one of those computed here.
    pub(super) fn of(call: &AggregateCall) -> Option<Native> {
        let function = &call.function;
        let arguments = function.expressions();
        if function.is_distinct() || function.is_reversed() {
            return None;
        }
        let data_type = function.field().data_type().clone();
        let argument_type = arguments.first()?.data_type(&call.input).ok()?;
        let (update, merge, results): Functions = match own_name(call)? {
            "count" if data_type == DataType::Int64 => (count, merge_counts, counts),
            "sum" => sum_of(&argument_type, &data_type)?,
            "avg" if (&argument_type, &data_type) == (&DataType::Float64, &DataType::Float64) => {
                (average, merge_sums::<Float64Type>, averages)
            }
            "min" if argument_type == data_type => ordered(&data_type)?.0,
            "max" if argument_type == data_type => ordered(&data_type)?.1,
            _ => return None,
        };
        let mut arguments = arguments;
        if own_name(call) == Some("count") {
            arguments.retain(|argument| !is_value(argument));
        }
        Some(Native { arguments, filter: call.filter.clone(), update, merge, results, data_type })
    }

    /// Adds rows to the cells of their groups.
    pub(super) fn update(&self, cells: &mut Cells, slots: &[u32], rows: &RecordBatch) -> Result<()> {
        let mut valid = match &self.filter {
            Some(filter) => {
                let mask = condition(filter.as_ref(), rows)?;
                Some(NullBuffer::new(mask.values().clone()))
            }
            None => None,
        };
        let mut values = None;
        for argument in &self.arguments {
            let column = evaluate(argument.as_ref(), rows)?;
            valid = NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref());
            values = Some(column);
        }
        (self.update)(cells, slots, values.as_ref(), valid.as_ref().filter(|valid| valid.null_count() > 0));
        Ok(())
    }

    /// Adds the cell of a group to that of another.
    pub(super) fn merge(&self, cell: &mut Cell, other: &Cell) {
        (self.merge)(cell, other);
    }

    /// The results of cells.
    pub(super) fn results(&self, cells: &mut dyn Iterator<Item = Cell>) -> ArrayRef {
        (self.results)(cells, &self.data_type)
    }
}

/// The function's name, if it is DataFusion's own of that name and not one that a user put in its place.
fn own_name(call: &AggregateCall) -> Option<&'static str> {
    let function = call.function.fun().inner();
    if function.is::<Count>() {
        Some("count")
    } else if function.is::<Sum>() {
        Some("sum")
    } else if function.is::<Avg>() {
        Some("avg")
    } else if function.is::<Min>() {
        Some("min")
    } else if function.is::<Max>() {
        Some("max")
    } else {
        None
    }
}

/// Whether an expression is a constant other than null, as in `count(1)`.
fn is_value(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expression.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null())
}

fn count(cells: &mut Cells, slots: &[u32], _values: Option<&ArrayRef>, valid: Option<&NullBuffer>) {
    match valid {
        None => slots.iter().for_each(|&slot| cells.at(slot).count += 1),
        Some(valid) => valid.valid_indices().for_each(|row| cells.at(slots[row]).count += 1),
    }
}

fn merge_counts(cell: &mut Cell, other: &Cell) {
    cell.count += other.count;
}

fn counts(cells: &mut dyn Iterator<Item = Cell>, _data_type: &DataType) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(cells.map(|cell| cell.count as i64)))
}

/// Calls `add` with the cell and the value of each row that counts.
#[inline]
fn each<T: ArrowPrimitiveType>(
    cells: &mut Cells,
    slots: &[u32],
    values: Option<&ArrayRef>,
    valid: Option<&NullBuffer>,
    add: impl Fn(&mut Cell, T::Native),
) {
    let values = values.expect("invariant: the aggregate has an argument").as_primitive::<T>().values();
    match valid {
        None => {
            for (&slot, &value) in slots.iter().zip(values) {
                add(cells.at(slot), value);
            }
        }
        Some(valid) => {
            for row in valid.valid_indices() {
                add(cells.at(slots[row]), values[row]);
            }
        }
    }
}

fn sum<T>(cells: &mut Cells, slots: &[u32], values: Option<&ArrayRef>, valid: Option<&NullBuffer>)
where
    T: ArrowPrimitiveType,
    T::Native: Bits + ArrowNativeTypeOp,
{
    each::<T>(cells, slots, values, valid, |cell, value| {
        cell.set(cell.get::<T::Native>().add_wrapping(value));
        cell.count += 1;
    });
}

fn merge_sums<T>(cell: &mut Cell, other: &Cell)
where
    T: ArrowPrimitiveType,
    T::Native: Bits + ArrowNativeTypeOp,
{
    if other.count > 0 {
        cell.set(cell.get::<T::Native>().add_wrapping(other.get()));
        cell.count += other.count;
    }
}

fn average(cells: &mut Cells, slots: &[u32], values: Option<&ArrayRef>, valid: Option<&NullBuffer>) {
    sum::<Float64Type>(cells, slots, values, valid);
}

fn averages(cells: &mut dyn Iterator<Item = Cell>, _data_type: &DataType) -> ArrayRef {
    let average = |cell: Cell| (cell.count > 0).then(|| cell.get::<f64>() / cell.count as f64);
    Arc::new(cells.map(average).collect::<PrimitiveArray<Float64Type>>())
}

fn min<T>(cells: &mut Cells, slots: &[u32], values: Option<&ArrayRef>, valid: Option<&NullBuffer>)
where
    T: ArrowPrimitiveType,
    T::Native: Bits + ArrowNativeTypeOp,
{
    each::<T>(cells, slots, values, valid, |cell, value| {
        if cell.count == 0 || value.is_lt(cell.get()) {
            cell.set(value);
            cell.count = 1;
        }
    });
}

fn max<T>(cells: &mut Cells, slots: &[u32], values: Option<&ArrayRef>, valid: Option<&NullBuffer>)
where
    T: ArrowPrimitiveType,
    T::Native: Bits + ArrowNativeTypeOp,
{
    each::<T>(cells, slots, values, valid, |cell, value| {
        if cell.count == 0 || value.is_gt(cell.get()) {
            cell.set(value);
            cell.count = 1;
        }
    });
}

fn merge_min<T>(cell: &mut Cell, other: &Cell)
where
    T: ArrowPrimitiveType,
    T::Native: Bits + ArrowNativeTypeOp,
{
    if other.count > 0 && (cell.count == 0 || other.get::<T::Native>().is_lt(cell.get())) {
        *cell = *other;
    }
}

fn merge_max<T>(cell: &mut Cell, other: &Cell)
where
    T: ArrowPrimitiveType,
    T::Native: Bits + ArrowNativeTypeOp,
{
    if other.count > 0 && (cell.count == 0 || other.get::<T::Native>().is_gt(cell.get())) {
        *cell = *other;
    }
}

/// The values of cells, null where nothing went in.
fn values<T>(cells: &mut dyn Iterator<Item = Cell>, data_type: &DataType) -> ArrayRef
where
    T: ArrowPrimitiveType,
    T::Native: Bits,
{
    let values: PrimitiveArray<T> = cells.map(|cell| (cell.count > 0).then(|| cell.get())).collect();
    Arc::new(values.with_data_type(data_type.clone()))
}

fn sum_of(argument: &DataType, result: &DataType) -> Option<Functions> {
    Some(match (argument, result) {
        (DataType::Int64, DataType::Int64) => {
            (sum::<Int64Type>, merge_sums::<Int64Type>, values::<Int64Type>)
        }
        (DataType::UInt64, DataType::UInt64) => {
            (sum::<UInt64Type>, merge_sums::<UInt64Type>, values::<UInt64Type>)
        }
        (DataType::Float64, DataType::Float64) => {
            (sum::<Float64Type>, merge_sums::<Float64Type>, values::<Float64Type>)
        }
        (DataType::Decimal128(..), DataType::Decimal128(..)) => {
            (sum::<Decimal128Type>, merge_sums::<Decimal128Type>, values::<Decimal128Type>)
        }
        _ => return None,
    })
}

/// Smallest and largest of a type.
#[allow(clippy::type_complexity, reason = "two pairs of the same two function types")]
fn ordered(data_type: &DataType) -> Option<(Functions, Functions)> {
    macro_rules! of {
        ($type:ty) => {
            (
                (min::<$type>, merge_min::<$type>, values::<$type>),
                (max::<$type>, merge_max::<$type>, values::<$type>),
            )
        };
    }
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    Some(match data_type {
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::UInt8 => of!(UInt8Type),
        DataType::UInt16 => of!(UInt16Type),
        DataType::UInt32 => of!(UInt32Type),
        DataType::UInt64 => of!(UInt64Type),
        DataType::Float32 => of!(Float32Type),
        DataType::Float64 => of!(Float64Type),
        DataType::Decimal128(..) => of!(Decimal128Type),
        DataType::Date32 => of!(Date32Type),
        DataType::Date64 => of!(Date64Type),
        DataType::Time32(Second) => of!(Time32SecondType),
        DataType::Time32(Millisecond) => of!(Time32MillisecondType),
        DataType::Time64(Microsecond) => of!(Time64MicrosecondType),
        DataType::Time64(Nanosecond) => of!(Time64NanosecondType),
        DataType::Timestamp(Second, _) => of!(TimestampSecondType),
        DataType::Timestamp(Millisecond, _) => of!(TimestampMillisecondType),
        DataType::Timestamp(Microsecond, _) => of!(TimestampMicrosecondType),
        DataType::Timestamp(Nanosecond, _) => of!(TimestampNanosecondType),
        DataType::Duration(Second) => of!(DurationSecondType),
        DataType::Duration(Millisecond) => of!(DurationMillisecondType),
        DataType::Duration(Microsecond) => of!(DurationMicrosecondType),
        DataType::Duration(Nanosecond) => of!(DurationNanosecondType),
        _ => return None,
    })
}
