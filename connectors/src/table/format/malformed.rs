//! What becomes of records that cannot be read.

use super::BadRecord;
use crate::error::{ConnectorError, Result};
use crate::limits::TEXT_SHOWN_BYTES;
use crate::table::{OptionSpec, Options};
use arrow::datatypes::{DataType, Schema};
use std::path::{Path, PathBuf};

/// The option that says what becomes of malformed records.
pub(super) const MODE: OptionSpec = OptionSpec::new(
    "mode",
    "PERMISSIVE",
    "what becomes of a malformed record: PERMISSIVE (nulls where it cannot be read), DROPMALFORMED, FAILFAST",
);
/// The option that names the column for the text of malformed records.
pub(super) const CORRUPT: OptionSpec = OptionSpec::new(
    "columnNameOfCorruptRecord",
    "_corrupt_record",
    "the column that gets the text of a malformed record, if the schema has it; of type STRING",
);

/// What becomes of malformed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Permissive,
    DropMalformed,
    FailFast,
}

impl Mode {
    pub(super) fn of(options: &Options) -> Result<Self> {
        let parsed = options.parsed(MODE.name, "PERMISSIVE, DROPMALFORMED or FAILFAST", |value| {
            Some(match value.to_ascii_uppercase().as_str() {
                "PERMISSIVE" => Mode::Permissive,
                "DROPMALFORMED" => Mode::DropMalformed,
                "FAILFAST" => Mode::FailFast,
                _ => return None,
            })
        })?;
        Ok(parsed.unwrap_or(Mode::Permissive))
    }
}

/// The name of the column for the text of malformed records.
pub(super) fn corrupt_name(options: &Options) -> &str {
    options.get(CORRUPT.name).unwrap_or(CORRUPT.default)
}

/// Where the column for the text of malformed records stands, if the schema has it.
pub(super) fn corrupt_column(schema: &Schema, options: &Options) -> Result<Option<usize>> {
    let name = corrupt_name(options);
    let Some((index, field)) = schema.column_with_name(name) else { return Ok(None) };
    if *field.data_type() != DataType::Utf8 || !field.is_nullable() {
        return Err(ConnectorError::user(format!(
            "column `{name}` gets the text of malformed records: it must be a STRING that may be null, not {}",
            field.data_type()
        )));
    }
    Ok(Some(index))
}

/// At most the first kilobyte or so of a text, for a message.
pub(super) fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= TEXT_SHOWN_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    format!("{}...", String::from_utf8_lossy(&bytes[..TEXT_SHOWN_BYTES]))
}

/// Collects the bad records of a file, or fails at the first.
#[derive(Debug)]
pub(super) struct BadRecords {
    path: PathBuf,
    mode: Mode,
    found: Vec<BadRecord>,
}

impl BadRecords {
    pub(super) fn new(path: &Path, mode: Mode) -> Self {
        BadRecords { path: path.to_owned(), mode, found: Vec::new() }
    }

    /// Notes a record. Whether its row stays.
    pub(super) fn add(&mut self, line: u64, text: &[u8], reason: String) -> Result<bool> {
        if self.mode == Mode::FailFast {
            return Err(ConnectorError::user(format!(
                "`{}`, line {line}: {reason}: `{}`. With option `mode` PERMISSIVE or DROPMALFORMED such records \
                 do not end the query",
                self.path.display(),
                shown(text)
            )));
        }
        self.found.push(BadRecord { line, text: String::from_utf8_lossy(text).into_owned(), reason });
        Ok(self.mode == Mode::Permissive)
    }

    /// What was noted since the last call.
    pub(super) fn take(&mut self) -> Vec<BadRecord> {
        std::mem::take(&mut self.found)
    }
}
