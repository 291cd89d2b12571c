//! One instance of a file sink: rows to a hidden file.

use super::commit::Handle;
use super::folder::{self, Folder};
use super::format::LineFormat;
use crate::error::{ConnectorError, Result};
use crate::limits::FILE_BUFFER_BYTES;
use crate::sink::{Prepare, Sink};
use lotic_operators::{Epoch, Instance, Rows};
use std::fs::File;
use std::io::Write;
use std::task::Waker;

/// What was written of one epoch. The file is made when the buffer first overflows: a short epoch costs no
/// system call before it is prepared.
#[derive(Debug, Default)]
struct Part {
    buffer: Vec<u8>,
    file: Option<(File, String)>,
    rows: u64,
}

impl Part {
    /// Hands the buffer to the operating system.
    fn spill(&mut self, folder: &Folder, epoch: Epoch, instance: usize) -> Result<()> {
        let (file, name) = match &mut self.file {
            Some(open) => open,
            missing => missing.insert(folder.create_hidden(epoch, instance)?),
        };
        file.write_all(&self.buffer).map_err(|cause| folder.failed("write to", name, cause))?;
        self.buffer.clear();
        Ok(())
    }
}

pub(super) struct Writer<F> {
    folder: Folder,
    format: F,
    instance: usize,
    epoch: Epoch,
    part: Part,
}

impl<F> Writer<F> {
    pub(super) fn new(folder: Folder, format: F, instance: Instance) -> Self {
        Writer { folder, format, instance: instance.index, epoch: Epoch::NONE, part: Part::default() }
    }

    fn append<T>(&mut self, row: &T) -> Result<()>
    where
        F: LineFormat<T>,
    {
        let line_start = self.part.buffer.len();
        let mut appended = self.format.append(row, &mut self.part.buffer);
        if self.part.buffer[line_start..].contains(&b'\n') {
            appended = Err("it contains a line break; write such rows as JSON lines".to_owned());
        }
        if let Err(cause) = appended {
            self.part.buffer.truncate(line_start);
            return Err(ConnectorError::user(format!(
                "sink `{}` cannot write row {} of epoch {} as a line: {cause}",
                self.folder.sink,
                self.part.rows + 1,
                self.epoch
            )));
        }
        self.part.buffer.push(b'\n');
        self.part.rows += 1;
        Ok(())
    }
}

impl<T, F> Sink<Rows<T>> for Writer<F>
where
    T: Send + 'static,
    F: LineFormat<T> + Send + 'static,
{
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.epoch = epoch;
        self.folder.open(epoch)
    }

    fn write(&mut self, batch: &mut Rows<T>, _waker: &Waker) -> Result<()> {
        for row in batch {
            self.append(&row)?;
            if self.part.buffer.len() >= FILE_BUFFER_BYTES {
                self.part.spill(&self.folder, self.epoch, self.instance)?;
            }
        }
        Ok(())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.epoch = epoch.next();
        if self.part.rows == 0 {
            return Ok(None);
        }
        let mut part = std::mem::take(&mut self.part);
        let folder = self.folder.clone();
        let instance = self.instance;
        let visible = folder::visible(epoch, instance, F::EXTENSION);
        Ok(Some(Box::new(move || {
            part.spill(&folder, epoch, instance)?;
            let (file, hidden) = part.file.as_ref().expect("invariant: the spill opened it");
            file.sync_all().map_err(|cause| folder.failed("sync", hidden, cause))?;
            folder.sync()?;
            Handle::new(hidden.clone(), visible).encode()
        })))
    }
}
