//! The column that says from when to when a window or a session goes.

use crate::error::{OperatorError, Result};
use crate::table::expression::{arrow_failed_to, as_type};
use arrow::array::{ArrayRef, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use std::sync::Arc;

/// A struct of two timestamps, `start` and `end`, in an output.
#[derive(Debug)]
pub(super) struct Bounds {
    fields: [FieldRef; 2],
}

impl Bounds {
    /// The column in this place of an output.
    ///
    /// # Errors
    /// If there is none, or it has another type.
    pub(super) fn of(output: &SchemaRef, place: usize) -> Result<Bounds> {
        let wrong = |cause: String| Err(OperatorError::Expression(cause));
        let Some(field) = output.fields().get(place) else {
            return wrong(format!("the output has no column {place} for the window"));
        };
        let fields = match field.data_type() {
            DataType::Struct(fields) => <[FieldRef; 2]>::try_from(fields.to_vec()).ok(),
            _ => None,
        };
        let timed = |field: &FieldRef| matches!(field.data_type(), DataType::Timestamp(..));
        let named = |fields: &[FieldRef; 2]| fields[0].name() == "start" && fields[1].name() == "end";
        match fields.filter(|fields| named(fields) && fields.iter().all(timed)) {
            Some(fields) => Ok(Bounds { fields }),
            None => wrong(format!(
                "a window is a struct of two timestamps, `start` and `end`, and `{}` is {}",
                field.name(),
                field.data_type()
            )),
        }
    }

    /// The column with these bounds, in microseconds or nanoseconds.
    pub(super) fn column(&self, starts: Vec<i64>, ends: Vec<i64>, nanoseconds: bool) -> Result<ArrayRef> {
        let column = |times: Vec<i64>, field: &FieldRef| {
            let zone = match field.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let times: ArrayRef = if nanoseconds {
                Arc::new(TimestampNanosecondArray::from(times).with_timezone_opt(zone))
            } else {
                Arc::new(TimestampMicrosecondArray::from(times).with_timezone_opt(zone))
            };
            as_type(times, field.data_type())
        };
        let columns = vec![column(starts, &self.fields[0])?, column(ends, &self.fields[1])?];
        let windows = StructArray::try_new(self.fields.to_vec().into(), columns, None);
        Ok(Arc::new(windows.map_err(|error| arrow_failed_to("make the column of windows", &error))?))
    }
}
