//! Checkpoints in an object store: the contract of a storage, one query at a time, requests that fail, and a real
//! server.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod flaky;

use flaky::Flaky;
use lotic::checkpoint::object::ObjectStorage;
use lotic::checkpoint::storage::{CheckpointStorage, MemoryStorage};
use lotic::connectors::RateSource;
use lotic::connectors::memory::{self, MemorySink};
use lotic::{Query, RestartPolicy, Session, Stream, Trigger};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

fn open(store: &Arc<dyn ObjectStore>) -> ObjectStorage {
    ObjectStorage::open(Arc::clone(store), "queries/one", "test://queries/one").unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, Vec<u8>),
    Append(usize, Vec<u8>),
    Remove(usize),
    /// The process begins anew.
    Reopen,
    /// What follows is done by the second handle.
    Second,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
    let step = prop_oneof![
        3 => (0usize..4, bytes()).prop_map(|(name, bytes)| Step::Put(name, bytes)),
        8 => (0usize..4, bytes()).prop_map(|(name, bytes)| Step::Append(name, bytes)),
        2 => (0usize..4).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
        1 => Just(Step::Second),
    ];
    proptest::collection::vec(step, 0..60)
}

const NAMES: [&str; 4] = ["base-0000000001", "log-0000000000", "log-0000000001", "log-0000000010"];

proptest! {
    #[test]
    fn it_keeps_the_contract_of_a_storage(steps in steps()) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut storage: Box<dyn CheckpointStorage> = Box::new(open(&store));
        let mut model = MemoryStorage::default();
        for step in steps {
            match step {
                Step::Put(name, bytes) => {
                    // A name that is there stays as it is.
                    let held = model.read(NAMES[name]);
                    let done = storage.put(NAMES[name], &bytes);
                    match held {
                        Err(_) => {
                            done.unwrap();
                            model.put(NAMES[name], &bytes).unwrap();
                        }
                        Ok(held) => prop_assert!(done.is_err() || held.starts_with(&bytes)),
                    }
                }
                Step::Append(name, bytes) => {
                    storage.append(NAMES[name], &bytes).unwrap();
                    model.append(NAMES[name], &bytes).unwrap();
                }
                Step::Remove(name) => {
                    storage.remove(NAMES[name]).unwrap();
                    model.remove(NAMES[name]).unwrap();
                }
                Step::Reopen => storage = Box::new(open(&store)),
                Step::Second => storage = storage.second_handle().unwrap(),
            }
            prop_assert_eq!(storage.list().unwrap(), model.list().unwrap());
            for name in NAMES {
                let (ours, theirs) = (storage.read(name), model.read(name));
                prop_assert_eq!(ours.map_err(|error| error.kind()), theirs.map_err(|error| error.kind()));
            }
        }
    }
}

#[test]
fn the_query_that_opened_last_has_the_place_and_what_was_durable_before_is_seen_by_it() {
    for round in 0..50 {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut older = open(&store);
        older.put("log-0000000000", b"").unwrap();
        let begun = AtomicBool::new(false);
        let write = || {
            let mut durable = 0usize;
            let error = loop {
                match older.append("log-0000000000", b"x") {
                    Ok(()) => durable += 1,
                    Err(error) => break error,
                }
                if durable > round {
                    begun.store(true, Ordering::Release);
                }
            };
            (durable, error)
        };
        let (mut newer, seen, (durable, error)) = std::thread::scope(|scope| {
            let writer = scope.spawn(write);
            while !begun.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let mut newer = open(&store);
            let seen = newer.read("log-0000000000").unwrap().len();
            (newer, seen, writer.join().unwrap())
        });
        assert!(durable <= seen, "{durable} were durable, {seen} are seen");
        assert!(error.to_string().contains("another query has taken the place over"), "{error}");
        newer.put("log-0000000001", b"header").unwrap();
    }
}

#[test]
fn a_reader_disturbs_nobody_and_writes_nothing() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut writer = open(&store);
    writer.append("log-0000000000", b"one").unwrap();
    let mut reader = ObjectStorage::reader(store, "queries/one", "test").unwrap();
    assert_eq!(reader.read("log-0000000000").unwrap(), b"one");
    assert_eq!(reader.append("log-0000000000", b"two").unwrap_err().kind(), ErrorKind::PermissionDenied);
    writer.append("log-0000000000", b"two").unwrap();
    assert_eq!(reader.read("log-0000000000").unwrap(), b"onetwo");
}

#[test]
fn a_part_that_somebody_removed_is_named_and_what_follows_it_is_not_read_as_if_it_were_not_there() {
    let store = Arc::new(InMemory::new());
    let shared: Arc<dyn ObjectStore> = Arc::clone(&store) as _;
    let mut storage = open(&shared);
    for part in [b"a", b"b", b"c"] {
        storage.append("log-0000000000", part).unwrap();
    }
    let remove = async {
        use object_store::ObjectStoreExt;
        store.delete(&"queries/one/log-0000000000.000001".into()).await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(remove);
    let error = storage.read("log-0000000000").unwrap_err();
    assert!(error.to_string().contains("`queries/one/log-0000000000.000001` is missing"), "{error}");
}

fn session(parallelism: usize) -> Session {
    Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap()
}

/// The counts of numbers by their last digit, with checkpoints in a store, into a sink that shows what is committed.
fn counted(numbers: Stream<u64>, store: &Arc<dyn ObjectStore>, sink: &MemorySink<(u64, u64)>) -> Query {
    let store = Arc::clone(store);
    numbers.key_by(|n| n % 10).count().sink(sink.clone()).checkpoint_storage(move || {
        Ok(Box::new(ObjectStorage::open(Arc::clone(&store), "counts", "test://counts")?))
    })
}

/// The counts of each of the ten digits are 1, 2, 3 and so on.
fn check(sink: &MemorySink<(u64, u64)>, rows: u64) {
    let mut counts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, count) in sink.committed() {
        counts.entry(key).or_default().push(count);
    }
    assert_eq!(counts.len(), 10);
    for (key, mut seen) in counts {
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(1..=rows / 10), "key {key} counted {seen:?}");
    }
}

/// Three runs over a store, each with another parallelism.
fn goes_on_where_it_was(store: Arc<dyn ObjectStore>) {
    let (input, source) = memory::stream("numbers", 3);
    let sink = MemorySink::new();
    for (round, parallelism) in [1, 3, 2].into_iter().enumerate() {
        let rows = round as u64 * 1000;
        input.add(rows..rows + 1000);
        let numbers = session(parallelism).source(source.clone());
        let query = counted(numbers, &store, &sink).start(Trigger::AvailableNow).unwrap();
        assert!(query.await_termination_timeout(LIMIT).unwrap());
        check(&sink, rows + 1000);
    }
}

#[test]
fn a_query_goes_on_where_it_was_with_another_parallelism() {
    goes_on_where_it_was(Arc::new(InMemory::new()));
    let folder = tempfile::tempdir().unwrap();
    goes_on_where_it_was(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()));
}

#[test]
fn requests_that_fail_lose_nothing_and_write_nothing_twice() {
    const ROWS: u64 = 10_000;
    for (seed, trigger) in [
        (1, Trigger::Continuous(Duration::from_millis(2))),
        (2, Trigger::ProcessingTime(Duration::ZERO)),
        (3, Trigger::Continuous(Duration::from_millis(1))),
    ] {
        let flaky = Flaky::new(seed, 20);
        let (store, sink): (Arc<dyn ObjectStore>, _) = (Arc::new(flaky.clone()), MemorySink::new());
        let query = loop {
            let numbers =
                session(2).source(RateSource::new(2 * ROWS).limit(ROWS).partitions(2)).map(|row| row.value);
            let policy = RestartPolicy::attempts(1000, Duration::ZERO);
            match counted(numbers, &store, &sink).restart(policy).max_rows_per_batch(50).start(trigger) {
                Ok(query) => break query,
                // The policy does not hold before the query has started.
                Err(error) => assert!(error.to_string().contains("the connection was lost"), "{error}"),
            }
        };
        assert!(query.await_termination_timeout(LIMIT).unwrap(), "the query hangs: {}", query.explain());
        check(&sink, ROWS);
        assert!(
            flaky.faults.load(Ordering::Relaxed) >= 5,
            "{trigger:?}: {flaky:?}, too few to show anything"
        );
    }
}

/// Against a server that speaks the protocol of Amazon S3, such as `moto_server`; `CONTRIBUTING.md` says how.
#[test]
fn a_server_of_the_s3_protocol_keeps_checkpoints() {
    let Ok(endpoint) = std::env::var("LOTIC_TEST_S3") else {
        eprintln!("SKIPPED: no server of the S3 protocol: set LOTIC_TEST_S3 to its address");
        return;
    };
    let builder = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .with_bucket_name(std::env::var("LOTIC_TEST_S3_BUCKET").unwrap_or_else(|_| "lotic".to_owned()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let folder = format!("run-{}-{now}", std::process::id());
    goes_on_where_it_was(Arc::new(PrefixStore::new(builder.build().unwrap(), folder)));
}
