//! Watermarks by partition against a slow reference, in every way the engine can run the operator.

use lotic_operators::testing::{Event, OperatorHarness, Stored};
use lotic_operators::watermark::AssignWatermark;
use lotic_operators::{
    Emitted, Instance, Operator, Output, PartitionId, PartitionStatus, Restore, Rows, Timestamp,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const DELAY: Duration = Duration::from_micros(7);

type Assign = AssignWatermark<fn(&i64) -> Timestamp>;

fn assign() -> Assign {
    AssignWatermark::new(|time: &i64| Timestamp(*time), DELAY)
}

fn partition(number: u64) -> PartitionId {
    PartitionId::of("source", &number.to_string())
}

fn status(number: u64, idle: bool) -> Event<i64> {
    Event::Partition(PartitionStatus { id: partition(number), idle, more: false })
}

/// A source of three partitions: rows in any order of partitions, statuses in between, markers.
fn events() -> impl Strategy<Value = Vec<Event<i64>>> {
    let step = prop_oneof![
        6 => (0u64..3, 0i64..1000).prop_map(|(number, time)| vec![
            status(number, false),
            Event::From(partition(number)),
            Event::Row(time),
        ]),
        3 => (0u64..3, any::<bool>()).prop_map(|(number, idle)| vec![status(number, idle)]),
        1 => (0i64..2000).prop_map(|time| vec![Event::From(PartitionId::AHEAD), Event::Row(time)]),
        1 => Just(vec![Event::Marker]),
    ];
    proptest::collection::vec(step, 0..60).prop_map(|steps| {
        let known = (0..3).map(|number| status(number, false));
        known.chain(steps.into_iter().flatten()).collect()
    })
}

/// The last watermark, by looking at the whole history at each step.
fn reference(events: &[Event<i64>]) -> Timestamp {
    let mut reached = Timestamp::MIN;
    let mut largest: BTreeMap<PartitionId, (Timestamp, bool)> = BTreeMap::new();
    let mut from = PartitionId::NONE;
    for event in events {
        match event {
            Event::Partition(status) => {
                largest.entry(status.id).or_insert((Timestamp::MIN, false)).1 = status.idle;
            }
            Event::From(partition) => from = *partition,
            Event::Row(_) if from == PartitionId::AHEAD => {}
            Event::Row(time) => {
                let (largest, _) = largest.get_mut(&from).expect("the partition was spoken of");
                *largest = (*largest).max(Timestamp(*time));
            }
            _ => {}
        }
        let active = largest.values().filter(|(_, idle)| !idle).map(|(largest, _)| *largest);
        reached = reached.max(active.min().map_or(Timestamp::MIN, |slowest| slowest.minus(DELAY)));
    }
    reached
}

proptest! {
    #[test]
    fn the_watermark_is_the_smallest_of_the_active_partitions(events in events()) {
        let outcome = OperatorHarness::new(assign).outcome(&events);
        prop_assert_eq!(outcome.watermark, reference(&events));
    }

    /// Whatever the order in which partitions are read, rows that are in order within their partition are not
    /// behind the watermark.
    #[test]
    fn no_row_is_late_that_is_in_order_within_its_partition(
        rows in proptest::collection::vec((0u64..3, 0i64..10), 0..80),
    ) {
        let mut operator = assign();
        let mut output = Output::default();
        for number in 0..3 {
            let status = PartitionStatus { id: partition(number), idle: false, more: false };
            operator.partition(status, &mut output).unwrap();
        }
        let (mut times, mut reached) = ([0i64; 3], Timestamp::MIN);
        for (number, step) in rows {
            let time = &mut times[number as usize];
            *time += step;
            prop_assert!(Timestamp(*time) >= reached, "{time} behind {reached}");
            output.set_partition(partition(number));
            operator.process(&mut Rows::from(vec![*time]), &mut output).unwrap();
            while let Some(emitted) = output.take() {
                if let Emitted::Watermark(time) = emitted {
                    reached = time;
                }
            }
        }
    }

    /// The partitions are dealt out anew after a restart; each goes on from its own time.
    #[test]
    fn times_are_kept_by_partition_wherever_it_is_read(times in proptest::collection::vec(0i64..1000, 6)) {
        let mut stored = [Stored::default(), Stored::default()];
        for (index, stored) in stored.iter_mut().enumerate() {
            let (mut operator, mut output) = (assign(), Output::default());
            for number in 0..3 {
                let id = partition(3 * index as u64 + number);
                operator.partition(PartitionStatus { id, idle: false, more: number < 2 }, &mut output).unwrap();
            }
            for number in 0..3 {
                output.set_partition(partition(3 * index as u64 + number));
                let row = times[3 * index + number as usize];
                operator.process(&mut Rows::from(vec![row]), &mut output).unwrap();
            }
            stored.store(&operator.snapshot().unwrap());
        }
        let image = Stored::image_of(&stored);
        for index in 0..3 {
            let mine = [index, index + 3];
            let (mut operator, mut output) = (assign(), Output::default());
            let restore = Restore { image: &image, instance: Instance { index, parallelism: 3 } };
            operator.restore(restore, &mut output).unwrap();
            for number in mine {
                let status = PartitionStatus { id: partition(number as u64), idle: false, more: true };
                operator.partition(status, &mut output).unwrap();
            }
            operator.idle(false, &mut output).unwrap();
            let mut reached = Timestamp::MIN;
            while let Some(emitted) = output.take() {
                if let Emitted::Watermark(time) = emitted {
                    prop_assert!(time > reached);
                    reached = time;
                }
            }
            let slowest = mine.map(|number| times[number]).into_iter().min().unwrap();
            prop_assert_eq!(reached, Timestamp(slowest).minus(DELAY));
        }
    }
}

/// What is emitted, rows left out.
fn said(output: &mut Output<Rows<i64>>) -> Vec<String> {
    let said = std::iter::from_fn(|| output.take()).map(|emitted| match emitted {
        Emitted::Batch(rows) => format!("{} rows", rows.len()),
        Emitted::Watermark(time) => time.to_string(),
        Emitted::Idle(idle) => (if idle { "idle" } else { "active" }).to_owned(),
    });
    said.collect()
}

#[test]
fn it_is_idle_with_its_last_partition_and_active_before_the_next_row() {
    let (mut operator, mut output) = (assign(), Output::default());
    let say = |operator: &mut Assign, output: &mut Output<_>, number, idle, more| {
        let status = PartitionStatus { id: partition(number), idle, more };
        operator.partition(status, output).unwrap();
    };
    for (number, time) in [(0, 100), (1, 50)] {
        say(&mut operator, &mut output, number, false, false);
        output.set_partition(partition(number));
        operator.process(&mut Rows::from(vec![time]), &mut output).unwrap();
    }
    assert_eq!(said(&mut output), ["1 rows", "93us", "1 rows"]);
    say(&mut operator, &mut output, 1, true, true);
    say(&mut operator, &mut output, 0, true, false);
    assert_eq!(said(&mut output), ["idle"], "idle together: the watermark stays");
    operator.process(&mut Rows::from(vec![60]), &mut output).unwrap();
    assert_eq!(said(&mut output), ["active", "1 rows"], "60 is behind, and nothing moves back");
    operator.process(&mut Rows::from(vec![120]), &mut output).unwrap();
    assert_eq!(said(&mut output), ["1 rows", "113us"]);
}

#[test]
fn what_upstream_says_as_a_whole_counts_where_no_partition_is_known() {
    let (mut operator, mut output) = (assign(), Output::default());
    operator.idle(true, &mut output).unwrap();
    assert_eq!(said(&mut output), ["idle"]);
    operator.idle(false, &mut output).unwrap();
    assert_eq!(said(&mut output), ["active"]);
    operator.process(&mut Rows::from(vec![20]), &mut output).unwrap();
    operator.idle(true, &mut output).unwrap();
    assert_eq!(said(&mut output), ["1 rows", "13us", "idle"]);
}

#[test]
fn the_partition_that_holds_the_watermark_back_is_named() {
    let (mut operator, mut output) = (assign(), Output::default());
    for number in 0..2 {
        let status = PartitionStatus { id: partition(number), idle: false, more: false };
        operator.partition(status, &mut output).unwrap();
    }
    let row = |operator: &mut Assign, output: &mut Output<Rows<i64>>, number, time| {
        output.set_partition(partition(number));
        operator.process(&mut Rows::from(vec![time]), output).unwrap();
    };
    row(&mut operator, &mut output, 0, 10);
    row(&mut operator, &mut output, 1, 5);
    assert_eq!(output.take_held_back_by(), Some(partition(1)));
    row(&mut operator, &mut output, 1, 30);
    assert_eq!(output.take_held_back_by(), Some(partition(0)));
}
