//! What bounded tables, time and order mean in a query that runs, stops and starts again.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::PlanBench;
use lotic::{ErrorKind, OutputMode, Session, StreamingQuery, Trigger};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

fn rows(numbers: &[Option<i64>], words: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef, true),
        ("word", Arc::new(StringArray::from(words.to_vec())) as ArrayRef, true),
    ])
    .unwrap()
}

fn bench(parallelism: usize) -> (PlanBench, MemoryTable) {
    let session = Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
    let bench = PlanBench::new(session).unwrap();
    let stream = MemoryTable::new("s", rows(&[], &[]).schema());
    bench.stream("s", Arc::new(stream.clone())).unwrap();
    table(&bench, &[Some(1)], &["one"]);
    (bench, stream)
}

/// Sets what the bounded table `d` holds.
fn table(bench: &PlanBench, numbers: &[Option<i64>], words: &[&str]) {
    let rows = rows(numbers, words);
    bench.table("d", rows.schema(), vec![rows]).unwrap();
}

fn start(bench: &PlanBench, sql: &str, mode: OutputMode, out: &MemoryTable, at: &Path) -> StreamingQuery {
    let query = bench.query(sql, mode, out.sink(mode)).unwrap().checkpoint_location(at);
    query.start(Trigger::processing_time("0 ms")).unwrap()
}

fn run(bench: &PlanBench, sql: &str, out: &MemoryTable, at: &Path) {
    let query = start(bench, sql, OutputMode::Append, out, at);
    query.process_all_available().unwrap();
    query.stop().unwrap();
}

fn words(out: &MemoryTable) -> Vec<String> {
    let rows = out.rows();
    let column = rows.column_by_name("word").unwrap();
    let column = column.as_any().downcast_ref::<StringArray>().unwrap();
    let mut words: Vec<String> = column.iter().map(|word| word.unwrap_or("-").to_owned()).collect();
    words.sort();
    words
}

#[test]
fn the_bounded_side_of_a_join_is_read_again_at_each_start() {
    for parallelism in [1, 3] {
        let (bench, stream) = bench(parallelism);
        let folder = tempfile::tempdir().unwrap();
        let sql = "SELECT s.n, d.word FROM s LEFT JOIN d ON s.n = d.n";
        let out = MemoryTable::new("out", bench.schema(sql).unwrap());
        stream.add(rows(&[Some(1), Some(2), None], &["", "", ""])).unwrap();
        run(&bench, sql, &out, folder.path());
        assert_eq!(words(&out), ["-", "-", "one"]);
        table(&bench, &[Some(2), Some(2), None], &["two", "deux", "null"]);
        stream.add(rows(&[Some(1), Some(2), None], &["", "", ""])).unwrap();
        run(&bench, sql, &out, folder.path());
        assert_eq!(words(&out), ["-", "-", "-", "-", "deux", "one", "two"]);
    }
}

#[test]
fn a_bounded_part_of_a_union_is_read_once_and_not_again_after_a_restart() {
    let (bench, stream) = bench(1);
    let folder = tempfile::tempdir().unwrap();
    let sql = "SELECT word FROM s UNION ALL SELECT word FROM d";
    let out = MemoryTable::new("out", bench.schema(sql).unwrap());
    stream.add(rows(&[Some(1)], &["first"])).unwrap();
    run(&bench, sql, &out, folder.path());
    assert_eq!(words(&out), ["first", "one"]);
    table(&bench, &[Some(1), Some(2)], &["one", "two"]);
    stream.add(rows(&[Some(1)], &["second"])).unwrap();
    run(&bench, sql, &out, folder.path());
    assert_eq!(words(&out), ["first", "one", "second"]);
}

#[test]
fn not_in_knows_of_nulls_and_of_empty_tables() {
    let sql = "SELECT word FROM s WHERE n NOT IN (SELECT n FROM d)";
    for (numbers, passed) in [
        (&[Some(1)][..], &["two"][..]),
        (&[Some(1), None][..], &[][..]),
        (&[][..], &["none", "one", "two"][..]),
    ] {
        let (bench, stream) = bench(1);
        table(&bench, numbers, &vec![""; numbers.len()]);
        let out = MemoryTable::new("out", bench.schema(sql).unwrap());
        stream.add(rows(&[Some(1), Some(2), None], &["one", "two", "none"])).unwrap();
        run(&bench, sql, &out, tempfile::tempdir().unwrap().path());
        assert_eq!(words(&out), passed, "NOT IN {numbers:?}");
    }
}

#[test]
fn a_bounded_side_that_cannot_be_read_fails_the_start_with_its_cause() {
    let (bench, _) = bench(1);
    table(&bench, &[Some(0)], &["zero"]);
    let sql = "SELECT s.n FROM s JOIN (SELECT 1 / n AS n FROM d) d ON s.n = d.n";
    let out = MemoryTable::new("out", bench.schema(sql).unwrap());
    let query = bench.query(sql, OutputMode::Append, out.sink(OutputMode::Append)).unwrap();
    let error = query.start(Trigger::processing_time("0 ms")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert!(error.to_string().contains("join"), "the operator is not named: {error}");
}

#[test]
fn the_time_of_day_is_that_of_each_batch() {
    let (bench, stream) = bench(1);
    let folder = tempfile::tempdir().unwrap();
    let sql = "SELECT now() AS at, current_date(), current_time() FROM s \
               WHERE now() > '2020-01-01T00:00:00' AND current_date() > '2020-01-01'";
    let out = MemoryTable::new("out", bench.schema(sql).unwrap());
    let query = start(&bench, sql, OutputMode::Append, &out, folder.path());
    let nanos = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let mut between = Vec::new();
    for _ in 0..2 {
        between.push(nanos());
        stream.add(rows(&[Some(1)], &["x"])).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    let rows = out.rows();
    let at = rows.column(0).as_any().downcast_ref::<TimestampNanosecondArray>().unwrap();
    assert_eq!(at.len(), 2);
    assert!(at.value(0) >= between[0] && at.value(0) <= between[1], "{at:?} {between:?}");
    assert!(at.value(1) >= between[1] && at.value(1) <= nanos(), "{at:?} {between:?}");
}

/// The numbers in the first column, in order.
fn numbers(out: &MemoryTable) -> Vec<i64> {
    let rows = out.rows();
    let mut numbers = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_complete_result_that_becomes_empty_replaces_the_rows_before() {
    let sql = "SELECT n, count(*) AS c FROM s GROUP BY n HAVING count(*) = 1 ORDER BY n LIMIT 5";
    for trigger in [Trigger::processing_time("0 ms"), Trigger::continuous("2 ms")] {
        for parallelism in [1, 3] {
            let (bench, stream) = bench(parallelism);
            let folder = tempfile::tempdir().unwrap();
            let out = MemoryTable::new("out", bench.schema(sql).unwrap());
            let query = start(&bench, sql, OutputMode::Complete, &out, folder.path());
            query.set_trigger(trigger).unwrap();
            for (n, shown) in [(1, &[1][..]), (1, &[]), (2, &[2]), (3, &[2, 3]), (2, &[3]), (3, &[])] {
                stream.add(rows(&[Some(n)], &["x"])).unwrap();
                query.process_all_available().unwrap();
                assert_eq!(numbers(&out), shown, "after {n}");
            }
            query.stop().unwrap();
            // Nothing has changed, so that nothing is replaced.
            let query = start(&bench, sql, OutputMode::Complete, &out, folder.path());
            stream.add(rows(&[Some(4)], &["x"])).unwrap();
            query.process_all_available().unwrap();
            assert_eq!(numbers(&out), [4]);
            query.stop().unwrap();
        }
    }
}

#[test]
fn an_aggregation_of_no_rows_has_its_one_row() {
    for mode in [OutputMode::Update, OutputMode::Complete] {
        for trigger in [Trigger::AvailableNow, Trigger::Once] {
            let (bench, stream) = bench(3);
            let folder = tempfile::tempdir().unwrap();
            let sql = "SELECT count(*) AS c, max(n) AS m FROM s WHERE n > 5";
            let out = MemoryTable::new("out", bench.schema(sql).unwrap());
            let run = || {
                let query = bench.query(sql, mode, out.sink(mode)).unwrap();
                query.checkpoint_location(folder.path()).start(trigger).unwrap().await_termination().unwrap();
            };
            run();
            assert_eq!(numbers(&out), [0], "{mode:?} {trigger:?}");
            assert!(out.rows().column(1).is_null(0));
            // It is not shown again after a restart, not even if rows come that do not count.
            stream.add(rows(&[Some(1)], &["x"])).unwrap();
            run();
            assert_eq!(numbers(&out), [0], "{mode:?} {trigger:?}");
        }
    }
}

/// The newest row of each key, which is the first `keys` columns.
fn newest(rows: &RecordBatch, keys: usize) -> std::collections::BTreeMap<String, String> {
    let text = |column: usize, row: usize| {
        let shown = arrow::util::display::array_value_to_string(rows.column(column), row).unwrap();
        if rows.column(column).is_null(row) { "-".to_owned() } else { shown }
    };
    let texts =
        |columns: std::ops::Range<usize>, row| columns.map(|c| text(c, row) + " ").collect::<String>();
    (0..rows.num_rows()).map(|row| (texts(0..keys, row), texts(keys..rows.num_columns(), row))).collect()
}

#[test]
fn grouping_sets_are_several_groupings_at_once() {
    let by = "n % 2 AS a, word AS b, grouping(n % 2) AS ga, grouping(word) AS gb, count(*) AS c, sum(n) AS m";
    for groups in [
        "ROLLUP (n % 2, word)",
        "CUBE (n % 2, word)",
        "GROUPING SETS ((word, n % 2), (), (n % 2))",
        "word, ROLLUP (n % 2)",
    ] {
        let input = rows(&[Some(1), Some(3), None, Some(4), Some(1)], &["a", "b", "b", "a", "a"]);
        for (input, mode, parallelism) in [
            (input.clone(), OutputMode::Update, 1),
            (input.clone(), OutputMode::Update, 3),
            (input.clone(), OutputMode::Complete, 3),
            (input.slice(0, 0), OutputMode::Update, 3),
            (input.slice(0, 0), OutputMode::Complete, 1),
        ] {
            let (bench, stream) = bench(parallelism);
            bench.table("d", input.schema(), vec![input.clone()]).unwrap();
            let (schema, expected) = bench.batch(&format!("SELECT {by} FROM d GROUP BY {groups}")).unwrap();
            let out = MemoryTable::new("out", Arc::clone(&schema));
            let folder = tempfile::tempdir().unwrap();
            let sql = format!("SELECT {by} FROM s GROUP BY {groups}");
            // Halves, with a restart between them.
            for part in [0..input.num_rows() / 2, input.num_rows() / 2..input.num_rows()] {
                stream.add(input.slice(part.start, part.len())).unwrap();
                let query = start(&bench, &sql, mode, &out, folder.path());
                query.process_all_available().unwrap();
                query.stop().unwrap();
            }
            let expected = arrow::compute::concat_batches(&schema, &expected).unwrap();
            let told = format!("{groups} {mode:?} {parallelism} {} rows", input.num_rows());
            assert_eq!(newest(&out.rows(), 4), newest(&expected, 4), "{told}");
            if mode == OutputMode::Complete {
                assert_eq!(out.row_count(), expected.num_rows(), "{told}");
            }
        }
    }
}

#[test]
fn lists_become_rows_and_structs_columns_as_in_a_batch() {
    for (select, shape) in [
        ("SELECT n, unnest(make_array(word, NULL, 'x')) AS w FROM", "one list"),
        (
            "SELECT unnest(range(0, n)) AS a, unnest(make_array(n, n + 1)) AS b, word FROM",
            "lists side by side",
        ),
        ("SELECT unnest(named_struct('a', n, 'b', word)), n FROM", "a struct"),
        (
            "SELECT unnest(CASE WHEN n > 1 THEN named_struct('a', n, 'l', make_array(n)) END), n FROM",
            "a struct that may be null",
        ),
        ("SELECT unnest(unnest(make_array(range(0, n), make_array(n, n)))) AS a, n FROM", "lists in a list"),
        (
            "SELECT unnest(l) AS a, unnest(unnest(l)) AS b, unnest(make_array(word, word)) AS c FROM \
             (SELECT make_array(range(0, n), NULL, make_array(n)) AS l, word FROM",
            "one column at two depths",
        ),
        ("SELECT n, unnest(arrow_cast(make_array(n, n), 'LargeList(Int64)')) AS w FROM", "a large list"),
        (
            "SELECT n, unnest(arrow_cast(make_array(n, n), 'FixedSizeList(2, Int64)')) AS w FROM",
            "a fixed list",
        ),
        ("SELECT n FROM (SELECT n, unnest(range(0, n)) AS l FROM", "a list that nobody reads"),
    ] {
        let close = if select.contains("(SELECT") { ")" } else { "" };
        let (bench, stream) = bench(1);
        let input = rows(&[Some(1), None, Some(3), Some(0), Some(2)], &["a", "b", "", "d", "e"]);
        bench.table("d", input.schema(), vec![input.clone()]).unwrap();
        stream.add(input).unwrap();
        let (schema, expected) = bench.batch(&format!("{select} d{close}")).unwrap();
        let out = MemoryTable::new("out", Arc::clone(&schema));
        run(&bench, &format!("{select} s{close}"), &out, tempfile::tempdir().unwrap().path());
        let expected = arrow::compute::concat_batches(&schema, &expected).unwrap();
        assert!(expected.num_rows() > 3, "{shape}");
        assert_eq!(out.rows(), expected, "{shape}");
    }
}

#[test]
fn changes_of_a_result_come_in_order_through_all_that_follows() {
    for sql in [
        "SELECT count(*) AS c FROM s",
        "SELECT c + 0 AS c FROM (SELECT n % 1 AS k, count(*) AS c FROM s GROUP BY 1) WHERE c > 0",
        "SELECT a.c FROM (SELECT n % 1 AS k, count(*) AS c FROM s GROUP BY 1) a JOIN d ON a.k + 1 = d.n",
    ] {
        let (bench, stream) = bench(3);
        let folder = tempfile::tempdir().unwrap();
        let out = MemoryTable::new("out", bench.schema(sql).unwrap());
        let query = start(&bench, sql, OutputMode::Update, &out, folder.path());
        query.set_trigger(Trigger::continuous("5 ms")).unwrap();
        for n in 0..200 {
            stream.add(rows(&[Some(n)], &["x"])).unwrap();
        }
        query.process_all_available().unwrap();
        query.stop().unwrap();
        let rows = out.rows();
        let counts = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
        assert!(counts.is_sorted(), "{sql}: {counts:?}");
        assert_eq!(counts.last(), Some(&200), "{sql}");
    }
}
