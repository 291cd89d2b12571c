//! The times of sessions, in the unit of their event time.

use crate::error::{OperatorError, Result};
use crate::table::aggregate::bounds::Bounds;
use crate::table::expression::{arrow_failed_to, evaluate};
use crate::time::Timestamp;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationNanosecondType, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

/// Reads the times of rows and writes those of sessions. A tick is a nanosecond if event time is in
/// nanoseconds, and else a microsecond.
#[derive(Debug)]
pub(super) struct Times {
    event_time: Arc<dyn PhysicalExpr>,
    gap: Arc<dyn PhysicalExpr>,
    zone: Option<Arc<str>>,
    ticks_of_a_microsecond: i64,
    bounds: Bounds,
}

/// What each row is by itself: a session from its time until the gap after it.
pub(super) struct Spans {
    starts: Int64Array,
    gaps: Int64Array,
}

impl Spans {
    /// The start and the end of a row's own session; none if it has no time or no gap.
    pub(super) fn of(&self, row: usize) -> Option<(i64, i64)> {
        if self.starts.is_null(row) || self.gaps.is_null(row) {
            return None;
        }
        let (start, gap) = (self.starts.value(row), self.gaps.value(row));
        (gap > 0).then(|| (start, start.saturating_add(gap)))
    }
}

fn wrong<T>(cause: String) -> Result<T> {
    Err(OperatorError::Expression(cause))
}

impl Times {
    /// # Errors
    /// If the expressions have types that no session can have.
    pub(super) fn new(
        event_time: &Arc<dyn PhysicalExpr>,
        gap: &Arc<dyn PhysicalExpr>,
        types: [&DataType; 2],
        bounds: Bounds,
    ) -> Result<Times> {
        let [time_type, gap_type] = types;
        let DataType::Timestamp(unit, zone) = time_type else {
            return wrong(format!(
                "the event time of a session must be a timestamp, and `{event_time}` is {time_type}"
            ));
        };
        if !matches!(
            gap_type,
            DataType::Duration(_) | DataType::Interval(IntervalUnit::DayTime | IntervalUnit::MonthDayNano)
        ) {
            return wrong(format!("the gap between sessions must be an interval, and `{gap}` is {gap_type}"));
        }
        let ticks_of_a_microsecond = if *unit == TimeUnit::Nanosecond { 1_000 } else { 1 };
        Ok(Times {
            event_time: Arc::clone(event_time),
            gap: Arc::clone(gap),
            zone: zone.clone(),
            ticks_of_a_microsecond,
            bounds,
        })
    }

    /// # Errors
    /// If an expression fails, or a gap has months, whose length depends on where they begin.
    pub(super) fn spans(&self, rows: &RecordBatch) -> Result<Spans> {
        let failed = |error| arrow_failed_to("read the times of sessions", &error);
        let nanos = self.ticks_of_a_microsecond > 1;
        let unit = if nanos { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        let times = evaluate(self.event_time.as_ref(), rows)?;
        let times = cast(&times, &DataType::Timestamp(unit, self.zone.clone())).map_err(failed)?;
        let starts = match unit {
            TimeUnit::Nanosecond => times.as_primitive::<TimestampNanosecondType>().reinterpret_cast(),
            _ => times.as_primitive::<TimestampMicrosecondType>().reinterpret_cast(),
        };
        let gaps = evaluate(self.gap.as_ref(), rows)?;
        let gaps = match gaps.data_type() {
            DataType::Interval(IntervalUnit::DayTime) => {
                let gaps = gaps.as_primitive::<IntervalDayTimeType>();
                gaps.unary(|gap| {
                    self.ticks(i128::from(gap.days) * DAY + i128::from(gap.milliseconds) * 1_000_000)
                })
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let gaps = gaps.as_primitive::<IntervalMonthDayNanoType>();
                if gaps.iter().flatten().any(|gap| gap.months != 0) {
                    return wrong(
                        "the gap between sessions cannot be in months: they differ in length".to_owned(),
                    );
                }
                gaps.unary(|gap| self.ticks(i128::from(gap.days) * DAY + i128::from(gap.nanoseconds)))
            }
            _ => {
                let gaps = cast(&gaps, &DataType::Duration(unit)).map_err(failed)?;
                match unit {
                    TimeUnit::Nanosecond => gaps.as_primitive::<DurationNanosecondType>().reinterpret_cast(),
                    _ => gaps.as_primitive::<DurationMicrosecondType>().reinterpret_cast(),
                }
            }
        };
        Ok(Spans { starts, gaps })
    }

    fn ticks(&self, nanos: i128) -> i64 {
        let ticks = nanos * i128::from(self.ticks_of_a_microsecond) / 1_000;
        i64::try_from(ticks).unwrap_or(if ticks > 0 { i64::MAX } else { i64::MIN })
    }

    /// The unit of a tick.
    pub(super) fn unit(&self) -> &'static str {
        if self.ticks_of_a_microsecond > 1 { "nanoseconds" } else { "microseconds" }
    }

    /// When a session is over that ends at a tick.
    pub(super) fn over(&self, end: i64) -> Timestamp {
        let ticks = self.ticks_of_a_microsecond;
        Timestamp(end.div_euclid(ticks) + i64::from(end.rem_euclid(ticks) > 0))
    }

    /// The column of sessions with these bounds.
    pub(super) fn column(&self, starts: Vec<i64>, ends: Vec<i64>) -> Result<ArrayRef> {
        self.bounds.column(starts, ends, self.ticks_of_a_microsecond > 1)
    }
}
