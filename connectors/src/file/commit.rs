//! Makes the files of an epoch visible.

use super::folder::{self, Folder, Name};
use crate::error::{ConnectorError, Result};
use crate::sink::Committer;
use lotic_operators::Epoch;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;

const VERSION: u32 = 1;

/// What a commit needs: names within the folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handle {
    version: u32,
    hidden: String,
    visible: String,
}

impl Handle {
    pub(super) fn new(hidden: String, visible: String) -> Self {
        Handle { version: VERSION, hidden, visible }
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
        if folder::parse(&handle.hidden) != Some(Name::Hidden) {
            return Err(format!("{:?} is not the name of an in-progress file", handle.hidden));
        }
        match folder::parse(&handle.visible) {
            Some(Name::Visible(_)) => Ok(handle),
            _ => Err(format!("{:?} is not the name of an output file", handle.visible)),
        }
    }
}

pub(super) struct FileCommitter {
    folder: Folder,
}

impl FileCommitter {
    pub(super) fn new(folder: Folder) -> Self {
        FileCommitter { folder }
    }

    fn exists(&self, name: &str) -> Result<bool> {
        match fs::symlink_metadata(self.folder.path_of(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.folder.failed("look up", name, error)),
        }
    }

    fn rename(&self, handle: &Handle) -> Result<()> {
        fs::rename(self.folder.path_of(&handle.hidden), self.folder.path_of(&handle.visible))
            .map_err(|cause| self.folder.failed("rename", &handle.hidden, cause))
    }
}

impl FileCommitter {
    /// Makes visible what one instance prepared.
    fn commit_part(&mut self, epoch: Epoch, handle: &[u8]) -> Result<()> {
        let sink = &self.folder.sink;
        let handle = Handle::decode(handle).map_err(|cause| {
            ConnectorError::user(format!(
                "sink `{sink}` does not understand its handle for epoch {epoch} ({cause}): the checkpoint \
                 was written by another kind or version of sink; start from a new checkpoint location"
            ))
        })?;
        self.folder.lock()?;
        let visible = self.folder.path_of(&handle.visible);
        match (self.exists(&handle.hidden)?, self.exists(&handle.visible)?) {
            (true, false) => self.rename(&handle)?,
            // Committed before; perhaps the name did not become durable then.
            (false, true) => {}
            (true, true) => {
                return Err(ConnectorError::user(format!(
                    "sink `{sink}` cannot commit epoch {epoch}: `{}` exists already; another query writes to \
                     the same folder, choose one folder for each",
                    visible.display()
                )));
            }
            (false, false) => {
                return Err(ConnectorError::external(
                    format!("sink `{sink}` cannot commit epoch {epoch} to `{}`", visible.display()),
                    format!("its prepared file `{}` was deleted by someone else", handle.hidden),
                ));
            }
        }
        self.folder.sync()
    }
}

impl Committer for FileCommitter {
    fn last_committed(&mut self) -> Result<Epoch> {
        self.folder.newest_epoch()
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        handles.iter().try_for_each(|handle| self.commit_part(epoch, handle))
    }

    fn abort_prepared(&mut self) -> Result<()> {
        self.folder.lock()?;
        let hidden = self.folder.list()?.into_iter().filter(|(_, name)| *name == Name::Hidden);
        for (name, _) in hidden {
            match fs::remove_file(self.folder.path_of(&name)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(self.folder.failed("delete", &name, error)),
            }
        }
        Ok(())
    }
}
