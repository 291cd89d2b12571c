//! The process lives and user code dies: restarts by policy, exactly once.

use crate::support::random::Random;
use lotic::connectors::MemorySink;
use lotic::connectors::memory::MemorySource;
use lotic::{RestartPolicy, Session, Trigger};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

const ROWS: u64 = 20_000;
const KEYS: u64 = 50;
const PANICS: u64 = 8;
const INJECTED: &str = "injected by the test";

/// Panics that the test itself causes are not worth a line each.
fn hush() {
    static HUSH: Once = Once::new();
    HUSH.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some(INJECTED) {
                usual(panic);
            }
        }));
    });
}

fn survives(seed: u64, trigger: Trigger, parallelism: usize, folder: Option<&std::path::Path>) {
    let mut random = Random::new(seed);
    // One at least strikes in the first run; the others may come while rows are read again.
    let mut fatal: Vec<u64> = (1..PANICS).map(|_| random.below(2 * ROWS)).collect();
    fatal.push(random.below(ROWS));
    fatal.sort_unstable();
    fatal.dedup();
    let (seen, died) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let session = Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
    let sink = MemorySink::new();
    let deaths = Arc::clone(&died);
    let mut query = session
        .source(MemorySource::partitioned(0..ROWS, 4))
        .map(move |row| {
            if fatal.contains(&seen.fetch_add(1, Ordering::Relaxed)) {
                deaths.fetch_add(1, Ordering::Relaxed);
                panic!("{}", INJECTED);
            }
            row % KEYS
        })
        .key_by(|key| *key)
        .count()
        .sink(sink.clone())
        .max_rows_per_batch(700)
        .restart(RestartPolicy::attempts(2 * PANICS as u32, Duration::from_millis(1)));
    if let Some(folder) = folder {
        query = query.checkpoint_location(folder);
    }
    let query = query.start(trigger).unwrap();
    let ended = query.await_termination_timeout(Duration::from_secs(60));
    assert!(ended.unwrap(), "seed {seed}, {trigger} x{parallelism}: the query hangs");
    let mut counts = BTreeMap::new();
    for (key, count) in sink.committed() {
        let held = counts.entry(key).or_insert(0);
        assert_eq!(count, *held + 1, "seed {seed}, {trigger} x{parallelism}, key {key}");
        *held = count;
    }
    let expected: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, ROWS / KEYS)).collect();
    assert_eq!(counts, expected, "seed {seed}, {trigger} x{parallelism}");
    let died = died.load(Ordering::Relaxed);
    assert!(died > 0, "seed {seed}: no row was fatal");
    assert!(u64::from(query.restarts()) <= died, "no more restarts than panics");
}

#[test]
fn panics_in_user_code_at_random_rows_leave_the_output_exact() {
    hush();
    let seed = crate::NAMES.seed();
    let folder = tempfile::tempdir().unwrap();
    let triggers = [
        Trigger::continuous("1 ms"),
        Trigger::continuous("5 ms"),
        Trigger::processing_time(Duration::ZERO),
        Trigger::AvailableNow,
    ];
    for (number, trigger) in (0..).zip(triggers) {
        survives(seed + number, trigger, 1, None);
        survives(seed + number, trigger, 3, Some(&folder.path().join(number.to_string())));
    }
}
