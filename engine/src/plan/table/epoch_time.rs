//! Event time that moves at the ends of micro-batches.

use lotic_operators::table::TableBatch;
use lotic_operators::{
    Batch, Operator, Output, PartitionStatus, Progress, Restore, Result, Snapshot, Timestamp,
};

/// An operator that in a micro-batch learns of event time at the end of the epoch alone, when all its rows have
/// come, as in Spark; in continuous mode at once.
///
/// Within an epoch, how far event time has come depends on which batches and which inputs were first, and with
/// it which rows are late. So an epoch that comes again would not have the same rows; this way it does. What a
/// restart announces comes before the first micro-batch is opened, and so is passed on at once.
pub(super) struct EpochTime<I = TableBatch> {
    operator: Box<dyn Operator<I, TableBatch>>,
    /// The watermark that the operator will learn of.
    pending: Option<Timestamp>,
    /// Whether the input is idle, said behind that watermark: nobody may stop waiting for what it closes.
    pending_idle: Option<bool>,
    /// The operator is learning and has more to emit: nothing else may come in between.
    learning: bool,
}

impl<I: Batch> EpochTime<I> {
    pub(super) fn new(operator: Box<dyn Operator<I, TableBatch>>) -> EpochTime<I> {
        EpochTime { operator, pending: None, pending_idle: None, learning: false }
    }

    fn learn(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        if let Some(watermark) = self.pending {
            self.learning = self.operator.watermark(watermark, output)? == Progress::Again;
            if self.learning {
                return Ok(Progress::Again);
            }
            self.pending = None;
        }
        if let Some(idle) = self.pending_idle.take() {
            self.operator.idle(idle, output)?;
        }
        Ok(Progress::Done)
    }
}

impl<I: Batch> Operator<I, TableBatch> for EpochTime<I> {
    fn process(&mut self, input: &mut I, output: &mut Output<TableBatch>) -> Result<()> {
        self.operator.process(input, output)
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.pending = Some(watermark);
        if output.by_epoch() && !self.learning {
            return Ok(Progress::Done);
        }
        self.learn(output)
    }

    fn idle(&mut self, idle: bool, output: &mut Output<TableBatch>) -> Result<()> {
        if self.pending.is_some() {
            self.pending_idle = Some(idle);
            return Ok(());
        }
        self.operator.idle(idle, output)
    }

    fn partition(&mut self, status: PartitionStatus, output: &mut Output<TableBatch>) -> Result<()> {
        self.operator.partition(status, output)
    }

    fn tick(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.operator.tick(output)
    }

    fn end_epoch(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        match self.learn(output)? {
            Progress::Again => Ok(Progress::Again),
            Progress::Done => self.operator.end_epoch(output),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.operator.snapshot()
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<TableBatch>) -> Result<()> {
        self.operator.restore(restore, output)
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        match self.learn(output)? {
            Progress::Again => Ok(Progress::Again),
            Progress::Done => self.operator.finish(output),
        }
    }
}
