//! Windows of a running query are those of a plain computation over the same rows: in both modes, over a live
//! switch, over restarts from checkpoints with another parallelism, with rows out of order.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::memory::{self, MemorySink, MemorySource};
use lotic::operators::aggregate::{Collect, Count, Fold, Sum};
use lotic::operators::window::{Emit, Window, Windowed};
use lotic::{Session, Stream, StreamingQuery, Timestamp, Trigger};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(5));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::from_millis(1));
const ROWS: u64 = 3_000;
/// How far a row may be behind one that came before it, in milliseconds.
const DISORDER: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    key: u64,
    millis: u64,
    value: u64,
}

/// Row `n` of the input: out of order by less than [`DISORDER`], with a pause after every hundred rows.
fn row(n: u64) -> Row {
    let early = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Row { key: n % 5, millis: n * 7 + n / 100 * 500 + DISORDER - early % DISORDER, value: n }
}

fn at(row: &Row) -> Timestamp {
    Timestamp::from_millis(row.millis as i64)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Key, start, end (in milliseconds) and the sum of the values.
type Result = (u64, i64, i64, u64);

fn flat(window: Windowed<u64, u64>) -> Result {
    (window.key, window.start.0 / 1000, window.end.0 / 1000, window.value)
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Tumbling { size: u64, offset: u64 },
    Sliding { size: u64, slide: u64 },
    Session { gap: u64 },
}

const SHAPES: [Shape; 4] = [
    Shape::Tumbling { size: 100, offset: 30 },
    Shape::Sliding { size: 250, slide: 100 },
    Shape::Sliding { size: 1_000, slide: 10 },
    Shape::Session { gap: 300 },
];

impl Shape {
    fn window(self) -> Window<Row, fn(&Row) -> Timestamp> {
        match self {
            Shape::Tumbling { size, offset } => {
                Window::tumbling(millis(size), at as _).offset(millis(offset))
            }
            Shape::Sliding { size, slide } => Window::sliding(millis(size), millis(slide), at as _),
            Shape::Session { gap } => Window::session(millis(gap), at as _),
        }
    }

    /// The windows of all rows, by a computation that sees them all.
    fn expected(self) -> Vec<Result> {
        let mut windows: BTreeMap<(u64, i64, i64), u64> = BTreeMap::new();
        let mut rows: Vec<Row> = (0..ROWS).map(row).collect();
        rows.sort_by_key(|row| (row.key, row.millis));
        let mut session: Vec<Row> = Vec::new();
        let mut close = |session: &mut Vec<Row>, gap: u64| {
            if let (Some(first), Some(last)) = (session.first(), session.last()) {
                let window = (first.key, first.millis as i64, (last.millis + gap) as i64);
                windows.insert(window, session.iter().map(|row| row.value).sum());
            }
            session.clear();
        };
        if let Shape::Session { gap } = self {
            for row in &rows {
                if session.last().is_some_and(|last| last.key != row.key || row.millis >= last.millis + gap) {
                    close(&mut session, gap);
                }
                session.push(*row);
            }
            close(&mut session, gap);
        }
        let (size, slide, offset) = match self {
            Shape::Tumbling { size, offset } => (size as i64, size as i64, offset as i64),
            Shape::Sliding { size, slide } => (size as i64, slide as i64, 0),
            Shape::Session { .. } => (0, 1, 0),
        };
        for row in rows {
            for start in row.millis as i64 - size + 1..=row.millis as i64 {
                if (start - offset).rem_euclid(slide) == 0 {
                    *windows.entry((row.key, start, start + size)).or_default() += row.value;
                }
            }
        }
        windows.into_iter().map(|((key, start, end), sum)| (key, start, end, sum)).collect()
    }
}

fn session(parallelism: usize) -> Session {
    Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap()
}

fn ended(query: &StreamingQuery) {
    assert!(query.await_termination_timeout(LIMIT).unwrap(), "the query hangs: {}", query.explain());
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

fn sums(rows: Stream<Row>, window: Window<Row, fn(&Row) -> Timestamp>) -> Stream<Result> {
    // One instance, so that the watermark follows all rows and windows close while the query runs.
    let rows = rows.with_watermark(at, millis(DISORDER)).parallelism(1);
    rows.key_by(|row| row.key).window(window).aggregate(Sum(|row: &Row| row.value)).map(flat)
}

#[test]
fn windows_of_a_bounded_input_are_those_of_all_its_rows() {
    for shape in SHAPES {
        let expected = shape.expected();
        for parallelism in [1, 3] {
            for trigger in [CONTINUOUS, MICRO_BATCH, Trigger::AvailableNow] {
                let sink = MemorySink::new();
                let rows = session(parallelism).source(MemorySource::new((0..ROWS).map(row)));
                let query = sums(rows, shape.window()).sink(sink.clone()).max_rows_per_batch(300);
                let query = query.start(trigger).unwrap();
                ended(&query);
                assert!(sorted(sink.committed()) == expected, "{shape:?} {trigger} x{parallelism}");
            }
        }
    }
}

#[test]
fn windows_go_on_over_a_live_switch_and_restarts_with_another_parallelism() {
    for shape in SHAPES {
        let expected = shape.expected();
        for (first, second) in [(CONTINUOUS, MICRO_BATCH), (MICRO_BATCH, CONTINUOUS)] {
            let (input, source) = memory::stream::<Row>("rows", 1);
            let (sink, folder) = (MemorySink::new(), tempfile::tempdir().unwrap());
            let start = |parallelism, trigger| {
                let rows = session(parallelism).source(source.clone());
                let query = sums(rows, shape.window()).sink(sink.clone());
                query.checkpoint_location(folder.path()).start(trigger).unwrap()
            };
            for (part, parallelism) in (0..6).zip([1, 3, 2, 1, 3, 1]) {
                let rows = ROWS / 6 * part..ROWS / 6 * (part + 1);
                let half = rows.start + ROWS / 12;
                let query = start(parallelism, first);
                input.add((rows.start..half).map(row));
                query.process_all_available().unwrap();
                query.set_trigger(second).unwrap();
                input.add((half..rows.end).map(row));
                query.process_all_available().unwrap();
                if part == 2 {
                    assert!(!sink.committed().is_empty(), "windows are emitted while the query runs");
                }
                query.stop().unwrap();
            }
            let query = start(3, second);
            input.finish();
            ended(&query);
            assert!(sorted(sink.committed()) == expected, "{shape:?} from {first} to {second}");
        }
    }
}

#[test]
fn late_rows_are_a_stream_of_their_own() {
    for parallelism in [1, 3] {
        for trigger in [CONTINUOUS, MICRO_BATCH] {
            let (input, source) = memory::stream::<i64>("times", 1);
            let (sink, late_sink) = (MemorySink::new(), MemorySink::new());
            let time = |millis: &i64| Timestamp::from_millis(*millis);
            let window = Window::tumbling(millis(100), time).allowed_lateness(millis(20)).emit(Emit::OnTime);
            let (windows, late) = session(parallelism)
                .source(source)
                .with_watermark(time, millis(50))
                .parallelism(1)
                .key_by(|_| 0u8)
                .window(window)
                .aggregate_and_late(Count);
            let _late = late.sink(late_sink.clone());
            let query = windows.map(|row| (row.start.0 / 1000, row.value)).sink(sink.clone());
            let query = query.start(trigger).unwrap();
            input.add([10, 20, 160]); // the watermark reaches 110: the first window is out
            query.process_all_available().unwrap();
            input.add([99, 175]); // in time to correct it; the watermark reaches 125
            query.process_all_available().unwrap();
            input.add([98, 120, 0]);
            query.process_all_available().unwrap();
            let progress = query.recent_progress();
            let late: u64 =
                progress.iter().flat_map(|p| &p.operators).map(|operator| operator.late_rows).sum();
            assert_eq!(late, 2, "{trigger} x{parallelism}");
            input.finish();
            ended(&query);
            assert_eq!(sorted(late_sink.committed()), [0, 98], "{trigger} x{parallelism}");
            assert_eq!(sorted(sink.committed()), [(0, 2), (0, 3), (100, 3)], "{trigger} x{parallelism}");
        }
    }
}

#[test]
fn early_results_come_without_further_rows() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let (rows, ingress) = session(2).ingress::<u64>("rows");
        let running = Window::global().emit(Emit::Every(millis(5)));
        let (query, counts) = rows.key_by(|n| n % 3).window(running).aggregate(Collect).egress("counts");
        let query = query.start(trigger).unwrap();
        for n in 0..12u64 {
            ingress.push(n).unwrap();
            let early = counts.recv_timeout(LIMIT).unwrap();
            assert_eq!((early.key, early.value.len() as u64), (n % 3, n / 3 + 1), "{trigger}");
        }
        query.stop().unwrap();
    }
}

#[test]
fn explain_says_what_windows_a_step_has() {
    let (_input, source) = memory::stream::<Row>("rows", 1);
    let window = Shape::Sliding { size: 250, slide: 100 }.window().allowed_lateness(millis(20));
    let query = sums(session(1).source(source), window).sink(MemorySink::new()).start(CONTINUOUS).unwrap();
    let explained = query.explain();
    assert!(explained.contains("sliding-window"), "{explained}");
    assert!(explained.contains("size 250ms, slide 100ms, allowed lateness 20ms"), "{explained}");
    query.stop().unwrap();
}

#[test]
#[should_panic(expected = "merged")]
fn sessions_of_an_aggregate_that_cannot_be_merged_are_refused_where_they_are_written() {
    let count = Fold::new(0u64, |count: &mut u64, _: Row| *count += 1);
    let rows = session(1).source(MemorySource::new((0..1).map(row)));
    let _ = rows.key_by(|row| row.key).window(Shape::Session { gap: 1 }.window()).aggregate(count);
}
