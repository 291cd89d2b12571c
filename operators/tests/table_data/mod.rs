//! Random rows of a table with many types, and what is needed to aggregate them.

#![allow(dead_code, reason = "not every test needs all of it")]

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int64Array,
    RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::col;
use lotic_operators::testing::Event;
use proptest::prelude::*;
use std::sync::Arc;

/// One row; each column may be null.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) k: Option<u8>,
    pub(crate) g: Option<f32>,
    pub(crate) v: Option<i64>,
    pub(crate) f: Option<f64>,
    pub(crate) d: Option<i32>,
    pub(crate) t: Option<i64>,
    pub(crate) b: Option<bool>,
}

/// Rows as a batch: keys `k` (text), `kd` (the same as a dictionary), `kv` (as a view) and `g` (a float with
/// zeros of both signs); values `v` (int), `f` (float), `d` (decimal), `s` (text), `t` (timestamp), `b` (bool).
pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let text = |value: u8| ["", "a", "b", "cc", "ção"][usize::from(value % 5)];
    let keys: Vec<Option<&str>> = rows.iter().map(|row| row.k.map(text)).collect();
    let decimals: Decimal128Array = rows.iter().map(|row| row.d.map(i128::from)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", Arc::new(StringArray::from(keys.clone()))),
        ("kd", Arc::new(keys.iter().copied().collect::<DictionaryArray<Int32Type>>())),
        ("kv", Arc::new(StringViewArray::from(keys.clone()))),
        ("g", Arc::new(rows.iter().map(|row| row.g).collect::<Float32Array>())),
        ("v", Arc::new(rows.iter().map(|row| row.v).collect::<Int64Array>())),
        ("f", Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>())),
        ("d", Arc::new(decimals.with_precision_and_scale(12, 2).unwrap())),
        ("s", Arc::new(rows.iter().map(|row| row.t.map(|t| format!("s{t}"))).collect::<StringArray>())),
        (
            "t",
            Arc::new(
                rows.iter().map(|row| row.t).collect::<TimestampMicrosecondArray>().with_timezone("+02:00"),
            ),
        ),
        ("b", Arc::new(rows.iter().map(|row| row.b).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

pub(crate) fn schema() -> SchemaRef {
    batch(&[]).schema()
}

pub(crate) fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, &schema()).unwrap()
}

pub(crate) fn row() -> impl Strategy<Value = Row> {
    let float = prop_oneof![
        8 => (-50i32..50).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(f64::NAN),
    ];
    let key_float = prop_oneof![Just(0.0f32), Just(-0.0), Just(1.5), Just(f32::NAN)];
    let int = prop_oneof![8 => -50i64..50, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let columns = (
        prop::option::weighted(0.9, 0u8..5),
        prop::option::weighted(0.9, key_float),
        prop::option::weighted(0.8, int),
        prop::option::weighted(0.8, float),
        prop::option::weighted(0.8, any::<i32>()),
        prop::option::weighted(0.8, 0i64..30),
        prop::option::weighted(0.8, any::<bool>()),
    );
    columns.prop_map(|(k, g, v, f, d, t, b)| Row { k, g, v, f, d, t, b })
}

/// Rows with markers between them.
pub(crate) fn rows_and_markers(most: usize) -> impl Strategy<Value = Vec<Option<Row>>> {
    prop::collection::vec(prop::option::weighted(0.85, row()), 0..most)
}

/// The events of [`rows_and_markers`]: each row a batch of its own.
pub(crate) fn events(steps: &[Option<Row>]) -> Vec<Event<RecordBatch>> {
    let event = |step: &Option<Row>| match step {
        Some(row) => Event::Row(batch(std::slice::from_ref(row))),
        None => Event::Marker,
    };
    steps.iter().map(event).collect()
}
