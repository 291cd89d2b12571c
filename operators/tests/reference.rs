//! Every stateful operator against a slow, obviously right reference, on random out-of-order input and
//! through the whole matrix of the test kit.

mod common;
#[path = "common/script.rs"]
mod script;

use common::Row;
use lotic_operators::aggregate::{Aggregate, Count, Fold, Reduce, RunningAggregate};
use lotic_operators::join::KeyedJoin;
use lotic_operators::process::KeyedProcess;
use lotic_operators::testing::{Event, OperatorHarness};
use lotic_operators::window::{self, CountWindow, Window, Windowed};
use lotic_operators::{Side, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU64;
use std::time::Duration;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 48, ..ProptestConfig::default() }
}

/// Keeps the order of rows, so that a swapped pair shows.
fn list() -> Fold<Vec<i64>, impl Fn(&mut Vec<i64>, Row) + Clone + Send + 'static> {
    Fold::new(Vec::new(), |list: &mut Vec<i64>, row: Row| list.push(row.value))
}

/// Not commutative either.
fn chain() -> Reduce<impl Fn(Row, Row) -> Row + Clone + Send + 'static> {
    Reduce(|sofar: Row, row: Row| Row { value: sofar.value.wrapping_mul(31).wrapping_add(row.value), ..row })
}

/// The aggregate of rows, from the first one, each time anew.
fn whole<A: Aggregate<Row>>(aggregate: &A, rows: &[Row]) -> A::Out {
    let mut state = aggregate.init();
    rows.iter().for_each(|row| aggregate.add(&mut state, row.clone()));
    aggregate.result(&state)
}

fn only_rows(events: &[Event<Row>]) -> impl Iterator<Item = &Row> {
    events.iter().filter_map(|event| if let Event::Row(row) = event { Some(row) } else { None })
}

fn running<A>(events: &[Event<Row>], aggregate: A)
where
    A: Aggregate<Row>,
    A::Out: Ord + Debug + Clone,
{
    let mut seen: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
    let mut expected = Vec::new();
    for row in only_rows(events) {
        let rows = seen.entry(row.key).or_default();
        rows.push(row.clone());
        expected.push((row.key, whole(&aggregate, rows)));
    }
    let harness = OperatorHarness::new(|| RunningAggregate::new(|row: &Row| row.key, aggregate.clone()));
    assert_eq!(harness.run(events), expected);
}

fn counted<A>(events: &[Event<Row>], size: u64, aggregate: A)
where
    A: Aggregate<Row>,
    A::Out: Ord + Debug + Clone,
{
    let mut seen: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
    let mut expected = Vec::new();
    for row in only_rows(events) {
        let rows = seen.entry(row.key).or_default();
        rows.push(row.clone());
        if (rows.len() as u64).is_multiple_of(size) {
            expected.push((row.key, whole(&aggregate, &rows[rows.len() - size as usize..])));
        }
    }
    let size = NonZeroU64::new(size).expect("a window holds rows");
    let harness = OperatorHarness::new(|| CountWindow::new(|row: &Row| row.key, size, aggregate.clone()));
    assert_eq!(harness.run(events), expected);
}

/// The window of a time, in numbers that cannot overflow.
fn window_of(time: Timestamp, size: Duration) -> (Timestamp, Timestamp) {
    let cut = |time: i128| Timestamp(time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64);
    let size =
        i128::try_from(size.as_micros()).map_or(i128::from(i64::MAX), |size| size.min(i128::from(i64::MAX)));
    let start = i128::from(time.0).div_euclid(size) * size;
    (cut(start), cut(start + size))
}

/// Emitted windows, sorted, and late rows.
fn windows<A: Aggregate<Row>>(
    events: &[Event<Row>],
    size: Duration,
    aggregate: &A,
) -> (Vec<Windowed<u8, A::Out>>, u64) {
    let mut watermark = Timestamp::MIN;
    let mut held: BTreeMap<(u8, Timestamp, Timestamp), Vec<Row>> = BTreeMap::new();
    let mut late = 0;
    for event in events {
        match event {
            Event::Row(row) => {
                let (start, end) = window_of(row.time, size);
                if end <= watermark {
                    late += 1;
                } else {
                    held.entry((row.key, start, end)).or_default().push(row.clone());
                }
            }
            Event::Watermark(time) => watermark = *time,
            _ => {}
        }
    }
    let result = |((key, start, end), rows): (_, Vec<Row>)| Windowed {
        key,
        start,
        end,
        value: whole(aggregate, &rows),
    };
    (held.into_iter().map(result).collect(), late)
}

fn tumbling<A>(events: &[Event<Row>], size: Duration, aggregate: A)
where
    A: Aggregate<Row>,
    A::Out: Ord + Debug + Clone,
{
    let build = || {
        let window = Window::tumbling(size, |row: &Row| row.time);
        window::aggregate(|row: &Row| row.key, window, aggregate.clone())
    };
    let last_time = |row: &Windowed<u8, A::Out>| row.end.minus(Duration::from_micros(1));
    let (expected, late) = windows(events, size, &aggregate);

    let mut outcome = OperatorHarness::new(build).unordered().timed(events, last_time);
    outcome.rows.sort();
    assert_eq!(outcome.rows, expected);
    assert_eq!(outcome.late_rows, late);

    let mut stopped = OperatorHarness::new(build).unordered().stopped().timed(events, last_time);
    stopped.rows.sort();
    let reached: Vec<_> = expected.into_iter().filter(|window| window.end <= stopped.watermark).collect();
    assert_eq!(stopped.rows, reached);
}

/// Rows at the bounds of time and of the windows of ten seconds.
fn extreme_rows() -> impl Strategy<Value = Vec<Event<Row>>> {
    let near = |time: i64| (-2i64..3).prop_map(move |by| time.saturating_add(by));
    let time = prop_oneof![near(i64::MIN), near(i64::MAX), near(0), near(10_000_000), any::<i64>()];
    let step = (0u8..8, 0u8..3, time);
    proptest::collection::vec(step, 0..40).prop_map(|steps| {
        let mut watermark = i64::MIN;
        let mut events = Vec::new();
        for (kind, key, time) in steps {
            events.push(match kind {
                0 => Event::Marker,
                1 => {
                    watermark = watermark.max(time);
                    Event::Watermark(Timestamp(watermark))
                }
                _ => Event::Row(Row { key, time: Timestamp(time), value: 1 }),
            });
        }
        events
    })
}

type Sided = Event<Side<(u8, i64), (u8, u8)>>;

fn sides() -> impl Strategy<Value = Vec<Sided>> {
    common::events(
        60,
        |_, (key, number, choice)| {
            if choice % 2 == 0 { Side::Left((key, number)) } else { Side::Right((key, choice)) }
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_running_aggregate_folds_from_the_first_row_each_time(events in common::rows(80)) {
        running(&events, Count);
        running(&events, list());
        running(&events, chain());
    }

    #[test]
    fn a_count_window_folds_the_last_rows_of_its_key(events in common::rows(80), size in 1u64..5) {
        counted(&events, size, Count);
        counted(&events, size, list());
        counted(&events, size, chain());
    }

    #[test]
    fn a_tumbling_window_holds_the_rows_that_were_in_time(events in common::rows(80), size in 1u64..40) {
        tumbling(&events, Duration::from_micros(size), Count);
        tumbling(&events, Duration::from_micros(size), list());
        tumbling(&events, Duration::from_micros(size), chain());
    }

    #[test]
    fn tumbling_windows_stand_at_the_bounds_of_time(events in extreme_rows()) {
        for size in [Duration::from_micros(1), Duration::from_secs(10), Duration::MAX] {
            tumbling(&events, size, list());
        }
    }

    #[test]
    fn a_keyed_process_fires_each_timer_once_and_in_order(events in script::asked(80)) {
        let harness = OperatorHarness::new(|| KeyedProcess::new(|row: &script::Asked| row.0, script::Script));
        prop_assert_eq!(harness.run(&events), script::expected(&events));
    }

    #[test]
    fn a_join_is_every_pair_once(events in sides()) {
        let (mut lefts, mut rights, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for event in &events {
            match event {
                Event::Row(Side::Left(left)) => {
                    lefts.push(*left);
                    let pairs = rights.iter().filter(|(key, _): &&(u8, u8)| *key == left.0);
                    expected.extend(pairs.map(|right| (*left, *right)));
                }
                Event::Row(Side::Right(right)) => {
                    rights.push(*right);
                    let pairs = lefts.iter().filter(|(key, _): &&(u8, i64)| *key == right.0);
                    expected.extend(pairs.map(|left| (*left, *right)));
                }
                _ => {}
            }
        }
        let harness = OperatorHarness::new(|| {
            KeyedJoin::new(
                |left: &(u8, i64)| left.0,
                |right: &(u8, u8)| right.0,
                |left: &(u8, i64), right: &(u8, u8)| (*left, *right),
            )
        });
        prop_assert_eq!(harness.two_inputs(&events).rows, expected);
    }
}
