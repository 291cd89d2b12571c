//! Random rows, and rows as text.

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic::testing::Random;
use std::sync::Arc;

fn values<T>(random: &mut Random, rows: usize, mut make: impl FnMut(&mut Random) -> T) -> Vec<Option<T>> {
    (0..rows).map(|_| if random.once_in(6) { None } else { Some(make(random)) }).collect()
}

/// Rows `(k, g, n, x, b)`, few values each, nulls among them. Sums of `x` are exact.
pub(crate) fn stream_rows(random: &mut Random, rows_max: usize) -> RecordBatch {
    let rows = random.below(rows_max + 1);
    let words = ["a", "b", "C", "", "ação", "dd"];
    let k = StringArray::from(values(random, rows, |random| *random.pick(&words)));
    let g = Int64Array::from(values(random, rows, |random| random.below(4) as i64));
    let n = Int64Array::from(values(random, rows, |random| random.below(21) as i64 - 10));
    let x = Float64Array::from(values(random, rows, |random| random.below(16) as f64 / 4.0 + 0.25));
    let b = BooleanArray::from(values(random, rows, |random| random.once_in(2)));
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(k) as ArrayRef, true),
        ("g", Arc::new(g) as ArrayRef, true),
        ("n", Arc::new(n) as ArrayRef, true),
        ("x", Arc::new(x) as ArrayRef, true),
        ("b", Arc::new(b) as ArrayRef, true),
    ])
    .unwrap()
}

/// Rows `(id, name)` of the bounded table; ids may repeat and be null.
pub(crate) fn dimension(random: &mut Random) -> RecordBatch {
    let rows = random.below(6);
    let id = Int64Array::from(values(random, rows, |random| random.below(5) as i64));
    let name = StringArray::from(values(random, rows, |random| *random.pick(&["a", "zero", "one", "b"])));
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as ArrayRef, true),
        ("name", Arc::new(name) as ArrayRef, true),
    ])
    .unwrap()
}

/// The rows in batches of random sizes.
pub(crate) fn chunks(random: &mut Random, rows: &RecordBatch) -> Vec<RecordBatch> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < rows.num_rows() {
        let size = (1 + random.below(6)).min(rows.num_rows() - at);
        chunks.push(rows.slice(at, size));
        at += size;
    }
    chunks
}

/// Each row as the text of its values.
pub(crate) fn texts(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect())
        .collect()
}

/// As [`texts`], of several batches.
pub(crate) fn rows_of(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    batches.iter().flat_map(texts).collect()
}
