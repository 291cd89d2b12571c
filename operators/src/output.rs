//! Where an operator puts its results, and what it knows of time.

use crate::batch::{Batch, Rows};
use crate::partition::PartitionId;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Something an operator emitted, in order.
#[derive(Debug)]
pub enum Emitted<B> {
    /// Rows.
    Batch(B),
    /// A watermark.
    Watermark(Timestamp),
    /// Whether the watermark should no longer wait for this output.
    Idle(bool),
}

/// An operator's output. It can refuse: when [`Output::is_full`] says so the operator stops consuming its
/// input and returns; the runtime calls again, with the rest of the same input, when there is room.
///
/// Nothing is lost by pushing to a full output: the limit may be exceeded by what one input row or one
/// firing produces, since a row cannot be half consumed.
#[derive(Debug)]
pub struct Output<B: Batch> {
    emitted: VecDeque<Emitted<B>>,
    builder: B::Builder,
    sealed_rows: usize,
    limit: usize,
    now: Timestamp,
    partition: PartitionId,
    held_back_by: Option<PartitionId>,
    wake_at: Option<Timestamp>,
    late_rows: u64,
    whole: bool,
    by_epoch: bool,
    waits: bool,
}

impl<B: Batch> Default for Output<B> {
    fn default() -> Self {
        Output::with_limit(B::ROWS_AT_ONCE)
    }
}

impl<B: Batch> Output<B> {
    /// An empty output that refuses once it holds this many rows (at least one).
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Output {
            emitted: VecDeque::new(),
            builder: B::Builder::default(),
            sealed_rows: 0,
            limit: limit.max(1),
            now: Timestamp::MIN,
            partition: PartitionId::NONE,
            held_back_by: None,
            wake_at: None,
            late_rows: 0,
            whole: false,
            by_epoch: false,
            waits: false,
        }
    }

    /// Whether the operator should stop and return.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.sealed_rows + B::building(&self.builder) >= self.limit
    }

    /// Rows that may still be pushed before the output refuses.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.sealed_rows + B::building(&self.builder))
    }

    /// The rows collected so far in the open batch; rows pushed here go out in this order.
    #[inline]
    pub fn builder(&mut self) -> &mut B::Builder {
        &mut self.builder
    }

    /// Emits a whole batch, after what was pushed before it. A batch without rows is not passed on.
    pub fn emit(&mut self, batch: B) {
        if batch.rows() == 0 {
            return;
        }
        self.seal();
        self.sealed_rows += batch.rows();
        self.emitted.push_back(Emitted::Batch(batch));
    }

    /// Emits a watermark, after what was pushed before it.
    pub fn emit_watermark(&mut self, watermark: Timestamp) {
        self.seal();
        self.emitted.push_back(Emitted::Watermark(watermark));
    }

    /// Says, after what was pushed before it, that the watermark should not wait for this output (`true`), or
    /// that it should again. For [`crate::Operator::idle`].
    pub fn emit_idle(&mut self, idle: bool) {
        self.seal();
        self.emitted.push_back(Emitted::Idle(idle));
    }

    /// The partition of the source that the rows in hand come from, if they come from one.
    #[inline]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Names the partition that holds the watermark back, for the progress of the query.
    #[inline]
    pub fn hold_back(&mut self, partition: PartitionId) {
        self.held_back_by = Some(partition);
    }

    /// The processing time, as the runtime's clock said when it began this call.
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Asks to be called ([`crate::Operator::tick`]) once processing time has reached `time`. Calls before
    /// the next tick keep the earliest request, so an operator that waits for several times asks again
    /// whenever it was called.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(time, |earlier| earlier.min(time)));
    }

    /// Counts rows dropped because the watermark had passed them.
    pub fn count_late(&mut self, rows: u64) {
        self.late_rows += rows;
    }

    /// Says that the rows emitted in this epoch are a whole result, which replaces the one before: also if
    /// none of them arrive at the sink. For [`crate::Operator::end_epoch`].
    pub fn emit_whole(&mut self) {
        self.whole = true;
    }

    /// Says that the operator cannot go on before something has happened outside that it waits for: it leaves
    /// rows in its input although there is room, or returns [`crate::Progress::Again`] and does not want to be
    /// called again at once. For operators that the runtime gives something to wait for, such as
    /// [`crate::lookup::Lookup`].
    pub fn wait(&mut self) {
        self.waits = true;
    }

    /// Whether the rows of now belong to a micro-batch, which ends at its own marker: results that replace one
    /// another may as well come once, at the end of the epoch, and then do not depend on how the epoch's rows
    /// were cut into batches. May change at the end of any epoch.
    #[inline]
    pub fn by_epoch(&self) -> bool {
        self.by_epoch
    }

    fn seal(&mut self) {
        if let Some(batch) = B::seal(&mut self.builder) {
            self.sealed_rows += batch.rows();
            self.emitted.push_back(Emitted::Batch(batch));
        }
    }

    /// For the runtime: sets the processing time of the next call.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// For the runtime: says whether the rows of the next call belong to a micro-batch.
    pub fn set_by_epoch(&mut self, by_epoch: bool) {
        self.by_epoch = by_epoch;
    }

    /// For the runtime: sets where the rows of the next call come from.
    #[inline]
    pub fn set_partition(&mut self, partition: PartitionId) {
        self.partition = partition;
    }

    /// For the runtime: what was said by [`Output::hold_back`] since the last call.
    #[inline]
    pub fn take_held_back_by(&mut self) -> Option<PartitionId> {
        self.held_back_by.take()
    }

    /// For the runtime: whether nothing was emitted since the last [`Output::take`] that found nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.emitted.is_empty() && B::building(&self.builder) == 0
    }

    /// For the runtime: the next thing emitted, oldest first. Seals the open batch.
    pub fn take(&mut self) -> Option<Emitted<B>> {
        if self.emitted.is_empty() {
            // The common case: one open batch and nothing before it.
            return B::seal(&mut self.builder).map(Emitted::Batch);
        }
        self.seal();
        let emitted = self.emitted.pop_front();
        if let Some(Emitted::Batch(batch)) = &emitted {
            self.sealed_rows -= batch.rows();
        }
        emitted
    }

    /// For the runtime: the earliest processing time asked for since the last call.
    pub fn take_wake_at(&mut self) -> Option<Timestamp> {
        self.wake_at.take()
    }

    /// For the runtime: whether a whole result was emitted since the last call.
    pub fn take_whole(&mut self) -> bool {
        std::mem::take(&mut self.whole)
    }

    /// For the runtime: whether the last call ended with [`Output::wait`].
    #[inline]
    pub fn take_waits(&mut self) -> bool {
        std::mem::take(&mut self.waits)
    }

    /// For the runtime: late rows counted since the last call.
    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late_rows)
    }
}

impl<T: Send + 'static> Output<Rows<T>> {
    /// Emits one row.
    #[inline]
    pub fn push(&mut self, row: T) {
        self.builder.push(row);
    }
}
