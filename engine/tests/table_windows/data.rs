//! Rows with event time that come out of order, and rows as text.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic::testing::Random;
use std::sync::Arc;

/// How far rows may come behind later ones, in milliseconds.
pub(crate) const DISORDER_MS: i64 = 4_000;
/// A delay of the watermark that covers it.
pub(crate) const DELAY: std::time::Duration = std::time::Duration::from_millis(DISORDER_MS as u64 + 1);

/// Rows `(ts, k, n)`.
pub(crate) fn rows(values: &[(Option<i64>, Option<&str>, Option<i64>)]) -> RecordBatch {
    let times = values.iter().map(|row| row.0.map(|millis| millis * 1000));
    let times: TimestampMicrosecondArray = times.collect();
    let words: StringArray = values.iter().map(|row| row.1).collect();
    let numbers: Int64Array = values.iter().map(|row| row.2).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("ts", Arc::new(times.with_timezone("UTC")) as ArrayRef, true),
        ("k", Arc::new(words) as ArrayRef, true),
        ("n", Arc::new(numbers) as ArrayRef, true),
    ])
    .unwrap()
}

/// Random rows, few keys, nulls among them, no row more than [`DISORDER_MS`] behind another before it.
pub(crate) fn random_rows(random: &mut Random, rows_max: usize) -> RecordBatch {
    let mut now = random.below(3) as i64 * 10_000 - 10_000;
    let mut values = Vec::new();
    for _ in 0..random.below(rows_max + 1) {
        now += match random.below(8) {
            0 => 7_000 + random.below(9_000) as i64,
            _ => random.below(1_500) as i64,
        };
        let time = now - random.below(DISORDER_MS as usize) as i64;
        let time = (!random.once_in(12)).then_some(if random.once_in(3) {
            time - time.rem_euclid(1_000)
        } else {
            time
        });
        let time = time.map(|time| time.max(now - DISORDER_MS));
        let word = (!random.once_in(8)).then(|| *random.pick(&["a", "b", "ação"]));
        values.push((time, word, (!random.once_in(8)).then(|| random.below(9) as i64 - 3)));
    }
    rows(&values)
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

/// Each row as the text of its values, sorted.
pub(crate) fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>();
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows.sort();
    rows
}
