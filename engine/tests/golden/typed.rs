//! Queries of the typed door.

use super::Golden;
use lotic::connectors::memory::{self, MemorySink, MemoryStream};
use lotic::operators::aggregate::{Count, Sum};
use lotic::operators::interval_join::JoinRange;
use lotic::operators::process::{ListState, MapState, Process, ProcessContext, Timer, ValueState};
use lotic::operators::window::Window;
use lotic::{Query, Session, Stream, Timestamp, Trigger};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

const FIRST: u64 = 100;
/// Of the first ones, those of an epoch of their own.
const LAST: u64 = 4;
const ALL: u64 = 200;
const SECOND: Duration = Duration::from_secs(1);

pub(crate) const NAMES: &[&str] = &["counts", "structs", "process", "windows", "sessions", "join"];

pub(crate) fn all() -> Vec<Box<dyn Golden>> {
    let programs: [fn(Stream<u64>) -> Stream<String>; 6] =
        [counts, structs, process, windows, sessions, join];
    let typed = NAMES.iter().zip(programs).map(|(name, program)| Box::new(Typed { name, program }) as _);
    typed.collect()
}

struct Typed {
    name: &'static str,
    program: fn(Stream<u64>) -> Stream<String>,
}

impl Typed {
    fn query(&self, rows: u64, parallelism: usize, sink: &MemorySink<String>) -> (MemoryStream<u64>, Query) {
        let (input, source) = memory::stream("numbers", 2);
        input.add(0..rows);
        let session = Session::builder().parallelism(parallelism).get_or_create().unwrap();
        (input, (self.program)(session.source(source)).sink(sink.clone()))
    }
}

impl Golden for Typed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn save(&self, folder: &Path) {
        let location = tempfile::tempdir().unwrap();
        let (input, query) = self.query(FIRST - LAST, 2, &MemorySink::new());
        let query = query.checkpoint_location(location.path());
        let query = query.start(Trigger::ProcessingTime(Duration::from_millis(1))).unwrap();
        query.process_all_available().unwrap();
        // What these change is stored behind what is stored of the others.
        input.add(FIRST - LAST..FIRST);
        query.process_all_available().unwrap();
        query.stop_with_savepoint(folder).unwrap();
    }

    fn go_on(&self, savepoint: &Path, parallelism: usize) -> Vec<String> {
        let sink = MemorySink::new();
        // The input stays open: what is held stays held.
        let (_input, query) = self.query(ALL, parallelism, &sink);
        let query = query.from_savepoint(savepoint).start(Trigger::AvailableNow).unwrap();
        assert!(query.await_termination_timeout(Duration::from_secs(60)).unwrap());
        let mut seen = sink.committed();
        seen.sort();
        seen
    }
}

/// A tenth of a second for each number.
fn at(n: &u64) -> Timestamp {
    Timestamp::from_millis(*n as i64 * 100)
}

fn counts(numbers: Stream<u64>) -> Stream<String> {
    numbers.key_by(|n| n % 7).count().map(|counted| format!("{counted:?}"))
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Seen {
    largest: Option<u64>,
    names: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
enum Kind {
    #[default]
    Even,
    Odd {
        times: u8,
    },
}

fn structs(numbers: Stream<u64>) -> Stream<String> {
    // Rows of one key in one order, whatever the number of instances.
    numbers.key_by(|n| format!("key-{}", n % 2)).map_with_state(|seen: &mut Seen, n: u64| {
        seen.largest = seen.largest.max(Some(n));
        seen.names.push(format!("n{n}"));
        seen.names.drain(..seen.names.len().saturating_sub(3));
        seen.kind = match seen.kind {
            Kind::Even => Kind::Odd { times: 1 },
            Kind::Odd { times: 3 } => Kind::Even,
            Kind::Odd { times } => Kind::Odd { times: times + 1 },
        };
        format!("{seen:?}")
    })
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Memory {
    last: ValueState<u64>,
    recent: ListState<u64>,
    by_digit: MapState<u64, u32>,
}

#[derive(Clone)]
struct Remember;

impl Process<u64, u64> for Remember {
    type State = Memory;
    type Out = String;

    fn on_row(
        &mut self,
        row: u64,
        context: &mut ProcessContext<'_, u64, Memory, String>,
    ) -> lotic::operators::Result<()> {
        let memory = context.state();
        memory.last.set(row);
        memory.recent.push(row);
        if memory.recent.len() > 4 {
            memory.recent.pop_front();
        }
        memory.by_digit.update(row % 10, |times| *times += 1);
        context.set_timer(Timer::Event(Timestamp(at(&row).0 + 5_500_000)));
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        context: &mut ProcessContext<'_, u64, Memory, String>,
    ) -> lotic::operators::Result<()> {
        let Memory { last, recent, by_digit } = context.state();
        let recent: Vec<u64> = recent.iter().copied().collect();
        let said = format!("{timer:?} {:?} {recent:?} {:?}", last.get(), by_digit.get(&3));
        context.emit(said);
        Ok(())
    }
}

fn process(numbers: Stream<u64>) -> Stream<String> {
    // Rows of one key in one order, whatever the number of instances.
    numbers.with_watermark(at, SECOND).key_by(|n| n % 2).process(Remember)
}

fn windows(numbers: Stream<u64>) -> Stream<String> {
    let keyed = numbers.with_watermark(at, SECOND).key_by(|n| n % 3);
    let window = Window::sliding(3 * SECOND, SECOND, at as fn(&u64) -> Timestamp);
    keyed.window(window).aggregate(Sum(|n: &u64| *n)).map(|window| format!("{window:?}"))
}

fn sessions(numbers: Stream<u64>) -> Stream<String> {
    // Gaps of a second every 15 numbers.
    let gaps = numbers.filter(|n| n % 15 < 5).with_watermark(at, SECOND).key_by(|n| n % 2);
    let window = Window::session(Duration::from_millis(700), at as fn(&u64) -> Timestamp);
    gaps.window(window).aggregate(Count).map(|window| format!("{window:?}"))
}

fn join(numbers: Stream<u64>) -> Stream<String> {
    let (left, right) = numbers.with_watermark(at, SECOND).fork();
    let left = left.filter(|n| n % 2 == 0).key_by(|n| n % 3);
    let right = right.filter(|n| n % 2 == 1).key_by(|n| n % 3);
    let range = JoinRange::around(2 * SECOND, 2 * SECOND);
    left.interval_join(right, range, (at, at), |left: &u64, right: &u64| format!("{left} {right}"))
}
