//! What an operator gives away at a marker, and what it gets back after a restart.

use crate::error::Result;
use crate::key::Instance;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A piece of state that can be encoded later, on another thread.
pub trait EncodeChunk: Send + Sync {
    /// Appends the chunk's bytes. The first byte is a format version, unless they are added to others.
    ///
    /// # Errors
    /// If a value refuses to be serialised.
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<()>;

    /// Whether the bytes are to be added behind those stored for the chunk's number, which were stored whole before;
    /// otherwise they replace them.
    fn adds(&self) -> bool {
        false
    }
}

/// Bytes already encoded are a chunk too.
impl EncodeChunk for Vec<u8> {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.extend_from_slice(self);
        Ok(())
    }
}

/// What changed in one state table since the last marker.
#[derive(Clone)]
pub struct TableSnapshot {
    /// The table within the operator.
    pub table: &'static str,
    /// Whether `chunks` is all there is, so that whatever was stored before is void.
    pub full: bool,
    /// New contents by chunk number; a later chunk of a number replaces the earlier one or
    /// [is added](EncodeChunk::adds) to it.
    pub chunks: Vec<(u32, Arc<dyn EncodeChunk>)>,
    /// How much there is, of tables whose entries are those of keys.
    pub entries: Option<EntryCount>,
}

/// Entries of a state table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryCount {
    /// All that are held.
    pub total: u64,
    /// Those that were written or removed since the last marker, each once.
    pub changed: u64,
}

impl TableSnapshot {
    /// A table that is one chunk, and is written whole.
    #[must_use]
    pub fn single(table: &'static str, bytes: Vec<u8>) -> TableSnapshot {
        TableSnapshot { table, full: true, chunks: vec![(0, Arc::new(bytes))], entries: None }
    }
}

impl std::fmt::Debug for TableSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableSnapshot({}, full: {}, chunks: {})", self.table, self.full, self.chunks.len())
    }
}

/// The snapshot of one operator: cheap to take (pointers to shared pages), encoded in the background.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// One entry for each state table.
    pub tables: Vec<TableSnapshot>,
}

impl Snapshot {
    /// The snapshot of an operator without state.
    #[must_use]
    pub fn empty() -> Snapshot {
        Snapshot::default()
    }
}

/// The state of one operator as read from a checkpoint: the chunks of *all* instances that wrote it.
///
/// An instance keeps what it owns and drops the rest, which is what lets a restart change the parallelism.
#[derive(Debug, Clone, Default)]
pub struct StateImage {
    /// Encoded chunks by table name.
    pub tables: BTreeMap<String, Vec<Vec<u8>>>,
}

impl StateImage {
    /// The chunks of a table; none if the checkpoint does not have it.
    pub fn chunks(&self, table: &str) -> &[Vec<u8>] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }
}

/// A restore call: the image and the instance that restores from it.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'a> {
    /// All that was written for this operator.
    pub image: &'a StateImage,
    /// Who is asking.
    pub instance: Instance,
}
