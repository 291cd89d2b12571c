//! A checkpoint location that fails and crashes when it is told to, and says what survived.

use super::random::Random;
use crate::checkpoint::storage::CheckpointStorage;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a checkpoint writer or a recovery asks of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looking what is there.
    List,
    /// Reading a name.
    Read,
    /// Adding to a name.
    Append,
    /// Writing a name whole.
    Put,
    /// Removing a name.
    Remove,
}

/// The test double of [`CheckpointStorage`].
///
/// Clones share the place. It keeps the contract exactly, with no more mercy than the contract grants: an
/// append that fails or during which the process dies leaves a random prefix, of which after a crash any
/// prefix may be left; a `put` during which the process dies has either happened or not. A name behind whose
/// torn tail somebody appends panics, since the contract forbids it.
///
/// ```
/// use lotic::checkpoint::storage::CheckpointStorage;
/// use lotic::testing::{Access, FaultyStorage};
///
/// let mut storage = FaultyStorage::new(1);
/// storage.append("log", b"safe").unwrap();
/// storage.fail(Access::Append, 1, std::io::ErrorKind::StorageFull);
/// assert!(storage.append("log", b"torn").is_err());
/// let mut survivor = storage.survivors();
/// assert!(survivor.read("log").unwrap().starts_with(b"safe"));
/// ```
#[derive(Debug, Clone)]
pub struct FaultyStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct Disk {
    files: BTreeMap<String, File>,
    random: Random,
    accesses: u64,
    faults: u64,
    failing: Vec<Failing>,
    crash_at: Option<u64>,
    crashed: bool,
    full: bool,
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// What a failed append left: visible while the process lives, any prefix afterwards.
    torn: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    access: Access,
    /// How many more accesses of this kind until the one that fails.
    left: u64,
    error: io::ErrorKind,
}

fn died() -> io::Error {
    io::Error::other("the process died here")
}

impl FaultyStorage {
    /// An empty place; the seed decides what is torn where.
    #[must_use]
    pub fn new(seed: u64) -> FaultyStorage {
        FaultyStorage::with_files(seed, BTreeMap::new())
    }

    /// A place that holds these files, all durable.
    #[must_use]
    pub fn with_files(seed: u64, files: BTreeMap<String, Vec<u8>>) -> FaultyStorage {
        let files = files.into_iter().map(|(name, durable)| (name, File { durable, torn: None })).collect();
        let disk = Disk {
            files,
            random: Random::new(seed),
            accesses: 0,
            faults: 0,
            failing: Vec::new(),
            crash_at: None,
            crashed: false,
            full: false,
        };
        FaultyStorage { disk: Arc::new(Mutex::new(disk)) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the `nth` access of this kind from now (the next is the first) fail.
    pub fn fail(&self, access: Access, nth: u64, error: io::ErrorKind) {
        self.disk().failing.push(Failing { access, left: nth, error });
    }

    /// Lets the process die at the `nth` access from now. From then on every access fails; what is left is
    /// what [`FaultyStorage::survivors`] says.
    pub fn crash_at(&self, nth: u64) {
        let mut disk = self.disk();
        disk.crash_at = Some(disk.accesses + nth);
    }

    /// Whether the disk is full: appends and puts fail.
    pub fn set_full(&self, full: bool) {
        self.disk().full = full;
    }

    /// Nothing that was asked to fail and has not yet will.
    pub fn calm(&self) {
        let mut disk = self.disk();
        disk.failing.clear();
        disk.crash_at = None;
        disk.full = false;
    }

    /// Whether the process has died here.
    pub fn has_crashed(&self) -> bool {
        self.disk().crashed
    }

    /// Accesses so far.
    pub fn accesses(&self) -> u64 {
        self.disk().accesses
    }

    /// Accesses that failed so far, a crash included.
    pub fn faults(&self) -> u64 {
        self.disk().faults
    }

    /// The place as a machine finds it that starts after a crash: what was durable, and any part of what was
    /// not. All faults are gone.
    #[must_use]
    pub fn survivors(&self) -> FaultyStorage {
        let mut disk = self.disk();
        let seed = disk.random.bits();
        let mut files = BTreeMap::new();
        let Disk { files: held, random, .. } = &mut *disk;
        for (name, file) in held.iter() {
            let mut bytes = file.durable.clone();
            if let Some(torn) = &file.torn {
                bytes.extend_from_slice(&torn[..random.below(torn.len() + 1)]);
            }
            files.insert(name.clone(), bytes);
        }
        FaultyStorage::with_files(seed, files)
    }

    /// All files as a reader sees them now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.disk().files.iter().map(|(name, file)| (name.clone(), file.bytes())).collect()
    }

    /// Puts a file there or replaces it, as somebody else might.
    pub fn set_file(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.disk().files.insert(name.to_owned(), File { durable: bytes.into(), torn: None });
    }

    /// Deletes a file, as somebody else might.
    pub fn delete_file(&self, name: &str) {
        self.disk().files.remove(name);
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        bytes.extend_from_slice(self.torn.as_deref().unwrap_or_default());
        bytes
    }
}

/// How an access turns out.
enum Turn {
    Fine,
    Fails(io::Error),
    Dies,
}

impl Disk {
    fn turn(&mut self, access: Access) -> Turn {
        if self.crashed {
            return Turn::Fails(died());
        }
        self.accesses += 1;
        if self.crash_at == Some(self.accesses) {
            (self.crashed, self.faults) = (true, self.faults + 1);
            return Turn::Dies;
        }
        let mut error = None;
        self.failing.retain_mut(|failing| {
            if failing.access != access {
                return true;
            }
            failing.left = failing.left.saturating_sub(1);
            if failing.left == 0 {
                error = Some(failing.error);
            }
            failing.left > 0
        });
        if self.full && matches!(access, Access::Append | Access::Put) {
            error = Some(io::ErrorKind::StorageFull);
        }
        match error {
            None => Turn::Fine,
            Some(error) => {
                self.faults += 1;
                Turn::Fails(error.into())
            }
        }
    }

    fn tear(&mut self, name: &str, bytes: &[u8]) {
        let kept = self.random.below(bytes.len() + 1);
        let file = self.files.entry(name.to_owned()).or_default();
        file.torn = Some(bytes[..kept].to_vec());
    }
}

impl CheckpointStorage for FaultyStorage {
    fn place(&self) -> String {
        "a faulty disk".to_owned()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        match disk.turn(Access::List) {
            Turn::Fine => Ok(disk.files.keys().cloned().collect()),
            Turn::Fails(error) => Err(error),
            Turn::Dies => Err(died()),
        }
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        match disk.turn(Access::Read) {
            Turn::Fine => disk.files.get(name).map(File::bytes).ok_or_else(|| io::ErrorKind::NotFound.into()),
            Turn::Fails(error) => Err(error),
            Turn::Dies => Err(died()),
        }
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let behind_torn = disk.files.get(name).is_some_and(|file| file.torn.is_some());
        assert!(!behind_torn, "`{name}` is appended to after an append that failed");
        let turn = disk.turn(Access::Append);
        match turn {
            Turn::Fine => {
                disk.files.entry(name.to_owned()).or_default().durable.extend_from_slice(bytes);
                Ok(())
            }
            Turn::Fails(error) if disk.crashed => Err(error),
            Turn::Fails(error) => {
                disk.tear(name, bytes);
                Err(error)
            }
            Turn::Dies => {
                disk.tear(name, bytes);
                Err(died())
            }
        }
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let whole = File { durable: bytes.to_vec(), torn: None };
        match disk.turn(Access::Put) {
            Turn::Fine => {
                disk.files.insert(name.to_owned(), whole);
                Ok(())
            }
            Turn::Fails(error) => Err(error),
            Turn::Dies => {
                if disk.random.once_in(2) {
                    disk.files.insert(name.to_owned(), whole);
                }
                Err(died())
            }
        }
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        match disk.turn(Access::Remove) {
            Turn::Fine => {
                disk.files.remove(name);
                Ok(())
            }
            Turn::Fails(error) => Err(error),
            Turn::Dies => {
                if disk.random.once_in(2) {
                    disk.files.remove(name);
                }
                Err(died())
            }
        }
    }

    fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_append_leaves_a_prefix_and_may_not_be_followed_by_another() {
        for seed in 0..50 {
            let mut storage = FaultyStorage::new(seed);
            storage.append("a", b"12").unwrap();
            storage.fail(Access::Append, 2, io::ErrorKind::StorageFull);
            storage.append("a", b"34").unwrap();
            assert_eq!(storage.append("a", b"5678").unwrap_err().kind(), io::ErrorKind::StorageFull);
            let (seen, left) = (storage.read("a").unwrap(), storage.survivors().read("a").unwrap());
            assert!(b"12345678".starts_with(&seen) && seen.starts_with(&left) && left.starts_with(b"1234"));
            let again = std::panic::catch_unwind(move || storage.append("a", b"x"));
            assert!(again.is_err());
        }
    }

    #[test]
    fn after_a_crash_nothing_works_and_a_put_was_all_or_nothing() {
        let mut happened = 0;
        for seed in 0..50 {
            let mut storage = FaultyStorage::new(seed);
            storage.crash_at(2);
            storage.put("a", b"1").unwrap();
            storage.put("b", b"2").unwrap_err();
            assert!(storage.has_crashed() && storage.read("a").is_err());
            let mut left = storage.survivors();
            assert_eq!(left.read("a").unwrap(), b"1");
            match left.read("b") {
                Ok(bytes) => {
                    assert_eq!(bytes, b"2");
                    happened += 1;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
        }
        assert!((1..50).contains(&happened), "both outcomes occur");
    }
}
