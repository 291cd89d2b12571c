//! Steps, partition, limit and sort of tables.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_data;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_expr::Operator as Compare;
use datafusion_physical_expr::expressions::{binary, cast, col, lit};
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};
use lotic_operators::table::{Limit, SortEpoch, Step, Steps, TableBatch, TableBuilder, partition_by};
use lotic_operators::testing::{ByRow, OperatorHarness, rows_as_text};
use lotic_operators::{Batch, Operator, Output};
use proptest::prelude::*;
use std::sync::Arc;
use table_data::{Row, batch, column, events, row, rows_and_markers, schema};

fn rows_of(steps: &[Option<Row>]) -> Vec<Row> {
    steps.iter().flatten().cloned().collect()
}

fn text_of(rows: &[Row]) -> Vec<Vec<String>> {
    rows_as_text(&batch(rows))
}

/// Keeps rows with `f > 0`, makes `v` and `f` as text, then keeps rows with `v` other than null.
fn steps_of() -> Steps {
    let positive = binary(column("f"), Compare::Gt, lit(0.0), &schema()).unwrap();
    let text = cast(column("f"), &schema(), DataType::Utf8).unwrap();
    let fields = vec![Field::new("v", DataType::Int64, true), Field::new("text", DataType::Utf8, true)];
    let made = Arc::new(Schema::new(fields));
    let known = datafusion_physical_expr::expressions::is_not_null(col("v", &made).unwrap()).unwrap();
    Steps::new(vec![
        Step::Filter(positive),
        Step::Project { columns: vec![(column("v"), "v".into()), (text, "text".into())], schema: made },
        Step::Filter(known),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn steps_are_a_loop_over_rows(steps in rows_and_markers(20)) {
        let got = OperatorHarness::new(|| ByRow(steps_of())).run(&events(&steps));
        let mut expected = Vec::new();
        for row in rows_of(&steps) {
            // NaN is greater than any number, as in Arrow's and Spark's order.
            if let (Some(v), true) = (row.v, row.f.is_some_and(|f| f > 0.0 || f.is_nan())) {
                let text = text_of(&[row]).remove(0);
                expected.push(vec![v.to_string(), text[schema().index_of("f").unwrap()].clone()]);
            }
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn limit_is_skip_and_take(
        steps in rows_and_markers(30), skip in 0u64..8, fetch in prop::option::of(0u64..12),
    ) {
        let got = OperatorHarness::new(|| ByRow(Limit::new(skip, fetch))).run(&events(&steps));
        let most = fetch.map_or(usize::MAX, |fetch| fetch as usize);
        let expected: Vec<Row> = rows_of(&steps).into_iter().skip(skip as usize).take(most).collect();
        prop_assert_eq!(got, text_of(&expected));
    }

    #[test]
    fn limit_of_an_epoch_begins_anew_in_each(
        steps in rows_and_markers(30), skip in 0u64..3, fetch in prop::option::of(0u64..4),
    ) {
        let got = OperatorHarness::new(|| ByRow(Limit::each_epoch(skip, fetch))).run(&events(&steps));
        let most = fetch.map_or(usize::MAX, |fetch| fetch as usize);
        let epochs = steps.split(Option::is_none).map(rows_of);
        let expected: Vec<Row> =
            epochs.flat_map(|rows| rows.into_iter().skip(skip as usize).take(most)).collect();
        prop_assert_eq!(got, text_of(&expected));
    }

    #[test]
    fn an_epoch_is_sorted_and_equal_rows_keep_their_order(
        steps in rows_and_markers(30), fetch in prop::option::of(0usize..6),
    ) {
        let order = vec![
            PhysicalSortExpr { expr: column("k"), options: SortOptions { descending: false, nulls_first: true } },
            PhysicalSortExpr { expr: column("v"), options: SortOptions { descending: true, nulls_first: false } },
        ];
        let got = OperatorHarness::new(|| ByRow(SortEpoch::new(order.clone(), fetch))).run(&events(&steps));
        let mut expected = Vec::new();
        for rows in steps.split(Option::is_none) {
            let mut rows = rows_of(rows);
            let at = schema().index_of("k").unwrap();
            rows.sort_by_cached_key(|row| {
                let key = row.k.map(|_| text_of(std::slice::from_ref(row))[0][at].clone());
                (key, row.v.is_none(), row.v.map(std::cmp::Reverse))
            });
            rows.truncate(fetch.unwrap_or(usize::MAX));
            expected.extend(text_of(&rows));
        }
        prop_assert_eq!(got, expected);
    }

    /// Equal keys go to one instance whatever their encoding, and no row is lost or out of order.
    #[test]
    fn each_row_goes_to_the_owner_of_its_key(
        rows in prop::collection::vec(row(), 0..40), instances in 1usize..6,
    ) {
        let split = |key: &str| {
            let split = partition_by(vec![column(key)], &schema()).unwrap();
            let mut parts: Vec<TableBuilder> = (0..instances).map(|_| TableBuilder::default()).collect();
            split()(&mut TableBatch::from(batch(&rows)), &mut parts);
            let part = |part: &mut TableBuilder| {
                TableBatch::seal(part).map_or_else(Vec::new, |part| rows_as_text(part.rows_left()))
            };
            parts.iter_mut().map(part).collect::<Vec<_>>()
        };
        let parts = split("k");
        prop_assert_eq!(&parts, &split("kd"));
        prop_assert_eq!(&parts, &split("kv"));
        let all = text_of(&rows);
        for part in &parts {
            let mut rest = all.iter();
            prop_assert!(part.iter().all(|row| rest.any(|other| other == row)), "in their order");
            let keys: Vec<&String> = part.iter().map(|row| &row[0]).collect();
            let elsewhere = parts.iter().filter(|other| !std::ptr::eq(*other, part)).flatten();
            prop_assert!(elsewhere.into_iter().all(|row| !keys.contains(&&row[0])), "one owner for a key");
        }
        prop_assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), rows.len());
    }
}

/// The owners are part of the checkpoint format: Arrow's row format and the hash may never change.
#[test]
fn keys_go_where_they_always_went() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(1), Some(-1), None, Some(i64::MAX), Some(42), Some(0)]))),
        (
            "s",
            Arc::new(StringArray::from(vec![
                Some("a"),
                None,
                Some(""),
                Some("a longer text, of more than one block"),
                Some("ção"),
                Some("b"),
            ])),
        ),
    ];
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let schema = rows.schema();
    let keys: Vec<Arc<dyn PhysicalExpr>> = vec![col("n", &schema).unwrap(), col("s", &schema).unwrap()];
    let split = partition_by(keys, &schema).unwrap();
    let mut parts: Vec<TableBuilder> = (0..128).map(|_| TableBuilder::default()).collect();
    split()(&mut TableBatch::from(rows), &mut parts);
    let mut owners = Vec::new();
    for (owner, part) in parts.iter_mut().enumerate() {
        for row in TableBatch::seal(part).map_or_else(Vec::new, |part| rows_as_text(part.rows_left())) {
            owners.push((row[0].clone(), owner));
        }
    }
    owners.sort();
    let owners: Vec<(&str, usize)> = owners.iter().map(|(n, owner)| (n.as_str(), *owner)).collect();
    assert_eq!(
        owners,
        [("-1", 58), ("0", 95), ("1", 101), ("42", 24), ("9223372036854775807", 20), ("NULL", 60)]
    );
}

#[test]
fn a_failed_expression_is_named() {
    let division = binary(lit(1i64), Compare::Divide, column("v"), &schema()).unwrap();
    let made = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
    let mut steps = Steps::new(vec![Step::Project { columns: vec![(division, "x".into())], schema: made }]);
    let row = Row { k: None, g: None, v: Some(0), f: None, d: None, t: None, b: None };
    let error = steps.process(&mut TableBatch::from(batch(&[row])), &mut Output::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("1 / v") && error.contains("division by zero"), "{error}");
}

#[test]
fn a_projection_to_no_columns_keeps_the_number_of_rows() {
    let none = Step::Project { columns: Vec::new(), schema: Arc::new(Schema::empty()) };
    let row = Row { k: None, g: None, v: None, f: None, d: None, t: None, b: None };
    let mut output = Output::default();
    Steps::new(vec![none]).process(&mut TableBatch::from(batch(&[row.clone(), row])), &mut output).unwrap();
    let Some(lotic_operators::Emitted::Batch(made)) = output.take() else { panic!("rows") };
    assert_eq!(made.rows(), 2);
}
