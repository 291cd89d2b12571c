//! A sink that writes rows as lines to files in a folder, exactly once.
//!
//! # Layout
//! Each instance writes each epoch that has rows to one file. While the epoch is open the file is hidden
//! (`.part-000000000007-000-0.inprogress`); the commit renames it to `part-000000000007-000.jsonl`: epoch,
//! instance, and the ending of the format. Files that are not named like this are left alone. A folder
//! belongs to one query and its checkpoint location. A program that moves finished files away leaves those
//! of the newest epoch in place: after a crash they are how a commit is known to have been done.
//!
//! | moment | what is on disk | after a crash |
//! |---|---|---|
//! | rows are written | hidden file, perhaps incomplete | deleted, rows come again |
//! | prepared | hidden file, complete and synced | committed if the checkpoint is durable, else deleted |
//! | committed | visible file | stays; a second commit finds it and does nothing |
//!
//! ```
//! use lotic_connectors::FileSink;
//! let results = FileSink::json_lines("/data/results").named("results");
//! # let _ = results;
//! ```

mod commit;
pub(crate) mod folder;
mod format;
mod writer;

pub use format::{JsonLines, LineFormat, Lines};

use crate::error::Result;
use crate::limits::PARALLELISM;
use crate::sink::{Committer, Delivery, Sink, SinkFactory, SinkTraits};
use folder::Folder;
use lotic_operators::{Instance, Rows};
use std::path::PathBuf;

/// A sink that writes rows as lines to files in a folder.
///
/// The folder is made if it is missing. Its rules are those of the [module](self).
///
/// # Delivery
/// Exactly once: the rows of an epoch become visible with its commit, as whole files.
///
/// # Cost
/// Writing collects lines in memory and hands 64 KiB at a time to the operating system. Two syncs for each
/// epoch and instance, off the data path. One file for each epoch and instance: with epochs of 10 ms that
/// is 100 files a second, so choose longer epochs where the folder is to be read by others.
#[derive(Debug, Clone)]
pub struct FileSink<F> {
    folder: Folder,
    format: F,
}

impl FileSink<JsonLines> {
    /// Writes each row as one line of JSON, to files ending in `.jsonl`.
    pub fn json_lines(folder: impl Into<PathBuf>) -> Self {
        FileSink::with_format(folder, JsonLines)
    }
}

impl FileSink<Lines> {
    /// Writes each row as it displays, to files ending in `.txt`.
    pub fn lines(folder: impl Into<PathBuf>) -> Self {
        FileSink::with_format(folder, Lines)
    }
}

impl<F> FileSink<F> {
    /// Writes rows in a format of your own.
    pub fn with_format(folder: impl Into<PathBuf>, format: F) -> Self {
        FileSink { folder: Folder::new("file", folder.into()), format }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.folder.sink = name.into();
        self
    }
}

impl<T, F> SinkFactory<Rows<T>> for FileSink<F>
where
    T: Send + 'static,
    F: LineFormat<T> + Clone + Send + 'static,
{
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.folder.sink.clone(),
            delivery: Delivery::ExactlyOnce,
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<T>>>> {
        Ok(Box::new(writer::Writer::new(self.folder.clone(), self.format.clone(), instance)))
    }

    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(commit::FileCommitter::new(self.folder.clone()))))
    }
}
