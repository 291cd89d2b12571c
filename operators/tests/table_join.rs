//! The stream-static join against a nested loop.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_data;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_expr::Operator as Compare;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, binary};
use lotic_operators::table::{JoinKind, JoinSpec, StaticJoin, StaticTable};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, rows_as_text};
use proptest::prelude::*;
use std::sync::Arc;
use table_data::{Row, batch, column, events, row, rows_and_markers, schema};

const STREAM_COLUMNS: usize = 10;

/// The joined row of both sides, whose columns have the same names; all may be null.
fn joined() -> SchemaRef {
    let fields: Vec<Field> = (0..2)
        .flat_map(|_| schema().fields().iter().map(|f| f.as_ref().clone()).collect::<Vec<_>>())
        .collect();
    Arc::new(Schema::new(fields))
}

/// A row of the stream and whether it has a match.
fn marked() -> SchemaRef {
    let mark = Arc::new(Field::new("mark", DataType::Boolean, false));
    Arc::new(Schema::new(schema().fields().iter().cloned().chain([mark]).collect::<Vec<_>>()))
}

/// `stream.v < table.v` on the joined row.
fn residual(stream_first: bool) -> Arc<dyn PhysicalExpr> {
    let v = schema().index_of("v").unwrap();
    let (stream, table) = if stream_first { (v, v + STREAM_COLUMNS) } else { (v + STREAM_COLUMNS, v) };
    let at = |index| Arc::new(Column::new("v", index)) as Arc<dyn PhysicalExpr>;
    binary(at(stream), Compare::Lt, at(table), &joined()).unwrap()
}

#[derive(Debug, Clone)]
struct Case {
    kind: JoinKind,
    on: Vec<&'static str>,
    residual: bool,
    stream_first: bool,
    null_equals_null: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let kind = prop::sample::select(vec![
        JoinKind::Inner,
        JoinKind::Left,
        JoinKind::Semi,
        JoinKind::Anti,
        JoinKind::Mark,
    ]);
    let on = prop::sample::subsequence(vec!["k", "kd", "kv", "g", "b"], 0..=2);
    (kind, on, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(kind, on, residual, stream_first, null_equals_null)| Case {
            kind,
            on,
            residual,
            stream_first,
            null_equals_null,
        },
    )
}

/// The same text in another column, so that the two sides differ in encoding.
fn on_the_table(name: &'static str) -> &'static str {
    match name {
        "k" => "kd",
        "kd" => "kv",
        "kv" => "k",
        other => other,
    }
}

fn operator(case: &Case, fixed: &[Row]) -> StaticJoin {
    let on: Vec<_> = case.on.iter().map(|name| column(on_the_table(name))).collect();
    let (first, second) = fixed.split_at(fixed.len() / 2);
    let table =
        StaticTable::new(&schema(), &[batch(first), batch(second)], &on, case.null_equals_null).unwrap();
    let spec = JoinSpec {
        kind: case.kind,
        on: case.on.iter().map(|name| column(name)).collect(),
        residual: case.residual.then(|| residual(case.stream_first)),
        stream_first: case.stream_first,
        input: schema(),
        output: match case.kind {
            JoinKind::Inner | JoinKind::Left => joined(),
            JoinKind::Semi | JoinKind::Anti => schema(),
            JoinKind::Mark => marked(),
        },
    };
    StaticJoin::new(table, spec).unwrap()
}

/// Every row with every row.
fn nested_loop(case: &Case, stream: &[Row], fixed: &[Row]) -> Vec<Vec<String>> {
    let zero = |row: &Row| Row { g: row.g.map(|g| g + 0.0), ..row.clone() };
    let text = |row: &Row| rows_as_text(&batch(std::slice::from_ref(row))).remove(0);
    let value = |batch: &RecordBatch, name: &str| {
        let column = batch.column_by_name(name).unwrap();
        (!column.is_null(0)).then(|| rows_as_text(batch)[0][batch.schema().index_of(name).unwrap()].clone())
    };
    let int = |batch: &RecordBatch| {
        let column = batch.column_by_name("v").unwrap().as_primitive::<Int64Type>();
        column.is_valid(0).then(|| column.value(0))
    };
    let nulls = vec!["NULL".to_owned(); STREAM_COLUMNS];
    let mut result = Vec::new();
    for left in stream {
        let key_left = batch(&[zero(left)]);
        let matches = |right: &&Row| {
            let key_right = batch(&[zero(right)]);
            let equal = case.on.iter().all(|name| match (value(&key_left, name), value(&key_right, name)) {
                (None, None) => case.null_equals_null,
                (left, right) => left == right,
            });
            let less = matches!((int(&key_left), int(&key_right)), (Some(left), Some(right)) if left < right);
            equal && (!case.residual || less)
        };
        let found: Vec<&Row> = fixed.iter().filter(matches).collect();
        let pair = |right: Vec<String>| match case.stream_first {
            true => [text(left), right].concat(),
            false => [right, text(left)].concat(),
        };
        match case.kind {
            JoinKind::Semi if !found.is_empty() => result.push(text(left)),
            JoinKind::Anti if found.is_empty() => result.push(text(left)),
            JoinKind::Semi | JoinKind::Anti => {}
            JoinKind::Mark => result.push([text(left), vec![(!found.is_empty()).to_string()]].concat()),
            JoinKind::Left if found.is_empty() => result.push(pair(nulls.clone())),
            JoinKind::Inner | JoinKind::Left => result.extend(found.iter().map(|right| pair(text(right)))),
        }
    }
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_join_is_a_nested_loop(
        steps in rows_and_markers(14), fixed in prop::collection::vec(row(), 0..8), case in cases(),
    ) {
        let harness = OperatorHarness::new(|| ByRow(operator(&case, &fixed)));
        let stream: Vec<Row> = steps.iter().flatten().cloned().collect();
        prop_assert_eq!(harness.run(&events(&steps)), nested_loop(&case, &stream, &fixed));
    }
}

#[test]
fn a_residual_that_cannot_be_evaluated_is_named() {
    let (one, zero) = (table_data::column("v"), datafusion_physical_expr::expressions::lit(0i64));
    let division = binary(Arc::clone(&one), Compare::Divide, zero, &schema()).unwrap();
    let residual = binary(division, Compare::Eq, one, &schema()).unwrap();
    let row = Row { k: None, g: None, v: Some(1), f: None, d: None, t: None, b: None };
    let table = StaticTable::new(&schema(), &[batch(std::slice::from_ref(&row))], &[], false).unwrap();
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        on: Vec::new(),
        residual: Some(residual),
        stream_first: true,
        input: schema(),
        output: joined(),
    };
    let mut join = ByRow(StaticJoin::new(table, spec).unwrap());
    let [Event::Row(row)] = &events(&[Some(row)])[..] else { unreachable!() };
    let mut input = lotic_operators::Rows::from(vec![row.clone()]);
    let error =
        lotic_operators::Operator::process(&mut join, &mut input, &mut lotic_operators::Output::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("v / 0") && error.contains("division by zero"), "{error}");
}
