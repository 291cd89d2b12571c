//! Every kind of window, emitted in every way, against a slow model that keeps all rows, on random
//! out-of-order input and through the whole matrix of the test kit.

mod common;

use common::Row;
use lotic_operators::aggregate::{Aggregate, Collect, Count, Fold, Last, Max, Sum};
use lotic_operators::testing::{Event, OperatorHarness, Outcome};
use lotic_operators::window::{self, Emit, Window, Windowed, WindowedOrLate};
use lotic_operators::{Instance, Operator, Output, Restore, Rows, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

fn micros(micros: i64) -> Duration {
    Duration::from_micros(micros as u64)
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Sliding { size: i64, slide: i64, offset: i64 },
    Session { gap: i64 },
    Global,
}

#[derive(Debug, Clone, Copy)]
struct Spec {
    shape: Shape,
    lateness: i64,
    emit: Emit,
}

type ReadTime = fn(&Row) -> Timestamp;

impl Spec {
    fn window(self) -> Window<Row, ReadTime> {
        let time: ReadTime = |row| row.time;
        let window = match self.shape {
            Shape::Sliding { size, slide, offset } if size == slide => {
                Window::tumbling(micros(size), time).offset(micros(offset))
            }
            Shape::Sliding { size, slide, offset } => {
                Window::sliding(micros(size), micros(slide), time).offset(micros(offset))
            }
            Shape::Session { gap } => Window::session(micros(gap), time),
            Shape::Global => Window::global(),
        };
        window.allowed_lateness(micros(self.lateness)).emit(self.emit)
    }

    /// The windows of a time by itself, found by trying every start.
    fn windows(self, time: i64) -> Vec<(i64, i64)> {
        match self.shape {
            Shape::Sliding { size, slide, offset } => (time - size..=time)
                .filter(|start| (start - offset).rem_euclid(slide) == 0 && start + size > time)
                .map(|start| (start, start + size))
                .collect(),
            Shape::Session { gap } => vec![(time, time + gap)],
            Shape::Global => vec![(i64::MIN, i64::MAX)],
        }
    }
}

/// A window of the model: all of its rows in order of arrival.
#[derive(Debug, Clone)]
struct Held {
    key: u8,
    start: i64,
    end: i64,
    rows: Vec<Row>,
    changed: bool,
}

/// Knows nothing of timers, panes or indexes: at every step it looks at all windows.
struct Model<'a, V> {
    spec: Spec,
    value: &'a dyn Fn(&[Row]) -> V,
    held: Vec<Held>,
    watermark: i64,
    now: i64,
    changed_at: Option<i64>,
    emitted: Vec<Windowed<u8, V>>,
    late: Vec<Row>,
}

impl<'a, V> Model<'a, V> {
    fn new(spec: Spec, value: &'a dyn Fn(&[Row]) -> V) -> Self {
        Model {
            spec,
            value,
            held: Vec::new(),
            watermark: i64::MIN,
            now: i64::MIN,
            changed_at: None,
            emitted: Vec::new(),
            late: Vec::new(),
        }
    }

    fn emit(&mut self, at: usize) {
        let held = &mut self.held[at];
        held.changed = false;
        let (start, end) = (Timestamp(held.start), Timestamp(held.end));
        self.emitted.push(Windowed { key: held.key, start, end, value: (self.value)(&held.rows) });
    }

    fn closed(&self, end: i64) -> bool {
        end.saturating_add(self.spec.lateness) <= self.watermark
    }

    fn row(&mut self, row: &Row) {
        let session = matches!(self.spec.shape, Shape::Session { .. });
        let mut in_time = false;
        for (start, end) in self.spec.windows(row.time.0) {
            let joins = |held: &Held| {
                held.key == row.key
                    && if session { held.start < end && start < held.end } else { held.start == start }
            };
            let (joined, others): (Vec<Held>, Vec<Held>) = self.held.drain(..).partition(joins);
            self.held = others;
            if joined.is_empty() && self.closed(end) {
                continue;
            }
            in_time = true;
            let mut window = Held { key: row.key, start, end, rows: Vec::new(), changed: true };
            for other in joined {
                window.start = window.start.min(other.start);
                window.end = window.end.max(other.end);
                window.rows.extend(other.rows);
            }
            window.rows.push(row.clone());
            let now = match self.spec.emit {
                Emit::Final | Emit::Every(_) => false,
                Emit::OnTime => window.end <= self.watermark,
                Emit::EachChange => true,
            };
            self.changed_at = self.changed_at.or(Some(self.now));
            self.held.push(window);
            if now {
                self.emit(self.held.len() - 1);
            }
        }
        if !in_time {
            self.late.push(row.clone());
        }
    }

    /// The times between the last watermark and this one at which a window ends are passed one by one.
    fn watermark(&mut self, watermark: i64) {
        let ends = |held: &Held| [held.end, held.end.saturating_add(self.spec.lateness)];
        let mut times: BTreeSet<i64> =
            self.held.iter().flat_map(ends).filter(|at| *at <= watermark).collect();
        times.insert(watermark);
        let before = self.watermark;
        for time in times {
            self.watermark = self.watermark.max(time);
            for at in (0..self.held.len()).rev() {
                let (end, changed) = (self.held[at].end, self.held[at].changed);
                let at_end = matches!(self.spec.emit, Emit::OnTime | Emit::Every(_));
                if changed && (self.closed(end) || (at_end && end > before && time == end)) {
                    self.emit(at);
                }
                if self.closed(end) {
                    self.held.remove(at);
                }
            }
        }
    }

    fn time(&mut self, now: i64) {
        let before = std::mem::replace(&mut self.now, now);
        let Emit::Every(interval) = self.spec.emit else { return };
        let interval = interval.as_micros() as i64;
        let crossed = before.div_euclid(interval) < now.div_euclid(interval);
        if crossed {
            for at in 0..self.held.len() {
                if self.held[at].changed {
                    self.emit(at);
                }
            }
        }
    }

    fn play(mut self, events: &[Event<Row>], finish: bool) -> (Vec<Windowed<u8, V>>, Vec<Row>) {
        for event in events {
            match event {
                Event::Row(row) => self.row(row),
                Event::Watermark(time) => self.watermark(time.0),
                Event::Time(now) => self.time(now.0),
                _ => {}
            }
        }
        if finish {
            self.watermark(i64::MAX);
        }
        (self.emitted, self.late)
    }
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

/// The operator in every way of running it, with its input ended and stopped, against the model.
fn check<A>(spec: Spec, aggregate: &A, value: &dyn Fn(&[Row]) -> A::Out, events: &[Event<Row>])
where
    A: Aggregate<Row>,
    A::Out: Ord + Debug + Clone,
{
    let build = || window::aggregate(|row: &Row| row.key, spec.window(), aggregate.clone());
    let last_time = |row: &Windowed<u8, A::Out>| row.end.minus(micros(1));
    for finish in [true, false] {
        let harness = OperatorHarness::new(build).unordered();
        let harness = if finish { harness } else { harness.stopped() };
        let outcome: Outcome<Windowed<u8, A::Out>> = harness.timed(events, last_time);
        let (emitted, late) = Model::new(spec, value).play(events, finish);
        assert_eq!(sorted(outcome.rows), sorted(emitted), "{spec:?} finish {finish}");
        assert_eq!(outcome.late_rows, late.len() as u64, "{spec:?}");
    }
}

/// Rows in the order in which merged parts hold them do not matter, so they are sorted.
fn sorted_rows(rows: &[Row]) -> Vec<Row> {
    sorted(rows.to_vec())
}

/// [`Collect`], sorted.
#[derive(Clone)]
struct CollectSorted;

impl Aggregate<Row> for CollectSorted {
    type State = Vec<Row>;
    type Out = Vec<Row>;
    const MERGES: bool = true;

    fn init(&self) -> Vec<Row> {
        Vec::new()
    }
    fn add(&self, state: &mut Vec<Row>, row: Row) {
        Aggregate::add(&Collect, state, row);
    }
    fn result(&self, state: &Vec<Row>) -> Vec<Row> {
        sorted_rows(state)
    }
    fn merge(&self, state: &mut Vec<Row>, other: &Vec<Row>) {
        Aggregate::<Row>::merge(&Collect, state, other);
    }
}

fn check_all(spec: Spec, events: &[Event<Row>]) {
    check(spec, &CollectSorted, &sorted_rows, events);
    let unshared = Fold::new(Vec::new(), |list: &mut Vec<Row>, row: Row| list.push(row));
    if !matches!(spec.shape, Shape::Session { .. }) {
        check(spec, &unshared, &<[Row]>::to_vec, events);
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        2 => (1i64..40, 0i64..50).prop_map(|(size, offset)| Shape::Sliding { size, slide: size, offset }),
        4 => (1i64..15, 0i64..45, 0i64..50)
            .prop_map(|(slide, more, offset)| Shape::Sliding { size: slide + more, slide, offset }),
        4 => (1i64..40).prop_map(|gap| Shape::Session { gap }),
        1 => Just(Shape::Global),
    ]
}

fn specs() -> impl Strategy<Value = Spec> {
    let emit = prop_oneof![
        Just(Emit::Final),
        Just(Emit::OnTime),
        Just(Emit::EachChange),
        (1u64..60).prop_map(|interval| Emit::Every(Duration::from_micros(interval))),
    ];
    (shapes(), prop_oneof![Just(0i64), 1i64..60], emit).prop_map(|(shape, lateness, emit)| Spec {
        shape,
        lateness,
        emit,
    })
}

/// The bounds of the test input are those of time.
fn extreme_rows() -> impl Strategy<Value = Vec<Event<Row>>> {
    let near = |time: i64| (-2i64..3).prop_map(move |by| time.saturating_add(by));
    let time = prop_oneof![near(i64::MIN), near(i64::MAX), near(0), any::<i64>()];
    proptest::collection::vec((0u8..8, 0u8..3, time), 0..40).prop_map(|steps| {
        let mut watermark = i64::MIN;
        let step = |(kind, key, time): (u8, u8, i64)| match kind {
            0 => Event::Marker,
            1 => {
                watermark = watermark.max(time);
                Event::Watermark(Timestamp(watermark))
            }
            _ => Event::Row(Row { key, time: Timestamp(time), value: 1 }),
        };
        steps.into_iter().map(step).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_a_model_that_keeps_all_rows(events in common::rows(60), spec in specs()) {
        check_all(spec, &events);
    }

    #[test]
    fn ready_aggregates_are_those_of_all_rows_of_a_window(
        events in common::rows(60), shape in shapes(), lateness in 0i64..30,
    ) {
        let spec = Spec { shape, lateness, emit: Emit::Final };
        check(spec, &Count, &|rows| rows.len() as u64, &events);
        check(spec, &Sum(|row: &Row| row.value), &|rows| rows.iter().map(|row| row.value).sum(), &events);
        let max = |rows: &[Row]| rows.iter().map(|row| row.value).max().expect("a window has rows");
        check(spec, &Max(|row: &Row| row.value), &max, &events);
        let last = |rows: &[Row]| rows.iter().max_by_key(|row| row.time).expect("a window has rows").time;
        check(spec, &Last::new(|row: &Row| row.time, |row: &Row| row.time), &last, &events);
    }

    #[test]
    fn late_rows_are_handed_out_and_counted(events in common::rows(60), spec in specs()) {
        let build = || window::aggregate_and_late(|row: &Row| row.key, spec.window(), CollectSorted);
        let outcome = OperatorHarness::new(build).unordered().outcome(&events);
        let (emitted, late) = Model::new(spec, &sorted_rows).play(&events, true);
        prop_assert_eq!(outcome.late_rows, late.len() as u64);
        let mut expected: Vec<_> = emitted.into_iter().map(WindowedOrLate::Windowed).collect();
        expected.extend(late.into_iter().map(WindowedOrLate::Late));
        prop_assert_eq!(sorted(outcome.rows), sorted(expected));
    }

    /// No window is lost, doubled or torn where times cannot be added any more.
    #[test]
    fn sliding_windows_and_sessions_stand_at_the_bounds_of_time(events in extreme_rows(), lateness in 0i64..3) {
        for emit in [Emit::Final, Emit::OnTime] {
            for shape in [Shape::Sliding { size: 10, slide: 4, offset: 3 }, Shape::Session { gap: 2 }] {
                let spec = Spec { shape, lateness, emit };
                let build = || window::aggregate(|row: &Row| row.key, spec.window(), Count);
                let outcome = OperatorHarness::new(build).unordered().outcome(&events);
                let rows = events.iter().filter(|event| matches!(event, Event::Row(_))).count() as u64;
                if let (Shape::Session { .. }, Emit::Final) = (shape, emit) {
                    let counted: u64 = outcome.rows.iter().map(|window| window.value).sum();
                    prop_assert_eq!(counted + outcome.late_rows, rows);
                }
                // The same windows without panes.
                if let Shape::Sliding { .. } = shape {
                    let count = Fold::new(0u64, |count: &mut u64, _: Row| *count += 1);
                    let build = || window::aggregate(|row: &Row| row.key, spec.window(), count.clone());
                    let unshared = OperatorHarness::new(build).unordered().outcome(&events);
                    prop_assert_eq!(sorted(outcome.rows), sorted(unshared.rows));
                    prop_assert_eq!(outcome.late_rows, unshared.late_rows);
                }
            }
        }
    }
}

#[test]
fn windows_that_close_together_are_emitted_in_slices_within_the_budget() {
    let time: ReadTime = |row| row.time;
    for window in [
        Window::tumbling(micros(100), time),
        Window::sliding(micros(100), micros(10), time),
        Window::session(micros(5), time),
    ] {
        let key = |row: &Row| row.value;
        let mut operator = window::aggregate(key, window, Count);
        let mut output = Output::with_limit(usize::MAX);
        let rows: Vec<Row> = (0..10_000).map(|value| Row { key: 0, time: Timestamp(1), value }).collect();
        operator.process(&mut Rows::from(rows), &mut output).expect("it does not fail");
        let (mut calls, mut emitted) = (1, 0);
        let mut drain = |output: &mut Output<Rows<Windowed<i64, u64>>>| {
            let slice: usize = std::iter::from_fn(|| output.take())
                .map(|item| if let lotic_operators::Emitted::Batch(rows) = item { rows.len() } else { 0 })
                .sum();
            assert!(slice <= lotic_operators::limits::FIRINGS_PER_CALL, "{slice} in one call");
            emitted += slice;
        };
        while operator.watermark(Timestamp(1_000), &mut output).expect("it does not fail")
            == lotic_operators::Progress::Again
        {
            calls += 1;
            drain(&mut output);
        }
        drain(&mut output);
        assert!(calls >= 10 && emitted >= 10_000, "{emitted} in {calls} calls");
    }
}

#[test]
fn windows_of_many_panes_are_emitted_in_smaller_slices() {
    let (panes, size) = (1_000u64, micros(1_000));
    let build = |emitted_limit| {
        let window = Window::sliding(size, micros(1), |row: &Row| row.time);
        (window::aggregate(|row: &Row| row.key, window, Count), Output::with_limit(emitted_limit))
    };
    let (mut operator, mut output) = build(usize::MAX);
    let rows: Vec<Row> = (0..3_000).map(|time| Row { key: 0, time: Timestamp(time), value: 0 }).collect();
    operator.process(&mut Rows::from(rows), &mut output).expect("it does not fail");
    let mut sizes = Vec::new();
    loop {
        let progress = operator.watermark(Timestamp(10_000), &mut output).expect("it does not fail");
        let emitted = std::iter::from_fn(|| output.take());
        let windows = emitted.filter_map(|item| match item {
            lotic_operators::Emitted::Batch(rows) => Some(rows.collect::<Vec<_>>()),
            _ => None,
        });
        let slice: Vec<Windowed<u8, u64>> = windows.flatten().collect();
        let merged: u64 = slice.iter().map(|window| window.value).sum();
        assert!(
            merged <= lotic_operators::limits::PANES_PER_CALL as u64 + panes,
            "{merged} panes in one call"
        );
        sizes.push(slice.len());
        if progress == lotic_operators::Progress::Done {
            break;
        }
    }
    assert_eq!(sizes.iter().sum::<usize>() as u64, 3_000 + panes - 1);
    assert!(sizes.len() as u64 >= 3_000 * panes / (lotic_operators::limits::PANES_PER_CALL as u64 + panes));
}

#[test]
fn sliding_windows_of_another_size_are_refused_by_name() {
    let build = |size| {
        let window = Window::sliding(micros(size), micros(10), |row: &Row| row.time);
        window::aggregate(|row: &Row| row.key, window, Count)
    };
    let (mut first, mut output) = (build(30), Output::default());
    let row = Row { key: 1, time: Timestamp(5), value: 0 };
    first.process(&mut Rows::from(vec![row]), &mut output).expect("it does not fail");
    let mut stored = lotic_operators::testing::Stored::default();
    stored.store(&first.snapshot().expect("it does not fail"));
    let image = stored.image();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    build(30).restore(restore, &mut output).expect("the same windows");
    let error = build(50).restore(restore, &mut output).expect_err("others");
    assert!(error.to_string().contains("size 30µs, slide 10µs"), "{error}");
}

#[test]
#[should_panic(expected = "merged")]
fn sessions_need_an_aggregate_that_can_be_merged() {
    let window = Window::session(micros(1), |row: &Row| row.time);
    let list = Fold::new(Vec::new(), |list: &mut Vec<i64>, row: Row| list.push(row.value));
    let _ = window::aggregate(|row: &Row| row.key, window, list);
}
