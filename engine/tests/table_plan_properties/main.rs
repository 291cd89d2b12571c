//! Random queries over random rows: the batch answer by DataFusion is the answer of the stream, in both modes,
//! with stops, restarts and switches in between, whatever the batches and the parallelism.
//!
//! `LOTIC_TABLE_CASES` sets how many cases run, `LOTIC_TABLE_SEED` where they begin.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

mod data;
mod queries;

use arrow::array::RecordBatch;
use data::{chunks, dimension, rows_of, stream_rows, texts};
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::{PlanBench, Random};
use lotic::{OutputMode, Session, StreamingQuery, Trigger};
use queries::Case;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// A planner for streams, and one over the same tables as bounded ones.
struct Benches {
    streams: PlanBench,
    oracle: PlanBench,
}

impl Benches {
    fn new(parallelism: usize) -> Benches {
        let session = || Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
        Benches {
            streams: PlanBench::new(session()).unwrap(),
            oracle: PlanBench::new(Session::builder().get_or_create().unwrap()).unwrap(),
        }
    }
}

/// What is still to come of each stream, in the batches in which it comes.
struct Input {
    streams: Vec<(MemoryTable, std::vec::IntoIter<RecordBatch>)>,
}

impl Input {
    fn new(benches: &Benches, random: &mut Random) -> Input {
        let streams = ["s", "t"].map(|name| {
            let rows = stream_rows(random, if name == "s" { 30 } else { 12 });
            benches.oracle.table(name, rows.schema(), vec![rows.clone()]).unwrap();
            let table = MemoryTable::partitioned(name, rows.schema(), 1 + random.below(3));
            benches.streams.stream(name, Arc::new(table.clone())).unwrap();
            (table, chunks(random, &rows).into_iter())
        });
        let dimension = dimension(random);
        for bench in [&benches.oracle, &benches.streams] {
            bench.table("d", dimension.schema(), vec![dimension.clone()]).unwrap();
        }
        Input { streams: streams.into() }
    }

    /// Adds some of what is left, or all of it.
    fn add(&mut self, random: &mut Random, all: bool) {
        for (table, left) in &mut self.streams {
            let some = if all { usize::MAX } else { random.below(left.len() + 1) };
            for batch in left.by_ref().take(some) {
                table.add(batch).unwrap();
            }
        }
    }

    fn finish(&self) {
        self.streams.iter().for_each(|(table, _)| table.finish());
    }
}

fn trigger(random: &mut Random) -> Trigger {
    if random.once_in(2) { Trigger::continuous("2 ms") } else { Trigger::processing_time("0 ms") }
}

/// One run of the query, from its checkpoint to a stop, an end of input or the end of what is there.
fn run(
    case: &Case,
    benches: &Benches,
    out: &MemoryTable,
    input: &mut Input,
    random: &mut Random,
    last: bool,
    folder: &std::path::Path,
) {
    let start = |trigger: Trigger| -> StreamingQuery {
        let query = benches.streams.query(&case.sql, case.mode, out.sink(case.mode)).unwrap();
        query.checkpoint_location(folder).start(trigger).unwrap()
    };
    input.add(random, false);
    if last && random.once_in(4) {
        input.add(random, true);
        start(Trigger::AvailableNow).await_termination().unwrap();
        return;
    }
    let query = start(trigger(random));
    input.add(random, false);
    if random.once_in(2) {
        query.set_trigger(trigger(random)).unwrap();
    }
    input.add(random, last);
    if last && random.once_in(3) {
        input.finish();
        query.await_termination().unwrap();
        return;
    }
    // Without it a stop may come at any moment: what was not read is read in the next run.
    if last || random.once_in(2) {
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
}

/// Compares what the stream has shown with the batch answer.
fn compare(case: &Case, shown: &[Vec<String>], expected: &[Vec<String>]) -> Result<(), String> {
    let same = match case.mode {
        OutputMode::Complete if case.ordered => shown == expected,
        OutputMode::Update if case.keys.is_some() => {
            let keys = case.keys.unwrap_or_default();
            let last = |rows: &[Vec<String>]| {
                rows.iter().map(|row| (row[..keys].to_vec(), row.clone())).collect::<BTreeMap<_, _>>()
            };
            last(shown) == last(expected)
        }
        _ => {
            let sorted = |rows: &[Vec<String>]| {
                let mut rows = rows.to_vec();
                rows.sort();
                rows
            };
            sorted(shown) == sorted(expected)
        }
    };
    if same { Ok(()) } else { Err(format!("shown {shown:?}\nexpected {expected:?}")) }
}

fn check(seed: u64, benches: &Benches) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut input = Input::new(benches, &mut random);
    // DataFusion gives two casts of one column the same name and then refuses to group by both.
    let (case, schema, batches) = (0..5)
        .find_map(|_| {
            let case = queries::case(&mut random);
            let (schema, batches) = benches.oracle.batch(&case.sql).ok()?;
            Some((case, schema, batches))
        })
        .ok_or_else(|| format!("seed {seed}: no query that DataFusion can answer"))?;
    let told = |what: String| format!("seed {seed}, {:?}: {}\n{what}", case.mode, case.sql);
    let expected = rows_of(&batches);
    let out = MemoryTable::new("out", schema);
    let folder = tempfile::tempdir().unwrap();
    let runs = 1 + random.below(3);
    for number in 1..=runs {
        let last = number == runs;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&case, benches, &out, &mut input, &mut random, last, folder.path());
        }))
        .map_err(|_| told(format!("run {number} of {runs} failed")))?;
    }
    let shown = texts(&out.rows());
    compare(&case, &shown, &expected).map_err(told)
}

#[test]
fn every_relation_is_one_that_the_oracle_can_read() {
    let benches = Benches::new(1);
    let _ = Input::new(&benches, &mut Random::new(1));
    for relation in queries::RELATIONS {
        benches.oracle.batch(&format!("SELECT k, g, n, x, b FROM {relation}")).unwrap();
    }
}

#[test]
fn a_stream_gives_the_batch_answer() {
    let cases = number("LOTIC_TABLE_CASES", 500);
    let first = number("LOTIC_TABLE_SEED", 1);
    println!("LOTIC_TABLE_SEED={first} LOTIC_TABLE_CASES={cases}");
    let next = AtomicU64::new(first);
    let work = || {
        let benches = [Benches::new(1), Benches::new(3)];
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + cases || failed.len() > 4 {
                return failed;
            }
            if let Err(failure) = check(seed, &benches[(seed % 2) as usize]) {
                failed.push(failure);
            }
        }
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of {cases} cases failed:\n{}", failed.len(), failed.join("\n\n"));
}
