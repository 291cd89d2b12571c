//! Sliding windows as an operator.

use super::{EMITTED, SlidingAggregate};
use crate::batch::Batch;
use crate::error::Result;
use crate::limits::{FIRINGS_PER_CALL, PANES_MERGED_PER_CALL, TABLE_ROWS_AT_ONCE};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::codec::{decode, encode};
use crate::table::TableBatch;
use crate::table::aggregate::part::PartKey;
use crate::time::Timestamp;

impl SlidingAggregate {
    /// Emits a slice of the windows that are over, and forgets the panes that are in no other.
    fn close(&mut self, until: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().min(FIRINGS_PER_CALL);
        let (mut windows, mut merged, mut progress) = (Vec::new(), 0, Progress::Again);
        for _ in 0..FIRINGS_PER_CALL {
            if windows.len() >= most || merged >= PANES_MERGED_PER_CALL {
                break;
            }
            match self.directory.pop_over(until) {
                Some(Some(over)) => {
                    merged += over.panes.len();
                    windows.push(over);
                }
                Some(None) => {}
                None => {
                    progress = Progress::Done;
                    break;
                }
            }
        }
        if windows.is_empty() {
            return Ok(progress);
        }
        let rows = self.results(&windows)?;
        output.builder().push(rows);
        for slot in windows.into_iter().flat_map(|over| over.gone) {
            let (part, _) = self.state.at(slot).expect("invariant: the slots of panes are held");
            let hash = part.hash();
            self.state.remove_slot(hash, slot);
            self.calls.forget(slot);
        }
        Ok(progress)
    }

    fn restore_emitted(&mut self, restore: Restore<'_>) -> Result<()> {
        // Instances stand at one watermark at a marker. If they do not, it is better to emit a window again
        // than not at all.
        for (at, chunk) in restore.image.chunks(EMITTED).iter().enumerate() {
            let emitted: Timestamp = decode(EMITTED, chunk)?;
            self.watermark = if at == 0 { emitted } else { self.watermark.min(emitted) };
        }
        Ok(())
    }
}

impl Operator<TableBatch, TableBatch> for SlidingAggregate {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 {
            let rows = input.split_front(TABLE_ROWS_AT_ONCE);
            self.absorb(&rows, output)?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        // The end of the input is not kept: a query that is started again may find more of it.
        if watermark < Timestamp::MAX {
            self.watermark = self.watermark.max(watermark);
        }
        let progress = self.close(watermark, output)?;
        if progress == Progress::Done {
            output.emit_watermark(watermark);
        }
        Ok(progress)
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.close(Timestamp::MAX, output)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.calls.store(&mut self.state)?;
        let mut tables = vec![self.state.snapshot()];
        if !self.shape.is_stored() || self.watermark_stored != self.watermark {
            let mut bytes = Vec::new();
            encode(EMITTED, &self.watermark, &mut bytes)?;
            tables.push(TableSnapshot::single(EMITTED, bytes));
            self.watermark_stored = self.watermark;
        }
        self.shape.store(&mut tables)?;
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        self.shape.check(restore)?;
        self.restore_emitted(restore)?;
        self.state.restore_by(restore, PartKey::hash)?;
        self.calls.restore(&self.state);
        for slot in 0..self.state.slots_end() {
            let Some((part, _)) = self.state.at(slot) else { continue };
            let pane = self.cut.pane(Timestamp(part.part));
            self.directory.add(&part.key, pane, slot, self.watermark);
        }
        Ok(())
    }
}
