//! Laws of the operators that keep little or nothing: maps are iterators, watermarks only rise, rows that
//! come too late are counted.

use lotic_operators::aggregate::{Count, RunningAggregate};
use lotic_operators::map::{Filter, FlatMap, Inspect, Map};
use lotic_operators::testing::{Event, OperatorHarness, Stored};
use lotic_operators::watermark::AssignWatermark;
use lotic_operators::window::{self, CountWindow, Window};
use lotic_operators::{Emitted, Instance, Operator, Output, Progress, Restore, Rows, Timestamp};
use proptest::prelude::*;
use std::num::NonZeroU64;
use std::time::Duration;

const MICROSECOND: Duration = Duration::from_micros(1);

/// Numbers with markers and watermarks between them.
fn numbers() -> impl Strategy<Value = Vec<Event<i64>>> {
    let step = (0u8..10, -100i64..100);
    proptest::collection::vec(step, 0..60).prop_map(|steps| {
        let step = |(at, (kind, number))| match kind {
            0 => Event::Marker,
            1 => Event::Watermark(Timestamp(at as i64)),
            _ => Event::Row(number),
        };
        steps.into_iter().enumerate().map(step).collect()
    })
}

fn rows(events: &[Event<i64>]) -> impl Iterator<Item = i64> {
    events.iter().filter_map(|event| if let Event::Row(number) = event { Some(*number) } else { None })
}

fn last_watermark(events: &[Event<i64>]) -> Timestamp {
    let mut watermarks = events.iter().filter_map(|event| match event {
        Event::Watermark(time) => Some(*time),
        _ => None,
    });
    watermarks.next_back().unwrap_or(Timestamp::MIN)
}

proptest! {
    #[test]
    fn map_is_iterator_map(events in numbers()) {
        let outcome = OperatorHarness::new(|| Map(|n: i64| (n * 3).to_string())).outcome(&events);
        prop_assert_eq!(outcome.rows, rows(&events).map(|n| (n * 3).to_string()).collect::<Vec<_>>());
        prop_assert_eq!(outcome.watermark, last_watermark(&events), "watermarks pass through");
    }

    #[test]
    fn filter_is_iterator_filter(events in numbers(), keep in 1i64..6) {
        let outcome = OperatorHarness::new(|| Filter(move |n: &i64| n % keep == 0)).outcome(&events);
        prop_assert_eq!(outcome.rows, rows(&events).filter(|n| n % keep == 0).collect::<Vec<_>>());
        prop_assert_eq!(outcome.watermark, last_watermark(&events));
    }

    #[test]
    fn flat_map_is_iterator_flat_map(events in numbers()) {
        let several = |n: i64| (0..n.rem_euclid(5)).map(move |i| n * 10 + i);
        let outcome = OperatorHarness::new(|| FlatMap(several)).outcome(&events);
        prop_assert_eq!(outcome.rows, rows(&events).flat_map(several).collect::<Vec<_>>());
        prop_assert_eq!(outcome.watermark, last_watermark(&events));
    }

    #[test]
    fn inspect_sees_each_row_and_passes_it_on(events in numbers()) {
        prop_assert_eq!(OperatorHarness::new(|| Inspect(|_: &i64| {})).run(&events), rows(&events).collect::<Vec<_>>());
        let mut seen = Vec::new();
        let mut input = Rows::from(rows(&events).collect::<Vec<_>>());
        Inspect(|n: &i64| seen.push(*n)).process(&mut input, &mut Output::default()).unwrap();
        prop_assert_eq!(seen, rows(&events).collect::<Vec<_>>());
    }

    /// The test kit checks in every run, restarts included, that the watermark does not move back.
    #[test]
    fn the_watermark_is_the_largest_time_less_the_delay(events in numbers(), delay in 0u64..50) {
        let delay = Duration::from_micros(delay);
        let harness = OperatorHarness::new(|| AssignWatermark::new(|n: &i64| Timestamp(*n), delay));
        let outcome = harness.outcome(&events);
        prop_assert_eq!(outcome.rows, rows(&events).collect::<Vec<_>>());
        let largest = rows(&events).max().map_or(Timestamp::MIN, |n| Timestamp(n).minus(delay));
        prop_assert_eq!(outcome.watermark, largest, "upstream's watermarks are replaced");
    }
}

/// Rows taken and rows emitted by one call of ten rows where there is room for three.
fn taken_for_room_of_three<O: Send + 'static>(
    mut operator: impl Operator<Rows<i64>, Rows<O>>,
) -> (usize, usize) {
    let (mut input, mut output) = (Rows::from((0..10).collect::<Vec<i64>>()), Output::with_limit(3));
    operator.process(&mut input, &mut output).expect("rows are processed");
    let Some(Emitted::Batch(rows)) = output.take() else { panic!("rows were emitted") };
    (10 - input.len(), rows.len())
}

#[test]
fn operators_take_no_more_rows_than_there_is_room_for() {
    assert_eq!(taken_for_room_of_three(Map(|n: i64| n)), (3, 3));
    assert_eq!(taken_for_room_of_three(Inspect(|_: &i64| {})), (3, 3));
    assert_eq!(taken_for_room_of_three(assign()), (3, 3));
    assert_eq!(taken_for_room_of_three(RunningAggregate::new(|n: &i64| *n, Count)), (3, 3));
    assert_eq!(taken_for_room_of_three(FlatMap(|n: i64| [n, n])), (2, 4), "a row is not consumed by halves");
    let (taken, emitted) = taken_for_room_of_three(Filter(|n: &i64| n % 2 == 0));
    assert!(taken >= 5 && emitted == 3, "{taken}");
}

type Assign = AssignWatermark<fn(&i64) -> Timestamp>;

fn assign() -> Assign {
    AssignWatermark::new(|n: &i64| Timestamp(*n), MICROSECOND * 10)
}

/// The watermarks that are emitted for these rows.
fn watermarks(operator: &mut Assign, rows: &[i64]) -> Vec<i64> {
    let mut output = Output::default();
    operator.process(&mut Rows::from(rows.to_vec()), &mut output).expect("rows are processed");
    taken(&mut output)
}

fn taken(output: &mut Output<Rows<i64>>) -> Vec<i64> {
    let watermark = |emitted| if let Emitted::Watermark(time) = emitted { Some(time.0) } else { None };
    std::iter::from_fn(|| output.take()).filter_map(watermark).collect()
}

#[test]
fn the_watermark_holds_over_empty_batches_and_old_rows() {
    let mut operator = assign();
    assert_eq!(watermarks(&mut operator, &[]), [] as [i64; 0]);
    assert_eq!(watermarks(&mut operator, &[100, 90]), [90]);
    assert_eq!(watermarks(&mut operator, &[]), [] as [i64; 0]);
    assert_eq!(watermarks(&mut operator, &[5, 100]), [] as [i64; 0]);
    assert_eq!(watermarks(&mut operator, &[101]), [91]);
}

#[test]
fn the_watermark_is_announced_again_after_a_restore_and_goes_on_from_there() {
    let mut operator = assign();
    watermarks(&mut operator, &[100]);
    let mut stored = Stored::default();
    stored.store(&operator.snapshot().unwrap());
    let (mut restored, mut output) = (assign(), Output::default());
    restored.restore(Restore { image: &stored.image(), instance: Instance::ONLY }, &mut output).unwrap();
    assert_eq!(taken(&mut output), [90]);
    assert_eq!(watermarks(&mut restored, &[50, 100]), [] as [i64; 0]);
    assert_eq!(watermarks(&mut restored, &[103]), [93]);
}

#[test]
fn several_instances_restore_the_lowest_promise() {
    let instance = |rows: &[i64]| {
        let mut operator = assign();
        watermarks(&mut operator, rows);
        let mut stored = Stored::default();
        stored.store(&operator.snapshot().unwrap());
        stored
    };
    for (both, promise) in [([&[100][..], &[70]], &[60][..]), ([&[100], &[]], &[])] {
        let image = Stored::image_of(both.map(instance).iter());
        let mut output = Output::default();
        assign().restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
        assert_eq!(taken(&mut output), promise);
    }
}

#[test]
fn the_end_of_the_input_is_the_last_watermark_and_no_row_can_claim_it() {
    let (mut operator, mut output) = (assign(), Output::default());
    assert_eq!(watermarks(&mut operator, &[i64::MIN, i64::MIN + 5]), [] as [i64; 0], "no promise yet");
    assert_eq!(operator.watermark(Timestamp(7), &mut output).unwrap(), Progress::Done);
    assert_eq!(operator.watermark(Timestamp::MAX, &mut output).unwrap(), Progress::Done);
    assert_eq!(taken(&mut output), [i64::MAX]);
    assert_eq!(watermarks(&mut operator, &[5000]), [] as [i64; 0]);

    let mut eager = AssignWatermark::new(|n: &i64| Timestamp(*n), Duration::ZERO);
    eager.process(&mut Rows::from(vec![i64::MAX]), &mut output).unwrap();
    assert_eq!(taken(&mut output), [i64::MAX - 1]);
}

#[test]
fn late_rows_are_counted_and_change_no_window() {
    let harness = OperatorHarness::new(|| {
        let second =
            Window::tumbling(Duration::from_secs(1), |row: &(char, i64)| Timestamp::from_millis(row.1));
        window::aggregate(|row: &(char, i64)| row.0, second, Count)
    });
    let outcome = harness.unordered().outcome(&[
        Event::Row(('a', 100)),
        Event::Row(('a', 1100)),
        Event::Watermark(Timestamp::from_millis(999)),
        Event::Row(('a', 200)), // behind the watermark, but its window is open
        Event::Marker,
        Event::Watermark(Timestamp::from_millis(1000)),
        Event::Row(('a', 999)),
        Event::Marker,
        Event::Row(('b', -5)),
        Event::Row(('a', 1000)),
    ]);
    let counts: Vec<_> = outcome.rows.iter().map(|row| (row.key, row.start, row.value)).collect();
    assert_eq!(counts, [('a', Timestamp(0), 2), ('a', Timestamp::from_millis(1000), 2)]);
    assert_eq!(outcome.late_rows, 2);
}

/// What a second build of a query finds in the checkpoint of the first.
fn handed_over<I, O, P, Q>(mut first: P, rows: Vec<I>, mut second: Q) -> Q
where
    I: Send + 'static,
    O: Send + 'static,
    P: Operator<Rows<I>, Rows<O>>,
    Q: Operator<Rows<I>, Rows<O>>,
{
    let mut output = Output::default();
    first.process(&mut Rows::from(rows), &mut output).expect("it does not fail");
    let mut stored = Stored::default();
    stored.store(&first.snapshot().expect("it does not fail"));
    second
        .restore(Restore { image: &stored.image(), instance: Instance::ONLY }, &mut output)
        .expect("it does not fail");
    second
}

#[test]
fn a_count_window_restored_with_a_smaller_size_closes_at_the_next_row() {
    let windows = |size| CountWindow::new(|_: &i64| 'k', NonZeroU64::new(size).unwrap(), Count);
    let mut smaller = handed_over(windows(10), vec![0; 7], windows(3));
    let mut output = Output::default();
    smaller.process(&mut Rows::from(vec![0; 4]), &mut output).unwrap();
    let Some(Emitted::Batch(rows)) = output.take() else { panic!("windows were full") };
    assert_eq!(rows.as_slice(), [('k', 8), ('k', 3)]);
}

#[test]
fn tumbling_windows_that_were_open_keep_their_bounds_when_the_size_changes() {
    let windows = |size: u32| {
        let window = Window::tumbling(MICROSECOND * size, |n: &i64| Timestamp(*n));
        window::aggregate(|_: &i64| 'k', window, Count)
    };
    let mut other = handed_over(windows(10), vec![1, 12], windows(4));
    let mut output = Output::default();
    other.process(&mut Rows::from(vec![1, 13]), &mut output).unwrap();
    assert_eq!(other.finish(&mut output).unwrap(), Progress::Done);
    let Some(Emitted::Batch(rows)) = output.take() else { panic!("windows were open") };
    let bounds: Vec<_> = rows.map(|window| (window.start.0, window.end.0, window.value)).collect();
    assert_eq!(bounds, [(0, 4, 1), (0, 10, 1), (12, 16, 1), (10, 20, 1)]);
}
