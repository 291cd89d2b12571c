//! Writing a table as a CSV file.

use super::dialect::Dialect;
use crate::error::{ConnectorError, Result};
use crate::table::Options;
use crate::table::format::FileWriter;
use crate::table::format::compression::{Compression, Encoder};
use crate::table::format::times::Times;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write;
use std::fs::File;

/// A CSV file being written.
pub(super) struct CsvWriter {
    dialect: Dialect,
    times: Times,
    out: Encoder,
    /// Rows not yet given to `out`.
    rows: Vec<u8>,
}

/// The values of a column as they are shown.
enum Shown<'a> {
    Text(Box<dyn Fn(usize) -> &'a str + 'a>),
    Float(ArrayFormatter<'a>),
    Other(ArrayFormatter<'a>),
}

impl CsvWriter {
    pub(super) fn new(schema: &SchemaRef, options: &Options, file: File) -> Result<Self> {
        let mut writer = CsvWriter {
            dialect: Dialect::for_writing(options)?,
            times: Times::of(options)?,
            out: Encoder::new(Compression::of(options)?, file)?,
            rows: Vec::new(),
        };
        if writer.dialect.header {
            for (column, field) in schema.fields().iter().enumerate() {
                writer.separate(column);
                writer.append(field.name());
            }
            writer.rows.push(b'\n');
            writer.flush()?;
        }
        Ok(writer)
    }

    fn flush(&mut self) -> Result<()> {
        self.out.write(&self.rows)?;
        self.rows.clear();
        Ok(())
    }

    fn separate(&mut self, column: usize) {
        if column > 0 {
            self.rows.push(self.dialect.separator);
        }
    }

    /// Whether a value is read back as another one if it is not quoted.
    fn must_be_quoted(&self, value: &str) -> bool {
        let special = |byte: &u8| {
            *byte == self.dialect.separator
                || Some(*byte) == self.dialect.quote
                || matches!(byte, b'\n' | b'\r')
        };
        let bytes = value.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_none_or(|byte| *byte <= b' ');
        self.dialect.quote_all
            || edge(bytes.first())
            || edge(bytes.last())
            || bytes.iter().any(special)
            || value.starts_with('\u{feff}')
    }

    fn append(&mut self, value: &str) {
        let quote = self.dialect.quote.expect("invariant: the dialect was checked for writing");
        if !self.must_be_quoted(value) {
            self.rows.extend_from_slice(value.as_bytes());
            return;
        }
        let escape = self.dialect.escape.unwrap_or(quote);
        self.rows.push(quote);
        for byte in value.bytes() {
            if byte == quote || byte == escape {
                self.rows.push(escape);
            }
            self.rows.push(byte);
        }
        self.rows.push(quote);
    }

    fn append_null(&mut self, only_column: bool) {
        let null_value = std::mem::take(&mut self.dialect.null_value);
        // Nothing but a null would be a line of nothing, which is skipped.
        if only_column || !null_value.is_empty() {
            self.append(&null_value);
        }
        self.dialect.null_value = null_value;
    }

    fn append_rows(&mut self, rows: usize, columns: &[ArrayRef]) -> Result<(), ArrowError> {
        let format = FormatOptions::default();
        let shown: Result<Vec<Shown<'_>>, _> = columns.iter().map(|column| show(column, &format)).collect();
        let shown = shown?;
        let mut text = String::new();
        for row in 0..rows {
            for (index, (column, shown)) in columns.iter().zip(&shown).enumerate() {
                self.separate(index);
                if column.is_null(row) || *column.data_type() == DataType::Null {
                    self.append_null(columns.len() == 1);
                    continue;
                }
                match shown {
                    Shown::Text(value) => self.append(value(row)),
                    Shown::Float(formatter) | Shown::Other(formatter) => {
                        text.clear();
                        write!(text, "{}", formatter.value(row).try_to_string()?)
                            .map_err(|error| ArrowError::CastError(error.to_string()))?;
                        match (shown, text.as_str()) {
                            (Shown::Float(_), "inf") => self.append("Infinity"),
                            (Shown::Float(_), "-inf") => self.append("-Infinity"),
                            _ => self.append(&text),
                        }
                    }
                }
            }
            self.rows.push(b'\n');
        }
        Ok(())
    }
}

fn show<'a>(column: &'a ArrayRef, format: &'a FormatOptions<'a>) -> Result<Shown<'a>, ArrowError> {
    Ok(match column.data_type() {
        DataType::Utf8 => {
            let array = column.as_string::<i32>();
            Shown::Text(Box::new(|row| array.value(row)))
        }
        DataType::LargeUtf8 => {
            let array = column.as_string::<i64>();
            Shown::Text(Box::new(|row| array.value(row)))
        }
        DataType::Utf8View => {
            let array = column.as_string_view();
            Shown::Text(Box::new(|row| array.value(row)))
        }
        DataType::Float32 | DataType::Float64 => Shown::Float(ArrayFormatter::try_new(column, format)?),
        _ => Shown::Other(ArrayFormatter::try_new(column, format)?),
    })
}

impl FileWriter for CsvWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns: Result<Vec<ArrayRef>, _> =
            rows.columns().iter().map(|column| self.times.to_text(column)).collect();
        columns
            .and_then(|columns| self.append_rows(rows.num_rows(), &columns))
            .map_err(|error| ConnectorError::user(format!("a row cannot be written as CSV: {error}")))?;
        self.flush()
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(mut self: Box<Self>) -> Result<File> {
        self.flush()?;
        self.out.finish()
    }
}
