//! What the tests of files as tables share: a tiny format, and folders.
#![allow(dead_code, clippy::unwrap_used, reason = "tests")]

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use lotic_connectors::table::format::{BadRecord, FileFormat, FileReader, FileWriter, OpenRequest};
use lotic_connectors::table::{OptionSpec, Options};
use lotic_connectors::{ConnectorError, Result};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Lines of values between bars: `1|ana`. Columns of BIGINT and STRING, by place. A number that is none is null
/// and a bad record; a file that begins with `!` is corrupt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bars;

fn corrupt(path: &Path) -> ConnectorError {
    ConnectorError::user(format!("`{}` is no file of bars", path.display()))
}

impl FileFormat for Bars {
    fn name(&self) -> &'static str {
        "bars"
    }
    fn extension(&self) -> &'static str {
        "bars"
    }
    fn summary(&self) -> &'static str {
        "Lines of values between bars"
    }
    fn read_options(&self) -> Vec<OptionSpec> {
        vec![OptionSpec::new("mode", "", "")]
    }
    fn write_options(&self) -> Vec<OptionSpec> {
        Vec::new()
    }
    fn infer_schema(&self, path: &Path, _: &Options) -> Result<Schema> {
        let text = fs::read_to_string(path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let fields = first.split('|').enumerate().map(|(at, value)| {
            let number = value.parse::<i64>().is_ok();
            Field::new(format!("c{at}"), if number { DataType::Int64 } else { DataType::Utf8 }, true)
        });
        Ok(Schema::new(fields.collect::<Vec<_>>()))
    }
    fn check_read(&self, _: &Schema, _: &Options) -> Result<()> {
        Ok(())
    }
    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>> {
        let text = fs::read_to_string(request.path).map_err(|cause| {
            ConnectorError::external(format!("cannot read `{}`", request.path.display()), cause)
        })?;
        if text.starts_with('!') {
            return Err(corrupt(request.path));
        }
        let places = request.schema.fields().iter();
        let places = places.map(|field| request.table_schema.index_of(field.name()).unwrap()).collect();
        let lines = text.lines().enumerate().map(|(at, line)| (at as u64 + 1, line.to_owned())).collect();
        Ok(Box::new(BarsReader { lines, schema: Arc::clone(request.schema), places, bad: Vec::new() }))
    }
    fn check_write(&self, schema: &Schema, _: &Options) -> Result<()> {
        let known = |field: &Arc<Field>| matches!(field.data_type(), DataType::Int64 | DataType::Utf8);
        match schema.fields().iter().find(|field| !known(field)) {
            Some(field) => Err(ConnectorError::user(format!("column `{}` cannot be written", field.name()))),
            None => Ok(()),
        }
    }
    fn compression_suffix(&self, _: &Options) -> Result<&'static str> {
        Ok("")
    }
    fn create(&self, _: &SchemaRef, _: &Options, file: File) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(BarsWriter { file, text: Vec::new() }))
    }
}

struct BarsReader {
    lines: VecDeque<(u64, String)>,
    schema: SchemaRef,
    places: Vec<usize>,
    bad: Vec<BadRecord>,
}

impl FileReader for BarsReader {
    fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>> {
        let lines: Vec<_> = self.lines.drain(..rows_max.min(self.lines.len())).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (field, &place) in self.schema.fields().iter().zip(&self.places) {
            let values = lines.iter().map(|(_, line)| line.split('|').nth(place));
            if field.data_type() == &DataType::Utf8 {
                columns.push(Arc::new(values.collect::<StringArray>()));
                continue;
            }
            for (number, line) in &lines {
                let value = line.split('|').nth(place).unwrap_or_default();
                if value.parse::<i64>().is_err() {
                    let reason = format!("`{value}` is no number");
                    self.bad.push(BadRecord { line: *number, text: line.clone(), reason });
                }
            }
            columns.push(Arc::new(values.map(|value| value?.parse().ok()).collect::<Int64Array>()));
        }
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns).unwrap()))
    }
    fn bad_records(&mut self) -> Vec<BadRecord> {
        std::mem::take(&mut self.bad)
    }
}

struct BarsWriter {
    file: File,
    text: Vec<u8>,
}

impl FileWriter for BarsWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for line in lines_of(rows) {
            self.text.extend_from_slice(line.as_bytes());
            self.text.push(b'\n');
        }
        Ok(())
    }
    fn bytes(&self) -> u64 {
        self.text.len() as u64
    }
    fn finish(mut self: Box<Self>) -> Result<File> {
        self.file.write_all(&self.text).unwrap();
        Ok(self.file)
    }
}

/// Rows as lines of the format.
pub(crate) fn lines_of(rows: &RecordBatch) -> Vec<String> {
    let line = |row: usize| {
        let values = rows.columns().iter().map(|column| match column.data_type() {
            _ if column.is_null(row) => "null".to_owned(),
            DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
            DataType::Int32 => column.as_primitive::<arrow::datatypes::Int32Type>().value(row).to_string(),
            _ => column.as_primitive::<Int64Type>().value(row).to_string(),
        });
        values.collect::<Vec<_>>().join("|")
    };
    (0..rows.num_rows()).map(line).collect()
}

/// Columns `n` BIGINT and `name` STRING.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// Puts a file in its place at once, as it was modified so many seconds after a fixed time in the past.
pub(crate) fn put(folder: &Path, name: &str, text: &str, modified_s: u64) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let hidden = path.with_file_name(".being-written");
    fs::write(&hidden, text).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + modified_s);
    File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
    fs::rename(hidden, path).unwrap();
}

/// The options of a folder, with a short interval between looks.
pub(crate) fn options(folder: &Path, more: &[(&str, &str)]) -> Options {
    let mut options: Options = more.iter().copied().collect();
    options.set("path", folder.to_str().unwrap());
    options
}

/// All files below a folder, hidden ones included, sorted.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, names);
            } else {
                names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut names = Vec::new();
    walk(folder, folder, &mut names);
    names.sort();
    names
}
