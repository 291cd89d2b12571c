//! A restart may change the parallelism: instances restored from the snapshots of another number of
//! instances go on as one uninterrupted instance would.

mod common;
#[path = "common/script.rs"]
mod script;

use common::Row;
use lotic_operators::aggregate::{Collect, Count, Fold, Reduce, RunningAggregate};
use lotic_operators::join::KeyedJoin;
use lotic_operators::key::hash_of;
use lotic_operators::process::KeyedProcess;
use lotic_operators::testing::{Event, OperatorHarness, Outcome};
use lotic_operators::window::{self, CountWindow, Emit, Window};
use lotic_operators::{Operator, Rows, Side, Timestamp};
use proptest::prelude::*;
use std::fmt::Debug;
use std::num::NonZeroU64;
use std::time::Duration;

fn parallelism() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1usize..=4, 2..6)
}

/// The instances of `parallelism` against one that is never restarted.
fn same<T, O, P>(
    build: impl Fn() -> P,
    events: &[Event<T>],
    hash: impl Fn(&T) -> u64,
    parallelism: &[usize],
) -> Outcome<O>
where
    T: Clone + Send + 'static,
    O: Debug + Ord + Clone + Send + 'static,
    P: Operator<Rows<T>, Rows<O>>,
{
    let harness = OperatorHarness::new(build);
    let expected = harness.rescaled(events, &hash, &[1]);
    assert_eq!(harness.rescaled(events, &hash, parallelism), expected, "parallelism {parallelism:?}");
    expected
}

proptest! {
    #[test]
    fn running_aggregates(events in common::rows(200), parallelism in parallelism()) {
        let hash = |row: &Row| hash_of(&row.key);
        same(|| RunningAggregate::new(|row: &Row| row.key, Count), &events, hash, &parallelism);
        let list = Fold::new(Vec::new(), |list: &mut Vec<i64>, row: Row| list.push(row.value));
        same(|| RunningAggregate::new(|row: &Row| row.key, list.clone()), &events, hash, &parallelism);
        let latest = Reduce(|_: Row, row: Row| row);
        same(|| RunningAggregate::new(|row: &Row| row.key, latest.clone()), &events, hash, &parallelism);
    }

    #[test]
    fn count_windows(events in common::rows(200), parallelism in parallelism(), size in 1u64..5) {
        let size = NonZeroU64::new(size).unwrap();
        let list = Fold::new(Vec::new(), |list: &mut Vec<i64>, row: Row| list.push(row.value));
        let build = || CountWindow::new(|row: &Row| row.key, size, list.clone());
        same(build, &events, |row| hash_of(&row.key), &parallelism);
    }

    #[test]
    fn windows_of_every_kind(events in common::rows(200), parallelism in parallelism(), size in 1u64..40) {
        let micros = Duration::from_micros;
        let list = Fold::new(Vec::new(), |list: &mut Vec<i64>, row: Row| list.push(row.value));
        let time = (|row: &Row| row.time) as fn(&Row) -> Timestamp;
        let lists = || {
            let window = Window::tumbling(micros(size), |row: &Row| row.time);
            window::aggregate(|row: &Row| row.key, window, list.clone())
        };
        same(lists, &events, |row| hash_of(&row.key), &parallelism);
        for emit in [Emit::Final, Emit::OnTime, Emit::Every(micros(9)), Emit::EachChange] {
            let sliding = || Window::sliding(micros(3 * size), micros(size), time);
            for window in [sliding(), Window::session(micros(size), time)] {
                let build = || {
                    let window = window.clone().allowed_lateness(micros(15)).emit(emit);
                    window::aggregate(|row: &Row| row.key, window, Collect)
                };
                same(build, &events, |row| hash_of(&row.key), &parallelism);
            }
        }
    }

    #[test]
    fn keyed_processes_with_timers(events in script::asked(200), parallelism in parallelism()) {
        let build = || KeyedProcess::new(|row: &script::Asked| row.0, script::Script);
        let outcome = same(build, &events, |row| hash_of(&row.0), &parallelism);
        let mut expected = script::expected(&events);
        expected.sort();
        prop_assert_eq!(outcome.rows, expected);
    }

    #[test]
    fn keyed_joins(
        events in common::events(120, |_, (key, number, choice)| {
            if choice % 2 == 0 { Side::Left((key, number)) } else { Side::Right((key, number)) }
        }),
        parallelism in parallelism(),
    ) {
        type Sided = (u8, i64);
        let harness = OperatorHarness::new(|| {
            KeyedJoin::new(
                |left: &Sided| left.0,
                |right: &Sided| right.0,
                |left: &Sided, right: &Sided| (*left, *right),
            )
        });
        let hash = |row: &Side<Sided, Sided>| {
            let (Side::Left((key, _)) | Side::Right((key, _))) = row;
            hash_of(key)
        };
        let expected = harness.rescaled_two_inputs(&events, hash, &[1]);
        prop_assert_eq!(harness.rescaled_two_inputs(&events, hash, &parallelism), expected);
    }
}

#[test]
fn more_instances_than_keys_and_back_to_one() {
    let rows = |from: u64| (from..from + 50).map(|key| Event::Row(key % 60));
    let events: Vec<Event<u64>> =
        rows(0).chain([Event::Marker]).chain(rows(10)).chain([Event::Marker]).chain(rows(20)).collect();
    same(|| RunningAggregate::new(|key: &u64| *key, Count), &events, hash_of, &[2, 128, 1]);
}
