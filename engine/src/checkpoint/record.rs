//! What a checkpoint consists of, and its frames on disk.
//!
//! A log is a sequence of frames: length and CRC-32 of the payload, four bytes each, little-endian, then
//! the payload, a [`Frame`] in postcard. A long one is written in pieces, each with a length and a checksum of its
//! own; the highest bit of a length says that another piece follows. A frame of which a checksum fails ends what can
//! be read of a file. Lengths within a payload are trusted only after its checksums have been verified.

use crate::limits::PIECE_BYTES;
use crate::query::Mode;
use lotic_connectors::Offsets;
use lotic_operators::{Epoch, StateImage};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The version of the format that this code writes. It reads all up to this one: in version 1 nothing was ever added to
/// a chunk.
pub const VERSION: u32 = 2;

/// What the names end in under which the runtime keeps what it knows of an operator itself.
const RUNTIME: &str = "#runtime";

/// The name under which the actor that runs an operator keeps what it knows itself.
pub(crate) fn runtime_state_of(operator: &str) -> String {
    format!("{operator}{RUNTIME}")
}

/// Bytes of length and checksum.
const HEAD_BYTES: usize = 8;
/// In a length: another piece of the frame follows.
const GOES_ON: u32 = 1 << 31;

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
    /// The chunks that changed, each once.
    pub chunks: Vec<ChunkDelta>,
}

/// The changes of one chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkDelta {
    /// The number, and in the highest bit whether the bytes are added.
    place: u32,
    // At once: byte by byte took half the time of a compaction.
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// In a [`ChunkDelta::place`]: the bytes are added to those that are there.
const ADDED: u32 = 1 << 31;

impl ChunkDelta {
    /// Bytes that replace those of a chunk.
    ///
    /// # Panics
    /// If the number is 2^31 or more.
    pub fn whole(number: u32, bytes: Vec<u8>) -> ChunkDelta {
        assert!(number < ADDED, "a table has fewer than 2^31 chunks");
        ChunkDelta { place: number, bytes }
    }

    /// Bytes that are added behind those of a chunk.
    ///
    /// # Panics
    /// If the number is 2^31 or more.
    pub fn added(number: u32, bytes: Vec<u8>) -> ChunkDelta {
        let whole = ChunkDelta::whole(number, bytes);
        ChunkDelta { place: whole.place | ADDED, bytes: whole.bytes }
    }

    /// Which chunk.
    pub fn number(&self) -> u32 {
        self.place & !ADDED
    }

    /// Whether the bytes are added to those that are there, rather than replacing them.
    pub fn is_added(&self) -> bool {
        self.place & ADDED != 0
    }

    /// What is new.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The change that this one and then a later one of the same chunk amount to.
    pub(super) fn followed_by(&mut self, later: ChunkDelta) {
        if later.is_added() {
            self.bytes.extend_from_slice(&later.bytes);
        } else {
            *self = later;
        }
    }

    fn apply(self, chunks: &mut BTreeMap<u32, Vec<u8>>) {
        let (number, added) = (self.number(), self.is_added());
        match chunks.get_mut(&number) {
            Some(held) if added => held.extend_from_slice(&self.bytes),
            Some(held) => *held = self.bytes,
            None => drop(chunks.insert(number, self.bytes)),
        }
    }
}

/// What a sink prepared in an epoch and has to commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The sink's stable id.
    pub sink: String,
    /// The epoch it was prepared in; not later than the checkpoint's.
    pub epoch: Epoch,
    /// What its committer needs.
    #[serde(with = "serde_bytes")]
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
pub fn write_frame(frame: &Frame, bytes: &mut Vec<u8>) {
    write_in_pieces(frame, bytes, PIECE_BYTES);
}

fn write_in_pieces(frame: &Frame, bytes: &mut Vec<u8>, bytes_max: usize) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEAD_BYTES]);
    let buffer = std::mem::take(bytes);
    *bytes =
        postcard::to_extend(frame, buffer).expect("invariant: frames hold plain data and can be encoded");
    let payload = start + HEAD_BYTES;
    if bytes.len() - payload <= bytes_max {
        let head = head(&bytes[payload..], false);
        bytes[start..payload].copy_from_slice(&head);
        return;
    }
    let long = bytes.split_off(payload);
    bytes.truncate(start);
    let mut pieces = long.chunks(bytes_max).peekable();
    while let Some(piece) = pieces.next() {
        bytes.extend_from_slice(&head(piece, pieces.peek().is_some()));
        bytes.extend_from_slice(piece);
    }
}

/// What stands before a piece.
fn head(piece: &[u8], goes_on: bool) -> [u8; HEAD_BYTES] {
    let length = piece.len() as u32 | if goes_on { GOES_ON } else { 0 };
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&checksum(piece, goes_on).to_le_bytes());
    head
}

/// Of a piece and whether another follows: no bit of what stands before a piece can be flipped unseen.
fn checksum(piece: &[u8], goes_on: bool) -> u32 {
    if goes_on { !crc32fast::hash(piece) } else { crc32fast::hash(piece) }
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
        let (payload, _) = self.payload()?;
        let (header, rest) = postcard::take_from_bytes::<u32>(&payload).ok()?;
        // The position of `Header` among the variants of `Frame`.
        if header != 0 {
            return None;
        }
        postcard::take_from_bytes::<u32>(rest).ok().map(|(version, _)| version)
    }

    /// The next frame's bytes, if they are whole, and where they end.
    fn payload(&self) -> Option<(Cow<'a, [u8]>, usize)> {
        let (mut payload, mut at) = (Cow::Borrowed(&[][..]), self.at);
        loop {
            let head = self.bytes.get(at..at + HEAD_BYTES)?;
            let length = u32::from_le_bytes(head[..4].try_into().ok()?);
            let stored = u32::from_le_bytes(head[4..].try_into().ok()?);
            let (goes_on, length) = (length & GOES_ON != 0, (length & !GOES_ON) as usize);
            if length > PIECE_BYTES {
                return None;
            }
            let piece = self.bytes.get(at + HEAD_BYTES..at + HEAD_BYTES + length)?;
            if checksum(piece, goes_on) != stored {
                return None;
            }
            at += HEAD_BYTES + length;
            if payload.is_empty() {
                payload = Cow::Borrowed(piece);
            } else {
                payload.to_mut().extend_from_slice(piece);
            }
            if !goes_on {
                return Some((payload, at));
            }
        }
    }

    fn read(&self) -> Option<(Frame, usize)> {
        let (payload, end) = self.payload()?;
        Some((postcard::from_bytes(&payload).ok()?, end))
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
                for chunk in table.chunks {
                    chunk.apply(chunks);
                }
            }
        }
    }

    /// Forgets the state of all operators but these: what a query has left behind does not come back if it has an
    /// operator of that id again. What the runtime keeps of steps without state stays.
    pub fn keep(&mut self, operators: &BTreeMap<String, String>) {
        let is_left = |name: &&String| !name.ends_with(RUNTIME) && !operators.contains_key(*name);
        let left: Vec<String> = self.operators.keys().filter(is_left).cloned().collect();
        for name in left {
            self.operators.remove(&runtime_state_of(&name));
            self.operators.remove(&name);
        }
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
                        chunks: chunks
                            .into_iter()
                            .map(|(number, bytes)| ChunkDelta::whole(number, bytes))
                            .collect(),
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
        write_frame(&header(7), &mut bytes);
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
        write_frame(&Frame::Plan(Plan { epoch: Epoch(1), ends: BTreeMap::new() }), &mut plan);
        assert_eq!(Frames::new(&plan).version(), None);
    }

    #[test]
    fn what_is_left_behind_goes_with_what_the_runtime_knew_of_it() {
        let names = ["count", "count#runtime", "map#runtime", "gone", "gone#runtime"];
        let delta = |name: &str| InstanceDelta {
            operator: name.to_owned(),
            instance: 0,
            parallelism: 1,
            tables: vec![TableDelta {
                table: "t".to_owned(),
                full: true,
                chunks: vec![ChunkDelta::whole(0, vec![1])],
            }],
        };
        let mut image = Image::default();
        image.apply(Record {
            epoch: Epoch(1),
            mode: Mode::Continuous,
            written_micros: 0,
            deltas: names.map(delta).to_vec(),
            handles: Vec::new(),
        });
        image.keep(&BTreeMap::from([("count".to_owned(), "aggregate".to_owned())]));
        let kept: Vec<&str> = image.operators().map(|(name, _)| name).collect();
        assert_eq!(kept, ["count", "count#runtime", "map#runtime"]);
    }

    #[test]
    fn a_long_frame_is_read_from_its_pieces_or_not_at_all() {
        let plan = Frame::Plan(Plan { epoch: Epoch(5), ends: BTreeMap::new() });
        let mut bytes = Vec::new();
        write_frame(&plan, &mut bytes);
        let before = bytes.len();
        for piece in 1..40 {
            bytes.truncate(before);
            write_in_pieces(&header(VERSION), &mut bytes, piece);
            let end = bytes.len();
            write_frame(&plan, &mut bytes);
            let all = [plan.clone(), header(VERSION), plan.clone()];
            assert_eq!(Frames::new(&bytes).collect::<Vec<_>>(), all, "pieces of {piece} bytes");
            for cut in before..end {
                let mut frames = Frames::new(&bytes[..cut]);
                assert_eq!((frames.next(), frames.next()), (Some(plan.clone()), None));
                assert_eq!(frames.position(), before, "the damage begins with the frame");
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[cut] ^= 1 << bit;
                    let mut frames = Frames::new(&flipped);
                    assert_eq!(
                        (frames.next(), frames.next()),
                        (Some(plan.clone()), None),
                        "byte {cut}, bit {bit}"
                    );
                }
            }
        }
    }
}
