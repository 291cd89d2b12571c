//! Real logs, written by the engine's own code, and what they hold.

use lotic::Mode;
use lotic::checkpoint::assemble::{Assembler, Part};
use lotic::checkpoint::log::{Log, Recovered, recover};
use lotic::checkpoint::record::{ChunkDelta, Handle, Image, InstanceDelta, Plan, QueryIdentity, TableDelta};
use lotic::connectors::Offsets;
use lotic::operators::Epoch;
use lotic::testing::FaultyStorage;
use std::collections::BTreeMap;

pub(crate) fn query(id: &str) -> QueryIdentity {
    let operators = BTreeMap::from([("count".to_owned(), "count by key".to_owned())]);
    QueryIdentity { id: id.to_owned(), operators }
}

/// What the only operator and the only sink give for an epoch. Each epoch changes one of five chunks, and adds to
/// another.
pub(crate) fn part(epoch: u64, full: bool) -> Part {
    let bytes = vec![epoch as u8; 1 + (epoch % 3) as usize];
    let whole = ChunkDelta::whole((epoch % 5) as u32, bytes.clone());
    let chunks = vec![whole, ChunkDelta::added(((epoch + 2) % 5) as u32, bytes)];
    let table = TableDelta { table: "counts".to_owned(), full, chunks };
    let delta =
        InstanceDelta { operator: "count".to_owned(), instance: 0, parallelism: 1, tables: vec![table] };
    let handle = Handle { sink: "out".to_owned(), epoch: Epoch(epoch), bytes: epoch.to_le_bytes().to_vec() };
    Part { deltas: vec![delta], handles: vec![handle] }
}

pub(crate) fn plan(epoch: u64) -> Plan {
    Plan {
        epoch: Epoch(epoch),
        ends: BTreeMap::from([("rows".to_owned(), Offsets::single("0", epoch * 10))]),
    }
}

/// A query that writes checkpoints, and what each of them holds.
pub(crate) struct History {
    pub(crate) storage: FaultyStorage,
    pub(crate) images: BTreeMap<Epoch, Image>,
    segment_bytes: u64,
    log: Option<Log>,
    assembler: Assembler,
    image: Image,
    next: u64,
    first_of_run: bool,
}

impl History {
    pub(crate) fn new(storage: FaultyStorage, segment_bytes: u64) -> History {
        let images = BTreeMap::from([(Epoch::NONE, Image::default())]);
        let mut history = History {
            storage,
            images,
            segment_bytes,
            log: None,
            assembler: Assembler::default(),
            image: Image::default(),
            next: 1,
            first_of_run: true,
        };
        history.restart().unwrap();
        history
    }

    /// A new process over the same place.
    pub(crate) fn restart(&mut self) -> lotic::Result<Option<Recovered>> {
        self.log = None;
        let mut storage = self.storage.clone();
        let recovered = recover(&mut storage)?;
        let mut log = Log::open(Box::new(storage), query("mine"), recovered.as_ref())?;
        log.set_segment_bytes(self.segment_bytes);
        self.log = Some(log);
        self.assembler = Assembler::default();
        self.image = recovered.as_ref().map_or_else(Image::default, |recovered| recovered.image.clone());
        self.next = recovered.as_ref().map_or(1, |recovered| recovered.next.0);
        self.first_of_run = true;
        Ok(recovered)
    }

    /// The newest durable epoch of this run.
    pub(crate) fn last(&self) -> Epoch {
        self.image.epoch
    }

    pub(crate) fn plan(&mut self) -> std::io::Result<()> {
        let next = self.next;
        self.log.as_mut().unwrap().append_plan(plan(next)).map(|_| ())
    }

    /// One epoch: gathered, persisted, committed. If it cannot be written its parts go into the next one.
    pub(crate) fn epoch(&mut self) -> std::io::Result<Epoch> {
        let epoch = Epoch(self.next);
        self.next += 1;
        self.assembler.add(epoch, part(epoch.0, std::mem::take(&mut self.first_of_run)));
        let record = self.assembler.record(epoch, Mode::Continuous, epoch.0 as i64);
        self.log.as_mut().unwrap().append_checkpoint(record.clone())?;
        self.assembler.persisted(epoch);
        self.assembler.committed(epoch);
        self.image.apply(record);
        self.images.insert(epoch, self.image.clone());
        Ok(epoch)
    }

    /// Seals the segment if it has grown enough; whether a base was written.
    pub(crate) fn compact(&mut self) -> lotic::Result<bool> {
        let sealed = self.log.as_mut().unwrap().seal(0);
        match sealed.map_err(|error| lotic::Error::external(error.to_string()))? {
            Some(compaction) => compaction.run().map(|_| true),
            None => Ok(false),
        }
    }

    /// So many epochs, some planned, with compaction.
    pub(crate) fn epochs(&mut self, count: u64) {
        for _ in 0..count {
            if self.next.is_multiple_of(3) {
                self.plan().unwrap();
            }
            self.epoch().unwrap();
            self.compact().unwrap();
        }
    }
}

/// A log of several runs, segments and bases, with a plan at its end.
pub(crate) fn rich() -> History {
    let mut history = History::new(FaultyStorage::new(1), 400);
    history.epochs(7);
    history.restart().unwrap();
    history.epochs(9);
    history.restart().unwrap();
    history.restart().unwrap();
    history.epochs(3);
    history.plan().unwrap();
    let names: Vec<String> = history.storage.files().into_keys().collect();
    assert!(names.iter().filter(|name| name.starts_with("base-")).count() >= 2, "{names:?}");
    assert!(names.iter().filter(|name| name.starts_with("log-")).count() >= 3, "{names:?}");
    history
}

/// Segments without a base.
pub(crate) fn segments() -> History {
    let mut history = History::new(FaultyStorage::new(2), u64::MAX);
    history.epochs(3);
    history.restart().unwrap();
    history.epochs(4);
    history.restart().unwrap();
    history.epochs(2);
    history
}
