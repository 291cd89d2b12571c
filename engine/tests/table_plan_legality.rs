//! What a stream refuses, by output mode, each with its reason and the way out; and what it says of itself.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::PlanBench;
use lotic::{Error, ErrorKind, OutputMode, Session, Trigger};
use std::path::Path;
use std::sync::Arc;

fn rows(words: &[Option<&str>], numbers: &[Option<i64>]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("word", Arc::new(StringArray::from(words.to_vec())) as ArrayRef, true),
        ("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef, true),
    ])
    .unwrap()
}

/// Streams `s` and `t`, bounded tables `d` and `e`, all (word, n).
fn bench(parallelism: usize) -> (PlanBench, MemoryTable) {
    let session = Session::builder().parallelism(parallelism).get_or_create().unwrap();
    let bench = PlanBench::new(session).unwrap();
    let table = rows(&[Some("a"), Some("b")], &[Some(1), Some(2)]);
    let stream = MemoryTable::new("s", table.schema());
    bench.stream("s", Arc::new(stream.clone())).unwrap();
    bench.stream("t", Arc::new(MemoryTable::new("t", table.schema()))).unwrap();
    bench.table("d", table.schema(), vec![table.clone()]).unwrap();
    bench.table("e", table.schema(), vec![table]).unwrap();
    (bench, stream)
}

fn plan(bench: &PlanBench, sql: &str, mode: OutputMode) -> Result<String, Error> {
    let sink = MemoryTable::new("out", bench.schema(sql)?).sink(mode);
    bench.query(sql, mode, sink)?.explain()
}

use OutputMode::{Append, Complete, Update};

const REFUSED: &[(&str, &[OutputMode], &str)] = &[
    ("SELECT word, count(*) FROM s GROUP BY word", &[Append], "use output mode update (changed groups)"),
    ("SELECT sum(n) FROM s", &[Append], "output mode append needs rows that never change"),
    ("SELECT word FROM s", &[Complete], "output mode complete needs an aggregation"),
    ("SELECT word FROM s ORDER BY word", &[Append, Update, Complete], "ORDER BY"),
    ("SELECT word, count(*) c FROM s GROUP BY word ORDER BY c", &[Update], "output mode complete"),
    ("SELECT word FROM s LIMIT 3", &[Update], "LIMIT is not supported in output mode update"),
    (
        "SELECT count(*) FROM (SELECT word FROM s LIMIT 3)",
        &[Update],
        "LIMIT is not supported in output mode update",
    ),
    ("SELECT s.n FROM s JOIN t ON s.n = t.n", &[Update], "use output mode append"),
    ("SELECT s.n FROM s, t", &[Append], "a join of two streams needs an equality"),
    ("SELECT d.n FROM d LEFT JOIN s ON s.n = d.n", &[Append], "an outer join that keeps the stream's rows"),
    ("SELECT s.n FROM s RIGHT JOIN d ON s.n = d.n", &[Append], "an outer join that keeps the stream's rows"),
    ("SELECT s.n FROM s FULL JOIN d ON s.n = d.n", &[Append], "a full join over a stream"),
    ("SELECT n, row_number() OVER (PARTITION BY word) FROM s", &[Append], "window functions (OVER ...)"),
    (
        "SELECT max(c) FROM (SELECT word, count(*) c FROM s GROUP BY word)",
        &[Update, Complete],
        "an aggregation over the result of another aggregation",
    ),
    (
        "SELECT DISTINCT c FROM (SELECT word, count(*) c FROM s GROUP BY word)",
        &[Update, Complete],
        "an aggregation over the result of another aggregation",
    ),
    ("SELECT word FROM d WHERE n IN (SELECT n FROM s)", &[Append], "a subquery over a stream"),
    ("SELECT word FROM s WHERE n > (SELECT max(n) FROM t)", &[Append], "a subquery over a stream"),
    ("SELECT word FROM s WHERE n > (SELECT n FROM d)", &[Append], "stands for one value but has 2 rows"),
    ("SELECT word FROM d WHERE n = 1 OR n IN (SELECT n FROM s)", &[Append], "a subquery over a stream"),
    ("SELECT n FROM s EXCEPT SELECT n FROM t", &[Append], "EXCEPT and INTERSECT of two streams"),
    ("SELECT n FROM s INTERSECT SELECT n FROM t", &[Append], "EXCEPT and INTERSECT of two streams"),
    (
        "WITH RECURSIVE r AS (SELECT n FROM s UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT n FROM r",
        &[Append],
        "a recursive query",
    ),
    (
        "SELECT unnest(range(0, c)) FROM (SELECT count(*) AS c FROM s)",
        &[Update],
        "could not take back the rows of a list that has become shorter",
    ),
    (
        "SELECT count(*) FROM s GROUP BY CUBE (n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, n + 9, \
         n + 10, n + 11, n + 12)",
        &[Update],
        "write the groupings you need as GROUPING SETS",
    ),
    ("SELECT random() r, count(*) FROM s GROUP BY r", &[Update], "has another value each time"),
    ("SELECT s.n FROM s JOIN d ON s.n = d.n + random()", &[Append], "in a join condition"),
    (
        "SELECT word, count(*) FROM s GROUP BY word UNION ALL SELECT word, count(*) FROM t GROUP BY word",
        &[Update, Complete],
        "a union of several aggregations",
    ),
    (
        "SELECT word, count(*) FROM s GROUP BY word UNION ALL SELECT word, n FROM t",
        &[Complete],
        "a union of an aggregation with plain rows",
    ),
    ("SELECT word FROM d", &[Append, Update, Complete], "the query reads no stream"),
];

#[test]
fn what_a_stream_cannot_do_is_refused_with_the_reason_and_the_way_out() {
    let (bench, _) = bench(1);
    for (sql, modes, reason) in REFUSED {
        for mode in *modes {
            match plan(&bench, sql, *mode) {
                Ok(text) => panic!("{mode:?} {sql} was planned:\n{text}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::User, "{mode:?} {sql}: {error}");
                    assert!(error.to_string().contains(reason), "{mode:?} {sql}: {error}");
                    assert!(!error.to_string().contains('\n'), "{mode:?} {sql}: {error}");
                }
            }
        }
    }
}

const PLANNED: &[(&str, &[OutputMode])] = &[
    ("SELECT word, n + 1 FROM s WHERE n > 1", &[Append, Update]),
    ("SELECT word FROM s LIMIT 3 OFFSET 1", &[Append]),
    ("SELECT DISTINCT word FROM s", &[Append, Update, Complete]),
    ("SELECT word, count(*) FROM (SELECT DISTINCT word, n FROM s) GROUP BY word", &[Update, Complete]),
    ("SELECT word, count(DISTINCT n), sum(n) FILTER (WHERE n > 1) FROM s GROUP BY word", &[Update, Complete]),
    ("SELECT word, count(*) c FROM s GROUP BY word HAVING count(*) > 1", &[Update, Complete]),
    ("SELECT word, count(*) c FROM s GROUP BY word ORDER BY c DESC LIMIT 2", &[Complete]),
    ("SELECT word FROM s UNION ALL SELECT word FROM t UNION ALL SELECT word FROM d", &[Append, Update]),
    ("SELECT word FROM s UNION SELECT word FROM d", &[Append, Update, Complete]),
    ("SELECT s.word, d.n FROM s JOIN d ON s.n = d.n AND s.word <> d.word", &[Append, Update]),
    ("SELECT s.word, d.n FROM d RIGHT JOIN s ON s.n = d.n", &[Append]),
    ("SELECT s.word, d.n FROM s, d", &[Append]),
    ("SELECT word FROM s WHERE n IN (SELECT n FROM d)", &[Append]),
    ("SELECT word FROM s WHERE n NOT IN (SELECT n FROM d)", &[Append]),
    ("SELECT word FROM s WHERE n > (SELECT max(n) FROM d)", &[Append]),
    ("SELECT n FROM s EXCEPT SELECT n FROM d", &[Append]),
    ("SELECT word, count(*) FROM s GROUP BY word UNION ALL SELECT word, n FROM t", &[Update]),
    ("SELECT now(), current_date(), word, random() FROM s WHERE now() > '2020-01-01'", &[Append]),
    ("SELECT word FROM s WHERE false", &[Append]),
];

#[test]
fn what_a_stream_can_do_is_planned() {
    for parallelism in [1, 3] {
        let (bench, _) = bench(parallelism);
        for (sql, modes) in PLANNED {
            for mode in *modes {
                plan(&bench, sql, *mode).unwrap_or_else(|error| panic!("{mode:?} {sql}: {error}"));
            }
        }
    }
}

#[test]
fn explain_says_what_each_operator_computes() {
    let (bench, _) = bench(2);
    let sql = "SELECT upper(word) AS w, count(*) AS c FROM s WHERE n > 1 GROUP BY upper(word)";
    let text = plan(&bench, sql, Update).unwrap();
    for part in [
        "source-s x1  [replayable]",
        "read word, n",
        "filter s.n > Int64(1)",
        "aggregate x2  [stateful, exactly-once]  <- by key from",
        "count(Int64(1)) by upper(s.word) -> ",
        "emits the groups that a batch has changed",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let text = plan(&bench, sql, Complete).unwrap();
    assert!(text.contains("aggregate x1"), "{text}");
    assert!(text.contains("emits all groups at the end of an epoch"), "{text}");
}

fn run(bench: &PlanBench, sql: &str, mode: OutputMode, out: &MemoryTable, at: &Path) -> Result<(), Error> {
    let query = bench.query(sql, mode, out.sink(mode))?.checkpoint_location(at);
    let query = query.start(Trigger::processing_time("0 ms"))?;
    query.process_all_available()?;
    query.stop()
}

#[test]
fn a_changed_query_is_refused_by_its_own_checkpoint_with_what_differs() {
    let (bench, stream) = bench(1);
    let folder = tempfile::tempdir().unwrap();
    let sql = "SELECT word, count(*) AS c FROM s GROUP BY word";
    let out = MemoryTable::new("out", bench.schema(sql).unwrap());
    stream.add(rows(&[Some("a"), Some("a")], &[Some(1), None])).unwrap();
    run(&bench, sql, Update, &out, folder.path()).unwrap();
    assert_eq!(out.row_count(), 1);

    // Another filter before it keeps the state; another output mode too.
    stream.add(rows(&[Some("a"), Some("b")], &[Some(1), Some(5)])).unwrap();
    let filtered = "SELECT word, count(*) AS c FROM s WHERE n < 3 GROUP BY word";
    run(&bench, filtered, Update, &out, folder.path()).unwrap();
    let rows = out.rows();
    let counts = rows.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!(counts.values().last(), Some(&3), "the count went on");

    for (changed, old, new) in [
        (
            "SELECT word, sum(n) AS c FROM s GROUP BY word",
            "count(Int64(1)) AS c by s.word",
            "sum(s.n) AS c by s.word",
        ),
        ("SELECT upper(word) AS word, count(*) AS c FROM s GROUP BY 1", "by s.word", "by upper(s.word)"),
        ("SELECT word, n AS c FROM s", "it has `aggregate`", "which this query lacks"),
        ("SELECT word, count(*) AS c FROM t GROUP BY word", "source-s", "this query has `source-t`"),
    ] {
        let error = run(&bench, changed, Update, &out, folder.path()).unwrap_err().to_string();
        assert!(error.contains("belongs to another query"), "{changed}: {error}");
        let short = |text: &str| text.replace(" AS c", "");
        assert!(short(&error).contains(&short(old)), "{changed}: `{old}` is not in {error}");
        assert!(short(&error).contains(&short(new)), "{changed}: `{new}` is not in {error}");
    }
}
