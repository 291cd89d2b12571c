//! Checkpoints in a local folder.

use super::storage::CheckpointStorage;
use crate::kill_point;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";
/// What the names of files end in that are not yet, or never were, put in place.
const UNFINISHED: &str = ".unfinished";

/// A folder. One process at a time may hold it: a lock file says so, and the lock ends with the process.
///
/// # Delivery
/// `append` is one write and one `fdatasync`; creating a name also syncs the folder. `put` writes a hidden
/// name, syncs it, renames it and syncs the folder; what a crash leaves of that is removed by the next `open`.
#[derive(Debug)]
pub struct LocalStorage {
    folder: PathBuf,
    open: BTreeMap<String, File>,
    _lock: Arc<File>,
}

impl LocalStorage {
    /// Opens the folder, which is created if it does not exist.
    ///
    /// # Errors
    /// If it cannot be written to, or another query holds it; the message names the folder.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<LocalStorage> {
        let folder = folder.into();
        let said = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!(
                    "checkpoint location `{}` cannot be used: {error}; choose a folder that can be written to",
                    folder.display()
                ),
            )
        };
        fs::create_dir_all(&folder).map_err(said)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(said)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    format!(
                        "checkpoint location `{}` is in use by another query; stop that one first or choose \
                         another folder",
                        folder.display()
                    ),
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(said(error)),
        }
        let storage = LocalStorage { folder: folder.clone(), open: BTreeMap::new(), _lock: Arc::new(lock) };
        storage.remove_unfinished().map_err(said)?;
        Ok(storage)
    }

    fn hidden(&self, name: &str) -> PathBuf {
        self.folder.join(format!(".{name}{UNFINISHED}"))
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(UNFINISHED)) {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn appender(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().create(true).append(true).open(self.folder.join(name))?;
            self.sync_folder()?;
            // One log segment is appended to at a time.
            self.open.clear();
            self.open.insert(name.to_owned(), file);
        }
        Ok(self.open.get_mut(name).expect("invariant: inserted above"))
    }
}

fn is_ours(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name != LOCK && !name.starts_with('.'))
}

impl CheckpointStorage for LocalStorage {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.is_file()
                && is_ours(&path)
                && let Some(name) = path.file_name().and_then(|name| name.to_str())
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.folder.join(name))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.appender(name)?;
        kill_point::reach_torn("mid-append", bytes, |part| file.write_all(part));
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let hidden = self.hidden(name);
        // The file of that name will be another one.
        self.open.remove(name);
        let written = (|| {
            let mut file = File::create(&hidden)?;
            kill_point::reach_torn("mid-put", bytes, |part| file.write_all(part));
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&hidden, self.folder.join(name))?;
            self.sync_folder()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        written
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>> {
        Ok(Box::new(LocalStorage {
            folder: self.folder.clone(),
            open: BTreeMap::new(),
            _lock: Arc::clone(&self._lock),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_query_at_a_time() {
        let folder = std::env::temp_dir().join(format!("lotic-lock-{}", std::process::id()));
        let first = LocalStorage::open(&folder).unwrap();
        let error = LocalStorage::open(&folder).unwrap_err();
        assert!(error.to_string().contains("in use by another query"), "{error}");
        drop(first);
        LocalStorage::open(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_put_can_be_appended_to_and_what_was_not_put_in_place_is_removed() {
        let folder = std::env::temp_dir().join(format!("lotic-put-{}", std::process::id()));
        let mut storage = LocalStorage::open(&folder).unwrap();
        for round in [b'1', b'2'] {
            storage.put("log", &[round]).unwrap();
            storage.append("log", b"+").unwrap();
            storage.append("log", b"+").unwrap();
            assert_eq!(storage.read("log").unwrap(), [round, b'+', b'+']);
        }
        fs::write(storage.hidden("base"), b"torn").unwrap();
        fs::write(folder.join(".not-ours"), b"").unwrap();
        assert_eq!(storage.list().unwrap(), ["log"]);
        drop(storage);
        drop(LocalStorage::open(&folder).unwrap());
        let mut left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".not-ours", "lock", "log"]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = LocalStorage::open("/proc/lotic/checkpoint").unwrap_err();
        assert!(error.to_string().contains("/proc/lotic/checkpoint"), "{error}");
    }
}
