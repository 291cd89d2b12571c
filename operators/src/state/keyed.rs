//! The keyed state table.

use super::codec;
use super::index::Index;
use crate::error::{OperatorError, Result};
use crate::key::{Key, Value, hash_of};
use crate::limits::PAGE_ENTRIES;
use crate::snapshot::{EncodeChunk, Restore, TableSnapshot};
use std::sync::Arc;

/// One value for each key, with snapshots whose cost is proportional to what changed.
///
/// # Panics
/// If one instance holds 2^32 keys.
///
/// # Cost
/// A look-up is one hash probe and one page access; those of many rows are faster in two passes
/// ([`KeyedState::probe`]). The first write to a page after a snapshot also takes
/// the page back from the background writer, which copies its [`PAGE_ENTRIES`] entries if the writer still
/// holds it; later writes are plain. [`KeyedState::snapshot`] makes one shared pointer for each changed page.
#[derive(Debug)]
pub struct KeyedState<K, V> {
    table: &'static str,
    pub(super) index: Index,
    pub(super) pages: Vec<Page<K, V>>,
    /// The pages that are ours alone, except those that a restore filled.
    changed: Vec<u32>,
    pub(super) free: Vec<u32>,
    full: bool,
}

pub(super) type Entries<K, V> = Vec<Option<(K, V)>>;

/// The first half of a look-up: a key, and the slot where its hash says that its value probably is.
#[derive(Debug, Clone)]
pub struct Probe<K> {
    /// The key.
    pub key: K,
    hash: u64,
    slot: Option<u32>,
}

#[derive(Debug)]
pub(super) enum Page<K, V> {
    /// Changed since the last snapshot: ours alone, so that writing it takes no atomic operation.
    Own(Entries<K, V>),
    /// As it was at the last snapshot: the background writer may hold it as well.
    Shared(Arc<Chunk<K, V>>),
}

impl<K, V> Page<K, V> {
    #[inline]
    pub(super) fn entries(&self) -> &[Option<(K, V)>] {
        match self {
            Page::Own(entries) => entries,
            Page::Shared(chunk) => &chunk.entries,
        }
    }
}

#[derive(Debug)]
pub(super) struct Chunk<K, V> {
    table: &'static str,
    entries: Entries<K, V>,
}

impl<K: Key, V: Value> EncodeChunk for Chunk<K, V> {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let held: Vec<&(K, V)> = self.entries.iter().flatten().collect();
        codec::encode_as::<Vec<(K, V)>, _>(self.table, &held, bytes)
    }
}

#[inline]
pub(super) fn place(number: u32) -> (usize, usize) {
    (number as usize / PAGE_ENTRIES, number as usize % PAGE_ENTRIES)
}

impl<K: Key, V: Value> KeyedState<K, V> {
    /// An empty table; the name identifies it within the operator's snapshots.
    #[must_use]
    pub fn new(table: &'static str) -> Self {
        KeyedState {
            table,
            index: Index::new(),
            pages: Vec::new(),
            changed: Vec::new(),
            free: Vec::new(),
            full: true,
        }
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<u32> {
        self.index.find(hash, |number| holds(&self.pages, number, key))
    }

    /// The value of a key. `hash` is [`hash_of`] the key.
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let (page, at) = place(self.find(hash, key)?);
        self.pages[page].entries()[at].as_ref().map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        let number = self.find(hash, key)?;
        Some(self.value_mut(number))
    }

    /// The value of a key, made by `default` if the key is new.
    #[inline]
    pub fn entry(&mut self, hash: u64, key: &K, default: impl FnOnce() -> V) -> &mut V {
        let number = match self.find(hash, key) {
            Some(number) => number,
            None => self.insert(hash, key.clone(), default()),
        };
        self.value_mut(number)
    }

    /// The first half of a look-up. `hash` is [`hash_of`] the key.
    ///
    /// A look-up waits for the memory of the index and then for that of the page. For the rows of a batch it is
    /// faster to make all probes first and the second halves ([`KeyedState::entry_probed`]) afterwards: then no
    /// row's wait depends on another's, and the processor has many of them under way at once.
    #[inline]
    pub fn probe(&self, hash: u64, key: K) -> Probe<K> {
        Probe { key, hash, slot: self.index.first(hash) }
    }

    /// The second half of a look-up: as [`KeyedState::entry`]. The table may have changed since the probe.
    #[inline]
    pub fn entry_probed(&mut self, probe: &Probe<K>, default: impl FnOnce() -> V) -> &mut V {
        let Some(number) = probe.slot.filter(|&number| self.owns(number, &probe.key)) else {
            return self.entry_anew(probe, default);
        };
        self.value_mut(number)
    }

    /// Whether a slot holds this key and lies in a page that is ours already.
    #[inline]
    fn owns(&self, number: u32, key: &K) -> bool {
        let (page, at) = place(number);
        match &self.pages[page] {
            Page::Own(entries) => matches!(&entries[at], Some((held, _)) if held == key),
            Page::Shared(_) => false,
        }
    }

    /// The key is new, or shares a hash with another, or is the first of its page since the last snapshot.
    #[cold]
    #[inline(never)]
    fn entry_anew(&mut self, probe: &Probe<K>, default: impl FnOnce() -> V) -> &mut V {
        self.entry(probe.hash, &probe.key, default)
    }

    #[inline]
    pub(super) fn value_mut(&mut self, number: u32) -> &mut V {
        let (page, at) = place(number);
        let entry = &mut self.own(page)[at];
        &mut entry.as_mut().expect("invariant: the index points at filled slots").1
    }

    /// The entries of a page, to be changed.
    #[inline]
    pub(super) fn own(&mut self, page: usize) -> &mut Entries<K, V> {
        if matches!(self.pages[page], Page::Shared(_)) {
            self.take_back(page);
        }
        match &mut self.pages[page] {
            Page::Own(entries) => entries,
            Page::Shared(_) => unreachable!("it was taken back"),
        }
    }

    /// Makes a shared page ours, without a copy if the background writer is done with it.
    #[cold]
    #[inline(never)]
    fn take_back(&mut self, page: usize) {
        if let Page::Shared(chunk) = std::mem::replace(&mut self.pages[page], Page::Own(Vec::new())) {
            let entries = Arc::try_unwrap(chunk).map_or_else(
                |chunk| {
                    let mut copy = Vec::with_capacity(PAGE_ENTRIES);
                    copy.extend_from_slice(&chunk.entries);
                    copy
                },
                |chunk| chunk.entries,
            );
            self.pages[page] = Page::Own(entries);
            self.changed.push(page as u32);
        }
    }

    pub(super) fn insert(&mut self, hash: u64, key: K, value: V) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        let (page, at) = place(number);
        let entries = self.own(page);
        if at == entries.len() {
            entries.push(Some((key, value)));
        } else {
            entries[at] = Some((key, value));
        }
        self.index.insert(hash, number);
        number
    }

    /// The number of a slot never used before: the end of the last page, or of a new one.
    fn grow(&mut self) -> u32 {
        if self.pages.last().is_none_or(|page| page.entries().len() == PAGE_ENTRIES) {
            self.changed.push(self.pages.len() as u32);
            self.pages.push(Page::Own(Vec::with_capacity(PAGE_ENTRIES)));
        }
        let last = self.pages.len() - 1;
        let number = last * PAGE_ENTRIES + self.pages[last].entries().len();
        u32::try_from(number).expect("invariant: fewer than 2^32 keys in one instance")
    }

    /// Forgets a key and returns its value.
    pub fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let pages = &self.pages;
        let number = self.index.remove(hash, |number| holds(pages, number, key))?;
        self.free.push(number);
        let (page, at) = place(number);
        self.own(page)[at].take().map(|(_, value)| value)
    }

    /// All entries, in slab order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.entries().iter().flatten()).map(|(key, value)| (key, value))
    }

    /// The pages that changed since the last call; all of them the first time.
    ///
    /// The chunks of a snapshot stay part of the table's contents whatever becomes of their epoch: the next
    /// snapshot does not repeat them.
    pub fn snapshot(&mut self) -> TableSnapshot {
        let full = std::mem::replace(&mut self.full, false);
        let changed = std::mem::take(&mut self.changed);
        let numbers: Vec<u32> = if full { (0..self.pages.len() as u32).collect() } else { changed };
        let chunks = numbers.into_iter().map(|page| (page, self.share(page) as _)).collect();
        TableSnapshot { table: self.table, full, chunks }
    }

    fn share(&mut self, page: u32) -> Arc<Chunk<K, V>> {
        let page = &mut self.pages[page as usize];
        let chunk = match page {
            Page::Own(entries) => Arc::new(Chunk { table: self.table, entries: std::mem::take(entries) }),
            Page::Shared(chunk) => Arc::clone(chunk),
        };
        *page = Page::Shared(Arc::clone(&chunk));
        chunk
    }

    /// Fills the empty table with the entries of an image whose keys this instance owns.
    ///
    /// # Errors
    /// [`OperatorError::Decode`] if the image holds other types, or two entries for one key: then the key
    /// loses a part of itself when it is serialised.
    ///
    /// # Panics
    /// If the table is not empty.
    pub fn restore(&mut self, restore: Restore<'_>) -> Result<()> {
        self.restore_by(restore, |key| hash_of(key))
    }

    /// As [`KeyedState::restore`], where the hash by which keys are looked up and owned is not their own.
    ///
    /// # Errors
    /// As for [`KeyedState::restore`].
    pub(crate) fn restore_by(&mut self, restore: Restore<'_>, hash_of: impl Fn(&K) -> u64) -> Result<()> {
        assert!(self.is_empty(), "state is restored once, before anything else");
        for chunk in restore.image.chunks(self.table) {
            let entries: Vec<(K, V)> = codec::decode(self.table, chunk)?;
            for (key, value) in entries {
                let hash = hash_of(&key);
                if !restore.instance.owns(hash) {
                    continue;
                }
                if self.find(hash, &key).is_some() {
                    let cause = "it holds two entries for one key".to_owned();
                    return Err(OperatorError::Decode { table: self.table.to_owned(), cause });
                }
                self.insert(hash, key, value);
            }
        }
        self.full = true;
        Ok(())
    }
}

#[inline]
fn holds<K: PartialEq, V>(pages: &[Page<K, V>], number: u32, key: &K) -> bool {
    let (page, at) = place(number);
    pages[page].entries()[at].as_ref().is_some_and(|(held, _)| held == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Instance;
    use crate::snapshot::StateImage;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashMap};

    /// What the checkpoint log does: the latest bytes of each chunk.
    #[derive(Default)]
    struct Log(BTreeMap<u32, Vec<u8>>);

    impl Log {
        fn store(&mut self, snapshot: TableSnapshot) {
            if snapshot.full {
                self.0.clear();
            }
            for (number, chunk) in snapshot.chunks {
                let mut bytes = Vec::new();
                chunk.encode(&mut bytes).unwrap();
                self.0.insert(number, bytes);
            }
        }

        fn image(&self) -> StateImage {
            let chunks = self.0.values().cloned().collect();
            StateImage { tables: BTreeMap::from([("t".to_owned(), chunks)]) }
        }
    }

    fn contents(state: &KeyedState<u16, u64>) -> HashMap<u16, u64> {
        state.iter().map(|(key, value)| (*key, *value)).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u16, u64),
        /// All of these are looked up, one key goes, and then they are added.
        AddProbed(Vec<(u16, u64)>, u16),
        Remove(u16),
        Marker,
        /// A marker, and a new table restored from it.
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u16..400, any::<u64>()).prop_map(|(key, value)| Step::Add(key, value)),
            2 => (proptest::collection::vec((0u16..400, any::<u64>()), 1..20), 0u16..400)
                .prop_map(|(rows, gone)| Step::AddProbed(rows, gone)),
            2 => (0u16..400).prop_map(Step::Remove),
            1 => Just(Step::Marker),
            1 => Just(Step::Restart),
        ];
        proptest::collection::vec(step, 0..600)
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_and_restores_what_it_held_at_the_last_marker(steps in steps()) {
            let mut state = KeyedState::<u16, u64>::new("t");
            let mut model: HashMap<u16, u64> = HashMap::new();
            let (mut log, mut at_marker) = (Log::default(), HashMap::new());
            let mut held = Vec::new();
            for step in steps {
                match step {
                    Step::Add(key, value) => {
                        let slot = state.entry(hash_of(&key), &key, || 0);
                        *slot = slot.wrapping_add(value);
                        let slot = model.entry(key).or_default();
                        *slot = slot.wrapping_add(value);
                    }
                    Step::AddProbed(rows, gone) => {
                        let probes: Vec<_> =
                            rows.iter().map(|(key, _)| state.probe(hash_of(key), *key)).collect();
                        prop_assert_eq!(state.remove(hash_of(&gone), &gone), model.remove(&gone));
                        for (probe, (key, value)) in probes.iter().zip(rows) {
                            let slot = state.entry_probed(probe, || 0);
                            *slot = slot.wrapping_add(value);
                            let slot = model.entry(key).or_default();
                            *slot = slot.wrapping_add(value);
                        }
                    }
                    Step::Remove(key) => prop_assert_eq!(state.remove(hash_of(&key), &key), model.remove(&key)),
                    Step::Marker => {
                        let snapshot = state.snapshot();
                        held.push(snapshot.clone()); // as a slow background writer would
                        log.store(snapshot);
                        at_marker = model.clone();
                    }
                    Step::Restart => {
                        log.store(state.snapshot());
                        at_marker = model.clone();
                        state = KeyedState::new("t");
                        state.restore(Restore { image: &log.image(), instance: Instance::ONLY }).unwrap();
                    }
                }
                prop_assert_eq!(state.len(), model.len());
            }
            prop_assert_eq!(contents(&state), model);
            for parallelism in [1usize, 3] {
                let mut restored = HashMap::new();
                for index in 0..parallelism {
                    let mut part = KeyedState::<u16, u64>::new("t");
                    let image = log.image();
                    part.restore(Restore { image: &image, instance: Instance { index, parallelism } }).unwrap();
                    for (key, value) in contents(&part) {
                        prop_assert!(restored.insert(key, value).is_none(), "two owners of {}", key);
                    }
                }
                prop_assert_eq!(&restored, &at_marker);
            }
        }
    }

    #[test]
    fn a_marker_costs_what_changed() {
        let mut state = KeyedState::<u32, u32>::new("t");
        for key in 0..10_000u32 {
            state.entry(hash_of(&key), &key, || key);
        }
        assert_eq!(state.snapshot().chunks.len(), 10_000usize.div_ceil(PAGE_ENTRIES));
        assert_eq!(state.snapshot().chunks.len(), 0);
        *state.get_mut(hash_of(&77u32), &77).unwrap() += 1;
        let snapshot = state.snapshot();
        assert!(!snapshot.full);
        assert_eq!(snapshot.chunks.len(), 1);
    }

    #[test]
    fn probes_of_keys_with_one_hash_are_told_apart() {
        let mut state = KeyedState::<u32, u32>::new("t");
        for round in 1..=3 {
            let probes: Vec<_> = (0..10).map(|key| state.probe(7, key)).collect();
            for probe in &probes {
                *state.entry_probed(probe, || probe.key) += 100;
            }
            let held: Vec<(u32, u32)> = state.iter().map(|(key, value)| (*key, *value)).collect();
            assert_eq!(held, (0..10).map(|key| (key, key + round * 100)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn places_of_keys_that_are_gone_are_used_again() {
        let mut state = KeyedState::<u32, u32>::new("t");
        for key in 0..10_000u32 {
            state.entry(hash_of(&key), &key, || key);
            if key >= 100 {
                let gone = key - 100;
                assert_eq!(state.remove(hash_of(&gone), &gone), Some(gone));
            }
        }
        assert_eq!((state.len(), state.pages.len()), (100, 101usize.div_ceil(PAGE_ENTRIES)));
    }

    #[test]
    fn a_key_that_loses_a_part_of_itself_is_refused() {
        let mut state = KeyedState::<(u32, u32), u32>::new("t");
        state.entry(hash_of(&(1u32, 1u32)), &(1, 1), || 1);
        let mut log = Log::default();
        log.store(state.snapshot());
        let mut image = log.image();
        let chunks = image.tables.get_mut("t").unwrap();
        chunks.push(chunks[0].clone());
        let mut other = KeyedState::<(u32, u32), u32>::new("t");
        let error = other.restore(Restore { image: &image, instance: Instance::ONLY }).unwrap_err();
        assert!(error.to_string().contains("two entries for one key"), "{error}");
    }

    #[test]
    fn bytes_of_another_type_are_refused() {
        let mut state = KeyedState::<u32, String>::new("t");
        state.entry(hash_of(&1u32), &1, || "one".to_owned());
        let mut log = Log::default();
        log.store(state.snapshot());
        let mut other = KeyedState::<u32, Vec<u64>>::new("t");
        let image = log.image();
        let error = other.restore(Restore { image: &image, instance: Instance::ONLY }).unwrap_err();
        assert!(error.to_string().contains("table `t`"), "{error}");
    }
}
