//! Random rows of a table with event time, out of order and around the watermark, and the aggregates of a list
//! of them by DataFusion's own accumulators, which get all of them at once.

#![allow(dead_code, reason = "not every test needs all of it")]

use crate::common;
use arrow::array::{
    Array, ArrayRef, DurationMicrosecondArray, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_expr::AggregateUDF;
use datafusion_functions_aggregate::{approx_distinct, array_agg, average, count, median, min_max, sum};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{col, lit};
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};
use lotic_operators::table::{AggregateCall, TableBatch, TableBuilder, partition_by};
use lotic_operators::testing::{Event, rows_as_text};
use lotic_operators::{Batch, Emitted, Output, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;

/// The size of the tumbling windows of column `w`.
pub(crate) const SIZE: i64 = 10;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) k: Option<u8>,
    /// Event time in microseconds.
    pub(crate) t: Option<i64>,
    pub(crate) v: Option<i64>,
    /// A gap between sessions in microseconds.
    pub(crate) gap: Option<i64>,
}

/// Rows as a batch: key `k` (text), event time `t`, its window `w`, values `v` (int) and `f` (float), `gap`.
pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let text = |value: u8| ["", "a", "b", "cc", "a key too long to lie in line"][usize::from(value % 5)];
    let column = |value: fn(&Row) -> Option<i64>| -> Vec<Option<i64>> { rows.iter().map(value).collect() };
    let starts: Vec<Option<i64>> = rows.iter().map(|row| row.t.map(start_of)).collect();
    let ends = starts.iter().map(|start| start.map(|start| start + SIZE)).collect::<Vec<_>>();
    let starts: ArrayRef = Arc::new(TimestampMicrosecondArray::from(starts));
    let nulls = starts.nulls().cloned();
    let ends: ArrayRef = Arc::new(TimestampMicrosecondArray::from(ends));
    let floats = rows.iter().map(|row| row.v.map(|v| v as f64)).collect::<arrow::array::Float64Array>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", Arc::new(rows.iter().map(|row| row.k.map(text)).collect::<StringArray>())),
        ("t", Arc::new(TimestampMicrosecondArray::from(column(|row| row.t)))),
        ("w", Arc::new(StructArray::new(window_fields(), vec![starts, ends], nulls))),
        ("v", Arc::new(Int64Array::from(column(|row| row.v)))),
        ("f", Arc::new(floats)),
        ("gap", Arc::new(DurationMicrosecondArray::from(column(|row| row.gap)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

pub(crate) fn start_of(time: i64) -> i64 {
    time - time.rem_euclid(SIZE)
}

fn window_fields() -> arrow::datatypes::Fields {
    let field = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
    vec![field("start"), field("end")].into()
}

pub(crate) fn window_field(name: &str) -> Field {
    Field::new(name, DataType::Struct(window_fields()), true)
}

/// A window as the text that a result shows.
pub(crate) fn window_text(start: i64, end: i64) -> String {
    let times = |time| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![time])) };
    let window = StructArray::new(window_fields(), vec![times(start), times(end)], None);
    let window: ArrayRef = Arc::new(window);
    rows_as_text(&RecordBatch::try_from_iter([("w", window)]).unwrap())[0][0].clone()
}

pub(crate) fn schema() -> SchemaRef {
    batch(&[]).schema()
}

pub(crate) fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, &schema()).unwrap()
}

/// Rows around the watermark, some of them behind it, with watermarks and markers. Most times are multiples of
/// five, so that rows, ends and watermarks often meet.
pub(crate) fn steps(length: usize) -> impl Strategy<Value = Vec<Event<Row>>> {
    let fives = |time: i64| time - time.rem_euclid(5);
    let row = move |watermark, (key, distance, value): (u8, i64, u8)| Row {
        k: (key > 0).then_some(key % 4),
        t: (value > 3).then(|| {
            let time = watermark + distance;
            if value % 4 == 0 { time } else { fives(time) }
        }),
        v: (value % 9 > 0).then(|| i64::from(value) % 7 * 1000 + i64::from(value)),
        gap: (value % 50 > 0).then(|| if value % 3 == 0 { i64::from(value % 20) - 2 } else { 5 }),
    };
    let steps = common::events(length, row);
    let meet = move |step| match step {
        Event::Watermark(time) => Event::Watermark(Timestamp(fives(time.0))),
        other => other,
    };
    steps.prop_map(move |steps| steps.into_iter().map(meet).collect())
}

/// The same as batches of one row each.
pub(crate) fn batches(steps: &[Event<Row>]) -> Vec<Event<RecordBatch>> {
    let event = |step: &Event<Row>| match step {
        Event::Row(row) => Event::Row(batch(std::slice::from_ref(row))),
        Event::Watermark(time) => Event::Watermark(*time),
        Event::Time(time) => Event::Time(*time),
        Event::Partition(status) => Event::Partition(*status),
        Event::From(partition) => Event::From(*partition),
        Event::Marker => Event::Marker,
    };
    steps.iter().map(event).collect()
}

pub(crate) fn rows_of(steps: &[Event<Row>]) -> Vec<Row> {
    let row = |step: &Event<Row>| if let Event::Row(row) = step { Some(row.clone()) } else { None };
    steps.iter().filter_map(row).collect()
}

/// Whether the watermark has reached a time.
pub(crate) fn reached(watermark: Timestamp, time: Option<i64>) -> bool {
    time.is_some_and(|time| watermark.0 >= time)
}

/// The text of some columns of a row.
pub(crate) fn texts(row: &Row, columns: &[&str]) -> Vec<String> {
    let text = &rows_as_text(&batch(std::slice::from_ref(row)))[0];
    columns.iter().map(|name| text[schema().index_of(name).unwrap()].clone()).collect()
}

/// Aggregates whose results do not depend on how rows were merged, native and by accumulators: function,
/// argument, distinct, ordered.
pub(crate) const CALLS: &[(&str, &str, bool, bool)] = &[
    ("count", "1", false, false),
    ("sum", "v", false, false),
    ("avg", "f", false, false),
    ("min", "v", false, false),
    ("max", "f", false, false),
    ("median", "v", false, false),
    ("count", "v", true, false),
    ("array_agg", "v", false, true),
    ("approx_distinct", "v", false, false),
];

pub(crate) fn calls() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence((0..CALLS.len()).collect::<Vec<_>>(), 0..=4)
}

fn function(name: &str) -> Arc<AggregateUDF> {
    match name {
        "count" => count::count_udaf(),
        "sum" => sum::sum_udaf(),
        "avg" => average::avg_udaf(),
        "min" => min_max::min_udaf(),
        "max" => min_max::max_udaf(),
        "median" => median::median_udaf(),
        "array_agg" => array_agg::array_agg_udaf(),
        "approx_distinct" => approx_distinct::approx_distinct_udaf(),
        other => panic!("{other}"),
    }
}

pub(crate) fn call(number: usize) -> AggregateCall {
    let (name, argument, distinct, ordered) = CALLS[number];
    let argument = if argument == "1" { lit(1i64) } else { column(argument) };
    let mut builder = AggregateExprBuilder::new(function(name), vec![argument])
        .schema(schema())
        .alias(format!("{name}{number}"))
        .with_distinct(distinct);
    if ordered {
        builder =
            builder.order_by(vec![PhysicalSortExpr { expr: column("v"), options: SortOptions::default() }]);
    }
    AggregateCall { function: Arc::new(builder.build().unwrap()), filter: None, input: schema() }
}

/// The schema of group columns and aggregates.
pub(crate) fn output(keys: Vec<Field>, aggregates: &[AggregateCall]) -> SchemaRef {
    let results = aggregates.iter().map(|call| call.function.field().as_ref().clone());
    Arc::new(Schema::new(keys.into_iter().chain(results).collect::<Vec<_>>()))
}

/// The text of an aggregate of all these rows at once.
pub(crate) fn aggregate(rows: &[Row], call: &AggregateCall) -> String {
    let rows = batch(rows);
    let mut accumulator = call.function.create_accumulator().unwrap();
    let mut arguments = call.function.expressions();
    arguments.extend(call.function.order_bys().iter().map(|order| Arc::clone(&order.expr)));
    let arguments: Vec<ArrayRef> = arguments
        .iter()
        .map(|argument| argument.evaluate(&rows).unwrap().into_array(rows.num_rows()).unwrap())
        .collect();
    accumulator.update_batch(&arguments).unwrap();
    let value = accumulator.evaluate().unwrap().to_array().unwrap();
    rows_as_text(&RecordBatch::try_from_iter_with_nullable([("x", value, true)]).unwrap())[0][0].clone()
}

pub(crate) fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

/// The rows emitted so far.
pub(crate) fn drain(output: &mut Output<TableBatch>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    while let Some(item) = output.take() {
        if let Emitted::Batch(batch) = item {
            rows.extend(rows_as_text(batch.rows_left()));
        }
    }
    rows
}

/// A hash that gives a row of the test kit to the instance that [`partition_by`] its column `k` gives it to.
pub(crate) fn group_of_key(row: &RecordBatch) -> u64 {
    let split = partition_by(vec![column("k")], &schema()).unwrap();
    let mut parts: Vec<TableBuilder> = (0..128).map(|_| TableBuilder::default()).collect();
    split()(&mut TableBatch::from(row.clone()), &mut parts);
    (parts.iter().position(|part| TableBatch::building(part) > 0).unwrap() as u64) << 57
}
