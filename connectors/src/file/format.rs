//! How a row becomes a line.

use serde::Serialize;
use std::fmt::Display;
use std::io::Write;

/// How a row becomes a line of a file.
pub trait LineFormat<T> {
    /// What the names of files end in: letters and digits.
    const EXTENSION: &'static str;

    /// Appends the row, without a line break.
    ///
    /// # Errors
    /// Why the row cannot be written.
    fn append(&self, row: &T, line: &mut Vec<u8>) -> Result<(), String>;
}

/// Each row is one line of JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonLines;

impl<T: Serialize> LineFormat<T> for JsonLines {
    const EXTENSION: &'static str = "jsonl";

    fn append(&self, row: &T, line: &mut Vec<u8>) -> Result<(), String> {
        serde_json::to_writer(line, row).map_err(|error| error.to_string())
    }
}

/// Each row is one line of text, as it displays. A row that contains a line break is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

impl<T: Display> LineFormat<T> for Lines {
    const EXTENSION: &'static str = "txt";

    fn append(&self, row: &T, line: &mut Vec<u8>) -> Result<(), String> {
        write!(line, "{row}").map_err(|error| error.to_string())
    }
}
