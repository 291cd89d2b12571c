//! Event time that moves at the ends of epochs.

use lotic_operators::state::codec;
use lotic_operators::table::TableBatch;
use lotic_operators::{Operator, Output, Progress, Restore, Result, Snapshot, TableSnapshot, Timestamp};
use std::sync::Arc;

/// An operator with its table batches.
pub(super) type TableOperator = Box<dyn Operator<TableBatch, TableBatch>>;

const TABLE: &str = "epoch-time";

/// An operator that learns of event time at the ends of epochs alone, when all rows of the epoch have come.
///
/// In between, how far event time has come depends on which batches and which inputs were first, and with it
/// which rows are late. So an epoch that comes again would not have the same rows; this way it does.
///
/// # Delivery
/// The watermark that the operator has learned of is part of the snapshot. What a restart announces again is
/// passed on at once, before any row.
pub(super) struct EpochTime {
    operator: TableOperator,
    /// The watermark that the operator will learn of.
    pending: Option<Timestamp>,
    learned: Timestamp,
    /// Whether the next watermark is the one that the operator had learned of before a restart.
    announced: bool,
}

impl EpochTime {
    pub(super) fn new(operator: TableOperator) -> EpochTime {
        EpochTime { operator, pending: None, learned: Timestamp::MIN, announced: false }
    }

    fn learn(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        if let Some(watermark) = self.pending {
            if self.operator.watermark(watermark, output)? == Progress::Again {
                return Ok(Progress::Again);
            }
            self.learned = watermark;
            self.pending = None;
        }
        Ok(Progress::Done)
    }
}

impl Operator<TableBatch, TableBatch> for EpochTime {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        self.operator.process(input, output)
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.pending = Some(watermark);
        if !self.announced {
            return Ok(Progress::Done);
        }
        let progress = self.learn(output)?;
        self.announced = progress == Progress::Again;
        Ok(progress)
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
        let mut snapshot = self.operator.snapshot()?;
        let mut bytes = Vec::new();
        codec::encode(TABLE, &self.learned, &mut bytes)?;
        snapshot.tables.push(TableSnapshot { table: TABLE, full: true, chunks: vec![(0, Arc::new(bytes))] });
        Ok(snapshot)
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<TableBatch>) -> Result<()> {
        for chunk in restore.image.chunks(TABLE) {
            let learned: Timestamp = codec::decode(TABLE, chunk)?;
            self.announced |= learned > Timestamp::MIN;
        }
        self.operator.restore(restore, output)
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        match self.learn(output)? {
            Progress::Again => Ok(Progress::Again),
            Progress::Done => self.operator.finish(output),
        }
    }
}
