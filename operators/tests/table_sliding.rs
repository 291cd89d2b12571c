//! Sliding windows of a table against a slow model that copies each row into all of its windows.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "its rows are of another type")]
mod common;
mod table_time;

use arrow::datatypes::Field;
use lotic_operators::limits::{FIRINGS_PER_CALL, PANES_MERGED_PER_CALL};
use lotic_operators::table::{SlidingAggregate, SlidingGrouping, TableBatch};
use lotic_operators::testing::{ByRow, Event, OperatorHarness, Stored};
use lotic_operators::{Instance, Operator, Output, Progress, Restore, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use table_time::{
    Row, aggregate, batch, batches, call, column, drain, group_of_key, output, schema, sorted, steps, texts,
    window_field, window_text,
};

/// Size, slide and offset.
#[derive(Debug, Clone, Copy)]
struct Cut(i64, i64, i64);

impl Cut {
    /// The windows of a time, found by trying every start.
    fn windows(self, time: i64) -> impl Iterator<Item = (i64, i64)> {
        let Cut(size, slide, offset) = self;
        let starts = (time - size + 1..=time).filter(move |start| (start - offset).rem_euclid(slide) == 0);
        starts.map(move |start| (start, start + size))
    }
}

fn grouping(keys: &[&str], window: usize, calls: &[usize], Cut(size, slide, offset): Cut) -> SlidingGrouping {
    let input = schema();
    let aggregates: Vec<_> = calls.iter().map(|number| call(*number)).collect();
    let mut fields: Vec<Field> = keys.iter().map(|key| input.field_with_name(key).unwrap().clone()).collect();
    fields.insert(window, window_field("window"));
    let micros = |micros| Duration::from_micros(micros as u64);
    SlidingGrouping {
        keys: keys.iter().map(|key| column(key)).collect(),
        event_time: column("t"),
        size: micros(size),
        slide: micros(slide),
        offset: micros(offset),
        window,
        output: output(fields, &aggregates),
        aggregates,
        input,
    }
}

/// What is emitted, in order of windows, and how many rows are late.
fn model(
    steps: &[Event<Row>],
    keys: &[&str],
    place: usize,
    calls: &[usize],
    cut: Cut,
) -> (Vec<Vec<String>>, u64) {
    let mut open: BTreeMap<(i64, i64, Vec<String>), Vec<Row>> = BTreeMap::new();
    let (mut closed, mut late, mut watermark) = (Vec::new(), 0, Timestamp::MIN);
    for step in steps.iter().chain([&Event::Watermark(Timestamp::MAX)]) {
        match step {
            Event::Row(row) => {
                let Some(time) = row.t else { continue };
                let mut in_time = false;
                for (start, end) in cut.windows(time).filter(|(_, end)| *end > watermark.0) {
                    in_time = true;
                    open.entry((end, start, texts(row, keys))).or_default().push(row.clone());
                }
                late += u64::from(!in_time);
            }
            Event::Watermark(time) => {
                watermark = *time;
                closed.extend(open.extract_if(.., |(end, _, _), _| *end <= watermark.0));
            }
            _ => {}
        }
    }
    let result = |((end, start, mut text), rows): ((i64, i64, Vec<String>), Vec<Row>)| {
        text.insert(place, window_text(start, end));
        text.extend(calls.iter().map(|number| aggregate(&rows, &call(*number))));
        text
    };
    (sorted(closed.into_iter().map(result).collect()), late)
}

fn cuts() -> impl Strategy<Value = Cut> {
    (1i64..12, 0i64..40, 0i64..50).prop_map(|(slide, more, offset)| Cut(slide + more, slide, offset))
}

fn keys() -> impl Strategy<Value = (Vec<&'static str>, usize)> {
    prop::sample::select(vec![(vec![], 0), (vec!["k"], 0), (vec!["k"], 1)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_window_is_emitted_once_when_it_is_over(
        steps in steps(50), (keys, place) in keys(), calls in table_time::calls(), cut in cuts(),
    ) {
        let grouping = grouping(&keys, place, &calls, cut);
        let harness = OperatorHarness::new(|| ByRow(SlidingAggregate::new(&grouping).unwrap())).unordered();
        let outcome = harness.outcome(&batches(&steps));
        let got = (sorted(outcome.rows), outcome.late_rows);
        prop_assert_eq!(got, model(&steps, &keys, place, &calls, cut));
    }

    #[test]
    fn instances_share_the_panes(
        steps in steps(80), calls in table_time::calls(), cut in cuts(),
        sizes in prop::collection::vec(1usize..5, 1..4),
    ) {
        let grouping = grouping(&["k"], 1, &calls, cut);
        let harness = OperatorHarness::new(|| ByRow(SlidingAggregate::new(&grouping).unwrap()));
        let outcome = harness.rescaled(&batches(&steps), group_of_key, &sizes);
        prop_assert_eq!((outcome.rows, outcome.late_rows), model(&steps, &["k"], 1, &calls, cut));
    }
}

#[test]
fn many_windows_that_are_over_together_go_in_slices() {
    // Windows of a hundred panes.
    let grouping = grouping(&["v"], 1, &[0], Cut(1000, 10, 0));
    let (mut operator, mut output) =
        (SlidingAggregate::new(&grouping).unwrap(), Output::with_limit(usize::MAX));
    for t in 0..50 {
        let rows: Vec<Row> =
            (0..2_000).map(|v| Row { k: None, t: Some(t * 10), v: Some(v), gap: None }).collect();
        operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
    }
    let (mut emitted, mut slices) = (0, 0);
    loop {
        let progress = operator.watermark(Timestamp(1000), &mut output).unwrap();
        let slice = drain(&mut output).len();
        assert!(slice <= FIRINGS_PER_CALL, "{slice} rows in one call");
        (emitted, slices) = (emitted + slice, slices + 1);
        if progress == Progress::Done {
            break;
        }
    }
    // The windows that end at 10, 20, .. 1000, of which the n-th merges n panes until there are fifty.
    assert_eq!(emitted, 2_000 * 100);
    let panes = 2_000 * ((1..=50).sum::<usize>() + 50 * 50);
    assert!(slices >= panes / (PANES_MERGED_PER_CALL + 50), "{panes} panes in {slices} calls");
}

#[test]
fn windows_that_come_and_go_leave_nothing_behind() {
    let grouping = grouping(&["k"], 0, &[0, 5], Cut(30, 10, 0));
    let (mut operator, mut output) =
        (SlidingAggregate::new(&grouping).unwrap(), Output::with_limit(usize::MAX));
    let (mut stored, mut chunks) = (Stored::default(), BTreeSet::new());
    for t in 0..2_000 {
        let rows = [0, 1, 2].map(|k| Row { k: Some(k), t: Some(t * 5), v: Some(t), gap: None });
        operator.process(&mut TableBatch::from(batch(&rows)), &mut output).unwrap();
        while operator.watermark(Timestamp(t * 5), &mut output).unwrap() == Progress::Again {}
        let snapshot = operator.snapshot().unwrap();
        chunks.extend(snapshot.tables[0].chunks.iter().map(|(number, _)| *number));
        stored.store(&snapshot);
    }
    assert_eq!(chunks.len(), 1, "the panes of three keys had places in one page");
    while operator.watermark(Timestamp(100_000), &mut output).unwrap() == Progress::Again {}
    stored.store(&operator.snapshot().unwrap());
    let mut next = SlidingAggregate::new(&grouping).unwrap();
    let image = stored.image();
    next.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
    assert!(format!("{next:?}").ends_with(" 0 panes)"), "{next:?}");
}

#[test]
fn a_window_that_was_emitted_is_not_emitted_again_whatever_the_watermark_is_after_a_restart() {
    let grouping = grouping(&["k"], 0, &[0], Cut(30, 10, 0));
    let (mut operator, mut output) = (SlidingAggregate::new(&grouping).unwrap(), Output::default());
    let row = |t| TableBatch::from(batch(&[Row { k: Some(1), t: Some(t), v: None, gap: None }]));
    operator.process(&mut row(5), &mut output).unwrap();
    assert_eq!(operator.watermark(Timestamp(10), &mut output).unwrap(), Progress::Done);
    assert_eq!(drain(&mut output), [[window_text(-20, 10), "a".into(), "1".into()]]);
    let mut stored = Stored::default();
    stored.store(&operator.snapshot().unwrap());
    let image = stored.image();
    let mut next = SlidingAggregate::new(&grouping).unwrap();
    next.restore(Restore { image: &image, instance: Instance::ONLY }, &mut output).unwrap();
    next.process(&mut row(6), &mut output).unwrap();
    assert_eq!(next.finish(&mut output).unwrap(), Progress::Done);
    let windows =
        [(-10, 20), (0, 30)].map(|(start, end)| vec![window_text(start, end), "a".into(), "2".into()]);
    assert_eq!(drain(&mut output), windows);
}

#[test]
fn what_no_windows_can_be_made_of_is_refused() {
    let error = |grouping: SlidingGrouping| SlidingAggregate::new(&grouping).unwrap_err().to_string();
    let of = |cut| grouping(&["k"], 0, &[0], cut);
    assert!(error(of(Cut(10, 0, 0))).contains("one microsecond"));
    assert!(error(of(Cut(10, 20, 0))).contains("leave out rows"));
    assert!(error(of(Cut(1_000_000, 1, 0))).contains("1000000"));
    assert!(error(SlidingGrouping { event_time: column("v"), ..of(Cut(10, 5, 0)) }).contains("`v@3`"));
    assert!(error(SlidingGrouping { window: 1, ..of(Cut(10, 5, 0)) }).contains("`start` and `end`"));
    let mut stored = Stored::default();
    stored.store(&SlidingAggregate::new(&of(Cut(30, 10, 0))).unwrap().snapshot().unwrap());
    let image = stored.image();
    let restore = Restore { image: &image, instance: Instance::ONLY };
    let mut other = SlidingAggregate::new(&of(Cut(50, 10, 0))).unwrap();
    let error = other.restore(restore, &mut Output::default()).unwrap_err().to_string();
    assert!(error.contains("size 30µs, slide 10µs") && error.contains("size 50µs"), "{error}");
}
