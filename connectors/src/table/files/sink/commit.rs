//! Makes the files of an epoch visible.

use super::Factory;
use super::names::{self, Name, Part};
use super::target::sync_folder;
use crate::error::{ConnectorError, Result};
use crate::sink::Committer;
use crate::table::SaveMode;
use crate::table::files::listing::failed;
use lotic_operators::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const VERSION: u32 = 1;

/// What a commit needs: for each file, its hidden name and its path within the folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handle {
    version: u32,
    files: Vec<(String, String)>,
}

impl Handle {
    pub(super) fn new(files: Vec<(String, String)>) -> Self {
        Handle { version: VERSION, files }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| ConnectorError::internal(format!("a handle could not be encoded: {error}")))
    }

    /// Reads a handle and makes sure that it names files of a sink, so that nothing else can be renamed.
    fn decode(bytes: &[u8]) -> Result<Handle, String> {
        let handle: Handle = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if handle.version != VERSION {
            return Err(format!("version {} is unknown", handle.version));
        }
        for (hidden, visible) in &handle.files {
            if names::parse(hidden) != Some(Name::Hidden) {
                return Err(format!("{hidden:?} is not the name of an in-progress file"));
            }
            if !names::is_visible_path(visible) {
                return Err(format!("{visible:?} is not the path of an output file"));
            }
        }
        Ok(handle)
    }
}

pub(super) struct FilesCommitter(pub(super) Arc<Factory>);

impl FilesCommitter {
    fn exists(path: &Path) -> Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(failed("look up", path, error)),
        }
    }

    /// Renames a file to its place. The folders to be synced afterwards are added to `changed`.
    fn show(
        &self,
        epoch: Epoch,
        (hidden, visible): &(String, String),
        changed: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        let (sink, root) = (&self.0.target.sink, &self.0.target.path);
        let (from, to) = (root.join(hidden), root.join(visible));
        match (Self::exists(&from)?, Self::exists(&to)?) {
            (true, false) => {
                let folder = to.parent().unwrap_or(root);
                fs::create_dir_all(folder).map_err(|cause| failed("make the folder", folder, cause))?;
                fs::rename(&from, &to).map_err(|cause| failed("rename", &from, cause))?;
            }
            // Committed before; perhaps the name did not become durable then.
            (false, true) => {}
            (true, true) => {
                return Err(ConnectorError::user(format!(
                    "sink `{sink}` cannot commit epoch {epoch}: `{}` exists already; another query writes to the \
                     same folder, choose one folder for each",
                    to.display()
                )));
            }
            (false, false) => {
                return Err(ConnectorError::external(
                    format!("sink `{sink}` cannot commit epoch {epoch} to `{}`", to.display()),
                    format!("its prepared file `{hidden}` was deleted by someone else"),
                ));
            }
        }
        // The folders may be new, so their names in turn are to be durable, up to the sink's own.
        let folders = to.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
        changed.extend(folders.map(Path::to_owned));
        Ok(())
    }

    /// Makes a file without rows if a bounded write had none and there is nothing else to read.
    fn leave_columns(&self, epoch: Epoch, changed: &mut BTreeSet<PathBuf>) -> Result<()> {
        let Factory { target, format, split, options, .. } = self.0.as_ref();
        let Some(save_mode) = target.save_mode else { return Ok(()) };
        if self.0.wrote.load(Ordering::Relaxed) || target.has_files(save_mode == SaveMode::Overwrite)? {
            return Ok(());
        }
        let part = Part { epoch, instance: 0, number: 0 };
        let (file, hidden) = target.create_hidden(part)?;
        let file = format.create(&split.schema, options, file)?.finish()?;
        file.sync_all().map_err(|cause| failed("sync", &target.path.join(&hidden), cause))?;
        self.show(epoch, &(hidden, part.visible(target.run, &self.0.extension)), changed)
    }
}

impl FilesCommitter {
    /// Makes visible what one instance prepared.
    fn commit_part(&mut self, epoch: Epoch, handle: &[u8]) -> Result<()> {
        let handle = Handle::decode(handle).map_err(|cause| {
            ConnectorError::user(format!(
                "sink `{}` does not understand its handle for epoch {epoch} ({cause}): the checkpoint was \
                 written by another kind or version of sink; start from a new checkpoint location",
                self.0.target.sink
            ))
        })?;
        self.0.target.lock.take(&self.0.target.sink, &self.0.target.path)?;
        let mut changed = BTreeSet::new();
        for file in &handle.files {
            self.show(epoch, file, &mut changed)?;
        }
        self.leave_columns(epoch, &mut changed)?;
        for folder in changed.iter().rev() {
            sync_folder(folder)?;
        }
        if self.0.target.save_mode == Some(SaveMode::Overwrite) {
            self.0.target.delete_others()?;
        }
        Ok(())
    }
}

impl Committer for FilesCommitter {
    fn last_committed(&mut self) -> Result<Epoch> {
        self.0.target.newest_epoch()
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        handles.iter().try_for_each(|handle| self.commit_part(epoch, handle))
    }

    fn abort_prepared(&mut self) -> Result<()> {
        self.0.target.delete_hidden()
    }
}
