//! Plays the runtime for one operator.

use super::{Event, Outcome};
use crate::batch::{Batch, Rows};
use crate::error::Result;
use crate::key::Instance;
use crate::operator::{Operator, Progress};
use crate::output::{Emitted, Output};
use crate::partition::{PartitionId, PartitionStatus};
use crate::snapshot::{Restore, Snapshot, StateImage};
use crate::time::Timestamp;
use std::fmt::Debug;
use std::marker::PhantomData;

/// Calls in a row that bring nothing forward before an operator is taken to be stuck.
const IDLE_CALLS: usize = 10_000;

/// A test input and how it is handed over.
pub(super) struct Feed<'a, T, B, O> {
    pub(super) events: &'a [Event<T>],
    /// Makes batches of successive rows.
    pub(super) pack: fn(Vec<T>) -> Vec<B>,
    pub(super) batch_rows: usize,
    pub(super) event_time: EventTime<'a, O>,
}

/// Reads the event time of a row emitted, where it is to be checked.
pub(super) type EventTime<'a, O> = Option<&'a dyn Fn(&O) -> Timestamp>;

impl<T, B, O> Clone for Feed<'_, T, B, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, B, O> Copy for Feed<'_, T, B, O> {}

impl<'a, T, B, O> Feed<'a, T, B, O> {
    pub(super) fn new(events: &'a [Event<T>], pack: fn(Vec<T>) -> Vec<B>) -> Self {
        Feed { events, pack, batch_rows: usize::MAX, event_time: None }
    }

    /// What lies between the markers: one more than there are markers.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'a [Event<T>]> + use<'a, T, B, O> {
        self.events.split(|event| matches!(event, Event::Marker))
    }
}

/// Where a driver stood at a marker.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    rows: usize,
    late_rows: u64,
    emitted: Timestamp,
    now: Timestamp,
    watermark: Timestamp,
    partition: PartitionId,
    statuses: Vec<PartitionStatus>,
}

/// Plays the runtime for one operator: drains the output whenever it refuses, and repeats the call.
pub(super) struct Driver<'a, P, B, O: Send + 'static> {
    operator: P,
    output: Output<Rows<O>>,
    output_rows: usize,
    event_time: EventTime<'a, O>,
    outcome: Outcome<O>,
    now: Timestamp,
    watermark: Timestamp,
    wake_at: Option<Timestamp>,
    partition: PartitionId,
    /// What was last said of each partition.
    statuses: Vec<PartitionStatus>,
    input: PhantomData<fn(B)>,
}

impl<'a, P, B, O> Driver<'a, P, B, O>
where
    P: Operator<B, Rows<O>>,
    B: Batch,
    O: Debug + Send + 'static,
{
    pub(super) fn new(operator: P, output_rows: usize, event_time: EventTime<'a, O>) -> Self {
        Driver {
            operator,
            output: Output::with_limit(output_rows),
            output_rows,
            event_time,
            outcome: Outcome { rows: Vec::new(), late_rows: 0, watermark: Timestamp::MIN },
            now: Timestamp::MIN,
            watermark: Timestamp::MIN,
            wake_at: None,
            partition: PartitionId::NONE,
            statuses: Vec::new(),
            input: PhantomData,
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            rows: self.outcome.rows.len(),
            late_rows: self.outcome.late_rows,
            emitted: self.outcome.watermark,
            now: self.now,
            watermark: self.watermark,
            partition: self.partition,
            statuses: self.statuses.clone(),
        }
    }

    /// A driver that goes on from a marker with what was stored then; what came after it is undone.
    pub(super) fn successor(self, operator: P, image: &StateImage, instance: Instance, mark: Mark) -> Self {
        let mut next = Driver::new(operator, self.output_rows, self.event_time);
        next.outcome = self.outcome;
        next.outcome.rows.truncate(mark.rows);
        next.outcome.late_rows = mark.late_rows;
        next.outcome.watermark = mark.emitted;
        next.resume(image, instance, mark);
        next
    }

    /// Restores the operator, at the times that the runtime keeps in a checkpoint.
    pub(super) fn resume(&mut self, image: &StateImage, instance: Instance, mark: Mark) {
        self.output.set_now(mark.now);
        self.now = mark.now;
        self.operator
            .restore(Restore { image, instance }, &mut self.output)
            .expect("the snapshot can be restored");
        self.drain();
        if mark.watermark > Timestamp::MIN {
            // The runtime keeps each input's watermark in the checkpoint and announces it again.
            self.reach(mark.watermark);
        }
        // Sources say it again of each partition that they read.
        let last = mark.statuses.len();
        for (at, status) in mark.statuses.into_iter().enumerate() {
            self.say(PartitionStatus { more: at + 1 < last, ..status });
        }
        self.come_from(mark.partition);
    }

    pub(super) fn play<T: Clone>(&mut self, events: &[Event<T>], feed: Feed<'_, T, B, O>) {
        let mut rows: Vec<T> = Vec::new();
        for event in events {
            if let Event::Row(row) = event {
                rows.push(row.clone());
                if rows.len() < feed.batch_rows {
                    continue;
                }
            }
            self.process((feed.pack)(std::mem::take(&mut rows)));
            match event {
                Event::Row(_) | Event::Marker => {}
                Event::Watermark(time) => self.reach(*time),
                Event::Time(time) => self.advance(*time),
                Event::Partition(status) => self.say(*status),
                Event::From(partition) => self.come_from(*partition),
            }
        }
        self.process((feed.pack)(rows));
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.repeat(|operator, output| operator.end_epoch(output));
        self.operator.snapshot().expect("a snapshot")
    }

    pub(super) fn end(mut self, finish: bool) -> Outcome<O> {
        if finish {
            self.repeat(|operator, output| operator.finish(output));
            self.snapshot();
        }
        self.outcome
    }

    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Some(emitted) = self.output.take() {
            any = true;
            match emitted {
                Emitted::Batch(rows) => rows.for_each(|row| self.emitted_row(row)),
                Emitted::Watermark(time) => {
                    let before = self.outcome.watermark;
                    assert!(time >= before, "the watermark moved back from {before} to {time}");
                    self.outcome.watermark = time;
                }
                Emitted::Idle(_) => {}
            }
        }
        self.outcome.late_rows += self.output.take_late();
        if let Some(time) = self.output.take_wake_at() {
            self.wake_at = Some(self.wake_at.map_or(time, |earlier| earlier.min(time)));
        }
        any
    }

    fn emitted_row(&mut self, row: O) {
        if let Some(event_time) = self.event_time {
            let (time, promised) = (event_time(&row), self.outcome.watermark);
            assert!(time >= promised, "{row:?}, of {time}, was emitted after the watermark {promised}");
        }
        self.outcome.rows.push(row);
    }

    fn process(&mut self, batches: Vec<B>) {
        for mut batch in batches {
            let mut idle_calls = 0;
            loop {
                let before = batch.rows();
                self.operator.process(&mut batch, &mut self.output).expect("rows are processed");
                let left = batch.rows();
                let waits = self.output.take_waits();
                let progress = left < before || before == 0 || !self.output.is_empty();
                idle_calls = if progress { 0 } else { idle_calls + 1 };
                let patience = if waits { IDLE_CALLS } else { 1 };
                assert!(idle_calls < patience, "an empty output was refused rows: no progress");
                let may_leave = waits || self.output.is_full();
                assert!(left == 0 || may_leave, "rows were left although the output had room");
                self.drain();
                if left == 0 {
                    break;
                }
            }
        }
    }

    fn repeat(&mut self, mut call: impl FnMut(&mut P, &mut Output<Rows<O>>) -> Result<Progress>) {
        let mut idle_calls = 0;
        while call(&mut self.operator, &mut self.output).expect("the call succeeds") == Progress::Again {
            idle_calls = if self.drain() { 0 } else { idle_calls + 1 };
            assert!(idle_calls < IDLE_CALLS, "the operator wants to go on and emits nothing: no progress");
        }
        self.drain();
    }

    fn reach(&mut self, watermark: Timestamp) {
        assert!(watermark >= self.watermark, "the test input is wrong: its watermark moves back");
        self.watermark = watermark;
        self.repeat(|operator, output| operator.watermark(watermark, output));
    }

    fn say(&mut self, status: PartitionStatus) {
        self.statuses.retain(|other| other.id != status.id);
        self.statuses.push(PartitionStatus { more: false, ..status });
        self.operator.partition(status, &mut self.output).expect("the call succeeds");
        self.drain();
    }

    fn come_from(&mut self, partition: PartitionId) {
        self.partition = partition;
        self.output.set_partition(partition);
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = now;
        self.output.set_now(now);
        for _ in 0..IDLE_CALLS {
            if self.wake_at.is_none_or(|due| due > now) {
                return;
            }
            self.wake_at = None;
            self.repeat(|operator, output| operator.tick(output));
        }
        panic!("the operator asks to be woken at a time that has passed, again and again");
    }
}
