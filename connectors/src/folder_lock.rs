//! One writer at a time in a folder.

use crate::error::{ConnectorError, Result};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The right to write to a folder: taken when it is first needed, given back with the last clone or at the
/// end of the process. Two sinks in one folder would delete and rename each other's hidden files.
///
/// The lock is on the folder itself, so that no file is left behind and every name of the folder means the
/// same lock. Where folders cannot be locked (some network drives, Windows) nothing is refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct FolderLock(Arc<Mutex<Option<File>>>);

impl FolderLock {
    /// Takes the lock unless it is held already; nothing happens if the folder is missing.
    ///
    /// # Errors
    /// If another sink holds it, in this process or in another one.
    pub(crate) fn take(&self, sink: &str, folder: &Path) -> Result<()> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        // What cannot be opened is told by whatever is done with it next.
        let Ok(opened) = File::open(folder) else { return Ok(()) };
        match opened.try_lock() {
            Ok(()) => *held = Some(opened),
            Err(TryLockError::WouldBlock) => {
                return Err(ConnectorError::user(format!(
                    "sink `{sink}` cannot write to `{}`: another running query writes to this folder; stop \
                     that one first, or choose one folder for each",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => {
                tracing::debug!("`{}` cannot be locked: {error}", folder.display());
            }
        }
        Ok(())
    }
}
