//! What a checkpoint consists of, and its frames on disk.
//!
//! A log is a sequence of frames: length and CRC-32 of the payload, four bytes each, little-endian, then
//! the payload, a [`Frame`] in postcard. A frame whose checksum fails ends what can be read of a file.
//! Lengths within a payload are trusted only after its checksum has been verified.

use crate::limits::FRAME_BYTES;
use crate::query::Mode;
use lotic_connectors::Offsets;
use lotic_operators::{Epoch, StateImage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// The version of the format that this code writes.
pub const VERSION: u32 = 1;

/// The query that a checkpoint location belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryIdentity {
    /// Made once, when the location is first used.
    pub id: String,
    /// The operators that keep something in checkpoints, by stable id, with what each is.
    pub operators: BTreeMap<String, String>,
}

/// The first frame of every segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`]. In every version the first field, so that a build can tell what it cannot read.
    pub version: u32,
    /// Whose checkpoints these are.
    pub query: QueryIdentity,
    /// The segment and the epoch in it after which this one continues; what follows there is void.
    pub continues: Option<(u64, Epoch)>,
    /// The newest epoch ever found durable here, void ones included: its number is not given again.
    pub seen: Epoch,
    /// How many of the frames behind this one were written with it, at once. They repeat what may not have
    /// been durable before.
    pub repeats: u32,
}

/// The changes of one operator instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDelta {
    /// The operator's stable id.
    pub operator: String,
    /// Which instance.
    pub instance: u32,
    /// Of how many.
    pub parallelism: u32,
    /// Its state tables.
    pub tables: Vec<TableDelta>,
}

/// The changes of one state table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDelta {
    /// Its name within the operator.
    pub table: String,
    /// Whether this is all there is.
    pub full: bool,
    /// New contents by chunk number.
    pub chunks: Vec<(u32, Vec<u8>)>,
}

/// What a sink prepared in an epoch and has to commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The sink's stable id.
    pub sink: String,
    /// The epoch it was prepared in; not later than the checkpoint's.
    pub epoch: Epoch,
    /// What its committer needs.
    pub bytes: Vec<u8>,
}

/// One checkpoint, as changes since the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which epoch it ends.
    pub epoch: Epoch,
    /// The mode the epoch ran in.
    pub mode: Mode,
    /// Wall time, microseconds since the Unix epoch.
    pub written_micros: i64,
    /// What changed.
    pub deltas: Vec<InstanceDelta>,
    /// What is to be committed.
    pub handles: Vec<Handle>,
}

/// The planned end of a micro-batch, written down before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which batch.
    pub epoch: Epoch,
    /// The planned end of each source, by stable id, all its instances together.
    pub ends: BTreeMap<String, Offsets>,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Begins a segment.
    Header(Header),
    /// A checkpoint.
    Checkpoint(Record),
    /// A planned micro-batch.
    Plan(Plan),
}

/// Appends a frame.
///
/// # Errors
/// If it is longer than [`FRAME_BYTES`], which no reader would accept; `bytes` are as they were.
pub fn write_frame(frame: &Frame, bytes: &mut Vec<u8>) -> io::Result<()> {
    write_frame_within(frame, bytes, FRAME_BYTES)
}

fn write_frame_within(frame: &Frame, bytes: &mut Vec<u8>, bytes_max: usize) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 8]);
    let buffer = std::mem::take(bytes);
    *bytes =
        postcard::to_extend(frame, buffer).expect("invariant: frames hold plain data and can be encoded");
    let length = bytes.len() - start - 8;
    if length > bytes_max {
        bytes.truncate(start);
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the record has {length} bytes, more than the {bytes_max} that one record may have"),
        ));
    }
    let checksum = crc32fast::hash(&bytes[start + 8..]);
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// The frames of a file up to the first that is not whole.
#[derive(Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Reads from the beginning.
    pub fn new(bytes: &'a [u8]) -> Frames<'a> {
        Frames { bytes, at: 0 }
    }

    /// Where the next frame begins; after the last whole frame, where the damage begins.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The version in the header of a file, also if this build cannot read the rest; `None` if the next
    /// frame is not a whole header.
    pub fn version(&self) -> Option<u32> {
        let (header, rest) = postcard::take_from_bytes::<u32>(self.payload()?).ok()?;
        // The position of `Header` among the variants of `Frame`.
        if header != 0 {
            return None;
        }
        postcard::take_from_bytes::<u32>(rest).ok().map(|(version, _)| version)
    }

    /// The next frame's bytes, if they are whole.
    fn payload(&self) -> Option<&'a [u8]> {
        let head = self.bytes.get(self.at..self.at + 8)?;
        let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        let checksum = u32::from_le_bytes(head[4..].try_into().ok()?);
        if length > FRAME_BYTES {
            return None;
        }
        let payload = self.bytes.get(self.at + 8..self.at + 8 + length)?;
        (crc32fast::hash(payload) == checksum).then_some(payload)
    }

    fn read(&self) -> Option<(Frame, usize)> {
        let payload = self.payload()?;
        let frame = postcard::from_bytes(payload).ok()?;
        Some((frame, self.at + 8 + payload.len()))
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let (frame, end) = self.read()?;
        self.at = end;
        Some(frame)
    }
}

/// A checkpoint, whole: what the records up to an epoch add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The epoch; [`Epoch::NONE`] if nothing was ever checkpointed.
    pub epoch: Epoch,
    /// What the sinks have to commit (again) before anything else.
    pub handles: Vec<Handle>,
    /// State by operator.
    operators: BTreeMap<String, OperatorImage>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OperatorImage {
    parallelism: u32,
    instances: BTreeMap<u32, BTreeMap<String, BTreeMap<u32, Vec<u8>>>>,
}

impl Image {
    /// Adds a record.
    pub fn apply(&mut self, record: Record) {
        self.epoch = record.epoch;
        self.handles = record.handles;
        for delta in record.deltas {
            let operator = self.operators.entry(delta.operator).or_default();
            if operator.parallelism != delta.parallelism {
                // The first checkpoint after a change of parallelism is a full one of every instance.
                operator.parallelism = delta.parallelism;
                operator.instances.clear();
            }
            let tables = operator.instances.entry(delta.instance).or_default();
            for table in delta.tables {
                let chunks = tables.entry(table.table).or_default();
                if table.full {
                    chunks.clear();
                }
                chunks.extend(table.chunks);
            }
        }
    }

    /// Forgets the state of all operators but these: what a query has left behind does not come back if it has an
    /// operator of that id again.
    pub fn keep(&mut self, operators: &BTreeMap<String, String>) {
        self.operators.retain(|name, _| operators.contains_key(name));
    }

    /// The state of an operator: the chunks of all instances.
    pub fn state_of(&self, operator: &str) -> StateImage {
        let mut image = StateImage::default();
        let Some(found) = self.operators.get(operator) else { return image };
        for (table, chunks) in found.instances.values().flatten() {
            image.tables.entry(table.clone()).or_default().extend(chunks.values().cloned());
        }
        image
    }

    /// The operators that the image holds state of, with the bytes of each.
    pub fn operators(&self) -> impl Iterator<Item = (&str, usize)> {
        self.operators.iter().map(|(name, operator)| {
            let tables = operator.instances.values().flat_map(BTreeMap::values);
            (name.as_str(), tables.flat_map(BTreeMap::values).map(Vec::len).sum())
        })
    }

    /// The image as one record, for a base segment.
    pub fn into_record(self, mode: Mode, written_micros: i64) -> Record {
        let mut deltas = Vec::new();
        for (name, operator) in self.operators {
            for (instance, tables) in operator.instances {
                let tables = tables
                    .into_iter()
                    .map(|(table, chunks)| TableDelta {
                        table,
                        full: true,
                        chunks: chunks.into_iter().collect(),
                    })
                    .collect();
                deltas.push(InstanceDelta {
                    operator: name.clone(),
                    instance,
                    parallelism: operator.parallelism,
                    tables,
                });
            }
        }
        Record { epoch: self.epoch, mode, written_micros, deltas, handles: self.handles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32) -> Frame {
        let query = QueryIdentity { id: "q".to_owned(), operators: BTreeMap::new() };
        Frame::Header(Header { version, query, continues: None, seen: Epoch(3), repeats: 0 })
    }

    #[test]
    fn the_version_is_read_also_where_the_rest_is_unknown() {
        let mut bytes = Vec::new();
        write_frame(&header(7), &mut bytes).unwrap();
        assert_eq!(Frames::new(&bytes).version(), Some(7));
        let payload = [0, 9, 250, 251, 252];
        let mut foreign = (payload.len() as u32).to_le_bytes().to_vec();
        foreign.extend(crc32fast::hash(&payload).to_le_bytes());
        foreign.extend(payload);
        assert_eq!(Frames::new(&foreign).version(), Some(9));
        assert!(Frames::new(&foreign).next().is_none());
        foreign[9] = 8;
        assert_eq!(Frames::new(&foreign).version(), None, "the checksum does not hold");
        let mut plan = Vec::new();
        write_frame(&Frame::Plan(Plan { epoch: Epoch(1), ends: BTreeMap::new() }), &mut plan).unwrap();
        assert_eq!(Frames::new(&plan).version(), None);
    }

    #[test]
    fn a_frame_that_no_reader_would_accept_is_not_written() {
        let mut bytes = vec![1, 2, 3];
        let error = write_frame_within(&header(1), &mut bytes, 4).unwrap_err();
        assert!(error.to_string().contains("more than the 4"), "{error}");
        assert_eq!(bytes, [1, 2, 3]);
    }
}
