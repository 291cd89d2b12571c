//! One instance of a sink: rows to hidden files.

use super::Factory;
use super::commit::Handle;
use super::names::Part;
use super::split::Split;
use super::target::{Target, sync_folder};
use crate::error::Result;
use crate::limits::SINK_OPEN_FILES;
use crate::sink::{Prepare, Sink};
use crate::table::files::listing::failed;
use crate::table::format::FileWriter;
use arrow::array::RecordBatch;
use lotic_operators::table::TableBatch;
use lotic_operators::{Batch, Epoch, Instance};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// A file of this epoch.
struct Output {
    hidden: String,
    visible: String,
    /// `None` once it is ended.
    writer: Option<Box<dyn FileWriter>>,
    rows: u64,
    /// When it was last written to, in batches.
    used: u64,
}

impl Output {
    /// Ends the file, without syncing it.
    fn end(&mut self) -> Result<()> {
        match self.writer.take() {
            Some(writer) => writer.finish().map(drop),
            None => Ok(()),
        }
    }

    /// Ends the file if that is still to be done, and makes it durable.
    fn sync(&mut self, target: &Target) -> Result<()> {
        let path = target.path.join(&self.hidden);
        let file = match self.writer.take() {
            Some(writer) => writer.finish()?,
            None => std::fs::File::open(&path).map_err(|cause| failed("open", &path, cause))?,
        };
        file.sync_all().map_err(|cause| failed("sync", &path, cause))
    }
}

/// What was written of one epoch.
#[derive(Default)]
struct EpochFiles {
    files: Vec<Output>,
    /// The file that rows of a folder go to.
    current: HashMap<String, usize>,
    writing: usize,
}

pub(super) struct Writer {
    factory: Arc<Factory>,
    split: Split,
    instance: usize,
    epoch: Epoch,
    discards: bool,
    files: EpochFiles,
    batches: u64,
}

impl Writer {
    pub(super) fn new(factory: Arc<Factory>, instance: Instance) -> Self {
        Writer {
            split: factory.split.clone(),
            factory,
            instance: instance.index,
            epoch: Epoch::NONE,
            discards: false,
            files: EpochFiles::default(),
            batches: 0,
        }
    }

    /// Appends rows of one folder, to as many files as the limits ask for.
    fn append(&mut self, folder: &str, rows: &RecordBatch) -> Result<()> {
        let limits = self.factory.limits;
        let mut done = 0;
        while done < rows.num_rows() {
            let at = match self.files.current.get(folder) {
                Some(&at) => at,
                None => self.begin(folder)?,
            };
            let output = &mut self.files.files[at];
            let room = usize::try_from(limits.rows - output.rows).unwrap_or(usize::MAX);
            let part = rows.slice(done, room.min(rows.num_rows() - done));
            let writer = output.writer.as_mut().expect("invariant: rows go to files that are not ended");
            writer.write(&part)?;
            output.rows += part.num_rows() as u64;
            output.used = self.batches;
            done += part.num_rows();
            if output.rows >= limits.rows || writer.bytes() >= limits.bytes {
                // It is ended when the epoch is prepared.
                self.files.current.remove(folder);
            }
        }
        Ok(())
    }

    /// Begins a file for a folder.
    fn begin(&mut self, folder: &str) -> Result<usize> {
        if self.files.writing >= SINK_OPEN_FILES {
            self.end_oldest()?;
        }
        let factory = &self.factory;
        factory.wrote.store(true, Ordering::Relaxed);
        let at = self.files.files.len();
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let part = Part { epoch: self.epoch, instance: self.instance, number };
        let (file, hidden) = factory.target.create_hidden(part)?;
        let writer = factory.format.create(&self.split.schema, &factory.options, file)?;
        let visible = format!("{folder}{}", part.visible(factory.target.run, &factory.extension));
        self.files.files.push(Output { hidden, visible, writer: Some(writer), rows: 0, used: self.batches });
        self.files.current.insert(folder.to_owned(), at);
        self.files.writing += 1;
        Ok(at)
    }

    /// Ends the file that was not written to for longest.
    fn end_oldest(&mut self) -> Result<()> {
        let open = self.files.files.iter_mut().enumerate().filter(|(_, file)| file.writer.is_some());
        if let Some((at, file)) = open.min_by_key(|(_, file)| file.used) {
            file.end()?;
            self.files.writing -= 1;
            self.files.current.retain(|_, current| *current != at);
        }
        Ok(())
    }
}

impl Sink<TableBatch> for Writer {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.epoch = epoch;
        self.discards = !self.factory.target.open(epoch)?;
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let Some(rows) = batch.take().filter(|_| !self.discards) else { return Ok(()) };
        self.batches += 1;
        for (folder, rows) in self.split.split(rows.rows_left())? {
            self.append(&folder, &rows)?;
        }
        Ok(())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.epoch = epoch.next();
        let mut files = std::mem::take(&mut self.files).files;
        let bounded = self.factory.target.save_mode.is_some() && !self.discards;
        // The commit of a bounded write has more to do than to show files.
        if files.is_empty() && !bounded {
            return Ok(None);
        }
        let target = self.factory.target.clone();
        Ok(Some(Box::new(move || {
            for file in &mut files {
                file.sync(&target)?;
            }
            sync_folder(&target.path)?;
            Handle::new(files.into_iter().map(|file| (file.hidden, file.visible)).collect()).encode()
        })))
    }
}
