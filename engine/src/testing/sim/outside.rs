//! The world around the simulated query, which outlives its crashes: the inputs, what the sinks prepared and
//! committed, and all that the checks have to remember.

use super::setup::Setup;
use super::{Check, Tally, broken};
use crate::checkpoint::align::Consistency;
use crate::testing::random::Random;
use crate::testing::storage::FaultyStorage;
use lotic_connectors::memory::{self, MemorySource, MemoryStream};
use lotic_connectors::{Committer, ConnectorError, Offsets};
use lotic_operators::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The input number of a row that an operator made when the input had ended.
pub(super) const SUM: u8 = u8::MAX;

/// What flows through the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) input: u8,
    /// Its place in the input.
    pub(super) number: u32,
    pub(super) key: u8,
    /// Set by the first operator: how many rows of the key it has seen.
    pub(super) of_key: u32,
    /// Set by the second operator: how many rows of the group it has seen.
    pub(super) of_group: u32,
}

impl Row {
    pub(super) fn group(&self, groups: u8) -> u8 {
        self.key % groups
    }
}

/// What one sink instance prepared in one epoch of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    epoch: u64,
    run: u32,
    instance: u32,
}

impl Part {
    fn encode(self) -> Vec<u8> {
        let mut bytes = self.epoch.to_le_bytes().to_vec();
        bytes.extend(self.run.to_le_bytes());
        bytes.extend(self.instance.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Part {
        let number = |at: usize, length: usize| {
            bytes[at..at + length].iter().rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        Part { epoch: number(0, 8), run: number(8, 4) as u32, instance: number(12, 4) as u32 }
    }
}

/// What the sinks of the query wrote.
#[derive(Debug)]
pub(super) struct Store {
    exactly_once: bool,
    prepared: BTreeMap<Part, Vec<Row>>,
    shown: BTreeSet<Part>,
    committed: Vec<Row>,
    seen: BTreeSet<(u8, u32)>,
    newest: Epoch,
    random: Random,
    /// Let so many more commits happen, then die or fail.
    pub(super) dies_after: Option<u32>,
    pub(super) fails: u32,
    pub(super) dead: bool,
    pub(super) faults: u64,
    pub(super) violation: Option<String>,
}

/// The store as sinks and the committer hold it.
#[derive(Debug, Clone)]
pub(super) struct SharedStore(Arc<Mutex<Store>>);

impl SharedStore {
    pub(super) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The slow part of a pre-commit.
    pub(super) fn prepare(&mut self, epoch: Epoch, run: u32, instance: usize, rows: Vec<Row>) -> Vec<u8> {
        let part = Part { epoch: epoch.0, run, instance: instance as u32 };
        self.prepared.insert(part, rows);
        part.encode()
    }

    fn show(&mut self, part: Part, rows: Vec<Row>) {
        self.shown.insert(part);
        if Epoch(part.epoch) < self.newest {
            self.violation = Some(format!("epoch {} was committed after epoch {}", part.epoch, self.newest));
        }
        self.newest = Epoch(part.epoch);
        for row in rows {
            let new = row.input == SUM || self.seen.insert((row.input, row.number));
            if !new && self.exactly_once {
                self.violation = Some(format!("{row:?} was committed twice, now in epoch {}", part.epoch));
            }
            self.committed.push(row);
        }
    }

    pub(super) fn commit(&mut self, handle: &[u8]) -> Result<(), String> {
        let part = Part::decode(handle);
        if self.dead {
            return Err("the process is dead".to_owned());
        }
        if self.fails > 0 {
            (self.fails, self.faults) = (self.fails - 1, self.faults + 1);
            return Err("the outside refuses".to_owned());
        }
        let dies = self.dies_after == Some(0);
        self.dies_after = self.dies_after.and_then(|left| left.checked_sub(1));
        if dies {
            (self.dead, self.faults) = (true, self.faults + 1);
            if self.random.once_in(2) {
                return Err("the process died before the commit".to_owned());
            }
        }
        match self.prepared.remove(&part) {
            Some(rows) => self.show(part, rows),
            None if self.shown.contains(&part) => {}
            None => self.violation = Some(format!("{part:?} is to be committed and was never prepared")),
        }
        if dies { Err("the process died after the commit".to_owned()) } else { Ok(()) }
    }
}

impl Committer for SharedStore {
    fn last_committed(&mut self) -> lotic_connectors::Result<Epoch> {
        Ok(self.lock().newest)
    }

    fn commit(&mut self, _epoch: Epoch, handles: &[&[u8]]) -> lotic_connectors::Result<()> {
        let mut store = self.lock();
        let commit = |handle: &&[u8]| store.commit(handle);
        handles.iter().try_for_each(commit).map_err(|cause| ConnectorError::external("commit", cause))
    }

    fn abort_prepared(&mut self) -> lotic_connectors::Result<()> {
        self.lock().prepared.clear();
        Ok(())
    }
}

/// From where to where the partitions of the inputs were read in a batch.
type Ranges = BTreeMap<(u8, String), (u64, u64)>;

/// Everything outside the process.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) disk: FaultyStorage,
    pub(super) sources: Vec<MemorySource<Row>>,
    streams: Vec<Option<MemoryStream<Row>>>,
    fed: Vec<u32>,
    pub(super) store: SharedStore,
    /// The newest epoch that was reported durable.
    pub(super) durable: Epoch,
    /// The newest epoch that was reported committed.
    completed: Epoch,
    batches: BTreeMap<Epoch, Ranges>,
    pub(super) now_us: u64,
    pub(super) tally: Tally,
    pub(super) trace: Option<Vec<String>>,
}

impl Outside {
    pub(super) fn new(setup: &Setup, random: &mut Random, traced: bool) -> Outside {
        let named = |(number, partitions): (usize, &usize)| {
            memory::stream::<Row>(format!("input-{number}"), *partitions)
        };
        let (streams, sources): (Vec<_>, Vec<_>) = setup.partitions.iter().enumerate().map(named).unzip();
        let store = Store {
            exactly_once: setup.consistency == Consistency::ExactlyOnce,
            prepared: BTreeMap::new(),
            shown: BTreeSet::new(),
            committed: Vec::new(),
            seen: BTreeSet::new(),
            newest: Epoch::NONE,
            random: Random::new(random.bits()),
            dies_after: None,
            fails: 0,
            dead: false,
            faults: 0,
            violation: None,
        };
        Outside {
            disk: FaultyStorage::new(random.bits()),
            fed: vec![0; sources.len()],
            sources,
            streams: streams.into_iter().map(Some).collect(),
            store: SharedStore(Arc::new(Mutex::new(store))),
            durable: Epoch::NONE,
            completed: Epoch::NONE,
            batches: BTreeMap::new(),
            now_us: 0,
            tally: Tally::default(),
            trace: traced.then(Vec::new),
        }
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} us  {}", self.now_us, what()));
        }
    }

    /// Adds rows to an input; ends it when all are there.
    pub(super) fn feed(&mut self, setup: &Setup, input: usize, rows_max: u32) {
        let Some(stream) = &self.streams[input] else { return };
        let end = self.fed[input].saturating_add(rows_max).min(setup.rows);
        stream.add((self.fed[input]..end).map(|number| row(setup, input as u8, number)));
        self.fed[input] = end;
        if end == setup.rows {
            self.streams[input] = None;
        }
    }

    /// How many rows of each input are there now.
    pub(super) fn fed(&self) -> Vec<u32> {
        self.fed.clone()
    }

    /// Whether so many rows of each input are committed, in no particular order.
    pub(super) fn has_committed(&self, rows: &[u32]) -> bool {
        let store = self.store.lock();
        let mut all =
            rows.iter().zip(0u8..).flat_map(|(&end, input)| (0..end).map(move |number| (input, number)));
        all.all(|row| store.seen.contains(&row))
    }

    /// An epoch is durable.
    pub(super) fn persisted(&mut self, epoch: Epoch) -> Check {
        if epoch <= self.durable {
            return broken(format!("epoch {epoch} became durable after epoch {}", self.durable));
        }
        self.durable = epoch;
        Ok(())
    }

    /// The coordinator says that an epoch is over.
    pub(super) fn completed(&mut self, epoch: Epoch) -> Check {
        if epoch <= self.completed || epoch > self.durable {
            return broken(format!(
                "epoch {epoch} is said to be committed; before it was {}, durable is {}",
                self.completed, self.durable
            ));
        }
        self.completed = epoch;
        self.tally.epochs += 1;
        Ok(())
    }

    /// A source has read its part of a batch: the same as in an earlier attempt at it, and as planned.
    pub(super) fn batch(
        &mut self,
        epoch: Epoch,
        input: u8,
        (from, to): (&Offsets, &Offsets),
        until: &Offsets,
    ) -> Check {
        let ranges = self.batches.entry(epoch).or_default();
        for (partition, to) in &to.0 {
            let from = from.get(partition).unwrap_or(0);
            if until.get(partition) != Some(*to) {
                return broken(format!(
                    "batch {epoch} read partition {partition} of input {input} up to {to}, planned was {until}"
                ));
            }
            let range = (from, *to);
            if let Some(before) = ranges.insert((input, partition.clone()), range) {
                self.tally.reruns += 1;
                if before != range {
                    return broken(format!(
                        "batch {epoch} held rows {before:?} of partition {partition} of input {input} and \
                         holds {range:?} when run again"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The query has come to its end: compares what was committed with what an uninterrupted run gives.
    pub(super) fn verify(&self, setup: &Setup) -> Check {
        let store = self.store.lock();
        let inputs = setup.partitions.len();
        if store.seen.len() != inputs * setup.rows as usize {
            let all = (0..inputs).flat_map(|input| (0..setup.rows).map(move |number| (input as u8, number)));
            let lost: Vec<_> = all.filter(|row| !store.seen.contains(row)).collect();
            return broken(format!("lost: {lost:?}"));
        }
        if !store.exactly_once {
            return Ok(());
        }
        let (mut of_key, mut of_group) = (BTreeMap::new(), BTreeMap::new());
        let (mut sums, mut last) = (BTreeMap::new(), BTreeMap::new());
        for row in &store.committed {
            let group = row.group(setup.groups);
            if row.input == SUM {
                *sums.entry(group).or_insert(0) += row.of_group;
                continue;
            }
            of_key.entry(row.key).or_insert_with(Vec::new).push(row.of_key);
            of_group.entry(group).or_insert_with(Vec::new).push(row.of_group);
            let partition = row.number as usize % setup.partitions[usize::from(row.input)];
            let before = last.insert((row.input, partition, row.key), row.number);
            if before.is_some_and(|before| before > row.number) {
                return broken(format!("{row:?} was committed after number {before:?} of its key"));
            }
        }
        for (what, counts) in [("key", of_key), ("group", of_group)] {
            for (name, mut counts) in counts {
                counts.sort_unstable();
                if !counts.iter().copied().eq(1..=counts.len() as u32) {
                    return broken(format!("{what} {name} was counted {counts:?}"));
                }
                if what == "group" && sums.remove(&name) != Some(counts.len() as u32) {
                    return broken(format!("the end of {what} {name} is missing or wrong"));
                }
            }
        }
        Ok(())
    }
}

fn row(setup: &Setup, input: u8, number: u32) -> Row {
    let mixed = (u64::from(number) << 8 | u64::from(input)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    Row { input, number, key: (mixed % u64::from(setup.keys)) as u8, of_key: 0, of_group: 0 }
}
