//! Deduplication against a slow model that keeps a list of the keys it has seen.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "its rows are of another type")]
mod common;
mod table_time;

use lotic_operators::table::{Deduplicate, DeduplicateSpec, Forget, TableBatch};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, Stored, rows_as_text};
use lotic_operators::{Instance, Operator, Output, Progress, Restore, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;
use table_time::{Row, batch, batches, column, group_of_key, reached, rows_of, schema, steps, texts};

fn spec(keys: &[&str], forget: Forget) -> DeduplicateSpec {
    DeduplicateSpec { keys: keys.iter().map(|key| column(key)).collect(), input: schema(), forget }
}

fn within(delay: i64) -> Forget {
    Forget::After { event_time: column("t"), delay: Duration::from_micros(delay as u64) }
}

fn whole(row: &Row) -> Vec<String> {
    rows_as_text(&batch(std::slice::from_ref(row))).remove(0)
}

/// What passes, and how many rows are late; `late` and `forgotten` say when.
fn expected(
    steps: &[Event<Row>],
    keys: &[&str],
    late: impl Fn(&Row) -> Option<i64>,
    forgotten: impl Fn(&Row) -> Option<i64>,
) -> (Vec<Vec<String>>, u64) {
    let mut seen: BTreeMap<Vec<String>, Option<i64>> = BTreeMap::new();
    let (mut passed, mut late_rows, mut watermark) = (Vec::new(), 0, Timestamp::MIN);
    for step in steps {
        match step {
            Event::Row(row) if reached(watermark, late(row)) => late_rows += 1,
            Event::Row(row) => {
                let key = texts(row, keys);
                if let Entry::Vacant(place) = seen.entry(key) {
                    place.insert(forgotten(row));
                    passed.push(whole(row));
                }
            }
            Event::Watermark(time) => {
                watermark = *time;
                seen.retain(|_, forgotten| !reached(watermark, *forgotten));
            }
            _ => {}
        }
    }
    (passed, late_rows)
}

fn got(spec: &DeduplicateSpec, steps: &[Event<Row>]) -> (Vec<Vec<String>>, u64) {
    let harness = OperatorHarness::new(|| ByRow(Deduplicate::new(spec).unwrap()));
    let outcome = harness.outcome(&batches(steps));
    (outcome.rows, outcome.late_rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_first_row_of_each_key_passes_with_all_its_columns(steps in steps(60), with_v in any::<bool>()) {
        let keys = if with_v { vec!["k", "v"] } else { vec!["k"] };
        let mut seen = BTreeSet::new();
        let rows = rows_of(&steps);
        let first: Vec<_> = rows.iter().filter(|row| seen.insert(texts(row, &keys))).map(whole).collect();
        prop_assert_eq!(got(&spec(&keys, Forget::Never), &steps), (first, 0));
    }

    #[test]
    fn a_key_with_event_time_is_forgotten_when_it_is_over(steps in steps(80), window in any::<bool>()) {
        let keys = if window { ["k", "w"] } else { ["k", "t"] };
        let size = if window { table_time::SIZE } else { 0 };
        let over = |row: &Row| row.t.map(|t| if window { table_time::start_of(t) + size } else { t });
        prop_assert_eq!(got(&spec(&keys, Forget::Over(1)), &steps), expected(&steps, &keys, over, over));
    }

    #[test]
    fn a_key_is_forgotten_when_the_watermark_reaches_its_first_row_and_the_delay(
        steps in steps(80), delay in 0i64..60,
    ) {
        let model = expected(&steps, &["k"], |row| row.t, |row| row.t.map(|t| t + delay));
        prop_assert_eq!(got(&spec(&["k"], within(delay)), &steps), model);
    }

    /// Rows go to the instance that keeps their key, also when the number of instances changes.
    #[test]
    fn instances_share_the_keys(steps in steps(80), delay in 0i64..60, sizes in prop::collection::vec(1usize..5, 1..4)) {
        let spec = spec(&["k"], within(delay));
        let harness = OperatorHarness::new(|| ByRow(Deduplicate::new(&spec).unwrap()));
        let outcome = harness.rescaled(&batches(&steps), group_of_key, &sizes);
        let (mut passed, late) = expected(&steps, &["k"], |row| row.t, |row| row.t.map(|t| t + delay));
        passed.sort();
        prop_assert_eq!((outcome.rows, outcome.late_rows), (passed, late));
    }
}

#[test]
fn keys_that_come_and_go_leave_nothing_behind() {
    let spec = spec(&["v"], within(100));
    let (mut operator, mut output) = (Deduplicate::new(&spec).unwrap(), Output::with_limit(usize::MAX));
    let (mut stored, mut chunks) = (Stored::default(), BTreeSet::new());
    for n in 0..10_000 {
        let row = Row { k: None, t: Some(n * 10), v: Some(n), gap: None };
        operator.process(&mut TableBatch::from(batch(&[row])), &mut output).unwrap();
        while operator.watermark(Timestamp(n * 10), &mut output).unwrap() == Progress::Again {}
        let snapshot = operator.snapshot().unwrap();
        chunks.extend(snapshot.tables[0].chunks.iter().map(|(number, _)| *number));
        stored.store(&snapshot);
    }
    assert_eq!(chunks.len(), 1, "the eleven keys of any time had places in one page");
    while operator.watermark(Timestamp(200_000), &mut output).unwrap() == Progress::Again {}
    stored.store(&operator.snapshot().unwrap());
    let mut next = Deduplicate::new(&spec).unwrap();
    let image = stored.image();
    next.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
    assert!(format!("{next:?}").ends_with(" 0 keys)"), "{next:?}");
}

#[test]
fn a_column_without_event_time_and_the_state_of_other_keys_are_refused() {
    let error = |spec: &DeduplicateSpec| Deduplicate::new(spec).unwrap_err().to_string();
    assert!(error(&spec(&["k"], Forget::Over(0))).contains("key 0"));
    let after = Forget::After { event_time: column("v"), delay: Duration::ZERO };
    assert!(error(&spec(&["k"], after)).contains("`v@3` is neither"));
    let mut stored = Stored::default();
    stored.store(&Deduplicate::new(&spec(&["k"], Forget::Never)).unwrap().snapshot().unwrap());
    let image = stored.image();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    let mut other = Deduplicate::new(&spec(&["v"], Forget::Never)).unwrap();
    let error = other.restore(restore, &mut Output::default()).unwrap_err().to_string();
    assert!(error.contains("[Utf8]") && error.contains("[Int64]"), "{error}");
}
