//! A stream with an end gives the batch answer, when its delay covers the disorder: whatever the batches, the
//! mode, the parallelism, the stops and restarts.
//!
//! `LOTIC_WINDOW_CASES` sets how many cases run, `LOTIC_WINDOW_SEED` where they begin.

use super::data::{DELAY, chunks, random_rows, texts};
use arrow::array::RecordBatch;
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::{PlanBench, Random};
use lotic::{OutputMode, Session, Trigger};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A query, and how many columns of its result are the key of a row in output mode update; none if it does not
/// run in it.
type Case = (&'static str, Option<usize>);

const QUERIES: &[Case] = &[
    (
        "SELECT window.start, window.end, k, count(*) AS c, sum(n) AS t FROM s GROUP BY window(ts, '10 seconds'), k",
        Some(3),
    ),
    ("SELECT window, min(n), max(k) FROM s WHERE n > 0 GROUP BY window(ts, '3 seconds') ", Some(1)),
    (
        "SELECT k, window(ts, INTERVAL '5 seconds', INTERVAL '5 seconds', INTERVAL '2 seconds') AS w, avg(n) FROM s GROUP BY 1, 2",
        Some(2),
    ),
    (
        "SELECT window.end AS e, count(DISTINCT k), array_agg(n ORDER BY n) FROM s GROUP BY window(ts, '4 seconds')",
        None,
    ),
    // Sliding.
    (
        "SELECT window.start, k, count(*), sum(n) FROM s GROUP BY window(ts, '10 seconds', '4 seconds'), k",
        Some(2),
    ),
    (
        "SELECT window.start, max(n) FROM s GROUP BY window(ts, '6 seconds', '2 seconds', '1 second') HAVING count(*) > 1",
        None,
    ),
    ("SELECT window(ts, '4 seconds', '2 seconds'), n, k FROM s", None),
    // The timestamp itself.
    ("SELECT ts, count(*), sum(n) FROM s WHERE ts IS NOT NULL GROUP BY ts", Some(1)),
    (
        "SELECT k, t, count(*) FROM (SELECT k, CAST(ts AS TIMESTAMP) AS t FROM s WHERE ts IS NOT NULL) GROUP BY k, t",
        Some(2),
    ),
    // Distinct.
    ("SELECT DISTINCT ts, k FROM s", None),
    ("SELECT DISTINCT window(ts, '5 seconds') AS w, k FROM s", None),
    ("SELECT DISTINCT k, n FROM s", None),
    // Windows of windows.
    (
        "SELECT window.start, sum(c) AS t, count(*) AS g FROM (SELECT window, k, count(*) AS c FROM s GROUP BY \
         window(ts, '2 seconds'), k) GROUP BY window(window_time(window), '10 seconds')",
        None,
    ),
    (
        "SELECT window.start, k, max(c) FROM (SELECT window AS w, k, count(*) AS c FROM s GROUP BY \
         window(ts, '4 seconds', '2 seconds'), k) GROUP BY window(w, '8 seconds'), k",
        None,
    ),
    (
        "SELECT t, count(*) FROM (SELECT window_time(window) AS t, k FROM s GROUP BY window(ts, '2 seconds'), k) GROUP BY t",
        None,
    ),
    // Sessions.
    (
        "SELECT session_window.start, session_window.end, k, count(*), sum(n) FROM s GROUP BY \
         session_window(ts, '2 seconds'), k",
        None,
    ),
    (
        "SELECT session_window.start, max(n) FROM s GROUP BY session_window(ts, '2 seconds'), k HAVING \
         session_window.end > TIMESTAMP '1970-01-01T00:00:20Z' AND k IS NOT NULL",
        None,
    ),
    (
        "SELECT session_window AS w, avg(n), count(DISTINCT k) FROM s GROUP BY session_window(ts, '500 ms')",
        None,
    ),
    (
        "SELECT upper(k) AS u, session_window.end AS e FROM s WHERE n > -2 GROUP BY upper(k), session_window(ts, '1 s')",
        None,
    ),
    (
        "SELECT window.start, count(*), max(c) FROM (SELECT session_window AS w, k, count(*) AS c FROM s GROUP BY \
         session_window(ts, '1 second'), k) GROUP BY window(w, '20 seconds')",
        None,
    ),
    // Several streams.
    (
        "SELECT window.start, count(*), sum(n) FROM (SELECT * FROM s UNION ALL SELECT * FROM t) GROUP BY window(ts, '5 seconds')",
        Some(1),
    ),
    (
        "SELECT window.start, d.name, count(*) FROM s JOIN d ON s.k = d.k GROUP BY window(s.ts, '10 seconds'), d.name",
        Some(2),
    ),
];

struct Benches {
    streams: PlanBench,
    oracle: PlanBench,
    parallelism: usize,
}

impl Benches {
    fn new(parallelism: usize) -> Benches {
        let session = || Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
        let streams = PlanBench::new(session()).unwrap();
        Benches { streams, oracle: PlanBench::new(session()).unwrap(), parallelism }
    }
}

struct Input {
    streams: Vec<(MemoryTable, std::vec::IntoIter<RecordBatch>)>,
    /// Whether there are several partitions. One that has nothing for now is not waited for, so all of them
    /// have their rows from the start.
    whole: bool,
}

impl Input {
    fn new(benches: &Benches, random: &mut Random) -> Input {
        let whole = benches.parallelism > 1 && random.once_in(2);
        let streams = ["s", "t"].map(|name| {
            let rows = random_rows(random, if name == "s" { 60 } else { 20 });
            benches.oracle.table(name, rows.schema(), vec![rows.clone()]).unwrap();
            // An instance that reads several partitions would mix their orders.
            let partitions = if whole { benches.parallelism } else { 1 };
            let table = MemoryTable::partitioned(name, rows.schema(), partitions);
            benches.streams.stream_with_watermark(name, Arc::new(table.clone()), "ts", DELAY).unwrap();
            (table, chunks(random, &rows).into_iter())
        });
        let words: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a", "b", "b"]));
        let names: arrow::array::ArrayRef =
            Arc::new(arrow::array::StringArray::from(vec!["one", "two", "deux"]));
        let names = RecordBatch::try_from_iter([("k", words), ("name", names)]).unwrap();
        for bench in [&benches.oracle, &benches.streams] {
            bench.table("d", names.schema(), vec![names.clone()]).unwrap();
        }
        Input { streams: streams.into(), whole }
    }

    fn add(&mut self, random: &mut Random, all: bool) {
        for (table, left) in &mut self.streams {
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
    mode: OutputMode,
    benches: &'a Benches,
    out: &'a MemoryTable,
    folder: &'a Path,
}

impl Run<'_> {
    fn run(&self, input: &mut Input, random: &mut Random, last: bool) {
        if input.whole {
            input.add(random, true);
            input.streams.iter().for_each(|(table, _)| table.finish());
        }
        let query = self.benches.streams.query(self.sql, self.mode, self.out.sink(self.mode)).unwrap();
        let query = query.checkpoint_location(self.folder).start(trigger(random)).unwrap();
        input.add(random, false);
        if random.once_in(2) && !input.whole {
            query.set_trigger(trigger(random)).unwrap();
        }
        input.add(random, last);
        if last || input.whole {
            input.streams.iter().for_each(|(table, _)| table.finish());
            query.await_termination().unwrap();
            return;
        }
        // Without it a stop may come at any moment: what was not read is read in the next run.
        if random.once_in(2) {
            query.process_all_available().unwrap();
        }
        query.stop().unwrap();
    }
}

fn check(seed: u64, benches: &Benches) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut input = Input::new(benches, &mut random);
    let (sql, keys) = *random.pick(QUERIES);
    let modes = [OutputMode::Append, OutputMode::Append, OutputMode::Update, OutputMode::Complete];
    let mode = match (*random.pick(&modes), keys) {
        (mode, Some(_)) => mode,
        (OutputMode::Complete, None) if sql.contains("GROUP BY") && !sql.contains("FROM (SELECT") => {
            OutputMode::Complete
        }
        (_, None) => OutputMode::Append,
    };
    let told = |what: String| format!("seed {seed}, {mode:?}: {sql}\n{what}");
    let (schema, expected) = benches.oracle.batch(sql).map_err(|error| told(error.to_string()))?;
    let expected = texts(&expected);
    let out = MemoryTable::new("out", schema);
    let folder = tempfile::tempdir().unwrap();
    let run = Run { sql, mode, benches, out: &out, folder: folder.path() };
    let runs = if input.whole { 1 } else { 1 + random.below(3) };
    for number in 1..=runs {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run.run(&mut input, &mut random, number == runs);
        }));
        done.map_err(|_| told(format!("run {number} of {runs} failed")))?;
    }
    let shown = match mode {
        OutputMode::Update => {
            // The last row of each key, in the order in which they came.
            let mut last = BTreeMap::new();
            for batch in out.batches() {
                for row in 0..batch.num_rows() {
                    let row = texts(&[batch.slice(row, 1)]).remove(0);
                    last.insert(row[..keys.unwrap_or_default()].to_vec(), row);
                }
            }
            let mut rows: Vec<_> = last.into_values().collect();
            rows.sort();
            rows
        }
        _ => texts(&out.batches()),
    };
    if shown == expected { Ok(()) } else { Err(told(format!("shown {shown:?}\nexpected {expected:?}"))) }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_stream_whose_delay_covers_its_disorder_gives_the_batch_answer() {
    let cases = number("LOTIC_WINDOW_CASES", 300);
    let first = number("LOTIC_WINDOW_SEED", 1);
    println!("LOTIC_WINDOW_SEED={first} LOTIC_WINDOW_CASES={cases}");
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
