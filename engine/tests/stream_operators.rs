//! Every operation of a stream gives what a plain computation over the same rows gives: in both modes, with
//! one instance and several, chained and not.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::memory::{MemorySink, MemorySource};
use lotic::operators::aggregate::{Aggregate, Count};
use lotic::operators::process::{Process, ProcessContext, Timer};
use lotic::operators::window::{Window, Windowed};
use lotic::operators::{Operator, Output, Rows};
use lotic::{Session, Stream, StreamingQuery, Timestamp, Trigger};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const TRIGGERS: [Trigger; 3] = [
    Trigger::Continuous(Duration::from_millis(5)),
    Trigger::ProcessingTime(Duration::from_millis(2)),
    Trigger::ProcessingTime(Duration::ZERO),
];

/// Calls `run` for every trigger, with 1, 2 and 3 instances, chained and not.
fn everywhere(run: impl Fn(&Session, Trigger, usize, &str)) {
    for parallelism in [1, 2, 3] {
        for trigger in TRIGGERS {
            for chaining in [true, false] {
                let builder = Session::builder().workers(2).parallelism(parallelism).chaining(chaining);
                let label = format!("{trigger} x{parallelism} chaining {chaining}");
                run(&builder.get_or_create().unwrap(), trigger, parallelism, &label);
            }
        }
    }
}

fn finish(query: &StreamingQuery, label: &str) {
    assert!(query.await_termination_timeout(LIMIT).unwrap(), "{label}\n{}", query.explain());
}

/// The stream emits `expected` everywhere: in this order with one instance, in any with more.
fn emits<T>(expected: &[T], build: impl Fn(&Session) -> Stream<T>)
where
    T: Ord + Clone + Debug + Send + 'static,
{
    compare(expected, true, build);
}

/// As [`emits`], for an operation that promises no order.
fn emits_in_any_order<T>(expected: &[T], build: impl Fn(&Session) -> Stream<T>)
where
    T: Ord + Clone + Debug + Send + 'static,
{
    compare(expected, false, build);
}

fn compare<T>(expected: &[T], ordered: bool, build: impl Fn(&Session) -> Stream<T>)
where
    T: Ord + Clone + Debug + Send + 'static,
{
    everywhere(|session, trigger, parallelism, label| {
        let sink = MemorySink::new();
        let query = build(session).sink(sink.clone()).max_rows_per_batch(300).start(trigger).unwrap();
        finish(&query, label);
        let (mut rows, mut expected) = (sink.committed(), expected.to_vec());
        if parallelism > 1 || !ordered {
            rows.sort();
            expected.sort();
        }
        same(&rows, &expected, label);
    });
}

/// Says where two sequences begin to differ, instead of printing both.
fn same<T: PartialEq + Debug>(rows: &[T], expected: &[T], label: &str) {
    let at = rows.iter().zip(expected).position(|(row, other)| row != other);
    let at = at.unwrap_or(rows.len().min(expected.len()));
    assert_eq!(
        rows.get(at),
        expected.get(at),
        "{label}: row {at} of {}, expected {}",
        rows.len(),
        expected.len()
    );
}

const ROWS: u64 = 2_000;

fn numbers(session: &Session) -> Stream<u64> {
    session.source(MemorySource::partitioned(0..ROWS, 4))
}

/// What a running aggregation emits: the state of the row's key after each row. With several source
/// instances rows of a key may come in another order, so `step` must not depend on it.
fn running<S: Clone>(
    key: impl Fn(u64) -> u64,
    init: impl Fn() -> S,
    step: impl Fn(&mut S, u64),
) -> Vec<(u64, S)> {
    let mut states = BTreeMap::new();
    let row = |n| {
        let state = states.entry(key(n)).or_insert_with(&init);
        step(state, n);
        (key(n), state.clone())
    };
    (0..ROWS).map(row).collect()
}

#[test]
fn map_filter_flat_map_and_inspect_are_those_of_an_iterator() {
    let expected: Vec<String> = (0..ROWS)
        .map(|n| n * 3)
        .filter(|n| n % 2 == 0)
        .flat_map(|n| vec![n; (n % 4) as usize])
        .map(|n| format!("{n:05}"))
        .collect();
    let seen = Arc::new(Mutex::new(0u64));
    let counted = Arc::clone(&seen);
    emits(&expected, |session| {
        let counted = Arc::clone(&counted);
        numbers(session)
            .map(|n| n * 3)
            .filter(|n| n % 2 == 0)
            .flat_map(|n| vec![n; (n % 4) as usize])
            .inspect(move |_| *counted.lock().unwrap() += 1)
            .map(|n| format!("{n:05}"))
    });
    assert_eq!(*seen.lock().unwrap(), 3 * 3 * 2 * expected.len() as u64, "each run looked at each row once");
}

#[test]
fn count_reduce_and_fold_run_by_key() {
    emits(&running(|n| n % 7, || 0, |count: &mut u64, _| *count += 1), |session| {
        numbers(session).key_by(|n| n % 7).count()
    });
    // The parity of a sum: what is emitted for a key is independent of the order of equal rows.
    emits(&running(|n| n % 11, || 0, |sum: &mut u64, _| *sum += 5), |session| {
        numbers(session)
            .map(|n| (n % 11, 5))
            .key_by(|row| row.0)
            .reduce(|a, b| (a.0, a.1 + b.1))
            .map(|(k, v)| (k, v.1))
    });
    emits(&running(|n| n % 3, || 1, |state: &mut u64, n| *state += n % 3), |session| {
        numbers(session).key_by(|n| n % 3).fold(1u64, |state, n| *state += n % 3)
    });
}

#[test]
fn a_key_sees_its_rows_in_order_across_an_exchange() {
    // One source instance, three operator instances: the order within a key is that of the source.
    everywhere(|session, trigger, _, label| {
        let sink = MemorySink::new();
        let query = session
            .source(MemorySource::new(0..ROWS))
            .key_by(|n| n % 13)
            .fold(0, |last, n| *last = n)
            .parallelism(3)
            .sink(sink.clone())
            .parallelism(3)
            .start(trigger)
            .unwrap();
        finish(&query, label);
        let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (key, last) in sink.committed() {
            by_key.entry(key).or_default().push(last);
        }
        assert_eq!(by_key.len(), 13, "{label}");
        for (key, rows) in by_key {
            same(&rows, &(key..ROWS).step_by(13).collect::<Vec<_>>(), label);
        }
    });
}

/// The mean, as an aggregate whose result is not its state.
#[derive(Clone)]
struct Mean;

impl Aggregate<u64> for Mean {
    type State = (u64, u64);
    type Out = String;

    fn init(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, (rows, sum): &mut (u64, u64), row: u64) {
        *rows += 1;
        *sum += row;
    }
    fn result(&self, (rows, sum): &(u64, u64)) -> String {
        format!("{:.3}", *sum as f64 / *rows as f64)
    }
}

#[test]
fn an_aggregate_of_ones_own_runs_by_key() {
    let states = running(|n| n % 5, || (0u64, 0u64), |state, n| *state = (state.0 + 1, state.1 + n % 5));
    let expected: Vec<(u64, String)> = states
        .into_iter()
        .map(|(key, (rows, sum))| (key, format!("{:.3}", sum as f64 / rows as f64)))
        .collect();
    emits(&expected, |session| numbers(session).map(|n| n % 5).key_by(|n| *n).aggregate(Mean));
}

#[test]
fn count_windows_close_when_they_are_full() {
    let size = NonZeroU64::new(10).unwrap();
    let full = |key: u64| ((key..ROWS).step_by(7).count() / 10) as u64;
    let expected: Vec<(u64, u64)> = (0..7).flat_map(|key| vec![(key, 10); full(key) as usize]).collect();
    emits_in_any_order(&expected, |session| numbers(session).key_by(|n| n % 7).count_window(size, Count));
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis as i64)
}

/// Key, start in milliseconds, value.
fn flat<V>(window: Windowed<u64, V>) -> (u64, i64, V) {
    assert_eq!(window.end, window.start.plus(Duration::from_millis(100)));
    (window.key, window.start.0 / 1000, window.value)
}

#[test]
fn tumbling_windows_hold_the_rows_of_their_time() {
    let mut counts: BTreeMap<(u64, i64), u64> = BTreeMap::new();
    let mut largest: BTreeMap<(u64, i64), u64> = BTreeMap::new();
    for n in 0..ROWS {
        let window = (n % 3, (n / 100 * 100) as i64);
        *counts.entry(window).or_default() += 1;
        let held = largest.entry(window).or_default();
        *held = n.max(*held);
    }
    let rows = |windows: BTreeMap<(u64, i64), u64>| -> Vec<(u64, i64, u64)> {
        windows.into_iter().map(|((key, start), value)| (key, start, value)).collect()
    };
    let size = Duration::from_millis(100);
    // Partitions are read at their own pace within a source instance: the delay covers all of it.
    let delay = Duration::from_secs(10);
    emits_in_any_order(&rows(counts), |session| {
        let windows = numbers(session).with_watermark(|n| at(*n), delay).key_by(|n| n % 3);
        windows.window(Window::tumbling(size, |n: &u64| at(*n))).aggregate(Count).map(flat)
    });
    emits_in_any_order(&rows(largest), |session| {
        let windows = numbers(session).with_watermark(|n| at(*n), delay).key_by(|n| n % 3);
        windows.window(Window::tumbling(size, |n: &u64| at(*n))).reduce(u64::max).map(flat)
    });
}

/// Sums the rows of each stretch of 100 ms by hand, with a timer at its end; and says so at the end of all.
#[derive(Clone)]
struct Stretches;

impl Process<u64, u64> for Stretches {
    type State = BTreeMap<Timestamp, u64>;
    type Out = (u64, i64, u64);

    fn on_row(
        &mut self,
        row: u64,
        context: &mut ProcessContext<'_, u64, Self::State, Self::Out>,
    ) -> lotic::operators::Result<()> {
        let (_, end) = at(row).window(Duration::from_millis(100));
        *context.state().entry(end).or_default() += row;
        context.set_timer(Timer::Event(end));
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        context: &mut ProcessContext<'_, u64, Self::State, Self::Out>,
    ) -> lotic::operators::Result<()> {
        let Timer::Event(end) = timer else { panic!("no other timer was set") };
        let sum = context.state().remove(&end).expect("the timer comes up once");
        let key = *context.key();
        context.emit((key, end.0 / 1000, sum));
        if context.state().is_empty() {
            context.clear();
        }
        Ok(())
    }
}

#[test]
fn a_process_has_state_and_event_time_timers() {
    let mut sums: BTreeMap<(u64, i64), u64> = BTreeMap::new();
    for n in 0..ROWS {
        *sums.entry((n % 5, (n / 100 * 100 + 100) as i64)).or_default() += n;
    }
    let expected: Vec<(u64, i64, u64)> = sums.into_iter().map(|((key, end), sum)| (key, end, sum)).collect();
    emits_in_any_order(&expected, |session| {
        let stream = numbers(session).with_watermark(|n| at(*n), Duration::from_secs(10));
        stream.key_by(|n| n % 5).process(Stretches)
    });
}

/// Answers each row a while later, from a processing-time timer.
#[derive(Clone)]
struct Later;

impl Process<u64, u64> for Later {
    type State = u64;
    type Out = (u64, u64, bool);

    fn on_row(
        &mut self,
        row: u64,
        context: &mut ProcessContext<'_, u64, u64, Self::Out>,
    ) -> lotic::operators::Result<()> {
        *context.state() = row;
        let due = context.now().plus(Duration::from_millis(5));
        context.set_timer(Timer::Processing(due));
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        context: &mut ProcessContext<'_, u64, u64, Self::Out>,
    ) -> lotic::operators::Result<()> {
        let Timer::Processing(due) = timer else { panic!("no other timer was set") };
        let on_time = context.now() >= due;
        let (key, row) = (*context.key(), *context.state());
        context.clear();
        context.emit((key, row, on_time));
        Ok(())
    }
}

#[test]
fn processing_time_timers_come_up_without_further_rows() {
    for parallelism in [1, 2] {
        for trigger in TRIGGERS {
            let session = Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
            let (rows, ingress) = session.ingress::<u64>("rows");
            let (query, answers) = rows.key_by(|n| n % 10).process(Later).egress("answers");
            let query = query.start(trigger).unwrap();
            for n in 0..30u64 {
                ingress.push(n).unwrap();
                let answer = answers.recv_timeout(LIMIT).unwrap();
                assert_eq!(answer, (n % 10, n, true), "{trigger} x{parallelism}");
            }
            query.stop().unwrap();
        }
    }
}

#[test]
fn a_join_meets_every_pair_once() {
    let mut expected = Vec::new();
    for left in 0..300u64 {
        for right in 0..120u64 {
            if left % 20 == right % 20 {
                expected.push((left, right.to_string()));
            }
        }
    }
    emits_in_any_order(&expected, |session| {
        let left = session.source(MemorySource::partitioned(0..300u64, 3).named("left"));
        let right =
            session.source(MemorySource::partitioned(0..120u64, 2).named("right")).map(|n| n.to_string());
        left.key_by(|n| n % 20)
            .join(right.key_by(|text: &String| text.parse::<u64>().unwrap() % 20), |l, r| (*l, r.clone()))
    });
}

#[test]
fn a_union_has_the_rows_of_all() {
    let expected: Vec<u64> = (0..ROWS).chain(5_000..5_100).chain((0..ROWS).map(|n| n + 1)).collect();
    emits_in_any_order(&expected, |session| {
        let small = session.source(MemorySource::new(5_000..5_100u64).named("small"));
        numbers(session).union(small).union(numbers(session).map(|n| n + 1))
    });
    // And it can be split by key like any other stream.
    let expected: Vec<(u64, u64)> = (1..=2 * ROWS).map(|count| (0, count)).collect();
    emits_in_any_order(&expected, |session| {
        numbers(session).union(numbers(session).map(|n| n * 2)).key_by(|_| 0).count()
    });
}

#[test]
fn a_split_sends_each_row_one_way_and_a_fork_both() {
    everywhere(|session, trigger, _, label| {
        let (small, large, all) = (MemorySink::new(), MemorySink::new(), MemorySink::new());
        let (one, two) = numbers(session).fork();
        let _all = two.map(|n| n + 1).sink(all.clone());
        let (low, high) = one.split(|n| *n < 500);
        let _small = low.sink(small.clone());
        let query = high.filter(|n| n % 2 == 0).sink(large.clone()).start(trigger).unwrap();
        finish(&query, label);
        let sorted = |sink: MemorySink<u64>| {
            let mut rows = sink.committed();
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(small), (0..500).collect::<Vec<_>>(), "{label}");
        assert_eq!(sorted(large), (500..ROWS).filter(|n| n % 2 == 0).collect::<Vec<_>>(), "{label}");
        assert_eq!(sorted(all), (1..=ROWS).collect::<Vec<_>>(), "{label}");
    });
}

#[test]
fn a_fork_and_a_union_of_its_halves_neither_lose_nor_double() {
    let expected: Vec<u64> = (0..ROWS).flat_map(|n| [n, n + 10_000]).collect();
    emits_in_any_order(&expected, |session| {
        let (one, two) = numbers(session).fork();
        one.union(two.map(|n| n + 10_000))
    });
    let expected: Vec<(u64, u64)> = (0..ROWS).map(|n| (n, n)).collect();
    emits_in_any_order(&expected, |session| {
        let (one, two) = numbers(session).fork();
        one.key_by(|n| *n).join(two.key_by(|n| *n), |a, b| (*a, *b))
    });
}

/// An operator of one's own: pairs of neighbours.
#[derive(Default)]
struct Pairs(Option<u64>);

impl Operator<Rows<u64>, Rows<(u64, u64)>> for Pairs {
    fn process(
        &mut self,
        input: &mut Rows<u64>,
        output: &mut Output<Rows<(u64, u64)>>,
    ) -> lotic::operators::Result<()> {
        while !output.is_full() {
            let Some(row) = input.next() else { break };
            match self.0.take() {
                None => self.0 = Some(row),
                Some(before) => output.push((before, row)),
            }
        }
        Ok(())
    }
}

#[test]
fn an_operator_of_ones_own_is_a_step_like_any_other() {
    let expected: Vec<(u64, u64)> = (0..ROWS / 2).map(|n| (2 * n, 2 * n + 1)).collect();
    emits(&expected, |session| {
        let numbers = session.source(MemorySource::new(0..ROWS));
        numbers.apply("pairs", |_| Pairs::default()).parallelism(1)
    });
}

#[test]
fn functions_and_handles_get_every_row() {
    everywhere(|session, trigger, _, label| {
        let each = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&each);
        let query = numbers(session).for_each(move |n| taken.lock().unwrap().push(n)).start(trigger).unwrap();
        finish(&query, label);
        let batches = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&batches);
        let query = numbers(session)
            .for_each_batch(move |rows| {
                assert!(rows.len() > 0, "no call without rows");
                taken.lock().unwrap().extend(rows);
            })
            .start(trigger)
            .unwrap();
        finish(&query, label);
        let (query, handle) = numbers(session).egress("numbers");
        let query = query.start(trigger).unwrap();
        let handed: Vec<u64> = handle.iter().collect();
        finish(&query, label);
        let expected: Vec<u64> = (0..ROWS).collect();
        for mut rows in [
            std::mem::take(&mut *each.lock().unwrap()),
            std::mem::take(&mut *batches.lock().unwrap()),
            handed,
        ] {
            rows.sort_unstable();
            same(&rows, &expected, label);
        }
    });
}
