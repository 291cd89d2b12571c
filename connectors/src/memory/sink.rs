//! A transactional sink that keeps rows in memory.

use crate::error::{ConnectorError, Result};
use crate::limits::PARALLELISM;
use crate::sink::{Committer, Delivery, Prepare, Sink, SinkFactory, SinkTraits};
use lotic_operators::{Epoch, Instance, Rows};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// What one instance wrote in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Part {
    epoch: Epoch,
    instance: usize,
}

struct Store<T> {
    prepared: BTreeMap<Part, Vec<T>>,
    committed: BTreeMap<Part, Vec<T>>,
}

/// A sink that keeps rows in memory and shows them when their epoch is committed.
///
/// Clones share the rows: keep one to read what the query wrote.
///
/// ```
/// let results = lotic_connectors::MemorySink::<u64>::new();
/// // a query writes to `results.clone()`
/// assert!(results.committed().is_empty());
/// ```
///
/// # Delivery
/// Exactly once while the process lives, also over restarts of the query. A checkpoint taken with this sink
/// cannot be resumed in another process if an epoch was left to commit.
pub struct MemorySink<T> {
    name: String,
    store: Arc<Mutex<Store<T>>>,
}

impl<T> Clone for MemorySink<T> {
    fn clone(&self) -> Self {
        MemorySink { name: self.name.clone(), store: Arc::clone(&self.store) }
    }
}

impl<T> fmt::Debug for MemorySink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: usize = lock(&self.store).committed.values().map(Vec::len).sum();
        write!(f, "MemorySink({}, {rows} rows committed)", self.name)
    }
}

impl<T> Default for MemorySink<T> {
    fn default() -> Self {
        MemorySink::new()
    }
}

fn lock<T>(store: &Mutex<Store<T>>) -> MutexGuard<'_, Store<T>> {
    // A row whose `Clone` panicked leaves the store as it was.
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> MemorySink<T> {
    /// An empty sink.
    #[must_use]
    pub fn new() -> Self {
        let store = Store { prepared: BTreeMap::new(), committed: BTreeMap::new() };
        MemorySink { name: "memory".to_owned(), store: Arc::new(Mutex::new(store)) }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The newest epoch committed with rows; [`Epoch::NONE`] if none.
    pub fn last_committed(&self) -> Epoch {
        lock(&self.store).committed.keys().next_back().map_or(Epoch::NONE, |part| part.epoch)
    }

    /// All visible rows: by epoch, within it by instance, within that as written.
    pub fn committed(&self) -> Vec<T>
    where
        T: Clone,
    {
        lock(&self.store).committed.values().flatten().cloned().collect()
    }

    /// The visible rows of each epoch that has any.
    pub fn committed_by_epoch(&self) -> BTreeMap<Epoch, Vec<T>>
    where
        T: Clone,
    {
        let mut epochs: BTreeMap<Epoch, Vec<T>> = BTreeMap::new();
        for (part, rows) in &lock(&self.store).committed {
            epochs.entry(part.epoch).or_default().extend_from_slice(rows);
        }
        epochs
    }
}

impl<T: Send + 'static> SinkFactory<Rows<T>> for MemorySink<T> {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.name.clone(),
            delivery: Delivery::ExactlyOnce,
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<T>>>> {
        let store = Arc::clone(&self.store);
        Ok(Box::new(Writer { store, instance: instance.index, rows: Vec::new() }))
    }

    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(self.clone())))
    }
}

struct Writer<T> {
    store: Arc<Mutex<Store<T>>>,
    instance: usize,
    rows: Vec<T>,
}

impl<T: Send + 'static> Sink<Rows<T>> for Writer<T> {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut Rows<T>, _waker: &Waker) -> Result<()> {
        self.rows.extend(batch);
        Ok(())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        let store = Arc::clone(&self.store);
        let part = Part { epoch, instance: self.instance };
        Ok(Some(Box::new(move || {
            lock(&store).prepared.insert(part, rows);
            serde_json::to_vec(&part)
                .map_err(|error| ConnectorError::internal(format!("a handle could not be encoded: {error}")))
        })))
    }
}

impl<T: Send + 'static> MemorySink<T> {
    /// Makes visible what one instance prepared.
    fn commit_part(&mut self, epoch: Epoch, handle: &[u8]) -> Result<()> {
        let part: Part = serde_json::from_slice(handle).map_err(|error| {
            ConnectorError::user(format!(
                "sink `{}` does not understand its handle for epoch {epoch} ({error}): the checkpoint was \
                 written by another kind of sink; start from a new checkpoint location",
                self.name
            ))
        })?;
        let mut store = lock(&self.store);
        if let Some(rows) = store.prepared.remove(&part) {
            // Of two attempts at an epoch, the first committed stays.
            store.committed.entry(part).or_insert(rows);
            return Ok(());
        }
        if store.committed.contains_key(&part) {
            return Ok(());
        }
        Err(ConnectorError::user(format!(
            "sink `{}` has nothing to commit for epoch {epoch}: it keeps rows in memory, and those of an \
             earlier process are gone; use a sink that outlives the process, or start from a new checkpoint \
             location",
            self.name
        )))
    }
}

impl<T: Send + 'static> Committer for MemorySink<T> {
    fn last_committed(&mut self) -> Result<Epoch> {
        Ok(MemorySink::last_committed(self))
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        handles.iter().try_for_each(|handle| self.commit_part(epoch, handle))
    }

    fn abort_prepared(&mut self) -> Result<()> {
        lock(&self.store).prepared.clear();
        Ok(())
    }
}
