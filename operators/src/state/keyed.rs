//! The keyed state table.

use super::index::Index;
use super::page::{Page, stored_entries};
use crate::error::{OperatorError, Result};
use crate::key::{Key, Value, hash_of};
use crate::limits::{PAGE_ENTRIES, PAGES_RECLAIMED_AT_ONCE};
use crate::snapshot::{EntryCount, Restore, TableSnapshot};

/// One value for each key, with snapshots whose cost is proportional to what changed.
///
/// # Panics
/// If one instance holds 2^32 keys.
///
/// # Cost
/// A look-up is one hash probe and one page access; those of many rows are faster in two passes
/// ([`KeyedState::probe`]). A write after a snapshot to a page that the background writer still holds copies its
/// [`PAGE_ENTRIES`] entries; where the writer is done, the first write takes back a handful of pages without
/// copies, and the rest are plain. [`KeyedState::snapshot`] makes one shared pointer for each changed page, of which the
/// entries that changed are stored, and at most as many again.
#[derive(Debug)]
pub struct KeyedState<K, V> {
    table: &'static str,
    pub(super) index: Index,
    pub(super) pages: Vec<Page<K, V>>,
    /// The pages with changed slots.
    changed: Vec<u32>,
    /// The pages that the last snapshot shared and no write has needed since, the next to be stored last.
    lent: Vec<u32>,
    pub(super) free: Vec<u32>,
    full: bool,
}

/// The first half of a look-up: a key, and the slot where its hash says that its value probably is.
#[derive(Debug, Clone)]
pub struct Probe<K> {
    /// The key.
    pub key: K,
    hash: u64,
    slot: Option<u32>,
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
            lent: Vec::new(),
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
        let entries = self.pages[page].own();
        entries.is_some_and(|entries| matches!(&entries[at], Some((held, _)) if held == key))
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
        let entry = self.page_mut(page).slot(at);
        &mut entry.as_mut().expect("invariant: the index points at filled slots").1
    }

    /// A page that is to be changed.
    #[inline]
    fn page_mut(&mut self, page: usize) -> &mut Page<K, V> {
        if self.pages[page].is_unchanged() {
            self.first_change(page);
        }
        &mut self.pages[page]
    }

    #[cold]
    #[inline(never)]
    fn first_change(&mut self, page: usize) {
        self.changed.push(page as u32);
        if self.pages[page].own().is_none() {
            self.pages[page].take_back();
            self.reclaim();
        }
    }

    /// Takes back pages that the background writer is done with before they are needed, so that few writes wait for
    /// memory that another processor has written last. Those of most epochs change in the next again.
    fn reclaim(&mut self) {
        for _ in 0..PAGES_RECLAIMED_AT_ONCE {
            let Some(page) = self.lent.pop() else { return };
            if !self.pages[page as usize].reclaim() {
                // The writer goes on in order: it holds the ones behind as well.
                self.lent.push(page);
                return;
            }
        }
    }

    pub(super) fn insert(&mut self, hash: u64, key: K, value: V) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        let (page, at) = place(number);
        *self.page_mut(page).slot(at) = Some((key, value));
        self.index.insert(hash, number);
        number
    }

    /// The number of a slot never used before: the end of the last page, or of a new one.
    fn grow(&mut self) -> u32 {
        if self.pages.last().is_none_or(|page| page.entries().len() == PAGE_ENTRIES) {
            self.pages.push(Page::new());
        }
        let last = self.pages.len() - 1;
        let number = last * PAGE_ENTRIES + self.pages[last].entries().len();
        u32::try_from(number).expect("invariant: fewer than 2^32 keys in one instance")
    }

    /// Forgets a key and returns its value.
    pub fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let pages = &self.pages;
        let number = self.index.remove(hash, |number| holds(pages, number, key))?;
        self.empty(number).map(|(_, value)| value)
    }

    /// Empties the slot of a key that the index does not hold any more.
    pub(super) fn empty(&mut self, number: u32) -> Option<(K, V)> {
        self.free.push(number);
        let (page, at) = place(number);
        self.page_mut(page).empty(at)
    }

    /// All entries, in slab order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.entries().iter().flatten()).map(|(key, value)| (key, value))
    }

    /// What changed since the last call, page by page; everything the first time.
    ///
    /// The chunks of a snapshot stay part of the table's contents whatever becomes of their epoch: the next
    /// snapshot does not repeat them.
    pub fn snapshot(&mut self) -> TableSnapshot {
        let full = std::mem::replace(&mut self.full, false);
        let changed = std::mem::take(&mut self.changed);
        let numbers: Vec<u32> = if full { (0..self.pages.len() as u32).collect() } else { changed };
        self.lent.clear();
        self.lent.extend(numbers.iter().rev());
        let mut written = 0;
        let mut lend = |page: u32| {
            let page = &mut self.pages[page as usize];
            written += page.changed_slots();
            page.lend(self.table, full)
        };
        let chunks = numbers.into_iter().map(|page| (page, lend(page) as _)).collect();
        let entries = Some(EntryCount { total: self.len() as u64, changed: u64::from(written) });
        TableSnapshot { table: self.table, full, chunks, entries }
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
            for (key, value) in stored_entries(self.table, chunk)? {
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
        self.changed.clear();
        self.pages.iter_mut().for_each(Page::forget_changes);
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

    /// What the checkpoint log does.
    #[derive(Default)]
    struct Log(BTreeMap<u32, Vec<u8>>);

    impl Log {
        /// Returns how many bytes were written.
        fn store(&mut self, snapshot: TableSnapshot) -> usize {
            let mut written = 0;
            if snapshot.full {
                self.0.clear();
            }
            for (number, chunk) in snapshot.chunks {
                let bytes = self.0.entry(number).or_default();
                if !chunk.adds() {
                    bytes.clear();
                }
                let before = bytes.len();
                chunk.encode(bytes).unwrap();
                written += bytes.len() - before;
            }
            written
        }

        fn bytes(&self) -> usize {
            self.0.values().map(Vec::len).sum()
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
    fn what_is_stored_is_what_changed_and_at_most_as_much_again() {
        const KEYS: u32 = 6_400;
        const MARKERS: usize = 400;
        let mut state = KeyedState::<u32, u32>::new("t");
        for key in 0..KEYS {
            state.entry(hash_of(&key), &key, || key);
        }
        let mut log = Log::default();
        log.store(state.snapshot());
        let whole = log.bytes();
        let mut written = 0;
        for marker in 0..MARKERS as u32 {
            // Each tenth key, and each of them in turn.
            for key in (marker % 10..KEYS).step_by(10) {
                *state.get_mut(hash_of(&key), &key).unwrap() += 1;
            }
            written += log.store(state.snapshot());
            assert!(log.bytes() < 2 * whole, "{} of {whole} bytes at marker {marker}", log.bytes());
        }
        let changed = whole * MARKERS / 10;
        assert!(written < changed * 5 / 2, "{written} bytes for {changed} of changes");
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
