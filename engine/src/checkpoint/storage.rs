//! The storage contract of checkpoints, and its in-memory double.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Where checkpoints are kept: named byte strings that can be appended to, written whole, read, removed.
///
/// # Delivery
/// When `append` or `put` returns `Ok` the bytes survive a crash of the process and of the machine. When it
/// returns an error or the process dies in between, `append` may leave any prefix of the bytes behind, and
/// `put` either all or nothing.
pub trait CheckpointStorage: Send {
    /// What to call the place in errors: a path or an address.
    fn place(&self) -> String;

    /// The names that exist, sorted.
    ///
    /// # Errors
    /// If the place cannot be read.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// All bytes of a name.
    ///
    /// # Errors
    /// If it does not exist or cannot be read.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;

    /// Adds bytes at the end of a name, which is created if it does not exist. Durable on return.
    ///
    /// # Errors
    /// If the bytes may not be durable. The name must not be appended to again.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Writes a name whole, at once. Durable on return.
    ///
    /// # Errors
    /// If it was not written; nothing is left behind.
    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a name, if it exists.
    ///
    /// # Errors
    /// If it is still there.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// How many bytes can be read in the time that it takes to find what one `append` wrote: what makes a log with
    /// many small records worth compacting.
    fn append_cost(&self) -> u64 {
        0
    }

    /// A second handle to the same place, for the thread that compacts in the background.
    ///
    /// # Errors
    /// If the place cannot be opened again.
    fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>>;
}

/// Checkpoints in memory: they survive a restart of the query, not of the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryStorage {
    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> R) -> R {
        act(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CheckpointStorage for MemoryStorage {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.with(|files| files.keys().cloned().collect()))
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        self.with(|files| files.get(name).cloned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(|files| files.entry(name.to_owned()).or_default().extend_from_slice(bytes));
        Ok(())
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(|files| files.insert(name.to_owned(), bytes.to_vec()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.with(|files| files.remove(name));
        Ok(())
    }

    fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>> {
        Ok(Box::new(self.clone()))
    }
}
