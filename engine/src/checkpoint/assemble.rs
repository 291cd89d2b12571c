//! Gathers the parts of epochs until they are persisted and committed. Pure.
//!
//! Snapshots are changes, so those of an epoch that was given up must not be lost: they stay here and go
//! into the next record, as does what its sinks prepared. Each actor delivers its epochs in order.
//!
//! A record also repeats the handles of earlier checkpoints that are durable and not yet committed: recovery
//! reads the handles of the newest checkpoint only, and with several epochs in flight a crash may come when
//! a newer one is durable and an older one not yet committed.

use super::record::{ChunkDelta, Handle, InstanceDelta, Record, TableDelta};
use crate::query::Mode;
use lotic_operators::Epoch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one actor gives for one epoch.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// What changed in the operators that the actor runs.
    pub deltas: Vec<InstanceDelta>,
    /// What its sink prepared.
    pub handles: Vec<Handle>,
}

/// The parts not yet durable, and what is durable and not yet committed.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: Vec<(Epoch, Part)>,
    /// Handles, oldest first, by the checkpoint that made them durable.
    uncommitted: Vec<(Epoch, Arc<Handle>)>,
}

impl Assembler {
    /// Takes in an actor's part.
    pub fn add(&mut self, epoch: Epoch, part: Part) {
        self.parts.push((epoch, part));
    }

    /// The record of an epoch: its parts and those of older epochs that were given up. They stay here until
    /// [`Assembler::persisted`].
    pub fn record(&self, epoch: Epoch, mode: Mode, written_micros: i64) -> Record {
        let mut deltas: BTreeMap<(String, u32), InstanceDelta> = BTreeMap::new();
        let mut handles: Vec<Handle> =
            self.uncommitted.iter().map(|(_, handle)| Handle::clone(handle)).collect();
        let mut parts: Vec<&(Epoch, Part)> = self.parts.iter().filter(|(of, _)| *of <= epoch).collect();
        parts.sort_by_key(|(of, _)| *of);
        for (_, part) in parts {
            handles.extend(part.handles.iter().cloned());
            for delta in &part.deltas {
                match deltas.get_mut(&(delta.operator.clone(), delta.instance)) {
                    Some(earlier) => merge(earlier, delta),
                    None => {
                        deltas.insert((delta.operator.clone(), delta.instance), delta.clone());
                    }
                }
            }
        }
        Record { epoch, mode, written_micros, deltas: deltas.into_values().collect(), handles }
    }

    /// The record of this epoch is durable: returns what is now to be committed besides what already was, oldest
    /// first.
    pub fn persisted(&mut self, epoch: Epoch) -> Vec<Arc<Handle>> {
        let (mut durable, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parts).into_iter().partition(|(of, _)| *of <= epoch);
        self.parts = later;
        durable.sort_by_key(|(of, _)| *of);
        let handles: Vec<_> = durable.into_iter().flat_map(|(_, part)| part.handles).map(Arc::new).collect();
        self.uncommitted.extend(handles.iter().map(|handle| (epoch, Arc::clone(handle))));
        handles
    }

    /// What the checkpoints up to this epoch made durable and is not yet committed, oldest first.
    pub fn uncommitted(&self, epoch: Epoch) -> impl Iterator<Item = &Handle> {
        self.uncommitted.iter().filter(move |(of, _)| *of <= epoch).map(|(_, handle)| &**handle)
    }

    /// All that the checkpoints up to this epoch made durable is committed.
    pub fn committed(&mut self, epoch: Epoch) {
        self.uncommitted.retain(|(of, _)| *of > epoch);
    }
}

fn merge(earlier: &mut InstanceDelta, later: &InstanceDelta) {
    for table in &later.tables {
        match earlier.tables.iter_mut().find(|held| held.table == table.table) {
            Some(held) if !table.full => {
                let mut chunks: BTreeMap<u32, ChunkDelta> = std::mem::take(&mut held.chunks)
                    .into_iter()
                    .map(|chunk| (chunk.number(), chunk))
                    .collect();
                for later in table.chunks.iter().cloned() {
                    match chunks.get_mut(&later.number()) {
                        Some(earlier) => earlier.followed_by(later),
                        None => drop(chunks.insert(later.number(), later)),
                    }
                }
                held.chunks = chunks.into_values().collect();
            }
            Some(held) => *held = table.clone(),
            None => earlier.tables.push(TableDelta::clone(table)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(number: u32, byte: u8) -> ChunkDelta {
        ChunkDelta::whole(number, vec![byte])
    }

    fn added(number: u32, byte: u8) -> ChunkDelta {
        ChunkDelta::added(number, vec![byte])
    }

    fn part(epoch: u64, full: bool, chunks: &[ChunkDelta]) -> Part {
        let chunks = chunks.to_vec();
        let table = TableDelta { table: "t".to_owned(), full, chunks };
        let delta =
            InstanceDelta { operator: "count".to_owned(), instance: 0, parallelism: 1, tables: vec![table] };
        let handle = Handle { sink: "out".to_owned(), epoch: Epoch(epoch), bytes: vec![epoch as u8] };
        Part { deltas: vec![delta], handles: vec![handle] }
    }

    fn epochs_of(handles: &[Handle]) -> Vec<u64> {
        handles.iter().map(|handle| handle.epoch.0).collect()
    }

    #[test]
    fn what_an_epoch_that_was_given_up_changed_goes_into_the_next_record() {
        let mut assembler = Assembler::default();
        assembler.add(Epoch(2), part(2, false, &[whole(1, 20), whole(2, 20)]));
        assembler.add(Epoch(1), part(1, true, &[whole(0, 10), whole(1, 10)]));
        let record = assembler.record(Epoch(2), Mode::Continuous, 0);
        let table = &record.deltas[0].tables[0];
        assert!(table.full, "the older part was all there is");
        assert_eq!(table.chunks, [whole(0, 10), whole(1, 20), whole(2, 20)]);
        assert_eq!(epochs_of(&record.handles), [1, 2]);
    }

    #[test]
    fn what_is_added_to_a_chunk_goes_behind_what_was_given_up() {
        let mut assembler = Assembler::default();
        assembler.add(Epoch(1), part(1, false, &[whole(0, 10), added(1, 11), added(2, 12)]));
        assembler.add(Epoch(2), part(2, false, &[added(0, 20), added(1, 21), whole(2, 22), added(3, 23)]));
        let record = assembler.record(Epoch(2), Mode::Continuous, 0);
        let expected = [
            ChunkDelta::whole(0, vec![10, 20]),
            ChunkDelta::added(1, vec![11, 21]),
            whole(2, 22),
            added(3, 23),
        ];
        assert_eq!(record.deltas[0].tables[0].chunks, expected);
    }

    #[test]
    fn a_newer_full_table_replaces_the_older() {
        let mut assembler = Assembler::default();
        assembler.add(Epoch(1), part(1, false, &[whole(0, 10), whole(1, 10)]));
        assembler.add(Epoch(2), part(2, true, &[whole(1, 20)]));
        let record = assembler.record(Epoch(2), Mode::Continuous, 0);
        assert_eq!(record.deltas[0].tables[0].chunks, [whole(1, 20)]);
    }

    #[test]
    fn handles_stay_in_the_records_until_they_are_committed() {
        let mut assembler = Assembler::default();
        assembler.add(Epoch(1), part(1, true, &[whole(0, 10)]));
        assembler.add(Epoch(2), part(2, false, &[whole(0, 20)]));
        assembler.persisted(Epoch(1));
        let record = assembler.record(Epoch(2), Mode::Continuous, 0);
        assert_eq!(record.deltas[0].tables[0].chunks, [whole(0, 20)]);
        assert_eq!(epochs_of(&record.handles), [1, 2], "epoch 1 is durable and not committed");
        assembler.persisted(Epoch(2));
        assert_eq!(assembler.uncommitted(Epoch(1)).count(), 1);
        assembler.committed(Epoch(1));
        let record = assembler.record(Epoch(3), Mode::Continuous, 0);
        assert_eq!(epochs_of(&record.handles), [2]);
        assembler.committed(Epoch(2));
        assert!(assembler.record(Epoch(3), Mode::Continuous, 0).handles.is_empty());
    }
}
