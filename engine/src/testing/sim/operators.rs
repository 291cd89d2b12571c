//! What runs in the simulated actors: two keyed counts with real state, and the sink.

use super::Check;
use super::outside::{Row, SUM, SharedStore};
use crate::checkpoint::record::Image;
use lotic_connectors::Prepare;
use lotic_operators::key::hash_of;
use lotic_operators::state::KeyedState;
use lotic_operators::{Epoch, Instance, Restore, Snapshot, TableSnapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const GROUPS: &str = "groups";

/// Counts by group, one chunk of a snapshot for each group.
#[derive(Debug)]
pub(super) struct Groups {
    counts: BTreeMap<u8, Count>,
    changed: BTreeSet<u8>,
    full: bool,
    groups: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    rows: u32,
    /// Rows of which the end of the input has not told yet.
    held: u32,
}

impl Groups {
    pub(super) fn new(groups: u8) -> Groups {
        Groups { counts: BTreeMap::new(), changed: BTreeSet::new(), full: true, groups }
    }

    fn add(&mut self, row: &mut Row) {
        let group = row.group(self.groups);
        let count = self.counts.entry(group).or_default();
        count.rows += 1;
        count.held += 1;
        row.of_group = count.rows;
        self.changed.insert(group);
    }

    fn finish(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (group, count) in &mut self.counts {
            let held = std::mem::take(&mut count.held);
            if held > 0 {
                self.changed.insert(*group);
                rows.push(Row { input: SUM, number: 0, key: *group, of_key: 0, of_group: held });
            }
        }
        rows
    }

    fn snapshot(&mut self) -> TableSnapshot {
        let full = std::mem::replace(&mut self.full, false);
        let changed = std::mem::take(&mut self.changed);
        let groups: Vec<u8> =
            if full { self.counts.keys().copied().collect() } else { changed.into_iter().collect() };
        let chunk = |group: u8| {
            let count = self.counts[&group];
            let mut bytes = vec![group];
            bytes.extend(count.rows.to_le_bytes());
            bytes.extend(count.held.to_le_bytes());
            (u32::from(group), Arc::new(bytes) as _)
        };
        let chunks = groups.into_iter().map(chunk).collect();
        TableSnapshot { table: GROUPS, full, chunks, entries: None }
    }

    fn restore(&mut self, restore: Restore<'_>) -> Check {
        for chunk in restore.image.chunks(GROUPS) {
            let [group, r0, r1, r2, r3, h0, h1, h2, h3] = chunk[..] else {
                return Err(format!("a chunk of {} bytes", chunk.len()));
            };
            if restore.instance.owns(hash_of(&group)) {
                let count = Count {
                    rows: u32::from_le_bytes([r0, r1, r2, r3]),
                    held: u32::from_le_bytes([h0, h1, h2, h3]),
                };
                if self.counts.insert(group, count).is_some() {
                    return Err(format!("group {group} is there twice"));
                }
            }
        }
        Ok(())
    }
}

/// What a stage does with rows.
#[derive(Debug)]
pub(super) enum Logic {
    Keys(KeyedState<u8, u32>),
    Groups(Groups),
    Pass,
    Sink { store: SharedStore, run: u32, shows_at_once: bool, rows: Vec<Row> },
}

/// What a stage gives at a marker.
pub(super) type Given = (Snapshot, Option<Prepare>);

impl Logic {
    pub(super) fn process(&mut self, mut rows: Vec<Row>) -> Vec<Row> {
        match self {
            Logic::Keys(state) => {
                for row in &mut rows {
                    let count = state.entry(hash_of(&row.key), &row.key, || 0);
                    *count += 1;
                    row.of_key = *count;
                }
            }
            Logic::Groups(groups) => rows.iter_mut().for_each(|row| groups.add(row)),
            Logic::Pass => {}
            Logic::Sink { rows: held, .. } => held.append(&mut rows),
        }
        rows
    }

    pub(super) fn finish(&mut self) -> Vec<Row> {
        match self {
            Logic::Groups(groups) => groups.finish(),
            _ => Vec::new(),
        }
    }

    pub(super) fn snapshot(&mut self, epoch: Epoch, instance: Instance) -> Given {
        match self {
            Logic::Keys(state) => (Snapshot { tables: vec![state.snapshot()] }, None),
            Logic::Groups(groups) => (Snapshot { tables: vec![groups.snapshot()] }, None),
            Logic::Pass => (Snapshot::empty(), None),
            Logic::Sink { rows, .. } if rows.is_empty() => (Snapshot::empty(), None),
            Logic::Sink { store, run, shows_at_once, rows } => {
                let (store, run, at_once, rows) = (store.clone(), *run, *shows_at_once, std::mem::take(rows));
                let prepare = move || {
                    let mut store = store.lock();
                    let handle = store.prepare(epoch, run, instance.index, rows);
                    if at_once {
                        let _ = store.commit(&handle);
                    }
                    Ok(handle)
                };
                (Snapshot::empty(), Some(Box::new(prepare)))
            }
        }
    }

    pub(super) fn restore(&mut self, image: &Image, name: &str, instance: Instance) -> Check {
        let state = image.state_of(name);
        let restore = Restore { image: &state, instance };
        match self {
            Logic::Keys(keys) => keys.restore(restore).map_err(|error| error.to_string()),
            Logic::Groups(groups) => groups.restore(restore),
            Logic::Pass | Logic::Sink { .. } => Ok(()),
        }
    }
}
