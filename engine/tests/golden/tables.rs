//! Queries over tables.

use super::{Golden, TABLE_NAMES};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use lotic::connectors::table::memory::MemoryTable;
use lotic::testing::PlanBench;
use lotic::{OutputMode, Query, Session, Trigger};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PROGRAMS: &[(OutputMode, &str)] = &[
    (
        OutputMode::Update,
        "SELECT k, count(*) AS c, sum(n) AS s, avg(n) AS a, min(n) AS least, count(DISTINCT n % 4) AS d \
         FROM l GROUP BY k",
    ),
    (
        OutputMode::Append,
        "SELECT window.start, k, count(*) AS c, max(n) AS m FROM l GROUP BY window(ts, '10 seconds', '5 seconds'), k",
    ),
    (
        OutputMode::Append,
        "SELECT session_window.start, session_window.end, count(*) AS c FROM l WHERE n % 15 < 5 \
         GROUP BY session_window(ts, '4 seconds')",
    ),
    (OutputMode::Append, "SELECT DISTINCT n % 130 AS n FROM l"),
    (
        OutputMode::Append,
        "SELECT l.k, l.n, r.n AS rn FROM l LEFT JOIN r ON l.n = r.n AND r.ts BETWEEN l.ts AND l.ts + INTERVAL '8 seconds'",
    ),
];

pub(crate) fn all() -> Vec<Box<dyn Golden>> {
    let tables = TABLE_NAMES.iter().zip(PROGRAMS);
    tables.map(|(name, (mode, sql))| Box::new(Table { name, mode: *mode, sql }) as _).collect()
}

struct Table {
    name: &'static str,
    mode: OutputMode,
    sql: &'static str,
}

/// A row for each second; of the right table later, and not for all.
fn rows(numbers: impl Iterator<Item = i64> + Clone, later: i64) -> RecordBatch {
    let words = numbers.clone().map(|n| (n % 6 != 0).then(|| format!("word-{}", n % 3)));
    let times = numbers.clone().map(|n| (n + later) * 1_000_000);
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(words.collect::<StringArray>()) as ArrayRef, true),
        ("n", Arc::new(numbers.collect::<Int64Array>()), true),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(times)), true),
    ])
    .unwrap()
}

impl Table {
    /// The query over so many rows, and where they go.
    fn query(&self, all: i64, parallelism: usize) -> (Query, MemoryTable) {
        let session = Session::builder().parallelism(parallelism).get_or_create().unwrap();
        let bench = PlanBench::new(session).unwrap();
        for (name, later, step) in [("l", 0, 1), ("r", 6, 2)] {
            let table = MemoryTable::new(name, rows(0..0, 0).schema());
            // In two parts, so that the first is the same.
            table.add(rows((0..100).step_by(step), later)).unwrap();
            if all > 100 {
                table.add(rows((100..all).step_by(step), later)).unwrap();
            }
            bench.stream_with_watermark(name, Arc::new(table), "ts", Duration::from_secs(2)).unwrap();
        }
        let out = MemoryTable::new("out", bench.schema(self.sql).unwrap());
        (bench.query(self.sql, self.mode, out.sink(self.mode)).unwrap(), out)
    }
}

impl Golden for Table {
    fn name(&self) -> &'static str {
        self.name
    }

    fn save(&self, folder: &Path) {
        let location = tempfile::tempdir().unwrap();
        let (query, _) = self.query(100, 2);
        let query = query.checkpoint_location(location.path());
        let query = query.start(Trigger::ProcessingTime(Duration::from_millis(1))).unwrap();
        query.process_all_available().unwrap();
        query.stop_with_savepoint(folder).unwrap();
    }

    fn go_on(&self, savepoint: &Path, parallelism: usize) -> Vec<String> {
        let (query, out) = self.query(200, parallelism);
        let query = query.from_savepoint(savepoint);
        let query = query.start(Trigger::AvailableNow).unwrap();
        assert!(query.await_termination_timeout(Duration::from_secs(60)).unwrap());
        let text = pretty_format_batches(&[out.rows()]).unwrap().to_string();
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.starts_with('|')).skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    }
}
