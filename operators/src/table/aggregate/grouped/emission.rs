//! How groups are emitted and forgotten.

use super::GroupedAggregate;
use crate::error::Result;
use crate::limits::{FIRINGS_PER_CALL, TABLE_ROWS_AT_ONCE};
use crate::operator::Progress;
use crate::output::Output;
use crate::table::TableBatch;
use crate::table::aggregate::Emit;
use crate::table::keys::hash_bytes;
use crate::time::Timestamp;

impl GroupedAggregate {
    /// Begins the groups that are there without rows and have not begun. Returns their slots.
    pub(super) fn begin_always(&mut self) -> Vec<u32> {
        let mut begun = Vec::new();
        for key in std::mem::take(&mut self.always) {
            let (slot, new) = self.state.slot(hash_bytes(key.as_slice()), &key, || self.calls.empty());
            if new {
                begun.push(slot);
                if let Some(closing) = &mut self.closing {
                    closing.add_endless(slot);
                }
            }
        }
        begun
    }

    /// Emits a slice of all groups.
    pub(super) fn emit_all(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().clamp(1, TABLE_ROWS_AT_ONCE);
        let end = self.state.slots_end();
        let mut slots = Vec::with_capacity(most);
        while slots.len() < most && self.next_slot < end {
            if self.state.at(self.next_slot).is_some() {
                slots.push(self.next_slot);
            }
            self.next_slot += 1;
        }
        self.emit_slots(&slots, output)?;
        if self.next_slot < end {
            return Ok(Progress::Again);
        }
        self.next_slot = 0;
        self.changed = false;
        Ok(Progress::Done)
    }

    /// Emits a slice of the groups that changed in this epoch.
    pub(super) fn emit_changed(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().clamp(1, TABLE_ROWS_AT_ONCE);
        let slots = self.changed_slots.take(most);
        self.emit_slots(&slots, output)?;
        if self.changed_slots.is_empty() { Ok(Progress::Done) } else { Ok(Progress::Again) }
    }

    /// Emits a slice of the groups that are over at a watermark, where they are to be emitted, and forgets
    /// them.
    pub(super) fn close(
        &mut self,
        watermark: Timestamp,
        output: &mut Output<TableBatch>,
    ) -> Result<Progress> {
        if watermark == Timestamp::MAX {
            if self.emit != Emit::Closed {
                // At the end of the input nothing is gained by forgetting, and a query that is started again
                // may find more of it.
                return Ok(Progress::Done);
            }
            self.begin_always();
        }
        let Some(closing) = &mut self.closing else { return Ok(Progress::Done) };
        closing.watermark = watermark;
        let emits = matches!(self.emit, Emit::Closed | Emit::Update);
        let most = if emits { output.room().min(FIRINGS_PER_CALL) } else { FIRINGS_PER_CALL };
        if most == 0 {
            return Ok(Progress::Again);
        }
        let over = closing.take_over(most);
        match self.emit {
            Emit::Closed => self.emit_slots(&over, output)?,
            Emit::Update => {
                // What a micro-batch has changed and would emit at its end.
                let changed = over.iter().copied().filter(|slot| self.changed_slots.remove(*slot));
                let changed: Vec<u32> = changed.collect();
                self.emit_slots(&changed, output)?;
            }
            _ => {}
        }
        for &slot in &over {
            let (key, _) = self.state.at(slot).expect("invariant: the slots of the index are held");
            let hash = hash_bytes(key.as_slice());
            self.state.remove_slot(hash, slot);
            self.calls.forget(slot);
        }
        Ok(if over.len() < most { Progress::Done } else { Progress::Again })
    }

    /// Notes when the groups are over that a restore brought back.
    pub(super) fn note_restored(&mut self) -> Result<()> {
        if self.closing.is_none() {
            return Ok(());
        }
        let held = (0..self.state.slots_end()).filter(|slot| self.state.at(*slot).is_some());
        let held: Vec<u32> = held.collect();
        for slots in held.chunks(TABLE_ROWS_AT_ONCE) {
            let columns = self.columns_of(slots)?;
            if let Some(closing) = &mut self.closing {
                closing.add_restored(&columns, slots)?;
            }
        }
        Ok(())
    }

    pub(super) fn emit_slots(&mut self, slots: &[u32], output: &mut Output<TableBatch>) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let columns = self.columns_of(slots)?;
        let rows = self.results(columns, slots)?;
        output.builder().push(rows);
        Ok(())
    }
}
