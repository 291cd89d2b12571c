//! Sources that can be read again, and the sink in memory.
#![allow(clippy::unwrap_used)]

mod support;

use lotic_connectors::{
    ErrorKind, MemorySink, MemorySource, Offsets, Polled, RateRow, RateSource, SinkFactory, memory,
};
use lotic_operators::Epoch;
use std::task::Waker;
use std::time::Duration;
use support::{Bell, poll, read, sink_of, source_at, source_of, write};

#[test]
fn a_growing_input_wakes_its_source_and_ends_with_its_handle() {
    let (handle, factory) = memory::stream::<u64>("growing", 2);
    let mut source = source_of(&factory);
    let (bell, waker) = Bell::new();
    assert!(matches!(poll(&mut source, 9, &waker).unwrap(), Polled::Pending(None)));
    handle.add([1, 2, 3]);
    assert_eq!(bell.rings(), 1);
    assert_eq!(source.latest(2, Waker::noop()).unwrap().known().unwrap().to_string(), "0:1,1:1");
    assert_eq!(read(&mut source, 3).unwrap(), [1, 2, 3]);
    assert!(matches!(poll(&mut source, 9, &waker).unwrap(), Polled::Pending(None)));
    drop(handle);
    assert_eq!(bell.rings(), 2);
    assert!(matches!(poll(&mut source, 9, &waker).unwrap(), Polled::Finished));
}

#[test]
fn offsets_that_the_source_does_not_have_are_refused() {
    let factory = MemorySource::partitioned(0..4, 2).named("numbers");
    let offsets = |positions: [(&str, u64); 2]| Offsets(positions.map(|(p, n)| (p.to_owned(), n)).into());
    let refusal = |from: &Offsets| {
        let error = source_at(&factory, from).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::User);
        error.to_string()
    };
    assert!(source_at(&factory, &offsets([("0", 2), ("1", 2)])).is_ok());
    let beyond = refusal(&offsets([("0", 2), ("1", 3)]));
    assert!(beyond.contains("holds 2 rows in partition 1") && beyond.contains("row 3"), "{beyond}");
    let other = refusal(&Offsets::single("0", 1));
    assert!(other.contains("`numbers` has 2 partitions, but the checkpoint has 1"), "{other}");
    assert!(refusal(&offsets([("0", 2), ("orders-1", 2)])).contains("orders-1"));
}

#[test]
fn rows_in_memory_are_visible_with_their_epoch() {
    let results = MemorySink::<u64>::new();
    let mut committer = results.committer("query/sink").unwrap().unwrap();
    let mut sink = sink_of(&results, 1);
    write(&mut sink, vec![1, 2]).unwrap();
    let first = sink.pre_commit(Epoch(1)).unwrap().unwrap();
    write(&mut sink, vec![3]).unwrap();
    let second = sink.pre_commit(Epoch(2)).unwrap().unwrap();
    assert!(sink.pre_commit(Epoch(3)).unwrap().is_none(), "an epoch without rows has nothing to commit");
    let handles = [first().unwrap(), second().unwrap()];
    assert!(results.committed().is_empty());
    committer.commit(Epoch(1), &[&handles[0]]).unwrap();
    assert_eq!((results.committed(), results.last_committed()), (vec![1, 2], Epoch(1)));
    committer.commit(Epoch(2), &[&handles[1]]).unwrap();
    let by_epoch = results.committed_by_epoch();
    assert_eq!(by_epoch.into_iter().collect::<Vec<_>>(), [(Epoch(1), vec![1, 2]), (Epoch(2), vec![3])]);

    let mut elsewhere = MemorySink::<u64>::new().committer("query/sink").unwrap().unwrap();
    let error = elsewhere.commit(Epoch(2), &[&handles[1]]).unwrap_err().to_string();
    assert!(error.contains("nothing to commit for epoch 2"), "{error}");
    let error = elsewhere.commit(Epoch(2), &[b"\xff"]).unwrap_err().to_string();
    assert!(error.contains("does not understand its handle"), "{error}");
}

#[test]
fn rows_are_due_at_their_time_and_never_sent_before() {
    const RATE: u64 = 2_000;
    let factory = RateSource::new(RATE).limit(100);
    let mut source = source_of(&factory);
    let mut rows: Vec<RateRow> = Vec::new();
    loop {
        match poll(&mut source, 7, Waker::noop()).unwrap() {
            Polled::Batch(batch) => {
                rows.extend(batch);
                let now_ns = factory.origin().elapsed().as_nanos() as u64;
                assert!(rows.iter().all(|row| row.intended_ns <= now_ns), "a row was sent before its time");
            }
            Polled::Pending(wait) => {
                let wait = wait.unwrap();
                assert!(wait <= Duration::from_nanos(1_000_000_000 / RATE), "{wait:?} to the next row");
                std::thread::park_timeout(wait);
            }
            Polled::Finished => break,
            Polled::AtEnd => unreachable!("there is no plan"),
        }
    }
    assert!(rows.iter().map(|row| row.value).eq(0..100));
    for (row, first) in rows.iter().zip(std::iter::repeat(rows[0])) {
        assert_eq!(row.intended_ns - first.intended_ns, row.value * 1_000_000_000 / RATE);
        assert_eq!(row.timestamp.0 - first.timestamp.0, (row.value * 1_000_000 / RATE) as i64);
    }
}

#[test]
fn a_resumed_run_goes_on_at_the_offset_and_from_its_own_start() {
    let factory = RateSource::new(1_000_000).partitions(2);
    let mut source = source_of(&factory);
    let read_before = read(&mut source, 5).unwrap().len() as u64;
    let from = source.offsets();
    let start_ns = factory.origin().elapsed().as_nanos() as u64;
    let mut source = source_at(&factory, &from).unwrap();
    let rows = read(&mut source, 5).unwrap();
    assert!(rows.iter().map(|row| row.value).eq(read_before..read_before + 5));
    assert!(rows[0].intended_ns >= start_ns, "a new run does not send late what fell into the pause");
}

#[test]
fn a_micro_batch_of_the_rate_source_is_what_is_due() {
    let slow = RateSource::new(1).partitions(3);
    assert_eq!(
        source_of(&slow).latest(u64::MAX, Waker::noop()).unwrap().known().unwrap().to_string(),
        "0:1,1:0,2:0"
    );
    let unpaced = RateSource::new(0).partitions(3);
    assert_eq!(
        source_of(&unpaced).latest(7, Waker::noop()).unwrap().known().unwrap().to_string(),
        "0:3,1:2,2:2"
    );
    let bounded = RateSource::new(0).partitions(3).limit(4);
    assert_eq!(
        source_of(&bounded).latest(u64::MAX, Waker::noop()).unwrap().known().unwrap().to_string(),
        "0:2,1:1,2:1"
    );
    let endless = source_of(&unpaced).latest(u64::MAX, Waker::noop()).unwrap().known().unwrap();
    assert!(endless.0.values().sum::<u64>() < 10_000_000, "a batch without limit has one: {endless}");
}
