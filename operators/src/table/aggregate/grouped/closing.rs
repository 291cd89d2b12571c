//! Groups that are over.

use crate::error::{OperatorError, Result};
use crate::state::Timers;
use crate::table::aggregate::Grouping;
use crate::table::event_time::{bears_event_time, end_times};
use crate::table::expression::arrow_failed_to;
use crate::time::Timestamp;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Scalar, TimestampMicrosecondArray};
use arrow::compute::kernels::cmp::gt;
use arrow::compute::{filter, min};
use arrow::datatypes::{DataType, TimestampMicrosecondType};

/// How far event time has come, and when groups are over.
#[derive(Debug)]
pub(super) struct Closing {
    /// The group column that says when.
    column: usize,
    pub(super) watermark: Timestamp,
    /// Slots by when their groups are over. A group is removed only when its slot is taken out of here, so no
    /// slot of a group that is gone, or of another one in its place, is ever in it.
    ends: Timers<u32>,
}

/// The rows of a batch whose groups are not over.
pub(super) struct InTime {
    /// When their groups are.
    ends: TimestampMicrosecondArray,
    /// Which rows of the batch they are; all of them if there is nothing.
    pub(super) kept: Option<BooleanArray>,
}

impl Closing {
    /// # Errors
    /// If the column is not there or bears no event time.
    pub(super) fn new(grouping: &Grouping, types: &[DataType], column: usize) -> Result<Closing> {
        match types.get(column) {
            Some(data_type) if bears_event_time(data_type) => {
                Ok(Closing { column, watermark: Timestamp::MIN, ends: Timers::default() })
            }
            Some(other) => Err(OperatorError::Expression(format!(
                "`{}` is {other}, which is neither a timestamp nor a window: it cannot say when a group is over",
                grouping.keys[column]
            ))),
            None => Err(OperatorError::Expression(format!(
                "there is no group column {column} to say when a group is over, only {}",
                types.len()
            ))),
        }
    }

    /// Leaves out the late rows of the key columns of a batch.
    pub(super) fn in_time(&self, columns: &mut [ArrayRef]) -> Result<InTime> {
        let ends = end_times(&columns[self.column])?;
        if min(&ends).is_none_or(|first| first > self.watermark.0) {
            return Ok(InTime { ends, kept: None });
        }
        let failed = |error| arrow_failed_to("drop late rows", &error);
        // The zone is that of the values, of which only the numbers count.
        let ends = ends.with_timezone_opt::<&str>(None);
        let watermark = Scalar::new(TimestampMicrosecondArray::from(vec![self.watermark.0]));
        let kept = gt(&ends, &watermark).map_err(failed)?;
        // Without a time nothing is late.
        let kept = match kept.nulls() {
            Some(nulls) => BooleanArray::new(kept.values() | &!nulls.inner(), None),
            None => kept,
        };
        for column in columns {
            *column = filter(column, &kept).map_err(failed)?;
        }
        let ends = filter(&ends, &kept).map_err(failed)?;
        Ok(InTime { ends: ends.as_primitive::<TimestampMicrosecondType>().clone(), kept: Some(kept) })
    }

    /// Notes a new group, that of a row.
    pub(super) fn add(&mut self, in_time: &InTime, row: u32, slot: u32) {
        let row = row as usize;
        let over = in_time.ends.is_valid(row).then(|| in_time.ends.value(row));
        self.ends.add(over.map_or(Timestamp::MAX, Timestamp), slot);
    }

    /// Notes a group that no row says the end of.
    pub(super) fn add_endless(&mut self, slot: u32) {
        self.ends.add(Timestamp::MAX, slot);
    }

    /// Notes groups that were restored, of which these are the key columns.
    pub(super) fn add_restored(&mut self, columns: &[ArrayRef], slots: &[u32]) -> Result<()> {
        let restored = InTime { ends: end_times(&columns[self.column])?, kept: None };
        for (row, &slot) in slots.iter().enumerate() {
            self.add(&restored, row as u32, slot);
        }
        Ok(())
    }

    /// Takes out the slots of groups that are over, the earliest first, and `most` of them.
    pub(super) fn take_over(&mut self, most: usize) -> Vec<u32> {
        let due = std::iter::from_fn(|| self.ends.pop_due(self.watermark));
        due.take(most).map(|(_, slot)| slot).collect()
    }
}
