//! Types that are easy to get wrong: the stream gives the batch answer, also when it is started
//! again with another parallelism.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::PlanBench;
use lotic::{OutputMode, Session, Trigger};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows `(n, f, word)` with nulls, both zeros, NaNs of both signs and infinities.
fn rows() -> RecordBatch {
    let n: Vec<Option<i64>> = (0..24).map(|n| (n % 7 != 3).then_some(n % 5 - 1)).collect();
    let floats = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5];
    let f: Vec<Option<f64>> = (0..24).map(|at| (at % 8 != 7).then(|| floats[at % 7])).collect();
    let word: Vec<Option<&str>> =
        (0..24).map(|at| [Some("a"), None, Some(""), Some("ção")][at % 4]).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(n)) as ArrayRef, true),
        ("f", Arc::new(Float64Array::from(f)) as ArrayRef, true),
        ("word", Arc::new(StringArray::from(word)) as ArrayRef, true),
    ])
    .unwrap()
}

fn bench(parallelism: usize, stream: &MemoryTable) -> PlanBench {
    let session = Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
    let bench = PlanBench::new(session).unwrap();
    bench.stream("s", Arc::new(stream.clone())).unwrap();
    for name in ["d", "b"] {
        bench.table(name, rows().schema(), vec![rows()]).unwrap();
    }
    bench
}

fn texts(rows: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("-");
    let columns: Vec<_> =
        rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect())
        .collect()
}

/// The newest row of each key, which is the first `keys` columns.
fn newest(rows: &RecordBatch, keys: usize) -> BTreeMap<Vec<String>, Vec<String>> {
    texts(rows).into_iter().map(|row| (row[..keys].to_vec(), row)).collect()
}

/// Runs the query in three parts, each started with another parallelism, in update and in complete mode.
fn agrees(sql: &str, keys: usize) {
    for mode in [OutputMode::Update, OutputMode::Complete] {
        let stream = MemoryTable::new("s", rows().schema());
        let (schema, expected) = bench(1, &stream).batch(&sql.replace("FROM s", "FROM b")).unwrap();
        let expected = concat_batches(&schema, &expected).unwrap();
        let out = MemoryTable::new("out", schema);
        let folder = tempfile::tempdir().unwrap();
        for (part, parallelism) in [3, 1, 2].into_iter().enumerate() {
            let bench = bench(parallelism, &stream);
            for at in 0..4 {
                stream.add(rows().slice(part * 8 + at * 2, 2)).unwrap();
            }
            let query = bench.query(sql, mode, out.sink(mode)).unwrap().checkpoint_location(folder.path());
            let query = query.start(Trigger::processing_time("0 ms")).unwrap();
            query.process_all_available().unwrap();
            query.stop().unwrap();
        }
        assert_eq!(newest(&out.rows(), keys), newest(&expected, keys), "{mode:?} {sql}");
    }
}

#[test]
fn keys_of_every_kind_group_as_in_a_batch() {
    for key in [
        "f",
        "-f",
        "arrow_cast(f, 'Float32')",
        "arrow_cast(word, 'Dictionary(Int32, Utf8)')",
        "arrow_cast(word, 'Utf8View')",
        "arrow_cast(word, 'LargeUtf8')",
        "arrow_cast(word, 'BinaryView')",
        "make_array(n, NULL)",
        "named_struct('w', word, 'n', n)",
        "make_array(named_struct('w', word))",
        "CAST(n AS DECIMAL(38, 10))",
        "n > 1",
        "CAST(NULL AS INT)",
    ] {
        agrees(&format!("SELECT {key} AS k, count(*) AS c, sum(n) AS m FROM s GROUP BY {key}"), 1);
    }
}

#[test]
fn joins_compare_keys_as_a_batch_does() {
    for (select, on) in [
        ("count(*) AS c, sum(d.n) AS m", "JOIN d ON s.f = d.f"),
        ("count(*) AS c, sum(d.n) AS m", "LEFT JOIN d ON s.f = d.f AND s.n < d.n"),
        ("count(*) AS c, count(d.n) AS m", "LEFT JOIN d ON s.n = d.n AND s.word = d.word"),
        ("count(*) AS c, count(d.n) AS m", "JOIN d ON s.n IS NOT DISTINCT FROM d.n"),
        ("count(*) AS c, sum(s.n) AS m", "JOIN d ON arrow_cast(s.word, 'Dictionary(Int32, Utf8)') = d.word"),
        ("count(*) AS c, sum(s.n) AS m", "JOIN d ON s.n = arrow_cast(d.n, 'Int8')"),
        ("count(*) AS c, sum(s.n) AS m", "JOIN d ON make_array(s.n) = make_array(d.n)"),
        ("count(*) AS c, sum(s.n) AS m", "CROSS JOIN d"),
        ("count(*) AS c, 1 AS m", "CROSS JOIN (SELECT 1 FROM d WHERE n > 100)"),
        (
            "count(*) AS c, sum(s.n) AS m",
            "WHERE f IN (SELECT f FROM d WHERE n = 1) OR n IN (SELECT n - 2 FROM d)",
        ),
        ("count(*) AS c, sum(s.n) AS m", "WHERE f NOT IN (SELECT f FROM d WHERE f IS NOT NULL AND n = 1)"),
    ] {
        let sql = format!("SELECT s.n % 2 AS k, {select} FROM s {on} GROUP BY s.n % 2");
        agrees(&sql.replace("FROM s ", "FROM s AS s "), 1);
    }
}
