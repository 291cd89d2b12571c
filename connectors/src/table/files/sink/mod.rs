//! Rows of a table as files in a folder, exactly once.
//!
//! # Layout
//! Each instance writes the rows of each epoch to one file, or to more if `partition_by`, `maxRowsPerFile` or
//! `maxFileBytes` say so. While the epoch is open they are hidden in the sink's folder; the commit renames them
//! to their names, in partition folders where asked for. A reader that leaves out names beginning with `.`
//! sees complete and committed files only. A folder belongs to one query and its checkpoint location; a program
//! that moves finished files away leaves those of the newest epoch in place: after a crash they are how a
//! commit is known to have been done.
//!
//! | moment | what is on disk | after a crash |
//! |---|---|---|
//! | rows are written | hidden files, perhaps incomplete | deleted, rows come again |
//! | prepared | hidden files, complete and synced | committed if the checkpoint is durable, else deleted |
//! | committed | visible files | stay; a second commit finds them and does nothing |
//!
//! # How large files are
//! A file never holds rows of two epochs, since it is shown whole when its epoch is committed: each epoch gives
//! one file or more for each instance and partition folder that has rows. For fewer and larger files make
//! epochs longer (`Trigger::continuous("1 minute")`, `Trigger::processing_time("1 minute")`; rows are visible
//! that much later), lower the parallelism, or compact the folder from time to time with a bounded query into
//! another one.
//!
//! # Bounded writes
//! The save mode decides what becomes of the files that are there: those that a read of the folder would find.
//! Overwrite deletes them with the first commit, after the new files have their names. Their epochs begin at 1
//! each time, so a bounded write is repeated as a whole if its process dies. A write of no rows to a folder
//! without files, or that overwrites, leaves one file without rows, in which a reader finds the columns as far
//! as the format tells them (Parquet, ORC, CSV with a header).

mod commit;
mod names;
mod split;
mod target;
mod writer;

use super::settings::{self, FileLimits};
use crate::error::Result;
use crate::folder_lock::FolderLock;
use crate::limits::PARALLELISM;
use crate::sink::{Committer, Delivery, Sink, SinkFactory, SinkTraits};
use crate::table::format::FileFormat;
use crate::table::{Options, WriteRequest};
use lotic_operators::Instance;
use lotic_operators::key::hash_of;
use lotic_operators::table::TableBatch;
use split::Split;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use target::Target;

/// What the instances of a sink share.
#[derive(Debug)]
struct Factory {
    format: Arc<dyn FileFormat>,
    options: Options,
    /// `csv`, `csv.gz`.
    extension: String,
    split: Split,
    limits: FileLimits,
    target: Target,
    /// Whether any instance has begun a file.
    wrote: AtomicBool,
}

/// A sink of files; the options were checked to be known.
pub(super) fn factory(
    format: Arc<dyn FileFormat>,
    request: &WriteRequest,
) -> Result<Box<dyn SinkFactory<TableBatch>>> {
    let path = settings::path_of(&request.options)?;
    let split = Split::new(&request.schema, &request.partition_by)?;
    format.check_write(&split.schema, &request.options)?;
    let suffix = format.compression_suffix(&request.options)?;
    let target = Target {
        sink: format.name().to_owned(),
        // The process may change its working folder later.
        path: std::path::absolute(Path::new(&path)).unwrap_or_else(|_| path.into()),
        save_mode: request.save_mode,
        run: request.save_mode.map(|_| run_number()),
        lock: FolderLock::default(),
    };
    Ok(Box::new(FilesSink(Arc::new(Factory {
        extension: format!("{}{suffix}", format.extension()),
        limits: FileLimits::new(&request.options)?,
        options: request.options.clone(),
        format,
        split,
        target,
        wrote: AtomicBool::new(false),
    }))))
}

/// A number that no other bounded write has.
fn run_number() -> u64 {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    hash_of(&(now, std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed)))
}

struct FilesSink(Arc<Factory>);

impl SinkFactory<TableBatch> for FilesSink {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.0.target.sink.clone(),
            delivery: Delivery::ExactlyOnce,
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(writer::Writer::new(Arc::clone(&self.0), instance)))
    }

    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(commit::FilesCommitter(Arc::clone(&self.0)))))
    }
}
