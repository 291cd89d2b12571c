//! What a call of `window` or `session_window` says, checked.

use super::interval::micros_of_literal;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use lotic_operators::table::{WATERMARK_DELAY, bears_event_time};
use std::sync::Arc;

/// The most windows that a row of a sliding window is in.
const WINDOWS_OF_A_ROW: i64 = 10_000;

/// The windows of one call, in the unit of its event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowSpec {
    /// How long a window is.
    pub(crate) size: i64,
    /// How far apart windows begin; the size for tumbling ones.
    pub(crate) slide: i64,
    /// When windows begin: this long after a multiple of the slide since the Unix epoch.
    pub(crate) start: i64,
}

/// An argument by what it is called in errors.
struct Argument<'a> {
    function: &'a str,
    name: &'a str,
    value: Option<&'a ScalarValue>,
}

impl Argument<'_> {
    fn micros(&self) -> Result<i64> {
        let (function, name) = (self.function, self.name);
        match self.value.and_then(micros_of_literal) {
            Some(Ok(micros)) => Ok(micros),
            Some(Err(wrong)) => plan_err!("the {name} of `{function}`: {wrong}"),
            None => plan_err!(
                "the {name} of `{function}` must be a literal, such as '10 seconds' or INTERVAL '10 seconds'"
            ),
        }
    }

    /// In the unit of a timestamp.
    fn units(&self, unit: TimeUnit) -> Result<i64> {
        let micros = self.micros()?;
        let (function, name) = (self.function, self.name);
        let per_unit = match unit {
            TimeUnit::Second => 1_000_000,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1,
            TimeUnit::Nanosecond => {
                return match micros.checked_mul(1000) {
                    Some(nanos) => Ok(nanos),
                    None => plan_err!("the {name} of `{function}` is longer than its nanoseconds can count"),
                };
            }
        };
        if micros % per_unit != 0 {
            return plan_err!(
                "the {name} of `{function}` is finer than its timestamp, which counts in units of \
                 {per_unit} microseconds: cast the timestamp to TIMESTAMP"
            );
        }
        Ok(micros / per_unit)
    }
}

/// The type of the time that windows are made of: a timestamp's own, or that of the ends of windows.
fn time_of(function: &str, field: &Field) -> Result<(TimeUnit, DataType)> {
    let time = time_type(field.data_type());
    match time {
        Some(DataType::Timestamp(unit, _)) => Ok((unit, time.unwrap_or(DataType::Null))),
        _ => plan_err!(
            "`{function}` needs a timestamp, and its first argument is {}: cast it to TIMESTAMP",
            field.data_type()
        ),
    }
}

/// The type of the event time of a column, a timestamp or a window.
pub(crate) fn time_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(..) => Some(data_type.clone()),
        DataType::Struct(fields) if bears_event_time(data_type) => {
            fields.find("end").map(|(_, field)| field.data_type().clone())
        }
        _ => None,
    }
}

/// The type of a window.
pub(crate) fn window_type(time: &DataType) -> DataType {
    let field = |name: &str| Field::new(name, time.clone(), true);
    DataType::Struct(Fields::from(vec![field("start"), field("end")]))
}

/// A field of that type which has event time if the argument has.
pub(crate) fn with_event_time_of(argument: &Field, name: &str, data_type: DataType) -> FieldRef {
    let mut field = Field::new(name, data_type, argument.is_nullable());
    if let Some(delay) = argument.metadata().get(WATERMARK_DELAY) {
        field = field.with_metadata([(WATERMARK_DELAY.to_owned(), delay.clone())].into());
    }
    Arc::new(field)
}

impl WindowSpec {
    /// The windows of a call of `window`, and the type of their time.
    ///
    /// # Errors
    /// If the arguments are wrong: why.
    pub(crate) fn of(
        fields: &[FieldRef],
        literals: &[Option<&ScalarValue>],
    ) -> Result<(WindowSpec, DataType)> {
        if !(2..=4).contains(&fields.len()) {
            return plan_err!(
                "`window` takes a timestamp, the size of a window and perhaps the slide and the start: \
                 window(ts, '10 seconds', '5 seconds', '1 second')"
            );
        }
        let (unit, time) = time_of("window", &fields[0])?;
        let argument = |at: usize, name: &'static str| match literals.get(at) {
            None => Ok(None),
            Some(value) => Argument { function: "window", name, value: *value }.units(unit).map(Some),
        };
        let size = argument(1, "size")?.unwrap_or_default();
        let slide = argument(2, "slide")?.unwrap_or(size);
        let start = argument(3, "start")?.unwrap_or_default();
        if size <= 0 {
            return plan_err!("the size of `window` must be longer than zero");
        }
        if slide <= 0 {
            return plan_err!("the slide of `window` must be longer than zero");
        }
        if slide > size {
            return plan_err!(
                "the slide of `window` is longer than its size, so that rows between two windows would be in \
                 none: make it at most the size"
            );
        }
        if start.checked_abs().is_none_or(|start| start >= slide) {
            return plan_err!("the start of `window` must be shorter than its slide");
        }
        if size / slide >= WINDOWS_OF_A_ROW {
            return plan_err!(
                "each row would be in {} windows, and {WINDOWS_OF_A_ROW} are the most: make the slide longer",
                size / slide
            );
        }
        Ok((WindowSpec { size, slide, start }, time))
    }

    /// Whether a row is in one window alone.
    pub(crate) fn is_tumbling(self) -> bool {
        self.size == self.slide
    }

    /// The windows that hold a time, the latest first, each as its start and end, cut off at the bounds of
    /// time.
    pub(crate) fn windows(self, time: i64) -> impl Iterator<Item = (i64, i64)> {
        let (time, size, slide) = (i128::from(time), i128::from(self.size), i128::from(self.slide));
        let last = time - (time - i128::from(self.start)).rem_euclid(slide);
        let starts = std::iter::successors(Some(last), move |start| Some(start - slide));
        let cut = |time: i128| i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX });
        starts.take_while(move |start| start + size > time).map(move |start| (cut(start), cut(start + size)))
    }
}

/// The gap of a call of `session_window` in the unit of its event time, and the type of that.
///
/// # Errors
/// If the arguments are wrong: why.
pub(crate) fn session_gap(fields: &[FieldRef], literals: &[Option<&ScalarValue>]) -> Result<(i64, DataType)> {
    let [field, _] = fields else {
        return plan_err!(
            "`session_window` takes a timestamp and the gap after which a session is over: \
             session_window(ts, '5 minutes')"
        );
    };
    let (unit, time) = time_of("session_window", field)?;
    let value = literals.get(1).copied().flatten();
    let gap = Argument { function: "session_window", name: "gap", value }.units(unit)?;
    if gap <= 0 {
        return plan_err!("the gap of `session_window` must be longer than zero");
    }
    Ok((gap, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: i64, slide: i64, start: i64, time: i64) -> Vec<(i64, i64)> {
        WindowSpec { size, slide, start }.windows(time).collect()
    }

    #[test]
    fn windows_hold_their_start_and_not_their_end_also_before_1970() {
        assert_eq!(windows(10, 10, 0, 0), [(0, 10)]);
        assert_eq!(windows(10, 10, 0, 9), [(0, 10)]);
        assert_eq!(windows(10, 10, 0, -1), [(-10, 0)]);
        assert_eq!(windows(10, 10, 3, 2), [(-7, 3)]);
        assert_eq!(windows(10, 10, -3, 7), [(7, 17)]);
        assert_eq!(windows(10, 5, 0, 7), [(5, 15), (0, 10)]);
        // The slide need not divide the size.
        assert_eq!(windows(10, 4, 0, 9), [(8, 18), (4, 14), (0, 10)]);
        assert_eq!(windows(10, 4, 0, 11), [(8, 18), (4, 14)]);
    }

    #[test]
    fn windows_at_the_bounds_of_time_are_cut_off() {
        assert_eq!(windows(10, 10, 0, i64::MAX).last().map(|window| window.1), Some(i64::MAX));
        assert_eq!(windows(10, 10, 0, i64::MIN), [(i64::MIN, i64::MIN + 8)]);
    }
}
