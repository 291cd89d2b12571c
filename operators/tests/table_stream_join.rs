//! The join of two streams against a nested loop.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_expr::Operator as Compare;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, binary, col};
use lotic_operators::limits::KEY_GROUPS;
use lotic_operators::table::{
    StreamJoin, StreamJoinKind, StreamJoinSide, StreamJoinSpec, TableBatch, TableBuilder, TimeBounds,
    partition_by,
};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, Outcome, Stored, rows_as_text};
use lotic_operators::{
    Batch, Emitted, Instance, Output, Progress, Restore, Side, Timestamp, TwoInputOperator,
};
use proptest::prelude::*;
use std::sync::Arc;

/// A row of either input; the key and the time may be null.
#[derive(Debug, Clone)]
struct Row {
    key: Option<u8>,
    value: i64,
    time: Option<i64>,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let text = |key: u8| ["", "a", "a longer key than is kept in place"][usize::from(key % 3)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", Arc::new(rows.iter().map(|row| row.key.map(text)).collect::<StringArray>())),
        ("v", Arc::new(rows.iter().map(|row| row.value).collect::<Int64Array>())),
        ("t", Arc::new(rows.iter().map(|row| row.time).collect::<TimestampMicrosecondArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn schema() -> SchemaRef {
    batch(&[]).schema()
}

fn joined() -> SchemaRef {
    let twice = schema().fields().iter().chain(schema().fields()).cloned().collect::<Vec<_>>();
    Arc::new(Schema::new(twice))
}

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: StreamJoinKind,
    /// `left.v < right.v`
    less: bool,
    /// That left time and right time are equal, or how their order is bounded.
    times: Times,
    null_equals_null: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Times {
    Equal,
    /// `left.t <= right.t`
    NotAfter,
    /// Not said.
    Any,
}

const KINDS: [StreamJoinKind; 6] = [
    StreamJoinKind::Inner,
    StreamJoinKind::Left,
    StreamJoinKind::Right,
    StreamJoinKind::Full,
    StreamJoinKind::Semi,
    StreamJoinKind::Anti,
];

fn cases() -> impl Strategy<Value = Case> {
    let times = prop::sample::select(vec![Times::Equal, Times::NotAfter, Times::Any]);
    (prop::sample::select(KINDS.to_vec()), any::<bool>(), times, any::<bool>())
        .prop_map(|(kind, less, times, null_equals_null)| Case { kind, less, times, null_equals_null })
}

fn residual(case: Case) -> Option<Arc<dyn PhysicalExpr>> {
    let at = |name: &str, index| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
    let less = || binary(at("v", 1), Compare::Lt, at("v", 4), &joined()).unwrap();
    let times = |compare| binary(at("t", 2), compare, at("t", 5), &joined()).unwrap();
    let times = match case.times {
        Times::Equal => Some(times(Compare::Eq)),
        Times::NotAfter => Some(times(Compare::LtEq)),
        Times::Any => None,
    };
    match (times, case.less) {
        (Some(times), true) => Some(binary(times, Compare::And, less(), &joined()).unwrap()),
        (None, true) => Some(less()),
        (times, false) => times,
    }
}

fn spec(case: Case) -> StreamJoinSpec {
    let side = || StreamJoinSide {
        columns: schema(),
        on: vec![col("k", &schema()).unwrap()],
        event_time: Some(col("t", &schema()).unwrap()),
    };
    StreamJoinSpec {
        kind: case.kind,
        left: side(),
        right: side(),
        residual: residual(case),
        bounds: match case.times {
            Times::Equal => TimeBounds { lower: Some(0), upper: Some(0) },
            Times::NotAfter => TimeBounds { lower: None, upper: Some(0) },
            Times::Any => TimeBounds::default(),
        },
        null_equals_null: case.null_equals_null,
        output: match case.kind {
            StreamJoinKind::Semi | StreamJoinKind::Anti => schema(),
            _ => joined(),
        },
    }
}

fn operator(case: Case) -> StreamJoin {
    StreamJoin::new(spec(case), &schema(), &schema()).unwrap()
}

/// What may happen to a join.
#[derive(Debug, Clone)]
enum Step {
    Left(Row),
    Right(Row),
    Watermark(i64),
    Marker,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let row = (prop::option::weighted(0.9, 0u8..3), -3i64..4, prop::option::weighted(0.9, 0i64..20))
        .prop_map(|(key, value, time)| Row { key, value, time });
    let step = prop_oneof![
        5 => row.clone().prop_map(Step::Left),
        5 => row.prop_map(Step::Right),
        1 => (0i64..6).prop_map(Step::Watermark),
        1 => Just(Step::Marker),
    ];
    prop::collection::vec(step, 0..most)
}

/// The watermark goes on by what a step says.
fn events(steps: &[Step]) -> Vec<Event<Side<RecordBatch, RecordBatch>>> {
    let mut watermark = -1;
    let event = |step: &Step| match step {
        Step::Left(row) => Event::Row(Side::Left(batch(std::slice::from_ref(row)))),
        Step::Right(row) => Event::Row(Side::Right(batch(std::slice::from_ref(row)))),
        Step::Watermark(by) => {
            watermark += by;
            Event::Watermark(Timestamp(watermark))
        }
        Step::Marker => Event::Marker,
    };
    steps.iter().map(event).collect()
}

/// Every row with every row, without those that are late; and how many are.
fn nested_loop(case: Case, steps: &[Step]) -> (Vec<Vec<String>>, u64) {
    let (mut lefts, mut rights, mut watermark, mut late) = (Vec::new(), Vec::new(), -1, 0);
    for step in steps {
        let (row, rows) = match step {
            Step::Left(row) => (row, &mut lefts),
            Step::Right(row) => (row, &mut rights),
            Step::Watermark(by) => {
                watermark += by;
                continue;
            }
            Step::Marker => continue,
        };
        match row.time {
            Some(time) if time <= watermark && steps_have_watermark(steps, step) => late += 1,
            _ => rows.push(row.clone()),
        }
    }
    let matches = |left: &Row, right: &Row| {
        let keys = left.key == right.key && (left.key.is_some() || case.null_equals_null);
        let both = left.time.zip(right.time);
        let times = match case.times {
            Times::Equal => both.is_some_and(|(left, right)| left == right),
            Times::NotAfter => both.is_some_and(|(left, right)| left <= right),
            Times::Any => true,
        };
        keys && times && (!case.less || left.value < right.value)
    };
    let text = |row: &Row| rows_as_text(&batch(std::slice::from_ref(row))).remove(0);
    let nulls = || vec!["NULL".to_owned(); 3];
    let mut result = Vec::new();
    for left in &lefts {
        let found: Vec<&Row> = rights.iter().filter(|right| matches(left, right)).collect();
        match case.kind {
            StreamJoinKind::Semi if !found.is_empty() => result.push(text(left)),
            StreamJoinKind::Anti if found.is_empty() => result.push(text(left)),
            StreamJoinKind::Semi | StreamJoinKind::Anti => {}
            _ => result.extend(found.iter().map(|right| [text(left), text(right)].concat())),
        }
        if found.is_empty() && matches!(case.kind, StreamJoinKind::Left | StreamJoinKind::Full) {
            result.push([text(left), nulls()].concat());
        }
    }
    if matches!(case.kind, StreamJoinKind::Right | StreamJoinKind::Full) {
        let alone = rights.iter().filter(|right| !lefts.iter().any(|left| matches(left, right)));
        result.extend(alone.map(|right| [nulls(), text(right)].concat()));
    }
    result.sort();
    (result, late)
}

/// Before the first watermark nothing is late.
fn steps_have_watermark(steps: &[Step], until: &Step) -> bool {
    steps.iter().take_while(|step| !std::ptr::eq(*step, until)).any(|step| matches!(step, Step::Watermark(_)))
}

/// A hash of the key group that the exchange sends a row to.
fn group(row: &Side<RecordBatch, RecordBatch>) -> u64 {
    let (Side::Left(row) | Side::Right(row)) = row;
    let make = partition_by(vec![col("k", &schema()).unwrap()], &schema()).unwrap();
    let mut owners: Vec<TableBuilder> = (0..KEY_GROUPS).map(|_| TableBuilder::default()).collect();
    make()(&mut TableBatch::from(row.clone()), &mut owners);
    let owner = owners.iter().position(|owner| TableBatch::building(owner) > 0).unwrap();
    (owner as u64) << (64 - KEY_GROUPS.trailing_zeros())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_kind_gives_what_a_nested_loop_gives(case in cases(), steps in steps(60)) {
        let harness = OperatorHarness::new(|| ByRow(operator(case))).unordered();
        let outcome: Outcome<Vec<String>> = harness.two_inputs(&events(&steps));
        let mut rows = outcome.rows;
        rows.sort();
        prop_assert_eq!((rows, outcome.late_rows), nested_loop(case, &steps));
    }

    #[test]
    fn a_join_gives_the_same_over_a_changing_number_of_instances(
        case in cases(),
        steps in steps(80),
        parallelism in prop::collection::vec(1usize..5, 1..5),
    ) {
        let harness = OperatorHarness::new(|| ByRow(operator(case)));
        let outcome: Outcome<Vec<String>> = harness.rescaled_two_inputs(&events(&steps), group, &parallelism);
        prop_assert_eq!((outcome.rows, outcome.late_rows), nested_loop(case, &steps));
    }
}

fn row(key: u8, value: i64, time: i64) -> Row {
    Row { key: Some(key), value, time: Some(time) }
}

/// A join with `lower <= left.t - right.t <= upper`, which its rows fulfil, so that no condition is needed.
fn bounded(kind: StreamJoinKind, lower: i64, upper: i64) -> StreamJoin {
    let case = Case { kind, less: false, times: Times::Any, null_equals_null: false };
    let bounds = TimeBounds { lower: Some(lower), upper: Some(upper) };
    StreamJoin::new(StreamJoinSpec { bounds, ..spec(case) }, &schema(), &schema()).unwrap()
}

fn left(join: &mut StreamJoin, rows: &[Row], output: &mut Output<TableBatch>) {
    join.process_left(&mut TableBatch::from(batch(rows)), output).unwrap();
}

fn right(join: &mut StreamJoin, rows: &[Row], output: &mut Output<TableBatch>) {
    join.process_right(&mut TableBatch::from(batch(rows)), output).unwrap();
}

/// The rows emitted, and the last watermark.
fn taken(output: &mut Output<TableBatch>) -> (Vec<String>, Option<i64>) {
    let (mut rows, mut watermark) = (Vec::new(), None);
    while let Some(emitted) = output.take() {
        match emitted {
            Emitted::Batch(batch) => {
                rows.extend(rows_as_text(batch.rows_left()).into_iter().map(|row| row[1..].join(" ")));
            }
            Emitted::Watermark(time) => watermark = Some(time.0),
            Emitted::Idle(_) => {}
        }
    }
    (rows, watermark)
}

#[test]
fn rows_are_forgotten_when_no_match_can_come_and_emitted_then_if_they_had_none() {
    let mut join = bounded(StreamJoinKind::Left, -3, 5);
    let mut output = Output::default();
    left(&mut join, &[row(1, 1, 10), row(1, 2, 12)], &mut output);
    right(&mut join, &[row(1, 7, 15)], &mut output);
    right(&mut join, &[row(2, 8, 20)], &mut output);
    assert_eq!(taken(&mut output).0.len(), 2);
    left(&mut join, &[row(2, 3, 17), row(3, 4, 11)], &mut output);
    assert_eq!(taken(&mut output).0.len(), 1);
    assert!(format!("{join:?}").contains("6 rows"), "{join:?}");
    // The left row of 11 can match until 14, the matched ones of 10 and 12 until 13 and 15.
    assert_eq!(join.watermark(Timestamp(13), &mut output).unwrap(), Progress::Done);
    assert_eq!(taken(&mut output), (vec![], Some(8)));
    assert!(format!("{join:?}").contains("5 rows"), "{join:?}");
    assert_eq!(join.watermark(Timestamp(14), &mut output).unwrap(), Progress::Done);
    let (rows, watermark) = taken(&mut output);
    assert_eq!((rows.len(), watermark), (1, Some(9)));
    assert!(rows[0].starts_with("4 1970-01-01T00:00:00.000011 "), "{rows:?}");
    // Right rows can match until five after their time.
    assert_eq!(join.watermark(Timestamp(24), &mut output).unwrap(), Progress::Done);
    assert!(format!("{join:?}").contains("1 rows"), "{join:?}");
    assert_eq!(join.watermark(Timestamp(25), &mut output).unwrap(), Progress::Done);
    assert!(format!("{join:?}").contains("0 rows"), "{join:?}");
    assert_eq!(taken(&mut output), (vec![], Some(20)));
}

#[test]
fn a_row_that_can_match_no_later_row_is_not_held() {
    // Left rows come at least ten after right ones.
    let mut join = bounded(StreamJoinKind::Full, 10, 20);
    let mut output = Output::default();
    assert_eq!(join.watermark(Timestamp(50), &mut output).unwrap(), Progress::Done);
    assert_eq!(taken(&mut output).1, Some(30), "right rows are held for twenty");
    left(&mut join, &[row(1, 1, 60)], &mut output);
    assert_eq!(taken(&mut output).0.len(), 1, "a right row would be of 50 or before, and late");
    left(&mut join, &[row(1, 1, 61)], &mut output);
    assert_eq!(taken(&mut output).0.len(), 0);
    assert!(format!("{join:?}").contains("1 rows"), "{join:?}");
}

#[test]
fn a_side_that_is_held_for_ever_lets_no_watermark_pass_but_the_end() {
    for case in [Times::Any, Times::NotAfter] {
        let case = Case { kind: StreamJoinKind::Inner, less: false, times: case, null_equals_null: false };
        let (mut join, mut output) = (operator(case), Output::default());
        left(&mut join, &[row(1, 1, 1)], &mut output);
        assert_eq!(join.watermark(Timestamp(100), &mut output).unwrap(), Progress::Done);
        assert_eq!(taken(&mut output), (vec![], None));
        assert!(format!("{join:?}").contains("1 rows"), "{join:?}");
        assert_eq!(join.watermark(Timestamp::MAX, &mut output).unwrap(), Progress::Done);
        assert_eq!(taken(&mut output), (vec![], Some(i64::MAX)));
    }
}

#[test]
fn a_row_with_thousands_of_matches_goes_out_in_parts_of_what_the_output_takes() {
    let mut join = bounded(StreamJoinKind::Inner, -10, 10);
    let mut output = Output::<TableBatch>::default();
    let many: Vec<Row> = (0..10_000).map(|value| row(1, value, 10)).collect();
    left(&mut join, &many, &mut output);
    let mut output = Output::<TableBatch>::with_limit(300);
    let (mut input, mut rows) = (TableBatch::from(batch(&[row(1, 0, 10), row(1, 1, 10)])), 0);
    while input.rows() > 0 {
        join.process_right(&mut input, &mut output).unwrap();
        while let Some(emitted) = output.take() {
            let Emitted::Batch(batch) = emitted else { unreachable!() };
            assert!(batch.rows() <= 300);
            rows += batch.rows();
        }
    }
    assert_eq!(rows, 20_000);
}

#[test]
fn a_marker_costs_what_changed_also_for_a_key_with_thousands_of_rows() {
    let mut join = bounded(StreamJoinKind::Inner, -10, 10);
    let mut output = Output::<TableBatch>::default();
    let many: Vec<Row> = (0..10_000).map(|value| row(1, value, 10)).collect();
    left(&mut join, &many, &mut output);
    let all: usize = join.snapshot().unwrap().tables.iter().map(|table| table.chunks.len()).sum();
    assert!(all > 100, "{all}");
    left(&mut join, &[row(1, 0, 10)], &mut output);
    let changed: usize = join.snapshot().unwrap().tables.iter().map(|table| table.chunks.len()).sum();
    assert_eq!(changed, 1);
}

#[test]
fn state_of_other_columns_is_refused() {
    let (mut join, mut output) = (bounded(StreamJoinKind::Inner, -10, 10), Output::default());
    left(&mut join, &[row(1, 1, 1)], &mut output);
    let mut stored = Stored::default();
    stored.store(&join.snapshot().unwrap());
    let case = Case { kind: StreamJoinKind::Inner, less: false, times: Times::Any, null_equals_null: false };
    let mut spec = spec(case);
    spec.right.columns = Arc::new(schema().project(&[0]).unwrap());
    spec.output = Arc::new(joined().project(&[0, 1, 2, 3]).unwrap());
    let mut other = StreamJoin::new(spec, &schema(), &schema()).unwrap();
    let image = stored.image();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    let error = other.restore(restore, &mut output).unwrap_err().to_string();
    assert!(error.contains("a join by"), "{error}");
}
