//! Looking at a checkpoint location without changing it, also while a query writes to it.

use super::log::recover;
use super::read::{
    Link, Recovered, Segment, base_name, chain, log_name, number_of, numbers, replay, segment,
};
use super::record::{Frame, Image, QueryIdentity};
use super::storage::CheckpointStorage;
use crate::error::{Error, Result};
use crate::query::Mode;
use crate::runtime::build::offsets_of;
use lotic_connectors::Offsets;
use lotic_operators::{Epoch, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What a checkpoint location holds.
#[derive(Debug)]
pub struct Contents {
    /// The query it belongs to; none if no file of it can be read.
    pub query: Option<QueryIdentity>,
    /// Every file, in the order in which they were written.
    pub files: Vec<FileContents>,
    /// Every epoch of which something can be read, oldest first.
    pub epochs: Vec<EpochContents>,
    /// The epoch from which a restart goes on; [`Epoch::NONE`] if it begins anew, none if it is refused.
    pub resume: Option<Epoch>,
    /// A micro-batch that was planned and not finished.
    pub planned: Option<Epoch>,
    /// What is damaged, by file, as a restart would say it.
    pub warnings: Vec<String>,
    /// Epochs that stand in another file as well.
    repeated: Vec<EpochContents>,
}

/// One file of a checkpoint location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContents {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: usize,
    /// The byte from which it cannot be read: damage, or a write that was interrupted or is under way.
    pub damaged_from: Option<usize>,
}

/// One epoch in a checkpoint location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochContents {
    /// Which.
    pub epoch: Epoch,
    /// When it was written; none where that is no longer known.
    pub written: Option<Timestamp>,
    /// The mode it ran in; none where that is no longer known.
    pub mode: Option<Mode>,
    /// Bytes of the changes it holds; for a base, of all state.
    pub bytes: usize,
    /// The file it stands in.
    pub file: String,
    /// Whether all that it builds upon can be read as well.
    pub whole: bool,
}

/// One checkpoint, restored in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// The query it belongs to.
    pub query: QueryIdentity,
    /// The epoch.
    pub epoch: Epoch,
    /// Every operator that keeps something.
    pub operators: Vec<OperatorContents>,
    /// What sinks have prepared and may still have to commit: sink, epoch, bytes of the handle.
    pub pending: Vec<(String, Epoch, usize)>,
}

/// What a checkpoint holds of one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorContents {
    /// Its stable id.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Bytes of its state.
    pub bytes: usize,
    /// Where it stands, if it is a source.
    pub offsets: Option<Offsets>,
}

/// Reads every file of a location, checks every checksum, and says from where a restart would go on. `None`
/// if there is nothing.
///
/// # Errors
/// If files cannot be read or are of another version. Damage is not an error here.
pub fn contents(storage: &mut dyn CheckpointStorage) -> Result<Option<Contents>> {
    let place = storage.place();
    let names = storage
        .list()
        .map_err(|error| Error::external(format!("checkpoint location `{place}` cannot be read: {error}")))?;
    let (logs, bases) = (numbers(&names, "log-"), numbers(&names, "base-"));
    if logs.is_empty() && bases.is_empty() {
        return Ok(None);
    }
    let mut found = Contents {
        query: None,
        files: Vec::new(),
        epochs: Vec::new(),
        resume: None,
        planned: None,
        warnings: Vec::new(),
        repeated: Vec::new(),
    };
    for number in logs.union(&bases) {
        for (name, present) in [(base_name(*number), &bases), (log_name(*number), &logs)] {
            if present.contains(number) {
                found.read_file(storage, name)?;
            }
        }
    }
    match recover(storage) {
        Ok(Some(recovered)) => {
            found.resume = Some(recovered.image.epoch);
            found.planned = recovered.plan.map(|plan| plan.epoch);
            found.warnings = recovered.warnings;
            found.query = Some(recovered.query);
        }
        Ok(None) => found.resume = Some(Epoch::NONE),
        Err(error) => found.warnings.push(error.to_string()),
    }
    found.tell_whole(storage, &bases)?;
    Ok(Some(found))
}

impl Contents {
    fn read_file(&mut self, storage: &mut dyn CheckpointStorage, name: String) -> Result<()> {
        let Some(Segment { header, frames, damage }) = segment(storage, &name)? else {
            let bytes = storage.read(&name).map_or(0, |bytes| bytes.len());
            self.files.push(FileContents { name, bytes, damaged_from: Some(0) });
            return Ok(());
        };
        let bytes = damage.map_or_else(|| storage.read(&name).map_or(0, |bytes| bytes.len()), |(_, end)| end);
        self.query.get_or_insert(header.query);
        for frame in frames {
            let Frame::Checkpoint(record) = frame else { continue };
            let chunks = record.deltas.iter().flat_map(|delta| &delta.tables).flat_map(|table| &table.chunks);
            let is_base = name.starts_with("base-");
            let entry = EpochContents {
                epoch: record.epoch,
                written: (!is_base).then_some(Timestamp(record.written_micros)),
                mode: (!is_base).then_some(record.mode),
                bytes: chunks.map(|chunk| chunk.bytes().len()).sum(),
                file: name.clone(),
                whole: false,
            };
            match self.epochs.iter_mut().find(|known| known.epoch == entry.epoch) {
                // A base repeats an epoch and a new segment may: the first that knows its time is shown.
                Some(known) => {
                    let known_time = known.written.is_some();
                    self.repeated.push(if known_time { entry } else { std::mem::replace(known, entry) });
                }
                None => self.epochs.push(entry),
            }
        }
        self.files.push(FileContents { name, bytes, damaged_from: damage.map(|(at, _)| at) });
        Ok(())
    }

    fn tell_whole(&mut self, storage: &mut dyn CheckpointStorage, bases: &BTreeSet<u64>) -> Result<()> {
        self.epochs.sort_by_key(|entry| entry.epoch);
        let Some(resume) = self.resume else { return Ok(()) };
        // Of each file that leads back to a beginning: up to which epoch it counts.
        let mut counts: BTreeMap<String, Option<Epoch>> = BTreeMap::new();
        for file in self.files.iter().rev() {
            let Some(number) = number_of(&file.name) else { continue };
            if file.name == base_name(number) {
                counts.insert(file.name.clone(), None);
            } else if !counts.contains_key(&file.name)
                && let Some(head) = segment(storage, &file.name)?
                && let Ok((_, links)) = chain(storage, number, head, bases, &mut Vec::new())
            {
                for (number, _, until) in links {
                    counts.entry(log_name(number)).or_insert(until);
                }
            }
        }
        let counts = |entry: &EpochContents| {
            let until = counts.get(&entry.file);
            entry.epoch <= resume && until.is_some_and(|until| until.is_none_or(|end| entry.epoch <= end))
        };
        for entry in &mut self.epochs {
            entry.whole = counts(entry);
            let again = self.repeated.iter().find(|again| again.epoch == entry.epoch && counts(again));
            if let Some(again) = again.filter(|_| !entry.whole) {
                // A restart wrote the epoch anew: that one is what counts.
                let (written, mode) = (again.written.or(entry.written), again.mode.or(entry.mode));
                *entry = EpochContents { written, mode, whole: true, ..again.clone() };
            }
        }
        Ok(())
    }

    /// Whether a restart goes on from the newest epoch there is, and nothing at all is damaged behind it.
    pub fn newest_is_whole(&self) -> bool {
        let newest = self.epochs.last().map_or(Epoch::NONE, |entry| entry.epoch);
        let torn = self.files.last().is_some_and(|file| file.damaged_from.is_some());
        self.resume.is_some_and(|resume| resume >= newest) && !torn
    }
}

/// A checkpoint of a location, the newest whole one if `epoch` is `None`.
///
/// # Errors
/// If there is nothing, the epoch is not there or no longer there, or what it builds upon is damaged.
pub fn checkpoint(storage: &mut dyn CheckpointStorage, epoch: Option<Epoch>) -> Result<Checkpoint> {
    let place = storage.place();
    let (query, image) = match epoch {
        Some(epoch) => image_at(storage, epoch)?,
        None => match recover(storage)? {
            Some(recovered) => (recovered.query, recovered.image),
            None => return Err(Error::user(format!("`{place}` holds no checkpoint"))),
        },
    };
    let bytes: BTreeMap<&str, usize> = image.operators().collect();
    let mut operators = Vec::new();
    for (name, kind) in &query.operators {
        let offsets = Some(offsets_of(&image, name)?).filter(|offsets| !offsets.0.is_empty());
        let bytes = bytes.get(name.as_str()).copied().unwrap_or(0);
        operators.push(OperatorContents { name: name.clone(), kind: kind.clone(), bytes, offsets });
    }
    let pending =
        image.handles.iter().map(|handle| (handle.sink.clone(), handle.epoch, handle.bytes.len())).collect();
    Ok(Checkpoint { epoch: image.epoch, operators, pending, query })
}

/// The image of an epoch that is not necessarily the newest.
pub(super) fn image_at(storage: &mut dyn CheckpointStorage, epoch: Epoch) -> Result<(QueryIdentity, Image)> {
    let place = storage.place();
    let names = storage
        .list()
        .map_err(|error| Error::external(format!("checkpoint location `{place}` cannot be read: {error}")))?;
    let bases = numbers(&names, "base-");
    let mut nearest = (Epoch::NONE, Epoch::NONE);
    for newest in numbers(&names, "log-").into_iter().rev() {
        let Some(head) = segment(storage, &log_name(newest))? else { continue };
        let query = head.header.query.clone();
        let mut warnings = Vec::new();
        let Ok((image, links)) = chain(storage, newest, head, &bases, &mut warnings) else { continue };
        let from = image.epoch;
        let mut found = Recovered::new(query.clone(), image, newest, warnings);
        let up_to = |(number, segment, until): Link| {
            (number, segment, Some(until.map_or(epoch, |until| until.min(epoch))))
        };
        replay(&mut found, links.into_iter().map(up_to).collect(), &place);
        if found.image.epoch == epoch && from <= epoch {
            return Ok((query, found.image));
        }
        nearest = (from, nearest.1.max(found.image.epoch));
    }
    Err(Error::user(format!(
        "`{place}` holds no whole checkpoint of epoch {epoch}: the nearest before it is {}, and what precedes \
         {} is no longer kept; `lotic checkpoint ls` lists them",
        nearest.1, nearest.0
    )))
}

/// A local folder, opened for looking only: no lock is taken, nothing is made or removed.
#[derive(Debug)]
pub struct LocalReader(PathBuf);

impl LocalReader {
    /// Opens the folder.
    ///
    /// # Errors
    /// If it is not there or is not a folder.
    pub fn open(folder: &Path) -> Result<LocalReader> {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => Ok(LocalReader(folder.to_owned())),
            Ok(_) => Err(Error::user(format!("`{}` is a file: name a checkpoint folder", folder.display()))),
            Err(error) => Err(Error::user(format!("checkpoint folder `{}`: {error}", folder.display()))),
        }
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only"))
}

impl CheckpointStorage for LocalReader {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.0.join(name))
    }

    fn append(&mut self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn put(&mut self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn remove(&mut self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>> {
        Ok(Box::new(LocalReader(self.0.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::log::Log;
    use crate::checkpoint::record::{ChunkDelta, InstanceDelta, Record, TableDelta};
    use crate::checkpoint::storage::MemoryStorage;

    fn written(epochs: u64) -> MemoryStorage {
        let storage = MemoryStorage::default();
        let operators = BTreeMap::from([("count".to_owned(), "aggregate".to_owned())]);
        let query = QueryIdentity { id: "q".to_owned(), operators };
        let mut log = Log::open(Box::new(storage.clone()), query, None).unwrap();
        for epoch in 1..=epochs {
            let table = TableDelta {
                table: "t".to_owned(),
                full: false,
                chunks: vec![ChunkDelta::whole(epoch as u32, vec![7; 10])],
            };
            let delta = InstanceDelta {
                operator: "count".to_owned(),
                instance: 0,
                parallelism: 1,
                tables: vec![table],
            };
            log.append_checkpoint(Record {
                epoch: Epoch(epoch),
                mode: Mode::Continuous,
                written_micros: epoch as i64,
                deltas: vec![delta],
                handles: Vec::new(),
            })
            .unwrap();
        }
        storage
    }

    #[test]
    fn every_epoch_is_listed_and_can_be_shown_as_it_was() {
        let mut storage = written(3);
        let found = contents(&mut storage).unwrap().unwrap();
        let epochs: Vec<_> = found.epochs.iter().map(|entry| (entry.epoch.0, entry.whole)).collect();
        assert_eq!(epochs, [(1, true), (2, true), (3, true)]);
        assert_eq!((found.resume, found.newest_is_whole()), (Some(Epoch(3)), true));
        let bytes =
            |storage: &mut MemoryStorage, epoch| checkpoint(storage, epoch).unwrap().operators[0].bytes;
        assert_eq!(bytes(&mut storage, Some(Epoch(2))), 20);
        assert_eq!(bytes(&mut storage, None), 30);
        let error = checkpoint(&mut storage, Some(Epoch(9))).unwrap_err().to_string();
        assert!(error.contains("epoch 9") && error.contains("before it is 3"), "{error}");
        assert!(contents(&mut MemoryStorage::default()).unwrap().is_none());
    }

    #[test]
    fn damage_shows_from_where_on_nothing_can_be_used() {
        let mut storage = written(3);
        let name = log_name(0);
        let mut bytes = storage.read(&name).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        storage.put(&name, &bytes).unwrap();
        let found = contents(&mut storage).unwrap().unwrap();
        assert_eq!(found.resume, Some(Epoch(2)));
        assert!(!found.newest_is_whole() && found.files[0].damaged_from.is_some());
        assert!(found.warnings[0].contains("falling back to epoch 2"), "{:?}", found.warnings);
        storage.put(&name, b"nonsense").unwrap();
        let found = contents(&mut storage).unwrap().unwrap();
        assert_eq!((found.resume, found.epochs.len(), found.newest_is_whole()), (None, 0, false));
        assert!(checkpoint(&mut storage, None).is_err());
    }
}
