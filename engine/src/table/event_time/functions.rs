//! `window`, `session_window` and `window_time` as functions.

use super::spec::{WindowSpec, session_gap, time_type, window_type, with_event_time_of};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;
use std::time::Duration;

/// The functions of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The window of a time. Of a sliding window a placeholder, which is replaced before the plan runs.
    Window,
    /// All windows of a time as a list: what stands for a sliding window in a plan that runs.
    Windows,
    /// The sliding windows of a time in an aggregation of a stream that shares their panes: a placeholder, which
    /// the planner of streams replaces.
    Panes,
    /// The session of a time: a placeholder, which is replaced before the plan runs.
    Session,
    /// The time of a window: its last microsecond.
    Time,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Window | Kind::Panes => "window",
            Kind::Windows => "windows",
            Kind::Session => "session_window",
            Kind::Time => "window_time",
        }
    }

    /// The function.
    pub(crate) fn function(self) -> ScalarUDF {
        let signature = match self {
            Kind::Time => Signature::any(1, Volatility::Immutable),
            _ => Signature::variadic_any(Volatility::Immutable),
        };
        ScalarUDF::from(TimeFunction { kind: self, signature })
    }

    /// Which of them a call is, with its arguments.
    pub(crate) fn of(expr: &Expr) -> Option<(Kind, &[Expr])> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let function = call.func.inner().downcast_ref::<TimeFunction>()?;
        Some((function.kind, &call.args))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeFunction {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for TimeFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        plan_err!("the type of `{}` depends on its arguments' values", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let data_type = match self.kind {
            Kind::Window | Kind::Panes => {
                window_type(&WindowSpec::of(args.arg_fields, args.scalar_arguments)?.1)
            }
            Kind::Windows => {
                let (_, time) = WindowSpec::of(args.arg_fields, args.scalar_arguments)?;
                DataType::List(Arc::new(Field::new_list_field(window_type(&time), true)))
            }
            Kind::Session => window_type(&session_gap(args.arg_fields, args.scalar_arguments)?.1),
            Kind::Time => {
                let given = args.arg_fields[0].data_type();
                match time_type(given) {
                    Some(time) if given.is_nested() => time,
                    _ => return plan_err!("`window_time` needs a window, and its argument is {given}"),
                }
            }
        };
        Ok(with_event_time_of(&args.arg_fields[0], self.name(), data_type))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = args.args[0].to_array(args.number_rows)?;
        let times = times_of(&times)?;
        if self.kind == Kind::Time {
            return Ok(ColumnarValue::Array(times));
        }
        if self.kind == Kind::Session {
            return exec_err!("`session_window` is computed from many rows: it can stand in GROUP BY alone");
        }
        let literals: Vec<Option<&ScalarValue>> = args.args.iter().map(literal).collect();
        let (spec, time) = WindowSpec::of(&args.arg_fields, &literals)?;
        if self.kind == Kind::Windows {
            return Ok(ColumnarValue::Array(all_windows(spec, &times, &time)?));
        }
        if !spec.is_tumbling() || self.kind == Kind::Panes {
            return exec_err!(
                "a sliding `window` makes several rows of a row: it can stand in GROUP BY or SELECT alone"
            );
        }
        Ok(ColumnarValue::Array(one_window(spec, &times, &time)?))
    }
}

fn literal(value: &ColumnarValue) -> Option<&ScalarValue> {
    match value {
        ColumnarValue::Scalar(value) => Some(value),
        ColumnarValue::Array(_) => None,
    }
}

/// The event times of a column of timestamps or windows, in its own unit.
fn times_of(column: &ArrayRef) -> Result<ArrayRef> {
    let Some(windows) = column.as_struct_opt() else { return Ok(Arc::clone(column)) };
    let Some(ends) = windows.column_by_name("end") else { return exec_err!("a window has no end") };
    let before = match ends.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1000,
        _ => 1,
    };
    let (values, kind) = (units(ends)?, ends.data_type());
    let times: Int64Array = values.as_primitive::<Int64Type>().unary(|end| end.saturating_sub(before));
    let (_, times, nulls) = times.into_parts();
    let nulls = NullBuffer::union(nulls.as_ref(), windows.nulls());
    timestamps(Int64Array::new(times, nulls), kind)
}

/// Timestamps as the numbers they are made of.
fn units(times: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(times, &DataType::Int64)?)
}

fn timestamps(units: Int64Array, kind: &DataType) -> Result<ArrayRef> {
    Ok(cast(&(Arc::new(units) as ArrayRef), kind)?)
}

fn structs(bounds: (Vec<i64>, Vec<i64>), nulls: Option<NullBuffer>, time: &DataType) -> Result<StructArray> {
    let DataType::Struct(fields) = window_type(time) else { return exec_err!("a window is a struct") };
    let column = |bounds: Vec<i64>| timestamps(Int64Array::new(bounds.into(), nulls.clone()), time);
    let columns = vec![column(bounds.0)?, column(bounds.1)?];
    Ok(StructArray::try_new(fields, columns, nulls)?)
}

/// The one window of each time.
fn one_window(spec: WindowSpec, times: &ArrayRef, time: &DataType) -> Result<ArrayRef> {
    let units = units(times)?;
    let first = |time: &i64| spec.windows(*time).next().unwrap_or((*time, *time));
    let bounds = units.as_primitive::<Int64Type>().values().iter().map(first).unzip();
    Ok(Arc::new(structs(bounds, times.nulls().cloned(), time)?))
}

/// All windows of each time; of null none.
fn all_windows(spec: WindowSpec, times: &ArrayRef, time: &DataType) -> Result<ArrayRef> {
    let units = units(times)?;
    let mut bounds = (Vec::new(), Vec::new());
    let mut lengths = Vec::with_capacity(units.len());
    for time in units.as_primitive::<Int64Type>() {
        let before = bounds.0.len();
        time.into_iter().flat_map(|time| spec.windows(time)).for_each(|(start, end)| {
            bounds.0.push(start);
            bounds.1.push(end);
        });
        lengths.push(bounds.0.len() - before);
    }
    let item = Arc::new(Field::new_list_field(window_type(time), true));
    let values = Arc::new(structs(bounds, None, time)?);
    Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), values, None)?))
}

/// The windows of a call of `window`, over rows of these fields.
///
/// # Errors
/// If the arguments are wrong: why.
pub(crate) fn spec_of(
    arguments: &[Expr],
    schema: &datafusion::common::DFSchema,
) -> Result<(WindowSpec, DataType)> {
    let (fields, literals) = described(arguments, schema)?;
    WindowSpec::of(&fields, &literals)
}

/// How long the windows of a call are, how far apart they begin, and how far after the Unix epoch one of them
/// begins, over rows of these fields.
///
/// # Errors
/// If the arguments are wrong: why.
pub(crate) fn panes_of(
    arguments: &[Expr],
    schema: &datafusion::common::DFSchema,
) -> Result<(Duration, Duration, Duration)> {
    let (spec, time) = spec_of(arguments, schema)?;
    let length = |units| length(units, &time);
    Ok((length(spec.size)?, length(spec.slide)?, length(spec.start.rem_euclid(spec.slide))?))
}

/// The gap of a call of `session_window`, also in the unit of its time, over rows of these fields, and the type
/// of its time.
///
/// # Errors
/// If the arguments are wrong: why.
pub(crate) fn gap_of(
    arguments: &[Expr],
    schema: &datafusion::common::DFSchema,
) -> Result<(Duration, i64, DataType)> {
    let (fields, literals) = described(arguments, schema)?;
    let (gap, time) = session_gap(&fields, &literals)?;
    Ok((length(gap, &time)?, gap, time))
}

/// A length in the unit of a timestamp.
fn length(units: i64, time: &DataType) -> Result<Duration> {
    let nanos_per_unit = match time {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    };
    let micros = u128::from(units.unsigned_abs()) * nanos_per_unit / 1000;
    let micros = u64::try_from(micros);
    micros.map(Duration::from_micros).map_err(|_| DataFusionError::Plan("an interval is too long".to_owned()))
}

type Described<'a> = (Vec<FieldRef>, Vec<Option<&'a ScalarValue>>);

fn described<'a>(arguments: &'a [Expr], schema: &datafusion::common::DFSchema) -> Result<Described<'a>> {
    use datafusion::logical_expr::ExprSchemable;
    let fields = arguments.iter().map(|argument| Ok(argument.to_field(schema)?.1));
    let literals = arguments.iter().map(|argument| match argument {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    });
    Ok((fields.collect::<Result<_>>()?, literals.collect()))
}

/// A length of time in a call: text as Spark writes it, or a [`Duration`]. Wrong text is an error of the step
/// that takes the expression.
#[derive(Debug, Clone)]
pub struct IntervalText(String);

impl From<&str> for IntervalText {
    fn from(text: &str) -> Self {
        IntervalText(text.to_owned())
    }
}

impl From<String> for IntervalText {
    fn from(text: String) -> Self {
        IntervalText(text)
    }
}

impl From<Duration> for IntervalText {
    fn from(duration: Duration) -> Self {
        IntervalText(format!("{} us", duration.as_micros()))
    }
}

fn call(kind: Kind, time: Expr, intervals: impl IntoIterator<Item = IntervalText>) -> Expr {
    let intervals = intervals.into_iter().map(|interval| datafusion::prelude::lit(interval.0));
    kind.function().call(std::iter::once(time).chain(intervals).collect()).alias(kind.name())
}

/// The window of this size that holds a time, as a struct of `start` and `end`, named `window`: for
/// [`group_by`](crate::DataFrame::group_by). Windows are aligned to the Unix epoch and hold their start but not
/// their end. `time` is a timestamp or a window; rows without a time are left out.
///
/// ```
/// use lotic::Session;
/// use lotic::functions::{col, window};
///
/// let session = Session::builder().get_or_create()?;
/// let clicks = session.sql("SELECT TIMESTAMP '2024-01-01 00:00:07' AS ts")?;
/// let counts = clicks.group_by([window(col("ts"), "10 seconds")])?.count()?;
/// let shown = counts.select_expr(&["window['start'] AS start", "count"])?.show_string(20, None)?;
/// assert_eq!(shown.lines().nth(3), Some("|2024-01-01 00:00:00|1    |"));
/// # Ok::<(), lotic::Error>(())
/// ```
#[must_use]
pub fn window(time: Expr, size: impl Into<IntervalText>) -> Expr {
    call(Kind::Window, time, [size.into()])
}

/// The windows of this size that begin this far apart: each row counts in all that hold it. Otherwise as
/// [`window`].
#[must_use]
pub fn sliding_window(time: Expr, size: impl Into<IntervalText>, slide: impl Into<IntervalText>) -> Expr {
    call(Kind::Window, time, [size.into(), slide.into()])
}

/// As [`sliding_window`], with windows that begin this long after a multiple of the slide since the Unix
/// epoch: for days of another time zone, for instance.
#[must_use]
pub fn window_with_start(
    time: Expr,
    size: impl Into<IntervalText>,
    slide: impl Into<IntervalText>,
    start: impl Into<IntervalText>,
) -> Expr {
    call(Kind::Window, time, [size.into(), slide.into(), start.into()])
}

/// The session that holds a time, as a struct of `start` and `end`, named `session_window`: rows of one group
/// that are closer together than the gap are of one session, which ends a gap after its last row. For
/// [`group_by`](crate::DataFrame::group_by) alone.
#[must_use]
pub fn session_window(time: Expr, gap: impl Into<IntervalText>) -> Expr {
    call(Kind::Session, time, [gap.into()])
}

/// The event time of a window: its last microsecond. With it the result of one aggregation over windows is
/// grouped by larger ones.
#[must_use]
pub fn window_time(window: Expr) -> Expr {
    call(Kind::Time, window, [])
}
