//! Gathers the parts of epochs until they are persisted. Pure.
//!
//! Snapshots are changes, so those of an epoch that was given up must not be lost: they stay here and go
//! into the next record, as does what its sinks prepared. Each actor delivers its epochs in order.

use super::record::{Handle, InstanceDelta, Record, TableDelta};
use crate::query::Mode;
use lotic_operators::Epoch;
use std::collections::BTreeMap;

/// What one actor gives for one epoch.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// What changed in the operators that the actor runs.
    pub deltas: Vec<InstanceDelta>,
    /// What its sink prepared.
    pub handles: Vec<Handle>,
}

/// The parts not yet durable.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: Vec<(Epoch, Part)>,
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
        let mut handles = Vec::new();
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

    /// The record of this epoch is durable.
    pub fn persisted(&mut self, epoch: Epoch) {
        self.parts.retain(|(of, _)| *of > epoch);
    }
}

fn merge(earlier: &mut InstanceDelta, later: &InstanceDelta) {
    for table in &later.tables {
        match earlier.tables.iter_mut().find(|held| held.table == table.table) {
            Some(held) if !table.full => {
                let mut chunks: BTreeMap<u32, Vec<u8>> = std::mem::take(&mut held.chunks).into_iter().collect();
                chunks.extend(table.chunks.iter().cloned());
                held.chunks = chunks.into_iter().collect();
            }
            Some(held) => *held = table.clone(),
            None => earlier.tables.push(TableDelta::clone(table)),
        }
    }
}
