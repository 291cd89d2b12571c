//! Event time in SQL and DataFrames, from reading to writing: what it means, what it shows, what it refuses.

use super::data::{rows, texts};
use lotic::connectors::table::memory::{MemoryTable, MemoryTables};
use lotic::functions::{
    avg, col, count, lit, session_window, sliding_window, sum, window, window_time, window_with_start,
};
use lotic::{DataFrame, Error, ErrorKind, OutputMode, Session, StreamingQuery, Trigger};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Bench {
    session: Session,
    tables: MemoryTables,
    input: MemoryTable,
}

type Row = (Option<i64>, Option<&'static str>, Option<i64>);

fn row(seconds: i64, k: &'static str, n: i64) -> Row {
    (Some(seconds * 1000), Some(k), Some(n))
}

/// A stream `s` of `(ts, k, n)`, with a watermark 5 seconds behind.
fn bench() -> Bench {
    let session = Session::builder().app_name("windows").workers(2).get_or_create().unwrap();
    let tables = session.memory_tables().unwrap();
    let input = tables.create("input", rows(&[]).schema(), 1).unwrap();
    session
        .execute(
            "CREATE UNBOUNDED EXTERNAL TABLE s STORED AS MEMORY OPTIONS ('name' 'input', 'watermark.column' 'ts', \
             'watermark.delay' '5 seconds')",
        )
        .unwrap();
    Bench { session, tables, input }
}

impl Bench {
    fn stream(&self) -> DataFrame {
        self.session.read_stream().format("memory").option("name", "input").load().unwrap()
    }

    fn watermarked(&self) -> DataFrame {
        self.stream().with_watermark("ts", "5 seconds").unwrap()
    }

    fn sql(&self, sql: &str) -> DataFrame {
        self.session.sql(sql).unwrap()
    }

    fn start(&self, frame: &DataFrame, mode: OutputMode, out: &str) -> StreamingQuery {
        let trigger = Trigger::continuous("5 ms");
        let writer = frame.write_stream().format("memory").option("name", out).output_mode(mode);
        writer.trigger(trigger).start().unwrap()
    }

    /// Adds rows and waits until they are processed.
    fn add(&self, query: &StreamingQuery, values: &[Row]) {
        self.input.add(rows(values)).unwrap();
        query.process_all_available().unwrap();
    }

    fn shown(&self, out: &str) -> Vec<String> {
        let rows = texts(&self.tables.get(out).unwrap().batches());
        rows.into_iter().map(|row| row.join(" ")).collect()
    }
}

fn refused(result: Result<DataFrame, Error>, part: &str) {
    let error = result.expect_err("it was to be refused");
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert!(error.to_string().contains(part), "`{error}` does not say `{part}`");
}

#[test]
fn append_shows_a_window_once_the_watermark_has_passed_it_and_drops_what_comes_later() {
    let bench = bench();
    let frame = bench.sql(
        "SELECT date_part('second', window.start) AS s, k, count(*) AS c FROM s GROUP BY window(ts, '10 seconds'), k",
    );
    let query = bench.start(&frame, OutputMode::Append, "out");
    bench.add(&query, &[row(1, "a", 1), row(9, "a", 1), row(2, "b", 1), (None, Some("a"), None)]);
    assert!(bench.shown("out").is_empty(), "the window may still get rows");
    bench.add(&query, &[row(14, "a", 1), row(3, "a", 1)]);
    assert!(bench.shown("out").is_empty(), "14 less 5 is before the end");
    bench.add(&query, &[row(15, "b", 1)]);
    assert_eq!(bench.shown("out"), ["0 a 3", "0 b 1"]);
    bench.add(&query, &[row(9, "a", 1), row(10, "a", 1)]);
    assert_eq!(bench.shown("out").len(), 2, "the row came too late");
    bench.add(&query, &[row(40, "a", 1)]);
    assert_eq!(bench.shown("out"), ["0 a 3", "0 b 1", "10 a 2", "10 b 1"]);
    let reports = query.recent_progress();
    assert_eq!(reports.iter().map(|report| report.late_rows).sum::<u64>(), 1);
    let last = reports.iter().rev().find_map(|report| report.event_time.clone()).unwrap();
    assert_eq!((last.watermark.as_str(), last.watermark_us), ("1970-01-01T00:00:35.000Z", 35_000_000));
    let json = serde_json::to_value(reports.last().unwrap()).unwrap();
    assert_eq!(json["eventTime"]["watermark"], "1970-01-01T00:00:35.000Z");
    assert!(json["numRowsDroppedByWatermark"].is_u64());
    bench.input.finish();
    query.await_termination().unwrap();
    assert_eq!(bench.shown("out").last().unwrap(), "40 a 1", "the end of the input closes all windows");
}

#[test]
fn update_shows_changes_and_forgets_and_complete_keeps_all() {
    let bench = bench();
    let frame = bench.sql("SELECT window.end, count(*) AS c FROM s GROUP BY window(ts, '10 seconds')");
    let explained = frame.write_stream().format("console").output_mode("update").explain().unwrap();
    assert!(
        explained.contains("state is bounded: a group is forgotten when the watermark has passed"),
        "{explained}"
    );
    let frame = frame.select_expr(&["date_part('second', \"end\")", "c"]).unwrap();
    let update = bench.start(&frame, OutputMode::Update, "updates");
    let complete = bench.start(&frame, OutputMode::Complete, "all");
    let add = |values: &[Row]| {
        bench.add(&update, values);
        complete.process_all_available().unwrap();
    };
    add(&[row(1, "a", 1)]);
    add(&[row(3, "a", 1), row(30, "a", 1)]);
    add(&[row(2, "a", 1)]);
    assert_eq!(bench.shown("updates"), ["10 1", "10 2", "40 1"], "the last row was late");
    assert_eq!(bench.shown("all"), ["10 3", "40 1"], "nothing is late where all is kept");
}

#[test]
fn frames_say_the_same_as_sql() {
    let bench = bench();
    let frame = bench
        .watermarked()
        .group_by([window(col("ts"), "10 seconds"), col("k")])
        .unwrap()
        .agg([count(lit(1i64)).alias("c"), sum(col("n")).alias("t"), avg(col("n")).alias("m")])
        .unwrap();
    assert_eq!(frame.schema().field(0).name(), "window");
    let chained = frame
        .group_by([window(window_time(col("window")), Duration::from_secs(60))])
        .unwrap()
        .agg([sum(col("c")).alias("c")])
        .unwrap()
        .select(["Window.END", "c"])
        .unwrap()
        .select_expr(&["date_part('minute', \"end\") AS e", "c"])
        .unwrap();
    let sliding = bench
        .watermarked()
        .group_by([sliding_window(col("ts"), "10 seconds", "5 seconds")])
        .unwrap()
        .count()
        .unwrap()
        .select_expr(&["date_part('second', window.start) AS s", "count"])
        .unwrap();
    let started = bench
        .watermarked()
        .group_by([window_with_start(col("ts"), "10 seconds", "10 seconds", "3 seconds")])
        .unwrap()
        .count()
        .unwrap()
        .select_expr(&["date_part('second', window.start) AS s", "count"])
        .unwrap();
    let queries = [(&chained, "chained"), (&sliding, "sliding"), (&started, "started")]
        .map(|(frame, out)| bench.start(frame, OutputMode::Append, out));
    bench.input.add(rows(&[row(4, "a", 1), row(12, "b", 1), row(17, "a", 1), row(23, "a", 2)])).unwrap();
    bench.input.finish();
    queries.iter().for_each(|query| query.await_termination().unwrap());
    assert_eq!(bench.shown("chained"), ["1 4"]);
    assert_eq!(bench.shown("sliding"), ["0 1", "10 2", "15 2", "20 1", "5 1", "55 1"]);
    assert_eq!(bench.shown("started"), ["13 1", "23 1", "3 2"]);
}

#[test]
fn duplicates_are_dropped_for_ever_by_event_time_or_within_the_watermark() {
    let bench = bench();
    let frames = [
        ("ever", bench.stream().drop_duplicates(&["K"]).unwrap()),
        ("timed", bench.watermarked().drop_duplicates(&["ts", "k"]).unwrap()),
        ("within", bench.watermarked().drop_duplicates_within_watermark(&["k"]).unwrap()),
    ];
    let explained = frames[2].1.explain().unwrap();
    assert!(
        explained.contains("state is bounded: a value is forgotten 5s after the `ts` of its first row"),
        "{explained}"
    );
    let explained = frames[0].1.explain().unwrap();
    assert!(explained.contains("state is unbounded: every value is kept"), "{explained}");
    let queries = frames.map(|(name, frame)| {
        let frame = frame.select_expr(&["date_part('second', ts) AS s", "k", "n"]).unwrap();
        bench.start(&frame, OutputMode::Append, name)
    });
    let add = |values: &[Row]| {
        bench.add(&queries[0], values);
        queries.iter().for_each(|query| query.process_all_available().unwrap());
    };
    add(&[row(10, "a", 1), row(10, "a", 2), row(11, "b", 3), row(11, "a", 4)]);
    assert_eq!(bench.shown("ever"), ["10 a 1", "11 b 3"]);
    assert_eq!(bench.shown("timed"), ["10 a 1", "11 a 4", "11 b 3"]);
    assert_eq!(bench.shown("within"), ["10 a 1", "11 b 3"]);
    add(&[row(40, "c", 5)]);
    add(&[row(41, "a", 6), row(11, "a", 7)]);
    assert_eq!(bench.shown("ever"), ["10 a 1", "11 b 3", "40 c 5"]);
    assert_eq!(bench.shown("timed"), ["10 a 1", "11 a 4", "11 b 3", "40 c 5", "41 a 6"]);
    assert_eq!(bench.shown("within"), ["10 a 1", "11 b 3", "40 c 5", "41 a 6"]);
}

#[test]
fn a_bounded_table_needs_no_watermark_and_gives_the_same_names() {
    let bench = bench();
    bench.tables.create("b", rows(&[]).schema(), 1).unwrap();
    let table = bench.tables.get("b").unwrap();
    table.add(rows(&[row(1, "a", 1), row(2, "a", 1), row(11, "b", 1), (None, Some("c"), Some(1))])).unwrap();
    let bounded = bench.session.read().format("memory").option("name", "b").load().unwrap();
    let marked = bounded.with_watermark("ts", "5 seconds").unwrap();
    assert_eq!(marked.schema(), bounded.schema(), "it does nothing");
    let counts = marked.group_by([window(col("ts"), "10 seconds")]).unwrap().count().unwrap();
    assert_eq!(texts(&counts.collect().unwrap()).len(), 2, "rows without a time are left out");
    assert_eq!(bounded.drop_duplicates(&["k"]).unwrap().count().unwrap(), 3);
    assert_eq!(bounded.drop_duplicates_within_watermark(&["k"]).unwrap().count().unwrap(), 3);
    marked.create_or_replace_temp_view("b").unwrap();
    let frame = bench.sql(
        "SELECT session_window.start, session_window.end, count(*) FROM b GROUP BY session_window(ts, '3 seconds') \
         ORDER BY session_window.start",
    );
    let names: Vec<String> =
        frame.schema().fields().iter().take(2).map(|field| field.name().clone()).collect();
    assert_eq!(names, ["start", "end"]);
    let shown = texts(&frame.collect().unwrap());
    assert_eq!(shown[0], ["1970-01-01T00:00:01Z", "1970-01-01T00:00:05Z", "2"]);
    assert_eq!(shown[1], ["1970-01-01T00:00:11Z", "1970-01-01T00:00:14Z", "1"]);
    let same = bounded.group_by([session_window(col("ts"), "3 seconds")]).unwrap().count().unwrap();
    assert_eq!(same.schema().field(0).name(), "session_window");
    assert_eq!(same.count().unwrap(), 2);
}

/// What each micro-batch was given.
type Batches = Arc<Mutex<Vec<(u64, Vec<Vec<String>>)>>>;

#[test]
fn a_micro_batch_has_the_same_rows_when_it_comes_again() {
    for mode in [OutputMode::Append, OutputMode::Update] {
        let bench = bench();
        let frame =
            bench.sql("SELECT window.start, k, count(*) AS c FROM s GROUP BY window(ts, '10 seconds'), k");
        let folder = tempfile::tempdir().unwrap();
        let batches: Batches = Arc::default();
        let run = |failing: Option<u64>| {
            let batches = Arc::clone(&batches);
            let writer = frame.write_stream().output_mode(mode).option("checkpointLocation", folder.path());
            let writer = writer.foreach_batch(move |rows: DataFrame, batch: u64| {
                assert!(rows.schema().fields().iter().all(|field| field.metadata().is_empty()));
                let rows = texts(&rows.collect().unwrap());
                batches.lock().unwrap().push((batch, rows));
                if failing.is_some_and(|failing| batch >= failing) { Err("the batch fails") } else { Ok(()) }
            });
            writer.trigger(Trigger::AvailableNow).start().unwrap()
        };
        bench.input.add(rows(&[row(1, "a", 1), row(30, "a", 1)])).unwrap();
        run(None).await_termination().unwrap();
        let first = batches.lock().unwrap().last().map_or(0, |batch| batch.0);
        // The watermark is past 9 since the batch before; within this one the order of rows does not matter.
        bench.input.add(rows(&[row(9, "a", 1), row(60, "b", 1), row(31, "a", 1)])).unwrap();
        assert!(run(Some(first + 1)).await_termination().is_err());
        let failed = batches.lock().unwrap().last().unwrap().0;
        run(None).await_termination().unwrap();
        let batches = batches.lock().unwrap();
        let again: Vec<_> = batches.iter().filter(|(batch, _)| *batch == failed).collect();
        assert!(again.len() > 1, "the batch came again: {batches:?}");
        assert!(again.iter().all(|batch| batch == &again[0]), "{again:?}");
        let text = format!("{:?}", again[0].1);
        assert!(text.contains("00:00:30") && !text.contains("\"1970-01-01T00:00:00Z\""), "{mode:?}: {text}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let bench = bench();
    let s = bench.stream();
    refused(s.with_watermark("k", "1 second"), "a watermark needs a timestamp, and column `k` is Utf8");
    refused(s.with_watermark("tz", "1 second"), "there is no column `tz`");
    refused(s.with_watermark("ts", "1 month"), "not all equally long");
    refused(s.with_watermark("ts", "-1 second"), "is negative");
    refused(s.drop_duplicates_within_watermark(&["k"]), "needs a column with a watermark");
    refused(s.drop_duplicates(&["nn"]), "there is no column `nn`");
    let by = |expr| s.group_by([expr]).unwrap().count();
    refused(by(window(col("ts"), "0 seconds")), "the size of `window` must be longer than zero");
    refused(by(window(col("ts"), "soon")), "the size of `window`: `soon` is not an interval");
    refused(by(window(col("ts"), "2 months")), "not all equally long");
    refused(by(window(col("k"), "1 second")), "`window` needs a timestamp, and its first argument is Utf8");
    refused(by(sliding_window(col("ts"), "5 seconds", "10 seconds")), "longer than its size");
    refused(by(sliding_window(col("ts"), "1 day", "1 ms")), "each row would be in 86400000 windows");
    refused(
        by(window_with_start(col("ts"), "5 seconds", "5 seconds", "6 seconds")),
        "shorter than its slide",
    );
    refused(by(session_window(col("ts"), "0 s")), "the gap of `session_window` must be longer than zero");
    let sql = |sql: &str| bench.session.sql(sql).and_then(|frame| frame.explain().map(|_| frame));
    refused(sql("SELECT count(*) FROM s GROUP BY window(ts, k)"), "must be a literal");
    refused(sql("SELECT session_window(ts, '1 s') FROM s"), "`session_window` can stand in GROUP BY alone");
    refused(
        sql("SELECT count(*) FROM s GROUP BY window(ts, '1 s'), window(ts, '2 s')"),
        "several windows in one step",
    );
    refused(
        sql("SELECT k FROM s WHERE window(ts, '2 s', '1 s') IS NOT NULL"),
        "can stand in GROUP BY or SELECT alone",
    );
    let explain = |frame: &DataFrame, mode: OutputMode| {
        frame.write_stream().format("console").output_mode(mode).explain().map(|_| frame.clone())
    };
    let counts = s.group_by([window(col("ts"), "1 s")]).unwrap().count().unwrap();
    refused(
        explain(&counts, OutputMode::Append),
        "give the stream a watermark and group by `window(ts, '10 seconds')`",
    );
    let counts = bench.watermarked().group_by(["k"]).unwrap().count().unwrap();
    refused(explain(&counts, OutputMode::Append), "give the stream a watermark and group by");
    // Another time than that of the rows.
    let coarse = bench.watermarked().select_expr(&["date_trunc('minute', ts) AS ts", "k"]).unwrap();
    refused(
        explain(&coarse.group_by(["ts"]).unwrap().count().unwrap(), OutputMode::Append),
        "give the stream a watermark",
    );
    let sessions = bench.watermarked().group_by([session_window(col("ts"), "1 s")]).unwrap().count().unwrap();
    refused(explain(&sessions, OutputMode::Update), "sessions grow and merge");
    let late = counts.with_watermark("count", "1 s");
    refused(late, "a watermark needs a timestamp");
    let create = |options: &str| {
        let sql =
            format!("CREATE UNBOUNDED EXTERNAL TABLE w STORED AS MEMORY OPTIONS ('name' 'input', {options})");
        bench.session.execute(&sql).map(|_| bench.stream())
    };
    refused(create("'watermark.column' 'ts'"), "`watermark.column` without `watermark.delay`");
    refused(create("'watermark.delay' '1 s'"), "`watermark.delay` without `watermark.column`");
    refused(create("'watermark.colum' 'ts'"), "there is no option `watermark.colum`");
    refused(create("'watermark.column' 'n', 'watermark.delay' '1 s'"), "column `n` is Int64");
    refused(create("'watermark.column' 'tss', 'watermark.delay' '1 s'"), "did you mean `ts`?");
}

#[test]
fn event_time_travels_through_views_unions_and_aliases_and_leaves_at_the_sink() {
    let bench = bench();
    let session = &bench.session;
    session.execute("CREATE VIEW v AS SELECT ts AS at, upper(k) AS k FROM s WHERE n > 0").unwrap();
    let sql = "WITH u AS (SELECT x.at AS moment, x.k FROM v AS x UNION ALL SELECT ts, k FROM s) \
               SELECT w, k, count(*) AS c FROM (SELECT window(moment, '10 seconds') AS w, k FROM u) GROUP BY w, k";
    let frame = bench.sql(sql);
    let query = bench.start(&frame, OutputMode::Append, "out");
    bench.input.add(rows(&[row(1, "a", 1), row(12, "b", 0)])).unwrap();
    bench.input.finish();
    query.await_termination().unwrap();
    assert_eq!(bench.shown("out").len(), 3);
    let out = bench.tables.get("out").unwrap();
    assert!(out.schema().fields().iter().all(|field| field.metadata().is_empty()));
    assert!(out.batches().iter().all(|rows| rows.schema().fields().iter().all(|f| f.metadata().is_empty())));
    // Of two delays the longer.
    let slower = bench.stream().with_watermark("ts", "1 hour").unwrap();
    let both = bench.watermarked().union(&slower).unwrap().group_by(["ts"]).unwrap().count().unwrap();
    assert!(both.explain().unwrap().contains("emits each group once, when it is over"));
    let unmarked =
        bench.watermarked().union(&bench.stream()).unwrap().group_by(["ts"]).unwrap().count().unwrap();
    assert!(!unmarked.explain().unwrap().contains("emits each group once, when it is over"));
    let reader = session.read_stream().format("memory").option("name", "input");
    let reader = reader.option("watermark.column", "TS").option("watermark.delay", "1 minute");
    let explained = reader.load().unwrap().explain().unwrap();
    assert!(explained.contains("Watermark: memory.ts - 60s"), "{explained}");
}
