//! The folder that a sink writes to.

use super::super::listing::{self, Rules, Step, Walk, failed};
use super::names::{self, Name, Part};
use crate::error::{ConnectorError, Result};
use crate::folder_lock::FolderLock;
use crate::limits::FILE_ATTEMPTS;
use crate::table::SaveMode;
use lotic_operators::Epoch;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A folder and what is written to it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) sink: String,
    pub(super) path: PathBuf,
    pub(super) save_mode: Option<SaveMode>,
    /// The number of a bounded write; `None` for a stream.
    pub(super) run: Option<u64>,
    pub(super) lock: FolderLock,
}

impl Target {
    /// Calls `visit` for each visible file, with its path within the folder. None if the folder is missing.
    fn visit(&self, mut visit: impl FnMut(&Path, &str) -> Result<()>) -> Result<()> {
        match fs::metadata(&self.path) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                return Err(ConnectorError::user(format!(
                    "`{}` is a file: rows are written to a folder, which may hold many files; give the path of a \
                     folder, or of one to be made",
                    self.path.display()
                )));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("look up", &self.path, error)),
        }
        let mut walk = Walk::new(&self.path, &Rules::default())?;
        loop {
            match walk.step()? {
                Step::File(path, relative) => visit(&path, &relative)?,
                Step::Other => {}
                Step::Done => return Ok(()),
            }
        }
    }

    /// The newest epoch that is visible, of this stream or this run; [`Epoch::NONE`] if none.
    pub(super) fn newest_epoch(&self) -> Result<Epoch> {
        let mut newest = Epoch::NONE;
        self.visit(|_, relative| {
            if let Some(Name::Visible { epoch, run }) = names::parse(name_of(relative))
                && run == self.run
            {
                newest = newest.max(epoch);
            }
            Ok(())
        })?;
        Ok(newest)
    }

    /// Whether there are files that a reader of the folder would find, of this run or of anyone.
    pub(super) fn has_files(&self, of_this_run: bool) -> Result<bool> {
        let mut any = false;
        self.visit(|_, relative| {
            any |= !of_this_run || self.is_of_this_run(relative);
            Ok(())
        })?;
        Ok(any)
    }

    fn is_of_this_run(&self, relative: &str) -> bool {
        matches!(names::parse(name_of(relative)), Some(Name::Visible { run, .. }) if run == self.run)
    }

    /// Makes the folder and makes sure that it may be written to. Whether anything is to be written.
    pub(super) fn open(&self, epoch: Epoch) -> Result<bool> {
        if let Some(SaveMode::ErrorIfExists | SaveMode::Ignore) = self.save_mode {
            let mut other = None;
            self.visit(|path, relative| {
                if !self.is_of_this_run(relative) && other.is_none() {
                    other = Some(path.to_owned());
                }
                Ok(())
            })?;
            match other {
                Some(_) if self.save_mode == Some(SaveMode::Ignore) => return Ok(false),
                Some(other) => {
                    return Err(ConnectorError::user(format!(
                        "`{}` already holds files, such as `{}`: choose an empty folder, or save mode Append, \
                         Overwrite or Ignore",
                        self.path.display(),
                        other.display()
                    )));
                }
                None => {}
            }
        }
        fs::create_dir_all(&self.path).map_err(|cause| failed("make the folder", &self.path, cause))?;
        self.lock.take(&self.sink, &self.path)?;
        let newest = self.newest_epoch()?;
        if newest < epoch {
            return Ok(true);
        }
        Err(ConnectorError::user(format!(
            "sink `{}`: the folder `{}` already holds the output of epoch {newest}, but the query would write \
             epoch {epoch}: the folder belongs to another checkpoint location; use that one, or choose an empty \
             folder",
            self.sink,
            self.path.display()
        )))
    }

    /// Makes a hidden file.
    pub(super) fn create_hidden(&self, part: Part) -> Result<(File, String)> {
        for attempt in 0..FILE_ATTEMPTS {
            let name = part.hidden(attempt);
            let path = self.path.join(&name);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, name)),
                // Left by an attempt that was not cleaned up yet.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &path, error)),
            }
        }
        Err(ConnectorError::internal(format!(
            "sink `{}` found {FILE_ATTEMPTS} hidden files of one part in `{}`",
            self.sink,
            self.path.display()
        )))
    }

    /// Deletes all hidden files of ours.
    pub(super) fn delete_hidden(&self) -> Result<()> {
        self.lock.take(&self.sink, &self.path)?;
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list the folder", &self.path, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|cause| failed("list the folder", &self.path, cause))?;
            let ours =
                entry.file_name().to_str().is_some_and(|name| names::parse(name) == Some(Name::Hidden));
            if ours {
                delete(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Deletes the files that a reader of the folder would find, other than those of this run, and the
    /// partition folders that are empty then.
    pub(super) fn delete_others(&self) -> Result<()> {
        let mut others = Vec::new();
        self.visit(|path, relative| {
            if !self.is_of_this_run(relative) {
                others.push((path.to_owned(), relative.to_owned()));
            }
            Ok(())
        })?;
        for (path, relative) in &others {
            delete(path)?;
            let mut folder = Path::new(relative).parent();
            while let Some(empty) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
                // It fails as long as something is in it.
                if fs::remove_dir(self.path.join(empty)).is_err() {
                    break;
                }
                folder = empty.parent();
            }
        }
        if others.is_empty() { Ok(()) } else { sync_folder(&self.path) }
    }
}

fn name_of(relative: &str) -> &str {
    relative.rsplit('/').next().unwrap_or(relative)
}

fn delete(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(listing::failed("delete", path, error)),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    // Elsewhere a folder cannot be synced, and need not be.
    if cfg!(unix) {
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(|cause| failed("sync the folder", path, cause))?;
    }
    Ok(())
}
