//! Event time from the rows themselves.

use crate::batch::Rows;
use crate::error::Result;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::codec;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const TABLE: &str = "max-event-time";

/// Passes rows on and emits the watermark "largest event time seen minus a delay", as Spark's
/// `withWatermark`. Watermarks from upstream are replaced by this one.
#[derive(Debug, Clone)]
pub struct AssignWatermark<F> {
    event_time: F,
    delay: Duration,
    largest: Timestamp,
}

impl<F> AssignWatermark<F> {
    /// `event_time` reads a row's time; rows up to `delay` behind the largest time are still in time.
    pub fn new(event_time: F, delay: Duration) -> Self {
        AssignWatermark { event_time, delay, largest: Timestamp::MIN }
    }
}

impl<T: Send + 'static, F: FnMut(&T) -> Timestamp + Send> Operator<Rows<T>, Rows<T>> for AssignWatermark<F> {
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<T>>) -> Result<()> {
        let before = self.largest;
        let room = output.room();
        for row in input.by_ref().take(room) {
            self.largest = self.largest.max((self.event_time)(&row));
            output.push(row);
        }
        if self.largest > before {
            output.emit_watermark(self.largest.minus(self.delay));
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<T>>) -> Result<Progress> {
        if watermark == Timestamp::MAX {
            output.emit_watermark(watermark);
        }
        Ok(Progress::Done)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut bytes = Vec::new();
        codec::encode(TABLE, &self.largest, &mut bytes)?;
        let table = TableSnapshot { table: TABLE, full: true, chunks: vec![(0, Arc::new(bytes))] };
        Ok(Snapshot { tables: vec![table] })
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<T>>) -> Result<()> {
        // Which instance reads which partition may have changed, so only the smallest promise still holds.
        for (at, chunk) in restore.image.chunks(TABLE).iter().enumerate() {
            let largest: Timestamp = codec::decode(TABLE, chunk)?;
            self.largest = if at == 0 { largest } else { self.largest.min(largest) };
        }
        if self.largest > Timestamp::MIN {
            output.emit_watermark(self.largest.minus(self.delay));
        }
        Ok(())
    }
}
