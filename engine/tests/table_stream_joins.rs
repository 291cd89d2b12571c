//! Joins of two streams: with delays that cover the disorder they give the batch answer, whatever the batches, the
//! mode, the parallelism, the stops and restarts; and what they refuse and say of themselves.
//!
//! `LOTIC_JOIN_CASES` sets how many cases run, `LOTIC_JOIN_SEED` where they begin.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::{PlanBench, Random};
use lotic::{OutputMode, Session, Trigger};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// No row is as much as this behind another before it.
const DELAY: Duration = Duration::from_millis(2_001);
const DISORDER_MS: usize = 2_000;

const QUERIES: &[&str] = &[
    // Each kind, with both bounds.
    "SELECT l.k, l.n, r.n FROM l JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts - INTERVAL '3 seconds' AND r.ts + INTERVAL '5 seconds'",
    "SELECT * FROM l LEFT JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts - INTERVAL '3 seconds' AND r.ts + INTERVAL '5 seconds'",
    "SELECT * FROM l RIGHT JOIN r ON l.k = r.k AND r.ts BETWEEN l.ts AND l.ts + INTERVAL '4 seconds'",
    "SELECT * FROM l FULL JOIN r ON l.k = r.k AND r.ts >= l.ts - INTERVAL '1 second' AND r.ts < l.ts + INTERVAL '2 seconds'",
    "SELECT * FROM l LEFT SEMI JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts AND r.ts + INTERVAL '5 seconds'",
    "SELECT * FROM l LEFT ANTI JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts AND r.ts + INTERVAL '5 seconds'",
    "SELECT * FROM l RIGHT SEMI JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts AND r.ts + INTERVAL '5 seconds'",
    "SELECT * FROM l RIGHT ANTI JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts AND r.ts + INTERVAL '5 seconds'",
    "SELECT k, n FROM l WHERE EXISTS (SELECT 1 FROM r WHERE r.k = l.k AND r.n > l.n AND r.ts > l.ts AND r.ts < l.ts + INTERVAL '9 seconds')",
    "SELECT k, n FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE r.k = l.k AND r.ts > l.ts AND r.ts < l.ts + INTERVAL '9 seconds')",
    // Bounds that do not hold zero.
    "SELECT * FROM l FULL JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts + INTERVAL '4 seconds' AND r.ts + INTERVAL '8 seconds'",
    // Equal event times.
    "SELECT * FROM l FULL JOIN r ON l.ts = r.ts",
    "SELECT * FROM l LEFT JOIN r ON l.ts = r.ts + INTERVAL '1 second' AND l.k = r.k",
    // Keys that are computed, of several types; a condition besides.
    "SELECT * FROM l LEFT JOIN r ON upper(l.k) = upper(r.k) AND l.n = CAST(r.n AS INT) AND l.ts > r.ts AND l.ts < r.ts + INTERVAL '20 seconds'",
    "SELECT * FROM l FULL JOIN r ON l.k = r.k AND l.n < r.n AND l.ts BETWEEN r.ts - INTERVAL '4 seconds' AND r.ts + INTERVAL '4 seconds'",
    // Without bounds.
    "SELECT l.k, l.n, r.n FROM l JOIN r ON l.k = r.k",
    "SELECT l.k, r.n FROM l, r WHERE l.n = r.n AND l.ts < r.ts",
    "SELECT a.n, b.n FROM l AS a JOIN l AS b ON a.k = b.k AND a.ts < b.ts AND b.ts < a.ts + INTERVAL '3 seconds'",
    // Equal windows of aggregations.
    "SELECT a.w, a.k, a.c, b.c FROM (SELECT window AS w, k, count(*) AS c FROM l GROUP BY window(ts, '4 seconds'), k) a \
     JOIN (SELECT window AS w, k, count(*) AS c FROM r GROUP BY window(ts, '4 seconds'), k) b ON a.w = b.w AND a.k = b.k",
    "SELECT a.w, b.w, a.c, b.c FROM (SELECT window AS w, count(*) AS c FROM l GROUP BY window(ts, '4 seconds')) a \
     FULL JOIN (SELECT window AS w, count(*) AS c FROM r GROUP BY window(ts, '4 seconds')) b ON a.w = b.w",
    // An aggregation and another join over a join: no row of the join is late there.
    "SELECT window.start, count(*), sum(n) FROM (SELECT l.ts, r.n FROM l LEFT JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts - \
     INTERVAL '3 seconds' AND r.ts + INTERVAL '5 seconds') GROUP BY window(ts, '5 seconds')",
    "SELECT window.start, count(*), sum(n) FROM (SELECT r.ts, r.n FROM l RIGHT JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts - \
     INTERVAL '3 seconds' AND r.ts + INTERVAL '5 seconds' WHERE r.ts IS NOT NULL) GROUP BY window(ts, '5 seconds')",
    "SELECT j.n, j.m, r.n FROM (SELECT a.k, a.ts, a.n, b.n AS m FROM l AS a JOIN r AS b ON a.k = b.k AND a.ts BETWEEN b.ts AND \
     b.ts + INTERVAL '2 seconds') j LEFT JOIN r ON j.k = r.k AND j.ts BETWEEN r.ts AND r.ts + INTERVAL '3 seconds'",
];

fn rows(values: &[(Option<i64>, Option<&str>, Option<i64>)]) -> RecordBatch {
    let times: TimestampMillisecondArray = values.iter().map(|row| row.0).collect();
    let words: StringArray = values.iter().map(|row| row.1).collect();
    let numbers: Int64Array = values.iter().map(|row| row.2).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("ts", Arc::new(times) as ArrayRef, true),
        ("k", Arc::new(words) as ArrayRef, true),
        ("n", Arc::new(numbers) as ArrayRef, true),
    ])
    .unwrap()
}

/// Random rows, few keys, nulls among them, no row more than [`DISORDER_MS`] behind another before it.
fn random_rows(random: &mut Random) -> RecordBatch {
    let mut now = random.below(3) as i64 * 5_000;
    let mut values = Vec::new();
    for _ in 0..random.below(45) {
        now += if random.once_in(8) { 5_000 } else { random.below(1_500) as i64 };
        let time = now - random.below(DISORDER_MS) as i64;
        let whole = time.div_euclid(1_000) * 1_000;
        let time = if random.once_in(2) && now - whole <= DISORDER_MS as i64 { whole } else { time };
        let word = (!random.once_in(8)).then(|| *random.pick(&["a", "b", "ação"]));
        let number = (!random.once_in(8)).then(|| random.below(5) as i64);
        values.push(((!random.once_in(12)).then_some(time), word, number));
    }
    rows(&values)
}

fn chunks(random: &mut Random, rows: &RecordBatch) -> Vec<RecordBatch> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    while at < rows.num_rows() {
        let size = (1 + random.below(6)).min(rows.num_rows() - at);
        chunks.push(rows.slice(at, size));
        at += size;
    }
    chunks
}

/// Each row as the text of its values, sorted.
fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
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

struct Benches {
    streams: PlanBench,
    oracle: PlanBench,
}

impl Benches {
    fn new(parallelism: usize) -> Benches {
        let session = || Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
        let streams = PlanBench::new(session()).unwrap();
        Benches { streams, oracle: PlanBench::new(session()).unwrap() }
    }
}

/// The streams with the rows that have not come yet.
struct Input(Vec<(MemoryTable, std::vec::IntoIter<RecordBatch>)>);

impl Input {
    fn new(benches: &Benches, random: &mut Random) -> Input {
        let streams = ["l", "r"].map(|name| {
            let rows = random_rows(random);
            benches.oracle.table(name, rows.schema(), vec![rows.clone()]).unwrap();
            let table = MemoryTable::new(name, rows.schema());
            benches.streams.stream_with_watermark(name, Arc::new(table.clone()), "ts", DELAY).unwrap();
            (table, chunks(random, &rows).into_iter())
        });
        Input(streams.into())
    }

    fn add(&mut self, random: &mut Random, all: bool) {
        for (table, left) in &mut self.0 {
            let some = if all { usize::MAX } else { random.below(left.len() + 1) };
            left.by_ref().take(some).for_each(|batch| table.add(batch).unwrap());
        }
    }
}

fn trigger(random: &mut Random) -> Trigger {
    if random.once_in(2) { Trigger::continuous("2 ms") } else { Trigger::processing_time("0 ms") }
}

struct Run<'a> {
    sql: &'a str,
    benches: &'a Benches,
    out: &'a MemoryTable,
    folder: &'a Path,
}

impl Run<'_> {
    fn run(&self, input: &mut Input, random: &mut Random, last: bool) {
        let mode = OutputMode::Append;
        let query = self.benches.streams.query(self.sql, mode, self.out.sink(mode)).unwrap();
        let query = query.checkpoint_location(self.folder).start(trigger(random)).unwrap();
        input.add(random, false);
        if random.once_in(2) {
            query.process_all_available().unwrap();
        }
        if random.once_in(2) {
            query.set_trigger(trigger(random)).unwrap();
        }
        input.add(random, last);
        if last {
            input.0.iter().for_each(|(table, _)| table.finish());
            query.await_termination().unwrap();
            return;
        }
        if random.once_in(2) {
            query.process_all_available().unwrap();
        }
        query.stop().unwrap();
    }
}

fn check(seed: u64, benches: &Benches) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut input = Input::new(benches, &mut random);
    let sql = *random.pick(QUERIES);
    let told = |what: String| format!("seed {seed}: {sql}\n{what}");
    let (schema, expected) = benches.oracle.batch(sql).map_err(|error| told(error.to_string()))?;
    let expected = texts(&expected);
    let out = MemoryTable::new("out", schema);
    let folder = tempfile::tempdir().unwrap();
    let run = Run { sql, benches, out: &out, folder: folder.path() };
    let runs = 1 + random.below(3);
    for number in 1..=runs {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run.run(&mut input, &mut random, number == runs);
        }));
        done.map_err(|_| told(format!("run {number} of {runs} failed")))?;
    }
    let shown = texts(&out.batches());
    if shown == expected { Ok(()) } else { Err(told(format!("shown {shown:?}\nexpected {expected:?}"))) }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn two_streams_whose_delays_cover_their_disorder_give_the_batch_answer() {
    let cases = number("LOTIC_JOIN_CASES", 300);
    let first = number("LOTIC_JOIN_SEED", 1);
    println!("LOTIC_JOIN_SEED={first} LOTIC_JOIN_CASES={cases}");
    let next = std::sync::atomic::AtomicU64::new(first);
    let work = || {
        let benches = [Benches::new(1), Benches::new(3)];
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= first + cases || failed.len() > 2 {
                return failed;
            }
            failed.extend(check(seed, &benches[(seed % 2) as usize]).err());
        }
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Streams `l` and `r` with watermarks, and `u` without one; a bounded table `d`.
fn bench() -> PlanBench {
    let bench = PlanBench::new(Session::builder().parallelism(2).get_or_create().unwrap()).unwrap();
    let schema = rows(&[]).schema();
    for name in ["l", "r"] {
        let table = Arc::new(MemoryTable::new(name, Arc::clone(&schema)));
        bench.stream_with_watermark(name, table, "ts", DELAY).unwrap();
    }
    bench.stream("u", Arc::new(MemoryTable::new("u", Arc::clone(&schema)))).unwrap();
    bench.table("d", schema, vec![]).unwrap();
    bench
}

fn explained(bench: &PlanBench, sql: &str, mode: OutputMode) -> Result<String, lotic::Error> {
    let sink = MemoryTable::new("out", bench.schema(sql)?).sink(mode);
    bench.query(sql, mode, sink)?.explain()
}

#[test]
fn what_cannot_be_joined_is_refused_with_the_way_out() {
    use OutputMode::{Append, Update};
    let bench = bench();
    let within = "l.ts BETWEEN r.ts AND r.ts + INTERVAL '1 minute'";
    let refused = [
        (format!("SELECT l.n FROM l JOIN r ON l.k = r.k AND {within}"), Update, "use output mode append"),
        (format!("SELECT l.n FROM l JOIN r ON {within}"), Append, "needs an equality"),
        ("SELECT l.n FROM l LEFT JOIN r ON l.k = r.k".to_owned(), Append, "give both streams a watermark"),
        (
            "SELECT l.n FROM l RIGHT JOIN r ON l.k = r.k AND l.ts > r.ts".to_owned(),
            Append,
            "bound their event times",
        ),
        (
            "SELECT l.n FROM l FULL JOIN r ON l.k = r.k AND l.ts < r.ts".to_owned(),
            Append,
            "bound their event times",
        ),
        ("SELECT l.n FROM l LEFT SEMI JOIN r ON l.k = r.k".to_owned(), Append, "or use an inner join"),
        (
            "SELECT l.n FROM l LEFT JOIN u ON l.k = u.k AND l.ts = u.ts".to_owned(),
            Append,
            "give both streams a watermark",
        ),
        ("SELECT n FROM l EXCEPT SELECT n FROM r".to_owned(), Append, "EXCEPT and INTERSECT of two streams"),
        ("SELECT n FROM l WHERE k NOT IN (SELECT k FROM r)".to_owned(), Append, "use NOT EXISTS"),
    ];
    for (sql, mode, reason) in refused {
        let error = explained(&bench, &sql, mode).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(reason), "{sql}: {error}");
    }
}

#[test]
fn explain_shows_the_bounds_and_how_long_rows_are_held() {
    let bench = bench();
    let explain = |sql| explained(&bench, sql, OutputMode::Append).unwrap();
    let text = explain(
        "SELECT l.n, r.n FROM l JOIN r ON l.k = r.k AND l.ts BETWEEN r.ts - INTERVAL '5 seconds' AND r.ts + INTERVAL '1 minute'",
    );
    assert!(text.contains("left `ts` less right `ts` is from -5s to 60s"), "{text}");
    assert!(text.contains("a left row is held until the watermark reaches its `ts` plus 5s"), "{text}");
    assert!(text.contains("a right row is held until the watermark reaches its `ts` plus 60s"), "{text}");
    assert!(!text.contains("WARNING"), "{text}");
    let text = explain("SELECT l.n, r.n FROM l JOIN r ON l.k = r.k");
    assert!(text.contains("WARNING: left rows are held for ever"), "{text}");
    let text = explain("SELECT l.n, r.n FROM l JOIN r ON l.k = r.k AND l.ts > r.ts");
    assert!(
        text.contains("WARNING: right rows are held for ever") && !text.contains("WARNING: left"),
        "{text}"
    );
    let text = explain("SELECT l.n, u.n FROM l JOIN u ON l.k = u.k AND l.ts = u.ts");
    assert!(text.contains("WARNING: left rows") && text.contains("WARNING: right rows"), "{text}");
}
