//! Checkpoint locations that cannot be used, belong to others, or are full.

use crate::{CONTINUOUS, MICRO_BATCH, ended, says, session};
use lotic::connectors::memory::{MemorySink, MemorySource};
use lotic::connectors::{FileSink, memory};
use lotic::testing::{Access, FaultyStorage};
use lotic::{Error, ErrorKind, Query, RestartPolicy, Trigger};
use std::io::ErrorKind as Io;
use std::path::Path;

const ROWS: u64 = 4_000;
const KEYS: u64 = 20;

fn counted(sink: &MemorySink<(u64, u64)>) -> Query {
    let numbers = session().source(MemorySource::new(0..ROWS));
    numbers.key_by(|n| n % KEYS).count().sink(sink.clone()).max_rows_per_batch(250)
}

/// For each key the counts 1, 2, 3, … in order, up to the last.
fn exact(sink: &MemorySink<(u64, u64)>, label: &str) {
    let mut counts = vec![0; KEYS as usize];
    for (key, count) in sink.committed() {
        let held = &mut counts[key as usize];
        assert_eq!(count, *held + 1, "{label}: key {key}");
        *held = count;
    }
    assert_eq!(counts, vec![ROWS / KEYS; KEYS as usize], "{label}");
}

#[test]
fn a_location_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for place in [Path::new("/proc/lotic/checkpoint"), &file.path().join("checkpoint")] {
        let started = counted(&MemorySink::new()).checkpoint_location(place).start(CONTINUOUS);
        let error = started.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::External);
        says(&error, &[&format!("`{}`", place.display()), "checkpoint location", "can be written to"]);
    }
}

#[test]
fn a_checkpoint_of_another_query_is_refused_and_what_differs_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    let first = counted(&MemorySink::new()).checkpoint_location(folder.path()).start(Trigger::Once).unwrap();
    ended(&first).unwrap();
    let before: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let other =
        session().source(MemorySource::new(0..ROWS)).key_by(|n| n % KEYS).reduce(|a, b| a + b).uid("sums");
    let started = other.sink(MemorySink::new()).checkpoint_location(folder.path()).start(Trigger::Once);
    let error = started.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    says(
        &error,
        &[&place, "belongs to another query", &first.id(), "`aggregate`", "`sums`", "another location"],
    );
    let after: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before.len(), after.len(), "a refused query leaves the location alone");
}

#[test]
fn a_location_in_use_is_refused_until_the_other_query_ends() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    let session = session();
    let (input, source) = memory::stream::<u64>("numbers", 1);
    let holder = session.source(source).sink(MemorySink::new()).checkpoint_location(folder.path());
    let holder = holder.start(CONTINUOUS).unwrap();
    let again = || counted(&MemorySink::new()).checkpoint_location(folder.path()).start(Trigger::Once);
    says(&again().unwrap_err(), &[&place, "in use by another query", "stop that one first"]);
    input.add(0..10);
    holder.process_all_available().unwrap();
    holder.stop().unwrap();
    says(&again().unwrap_err(), &[&place, "belongs to another query"]);
}

#[test]
fn an_output_folder_of_another_checkpoint_is_refused() {
    let (folder, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |checkpoint: &str| {
        let counts = session().source(MemorySource::new(0..ROWS)).key_by(|n| n % KEYS).count();
        let query = counts.sink(FileSink::json_lines(output.path()).named("counts"));
        query.checkpoint_location(folder.path().join(checkpoint)).start(Trigger::Once)
    };
    ended(&start("first").unwrap()).unwrap();
    let error = start("second").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    says(&error, &["counts", "epoch 1", "second", "restore the checkpoint"]);
}

fn on(storage: &FaultyStorage, sink: &MemorySink<(u64, u64)>) -> Query {
    let storage = storage.clone();
    counted(sink).checkpoint_storage(move || Ok(Box::new(storage.clone())))
}

/// The disk is full from the n-th append or put on; whether that was before the input ended.
fn fill(access: Access, nth: u64, trigger: Trigger) -> Option<Error> {
    let (storage, sink) = (FaultyStorage::new(nth), MemorySink::new());
    for later in nth..nth + 1000 {
        storage.fail(access, later, Io::StorageFull);
    }
    let result = on(&storage, &sink).start(trigger).and_then(|query| ended(&query));
    let label = format!("full from {access:?} {nth} on, {trigger}");
    storage.calm();
    let survivors = storage.survivors();
    let query = on(&survivors, &sink).start(trigger).unwrap_or_else(|error| panic!("{label}: {error}"));
    ended(&query).unwrap_or_else(|error| panic!("{label}: {error}"));
    exact(&sink, &label);
    result.err()
}

#[test]
fn a_full_disk_ends_the_query_and_the_last_good_epoch_survives() {
    for trigger in [CONTINUOUS, MICRO_BATCH, Trigger::AvailableNow] {
        for nth in 1..=12 {
            let Some(error) = fill(Access::Append, nth, trigger) else { continue };
            assert_eq!(error.kind(), ErrorKind::External, "{error}");
            assert!(error.epoch().is_some(), "{error}");
            says(&error, &["could not be written", "a faulty disk", "no storage space", "(in epoch "]);
        }
        let error = fill(Access::Put, 1, trigger).unwrap();
        says(&error, &["a faulty disk", "no storage space", "has space"]);
    }
    // Most of these are reached before the input ends.
    assert!((1..=5).all(|nth| fill(Access::Append, nth, MICRO_BATCH).is_some()));
}

#[test]
fn one_write_that_fails_is_made_up_for_by_the_next_epoch_or_a_restart() {
    for nth in 1..=6 {
        for access in [Access::Append, Access::Put] {
            let (storage, sink) = (FaultyStorage::new(nth), MemorySink::new());
            storage.fail(access, nth, Io::StorageFull);
            let policy = RestartPolicy::attempts(2, std::time::Duration::from_millis(1));
            let query = on(&storage, &sink).restart(policy).start(MICRO_BATCH);
            if nth > 1 || access == Access::Append {
                let query = query.unwrap();
                let label = format!("{access:?} {nth} failed");
                ended(&query).unwrap_or_else(|error| panic!("{label}: {error}"));
                exact(&sink, &label);
            }
        }
    }
}
