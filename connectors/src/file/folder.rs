//! The folder of a file sink: names, listing, syncing.

use crate::error::{ConnectorError, Result};
use crate::folder_lock::FolderLock;
use crate::limits::FILE_ATTEMPTS;
use lotic_operators::Epoch;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// What the names of files still to be committed end in.
pub(crate) const HIDDEN_EXTENSION: &str = "inprogress";

/// A folder and the sink that writes to it.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) sink: String,
    path: PathBuf,
    lock: FolderLock,
}

/// A file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Still to be committed.
    Hidden,
    /// Committed, of this epoch.
    Visible(Epoch),
}

/// What a file name says; `None` for a file that is not ours. Names of ours never contain a separator.
pub(super) fn parse(name: &str) -> Option<Name> {
    let (hidden, rest) = name.strip_prefix('.').map_or((false, name), |rest| (true, rest));
    let (stem, extension) = rest.split_once('.')?;
    let mut fields = stem.strip_prefix("part-")?.split('-');
    let epoch = number(fields.next()?, 12)?;
    number(fields.next()?, 3)?;
    if hidden {
        number(fields.next()?, 1)?;
    }
    let ours = if hidden { extension == HIDDEN_EXTENSION } else { is_plain(extension) };
    if fields.next().is_some() || !ours {
        return None;
    }
    Some(if hidden { Name::Hidden } else { Name::Visible(Epoch(epoch)) })
}

fn is_plain(extension: &str) -> bool {
    (1..=16).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A number in a file name: plain digits, at least so many.
pub(crate) fn number(digits: &str, digits_min: usize) -> Option<u64> {
    let plain = digits.len() >= digits_min && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The name of a committed file.
pub(super) fn visible(epoch: Epoch, instance: usize, extension: &str) -> String {
    format!("part-{:012}-{instance:03}.{extension}", epoch.0)
}

impl Folder {
    pub(super) fn new(sink: &str, path: PathBuf) -> Self {
        // The process may change its working folder later.
        let path = std::path::absolute(&path).unwrap_or(path);
        Folder { sink: sink.to_owned(), path, lock: FolderLock::default() }
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// An error of the file system about a file of the folder, or the folder itself (an empty name).
    pub(super) fn failed(&self, what: &str, name: &str, cause: io::Error) -> ConnectorError {
        let path = if name.is_empty() { self.path.clone() } else { self.path_of(name) };
        ConnectorError::external(format!("sink `{}` cannot {what} `{}`", self.sink, path.display()), cause)
    }

    /// Makes the folder and makes sure that nothing of `epoch` or after it is visible there.
    pub(super) fn open(&self, epoch: Epoch) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|cause| self.failed("make the folder", "", cause))?;
        self.lock()?;
        let newest = self.newest_epoch()?;
        if newest < epoch {
            return Ok(());
        }
        Err(ConnectorError::user(format!(
            "sink `{}`: the folder `{}` already holds the output of epoch {newest}, but the query would write \
             epoch {epoch}: the folder belongs to another checkpoint location; use that one, or choose an \
             empty folder",
            self.sink,
            self.path.display()
        )))
    }

    /// Keeps other sinks out of the folder as long as this one lives.
    pub(super) fn lock(&self) -> Result<()> {
        self.lock.take(&self.sink, &self.path)
    }

    /// Makes a hidden file.
    pub(super) fn create_hidden(&self, epoch: Epoch, instance: usize) -> Result<(File, String)> {
        for attempt in 0..FILE_ATTEMPTS {
            let name = format!(".part-{:012}-{instance:03}-{attempt}.{HIDDEN_EXTENSION}", epoch.0);
            match OpenOptions::new().write(true).create_new(true).open(self.path_of(&name)) {
                Ok(file) => return Ok((file, name)),
                // Left by an attempt that was not cleaned up yet.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failed("create", &name, error)),
            }
        }
        Err(ConnectorError::internal(format!(
            "sink `{}` found {FILE_ATTEMPTS} hidden files of epoch {epoch} in `{}`",
            self.sink,
            self.path.display()
        )))
    }

    /// All files of ours; none if the folder is missing.
    pub(super) fn list(&self) -> Result<Vec<(String, Name)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("list", "", error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|cause| self.failed("list", "", cause))?;
            if let Ok(name) = entry.file_name().into_string()
                && let Some(parsed) = parse(&name)
            {
                names.push((name, parsed));
            }
        }
        Ok(names)
    }

    /// The newest epoch of which something is visible; [`Epoch::NONE`] if none.
    pub(super) fn newest_epoch(&self) -> Result<Epoch> {
        let epochs = self.list()?.into_iter().map(|(_, name)| match name {
            Name::Visible(epoch) => epoch,
            Name::Hidden => Epoch::NONE,
        });
        Ok(epochs.max().unwrap_or(Epoch::NONE))
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> Result<()> {
        // Elsewhere a folder cannot be synced, and need not be.
        if cfg!(unix) {
            File::open(&self.path)
                .and_then(|folder| folder.sync_all())
                .map_err(|cause| self.failed("sync the folder", "", cause))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_told_from_all_others() {
        assert_eq!(parse(&visible(Epoch(7), 3, "jsonl")), Some(Name::Visible(Epoch(7))));
        assert_eq!(parse(&visible(Epoch(u64::MAX), 127, "txt")), Some(Name::Visible(Epoch(u64::MAX))));
        assert_eq!(parse(".part-000000000007-003-0.inprogress"), Some(Name::Hidden));
        for foreign in [
            "",
            ".",
            "..",
            "part-",
            "part-1-000.jsonl",
            "part-000000000007-003",
            "part-000000000007-003.",
            "part-000000000007-003.jsonl.crc",
            "part-000000000007-003-0.jsonl",
            "part-000000000007-0x3.jsonl",
            "part-000000000007-003.json/../x",
            "part-00000-3f1c-c000.snappy.parquet",
            "part-99999999999999999999-000.txt",
            ".part-000000000007-003-0.tmp",
            ".part-000000000007-003.inprogress",
            "../part-000000000007-003.jsonl",
            "/part-000000000007-003.jsonl",
            ".hidden",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
