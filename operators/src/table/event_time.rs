//! Event time in tables: which columns bear it, how it is read, and the watermark made of it.
//!
//! A column with event time is a timestamp of any unit, or a window: a struct whose fields `start` and `end`
//! are timestamps. Its Arrow field bears the delay of its watermark as metadata ([`WATERMARK_DELAY`]), which
//! travels with the column through a plan.

use super::TableBatch;
use super::expression::{arrow_failed_to, evaluate};
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::partition::PartitionStatus;
use crate::snapshot::{Restore, Snapshot};
use crate::time::{Timestamp, micros};
use crate::watermark::EventTimeSeen;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::{cast, max};
use arrow::datatypes::{ArrowTimestampType, TimestampMillisecondType};
use arrow::datatypes::{
    DataType, Field, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The metadata key of an Arrow field whose column has a watermark: the delay in microseconds, as decimal text.
pub const WATERMARK_DELAY: &str = "lotic.watermark.delay";

/// The field of the same column with a watermark of this delay.
#[must_use]
pub fn with_watermark_delay(field: Field, delay: Duration) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(WATERMARK_DELAY.to_owned(), micros(delay).to_string());
    field.with_metadata(metadata)
}

/// The delay of a column's watermark, if it has one.
pub fn watermark_delay(field: &Field) -> Option<Duration> {
    field.metadata().get(WATERMARK_DELAY)?.parse().ok().map(Duration::from_micros)
}

/// Whether columns of a type can bear event time: timestamps, and windows (structs with `start` and `end`).
pub fn bears_event_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(..) => true,
        DataType::Struct(fields) => ["start", "end"].iter().all(|name| {
            fields.find(name).is_some_and(|(_, field)| matches!(field.data_type(), DataType::Timestamp(..)))
        }),
        _ => false,
    }
}

/// The event time of each row of a column, null where it has none. Nanoseconds are cut off. The event time of
/// a window is the last microsecond in it, as Spark's `window_time`.
///
/// # Errors
/// If the column is neither a timestamp nor a window.
pub fn event_times(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    match window_ends(column) {
        Some(ends) => Ok(in_micros(&ends, Rounding::Up)?.unary(|end| end.saturating_sub(1))),
        None => in_micros(column, Rounding::Down),
    }
}

/// When the key of each row of a column is over: at the end of a window, or at the timestamp itself; null
/// where it has none and is never over. What is left of a microsecond counts as a whole one.
///
/// # Errors
/// If the column is neither a timestamp nor a window.
pub fn end_times(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    match window_ends(column) {
        Some(ends) => in_micros(&ends, Rounding::Up),
        None => in_micros(column, Rounding::Up),
    }
}

/// The ends of a column of windows, null where the window is.
fn window_ends(column: &ArrayRef) -> Option<ArrayRef> {
    let windows = column.as_struct_opt()?;
    let ends = windows.column_by_name("end")?;
    let nulls = arrow::buffer::NullBuffer::union(ends.nulls(), windows.nulls());
    let ends = ends.to_data().into_builder().nulls(nulls).build().ok()?;
    Some(arrow::array::make_array(ends))
}

#[derive(Clone, Copy)]
enum Rounding {
    Down,
    Up,
}

fn in_micros(column: &ArrayRef, rounding: Rounding) -> Result<TimestampMicrosecondArray> {
    fn scaled<T: ArrowTimestampType>(column: &ArrayRef, factor: i64) -> TimestampMicrosecondArray {
        column.as_primitive::<T>().unary(|time| time.saturating_mul(factor))
    }
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(column, 1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(column, 1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().clone()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = column.as_primitive::<TimestampNanosecondType>();
            nanos.unary(|time| {
                let up = matches!(rounding, Rounding::Up) && time.rem_euclid(1_000) > 0;
                time.div_euclid(1_000) + i64::from(up)
            })
        }
        DataType::Dictionary(_, value) => {
            let values = cast(column, value).map_err(|error| arrow_failed_to("read event time", &error))?;
            return in_micros(&values, rounding);
        }
        other => {
            return Err(OperatorError::Expression(format!(
                "event time must be a timestamp or a window, and this is {other}"
            )));
        }
    })
}

/// Passes rows on and emits the watermark "largest event time seen minus a delay", as
/// [`crate::watermark::AssignWatermark`], which says more. Rows without event time do not move it.
///
/// # Errors
/// [`OperatorError::Expression`] if the event time cannot be evaluated or is no timestamp.
pub struct AssignWatermark {
    event_time: Arc<dyn PhysicalExpr>,
    seen: EventTimeSeen,
}

impl fmt::Debug for AssignWatermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssignWatermark({}, {:?})", self.event_time, self.seen)
    }
}

impl AssignWatermark {
    /// `event_time` is evaluated on the rows; those up to `delay` behind the largest time are still in time.
    #[must_use]
    pub fn new(event_time: Arc<dyn PhysicalExpr>, delay: Duration) -> AssignWatermark {
        AssignWatermark { event_time, seen: EventTimeSeen::new(delay) }
    }
}

impl Operator<TableBatch, TableBatch> for AssignWatermark {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        if input.rows() == 0 {
            return Ok(());
        }
        let rows = input.split_front(output.room());
        let times = event_times(&evaluate(self.event_time.as_ref(), &rows)?)?;
        self.seen.turn_to(output);
        if let Some(largest) = max(&times) {
            self.seen.see(Timestamp(largest));
        }
        output.builder().push(rows);
        self.seen.emit(output);
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.seen.watermark(watermark, output);
        Ok(Progress::Done)
    }

    fn idle(&mut self, idle: bool, output: &mut Output<TableBatch>) -> Result<()> {
        self.seen.upstream_idle(idle, output);
        Ok(())
    }

    fn partition(&mut self, status: PartitionStatus, output: &mut Output<TableBatch>) -> Result<()> {
        self.seen.partition(status, output);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.seen.snapshot()
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<TableBatch>) -> Result<()> {
        self.seen.restore(restore, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        StructArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    };
    use arrow::buffer::NullBuffer;

    #[test]
    fn the_delay_of_a_field_is_kept_in_its_metadata() {
        let field = Field::new("ts", DataType::Int64, true);
        assert_eq!(watermark_delay(&field), None);
        let field = with_watermark_delay(field, Duration::from_millis(1500));
        assert_eq!(field.metadata()[WATERMARK_DELAY], "1500000");
        assert_eq!(watermark_delay(&field), Some(Duration::from_millis(1500)));
        let field = with_watermark_delay(field, Duration::ZERO);
        assert_eq!(watermark_delay(&field), Some(Duration::ZERO));
    }

    #[test]
    fn every_unit_is_read_in_microseconds_and_a_key_is_over_when_no_part_of_it_is_left() {
        let times = |column: &ArrayRef| event_times(column).unwrap().iter().collect::<Vec<_>>();
        let ends = |column: &ArrayRef| end_times(column).unwrap().iter().collect::<Vec<_>>();
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(-2), None, Some(i64::MAX)]));
        assert_eq!(times(&seconds), [Some(-2_000_000), None, Some(i64::MAX)]);
        assert_eq!(ends(&seconds), times(&seconds));
        let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![7]).with_timezone("+02:00"));
        assert_eq!((times(&millis), ends(&millis)), (vec![Some(7000)], vec![Some(7000)]));
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 0, 1, 2000]));
        assert_eq!(times(&nanos), [-1, 0, 0, 2].map(Some));
        assert_eq!(ends(&nanos), [0, 0, 1, 2].map(Some));
        let other: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        assert!(event_times(&other).unwrap_err().to_string().contains("Int64"));
    }

    #[test]
    fn a_window_is_over_at_its_end_and_its_last_microsecond_is_its_time() {
        let times =
            |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values)) };
        let (starts, ends) = (times(vec![Some(0), Some(5), None]), times(vec![Some(10), Some(15), None]));
        let field = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let fields = vec![field("start"), field("end")].into();
        let nulls = NullBuffer::from(vec![true, false, true]);
        let windows: ArrayRef = Arc::new(StructArray::new(fields, vec![starts, ends], Some(nulls)));
        assert!(bears_event_time(windows.data_type()));
        assert_eq!(end_times(&windows).unwrap().iter().collect::<Vec<_>>(), [Some(10), None, None]);
        assert_eq!(event_times(&windows).unwrap().iter().collect::<Vec<_>>(), [Some(9), None, None]);
    }
}
