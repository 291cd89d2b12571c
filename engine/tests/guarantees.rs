//! What a query promises: nothing lost and nothing twice over stops, restarts, failures, changes of mode and
//! of parallelism; bounded memory; batches as large as was asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::memory::{self, MemorySink, MemorySource, MemoryStream};
use lotic::connectors::{egress, ingress};
use lotic::{Query, RestartPolicy, Session, StreamingQuery, Trigger};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(5));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::from_millis(1));
const BOTH: [Trigger; 2] = [CONTINUOUS, MICRO_BATCH];

fn session(parallelism: usize) -> Session {
    Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap()
}

fn ended(query: &StreamingQuery) {
    assert!(query.await_termination_timeout(LIMIT).unwrap(), "the query hangs: {}", query.explain());
}

/// The running counts of each key are 1, 2, 3, ... and reach `expected`: nothing lost, nothing twice.
fn counted_once(rows: Vec<(u64, u64)>, expected: &BTreeMap<u64, u64>, label: &str) {
    let mut counts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, count) in rows {
        counts.entry(key).or_default().push(count);
    }
    for (key, mut seen) in counts.clone() {
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{label}: key {key} counted {seen:?}");
    }
    let highest: BTreeMap<u64, u64> =
        counts.into_iter().map(|(key, seen)| (key, seen.len() as u64)).collect();
    assert_eq!(&highest, expected, "{label}");
}

/// The same keyed query again and again, over the same growing input and into the same sink.
struct Continued {
    input: MemoryStream<u64>,
    source: MemorySource<u64>,
    sink: MemorySink<(u64, u64)>,
    folder: tempfile::TempDir,
    expected: BTreeMap<u64, u64>,
}

impl Continued {
    fn new() -> Continued {
        let (input, source) = memory::stream("numbers", 4);
        let folder = tempfile::tempdir().unwrap();
        Continued { input, source, sink: MemorySink::new(), folder, expected: BTreeMap::new() }
    }

    fn add(&mut self, rows: std::ops::Range<u64>) {
        for row in rows.clone() {
            *self.expected.entry(row % 10).or_default() += 1;
        }
        self.input.add(rows);
    }

    fn start(&self, parallelism: usize, trigger: Trigger) -> StreamingQuery {
        let numbers = session(parallelism).source(self.source.clone());
        let query = numbers.key_by(|n| n % 10).count().sink(self.sink.clone());
        query.checkpoint_location(self.folder.path()).start(trigger).unwrap()
    }

    fn check(&self, label: &str) {
        counted_once(self.sink.committed(), &self.expected, label);
    }
}

#[test]
fn a_checkpoint_of_one_mode_restores_in_the_other() {
    for (first, second) in
        [(CONTINUOUS, MICRO_BATCH), (MICRO_BATCH, CONTINUOUS), (CONTINUOUS, Trigger::AvailableNow)]
    {
        let mut run = Continued::new();
        for round in 0..3 {
            let label = format!("{first} then {second}, round {round}");
            let query = run.start(2, first);
            run.add(0..500);
            query.process_all_available().unwrap();
            run.check(&label);
            run.add(0..333);
            query.stop().unwrap();
            run.add(0..77);
            let query = run.start(2, second);
            if second == Trigger::AvailableNow {
                ended(&query);
            } else {
                query.process_all_available().unwrap();
                query.stop().unwrap();
            }
            run.check(&label);
        }
    }
}

#[test]
fn a_restart_with_another_parallelism_keeps_every_key() {
    for trigger in BOTH {
        let mut run = Continued::new();
        for (at, parallelism) in [1, 3, 2, 4, 1].into_iter().enumerate() {
            let query = run.start(parallelism, trigger);
            run.add(0..1000);
            query.process_all_available().unwrap();
            query.stop().unwrap();
            run.check(&format!("{trigger}, start {at} x{parallelism}"));
        }
    }
}

#[test]
fn a_query_with_other_operators_is_refused_at_the_old_checkpoint() {
    let mut run = Continued::new();
    run.add(0..10);
    let query = run.start(1, CONTINUOUS);
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let other = session(1).source(run.source.clone()).key_by(|n| n % 10).fold(0u64, |s, n| *s += n);
    let other = other.uid("sums").sink(run.sink.clone()).checkpoint_location(run.folder.path());
    let error = other.start(CONTINUOUS).unwrap_err().to_string();
    assert!(error.contains("sums"), "the message names what is different: {error}");
    run.check("the checkpoint and the output stand");
    let query = run.start(1, CONTINUOUS);
    run.add(0..10);
    query.process_all_available().unwrap();
    query.stop().unwrap();
    run.check("and go on");
}

/// Fails at the given row, as often as told.
fn failing(times: u64) -> impl FnMut(u64) -> u64 + Clone + Send + 'static {
    let left = Arc::new(AtomicU64::new(times));
    move |n| {
        let due = n == 1500
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!due, "on purpose");
        n
    }
}

#[test]
fn a_restart_after_a_failure_is_exactly_once() {
    for trigger in BOTH {
        for parallelism in [1, 2] {
            for located in [true, false] {
                let folder = tempfile::tempdir().unwrap();
                let (input, source) = memory::stream::<u64>("numbers", 2);
                let sink = MemorySink::new();
                let mut query = session(parallelism)
                    .source(source)
                    .map(failing(2))
                    .key_by(|n| n % 10)
                    .count()
                    .sink(sink.clone())
                    .restart(RestartPolicy::attempts(3, Duration::from_millis(1)));
                if located {
                    query = query.checkpoint_location(folder.path());
                }
                let query = query.start(trigger).unwrap();
                input.add(0..1000);
                query.process_all_available().unwrap();
                input.add(1000..3000);
                input.finish();
                ended(&query);
                assert_eq!(query.restarts(), 2);
                let expected = (0..10).map(|key| (key, 300)).collect();
                counted_once(
                    sink.committed(),
                    &expected,
                    &format!("{trigger} x{parallelism} located {located}"),
                );
            }
        }
    }
}

#[test]
fn after_its_last_attempt_a_query_fails_with_the_cause() {
    let sink = MemorySink::new();
    let query = session(1)
        .source(MemorySource::new(0..3000u64))
        .map(failing(9))
        .sink(sink)
        .restart(RestartPolicy::attempts(2, Duration::from_millis(1)))
        .start(CONTINUOUS)
        .unwrap();
    let error = query.await_termination_timeout(LIMIT).unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
    assert_eq!(query.restarts(), 2);
}

#[test]
fn at_least_once_loses_nothing() {
    for trigger in BOTH {
        for parallelism in [1, 3] {
            let sink = MemorySink::new();
            let (one, two) = session(parallelism)
                .source(MemorySource::partitioned(0..3000u64, 3))
                .map(failing(1))
                .split(|n| n % 2 == 0);
            let query = one
                .union(two.map(|n| n))
                .key_by(|n| n % 7)
                .fold(0u64, |last, n| *last = n)
                .sink(sink.clone())
                .at_least_once()
                .restart(RestartPolicy::attempts(1, Duration::from_millis(1)))
                .start(trigger)
                .unwrap();
            ended(&query);
            let mut rows: Vec<u64> = sink.committed().into_iter().map(|(_, n)| n).collect();
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows, (0..3000).collect::<Vec<_>>(), "{trigger} x{parallelism}");
        }
    }
}

#[test]
fn stop_drains_what_was_pushed_before() {
    for trigger in [CONTINUOUS, MICRO_BATCH, Trigger::Continuous(LIMIT), Trigger::ProcessingTime(LIMIT)] {
        for parallelism in [1, 2] {
            let session = session(parallelism);
            let (rows, ingress) = session.ingress::<u64>("rows");
            let sink = MemorySink::new();
            let query = rows.key_by(|n| n % 5).count().sink(sink.clone()).start(trigger).unwrap();
            ingress.push_all(0..10_000).unwrap();
            query.stop().unwrap();
            let expected = (0..5).map(|key| (key, 2_000)).collect();
            counted_once(sink.committed(), &expected, &format!("{trigger} x{parallelism}"));
            assert!(ingress.is_closed());
        }
    }
}

/// A query from a small ingress to a small egress.
fn narrow(parallelism: usize) -> (Query, lotic::Ingress<u64>, lotic::Egress<u64>) {
    let (ingress, source) = ingress::channel("narrow", 64);
    let (egress, sink) = egress::channel("slow", 16);
    (session(parallelism).source(source).map(|n| n).sink(sink), ingress, egress)
}

#[test]
fn a_slow_consumer_holds_the_producer_up_and_nothing_is_lost() {
    for trigger in BOTH {
        for parallelism in [1, 2] {
            let (query, ingress, egress) = narrow(parallelism);
            let query = query.start(trigger).unwrap();
            // Nobody takes rows: what fits is taken in, and then no more.
            let (mut pushed, mut refused) = (0u64, 0);
            while refused < 1000 {
                match ingress.try_push(pushed) {
                    Ok(()) => (pushed, refused) = (pushed + 1, 0),
                    Err(_) => {
                        refused += 1;
                        std::thread::yield_now();
                    }
                }
                assert!(pushed < 1_000_000, "memory grows without bound");
            }
            let producer = std::thread::scope(|scope| {
                let producer = scope.spawn(|| {
                    let done = ingress.push_all(pushed..pushed + 50_000);
                    ingress.close();
                    done.map(|taken| pushed + taken)
                });
                let mut rows: Vec<u64> = egress.iter().collect();
                rows.sort_unstable();
                let total = producer.join().unwrap().unwrap();
                assert!(rows.iter().copied().eq(0..total), "{trigger} x{parallelism}: {} rows", rows.len());
                total
            });
            assert_eq!(producer, pushed + 50_000);
            ended(&query);
        }
    }
}

#[test]
fn a_stop_waits_for_a_blocked_consumer_and_then_loses_nothing() {
    for trigger in BOTH {
        let (query, ingress, egress) = narrow(1);
        let query = query.start(trigger).unwrap();
        let mut pushed = 0u64;
        for _ in 0..200 {
            if ingress.try_push(pushed).is_ok() {
                pushed += 1;
            }
            std::thread::yield_now();
        }
        assert!(pushed >= 64);
        let rows: Vec<u64> = std::thread::scope(|scope| {
            let stopped = scope.spawn(|| query.stop());
            let rows = egress.iter().collect();
            stopped.join().unwrap().unwrap();
            rows
        });
        // What was pushed before the stop comes out, whole and in order.
        assert!(rows.iter().copied().eq(0..pushed), "{trigger}: {} of {pushed}", rows.len());
    }
}

#[test]
fn once_takes_one_batch_and_available_now_as_many_as_it_needs() {
    let batches = |trigger, limit: Option<u64>| {
        let (input, source) = memory::stream::<u64>("numbers", 2);
        input.add(0..1000);
        let sink = MemorySink::new();
        let adding = AtomicBool::new(false);
        let (handle, adding) = (Arc::new(std::sync::Mutex::new(Some(input))), Arc::new(adding));
        let later = Arc::clone(&handle);
        let mut query = session(1)
            .source(source)
            .inspect(move |_| {
                // More arrives while it runs: not for this query.
                if !adding.swap(true, Ordering::SeqCst) {
                    later.lock().unwrap().as_ref().unwrap().add(1000..1100);
                }
            })
            .sink(sink.clone());
        if let Some(rows) = limit {
            query = query.max_rows_per_batch(rows);
        }
        let query = query.start(trigger).unwrap();
        ended(&query);
        let mut rows = sink.committed();
        rows.sort_unstable();
        assert!(rows.iter().copied().eq(0..1000), "{trigger} {limit:?}: {} rows", rows.len());
        let sizes: Vec<usize> = sink.committed_by_epoch().values().map(Vec::len).collect();
        drop(handle);
        sizes
    };
    assert_eq!(batches(Trigger::Once, None), [1000]);
    assert_eq!(batches(Trigger::Once, Some(100)), [1000], "one batch, whatever its size");
    assert_eq!(batches(Trigger::AvailableNow, None), [1000]);
    assert_eq!(batches(Trigger::AvailableNow, Some(300)), [300, 300, 300, 100]);
}

#[test]
fn available_now_goes_on_where_the_last_one_ended() {
    let mut run = Continued::new();
    for round in 0..4 {
        run.add(0..250);
        let query = run.start(1 + round % 2, Trigger::AvailableNow);
        ended(&query);
        run.check(&format!("round {round}"));
    }
    let query = run.start(1, Trigger::AvailableNow);
    ended(&query); // nothing is there, and it ends all the same
    run.check("nothing new");
}

#[test]
fn no_batch_is_larger_than_was_asked_for() {
    for trigger in [MICRO_BATCH, Trigger::ProcessingTime(Duration::ZERO)] {
        let sink = MemorySink::new();
        let query = session(1)
            .source(MemorySource::partitioned(0..2500u64, 3))
            .sink(sink.clone())
            .max_rows_per_batch(400)
            .start(trigger)
            .unwrap();
        ended(&query);
        let sizes: Vec<usize> = sink.committed_by_epoch().values().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= 400), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 2500);
    }
}

#[test]
fn many_switches_of_mode_keep_every_row_once_and_in_order() {
    for parallelism in [1, 2] {
        let (input, source) = memory::stream::<u64>("numbers", 2);
        let sink = MemorySink::new();
        let query = session(parallelism).source(source).key_by(|n| n % 3).count().sink(sink.clone());
        let query = query.start(CONTINUOUS).unwrap();
        let triggers =
            [MICRO_BATCH, Trigger::ProcessingTime(Duration::ZERO), CONTINUOUS, Trigger::continuous("1 ms")];
        for round in 0..40 {
            input.add(0..300);
            query.set_trigger(triggers[round % triggers.len()]).unwrap();
            if round % 10 == 9 {
                query.process_all_available().unwrap();
                assert_eq!(sink.committed().len(), (round + 1) * 300);
            }
        }
        input.finish();
        ended(&query);
        counted_once(sink.committed(), &(0..3).map(|key| (key, 4000)).collect(), &format!("x{parallelism}"));
    }
}

#[test]
fn a_switch_to_available_now_ends_the_query() {
    let (input, source) = memory::stream::<u64>("numbers", 1);
    let sink = MemorySink::new();
    let query = session(1).source(source).sink(sink.clone()).start(CONTINUOUS).unwrap();
    input.add(0..100);
    query.set_trigger(Trigger::AvailableNow).unwrap();
    ended(&query);
    assert_eq!(sink.committed().len(), 100);
}

#[test]
fn an_unwritable_location_is_named_and_costs_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside: &Path = &file.path().join("checkpoint");
    let numbers = session(1).rows(vec![1u64]).for_each(|_| {});
    let error = numbers.checkpoint_location(inside).start(CONTINUOUS).unwrap_err().to_string();
    assert!(error.contains(&file.path().display().to_string()), "{error}");
}
