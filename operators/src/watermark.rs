//! Event time from the rows themselves.

use crate::batch::{self, Rows};
use crate::error::Result;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::codec;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const TABLE: &str = "max-event-time";

/// The largest event time seen, and the watermark that follows from it: what the operators that make
/// watermarks share, over values and over tables.
#[derive(Debug, Clone)]
pub(crate) struct EventTimeSeen {
    delay: Duration,
    largest: Timestamp,
    ended: bool,
}

impl EventTimeSeen {
    pub(crate) fn new(delay: Duration) -> Self {
        EventTimeSeen { delay, largest: Timestamp::MIN, ended: false }
    }

    #[inline]
    pub(crate) fn see(&mut self, time: Timestamp) {
        self.largest = self.largest.max(time);
    }

    /// What the rows so far promise; never the end of time, whatever times they bear.
    pub(crate) fn promise(&self) -> Timestamp {
        self.largest.minus(self.delay).min(Timestamp(Timestamp::MAX.0 - 1))
    }

    /// Emits the promise, if it is more than it was before some rows.
    pub(crate) fn emit_since<B: batch::Batch>(&self, before: Timestamp, output: &mut Output<B>) {
        let promise = self.promise();
        if promise > before && !self.ended {
            output.emit_watermark(promise);
        }
    }

    /// A watermark from upstream: the end of the input is passed on, every other is dropped.
    pub(crate) fn watermark<B: batch::Batch>(&mut self, watermark: Timestamp, output: &mut Output<B>) {
        if watermark == Timestamp::MAX {
            self.ended = true;
            output.emit_watermark(watermark);
        }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let mut bytes = Vec::new();
        codec::encode(TABLE, &self.largest, &mut bytes)?;
        let table = TableSnapshot { table: TABLE, full: true, chunks: vec![(0, Arc::new(bytes))] };
        Ok(Snapshot { tables: vec![table] })
    }

    pub(crate) fn restore<B: batch::Batch>(
        &mut self,
        restore: Restore<'_>,
        output: &mut Output<B>,
    ) -> Result<()> {
        // Which instance reads which partition may have changed, so only the smallest promise still holds.
        for (at, chunk) in restore.image.chunks(TABLE).iter().enumerate() {
            let largest: Timestamp = codec::decode(TABLE, chunk)?;
            self.largest = if at == 0 { largest } else { self.largest.min(largest) };
        }
        if self.promise() > Timestamp::MIN {
            output.emit_watermark(self.promise());
        }
        Ok(())
    }
}

/// Passes rows on and emits the watermark "largest event time seen minus a delay", as Spark's
/// `withWatermark`. Watermarks from upstream are replaced by this one, save [`Timestamp::MAX`], the end of
/// the input: it is passed on, and is the last. The end is not part of a snapshot, so that a query that is
/// started again may find more input.
#[derive(Debug, Clone)]
pub struct AssignWatermark<F> {
    event_time: F,
    seen: EventTimeSeen,
}

impl<F> AssignWatermark<F> {
    /// `event_time` reads a row's time; rows up to `delay` behind the largest time are still in time.
    pub fn new(event_time: F, delay: Duration) -> Self {
        AssignWatermark { event_time, seen: EventTimeSeen::new(delay) }
    }
}

impl<T: Send + 'static, F: FnMut(&T) -> Timestamp + Send> Operator<Rows<T>, Rows<T>> for AssignWatermark<F> {
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<T>>) -> Result<()> {
        let before = self.seen.promise();
        let room = output.room();
        for row in input.by_ref().take(room) {
            self.seen.see((self.event_time)(&row));
            output.push(row);
        }
        self.seen.emit_since(before, output);
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<T>>) -> Result<Progress> {
        self.seen.watermark(watermark, output);
        Ok(Progress::Done)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.seen.snapshot()
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<T>>) -> Result<()> {
        self.seen.restore(restore, output)
    }
}
