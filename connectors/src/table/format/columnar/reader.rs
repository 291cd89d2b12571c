//! A file being read, and what goes wrong with it.

use super::plan::Plan;
use crate::error::{ConnectorError, Result};
use crate::table::format::FileReader;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use std::error::Error;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The batches of a file as its library decodes them.
pub(in super::super) type Decoded = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Opens a file for reading.
///
/// # Errors
/// If the system refuses, naming the file.
pub(in super::super) fn open(path: &Path) -> Result<File> {
    File::open(path)
        .map_err(|cause| ConnectorError::external(format!("cannot open `{}`", path.display()), cause))
}

/// How many bytes a file has.
///
/// # Errors
/// If the system refuses or the file is empty: every columnar file has a footer.
pub(in super::super) fn file_size(file: &File, format: &str, path: &Path) -> Result<u64> {
    let metadata = file
        .metadata()
        .map_err(|cause| ConnectorError::external(format!("cannot read `{}`", path.display()), cause))?;
    match metadata.len() {
        _ if metadata.is_dir() => Err(damaged(format, path, "it is a folder")),
        0 => Err(damaged(format, path, "it is empty (0 bytes)")),
        size => Ok(size),
    }
}

/// Calls a library that decodes a file. An error, or a panic over bytes that it did not expect, becomes an
/// error that names the file.
///
/// # Errors
/// Those of the library.
pub(in super::super) fn guarded<T, E: Error + 'static>(
    format: &str,
    path: &Path,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(match system_failure(&cause) {
            Some(failure) => {
                ConnectorError::external(format!("cannot read `{}`", path.display()), failure.to_string())
            }
            None => damaged(format, path, &cause.to_string()),
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(damaged(format, path, &format!("its content is impossible ({text})")))
        }
    }
}

fn damaged(format: &str, path: &Path, cause: &str) -> ConnectorError {
    ConnectorError::user(format!(
        "cannot read `{}` as {format}: {cause}. It is damaged, cut short or of another format",
        path.display()
    ))
}

/// The failure of the system that caused an error, if one did. A seek to nowhere is the file's fault.
fn system_failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    let mut chain = std::iter::from_fn(|| {
        let error = next?;
        next = error.source();
        Some(error)
    });
    chain
        .by_ref()
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .find(|error| error.raw_os_error().is_some() && error.kind() != io::ErrorKind::InvalidInput)
}

/// A columnar file being read.
pub(in super::super) struct ColumnarReader {
    format: &'static str,
    path: PathBuf,
    plan: Plan,
    /// `None` at the end and after an error.
    decoded: Option<Decoded>,
    rest: Option<RecordBatch>,
}

impl ColumnarReader {
    pub(in super::super) fn new(format: &'static str, path: &Path, plan: Plan, decoded: Decoded) -> Self {
        ColumnarReader { format, path: path.to_path_buf(), plan, decoded: Some(decoded), rest: None }
    }

    /// The next batch that has rows.
    fn decode(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(mut decoded) = self.decoded.take() {
            let batch = guarded(self.format, &self.path, || decoded.next().transpose())?;
            let Some(batch) = batch else { break };
            if batch.num_rows() == 0 {
                self.decoded = Some(decoded);
                continue;
            }
            let rows = self.plan.apply(&batch, &self.path)?;
            self.decoded = Some(decoded);
            return Ok(Some(rows));
        }
        Ok(None)
    }
}

impl FileReader for ColumnarReader {
    fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.decode()? {
                Some(batch) => batch,
                None => return Ok(None),
            },
        };
        let rows_max = rows_max.max(1);
        if batch.num_rows() <= rows_max {
            return Ok(Some(batch));
        }
        self.rest = Some(batch.slice(rows_max, batch.num_rows() - rows_max));
        Ok(Some(batch.slice(0, rows_max)))
    }
}
