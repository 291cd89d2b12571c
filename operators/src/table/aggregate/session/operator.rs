//! Sessions as an operator.

use super::SessionAggregate;
use super::open::Open;
use crate::batch::Batch;
use crate::error::Result;
use crate::limits::{FIRINGS_PER_CALL, TABLE_ROWS_AT_ONCE};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::table::TableBatch;
use crate::table::aggregate::Emit;
use crate::table::aggregate::part::PartKey;
use crate::time::Timestamp;

impl SessionAggregate {
    /// Emits and forgets a slice of the sessions that are over.
    fn close(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.watermark = watermark;
        let most = output.room().min(FIRINGS_PER_CALL);
        let (mut over, mut progress) = (Vec::with_capacity(most.min(64)), Progress::Again);
        for _ in 0..FIRINGS_PER_CALL {
            if over.len() >= most {
                break;
            }
            let Some(due) = self.ends.pop_due(watermark) else {
                progress = Progress::Done;
                break;
            };
            let Some(slot) = due else { continue };
            let (_, session) = self.state.at(slot).expect("invariant: the slots of sessions are held");
            let end = self.times.over(session.end);
            if end > watermark {
                self.ends.set(slot, end);
            } else {
                over.push(slot);
            }
        }
        self.emit(&over, output)?;
        for &slot in &over {
            let (part, _) = self.state.at(slot).expect("invariant: the slots of sessions are held");
            self.directory.remove(&part.key, slot);
            self.forget(slot);
        }
        Ok(progress)
    }

    /// Emits a slice of all sessions.
    fn emit_all(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().clamp(1, TABLE_ROWS_AT_ONCE);
        let end = self.state.slots_end();
        let mut slots = Vec::new();
        while slots.len() < most && self.next_slot < end {
            if self.state.at(self.next_slot).is_some() {
                slots.push(self.next_slot);
            }
            self.next_slot += 1;
        }
        self.emit(&slots, output)?;
        if self.next_slot < end {
            return Ok(Progress::Again);
        }
        self.next_slot = 0;
        self.changed = false;
        Ok(Progress::Done)
    }

    fn emit(&mut self, slots: &[u32], output: &mut Output<TableBatch>) -> Result<()> {
        if !slots.is_empty() {
            let rows = self.results(slots)?;
            output.builder().push(rows);
        }
        Ok(())
    }
}

impl Operator<TableBatch, TableBatch> for SessionAggregate {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 {
            let rows = input.split_front(TABLE_ROWS_AT_ONCE);
            self.absorb(&rows, output)?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        let progress = match self.emit {
            Emit::Closed => self.close(watermark, output)?,
            _ => Progress::Done,
        };
        if progress == Progress::Done {
            output.emit_watermark(watermark);
        }
        Ok(progress)
    }

    fn end_epoch(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        if self.emit != Emit::Complete || !self.changed {
            return Ok(Progress::Done);
        }
        output.emit_whole();
        self.emit_all(output)
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        match self.emit {
            Emit::Closed => self.close(Timestamp::MAX, output),
            Emit::Final => self.emit_all(output),
            _ => Ok(Progress::Done),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.calls.store(&mut self.state)?;
        let mut tables = vec![self.state.snapshot()];
        self.shape.store(&mut tables)?;
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        self.shape.check(restore)?;
        self.state.restore_by(restore, PartKey::hash)?;
        self.calls.restore(&self.state);
        for slot in 0..self.state.slots_end() {
            let Some((part, session)) = self.state.at(slot) else { continue };
            let (start, end) = (session.start, session.end);
            self.directory.add(&part.key, Open { start, end, slot });
            if self.emit == Emit::Closed {
                self.ends.set(slot, self.times.over(end));
            }
        }
        Ok(())
    }
}
