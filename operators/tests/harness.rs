//! Canaries: operators that are wrong on purpose, each of which the test kit has to catch.

use lotic_operators::aggregate::{Count, RunningAggregate};
use lotic_operators::snapshot::{EncodeChunk, TableSnapshot};
use lotic_operators::state::codec;
use lotic_operators::testing::{Event, OperatorHarness};
use lotic_operators::{
    Operator, Output, Progress, Restore, Result, Rows, Side, Snapshot, Timestamp, TwoInputOperator,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

type Numbers = Rows<i64>;

/// Rows 0 to 9 with markers and watermarks between them.
fn events() -> Vec<Event<i64>> {
    let mut events = Vec::new();
    for number in 0..10 {
        events.push(Event::Row(number));
        if number % 3 == 2 {
            events.extend([Event::Watermark(Timestamp(number)), Event::Marker]);
        }
    }
    events
}

/// What is wrong with the sum that [`Broken`] keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    TakesARowBeforeItLooks,
    StopsEarly,
    ForgetsAtARestore,
    SharesStateWithTheWriter,
    CallsAPartTheWhole,
    WatermarkMovesBack,
    WatermarkOvertakesRows,
    GoesOnForEver,
}

/// A running sum, and the number of rows, in two chunks.
#[derive(Debug)]
struct Broken {
    fault: Fault,
    sum: Arc<AtomicI64>,
    rows: i64,
    stored: (i64, i64),
    /// Whether the next snapshot is a full one.
    full: bool,
}

struct Live(Arc<AtomicI64>);

impl EncodeChunk for Live {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<()> {
        codec::encode("sum", &(0u8, self.0.load(Ordering::Relaxed)), bytes)
    }
}

fn broken(fault: Fault) -> impl Fn() -> Broken {
    move || Broken { fault, sum: Arc::default(), rows: 0, stored: (0, 0), full: true }
}

fn chunk(number: u8, value: i64) -> Result<Arc<dyn EncodeChunk>> {
    let mut bytes = Vec::new();
    codec::encode("sum", &(number, value), &mut bytes)?;
    Ok(Arc::new(bytes))
}

impl Operator<Numbers, Numbers> for Broken {
    fn process(&mut self, input: &mut Numbers, output: &mut Output<Numbers>) -> Result<()> {
        if self.fault == Fault::WatermarkOvertakesRows {
            let largest = input.as_slice().iter().max().copied().unwrap_or(i64::MIN);
            output.emit_watermark(Timestamp(largest));
        }
        while self.fault == Fault::TakesARowBeforeItLooks || !output.is_full() {
            let Some(row) = input.next() else { break };
            if output.is_full() {
                break;
            }
            let sum = self.sum.fetch_add(row, Ordering::Relaxed) + row;
            self.rows += row % 2;
            output.push(if self.fault == Fault::WatermarkOvertakesRows { row } else { sum + self.rows });
            if self.fault == Fault::StopsEarly {
                break;
            }
            if self.fault == Fault::WatermarkMovesBack {
                output.emit_watermark(Timestamp(row % 4));
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Numbers>) -> Result<Progress> {
        match self.fault {
            Fault::GoesOnForEver => return Ok(Progress::Again),
            Fault::WatermarkMovesBack | Fault::WatermarkOvertakesRows => {}
            _ => output.emit_watermark(watermark),
        }
        Ok(Progress::Done)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let now = (self.sum.load(Ordering::Relaxed), self.rows);
        let full = std::mem::replace(&mut self.full, false);
        let mut chunks = Vec::new();
        if full || now.0 != self.stored.0 {
            chunks.push((
                0,
                match self.fault {
                    Fault::SharesStateWithTheWriter => Arc::new(Live(Arc::clone(&self.sum))) as _,
                    _ => chunk(0, now.0)?,
                },
            ));
        }
        if full || now.1 != self.stored.1 {
            chunks.push((1, chunk(1, now.1)?));
        }
        self.stored = now;
        let full = full || self.fault == Fault::CallsAPartTheWhole;
        Ok(Snapshot { tables: vec![TableSnapshot { table: "sum", full, chunks, entries: None }] })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Numbers>) -> Result<()> {
        for bytes in restore.image.chunks("sum") {
            match codec::decode("sum", bytes)? {
                _ if self.fault == Fault::ForgetsAtARestore => {}
                (0u8, sum) => self.sum = Arc::new(AtomicI64::new(sum)),
                (_, rows) => self.rows = rows,
            }
        }
        Ok(())
    }
}

#[test]
fn the_same_operator_without_a_fault_passes() {
    OperatorHarness::new(broken(Fault::None)).run(&events());
}

#[test]
#[should_panic(expected = "against Run { batch_rows: 18446744073709551615")]
fn a_row_lost_when_the_output_refuses_is_caught() {
    OperatorHarness::new(broken(Fault::TakesARowBeforeItLooks)).run(&events());
}

#[test]
#[should_panic(expected = "rows were left although the output had room")]
fn rows_left_for_no_reason_are_caught() {
    OperatorHarness::new(broken(Fault::StopsEarly)).run(&events());
}

#[test]
#[should_panic(expected = "restarts: AtMarkers } against Run")]
fn state_forgotten_at_a_restore_is_caught() {
    OperatorHarness::new(broken(Fault::ForgetsAtARestore)).run(&events());
}

#[test]
#[should_panic(expected = "restarts: Crashes } against Run")]
fn a_snapshot_that_changes_after_its_marker_is_caught() {
    OperatorHarness::new(broken(Fault::SharesStateWithTheWriter)).run(&events());
}

#[test]
#[should_panic(expected = "restarts: Crashes } against Run")]
fn a_part_that_is_called_the_whole_is_caught() {
    // The sum does not change in the stretch before the second marker, the count does not in the third.
    let stretch =
        |rows: &[i64]| rows.iter().map(|row| Event::Row(*row)).chain([Event::Marker]).collect::<Vec<_>>();
    let events = [stretch(&[1, 3]), stretch(&[2]), stretch(&[5])].concat();
    OperatorHarness::new(broken(Fault::CallsAPartTheWhole)).run(&events);
}

#[test]
#[should_panic(expected = "the watermark moved back from 3us to 0us")]
fn a_watermark_that_moves_back_is_caught() {
    OperatorHarness::new(broken(Fault::WatermarkMovesBack)).run(&events());
}

#[test]
#[should_panic(expected = "was emitted after the watermark 2us")]
fn a_watermark_that_overtakes_rows_is_caught() {
    OperatorHarness::new(broken(Fault::WatermarkOvertakesRows)).timed(&events(), |row| Timestamp(*row));
}

#[test]
#[should_panic(expected = "no progress")]
fn an_operator_that_goes_on_for_ever_is_caught() {
    OperatorHarness::new(broken(Fault::GoesOnForEver)).run(&events());
}

/// Counts rows that come in from either side; drops what is left of its right input at a refusal.
struct Lopsided(RunningAggregate<i64, i64, Count, fn(&i64) -> i64>);

impl TwoInputOperator<Numbers, Numbers, Rows<(i64, u64)>> for Lopsided {
    fn process_left(&mut self, input: &mut Numbers, output: &mut Output<Rows<(i64, u64)>>) -> Result<()> {
        self.0.process(input, output)
    }
    fn process_right(&mut self, input: &mut Numbers, output: &mut Output<Rows<(i64, u64)>>) -> Result<()> {
        self.0.process(input, output)?;
        input.for_each(drop);
        Ok(())
    }
    fn snapshot(&mut self) -> Result<Snapshot> {
        self.0.snapshot()
    }
    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<(i64, u64)>>) -> Result<()> {
        self.0.restore(restore, output)
    }
}

#[test]
#[should_panic(expected = "against Run")]
fn rows_lost_on_one_of_two_inputs_are_caught() {
    let side = |n: i64| if n % 4 < 2 { Side::Left(n) } else { Side::Right(n) };
    let events: Vec<_> = (0..40).map(|n| Event::Row(side(n))).collect();
    OperatorHarness::new(|| Lopsided(RunningAggregate::new(|n: &i64| n % 3, Count))).two_inputs(&events);
}

/// Keeps one sum for all keys, so that it matters which instance a row goes to.
#[test]
#[should_panic(expected = "assertion `left == right` failed")]
fn state_that_does_not_follow_its_key_is_caught() {
    let events: Vec<_> = (0..20).map(Event::Row).collect();
    let harness = OperatorHarness::new(broken(Fault::None));
    let hash = lotic_operators::key::hash_of::<i64>;
    assert_eq!(harness.rescaled(&events, hash, &[3]), harness.rescaled(&events, hash, &[1]));
}
