//! Groups that are over, DISTINCT and the watermark of a table, against a slow model that keeps all rows.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "its rows are of another type")]
mod common;
mod table_time;

use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::col;
use lotic_operators::limits::FIRINGS_PER_CALL;
use lotic_operators::table::{
    AssignWatermark, Emit, GroupedAggregate, Grouping, TableBatch, TableBuilder, partition_by,
};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, Outcome, Stored};
use lotic_operators::{Batch, Emitted, Instance, Operator, Output, Progress, Restore, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use table_time::{
    Row, aggregate, batch, batches, call, column, drain, output, rows_of, schema, sorted, steps, texts,
};

fn grouping(keys: &[&str], calls: &[usize], emit: Emit) -> Grouping {
    let input = schema();
    let aggregates: Vec<_> = calls.iter().map(|number| call(*number)).collect();
    let fields = keys.iter().map(|key| input.field_with_name(key).unwrap().clone()).collect();
    Grouping {
        keys: keys.iter().map(|key| column(key)).collect(),
        output: output(fields, &aggregates),
        aggregates,
        input,
        emit,
        over: keys.iter().position(|key| *key == "w" || *key == "t"),
    }
}

/// When the group of a row is over.
fn over(row: &Row, keys: &[&str]) -> Option<i64> {
    let time = row.t?;
    Some(if keys.contains(&"w") { table_time::start_of(time) + table_time::SIZE } else { time })
}

/// The model: all rows of each group, each in order of arrival.
struct Model<'a> {
    keys: &'a [&'a str],
    calls: &'a [usize],
    groups: BTreeMap<Vec<String>, Vec<Row>>,
    watermark: Timestamp,
    late: u64,
}

impl<'a> Model<'a> {
    fn new(keys: &'a [&'a str], calls: &'a [usize]) -> Self {
        Model { keys, calls, groups: BTreeMap::new(), watermark: Timestamp::MIN, late: 0 }
    }

    /// Takes a row in, unless it is late; returns its key.
    fn row(&mut self, row: &Row) -> Option<Vec<String>> {
        if table_time::reached(self.watermark, over(row, self.keys)) {
            self.late += 1;
            return None;
        }
        let key = texts(row, self.keys);
        self.groups.entry(key.clone()).or_default().push(row.clone());
        Some(key)
    }

    fn result(&self, key: &[String]) -> Vec<String> {
        let results = self.calls.iter().map(|number| aggregate(&self.groups[key], &call(*number)));
        key.iter().cloned().chain(results).collect()
    }

    /// Moves the watermark and takes out what is over.
    fn watermark(&mut self, watermark: Timestamp) -> Vec<(Vec<String>, Vec<String>)> {
        self.watermark = watermark;
        let is_over = |rows: &Vec<Row>| table_time::reached(watermark, over(&rows[0], self.keys));
        let closed: Vec<_> =
            self.groups.iter().filter(|(_, rows)| is_over(rows)).map(|(k, _)| k.clone()).collect();
        let closed: Vec<_> = closed.into_iter().map(|key| (key.clone(), self.result(&key))).collect();
        closed.iter().for_each(|(key, _)| drop(self.groups.remove(key)));
        closed
    }
}

fn append_model(steps: &[Event<Row>], keys: &[&str], calls: &[usize]) -> (Vec<Vec<String>>, u64) {
    let mut model = Model::new(keys, calls);
    let mut emitted = Vec::new();
    for step in steps {
        match step {
            Event::Row(row) => drop(model.row(row)),
            Event::Watermark(time) => emitted.extend(model.watermark(*time).into_iter().map(|(_, row)| row)),
            _ => {}
        }
    }
    emitted.extend(model.groups.keys().map(|key| model.result(key)));
    (sorted(emitted), model.late)
}

fn keys() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::select(vec![vec!["w"], vec!["k", "w"], vec!["t", "k"], vec!["w", "k", "v"]])
}

fn comparable(outcome: Outcome<Vec<String>>) -> (Vec<Vec<String>>, u64) {
    (sorted(outcome.rows), outcome.late_rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn append_mode_emits_a_group_once_when_it_is_over_and_drops_what_comes_later(
        steps in steps(50), keys in keys(), calls in table_time::calls(),
    ) {
        let grouping = grouping(&keys, &calls, Emit::Closed);
        let harness = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping).unwrap())).unordered();
        let got = comparable(harness.outcome(&batches(&steps)));
        prop_assert_eq!(got, append_model(&steps, &keys, &calls));
    }

    /// The end of the input makes the batch answer of what was not late.
    #[test]
    fn without_late_rows_append_mode_comes_to_what_all_rows_at_once_do(
        steps in steps(50), keys in keys(), calls in table_time::calls(),
    ) {
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Event::Watermark(_))).collect();
        let got = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping(&keys, &calls, Emit::Closed)).unwrap()));
        let batch = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping(&keys, &calls, Emit::Final)).unwrap()));
        prop_assert_eq!(
            comparable(got.unordered().outcome(&batches(&steps))),
            comparable(batch.unordered().outcome(&batches(&steps))),
        );
    }

    #[test]
    fn append_mode_comes_to_the_same_when_the_number_of_instances_changes(
        steps in steps(80), calls in table_time::calls(), sizes in prop::collection::vec(1usize..5, 1..4),
    ) {
        let keys = ["k", "w"];
        let grouping = grouping(&keys, &calls, Emit::Closed);
        let got = rescaled(&steps, &grouping, &sizes);
        prop_assert_eq!(got, append_model(&steps, &keys, &calls));
    }

    /// Also those that the watermark takes away within the epoch.
    #[test]
    fn a_micro_batch_gives_each_group_it_changed_once_and_forgets_what_is_over(
        steps in steps(50), keys in keys(), calls in table_time::calls(), limit in 1usize..4,
    ) {
        let grouping = grouping(&keys, &calls, Emit::Update);
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(limit));
        output.set_by_epoch(true);
        let mut model = Model::new(&keys, &calls);
        let (mut got, mut expected, mut changed) = (Vec::new(), Vec::new(), BTreeSet::new());
        for step in steps.iter().chain([&Event::Marker]) {
            match step {
                Event::Row(row) => {
                    changed.extend(model.row(row));
                    operator.process(&mut TableBatch::from(batch(std::slice::from_ref(row))), &mut output).unwrap();
                }
                Event::Watermark(time) => {
                    let closed = model.watermark(*time);
                    expected.extend(closed.into_iter().filter(|(key, _)| changed.remove(key)).map(|(_, row)| row));
                    while operator.watermark(*time, &mut output).unwrap() == Progress::Again {
                        got.extend(drain(&mut output));
                    }
                }
                Event::Marker => {
                    expected.extend(std::mem::take(&mut changed).iter().map(|key| model.result(key)));
                    while operator.end_epoch(&mut output).unwrap() == Progress::Again {
                        got.extend(drain(&mut output));
                    }
                    stored.store(&operator.snapshot().unwrap());
                    operator = GroupedAggregate::new(&grouping).unwrap();
                    let image = stored.image();
                    operator.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
                    got.extend(drain(&mut output));
                    let _ = operator.watermark(model.watermark, &mut output).unwrap();
                }
                _ => {}
            }
            got.extend(drain(&mut output));
        }
        prop_assert_eq!((sorted(got), output.take_late()), (sorted(expected), model.late));
    }

    #[test]
    fn update_mode_gives_each_change_and_forgets_what_is_over(
        steps in steps(50), keys in keys(), calls in table_time::calls(), restarts in any::<bool>(),
    ) {
        let grouping = grouping(&keys, &calls, Emit::Update);
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(usize::MAX));
        let mut model = Model::new(&keys, &calls);
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        for step in &steps {
            match step {
                Event::Row(row) => {
                    operator.process(&mut TableBatch::from(batch(std::slice::from_ref(row))), &mut output).unwrap();
                    expected.extend(model.row(row).map(|key| model.result(&key)));
                }
                Event::Watermark(time) => {
                    model.watermark(*time);
                    while operator.watermark(*time, &mut output).unwrap() == Progress::Again {}
                }
                Event::Marker if restarts => {
                    stored.store(&operator.snapshot().unwrap());
                    operator = GroupedAggregate::new(&grouping).unwrap();
                    let image = stored.image();
                    operator.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
                    let _ = operator.watermark(model.watermark, &mut output).unwrap();
                }
                _ => {}
            }
            got.extend(drain(&mut output));
        }
        prop_assert_eq!((got, output.take_late()), (expected, model.late));
        let held = format!(" {} groups)", model.groups.len());
        prop_assert!(format!("{operator:?}").ends_with(&held), "{operator:?} and not{held}");
    }

    #[test]
    fn distinct_forgets_what_is_over(steps in steps(60), keys in keys()) {
        let grouping = grouping(&keys, &[], Emit::New);
        let harness = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping).unwrap()));
        let mut model = Model::new(&keys, &[]);
        let mut expected = Vec::new();
        for step in &steps {
            match step {
                Event::Row(row) => {
                    let key = model.row(row);
                    expected.extend(key.filter(|key| model.groups[key].len() == 1));
                }
                Event::Watermark(time) => drop(model.watermark(*time)),
                _ => {}
            }
        }
        let outcome = harness.outcome(&batches(&steps));
        prop_assert_eq!((outcome.rows, outcome.late_rows), (expected, model.late));
    }

    #[test]
    fn the_watermark_is_the_largest_time_less_the_delay(steps in steps(60), delay in 0i64..30) {
        let make = || AssignWatermark::new(column("t"), Duration::from_micros(delay as u64));
        let rows = rows_of(&steps);
        // With batches of one row the whole course of the watermark shows.
        let (mut operator, mut output) = (make(), Output::with_limit(usize::MAX));
        let (mut largest, mut promised) = (None, None);
        for row in &rows {
            operator.process(&mut TableBatch::from(batch(std::slice::from_ref(row))), &mut output).unwrap();
            let Some(Emitted::Batch(passed)) = output.take() else { panic!("rows pass on first") };
            prop_assert_eq!(passed.rows_left(), &batch(std::slice::from_ref(row)));
            largest = largest.max(row.t);
            let expected = largest.map(|time| time - delay).filter(|time| Some(*time) > promised);
            promised = promised.max(expected);
            let got = output.take().map(|item| match item {
                Emitted::Watermark(time) => time.0,
                Emitted::Batch(_) | Emitted::Idle(_) => panic!("one batch makes one"),
            });
            prop_assert_eq!(got, expected);
        }
        let outcome = OperatorHarness::new(|| ByRow(make())).outcome(&batches(&steps));
        prop_assert_eq!(outcome.rows.len(), rows.len());
        prop_assert_eq!(outcome.watermark, promised.map_or(Timestamp::MIN, Timestamp));
    }
}

/// Runs each epoch in another number of instances, to which rows go by their keys.
fn rescaled(steps: &[Event<Row>], grouping: &Grouping, sizes: &[usize]) -> (Vec<Vec<String>>, u64) {
    let partition = partition_by(grouping.keys.clone(), &grouping.input).unwrap();
    let (mut stored, mut sizes) = (Vec::<Stored>::new(), sizes.iter().copied().cycle());
    let (mut rows, mut output, mut watermark) = (Vec::new(), Output::with_limit(3), Timestamp::MIN);
    let epochs: Vec<_> = steps.split(|step| matches!(step, Event::Marker)).collect();
    for (epoch, steps) in epochs.iter().enumerate() {
        let size = sizes.next().unwrap();
        let image = Stored::image_of(&stored);
        let mut instances: Vec<_> = (0..size).map(|_| GroupedAggregate::new(grouping).unwrap()).collect();
        for (index, operator) in instances.iter_mut().enumerate() {
            operator
                .restore(
                    Restore { image: &image, instance: Instance { index, parallelism: size } },
                    &mut output,
                )
                .unwrap();
        }
        let reach = |instances: &mut Vec<GroupedAggregate>, time, rows: &mut Vec<_>, output: &mut _| {
            for operator in instances {
                while operator.watermark(time, output).unwrap() == Progress::Again {
                    rows.extend(drain(output));
                }
                rows.extend(drain(output));
            }
        };
        reach(&mut instances, watermark, &mut rows, &mut output);
        for step in *steps {
            match step {
                Event::Row(row) => {
                    let mut parts: Vec<TableBuilder> = (0..size).map(|_| TableBuilder::default()).collect();
                    partition()(&mut TableBatch::from(batch(std::slice::from_ref(row))), &mut parts);
                    for (operator, part) in instances.iter_mut().zip(&mut parts) {
                        if let Some(mut part) = TableBatch::seal(part) {
                            operator.process(&mut part, &mut output).unwrap();
                        }
                    }
                }
                Event::Watermark(time) => {
                    watermark = *time;
                    reach(&mut instances, watermark, &mut rows, &mut output);
                }
                _ => {}
            }
        }
        stored = instances
            .iter_mut()
            .map(|operator| {
                let mut own = Stored::default();
                own.store(&operator.snapshot().unwrap());
                own
            })
            .collect();
        if epoch + 1 == epochs.len() {
            reach(&mut instances, Timestamp::MAX, &mut rows, &mut output);
        }
    }
    (sorted(rows), output.take_late())
}

fn row(k: u8, t: i64) -> Row {
    Row { k: Some(k), t: Some(t), v: Some(t), gap: None }
}

#[test]
fn many_groups_that_are_over_together_go_in_slices() {
    for calls in [vec![0, 1], vec![5]] {
        let grouping = Grouping {
            keys: vec![column("v"), column("w")],
            over: Some(1),
            ..grouping(&["v", "w"], &calls, Emit::Closed)
        };
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let mut output = Output::with_limit(usize::MAX);
        let rows: Vec<Row> = (0..10_000).map(|v| Row { v: Some(v), ..row(1, 5) }).collect();
        operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
        let (mut emitted, mut slices) = (0, 0);
        loop {
            let progress = operator.watermark(Timestamp(10), &mut output).unwrap();
            let slice = drain(&mut output).len();
            assert!(slice <= FIRINGS_PER_CALL, "{slice} rows in one call");
            (emitted, slices) = (emitted + slice, slices + 1);
            if progress == Progress::Done {
                break;
            }
        }
        assert_eq!((emitted, slices), (10_000, 10_000 / FIRINGS_PER_CALL + 1));
    }
}

/// The state of groups that are gone leaves the snapshot, and their places are used again.
#[test]
fn windows_that_come_and_go_leave_nothing_behind() {
    for (emit, by_epoch) in [(Emit::Closed, false), (Emit::Update, false), (Emit::Update, true)] {
        let grouping = grouping(&["k", "w"], &[0, 5], emit);
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(usize::MAX));
        output.set_by_epoch(by_epoch);
        let mut chunks = BTreeSet::new();
        for window in 0..200 {
            let rows: Vec<Row> = (0..100).map(|n| row(n as u8 % 4, window * 10 + n % 10)).collect();
            operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
            while operator.watermark(Timestamp(window * 10 + 10), &mut output).unwrap() == Progress::Again {}
            while operator.end_epoch(&mut output).unwrap() == Progress::Again {}
            let snapshot = operator.snapshot().unwrap();
            chunks.extend(snapshot.tables[0].chunks.iter().map(|(number, _)| *number));
            stored.store(&snapshot);
        }
        assert_eq!(chunks.len(), 1, "all groups that ever were, four at a time, had places in one page");
        let mut next = GroupedAggregate::new(&grouping).unwrap();
        let image = stored.image();
        next.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
        assert!(format!("{next:?}").ends_with(" 0 groups)"), "{next:?}");
    }
}

#[test]
fn append_mode_without_event_time_is_refused() {
    let error = |grouping: &Grouping| GroupedAggregate::new(grouping).unwrap_err().to_string();
    let none = error(&grouping(&["k"], &[0], Emit::Closed));
    assert!(none.contains("never over") && none.contains("watermark"), "{none}");
    let other = error(&Grouping { over: Some(0), ..grouping(&["k", "w"], &[0], Emit::Closed) });
    assert!(other.contains("k@0") && other.contains("neither a timestamp nor a window"), "{other}");
    let beyond = error(&Grouping { over: Some(7), ..grouping(&["w"], &[0], Emit::Update) });
    assert!(beyond.contains("no group column 7"), "{beyond}");
}

/// What one operator emits goes into the next as it comes, watermarks too.
fn pass_on(from: &mut Output<TableBatch>, next: &mut GroupedAggregate, output: &mut Output<TableBatch>) {
    while let Some(item) = from.take() {
        match item {
            Emitted::Batch(mut rows) => next.process(&mut rows, output).unwrap(),
            Emitted::Watermark(time) => while next.watermark(time, output).unwrap() == Progress::Again {},
            Emitted::Idle(idle) => next.idle(idle, output).unwrap(),
        }
    }
}

/// Windows of keys, and of these windows the number of keys: nothing that the first emits is late for the second.
#[test]
fn an_aggregation_of_closed_windows_gets_them_before_it_learns_that_they_are_over() {
    let first = grouping(&["k", "w"], &[0], Emit::Closed);
    let windows = Arc::clone(&first.output);
    let count = Grouping {
        keys: vec![col("w", &windows).unwrap()],
        output: table_time::output(vec![windows.field_with_name("w").unwrap().clone()], &[call(0)]),
        input: Arc::clone(&windows),
        over: Some(0),
        ..grouping(&["w"], &[0], Emit::Closed)
    };
    let (mut first, mut second) =
        (GroupedAggregate::new(&first).unwrap(), GroupedAggregate::new(&count).unwrap());
    let (mut between, mut output) = (Output::with_limit(usize::MAX), Output::with_limit(usize::MAX));
    let mut counts = Vec::new();
    for window in 0..20 {
        let rows: Vec<Row> = (0..=window).map(|n| row((n % 4) as u8, window * 10 + n % 10)).collect();
        first.process(&mut TableBatch::from(batch(&rows)), &mut between).unwrap();
        let _ = first.watermark(Timestamp(window * 10 + 10), &mut between).unwrap();
        pass_on(&mut between, &mut second, &mut output);
        counts.extend(drain(&mut output).into_iter().map(|row| row[1].clone()));
    }
    let expected: Vec<String> = (0..20).map(|window: i64| (window + 1).min(4).to_string()).collect();
    assert_eq!((counts, output.take_late()), (expected, 0));
}

#[test]
fn a_group_without_rows_is_over_when_the_input_has_ended() {
    let grouping = grouping(&["k", "w"], &[0], Emit::Closed);
    let always =
        vec![ScalarValue::Utf8(None), ScalarValue::try_from(grouping.output.field(1).data_type()).unwrap()];
    let operator = GroupedAggregate::new(&grouping).unwrap();
    let mut operator = operator.with_always(&[always], Instance::ONLY).unwrap();
    let mut output = Output::default();
    operator.process(&mut TableBatch::from(batch(&[row(1, 5)])), &mut output).unwrap();
    assert_eq!(operator.watermark(Timestamp(1_000), &mut output).unwrap(), Progress::Done);
    assert_eq!(drain(&mut output).len(), 1, "the window");
    for _ in 0..2 {
        assert_eq!(operator.watermark(Timestamp::MAX, &mut output).unwrap(), Progress::Done);
        assert_eq!(operator.finish(&mut output).unwrap(), Progress::Done);
    }
    assert_eq!(drain(&mut output), [["NULL", "NULL", "0"]], "the grand total, once");
}
