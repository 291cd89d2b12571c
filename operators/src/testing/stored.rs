//! A checkpoint in memory.

use crate::snapshot::{Snapshot, StateImage};
use std::collections::BTreeMap;

/// What was stored for one operator: the bytes of each chunk, as the engine's checkpoint log keeps them.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    tables: BTreeMap<&'static str, BTreeMap<u32, Vec<u8>>>,
}

impl Stored {
    /// Takes in a snapshot.
    ///
    /// # Panics
    /// If a chunk cannot be encoded.
    pub fn store(&mut self, snapshot: &Snapshot) {
        for table in &snapshot.tables {
            let stored = self.tables.entry(table.table).or_default();
            if table.full {
                stored.clear();
            }
            for (number, chunk) in &table.chunks {
                let bytes = stored.entry(*number).or_default();
                if !chunk.adds() {
                    bytes.clear();
                }
                chunk.encode(bytes).expect("the snapshot can be encoded");
            }
        }
    }

    /// What a restore reads.
    pub fn image(&self) -> StateImage {
        Stored::image_of([self])
    }

    /// What a restore reads of a checkpoint that several instances wrote.
    pub fn image_of<'a>(instances: impl IntoIterator<Item = &'a Stored>) -> StateImage {
        let mut image = StateImage::default();
        for (name, chunks) in instances.into_iter().flat_map(|stored| &stored.tables) {
            let all = image.tables.entry((*name).to_owned()).or_default();
            all.extend(chunks.values().cloned());
        }
        image
    }
}
