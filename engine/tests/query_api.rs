//! The handle of a running query: what it is called, what it says, how it ends; and what the session knows.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::egress::NoRow;
use lotic::connectors::memory::{self, MemorySink, MemorySource};
use lotic::operators::window::Tumbling;
use lotic::query::{QueryStarted, QueryTerminated};
use lotic::{
    Error, ErrorKind, Mode, QueryListener, QueryProgress, QueryStatus, Session, StreamingQuery, Timestamp,
    Trigger, WaitStrategy,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(5));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::ZERO);

fn session() -> Session {
    Session::builder().app_name("api").get_or_create().unwrap()
}

fn ended(query: &StreamingQuery) -> Result<(), Error> {
    query.await_termination_timeout(LIMIT).map(|over| assert!(over, "the query hangs"))
}

/// Lines, each ended by a line feed.
fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The text of the plan of a small query with an exchange.
fn explained(chaining: bool, parallelism: usize) -> String {
    let session = Session::builder().chaining(chaining).parallelism(parallelism).get_or_create().unwrap();
    let query = session
        .source(MemorySource::partitioned(0..10u64, 2).named("numbers"))
        .map(|n| n + 1)
        .filter(|n| n % 2 == 0)
        .inspect(|_| {})
        .key_by(|n| n % 3)
        .count()
        .uid("counts")
        .sink(MemorySink::new())
        .start(Trigger::AvailableNow)
        .unwrap();
    ended(&query).unwrap();
    query.explain().to_owned()
}

#[test]
fn explain_shows_actors_instances_exchanges_and_promises() {
    let chained = lines(&[
        " * source-numbers x1  [replayable]",
        " * map x1  [stateless]  <- forward from source-numbers",
        "   + filter x1  [stateless]  <- fused with map",
        "   + inspect x1  [stateless]  <- fused with filter",
        " * counts x1  [stateful, exactly-once]  <- by key from inspect",
        " * sink-memory x1  [exactly-once, visible when its epoch is committed]  <- forward from counts",
    ]);
    assert_eq!(explained(true, 1), chained);
    let unchained = lines(&[
        " * source-numbers x1  [replayable]",
        " * map x1  [stateless]  <- forward from source-numbers",
        " * filter x1  [stateless]  <- forward from map",
        " * inspect x1  [stateless]  <- forward from filter",
        " * counts x1  [stateful, exactly-once]  <- by key from inspect",
        " * sink-memory x1  [exactly-once, visible when its epoch is committed]  <- forward from counts",
    ]);
    assert_eq!(explained(false, 1), unchained);
    // The source has two partitions, so that a third instance would have nothing to read.
    let parallel = lines(&[
        " * source-numbers x2  [replayable]",
        " * map x3  [stateless]  <- in turn from source-numbers",
        "   + filter x3  [stateless]  <- fused with map",
        "   + inspect x3  [stateless]  <- fused with filter",
        " * counts x3  [stateful, exactly-once]  <- by key from inspect",
        " * sink-memory x3  [exactly-once, visible when its epoch is committed]  <- forward from counts",
    ]);
    assert_eq!(explained(true, 3), parallel);
}

#[test]
fn explain_admits_what_cannot_be_replayed_and_shows_several_inputs() {
    let session = session();
    let (orders, ingress) = session.ingress::<u64>("orders");
    let (left, right) = orders.union(session.rows(vec![1u64])).fork();
    let query = left.key_by(|n| *n).join(right.key_by(|n| *n), |a, _| *a).for_each(|_| {});
    let query = query.uid("out").start(CONTINUOUS).unwrap();
    let expected = lines(&[
        " * source-orders x1  [cannot be replayed: what is in flight is lost in a crash]",
        " * source-rows x1  [replayable]",
        " * fork x1  [stateless]  <- forward from source-orders, forward from source-rows",
        " * join x1  [stateful, exactly-once]  <- by key from fork, by key from fork",
        " * out x1  [at-least-once, visible at once]  <- forward from join",
    ]);
    assert_eq!(query.explain(), expected);
    drop(ingress);
    ended(&query).unwrap();
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let session = session();
    let said = |result: Result<StreamingQuery, Error>| {
        let error = result.expect_err("a mistake");
        assert_eq!(error.kind(), ErrorKind::User);
        error.to_string()
    };
    let numbers = || session.rows(vec![1u64, 2]);
    let two = numbers().map(|n| n).parallelism(2).for_each(|_| {}).parallelism(0);
    assert_eq!(said(two.start(CONTINUOUS)), "parallelism 0 of `sink-for-each`: it is at least 1");
    let many = numbers().parallelism(2).for_each(|_| {});
    assert_eq!(
        said(many.start(CONTINUOUS)),
        "parallelism 2 of `source-rows`: it can run in at most 1 instances"
    );
    let same = numbers().uid("a").map(|n| n).uid("a").for_each(|_| {});
    assert_eq!(said(same.start(CONTINUOUS)), "two operators have the id `a`: ids are unique in a query");
    let union = numbers().union(numbers()).uid("both").for_each(|_| {});
    assert_eq!(said(union.start(CONTINUOUS)), "`uid` after a union: a union is no step of its own");
    let (loose, tied) = numbers().fork();
    let _ = loose.map(|n| n);
    let error = said(tied.for_each(|_| {}).start(CONTINUOUS));
    assert!(error.starts_with("the output of `map` goes nowhere"), "{error}");
    let short = numbers().for_each(|_| {}).start(Trigger::continuous(Duration::from_micros(1)));
    assert!(said(short).contains("at least 1 ms"));
    assert!(session.active_queries().is_empty());
    // And the session is as good as new.
    ended(&numbers().for_each(|_| {}).start(CONTINUOUS).unwrap()).unwrap();
}

#[test]
fn names_are_given_or_made_and_ids_differ() {
    let session = session();
    let named = session.rows(vec![1]).for_each(|_| {}).query_name("mine").start(CONTINUOUS).unwrap();
    let other = session.rows(vec![1]).for_each(|_| {}).start(CONTINUOUS).unwrap();
    ended(&named).unwrap();
    ended(&other).unwrap();
    assert_eq!((named.name(), other.name()), ("mine", "api-1"));
    assert_ne!(named.id(), other.id());
    let parts: Vec<usize> = named.id().split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{}", named.id());
}

#[test]
fn the_id_is_known_when_start_returns_and_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (input, source) = memory::stream("numbers", 1);
    let sink = MemorySink::new();
    let start = |trigger| {
        let stream = session().source(source.clone()).map(|n: u64| n);
        stream.sink(sink.clone()).checkpoint_location(folder.path()).start(trigger).unwrap()
    };
    let first = start(CONTINUOUS);
    input.add(0..10);
    first.process_all_available().unwrap();
    first.stop().unwrap();
    let second = start(MICRO_BATCH);
    input.add(10..20);
    second.process_all_available().unwrap();
    second.stop().unwrap();
    assert_eq!(first.id(), second.id());
    assert!(!first.id().is_empty());
    assert_eq!(sink.committed(), (0..20).collect::<Vec<_>>());
}

#[test]
fn the_status_follows_the_query() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let (gate, opened) = (Arc::new(Barrier::new(2)), AtomicBool::new(false));
        let (input, source) = memory::stream::<u64>("numbers", 1);
        let (held, opened) = (Arc::clone(&gate), Arc::new(opened));
        let session = session();
        let query = session
            .source(source)
            .map(move |n| {
                if n == 1 && !opened.swap(true, Ordering::SeqCst) {
                    held.wait();
                }
                n
            })
            .for_each(|_| {})
            .start(trigger)
            .unwrap();
        assert!(query.is_active());
        assert_eq!(session.active_queries().len(), 1);
        input.add([0]);
        query.process_all_available().unwrap();
        assert_eq!(query.status(), QueryStatus::Running);
        assert!(!query.await_termination_timeout(Duration::from_millis(1)).unwrap());
        input.add([1]);
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| query.stop());
            // If it was stopped before it read row 1, it may have stopped before anybody looks.
            while query.status() == QueryStatus::Running {
                std::thread::yield_now();
            }
            assert!(matches!(query.status(), QueryStatus::Stopping | QueryStatus::Stopped));
            gate_opens(&gate, &query);
            stopped.join().unwrap().unwrap();
        });
        assert_eq!(query.status(), QueryStatus::Stopped);
        assert!(!query.is_active() && query.exception().is_none());
        assert!(session.active_queries().is_empty());
        query.stop().unwrap();
        query.await_termination().unwrap();
        assert!(query.await_termination_timeout(Duration::ZERO).unwrap());
    }
}

/// Lets the map go on, if it has come to its barrier; a query that was stopped before it read row 1 has not.
fn gate_opens(gate: &Arc<Barrier>, query: &StreamingQuery) {
    let (done, gate) = (query.clone(), Arc::clone(gate));
    std::thread::Builder::new().spawn(move || gate.wait()).unwrap();
    assert!(done.await_termination_timeout(LIMIT).unwrap());
}

#[test]
fn an_ended_query_refuses_what_comes_too_late() {
    let session = session();
    let query = session.rows(vec![1, 2, 3]).for_each(|_| {}).start(CONTINUOUS).unwrap();
    ended(&query).unwrap();
    let error = query.set_trigger(MICRO_BATCH).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("has ended"), "{error}");
    assert!(query.process_all_available().is_err());
    let running = session.ingress::<u64>("in");
    let query = running.0.for_each(|_| {}).start(CONTINUOUS).unwrap();
    assert!(query.set_trigger(Trigger::continuous(Duration::ZERO)).is_err(), "a wrong trigger is refused");
    query.stop().unwrap();
}

#[test]
fn progress_tells_rows_epochs_offsets_and_latency() {
    for (trigger, mode) in [(CONTINUOUS, Mode::Continuous), (MICRO_BATCH, Mode::MicroBatch)] {
        let folder = tempfile::tempdir().unwrap();
        let (input, source) = memory::stream::<u64>("numbers", 2);
        let query = session()
            .source(source)
            .filter(|n| n % 2 == 0)
            .key_by(|n| n % 10)
            .count()
            .sink(MemorySink::new())
            .query_name("counted")
            .checkpoint_location(folder.path())
            .start(trigger)
            .unwrap();
        assert!(query.last_progress().is_none(), "nothing was committed");
        for round in 1..=5u64 {
            input.add(0..100);
            query.process_all_available().unwrap();
            let progress = query.last_progress().unwrap();
            assert_eq!((progress.name.as_str(), progress.mode), ("counted", mode));
            assert_eq!(progress.id, query.id());
            let ends: Vec<_> = progress.sources[0].offsets.clone().into_iter().collect();
            assert_eq!(ends, [("0".to_owned(), round * 50), ("1".to_owned(), round * 50)]);
            assert_eq!(progress.sources[0].name, "source-numbers[0]");
            assert_eq!(progress.operators[2].state_rows, 5, "the digits that are even");
        }
        query.stop().unwrap();
        let all = query.recent_progress();
        assert!(all.len() >= 5 && all.last() == query.last_progress().as_ref());
        assert!(all.windows(2).all(|pair| pair[0].epoch < pair[1].epoch), "epochs increase");
        let sum = |figure: fn(&QueryProgress) -> u64| all.iter().map(figure).sum::<u64>();
        assert_eq!((sum(|p| p.rows_in), sum(|p| p.rows_out)), (500, 250));
        assert!(sum(|p| p.latency.count) >= 5 && sum(|p| p.checkpoint_bytes) > 0);
        let names: Vec<&str> = all[0].operators.iter().map(|operator| operator.name.as_str()).collect();
        assert_eq!(names, ["source-numbers[0]", "filter[0]", "aggregate[0]", "sink-memory[0]"]);
        for (operator, (rows_in, rows_out)) in [(1, (500, 250)), (2, (250, 250)), (3, (250, 250))] {
            let taken = all.iter().map(|progress| progress.operators[operator].rows_in).sum::<u64>();
            let passed = all.iter().map(|progress| progress.operators[operator].rows_out).sum::<u64>();
            assert_eq!((taken, passed), (rows_in, rows_out), "{}", names[operator]);
        }
        let updated = sum(|p| p.operators[2].state_rows_updated);
        assert!(
            (25..=250).contains(&updated),
            "each of 5 keys in each round, and at most each row: {updated}"
        );
        assert_eq!(sum(|p| p.operators[1].state_rows + p.operators[1].state_rows_updated), 0, "no state");
        for progress in all.iter().filter(|progress| progress.latency.count > 0) {
            plausible(progress);
        }
    }
}

fn plausible(progress: &QueryProgress) {
    let latency = progress.latency;
    assert!(0.0 < latency.p50_us && latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us);
    assert!(progress.interval_ms > 0.0 && progress.rows_out_per_second > 0.0 && progress.epoch_ms > 0.0);
    assert!(progress.checkpoint_ms > 0.0 && progress.checkpoint_ms <= progress.epoch_ms, "{progress:?}");
    let json = serde_json::to_value(progress).unwrap();
    assert_eq!(json["operators"].as_array().unwrap().len(), 4);
}

#[test]
fn late_rows_are_dropped_and_counted_and_the_watermark_is_shown() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let (input, source) = memory::stream::<i64>("times", 1);
        let sink = MemorySink::new();
        let time = |millis: &i64| Timestamp::from_millis(*millis);
        let query = session()
            .source(source)
            .with_watermark(time, Duration::from_millis(50))
            .key_by(|_| 0u8)
            .window(Tumbling::new(Duration::from_millis(100), time))
            .aggregate(lotic::operators::aggregate::Count)
            .sink(sink.clone())
            .start(trigger)
            .unwrap();
        input.add([10, 20, 160]); // the watermark reaches 110: the first window is out
        query.process_all_available().unwrap();
        input.add([99, 120, 0, 170]); // two rows are late; 120 is behind the largest time, but not too much
        query.process_all_available().unwrap();
        let progress = query.recent_progress();
        let window = |progress: &QueryProgress| progress.operators[2].clone();
        assert_eq!(progress.iter().map(|progress| window(progress).late_rows).sum::<u64>(), 2, "{trigger}");
        assert_eq!(window(progress.last().unwrap()).watermark_us, Some(120_000));
        input.finish();
        ended(&query).unwrap();
        let windows: Vec<(i64, u64)> =
            sink.committed().into_iter().map(|window| (window.start.0 / 1000, window.value)).collect();
        assert_eq!(windows, [(0, 2), (100, 3)], "{trigger}");
    }
}

#[test]
fn a_failure_ends_the_query_with_operator_epoch_and_cause_and_no_other() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let session = session();
        let (input, source) = memory::stream::<u64>("good", 1);
        let good = session.source(source).map(|n| n).sink(MemorySink::new()).start(trigger).unwrap();
        let (bad_input, source) = memory::stream::<u64>("bad", 1);
        let bad = session.source(source).map(|n| 10 / n).for_each(|_| {}).start(trigger).unwrap();
        bad_input.add([1, 2]);
        bad.process_all_available().unwrap();
        bad_input.add([0]);
        let error = ended(&bad).unwrap_err();
        assert_eq!((error.kind(), error.operator()), (ErrorKind::User, Some("map[0]")), "{error}");
        assert!(error.epoch().is_some_and(|epoch| epoch.0 >= 2), "{error:?}");
        assert!(error.to_string().contains("attempt to divide by zero"), "{error}");
        assert_eq!(bad.status(), QueryStatus::Failed);
        assert_eq!(bad.exception().unwrap().to_string(), error.to_string());
        assert!(bad.stop().is_err(), "a stop of a failed query tells the cause");
        assert_eq!(session.active_queries().len(), 1);
        input.add(0..100);
        good.process_all_available().unwrap();
        good.stop().unwrap();
    }
}

#[test]
fn who_waits_learns_that_the_query_failed() {
    let session = session();
    let (rows, ingress) = session.ingress::<u64>("rows");
    let query = rows.for_each_checked().start(CONTINUOUS).unwrap();
    ingress.push(1).unwrap();
    let error = query.process_all_available().and_then(|()| ended(&query)).unwrap_err();
    assert!(error.to_string().contains("no odd rows"), "{error}");
    assert!(error.operator().is_some_and(|operator| operator.contains("sink")), "{error:?}");
    assert!(ingress.push(2).is_err(), "the ingress of a query that has ended takes nothing");
}

trait Checked {
    fn for_each_checked(self) -> lotic::Query;
}

impl Checked for lotic::Stream<u64> {
    /// A sink whose function may fail.
    fn for_each_checked(self) -> lotic::Query {
        let even = |n: u64| if n.is_multiple_of(2) { Ok(()) } else { Err("no odd rows") };
        self.sink(lotic::connectors::ForEach::new(even))
    }
}

#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

impl QueryListener for Diary {
    fn on_started(&self, event: &QueryStarted) {
        self.note(&format!("started {}", event.name));
    }
    fn on_progress(&self, event: &QueryProgress) {
        assert!(!event.id.is_empty());
        self.note("progress");
    }
    fn on_terminated(&self, event: &QueryTerminated) {
        self.note(&format!("terminated {} {}", event.name, event.exception.is_some()));
    }
}

struct Panics;

impl QueryListener for Panics {
    fn on_started(&self, _: &QueryStarted) {
        panic!("on purpose");
    }
    fn on_progress(&self, _: &QueryProgress) {
        panic!("on purpose");
    }
    fn on_terminated(&self, _: &QueryTerminated) {
        panic!("on purpose");
    }
}

#[test]
fn listeners_are_told_and_one_that_panics_harms_nobody() {
    let session = session();
    let diary = Arc::new(Diary::default());
    session.add_listener(Arc::new(Panics));
    session.add_listener(Arc::clone(&diary) as Arc<dyn QueryListener>);
    let query = session.rows(vec![1u64, 2]).for_each(|_| {}).query_name("good").start(CONTINUOUS).unwrap();
    ended(&query).unwrap();
    let query = session
        .rows(vec![0u64])
        .map(|n| 1 / n)
        .for_each(|_| {})
        .query_name("bad")
        .start(MICRO_BATCH)
        .unwrap();
    ended(&query).unwrap_err();
    let notes = diary.0.lock().unwrap().clone();
    let without_progress: Vec<&String> = notes.iter().filter(|note| *note != "progress").collect();
    assert_eq!(
        without_progress,
        ["started good", "terminated good false", "started bad", "terminated bad true"]
    );
    assert_eq!(notes[1], "progress");
}

#[test]
fn dropping_the_handle_leaves_the_query_and_dropping_the_session_ends_it() {
    let session = session();
    let (rows, ingress) = session.ingress::<u64>("rows");
    let (query, out) = rows.map(|n| n + 1).egress("out");
    let query = query.start(CONTINUOUS).unwrap();
    drop(query);
    ingress.push(1).unwrap();
    assert_eq!(out.recv_timeout(LIMIT).ok(), Some(2));
    drop(session);
    let begun = Instant::now();
    while ingress.push(2).is_ok() {
        assert!(begun.elapsed() < LIMIT, "a query without session and handle still takes rows");
        std::thread::yield_now();
    }
    let last = std::iter::from_fn(|| match out.recv_timeout(LIMIT) {
        Ok(row) => Some(Ok(row)),
        Err(why) => Some(Err(why)),
    });
    let why = last.into_iter().find_map(Result::err);
    assert!(matches!(why, Some(NoRow::Ended)), "{why:?}");
}

#[test]
fn a_session_is_usable_as_long_as_a_query_is_held() {
    let (rows, ingress) = (session().ingress::<u64>("rows"),).0;
    let (query, out) = rows.map(|n| n * 2).egress("out");
    let query = query.start(CONTINUOUS).unwrap(); // the session is held by the query alone
    ingress.push(21).unwrap();
    assert_eq!(out.recv_timeout(LIMIT).ok(), Some(42));
    query.stop().unwrap();
}

#[test]
fn every_wait_strategy_gives_the_same() {
    for wait in [WaitStrategy::default(), WaitStrategy::Park, WaitStrategy::BusySpin] {
        for trigger in [CONTINUOUS, MICRO_BATCH] {
            let session = Session::builder().workers(2).parallelism(2).wait(wait).get_or_create().unwrap();
            let (rows, ingress) = session.ingress::<u64>("rows");
            let (query, out) = rows.key_by(|n| n % 4).count().egress("out");
            let query = query.start(trigger).unwrap();
            for n in 0..100u64 {
                ingress.push(n).unwrap();
                assert_eq!(out.recv_timeout(LIMIT).ok(), Some((n % 4, n / 4 + 1)), "{wait:?} {trigger}");
            }
            query.stop().unwrap();
        }
    }
}
