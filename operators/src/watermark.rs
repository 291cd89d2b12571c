//! Event time from the rows themselves.

use crate::batch::{self, Rows};
use crate::error::Result;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::partition::{PartitionId, PartitionStatus};
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::codec;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What older checkpoints hold: one time for the whole instance.
const WHOLE: &str = "max-event-time";
/// The times by partition.
const TABLE: &str = "partition-times";

/// One partition.
#[derive(Debug, Clone, Copy)]
struct Partition {
    id: PartitionId,
    largest: Timestamp,
    idle: bool,
}

/// What a checkpoint holds of an instance.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    promised: Option<Timestamp>,
    largest: Vec<(PartitionId, Timestamp)>,
}

/// The largest event time seen in each partition, and the watermark that follows from them: what the operators
/// that make watermarks share, over values and over tables.
///
/// The partitions are those that sources have spoken of, and those that rows have come from. The watermark is
/// the smallest of their largest times less the delay, idle partitions left out; it never moves back, also not
/// over a restart. While all are idle it stays. Rows that are [`PartitionId::AHEAD`] of others count for nothing.
///
/// # Cost
/// A comparison for each batch, while rows come from the partition of the batch before; otherwise a binary
/// search. The minimum is taken anew when the partition that holds it back moves.
#[derive(Debug, Clone)]
pub(crate) struct EventTimeSeen {
    delay: Duration,
    /// In the order of their ids.
    partitions: Vec<Partition>,
    /// The one that the rows in hand come from.
    at: usize,
    /// The active one with the smallest time.
    slowest: Option<usize>,
    /// Times of a checkpoint, for the partitions that turn up here.
    restored: Vec<(PartitionId, Timestamp)>,
    promised: Timestamp,
    /// What upstream says as a whole.
    upstream_idle: bool,
    /// What was said downstream.
    idle: bool,
    ended: bool,
}

impl EventTimeSeen {
    pub(crate) fn new(delay: Duration) -> Self {
        EventTimeSeen {
            delay,
            partitions: Vec::new(),
            at: 0,
            slowest: None,
            restored: Vec::new(),
            promised: Timestamp::MIN,
            upstream_idle: false,
            idle: false,
            ended: false,
        }
    }

    /// Rows of a partition follow; to be called before they are emitted.
    #[inline]
    pub(crate) fn turn_to<B: batch::Batch>(&mut self, output: &mut Output<B>) {
        let id = output.partition();
        if !self.partitions.get(self.at).is_some_and(|partition| partition.id == id && !partition.idle) {
            self.change_to(id, output);
        }
        if self.idle {
            self.idle = false;
            output.emit_idle(false);
        }
    }

    #[cold]
    fn change_to<B: batch::Batch>(&mut self, id: PartitionId, output: &mut Output<B>) {
        self.at = self.place_of(id);
        if id == PartitionId::AHEAD {
            // Nobody waits for it.
            self.partitions[self.at].idle = true;
        } else if self.partitions[self.at].idle {
            self.partitions[self.at].idle = false;
            self.find_slowest(output);
        } else if self.slowest.is_none() {
            self.find_slowest(output);
        }
    }

    /// Where a partition stands; a new one begins where a checkpoint left it.
    fn place_of(&mut self, id: PartitionId) -> usize {
        match self.partitions.binary_search_by_key(&id, |partition| partition.id) {
            Ok(at) => at,
            Err(at) => {
                let kept = self.restored.iter().filter(|(kept, _)| *kept == id);
                // More than one instance may have read of it in turn: only the smallest time holds for all.
                let largest = kept.map(|(_, largest)| *largest).min().unwrap_or(Timestamp::MIN);
                self.partitions.insert(at, Partition { id, largest, idle: false });
                self.at += usize::from(self.at >= at && self.partitions.len() > 1);
                self.slowest = None;
                at
            }
        }
    }

    /// A row of the partition turned to.
    #[inline]
    pub(crate) fn see(&mut self, time: Timestamp) {
        let largest = &mut self.partitions[self.at].largest;
        *largest = time.max(*largest);
    }

    /// Emits the watermark, if the rows seen have moved it.
    #[inline]
    pub(crate) fn emit<B: batch::Batch>(&mut self, output: &mut Output<B>) {
        if self.slowest.is_none_or(|slowest| slowest == self.at) {
            self.find_slowest(output);
            self.promise(output);
        }
    }

    fn find_slowest<B: batch::Batch>(&mut self, output: &mut Output<B>) {
        let active = self.partitions.iter().enumerate().filter(|(_, partition)| !partition.idle);
        let slowest = active.min_by_key(|(_, partition)| partition.largest).map(|(at, _)| at);
        if slowest != self.slowest {
            self.slowest = slowest;
            output.hold_back(slowest.map_or(PartitionId::NONE, |at| self.partitions[at].id));
        }
    }

    /// Emits what the partitions promise, if it is more than before; never the end of time, whatever times the
    /// rows bear.
    fn promise<B: batch::Batch>(&mut self, output: &mut Output<B>) {
        let Some(slowest) = self.slowest else { return };
        let promise = self.partitions[slowest].largest.minus(self.delay).min(Timestamp(Timestamp::MAX.0 - 1));
        if promise > self.promised && !self.ended {
            self.promised = promise;
            output.emit_watermark(promise);
        }
    }

    /// A source speaks of a partition.
    pub(crate) fn partition<B: batch::Batch>(&mut self, status: PartitionStatus, output: &mut Output<B>) {
        let at = self.place_of(status.id);
        self.partitions[at].idle = status.idle;
        if !status.more {
            self.conclude(output);
        }
    }

    /// The input as a whole is idle, or no longer. What sources say of their partitions is more exact.
    pub(crate) fn upstream_idle<B: batch::Batch>(&mut self, idle: bool, output: &mut Output<B>) {
        self.upstream_idle = idle;
        self.conclude(output);
    }

    fn conclude<B: batch::Batch>(&mut self, output: &mut Output<B>) {
        self.find_slowest(output);
        self.promise(output);
        let mut active = self.partitions.iter().filter(|partition| !partition.idle);
        let idle = match active.next() {
            None if self.partitions.is_empty() => self.upstream_idle,
            None => true,
            // The smallest id is none's, of which only the input as a whole can tell.
            Some(first) => first.id == PartitionId::NONE && active.next().is_none() && self.upstream_idle,
        };
        // The end is said by the last watermark: what is downstream may hold rows until then.
        if idle != self.idle && !self.ended {
            self.idle = idle;
            output.emit_idle(idle);
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
        let largest = self.partitions.iter().map(|partition| (partition.id, partition.largest)).collect();
        let kept = Kept { promised: (self.promised > Timestamp::MIN).then_some(self.promised), largest };
        let mut bytes = Vec::new();
        codec::encode(TABLE, &kept, &mut bytes)?;
        let table = TableSnapshot::single(TABLE, bytes);
        Ok(Snapshot { tables: vec![table] })
    }

    /// Which instance reads which partition may have changed: times are kept by partition, and of what the
    /// instances have promised only the smallest holds for all.
    pub(crate) fn restore<B: batch::Batch>(
        &mut self,
        restore: Restore<'_>,
        output: &mut Output<B>,
    ) -> Result<()> {
        let mut promised: Option<Timestamp> = None;
        for chunk in restore.image.chunks(TABLE) {
            let kept: Kept = codec::decode(TABLE, chunk)?;
            let other = kept.promised.unwrap_or(Timestamp::MIN);
            promised = Some(promised.map_or(other, |promised| promised.min(other)));
            self.restored.extend(kept.largest);
        }
        for chunk in restore.image.chunks(WHOLE) {
            let largest: Timestamp = codec::decode(WHOLE, chunk)?;
            let other = largest.minus(self.delay).min(Timestamp(Timestamp::MAX.0 - 1));
            promised = Some(promised.map_or(other, |promised| promised.min(other)));
            self.restored.push((PartitionId::NONE, largest));
        }
        self.promised = promised.unwrap_or(Timestamp::MIN);
        if self.promised > Timestamp::MIN {
            output.emit_watermark(self.promised);
        }
        Ok(())
    }
}

/// Passes rows on and emits the watermark "largest event time seen minus a delay", as Spark's
/// `withWatermark`: the smallest over the partitions of the sources upstream that are not idle, where only steps
/// without state lie between; so a partition that is read later or more slowly than others drops no rows. A
/// partition that was idle and comes back with old rows may. Watermarks from upstream are replaced by this one, save [`Timestamp::MAX`], the end of
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
        let room = output.room();
        if input.len() == 0 || room == 0 {
            return Ok(());
        }
        self.seen.turn_to(output);
        for row in input.by_ref().take(room) {
            self.seen.see((self.event_time)(&row));
            output.push(row);
        }
        self.seen.emit(output);
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<T>>) -> Result<Progress> {
        self.seen.watermark(watermark, output);
        Ok(Progress::Done)
    }

    fn idle(&mut self, idle: bool, output: &mut Output<Rows<T>>) -> Result<()> {
        self.seen.upstream_idle(idle, output);
        Ok(())
    }

    fn partition(&mut self, status: PartitionStatus, output: &mut Output<Rows<T>>) -> Result<()> {
        self.seen.partition(status, output);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.seen.snapshot()
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<T>>) -> Result<()> {
        self.seen.restore(restore, output)
    }
}
