//! The first things a user does.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::memory::{self, MemorySink, MemorySource};
use lotic::{Session, Trigger};
use std::collections::BTreeMap;
use std::time::Duration;

fn session() -> Session {
    Session::builder().app_name("test").get_or_create().unwrap()
}

#[test]
fn a_bounded_input_gives_the_same_answer_under_every_trigger() {
    let expected: BTreeMap<u64, u64> = (0..7u64).map(|key| (key, (10_000 - key).div_ceil(7))).collect();
    for parallelism in [1, 3] {
        for trigger in [
            Trigger::continuous("10 ms"),
            Trigger::processing_time("1 ms"),
            Trigger::processing_time(Duration::ZERO),
            Trigger::AvailableNow,
            Trigger::Once,
        ] {
            let session = Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
            let sink = MemorySink::new();
            let query = session
                .source(MemorySource::partitioned(0..10_000u64, 4))
                .map(|n| n * 2)
                .filter(|n| n % 2 == 0)
                .key_by(|n| (n / 2) % 7)
                .count()
                .sink(sink.clone())
                .max_rows_per_batch(500)
                .start(trigger)
                .unwrap();
            assert!(
                query.await_termination_timeout(Duration::from_secs(60)).unwrap(),
                "{trigger} {}",
                query.explain()
            );
            let rows = sink.committed();
            assert_eq!(rows.len(), 10_000, "{trigger} x{parallelism}");
            let mut highest = BTreeMap::new();
            for (key, count) in rows {
                let held = highest.entry(key).or_insert(0);
                assert_eq!(count, *held + 1, "the running count of a key goes up by one");
                *held = count;
            }
            assert_eq!(highest, expected, "{trigger} x{parallelism}");
        }
    }
}

#[test]
fn the_mode_can_be_switched_while_the_query_runs() {
    let session = session();
    let sink = MemorySink::new();
    let (input, source) = memory::stream("numbers", 1);
    let query = session
        .source(source)
        .key_by(|_: &u64| 0u64)
        .count()
        .sink(sink.clone())
        .start(Trigger::continuous("10 ms"))
        .unwrap();
    let mut added = 0;
    for trigger in [
        Trigger::processing_time("5 ms"),
        Trigger::continuous("10 ms"),
        Trigger::processing_time(Duration::ZERO),
        Trigger::continuous("10 ms"),
    ] {
        input.add(0..1000);
        query.set_trigger(trigger).unwrap();
        input.add(0..1000);
        added += 2000;
        query.process_all_available().unwrap();
        assert_eq!(sink.committed().len(), added);
        input.add(0..10);
        added += 10;
        query.process_all_available().unwrap();
        assert_eq!(query.last_progress().unwrap().mode, trigger.mode());
    }
    input.finish();
    query.await_termination().unwrap();
    let numbers: Vec<u64> = sink.committed().into_iter().map(|(_, count)| count).collect();
    assert_eq!(numbers, (1..=added as u64).collect::<Vec<_>>());
}
