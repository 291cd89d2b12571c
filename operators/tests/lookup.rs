//! Lookup joins against a map, with answers that come in random order.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[allow(dead_code, reason = "shared with other tests")]
mod common;

use common::Row;
use lotic_operators::key::hash_of;
use lotic_operators::lookup::{
    Answer, Lookup, LookupCache, LookupFailure, LookupOptions, LookupOrder, LookupService, OnFailure,
};
use lotic_operators::testing::{Event, OperatorHarness};
use lotic_operators::{Emitted, Operator, OperatorError, Output, Progress, Rows, Timestamp};
use proptest::prelude::*;
use std::time::Duration;

type Joined = (Row, Option<u32>);

/// What the service says of a key: some keys have no value, and some always fail.
fn says(key: u8) -> Answer<u32> {
    match key % 4 {
        0 => Ok(None),
        1 => Err(LookupFailure::Failed(format!("{key} is ill"))),
        _ => Ok(Some(u32::from(key) * 10)),
    }
}

/// Answers one request in a while, any of those that wait.
struct Chance {
    waiting: Vec<(u64, u8)>,
    state: u64,
    most: usize,
}

impl LookupService<u8, u32> for Chance {
    fn ask(&mut self, request: u64, key: u8) {
        self.waiting.push((request, key));
        assert!(self.waiting.len() <= self.most, "more requests than the capacity");
    }

    fn answer(&mut self) -> Option<(u64, Answer<u32>)> {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = (self.state >> 33) as usize;
        if self.waiting.is_empty() || !random.is_multiple_of(3) {
            return None;
        }
        let (request, key) = self.waiting.swap_remove(random / 3 % self.waiting.len());
        Some((request, says(key)))
    }
}

fn lookup(options: LookupOptions, capacity: usize, state: u64) -> impl Operator<Rows<Row>, Rows<Joined>> {
    let options = options.capacity(capacity).on_failure(OnFailure::NoMatch);
    let service = Chance { waiting: Vec::new(), state, most: capacity };
    Lookup::new(|row: &Row| row.key, service, options, |row, value| Some((row, value)))
}

fn expected(events: &[Event<Row>]) -> Vec<Joined> {
    let joined = |row: &Row| (row.clone(), says(row.key).unwrap_or(None));
    events
        .iter()
        .filter_map(|event| if let Event::Row(row) = event { Some(joined(row)) } else { None })
        .collect()
}

fn last_watermark(events: &[Event<Row>]) -> Timestamp {
    let mut times =
        events.iter().filter_map(|event| if let Event::Watermark(time) = event { Some(*time) } else { None });
    times.next_back().unwrap_or(Timestamp::MIN)
}

fn options() -> impl Strategy<Value = LookupOptions> {
    (any::<bool>(), prop::option::of((0usize..5, 1u64..30))).prop_map(|(ordered, cache)| {
        let order = if ordered { LookupOrder::Ordered } else { LookupOrder::Unordered };
        let options = LookupOptions::default().order(order);
        let micros = Duration::from_micros;
        cache.map_or(options, |(entries, ttl)| options.cache(LookupCache::new(entries, micros(ttl))))
    })
}

/// Rows that are not late, so that none of them may leave behind a watermark that came after it.
fn on_time() -> impl Strategy<Value = Vec<Event<Row>>> {
    common::events(60, |watermark, (key, distance, value)| Row {
        key,
        time: Timestamp(watermark + distance.abs()),
        value: i64::from(value),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_row_meets_what_is_known_of_its_key_once_and_in_order(
        events in common::rows(60), cache in any::<bool>(), capacity in 1usize..12, state in any::<u64>(),
    ) {
        let mut options = LookupOptions::default();
        if cache {
            options = options.cache(LookupCache::new(3, Duration::from_micros(20)));
        }
        let outcome = OperatorHarness::new(|| lookup(options, capacity, state)).outcome(&events);
        prop_assert_eq!(outcome.rows, expected(&events));
        prop_assert_eq!(outcome.watermark, last_watermark(&events));
    }

    #[test]
    fn no_watermark_overtakes_a_row(
        events in on_time(), options in options(), capacity in 1usize..12, state in any::<u64>(),
    ) {
        let harness = OperatorHarness::new(|| lookup(options, capacity, state)).unordered();
        let mut outcome = harness.timed(&events, |(row, _): &Joined| row.time);
        outcome.rows.sort();
        let mut expected = expected(&events);
        expected.sort();
        prop_assert_eq!(outcome.rows, expected);
    }

    #[test]
    fn rows_in_flight_go_to_the_new_owners_of_their_keys(
        events in common::rows(60), options in options(), capacity in 1usize..8, state in any::<u64>(),
        parallelism in prop::collection::vec(1usize..5, 1..5),
    ) {
        let harness = OperatorHarness::new(|| lookup(options, capacity, state));
        let outcome = harness.rescaled(&events, |row: &Row| hash_of(&row.key), &parallelism);
        let mut expected = expected(&events);
        expected.sort();
        prop_assert_eq!(outcome.rows, expected);
    }
}

/// Answers when and what it is told.
#[derive(Clone, Default)]
struct Told(std::sync::Arc<std::sync::Mutex<(Vec<u8>, Vec<(u64, Answer<u32>)>)>>);

impl Told {
    fn asked(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    /// Answers the request of this number.
    fn say(&self, request: u64, answer: Answer<u32>) {
        self.0.lock().unwrap().1.push((request, answer));
    }
}

impl LookupService<u8, u32> for Told {
    fn ask(&mut self, _: u64, key: u8) {
        self.0.lock().unwrap().0.push(key);
    }

    fn answer(&mut self) -> Option<(u64, Answer<u32>)> {
        self.0.lock().unwrap().1.pop()
    }
}

fn told(options: LookupOptions) -> (Told, impl Operator<Rows<u8>, Rows<u8>>) {
    let service = Told::default();
    (service.clone(), Lookup::new(|key: &u8| *key, service, options, |key, _| Some(key)))
}

/// What was emitted: rows, and watermarks by their times.
fn emitted(output: &mut Output<Rows<u8>>) -> Vec<Result<u8, i64>> {
    let mut all = Vec::new();
    while let Some(emitted) = output.take() {
        match emitted {
            Emitted::Batch(rows) => all.extend(rows.map(Ok)),
            Emitted::Watermark(time) => all.push(Err(time.0)),
            Emitted::Idle(_) => {}
        }
    }
    all
}

#[test]
fn unordered_rows_leave_as_they_are_answered_but_pass_no_watermark_and_no_marker() {
    let (service, mut lookup) = told(LookupOptions::default().order(LookupOrder::Unordered));
    let mut output = Output::default();
    lookup.process(&mut Rows::from(vec![1, 2]), &mut output).unwrap();
    assert_eq!(lookup.watermark(Timestamp(9), &mut output).unwrap(), Progress::Done);
    lookup.process(&mut Rows::from(vec![3, 4]), &mut output).unwrap();
    assert_eq!(lookup.end_epoch(&mut output).unwrap(), Progress::Done, "a marker does not wait");
    assert!(!lookup.snapshot().unwrap().tables.is_empty());
    lookup.process(&mut Rows::from(vec![5]), &mut output).unwrap();
    for (request, leaves) in
        [(4, vec![]), (3, vec![]), (1, vec![Ok(2)]), (0, vec![Ok(1), Err(9), Ok(4)]), (2, vec![Ok(3), Ok(5)])]
    {
        service.say(request, Ok(None));
        assert_eq!(lookup.tick(&mut output).unwrap(), Progress::Done);
        assert_eq!(emitted(&mut output), leaves);
    }
}

#[test]
fn at_the_capacity_rows_stay_in_the_input() {
    let (service, mut lookup) = told(LookupOptions::default().capacity(2));
    let (mut output, mut input) = (Output::default(), Rows::from(vec![1, 2, 3, 4]));
    lookup.process(&mut input, &mut output).unwrap();
    assert!(input.as_slice() == [3, 4] && output.take_waits());
    service.say(1, Ok(None));
    lookup.process(&mut input, &mut output).unwrap();
    assert!(input.as_slice() == [3, 4] && output.take_waits(), "the second row waits for the first");
    service.say(0, Ok(None));
    lookup.process(&mut input, &mut output).unwrap();
    assert_eq!(
        (input.len(), service.asked(), emitted(&mut output)),
        (0, vec![1, 2, 3, 4], vec![Ok(1), Ok(2)])
    );
}

#[test]
fn a_micro_batch_ends_when_its_rows_have_left() {
    let (service, mut lookup) = told(LookupOptions::default());
    let mut output = Output::default();
    output.set_by_epoch(true);
    lookup.process(&mut Rows::from(vec![1]), &mut output).unwrap();
    assert_eq!(lookup.end_epoch(&mut output).unwrap(), Progress::Again);
    assert!(output.take_waits());
    service.say(0, Ok(Some(1)));
    assert_eq!(lookup.end_epoch(&mut output).unwrap(), Progress::Done);
    assert_eq!(emitted(&mut output), [Ok(1)]);
}

#[test]
fn a_key_is_asked_for_once_at_a_time_and_not_while_it_is_remembered() {
    let (service, mut lookup) =
        told(LookupOptions::default().cache(LookupCache::new(8, Duration::from_micros(10))));
    let mut output = Output::default();
    output.set_now(Timestamp(0));
    lookup.process(&mut Rows::from(vec![1, 1, 1]), &mut output).unwrap();
    service.say(0, Ok(None));
    lookup.process(&mut Rows::from(vec![1]), &mut output).unwrap();
    output.set_now(Timestamp(9));
    lookup.process(&mut Rows::from(vec![1]), &mut output).unwrap();
    assert_eq!((service.asked(), emitted(&mut output)), (vec![1], vec![Ok(1); 5]));
    output.set_now(Timestamp(10));
    lookup.process(&mut Rows::from(vec![1]), &mut output).unwrap();
    assert_eq!(service.asked(), [1, 1]);
}

#[test]
fn a_failure_names_key_and_cause_and_a_panic_is_never_a_missing_match() {
    let ill = || LookupFailure::Failed("ill".to_owned());
    let (service, mut lookup) = told(LookupOptions::default());
    let mut output = Output::default();
    lookup.process(&mut Rows::from(vec![7]), &mut output).unwrap();
    service.say(0, Err(ill()));
    let error = lookup.tick(&mut output).unwrap_err();
    assert_eq!(error.to_string(), "no answer for the key 7: ill");
    let (service, mut lookup) = told(LookupOptions::default().on_failure(OnFailure::NoMatch));
    lookup.process(&mut Rows::from(vec![7]), &mut output).unwrap();
    service.say(0, Err(LookupFailure::Panicked("panicked".to_owned())));
    assert!(matches!(lookup.tick(&mut output).unwrap_err(), OperatorError::User(_)));
}
