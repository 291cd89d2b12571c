//! Sessions of a table against a slow model that keeps all rows, and against the batch algorithm that sorts
//! them.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "its rows are of another type")]
mod common;
mod table_time;

use arrow::array::{ArrayRef, Int64Array, IntervalMonthDayNanoArray, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::{col, lit};
use lotic_operators::limits::FIRINGS_PER_CALL;
use lotic_operators::table::{Emit, SessionAggregate, SessionGrouping, TableBatch};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, Stored};
use lotic_operators::{Instance, Operator, Output, Progress, Restore, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use table_time::{
    Row, aggregate, batch, batches, call, column, drain, group_of_key, output, rows_of, schema, sorted,
    steps, texts, window_field, window_text,
};

fn grouping(keys: &[&str], session: usize, calls: &[usize], emit: Emit) -> SessionGrouping {
    let input = schema();
    let aggregates: Vec<_> = calls.iter().map(|number| call(*number)).collect();
    let mut fields: Vec<Field> = keys.iter().map(|key| input.field_with_name(key).unwrap().clone()).collect();
    fields.insert(session, window_field("session_window"));
    SessionGrouping {
        keys: keys.iter().map(|key| column(key)).collect(),
        event_time: column("t"),
        gap: column("gap"),
        session,
        output: output(fields, &aggregates),
        aggregates,
        input,
        emit,
    }
}

/// A session of the model.
#[derive(Debug, Clone)]
struct Held {
    key: Vec<String>,
    start: i64,
    end: i64,
    rows: Vec<Row>,
}

impl Held {
    /// A row by itself, if it has a time and a gap.
    fn of(row: &Row, keys: &[&str]) -> Option<Held> {
        let (start, gap) = (row.t?, row.gap.filter(|gap| *gap > 0)?);
        Some(Held { key: texts(row, keys), start, end: start + gap, rows: vec![row.clone()] })
    }

    fn result(&self, session: usize, calls: &[usize]) -> Vec<String> {
        let mut text = self.key.clone();
        text.insert(session, window_text(self.start, self.end));
        text.extend(calls.iter().map(|number| aggregate(&self.rows, &call(*number))));
        text
    }
}

/// Merges a row with all sessions it touches, one row at a time.
fn add(held: &mut Vec<Held>, row: Held) {
    let touches = |other: &Held| other.key == row.key && other.start <= row.end && row.start <= other.end;
    let (mut joined, apart): (Vec<Held>, Vec<Held>) = held.drain(..).partition(touches);
    joined.sort_by_key(|other| other.start);
    let mut merged = Held { rows: Vec::new(), ..row.clone() };
    for other in joined {
        (merged.start, merged.end) = (merged.start.min(other.start), merged.end.max(other.end));
        merged.rows.extend(other.rows);
    }
    merged.rows.extend(row.rows);
    *held = apart;
    held.push(merged);
}

fn append_model(
    steps: &[Event<Row>],
    keys: &[&str],
    session: usize,
    calls: &[usize],
) -> (Vec<Vec<String>>, u64) {
    let (mut held, mut emitted, mut late, mut watermark) = (Vec::new(), Vec::new(), 0, Timestamp::MIN);
    for step in steps {
        match step {
            Event::Row(row) => match Held::of(row, keys) {
                Some(own) if own.end <= watermark.0 => late += 1,
                Some(own) => add(&mut held, own),
                None => {}
            },
            Event::Watermark(time) => {
                watermark = *time;
                let (over, open) = held.drain(..).partition(|held: &Held| held.end <= watermark.0);
                held = open;
                emitted.extend::<Vec<Held>>(over);
            }
            _ => {}
        }
    }
    emitted.extend(held);
    (sorted(emitted.iter().map(|held| held.result(session, calls)).collect()), late)
}

/// The batch answer: sorts the rows of each key by time and merges neighbours, as Spark does.
fn at_once(rows: &[Row], keys: &[&str], session: usize, calls: &[usize]) -> Vec<Vec<String>> {
    let mut own: Vec<Held> = rows.iter().filter_map(|row| Held::of(row, keys)).collect();
    own.sort_by_key(|held| (held.key.clone(), held.start));
    let mut sessions: Vec<Held> = Vec::new();
    for row in own {
        match sessions.last_mut() {
            Some(last) if last.key == row.key && row.start <= last.end => {
                last.end = last.end.max(row.end);
                last.rows.extend(row.rows);
            }
            _ => sessions.push(row),
        }
    }
    sorted(sessions.iter().map(|held| held.result(session, calls)).collect())
}

fn keys() -> impl Strategy<Value = (Vec<&'static str>, usize)> {
    prop::sample::select(vec![(vec![], 0), (vec!["k"], 0), (vec!["k"], 1), (vec!["k"], 1)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn append_mode_emits_a_session_once_when_it_is_over(
        steps in steps(60), (keys, session) in keys(), calls in table_time::calls(),
    ) {
        let grouping = grouping(&keys, session, &calls, Emit::Closed);
        let harness = OperatorHarness::new(|| ByRow(SessionAggregate::new(&grouping).unwrap())).unordered();
        let outcome = harness.outcome(&batches(&steps));
        let model = append_model(&steps, &keys, session, &calls);
        prop_assert_eq!((sorted(outcome.rows), outcome.late_rows), model);
    }

    #[test]
    fn the_result_at_the_end_is_that_of_all_rows_at_once(
        steps in steps(60), (keys, session) in keys(), calls in table_time::calls(), append in any::<bool>(),
    ) {
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Event::Watermark(_))).collect();
        let emit = if append { Emit::Closed } else { Emit::Final };
        let grouping = grouping(&keys, session, &calls, emit);
        let harness = OperatorHarness::new(|| ByRow(SessionAggregate::new(&grouping).unwrap())).unordered();
        let got = sorted(harness.run(&batches(&steps)));
        prop_assert_eq!(got, at_once(&rows_of(&steps), &keys, session, &calls));
    }

    /// Nothing is late or over.
    #[test]
    fn complete_mode_gives_all_sessions_in_each_epoch_with_a_change(
        steps in steps(60), (keys, session) in keys(), calls in table_time::calls(),
    ) {
        let grouping = grouping(&keys, session, &calls, Emit::Complete);
        let harness = OperatorHarness::new(|| ByRow(SessionAggregate::new(&grouping).unwrap())).unordered();
        let (mut expected, mut sofar) = (Vec::new(), Vec::new());
        for epoch in steps.split(|step| matches!(step, Event::Marker)) {
            let rows = rows_of(epoch);
            let changed = rows.iter().any(|row| Held::of(row, &keys).is_some());
            sofar.extend(rows);
            if changed {
                expected.extend(at_once(&sofar, &keys, session, &calls));
            }
        }
        let outcome = harness.outcome(&batches(&steps));
        prop_assert_eq!((sorted(outcome.rows), outcome.late_rows), (sorted(expected), 0));
    }

    #[test]
    fn instances_share_the_sessions(
        steps in steps(100), calls in table_time::calls(), sizes in prop::collection::vec(1usize..5, 1..4),
    ) {
        let grouping = grouping(&["k"], 1, &calls, Emit::Closed);
        let harness = OperatorHarness::new(|| ByRow(SessionAggregate::new(&grouping).unwrap()));
        let outcome = harness.rescaled(&batches(&steps), group_of_key, &sizes);
        let model = append_model(&steps, &["k"], 1, &calls);
        prop_assert_eq!((outcome.rows, outcome.late_rows), model);
    }
}

#[test]
fn many_sessions_that_are_over_together_go_in_slices() {
    let grouping = grouping(&["v"], 1, &[0, 5], Emit::Closed);
    let (mut operator, mut output) =
        (SessionAggregate::new(&grouping).unwrap(), Output::with_limit(usize::MAX));
    // Each session has grown since its timer was set.
    for t in [5, 8] {
        let rows: Vec<Row> =
            (0..10_000).map(|v| Row { k: None, t: Some(t), v: Some(v), gap: Some(4) }).collect();
        operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
    }
    let mut emitted = 0;
    loop {
        let progress = operator.watermark(Timestamp(12), &mut output).unwrap();
        let slice = drain(&mut output).len();
        assert!(slice <= FIRINGS_PER_CALL, "{slice} rows in one call");
        emitted += slice;
        if progress == Progress::Done {
            break;
        }
    }
    assert_eq!(emitted, 10_000);
}

#[test]
fn sessions_that_come_and_go_or_merge_leave_nothing_behind() {
    let grouping = grouping(&["k"], 0, &[0, 5], Emit::Closed);
    let (mut operator, mut output) =
        (SessionAggregate::new(&grouping).unwrap(), Output::with_limit(usize::MAX));
    let (mut stored, mut chunks, mut emitted) = (Stored::default(), BTreeSet::new(), Vec::new());
    for round in 0..300 {
        // Two sessions of each key, and a row between them that joins them.
        for t in [0, 8, 4] {
            let row = |k| Row { k: Some(k), t: Some(round * 100 + t), v: Some(t), gap: Some(4) };
            let rows: Vec<Row> = (0..5).map(row).collect();
            operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
        }
        while operator.watermark(Timestamp(round * 100 + 12), &mut output).unwrap() == Progress::Again {}
        let snapshot = operator.snapshot().unwrap();
        chunks.extend(snapshot.tables[0].chunks.iter().map(|(number, _)| *number));
        stored.store(&snapshot);
        emitted.extend(drain(&mut output));
    }
    assert_eq!((emitted.len(), chunks.len()), (1500, 1), "five sessions at a time had places in one page");
    assert!(emitted.iter().all(|row| row[2..] == ["3", "4"]), "the count and the median of three rows");
    let mut next = SessionAggregate::new(&grouping).unwrap();
    let image = stored.image();
    next.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
    assert!(format!("{next:?}").ends_with(" 0 sessions)"), "{next:?}");
}

/// One row with event time in nanoseconds and an interval of months, days and nanoseconds after it.
fn with_interval(months: i32, nanos: i64) -> (SessionGrouping, RecordBatch) {
    let interval = IntervalMonthDayNano::new(months, 0, nanos);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("t", Arc::new(TimestampNanosecondArray::from(vec![1_000_001]).with_timezone("UTC"))),
        ("gap", Arc::new(IntervalMonthDayNanoArray::from(vec![interval]))),
        ("v", Arc::new(Int64Array::from(vec![7]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let time = |name| Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), true);
    let session = Field::new("s", DataType::Struct(vec![time("start"), time("end")].into()), true);
    let grouping = SessionGrouping {
        event_time: col("t", &rows.schema()).unwrap(),
        gap: col("gap", &rows.schema()).unwrap(),
        input: rows.schema(),
        output: Arc::new(Schema::new(vec![session])),
        ..grouping(&[], 0, &[], Emit::Closed)
    };
    (grouping, rows)
}

#[test]
fn nanoseconds_are_kept_and_a_session_is_over_when_no_part_of_it_is_left() {
    let (grouping, rows) = with_interval(0, 2_000);
    let (mut operator, mut output) = (SessionAggregate::new(&grouping).unwrap(), Output::default());
    operator.process(&mut TableBatch::from(rows), &mut output).unwrap();
    assert_eq!(operator.watermark(Timestamp(1_002), &mut output).unwrap(), Progress::Done);
    assert_eq!(drain(&mut output), Vec::<Vec<String>>::new());
    assert_eq!(operator.watermark(Timestamp(1_003), &mut output).unwrap(), Progress::Done);
    let expected = "{start: 1970-01-01T00:00:00.001000001Z, end: 1970-01-01T00:00:00.001002001Z}";
    assert_eq!(drain(&mut output), [[expected]]);
}

#[test]
fn what_no_session_can_be_made_of_is_refused() {
    let (months, rows) = with_interval(1, 0);
    let mut operator = SessionAggregate::new(&months).unwrap();
    let error =
        operator.process(&mut TableBatch::from(rows), &mut Output::default()).unwrap_err().to_string();
    assert!(error.contains("months"), "{error}");
    let good = || grouping(&["k"], 0, &[0], Emit::Closed);
    let error = |grouping: SessionGrouping| SessionAggregate::new(&grouping).unwrap_err().to_string();
    assert!(error(SessionGrouping { emit: Emit::Update, ..good() }).contains("append or complete"));
    assert!(error(SessionGrouping { event_time: column("v"), ..good() }).contains("`v@3` is Int64"));
    assert!(error(SessionGrouping { gap: column("v"), ..good() }).contains("must be an interval"));
    assert!(error(SessionGrouping { session: 1, ..good() }).contains("`start` and `end`"));
    let mut stored = Stored::default();
    stored.store(&SessionAggregate::new(&good()).unwrap().snapshot().unwrap());
    let image = stored.image();
    let mut other = SessionAggregate::new(&grouping(&["k"], 0, &[1], Emit::Closed)).unwrap();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    let error = other.restore(restore, &mut Output::default()).unwrap_err().to_string();
    assert!(error.contains("count(Int64)") && error.contains("sum(Int64)"), "{error}");
}

#[test]
fn a_constant_gap_is_an_expression_too() {
    let gap = lit(ScalarValue::DurationMicrosecond(Some(10)));
    let grouping = SessionGrouping { gap, ..grouping(&["k"], 1, &[0], Emit::Final) };
    let (mut operator, mut output) = (SessionAggregate::new(&grouping).unwrap(), Output::default());
    let rows = [0, 10, 21].map(|t| Row { k: Some(1), t: Some(t), v: None, gap: None });
    operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
    assert_eq!(operator.finish(&mut output).unwrap(), Progress::Done);
    let counts: Vec<_> = drain(&mut output).into_iter().map(|row| row[1..].to_vec()).collect();
    assert_eq!(counts, [[window_text(0, 20), "2".into()], [window_text(21, 31), "1".into()]]);
}
