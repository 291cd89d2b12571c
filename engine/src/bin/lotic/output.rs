//! Standard output: results alone go there.

use crate::args::RowFormat;
use crate::fault::Fault;
use crate::progress::Progress;
use crate::rows::RowText;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lotic::connectors::table::{TableFormat, WriteRequest};
use lotic::connectors::{ConnectorError, Delivery, Result, Sink, SinkFactory, SinkTraits};
use lotic::operators::table::TableBatch;
use lotic::operators::{Epoch, Instance};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// Called when standard output is found closed.
type OnClosed = Box<dyn Fn() + Send + Sync>;

/// Standard output, shared by all that write results.
pub(crate) struct Output {
    format: RowFormat,
    progress: Arc<Progress>,
    closed: AtomicBool,
    on_closed: OnClosed,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output({:?})", self.format)
    }
}

impl Output {
    pub(crate) fn new(format: RowFormat, progress: Arc<Progress>, on_closed: OnClosed) -> Output {
        Output { format, progress, closed: AtomicBool::new(false), on_closed }
    }

    /// Whether nobody reads it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Writes and flushes. A reader that has gone is no error: what follows is dropped.
    fn put(&self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() || self.is_closed() {
            return Ok(());
        }
        let written = self.progress.aside(|| {
            let mut out = io::stdout().lock();
            out.write_all(text).and_then(|()| out.flush())
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Release);
                (self.on_closed)();
                Ok(())
            }
            other => other,
        }
    }

    /// Writes a result while it is computed; as a table at its end, since its columns are as wide as its cells.
    pub(crate) fn result(
        &self,
        schema: SchemaRef,
        batches: &mut dyn Iterator<Item = std::result::Result<RecordBatch, Fault>>,
    ) -> std::result::Result<(), Fault> {
        let mut rows = RowText::new(self.format, schema);
        let mut write = |batches: &[RecordBatch], last: bool| -> Result<()> {
            let mut text = Vec::new();
            rows.write(batches, true, &mut text).map_err(cannot_show)?;
            if last {
                rows.finish(&mut text);
            }
            self.put(&text).map_err(cannot_write)
        };
        let mut held = Vec::new();
        for batch in batches {
            match self.format {
                RowFormat::Table => held.push(batch?),
                RowFormat::Csv | RowFormat::Json => write(&[batch?], false)?,
            }
            if self.is_closed() {
                return Ok(());
            }
        }
        Ok(write(&held, true)?)
    }
}

fn cannot_write(error: io::Error) -> ConnectorError {
    ConnectorError::external("standard output cannot be written", error)
}

fn cannot_show(error: arrow::error::ArrowError) -> ConnectorError {
    ConnectorError::user(format!(
        "the rows cannot be written in this format: {error}; cast the column, or try another --format"
    ))
}

/// Standard output as a sink: rows are shown as they come.
///
/// # Delivery
/// At least once, visible at once.
#[derive(Debug, Clone)]
pub(crate) struct StdoutFormat {
    output: Arc<Output>,
    rows: Arc<Mutex<Option<RowText>>>,
}

impl StdoutFormat {
    pub(crate) const NAME: &str = "stdout";

    pub(crate) fn new(output: Arc<Output>) -> StdoutFormat {
        StdoutFormat { output, rows: Arc::new(Mutex::new(None)) }
    }

    /// Writes what ends the output.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut text = Vec::new();
        if let Some(mut rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take() {
            rows.finish(&mut text);
        }
        self.output.put(&text).map_err(cannot_write)
    }
}

impl TableFormat for StdoutFormat {
    fn name(&self) -> &'static str {
        StdoutFormat::NAME
    }

    fn summary(&self) -> &'static str {
        "Standard output of the command line."
    }

    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        request.options.check(StdoutFormat::NAME, &[])?;
        // A restart of the query goes on under the header that is there.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        *rows = Some(RowText::new(self.output.format, SchemaRef::clone(&request.schema)));
        Ok(Box::new(self.clone()))
    }
}

impl SinkFactory<TableBatch> for StdoutFormat {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: StdoutFormat::NAME.to_owned(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: 1,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sink<TableBatch> for StdoutFormat {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let rows = batch.split_front(usize::MAX);
        let mut text = Vec::new();
        if let Some(shown) = &mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner) {
            shown.write(&[rows], false, &mut text).map_err(cannot_show)?;
        }
        self.output.put(&text).map_err(cannot_write)
    }
}
