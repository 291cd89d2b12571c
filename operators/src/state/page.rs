//! The pages of a keyed state table: entries that lie together, and what of them the next snapshot has to store.

use super::codec;
use crate::error::Result;
use crate::key::{Key, Value};
use crate::limits::PAGE_ENTRIES;
use crate::snapshot::EncodeChunk;
use std::collections::HashSet;
use std::sync::Arc;

type Entries<K, V> = Vec<Option<(K, V)>>;

/// Some slots of a page, one bit for each.
type Slots = u64;

const _: () = assert!(PAGE_ENTRIES == Slots::BITS as usize, "a page has one bit for each slot");

/// [`PAGE_ENTRIES`] slots.
///
/// A snapshot stores the whole page or only what changed, which is added to what was stored before. Whatever is added
/// since the page was stored whole is at most one page, so that a page takes at most twice its room and is
/// stored at most twice as often as its entries change.
#[derive(Debug)]
pub(super) struct Page<K, V> {
    held: Held<K, V>,
    /// The slots that changed since the last snapshot. If there are any, the page is ours alone.
    changed: Slots,
    /// Entries stored since the page was stored whole; [`STORE_WHOLE`] if it has to be.
    added: u32,
}

const STORE_WHOLE: u32 = PAGE_ENTRIES as u32;

#[derive(Debug)]
enum Held<K, V> {
    /// Ours alone, so that writing it takes no atomic operation.
    Own(Entries<K, V>),
    /// As it was at the last snapshot: the background writer may hold it as well.
    Lent(Arc<Chunk<K, V>>),
}

impl<K, V> Page<K, V> {
    pub(super) fn new() -> Self {
        Page { held: Held::Own(Vec::with_capacity(PAGE_ENTRIES)), changed: 0, added: STORE_WHOLE }
    }

    #[inline]
    pub(super) fn entries(&self) -> &[Option<(K, V)>] {
        match &self.held {
            Held::Own(entries) => entries,
            Held::Lent(chunk) => &chunk.entries,
        }
    }

    /// Whether nothing was changed since the last snapshot.
    #[inline]
    pub(super) fn is_unchanged(&self) -> bool {
        self.changed == 0
    }

    /// Counts as unchanged: the next snapshot is of all pages.
    pub(super) fn forget_changes(&mut self) {
        self.changed = 0;
    }

    /// How many slots were changed since the last snapshot.
    pub(super) fn changed_slots(&self) -> u32 {
        self.changed.count_ones()
    }

    /// The entries if they are ours alone, which they are wherever something was changed.
    #[inline]
    pub(super) fn own(&self) -> Option<&[Option<(K, V)>]> {
        match &self.held {
            Held::Own(entries) => Some(entries),
            Held::Lent(_) => None,
        }
    }

    /// A slot, to be changed; the one behind the last is made. The page is ours alone.
    #[inline]
    pub(super) fn slot(&mut self, at: usize) -> &mut Option<(K, V)> {
        self.changed |= 1 << at;
        let Held::Own(entries) = &mut self.held else { unreachable!("it was taken back before") };
        if at == entries.len() {
            entries.push(None);
        }
        &mut entries[at]
    }

    /// Empties a slot. What is stored of a page cannot say that an entry is gone, so the page is stored whole.
    pub(super) fn empty(&mut self, at: usize) -> Option<(K, V)> {
        self.added = STORE_WHOLE;
        self.slot(at).take()
    }

    /// Makes the page ours if nobody else holds it: without a copy.
    pub(super) fn reclaim(&mut self) -> bool {
        if let Held::Lent(chunk) = &mut self.held {
            let Some(chunk) = Arc::get_mut(chunk) else { return false };
            self.held = Held::Own(std::mem::take(&mut chunk.entries));
        }
        true
    }

    /// What the next snapshot has to store, which the background writer encodes.
    pub(super) fn lend(&mut self, table: &'static str, all: bool) -> Arc<Chunk<K, V>> {
        let changed = std::mem::take(&mut self.changed);
        let added = self.added + changed.count_ones();
        let part = if all || added > STORE_WHOLE { Part::Whole } else { Part::Added(changed) };
        self.added = if matches!(part, Part::Whole) { 0 } else { added };
        let entries = match &mut self.held {
            Held::Own(entries) => std::mem::take(entries),
            Held::Lent(_) => unreachable!("what changed was taken back before"),
        };
        let chunk = Arc::new(Chunk { table, entries, part });
        self.held = Held::Lent(Arc::clone(&chunk));
        chunk
    }
}

impl<K: Clone, V: Clone> Page<K, V> {
    /// Makes the page ours; copies it if the background writer still holds it.
    pub(super) fn take_back(&mut self) {
        if !self.reclaim()
            && let Held::Lent(chunk) = &self.held
        {
            let mut copy = Vec::with_capacity(PAGE_ENTRIES);
            copy.extend_from_slice(&chunk.entries);
            self.held = Held::Own(copy);
        }
    }
}

/// A page that is lent to the background writer.
#[derive(Debug)]
pub(super) struct Chunk<K, V> {
    table: &'static str,
    entries: Entries<K, V>,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Whole,
    Added(Slots),
}

impl<K: Key, V: Value> EncodeChunk for Chunk<K, V> {
    fn adds(&self) -> bool {
        matches!(self.part, Part::Added(_))
    }

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<()> {
        match self.part {
            Part::Whole => {
                let held: Vec<&(K, V)> = self.entries.iter().flatten().collect();
                codec::encode_as::<Vec<(K, V)>, _>(self.table, &held, bytes)
            }
            Part::Added(slots) => {
                let is_in = |at: &usize| slots & (1 << at) != 0;
                let added = self.entries.iter().enumerate().filter(|(at, _)| is_in(at));
                let added: Vec<&(K, V)> = added.filter_map(|(_, entry)| entry.as_ref()).collect();
                codec::encode_more(self.table, &added, bytes)
            }
        }
    }
}

/// The entries of a page from what was stored whole and what was added, oldest first: the newest of each key.
///
/// # Errors
/// [`crate::OperatorError::Decode`] if the bytes hold other types.
pub(super) fn stored_entries<K: Key, V: Value>(table: &str, chunk: &[u8]) -> Result<Vec<(K, V)>> {
    let mut parts = codec::decode_all::<Vec<(K, V)>>(table, chunk)?.into_iter().rev();
    let mut entries = parts.next().unwrap_or_default();
    if parts.len() == 0 {
        return Ok(entries);
    }
    let mut keys: HashSet<K> = entries.iter().map(|(key, _)| key.clone()).collect();
    for mut older in parts {
        older.retain(|(key, _)| !keys.contains(key));
        keys.extend(older.iter().map(|(key, _)| key.clone()));
        entries.append(&mut older);
    }
    Ok(entries)
}
