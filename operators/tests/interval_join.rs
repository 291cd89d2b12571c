//! The interval join against a nested loop, on random out-of-order input.

#[allow(dead_code, reason = "shared with other tests")]
mod common;

use lotic_operators::interval_join::{IntervalJoin, JoinColumns, JoinRange};
use lotic_operators::key::hash_of;
use lotic_operators::testing::{Event, OperatorHarness};
use lotic_operators::{Side, Timestamp};
use proptest::prelude::*;
use std::time::Duration;

/// A key, an event time and a number.
type Row = (u8, i64, u8);
type Pair = (Row, Row);
type Read = JoinColumns<fn(&Row) -> u8, fn(&Row) -> u8, fn(&Row) -> Timestamp, fn(&Row) -> Timestamp>;

fn operator(range: JoinRange) -> IntervalJoin<u8, Row, Row, Pair, Read, fn(&Row, &Row) -> Pair> {
    let read: Read = JoinColumns {
        left_key: |row| row.0,
        right_key: |row| row.0,
        left_time: |row| Timestamp(row.1),
        right_time: |row| Timestamp(row.1),
    };
    IntervalJoin::new(range, read, |left, right| (*left, *right))
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Around,
    After,
    Before,
    Window,
}

/// A range of two numbers, the first not above the second, and what it says of two times.
fn range(shape: Shape, low: i64, high: i64) -> (JoinRange, Box<dyn Fn(i64, i64) -> bool>) {
    let micros = |micros: i64| Duration::from_micros(micros as u64);
    match shape {
        Shape::Around => (
            JoinRange::around(micros(low), micros(high)),
            Box::new(move |left, right| (-low..=high).contains(&(right - left))),
        ),
        Shape::After => (
            JoinRange::after(micros(low), micros(high)),
            Box::new(move |left, right| (low..=high).contains(&(right - left))),
        ),
        Shape::Before => (
            JoinRange::before(micros(low), micros(high)),
            Box::new(move |left, right| (low..=high).contains(&(left - right))),
        ),
        Shape::Window => {
            let size = high + 1;
            let same = move |left: i64, right: i64| left.div_euclid(size) == right.div_euclid(size);
            (JoinRange::same_window(micros(size)), Box::new(same))
        }
    }
}

fn nested_loop(events: &[Event<Side<Row, Row>>], matches: &dyn Fn(i64, i64) -> bool) -> (Vec<Pair>, u64) {
    let (mut lefts, mut rights, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut watermark, mut late) = (i64::MIN, 0);
    for event in events {
        let Event::Row(Side::Left(row) | Side::Right(row)) = event else {
            if let Event::Watermark(time) = event {
                watermark = time.0;
            }
            continue;
        };
        if row.1 < watermark {
            late += 1;
            continue;
        }
        match event {
            Event::Row(Side::Left(_)) => lefts.push(*row),
            _ => rights.push(*row),
        }
    }
    for left in &lefts {
        let found = rights.iter().filter(|right| right.0 == left.0 && matches(left.1, right.1));
        pairs.extend(found.map(|right| (*left, *right)));
    }
    pairs.sort_unstable();
    (pairs, late)
}

fn sides() -> impl Strategy<Value = Vec<Event<Side<Row, Row>>>> {
    common::events(70, |watermark, (key, distance, value)| {
        let row = (key % 4, watermark + distance, value);
        if value % 2 == 0 { Side::Left(row) } else { Side::Right(row) }
    })
}

fn shapes() -> impl Strategy<Value = (Shape, i64, i64)> {
    let shape = prop::sample::select(vec![Shape::Around, Shape::After, Shape::Before, Shape::Window]);
    (shape, 0i64..40, 0i64..40).prop_map(|(shape, a, b)| (shape, a.min(b), a.max(b)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_interval_join_is_every_pair_in_range_once(events in sides(), (shape, low, high) in shapes()) {
        let (range, matches) = range(shape, low, high);
        let harness = OperatorHarness::new(|| operator(range)).unordered();
        let mut outcome = harness.two_inputs(&events);
        outcome.rows.sort_unstable();
        prop_assert_eq!((outcome.rows, outcome.late_rows), nested_loop(&events, &matches));
    }

    #[test]
    fn an_interval_join_gives_the_same_over_a_changing_number_of_instances(
        events in sides(),
        (shape, low, high) in shapes(),
        parallelism in prop::collection::vec(1usize..5, 1..5),
    ) {
        let (range, matches) = range(shape, low, high);
        let hash = |row: &Side<Row, Row>| match row {
            Side::Left(row) | Side::Right(row) => hash_of(&row.0),
        };
        let outcome = OperatorHarness::new(|| operator(range)).rescaled_two_inputs(&events, hash, &parallelism);
        prop_assert_eq!((outcome.rows, outcome.late_rows), nested_loop(&events, &matches));
    }
}
