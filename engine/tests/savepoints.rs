//! Savepoints, and queries that changed since their checkpoint was written.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::checkpoint::{inspect, location};
use lotic::connectors::RateSource;
use lotic::connectors::memory::{self, MemorySink, MemorySource, MemoryStream};
use lotic::{Error, Query, RestartPolicy, Session, Stream, StreamingQuery, Trigger};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(5));
const BOTH: [Trigger; 2] = [CONTINUOUS, Trigger::ProcessingTime(Duration::from_millis(1))];
const KEYS: u64 = 10;

type Counts = MemorySink<(u64, u64)>;

fn session(parallelism: usize) -> Session {
    Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap()
}

fn ended(query: &StreamingQuery) {
    assert!(query.await_termination_timeout(LIMIT).unwrap(), "the query hangs: {}", query.explain());
}

fn says(error: &Error, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(error.to_string().contains(part), "`{part}` is not in: {error}"));
}

/// Numbers that grow, and folders.
struct Bench {
    input: MemoryStream<u64>,
    source: MemorySource<u64>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let (input, source) = memory::stream("numbers", 3);
        Bench { input, source, folder: tempfile::tempdir().unwrap() }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn numbers(&self, parallelism: usize) -> Stream<u64> {
        session(parallelism).source(self.source.clone())
    }

    fn counted(&self, parallelism: usize, sink: &Counts, location: &str) -> Query {
        let counts = self.numbers(parallelism).key_by(|n| n % KEYS).count();
        counts.sink(sink.clone()).checkpoint_location(self.place(location))
    }
}

/// The counts of each key that a sink has, in order.
fn counts_of(sink: &Counts) -> BTreeMap<u64, Vec<u64>> {
    let mut counts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, count) in sink.committed() {
        counts.entry(key).or_default().push(count);
    }
    counts.values_mut().for_each(|counts| counts.sort_unstable());
    counts
}

/// Each key was counted from one number to another.
fn counted_from_to(sink: &Counts, from: u64, to: u64, label: &str) {
    let expected: BTreeMap<u64, Vec<u64>> = (0..KEYS).map(|key| (key, (from..=to).collect())).collect();
    assert_eq!(counts_of(sink), expected, "{label}");
}

#[test]
fn a_query_goes_on_from_a_savepoint_while_the_one_that_left_it_runs_on() {
    for (trigger, parallelism) in BOTH.into_iter().flat_map(|trigger| [(trigger, 1), (trigger, 3)]) {
        let label = format!("{trigger:?}, {parallelism}");
        let (bench, first, second) = (Bench::new(), Counts::new(), Counts::new());
        bench.input.add(0..1000);
        let running = bench.counted(2, &first, "first").start(trigger).unwrap();
        running.process_all_available().unwrap();
        let epoch = running.savepoint(bench.place("savepoint")).unwrap();
        bench.input.add(1000..2000);
        running.process_all_available().unwrap();
        counted_from_to(&first, 1, 200, &label);

        let shown =
            inspect::checkpoint(location::read(&bench.place("savepoint")).unwrap().as_mut(), None).unwrap();
        assert_eq!((shown.epoch, shown.query.id), (epoch, running.id()), "{label}");
        assert!(shown.pending.is_empty(), "{label}");

        let from = || bench.counted(parallelism, &second, "second").from_savepoint(bench.place("savepoint"));
        let other = from().start(Trigger::AvailableNow).unwrap();
        ended(&other);
        counted_from_to(&second, 101, 200, &label);
        // The same program again: its own location has gone on from the savepoint.
        bench.input.add(2000..3000);
        ended(&from().start(Trigger::AvailableNow).unwrap());
        counted_from_to(&second, 101, 300, &label);
        running.process_all_available().unwrap();
        running.stop().unwrap();
        counted_from_to(&first, 1, 300, &label);
    }
}

#[test]
fn a_savepoint_under_load_is_one_instant() {
    const ROWS: u64 = 40_000;
    for trigger in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let query = |sink: &Counts, name: &str, parallelism| {
            let rate = RateSource::new(40_000).limit(ROWS);
            let counts = session(parallelism).source(rate).map(|row| row.value).key_by(|n| n % KEYS).count();
            counts.sink(sink.clone()).checkpoint_location(folder.path().join(name))
        };
        let running = query(&Counts::new(), "first", 1).start(trigger).unwrap();
        let places: Vec<PathBuf> =
            (0..3).map(|number| folder.path().join(format!("savepoint-{number}"))).collect();
        let epochs: Vec<_> = places.iter().map(|place| running.savepoint(place).unwrap()).collect();
        assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
        running.stop().unwrap();
        for (number, place) in places.iter().enumerate() {
            let sink = Counts::new();
            let from = query(&sink, &format!("from-{number}"), 2).from_savepoint(place);
            ended(&from.start(trigger).unwrap());
            let counts = counts_of(&sink);
            let before = ROWS - counts.values().map(|counts| counts.len() as u64).sum::<u64>();
            for (key, counts) in counts {
                // Of the numbers 0, 1, 2, ... before the savepoint, so many have this key.
                let first = (before + KEYS - 1 - key) / KEYS + 1;
                assert!(
                    counts.iter().copied().eq(first..=ROWS / KEYS),
                    "{trigger:?}, key {key}, {before} rows before"
                );
            }
        }
    }
}

#[test]
fn a_stop_with_a_savepoint_hands_over_without_a_row_lost_or_doubled() {
    for trigger in BOTH {
        let (bench, sink) = (Bench::new(), Counts::new());
        let mut query = bench.counted(1, &sink, "run-0").start(trigger).unwrap();
        for run in 1..=4 {
            bench.input.add((run - 1) * 1000..run * 1000);
            let place = bench.place(&format!("savepoint-{run}"));
            query.stop_with_savepoint(&place).unwrap();
            assert!(!query.is_active());
            let next = bench.counted(run as usize % 3 + 1, &sink, &format!("run-{run}"));
            // The sink has shown no epoch that the savepoint lacks: it is not refused.
            query = next.from_savepoint(place).start(trigger).unwrap();
        }
        query.process_all_available().unwrap();
        query.stop().unwrap();
        counted_from_to(&sink, 1, 400, &format!("{trigger:?}"));
    }
}

#[test]
fn an_output_that_is_further_than_the_savepoint_is_refused() {
    let (bench, sink) = (Bench::new(), Counts::new());
    bench.input.add(0..1000);
    let query = bench.counted(1, &sink, "first").start(CONTINUOUS).unwrap();
    query.process_all_available().unwrap();
    query.savepoint(bench.place("savepoint")).unwrap();
    bench.input.add(1000..2000);
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let again = bench.counted(1, &sink, "second").from_savepoint(bench.place("savepoint"));
    says(&again.start(CONTINUOUS).unwrap_err(), &["`sink-memory`", "write rows twice", "accept_duplicates"]);
    counted_from_to(&sink, 1, 200, "nothing was written");
}

#[test]
fn steps_without_state_come_and_go() {
    let (bench, sink) = (Bench::new(), Counts::new());
    for (round, rows) in [(0, 0..1000u64), (1, 1000..2000), (2, 2000..3000)] {
        bench.input.add(rows);
        let numbers = bench.numbers(2);
        let numbers = match round {
            0 => numbers,
            1 => numbers.map(|n| n + 1).filter(|n| *n > 0).map(|n| n - 1),
            _ => numbers.inspect(|_| {}),
        };
        let counts = numbers.key_by(|n| n % KEYS).count();
        let counts = if round == 1 { counts.filter(|_| true) } else { counts };
        let query = counts.sink(sink.clone()).checkpoint_location(bench.place("one"));
        ended(&query.start(Trigger::AvailableNow).unwrap());
        counted_from_to(&sink, 1, (round + 1) * 100, "the counts went on");
    }
}

/// Counts the numbers by key, and if asked to the counts by their parity.
fn with_extra(bench: &Bench, sinks: &(Counts, Counts), extra: bool) -> Query {
    let counts = bench.numbers(2).key_by(|n| n % KEYS).count();
    let (counts, others) = counts.fork();
    if extra {
        let parities = others.key_by(|(key, _)| key % 2).count().uid("extra");
        let _ = parities.sink(sinks.1.clone()).uid("extras");
    } else {
        let _ = others.for_each(|_| {});
    }
    counts.sink(sinks.0.clone()).uid("counts").checkpoint_location(bench.place("one"))
}

#[test]
fn an_operator_with_state_is_added_left_behind_and_begins_anew_when_it_comes_back() {
    let (bench, sinks) = (Bench::new(), (Counts::new(), Counts::new()));
    let run = |query: Query, rows: std::ops::Range<u64>| {
        bench.input.add(rows);
        query.start(Trigger::AvailableNow).map(|query| ended(&query))
    };
    run(with_extra(&bench, &sinks, false), 0..1000).unwrap();
    // Added: it begins without state, the others go on.
    let error = run(with_extra(&bench, &sinks, true), 1000..2000).unwrap_err();
    says(&error, &["`sink-for-each`", "which this query lacks", "`extra`", "allow_non_restored_state(true)"]);
    run(with_extra(&bench, &sinks, true).allow_non_restored_state(true), 2000..2000).unwrap();
    counted_from_to(&sinks.0, 1, 200, "the counts went on");
    assert_eq!(counts_of(&sinks.1), (0..2).map(|key| (key, (1..=500).collect())).collect());
    // Left behind.
    let error = run(with_extra(&bench, &sinks, false), 2000..3000).unwrap_err();
    says(&error, &["`extra`", "`extras`", "which this query lacks", "allow_non_restored_state(true)"]);
    run(with_extra(&bench, &sinks, false).allow_non_restored_state(true), 3000..3000).unwrap();
    counted_from_to(&sinks.0, 1, 300, "the counts went on");
    // It comes back, without what it knew.
    run(with_extra(&bench, &sinks, true).allow_non_restored_state(true), 3000..4000).unwrap();
    counted_from_to(&sinks.0, 1, 400, "the counts went on");
    let twice: Vec<u64> = (1..=500).flat_map(|count| [count, count]).collect();
    assert_eq!(counts_of(&sinks.1), (0..2).map(|key| (key, twice.clone())).collect());
}

#[test]
fn what_cannot_be_saved_is_said() {
    let bench = Bench::new();
    bench.input.add(0..100);
    let without = bench.numbers(1).sink(MemorySink::new()).start(CONTINUOUS).unwrap();
    says(&without.savepoint(bench.place("a")).unwrap_err(), &["keeps no checkpoints", "checkpoint_location"]);
    without.stop().unwrap();
    says(&without.savepoint(bench.place("a")).unwrap_err(), &["has ended"]);

    let query = bench.counted(1, &Counts::new(), "one").start(CONTINUOUS).unwrap();
    query.savepoint(bench.place("b")).unwrap();
    says(
        &query.savepoint(bench.place("b")).unwrap_err(),
        &["already", &bench.place("b").display().to_string()],
    );
    says(&query.savepoint(bench.place("one")).unwrap_err(), &["in use by another query"]);
    says(&query.savepoint(Path::new("/proc/lotic/savepoint")).unwrap_err(), &["/proc/lotic/savepoint"]);
    assert!(query.is_active(), "a savepoint that cannot be written does no harm");
    query.stop().unwrap();
}

#[test]
fn a_savepoint_that_is_not_there_or_not_of_the_location_is_refused() {
    let bench = Bench::new();
    bench.input.add(0..100);
    let start = |location: &str, savepoint: &str| {
        let query = bench.counted(1, &Counts::new(), location).from_savepoint(bench.place(savepoint));
        query.start(Trigger::AvailableNow).map(|query| ended(&query))
    };
    says(&start("one", "nowhere").unwrap_err(), &["nowhere"]);
    std::fs::create_dir(bench.place("empty")).unwrap();
    says(&start("one", "empty").unwrap_err(), &["savepoint", "empty", "holds no checkpoint"]);
    for name in ["one", "two"] {
        ended(&bench.counted(1, &Counts::new(), name).start(Trigger::AvailableNow).unwrap());
    }
    // Any checkpoint location serves as a savepoint, but not for the location of another query.
    let two = bench.place("two").display().to_string();
    says(
        &start("one", "two").unwrap_err(),
        &["does not go on from savepoint", &two, "choose an empty location"],
    );
    start("three", "two").unwrap();
}

#[test]
fn a_query_that_restarts_meanwhile_gives_its_savepoint_afterwards() {
    let (bench, sink) = (Bench::new(), Counts::new());
    let failing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let fails = std::sync::Arc::clone(&failing);
    let numbers = bench.numbers(1).map(move |n| {
        assert!(n != 500 || !fails.swap(false, std::sync::atomic::Ordering::AcqRel), "once");
        n
    });
    let query = numbers.key_by(|n| n % KEYS).count().sink(sink.clone());
    let query = query.checkpoint_location(bench.place("one"));
    let query =
        query.restart(RestartPolicy::attempts(1, Duration::from_millis(1))).start(CONTINUOUS).unwrap();
    bench.input.add(0..1000);
    query.savepoint(bench.place("savepoint")).unwrap();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    counted_from_to(&sink, 1, 100, "over the restart");
    let second = Counts::new();
    let other = bench.counted(1, &second, "two").from_savepoint(bench.place("savepoint"));
    ended(&other.start(Trigger::AvailableNow).unwrap());
    assert!(counts_of(&second).values().all(|counts| counts.last() == Some(&100)));
}
