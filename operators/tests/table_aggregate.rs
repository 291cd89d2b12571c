//! Grouped aggregation against DataFusion's own accumulators, which get all rows of a group at once.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_data;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{SortOptions, filter_record_batch};
use arrow::datatypes::{Field, Schema};
use datafusion_common::ScalarValue;
use datafusion_expr::AggregateUDF;
use datafusion_functions_aggregate::{
    array_agg, average, bool_and_or, count, first_last, median, min_max, stddev, string_agg, sum,
};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::lit;
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};
use lotic_operators::table::{
    AggregateCall, Emit, GroupedAggregate, Grouping, TableBatch, TableBuilder, partition_by,
};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, Stored, rows_as_text};
use lotic_operators::{Batch, Emitted, Instance, Operator, Output, Progress, Restore};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use table_data::{Row, batch, column, events, rows_and_markers, schema};

/// How a call differs from the plain one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Plain,
    Distinct,
    Filter,
    OrderBy,
}

const CALLS: &[(&str, &str, How)] = &[
    ("count", "1", How::Plain),
    ("count", "v", How::Plain),
    ("count", "kd", How::Filter),
    ("sum", "v", How::Plain),
    ("sum", "f", How::Plain),
    ("sum", "d", How::Filter),
    ("avg", "f", How::Plain),
    ("avg", "d", How::Plain),
    ("min", "v", How::Plain),
    ("max", "f", How::Plain),
    ("min", "f", How::Filter),
    ("max", "d", How::Plain),
    ("max", "t", How::Plain),
    ("min", "g", How::Plain),
    ("min", "s", How::Plain),
    ("max", "b", How::Plain),
    ("count", "v", How::Distinct),
    ("sum", "v", How::Distinct),
    ("median", "f", How::Plain),
    ("stddev", "f", How::Filter),
    ("array_agg", "t", How::Plain),
    ("array_agg", "s", How::OrderBy),
    ("first_value", "s", How::OrderBy),
    ("bool_and", "b", How::Filter),
    ("string_agg", "s", How::Plain),
];

fn function(name: &str) -> Arc<AggregateUDF> {
    match name {
        "count" => count::count_udaf(),
        "sum" => sum::sum_udaf(),
        "avg" => average::avg_udaf(),
        "min" => min_max::min_udaf(),
        "max" => min_max::max_udaf(),
        "median" => median::median_udaf(),
        "stddev" => stddev::stddev_udaf(),
        "array_agg" => array_agg::array_agg_udaf(),
        "first_value" => first_last::first_value_udaf(),
        "bool_and" => bool_and_or::bool_and_udaf(),
        "string_agg" => string_agg::string_agg_udaf(),
        other => panic!("{other}"),
    }
}

fn call(number: usize) -> AggregateCall {
    let (name, argument, how) = CALLS[number];
    let mut arguments = vec![if argument == "1" { lit(1i64) } else { column(argument) }];
    if name == "string_agg" {
        arguments.push(lit(","));
    }
    let order = |name| PhysicalSortExpr { expr: column(name), options: SortOptions::default() };
    let mut builder = AggregateExprBuilder::new(function(name), arguments)
        .schema(schema())
        .alias(format!("{name}{number}"))
        .with_distinct(how == How::Distinct);
    if how == How::OrderBy {
        // Rows that are equal in `v` and `t` are equal in `s`.
        builder = builder.order_by(vec![order("v"), order("t")]);
    }
    let filter = (how == How::Filter).then(|| column("b"));
    AggregateCall { function: Arc::new(builder.build().unwrap()), filter, input: schema() }
}

fn grouping(keys: &[&str], calls: &[usize], emit: Emit) -> Grouping {
    let input = schema();
    let aggregates: Vec<AggregateCall> = calls.iter().map(|number| call(*number)).collect();
    let mut fields: Vec<Field> = keys.iter().map(|key| input.field_with_name(key).unwrap().clone()).collect();
    fields.extend(aggregates.iter().map(|call| call.function.field().as_ref().clone()));
    Grouping {
        keys: keys.iter().map(|key| column(key)).collect(),
        aggregates,
        input,
        output: Arc::new(Schema::new(fields)),
        emit,
        over: None,
    }
}

/// The text of a row's key; zeros are positive.
fn key_of(row: &Row, keys: &[&str]) -> Vec<String> {
    let row = Row { g: row.g.map(|g| g + 0.0), ..row.clone() };
    let text = &rows_as_text(&batch(&[row]))[0];
    keys.iter().map(|key| text[schema().index_of(key).unwrap()].clone()).collect()
}

/// The result over all rows at once: each group once, sorted.
fn reference(rows: &[Row], keys: &[&str], calls: &[usize]) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<Vec<String>, Vec<Row>> = BTreeMap::new();
    if keys.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    for row in rows {
        groups.entry(key_of(row, keys)).or_default().push(row.clone());
    }
    let result = |(mut text, rows): (Vec<String>, Vec<Row>)| {
        text.extend(calls.iter().map(|&number| aggregate(&batch(&rows), &call(number))));
        text
    };
    groups.into_iter().map(result).collect()
}

fn aggregate(rows: &RecordBatch, call: &AggregateCall) -> String {
    let rows = match &call.filter {
        Some(filter) => {
            let mask = filter.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap();
            filter_record_batch(rows, mask.as_boolean()).unwrap()
        }
        None => rows.clone(),
    };
    let mut accumulator = call.function.create_accumulator().unwrap();
    let mut arguments = call.function.expressions();
    arguments.extend(call.function.order_bys().iter().map(|order| Arc::clone(&order.expr)));
    let column = |argument: &Arc<dyn PhysicalExpr>| {
        argument.evaluate(&rows).unwrap().into_array(rows.num_rows()).unwrap()
    };
    let arguments: Vec<_> = arguments.iter().map(column).collect();
    if rows.num_rows() > 0 {
        accumulator.update_batch(&arguments).unwrap();
    }
    let value: ScalarValue = accumulator.evaluate().unwrap();
    let field = Field::new("x", value.data_type(), true);
    let one =
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![value.to_array().unwrap()]).unwrap();
    rows_as_text(&one)[0][0].clone()
}

fn keys() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["k", "kd", "kv", "g", "b"], 0..=3)
}

fn calls() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence((0..CALLS.len()).collect::<Vec<_>>(), 0..=5)
}

fn rows_of(steps: &[Option<Row>]) -> Vec<Row> {
    steps.iter().flatten().cloned().collect()
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

/// Runs one call until it is done and returns what was emitted.
fn emitted(
    output: &mut Output<TableBatch>,
    mut call: impl FnMut(&mut Output<TableBatch>) -> Progress,
) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    loop {
        let progress = call(output);
        while let Some(Emitted::Batch(batch)) = output.take() {
            rows.extend(rows_as_text(batch.rows_left()));
        }
        if progress == Progress::Done {
            return rows;
        }
    }
}

fn process(
    operator: &mut GroupedAggregate,
    rows: &[Row],
    output: &mut Output<TableBatch>,
) -> Vec<Vec<String>> {
    let mut input = TableBatch::from(batch(rows));
    emitted(output, |output| {
        operator.process(&mut input, output).unwrap();
        if input.rows() == 0 { Progress::Done } else { Progress::Again }
    })
}

/// Stores a snapshot of the operator and returns a new one restored from all that was stored.
fn restarted(operator: &mut GroupedAggregate, stored: &mut Stored, grouping: &Grouping) -> GroupedAggregate {
    stored.store(&operator.snapshot().unwrap());
    let mut next = GroupedAggregate::new(grouping).unwrap();
    let image = stored.image();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    next.restore(restore, &mut Output::default()).unwrap();
    next
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_result_at_the_end_is_that_of_all_rows_at_once(
        steps in rows_and_markers(30), keys in keys(), calls in calls(),
    ) {
        let grouping = grouping(&keys, &calls, Emit::Final);
        if grouping.output.fields().is_empty() {
            return Ok(());
        }
        let harness = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping).unwrap())).unordered();
        let got = sorted(harness.run(&events(&steps)));
        prop_assert_eq!(got, reference(&rows_of(&steps), &keys, &calls));
    }

    #[test]
    fn complete_mode_gives_all_groups_in_each_epoch_with_a_change(
        steps in rows_and_markers(30), keys in keys(), calls in calls(),
    ) {
        let grouping = grouping(&keys, &calls, Emit::Complete);
        if grouping.output.fields().is_empty() {
            return Ok(());
        }
        let harness = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping).unwrap())).unordered();
        let got = sorted(harness.run(&events(&steps)));
        let (mut expected, mut sofar) = (Vec::new(), Vec::new());
        for (epoch, rows) in steps.split(Option::is_none).enumerate() {
            sofar.extend(rows_of(rows));
            if !rows.is_empty() || (epoch == 0 && keys.is_empty()) {
                expected.extend(reference(&sofar, &keys, &calls));
            }
        }
        prop_assert_eq!(got, sorted(expected));
    }

    #[test]
    fn a_micro_batch_gives_each_group_it_changed_once_however_its_rows_were_cut(
        steps in rows_and_markers(40), keys in keys(), calls in calls(),
        batch_rows in 1usize..9, output_rows in 1usize..4,
    ) {
        let grouping = grouping(&keys, &calls, Emit::Update);
        if grouping.output.fields().is_empty() {
            return Ok(());
        }
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(output_rows));
        output.set_by_epoch(true);
        let mut sofar: Vec<Row> = Vec::new();
        for (epoch, rows) in steps.split(Option::is_none).enumerate() {
            let rows = rows_of(rows);
            for rows in rows.chunks(batch_rows) {
                let early = process(&mut operator, rows, &mut output);
                prop_assert!(early.is_empty(), "before the end of the epoch: {early:?}");
            }
            sofar.extend_from_slice(&rows);
            let touched: Vec<_> = rows.iter().map(|row| key_of(row, &keys)).collect();
            let mut expected = reference(&sofar, &keys, &calls);
            let begins = epoch == 0 && keys.is_empty();
            expected.retain(|row| begins || touched.iter().any(|key| row.starts_with(key)));
            let got = emitted(&mut output, |output| operator.end_epoch(output).unwrap());
            prop_assert_eq!(sorted(got), expected);
            operator = restarted(&mut operator, &mut stored, &grouping);
        }
    }

    /// With an output that never refuses, each batch gives each group that it touches once, as it then is.
    #[test]
    fn update_mode_gives_the_groups_of_a_batch_as_they_are_after_it(
        steps in rows_and_markers(40), keys in keys(), calls in calls(), batch_rows in 1usize..9,
    ) {
        let grouping = grouping(&keys, &calls, Emit::Update);
        if grouping.output.fields().is_empty() {
            return Ok(());
        }
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(usize::MAX));
        let mut sofar: Vec<Row> = Vec::new();
        for rows in steps.split(Option::is_none) {
            for rows in rows_of(rows).chunks(batch_rows) {
                sofar.extend_from_slice(rows);
                let touched: Vec<_> = rows.iter().map(|row| key_of(row, &keys)).collect();
                let mut expected = reference(&sofar, &keys, &calls);
                expected.retain(|row| touched.iter().any(|key| row.starts_with(key)));
                prop_assert_eq!(sorted(process(&mut operator, rows, &mut output)), expected);
            }
            operator = restarted(&mut operator, &mut stored, &grouping);
        }
        let at_the_end = emitted(&mut output, |output| operator.end_epoch(output).unwrap());
        let missing = if sofar.is_empty() && keys.is_empty() { 1 } else { 0 };
        prop_assert_eq!(at_the_end.len(), missing, "the one row of an empty input");
    }

    /// Whatever the batches and refusals, the last value of each group is its result.
    #[test]
    fn the_last_update_of_a_group_is_its_result(
        steps in rows_and_markers(40), keys in keys(), calls in calls(),
        batch_rows in 1usize..9, output_rows in 1usize..4,
    ) {
        let grouping = grouping(&keys, &calls, Emit::Update);
        if grouping.output.fields().is_empty() {
            return Ok(());
        }
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(output_rows));
        let mut last = BTreeMap::new();
        for rows in steps.split(Option::is_none) {
            for rows in rows_of(rows).chunks(batch_rows) {
                for row in process(&mut operator, rows, &mut output) {
                    last.insert(row[..keys.len()].to_vec(), row);
                }
            }
            operator = restarted(&mut operator, &mut stored, &grouping);
        }
        for row in emitted(&mut output, |output| operator.end_epoch(output).unwrap()) {
            last.insert(row[..keys.len()].to_vec(), row);
        }
        prop_assert_eq!(last.into_values().collect::<Vec<_>>(), reference(&rows_of(&steps), &keys, &calls));
    }

    #[test]
    fn distinct_gives_each_key_once_when_it_is_first_seen(steps in rows_and_markers(40), keys in keys()) {
        prop_assume!(!keys.is_empty());
        let grouping = grouping(&keys, &[], Emit::New);
        let harness = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping).unwrap()));
        let mut expected: Vec<Vec<String>> = Vec::new();
        for row in rows_of(&steps) {
            let key = key_of(&row, &keys);
            if !expected.contains(&key) {
                expected.push(key);
            }
        }
        prop_assert_eq!(harness.run(&events(&steps)), expected);
    }

    /// Rows go to the instance that keeps their group, also when the number of instances changes.
    #[test]
    fn instances_share_the_groups(
        steps in rows_and_markers(60), keys in keys(), calls in calls(), sizes in prop::collection::vec(1usize..5, 1..4),
    ) {
        prop_assume!(!keys.is_empty());
        let grouping = grouping(&keys, &calls, Emit::Final);
        let partition = partition_by(grouping.keys.clone(), &grouping.input).unwrap();
        let mut stored: Vec<Stored> = Vec::new();
        let mut sizes = sizes.into_iter().cycle();
        let mut result = Vec::new();
        for rows in steps.split(Option::is_none) {
            let size = sizes.next().unwrap();
            let mut split = partition();
            let mut parts: Vec<TableBuilder> = (0..size).map(|_| TableBuilder::default()).collect();
            split(&mut TableBatch::from(batch(&rows_of(rows))), &mut parts);
            let image = Stored::image_of(&stored);
            stored.clear();
            result.clear();
            for (index, part) in parts.iter_mut().enumerate() {
                let mut operator = GroupedAggregate::new(&grouping).unwrap();
                let mut output = Output::with_limit(3);
                let restore = Restore { image: &image, instance: Instance { index, parallelism: size } };
                operator.restore(restore, &mut output).unwrap();
                if let Some(mut rows) = TableBatch::seal(part) {
                    operator.process(&mut rows, &mut output).unwrap();
                }
                let mut own = Stored::default();
                own.store(&operator.snapshot().unwrap());
                stored.push(own);
                result.extend(emitted(&mut output, |output| operator.finish(output).unwrap()));
            }
        }
        prop_assert_eq!(rounded(sorted(result)), rounded(reference(&rows_of(&steps), &keys, &calls)));
    }
}

/// Without the last digits of fractions: an accumulator that is rebuilt from its state merges, which rounds in another
/// order.
fn rounded(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let round = |text: String| match text.parse::<f64>() {
        Ok(number) if text.len() > 15 => format!("{number:.10e}"),
        _ => text,
    };
    rows.into_iter().map(|row| row.into_iter().map(round).collect()).collect()
}

/// A row of one of some hundred groups by two numbers, and what it adds.
fn row_of_many() -> impl Strategy<Value = Row> {
    let key = || prop::option::weighted(0.95, 0i64..25);
    (key(), key(), prop::option::weighted(0.9, -9i32..10)).prop_map(|(v, t, f)| Row {
        v,
        t,
        f: f.map(f64::from),
        ..one(0)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Batches are larger than what is looked up at once, and groups more than a page of state holds.
    #[test]
    fn many_groups_by_numbers_are_those_of_a_map_over_markers_and_restarts(
        batches in prop::collection::vec((prop::collection::vec(row_of_many(), 0..400), 0..3u8), 1..8),
    ) {
        let grouping = grouping(&["v", "t"], &[0, 4, 7], Emit::Final);
        let grouping = Grouping { keys: vec![column("v"), column("t")], ..grouping };
        let mut operator = GroupedAggregate::new(&grouping).unwrap();
        let (mut stored, mut output) = (Stored::default(), Output::with_limit(usize::MAX));
        let mut expected: BTreeMap<(Option<i64>, Option<i64>), (u64, Option<f64>)> = BTreeMap::new();
        for (rows, then) in batches {
            process(&mut operator, &rows, &mut output);
            for row in rows {
                let (count, sum) = expected.entry((row.v, row.t)).or_default();
                *count += 1;
                *sum = row.f.map(|f| sum.unwrap_or(0.0) + f).or(*sum);
            }
            match then {
                0 => {}
                1 => stored.store(&operator.snapshot().unwrap()),
                _ => operator = restarted(&mut operator, &mut stored, &grouping),
            }
        }
        let got = emitted(&mut output, |output| operator.finish(output).unwrap());
        let number = |text: &String| text.parse::<f64>().ok();
        let mut results = BTreeMap::new();
        // The times are told by their text, which the same rows have as a batch.
        let texts: BTreeMap<String, i64> = (0..25)
            .map(|t| (rows_as_text(&batch(&[Row { t: Some(t), ..one(0) }]))[0][8].clone(), t))
            .collect();
        for row in &got {
            let key = (number(&row[0]).map(|v| v as i64), texts.get(&row[1]).copied());
            let result = (row[2].parse::<u64>().unwrap(), number(&row[3]));
            prop_assert!(results.insert(key, result).is_none(), "{key:?} came twice");
        }
        prop_assert_eq!(results, expected);
    }
}

fn one(k: u8) -> Row {
    Row { k: Some(k), g: None, v: Some(1), f: Some(1.0), d: Some(1), t: Some(1), b: Some(true) }
}

#[test]
fn a_marker_costs_what_changed() {
    let all: Vec<usize> = (0..CALLS.len()).collect();
    let grouping = Grouping { keys: vec![column("v")], ..grouping(&["v"], &all, Emit::Update) };
    let mut operator = GroupedAggregate::new(&grouping).unwrap();
    let mut output = Output::with_limit(usize::MAX);
    let rows: Vec<Row> = (0..1000).map(|v| Row { v: Some(v), ..one(0) }).collect();
    process(&mut operator, &rows, &mut output);
    let groups = |operator: &mut GroupedAggregate| operator.snapshot().unwrap().tables[0].chunks.len();
    assert_eq!(groups(&mut operator), 1000usize.div_ceil(64));
    assert_eq!(groups(&mut operator), 0);
    process(&mut operator, &rows[500..501], &mut output);
    assert_eq!(groups(&mut operator), 1);
}

#[test]
fn more_groups_than_may_be_behind_their_aggregates_are_all_restored() {
    // So many that some are brought up to date before the marker, and change again after that.
    const GROUPS: i64 = 70_000;
    let grouping = grouping(&["v"], &[0, 4], Emit::Final);
    let mut operator = GroupedAggregate::new(&grouping).unwrap();
    let (mut stored, mut output) = (Stored::default(), Output::with_limit(usize::MAX));
    let rows: Vec<Row> = (0..GROUPS).map(|v| Row { v: Some(v), ..one(0) }).collect();
    for some in rows.chunks(5000).chain(rows[..10_000].chunks(300)) {
        process(&mut operator, some, &mut output);
    }
    let mut operator = restarted(&mut operator, &mut stored, &grouping);
    process(&mut operator, &rows[..20_000], &mut output);
    let got = emitted(&mut output, |output| operator.finish(output).unwrap());
    assert_eq!(got.len(), GROUPS as usize);
    for row in got {
        let group: i64 = row[0].parse().unwrap();
        let times = 1 + i64::from(group < 10_000) + i64::from(group < 20_000);
        assert_eq!(row[1..], [times.to_string(), format!("{times}.0")], "group {group}");
    }
}

#[test]
fn the_state_of_another_aggregation_is_refused_with_what_differs() {
    let before = grouping(&["k"], &[3], Emit::Update);
    let mut operator = GroupedAggregate::new(&before).unwrap();
    process(&mut operator, &[one(1)], &mut Output::default());
    let mut stored = Stored::default();
    stored.store(&operator.snapshot().unwrap());
    let image = stored.image();
    let mut other = GroupedAggregate::new(&grouping(&["k"], &[6], Emit::Update)).unwrap();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    let error = other.restore(restore, &mut Output::default()).unwrap_err().to_string();
    assert!(error.contains("sum(Int64)") && error.contains("avg(Float64)"), "{error}");
}

#[test]
fn groups_with_aggregates_are_not_emitted_as_distinct() {
    let error = GroupedAggregate::new(&grouping(&["k"], &[0], Emit::New)).unwrap_err().to_string();
    assert!(error.contains("only when they are new"), "{error}");
}

#[test]
fn watermarks_pass_through() {
    let grouping = grouping(&["k"], &[0], Emit::Final);
    let harness = OperatorHarness::new(|| ByRow(GroupedAggregate::new(&grouping).unwrap()));
    let time = lotic_operators::Timestamp(7);
    let outcome = harness.outcome(&[Event::Row(batch(&[one(1)])), Event::Watermark(time), Event::Marker]);
    assert_eq!((outcome.rows, outcome.watermark), (vec![vec!["a".to_owned(), "1".to_owned()]], time));
}
