//! Event time over partitions and inputs: no row is dropped because of the order in which partitions are read,
//! and what is quiet holds nothing back for ever.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod topic;

use lotic::connectors::memory::{self, MemorySink};
use lotic::operators::aggregate::Count;
use lotic::operators::window::{Window, Windowed};
use lotic::{MultipleWatermarkPolicy, Query, Session, Stream, StreamingQuery, Timestamp, Trigger};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use topic::{Row, Topic};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(20);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(5));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::from_millis(1));
const SECOND: Duration = Duration::from_secs(1);

fn session(parallelism: usize) -> Session {
    Session::builder().parallelism(parallelism).get_or_create().unwrap()
}

fn at(row: &Row) -> Timestamp {
    Timestamp::from_millis(row.millis)
}

fn row(partition: usize, millis: i64) -> Row {
    Row { partition, millis }
}

/// Window in seconds, rows.
type Counted = (i64, u64);

/// Rows by second, over all partitions.
fn counted(rows: Stream<Row>) -> Stream<Counted> {
    rows.key_by(|_| 0u8)
        .window(Window::tumbling(SECOND, at as fn(&Row) -> Timestamp))
        .aggregate(Count)
        .map(|window: Windowed<u8, u64>| (window.start.0 / 1_000_000, window.value))
}

fn seconds(topic: &Topic, session: &Session) -> Stream<Counted> {
    counted(session.source(topic.clone()).uid("topic").filter(|_| true).with_watermark(at, Duration::ZERO))
}

/// Rows in order within each partition.
fn history(partitions: usize, rows: i64) -> Vec<Row> {
    (0..partitions).flat_map(|partition| (0..rows).map(move |n| row(partition, n * 97))).collect()
}

fn expected(rows: &[Row]) -> Vec<Counted> {
    let mut windows = BTreeMap::new();
    rows.iter().for_each(|row| *windows.entry(row.millis / 1000).or_default() += 1);
    windows.into_iter().collect()
}

fn ended(query: &StreamingQuery) {
    assert!(query.await_termination_timeout(LIMIT).unwrap(), "the query hangs: {}", query.explain());
}

fn sorted(mut rows: Vec<Counted>) -> Vec<Counted> {
    rows.sort_unstable();
    rows
}

#[test]
fn partitions_that_are_read_one_after_the_other_lose_no_rows() {
    let rows = history(10, 200);
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        for parallelism in [1, 3] {
            let topic = Topic::new(10, 10);
            topic.add(rows.clone());
            topic.finish();
            let sink = MemorySink::new();
            let query = seconds(&topic, &session(parallelism)).sink(sink.clone()).start(trigger).unwrap();
            ended(&query);
            assert_eq!(sorted(sink.committed()), expected(&rows), "{trigger:?}, {parallelism} instances");
        }
    }
}

#[test]
fn times_of_partitions_outlive_a_restart_with_another_parallelism() {
    let rows = history(6, 120);
    let (before, after): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| row.millis < 97 * 50);
    for (first, then) in [(1, 3), (3, 2), (4, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let topic = Topic::new(6, 6);
        // One partition is far ahead.
        topic.add(before.iter().copied());
        topic.add(after.iter().copied().filter(|row| row.partition == 2));
        let sink = MemorySink::new();
        let start = |parallelism| {
            let query = seconds(&topic, &session(parallelism)).sink(sink.clone());
            query.checkpoint_location(folder.path()).start(CONTINUOUS).unwrap()
        };
        let query = start(first);
        query.process_all_available().unwrap();
        query.stop().unwrap();
        topic.add(after.iter().copied().filter(|row| row.partition != 2));
        topic.finish();
        ended(&start(then));
        assert_eq!(sorted(sink.committed()), expected(&rows), "{first}, then {then} instances");
    }
}

/// Waits for a row that comes while the input goes on.
fn next(rows: &lotic::Egress<Counted>, query: &StreamingQuery) -> Counted {
    rows.recv_timeout(LIMIT).unwrap_or_else(|_| {
        panic!("nothing comes: {:?}, {:?}", query.last_progress(), query.exception());
    })
}

#[test]
fn an_instance_without_partitions_holds_nothing_back() {
    let topic = Topic::new(2, 4);
    let (query, rows) = seconds(&topic, &session(4)).egress("seconds");
    let query = query.idle_after(None).start(CONTINUOUS).unwrap();
    topic.add([row(0, 10), row(1, 20), row(0, 1500), row(1, 1700)]);
    assert_eq!(next(&rows, &query), (0, 2));
    query.stop().unwrap();
}

#[test]
fn a_quiet_partition_is_idle_after_a_while_and_counts_again_with_its_next_row() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let topic = Topic::new(2, 2);
        let (query, rows) = seconds(&topic, &session(1)).egress("seconds");
        let query = query.idle_after(Some(SOON)).start(trigger).unwrap();
        topic.add([row(0, 10), row(1, 20)]);
        let begun = Instant::now();
        let mut sent = 0;
        let first = loop {
            // Were both quiet, the watermark would stay.
            topic.add([row(0, 1500)]);
            sent += 1;
            if let Ok(window) = rows.recv_timeout(SOON / 10) {
                break window;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "{trigger:?}: {:?}, {:?}",
                query.last_progress(),
                query.exception()
            );
        };
        assert_eq!(first, (0, 2), "partition 1 is no longer waited for");
        // Partition 0 goes on, and partition 1 is back in time for the window that is open.
        topic.add([row(1, 1600)]);
        query.process_all_available().unwrap();
        topic.add([row(0, 2500), row(1, 2600)]);
        assert_eq!(next(&rows, &query), (1, sent + 1));
        query.stop().unwrap();
    }
}

#[test]
fn a_quiet_input_of_a_union_or_a_source_that_has_ended_holds_nothing_back() {
    let (busy, quiet, over) = (Topic::new(1, 1), Topic::new(1, 1), Topic::new(1, 1));
    let session = session(1);
    let stream =
        |topic: &Topic, uid| session.source(topic.clone()).uid(uid).with_watermark(at, Duration::ZERO);
    let all = stream(&busy, "busy").union(stream(&quiet, "quiet")).union(stream(&over, "over"));
    let (query, rows) = counted(all).egress("seconds");
    let query = query.idle_after(Some(SOON)).start(CONTINUOUS).unwrap();
    over.add([row(0, 1)]);
    over.finish();
    quiet.add([row(0, 2)]);
    query.process_all_available().unwrap();
    busy.add([row(0, 3), row(0, 1200)]);
    assert_eq!(next(&rows, &query), (0, 3));
    query.stop().unwrap();
}

#[test]
fn by_the_policy_max_the_fastest_input_decides() {
    let run = |policy: MultipleWatermarkPolicy, say: fn(Query, MultipleWatermarkPolicy) -> Query| {
        let builder = Session::builder().idle_after(None).multiple_watermark_policy(policy);
        let session = builder.get_or_create().unwrap();
        let (fast, fast_rows) = memory::stream::<Row>("fast", 1);
        let (slow, slow_rows) = memory::stream::<Row>("slow", 1);
        let stream = |source| session.source(source).with_watermark(at, Duration::ZERO);
        let (query, rows) = counted(stream(fast_rows).union(stream(slow_rows))).egress("seconds");
        let query = say(query, policy).start(CONTINUOUS).unwrap();
        slow.add([row(0, 100)]);
        query.process_all_available().unwrap();
        fast.add([row(0, 300), row(0, 5_000)]);
        query.process_all_available().unwrap();
        slow.add([row(0, 400)]);
        query.process_all_available().unwrap();
        fast.finish();
        slow.finish();
        ended(&query);
        sorted(rows.iter().collect())
    };
    use MultipleWatermarkPolicy::{Max, Min};
    assert_eq!(run(Min, |query, _| query), [(0, 3), (5, 1)]);
    assert_eq!(run(Max, |query, _| query), [(0, 2), (5, 1)], "the slow input's second row is late");
    assert_eq!(run(Max, |query, _| query.multiple_watermark_policy(Min)), [(0, 3), (5, 1)]);
}

#[test]
fn progress_names_what_holds_the_watermark_back() {
    let topic = Topic::new(3, 3);
    let (query, _rows) = seconds(&topic, &session(2)).egress("seconds");
    let query = query.idle_after(None).start(CONTINUOUS).unwrap();
    let begun = Instant::now();
    for n in 0.. {
        // Partition 2 is read by the first of two instances, beside partition 0.
        topic.add([row(0, n * 10), row(1, n * 20), row(2, n)]);
        query.process_all_available().unwrap();
        let progress = query.last_progress();
        let held = |name: &str| {
            let operators = progress.iter().flat_map(|progress| &progress.operators);
            let mut named = operators.filter(|operator| operator.name.contains(name));
            named.find_map(|operator| operator.watermark_held_back_by.clone())
        };
        if held("watermark[0]").as_deref() == Some("topic/2")
            && held("tumbling-window[0]").is_some_and(|input| input.ends_with("watermark[0]"))
        {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{progress:?}");
    }
    query.stop().unwrap();
}

#[test]
fn a_time_too_short_to_be_kept_is_refused() {
    let error = Session::builder().idle_after(Some(Duration::ZERO)).get_or_create().unwrap_err();
    assert!(error.to_string().contains("at least 10ms"), "{error}");
}
