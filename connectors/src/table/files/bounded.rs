//! A bounded read of a folder, a file, or the files that match a pattern.

use super::listing::{self, FoundFile};
use super::partition;
use super::reader::{FileRows, FilesTable};
use super::settings::{ReadSettings, is_in};
use crate::error::{ConnectorError, Result};
use crate::limits::{INFERRED_FILES, TABLE_BATCH_ROWS};
use crate::table::format::FileFormat;
use crate::table::{BoundedTable, Options, PlainFile, ReadRequest, RowReader};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::vec::IntoIter;

/// A bounded table. Its files are listed when its partitions are asked for.
#[derive(Debug)]
pub(super) struct BoundedFiles {
    table: Arc<FilesTable>,
    groups: Mutex<Option<Vec<Vec<FoundFile>>>>,
}

impl BoundedFiles {
    pub(super) fn new(format: &Arc<dyn FileFormat>, request: &ReadRequest) -> Result<Self> {
        let settings = ReadSettings::new(&request.options)?;
        let files = list(&settings)?;
        let given = request.schema.clone().or_else(|| format.fixed_schema());
        let data = match given {
            Some(schema) => schema.as_ref().clone(),
            None => infer(format, &settings, &files, &request.options)?,
        };
        let schema = if settings.rules.recursive { data } else { with_partitions(&data, &files) };
        let table = FilesTable::new(format, settings, &request.options, &schema)?;
        Ok(BoundedFiles { table: Arc::new(table), groups: Mutex::new(None) })
    }
}

/// An empty file has no rows in any format.
fn list(settings: &ReadSettings) -> Result<Vec<FoundFile>> {
    let mut files = listing::resolve(&settings.path, &settings.rules)?;
    files.retain(|file| file.bytes > 0);
    Ok(files)
}

/// The given columns, and those of the path that are not among them.
fn with_partitions(schema: &Schema, files: &[FoundFile]) -> Schema {
    let mut names: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in files.iter().flat_map(|file| partition::of_path(&file.relative)) {
        if !values.contains_key(&name) {
            names.push(name.clone());
        }
        values.entry(name).or_default().extend(value);
    }
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    for name in names {
        if schema.index_of(&name).is_err() {
            let data_type = partition::infer_type(values[&name].iter().map(String::as_str));
            fields.push(Field::new(name, data_type, true));
        }
    }
    Schema::new(fields)
}

fn infer(
    format: &Arc<dyn FileFormat>,
    settings: &ReadSettings,
    files: &[FoundFile],
    options: &Options,
) -> Result<Schema> {
    let mut merged: Vec<(Field, &FoundFile)> = Vec::new();
    for file in files.iter().take(INFERRED_FILES) {
        let schema = match format.infer_schema(&file.path, options) {
            Ok(schema) => schema,
            Err(error) if settings.ignore_corrupt => {
                tracing::warn!("left out: {error}");
                continue;
            }
            Err(error) => return Err(error),
        };
        for field in schema.fields() {
            match merged.iter_mut().find(|(known, _)| known.name() == field.name()) {
                None => merged.push((field.as_ref().clone(), file)),
                Some((known, first)) => {
                    let common = common_type(known.data_type(), field.data_type());
                    let common = common.ok_or_else(|| differ(known, first, field, file))?;
                    *known = known.clone().with_data_type(common);
                }
            }
        }
    }
    if merged.is_empty() {
        return Err(ConnectorError::user(format!(
            "there is no file with rows in `{}` to find the schema from: give one, such as \
             `.schema(\"name STRING, age INT\")`",
            settings.path
        )));
    }
    Ok(Schema::new(merged.into_iter().map(|(field, _)| field).collect::<Vec<_>>()))
}

fn differ(known: &Field, first: &FoundFile, field: &Field, file: &FoundFile) -> ConnectorError {
    ConnectorError::user(format!(
        "column `{}` is {} in `{}`, but {} in `{}`: give a schema, such as `.schema(\"name STRING, age INT\")`",
        known.name(),
        known.data_type(),
        first.path.display(),
        field.data_type(),
        file.path.display()
    ))
}

/// The type that holds the values of both without loss, or nearly so.
fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (a, b) if a.is_floating() && b.is_integer() || a.is_integer() && b.is_floating() => {
            Some(DataType::Float64)
        }
        (DataType::Float32, DataType::Float64) | (DataType::Float64, DataType::Float32) => {
            Some(DataType::Float64)
        }
        (a, b) if a.is_signed_integer() && b.is_signed_integer() => {
            Some(if a.primitive_width() >= b.primitive_width() { a.clone() } else { b.clone() })
        }
        _ => None,
    }
}

/// Neighbours together, of about the same size: at most `groups_max` groups and at least one.
fn group(files: Vec<FoundFile>, groups_max: usize) -> Vec<Vec<FoundFile>> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let share = total.div_ceil(groups_max.max(1) as u64).max(1);
    let mut groups: Vec<(u64, Vec<FoundFile>)> = Vec::new();
    let mut before = 0;
    for file in files {
        // By where its middle falls.
        let number = (before + file.bytes / 2) / share;
        before += file.bytes;
        match groups.last_mut() {
            Some((last, group)) if *last == number => group.push(file),
            _ => groups.push((number, vec![file])),
        }
    }
    if groups.is_empty() {
        return vec![Vec::new()];
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

impl BoundedTable for BoundedFiles {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
    }

    fn partitions(&self) -> Result<usize> {
        let files = list(&self.table.settings)?;
        let groups = group(files, available_parallelism().map_or(1, usize::from));
        let count = groups.len();
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = Some(groups);
        Ok(count)
    }

    fn read(&self, partition: usize, projection: Option<&[usize]>) -> Result<RowReader> {
        let known = self.groups.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !known {
            self.partitions()?;
        }
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let files = groups
            .as_ref()
            .and_then(|groups| groups.get(partition))
            .cloned()
            .ok_or_else(|| ConnectorError::internal(format!("there is no partition {partition}")))?;
        let output = self.table.projected(projection)?;
        Ok(Box::new(GroupRows {
            table: Arc::clone(&self.table),
            output,
            files: files.into_iter(),
            open: None,
            failed: false,
        }))
    }

    fn parquet_files(&self, projection: Option<&[usize]>) -> Result<Option<Vec<PlainFile>>> {
        let (settings, format) = (&self.table.settings, &self.table.format);
        if settings.ignore_corrupt || settings.ignore_missing || settings.bad_records.is_some() {
            return Ok(None);
        }
        let schema = self.table.projected(projection)?;
        let files = list(settings)?;
        let plain = |file: &FoundFile| {
            let path_columns = !settings.rules.recursive && !partition::of_path(&file.relative).is_empty();
            !path_columns && format.is_plain_parquet(&file.path, &schema)
        };
        if !files.iter().all(plain) {
            return Ok(None);
        }
        let files = files.into_iter().map(|file| {
            let path = std::path::absolute(&file.path).unwrap_or(file.path);
            PlainFile { path, bytes: file.bytes }
        });
        Ok(Some(files.collect()))
    }

    /// A folder that cannot be listed is no folder of ours: reading it says so.
    fn reads(&self, folder: &Path) -> bool {
        list(&self.table.settings).is_ok_and(|files| files.iter().any(|file| is_in(&file.path, folder)))
    }
}

/// The rows of a group of files, one file after the other.
struct GroupRows {
    table: Arc<FilesTable>,
    output: SchemaRef,
    files: IntoIter<FoundFile>,
    open: Option<FileRows>,
    failed: bool,
}

impl GroupRows {
    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(rows) = open.next(TABLE_BATCH_ROWS)? {
                    return Ok(Some(rows));
                }
                self.open = None;
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            self.open = FileRows::open(&self.table, &self.output, &file)?;
        }
    }
}

impl Iterator for GroupRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    proptest! {
        #[test]
        fn groups_hold_every_file_once_in_order(sizes in proptest::collection::vec(1u64..1000, 0..40), most in 1usize..9) {
            let files: Vec<FoundFile> = sizes
                .iter()
                .enumerate()
                .map(|(at, &bytes)| FoundFile { path: PathBuf::new(), relative: format!("{at:03}"), bytes, modified_us: 0 })
                .collect();
            let groups = group(files.clone(), most);
            prop_assert!((1..=most).contains(&groups.len()));
            prop_assert_eq!(groups.concat(), files);
        }
    }

    #[test]
    fn types_of_one_column_are_merged_or_not() {
        assert_eq!(common_type(&DataType::Int32, &DataType::Int64), Some(DataType::Int64));
        assert_eq!(common_type(&DataType::Int64, &DataType::Float32), Some(DataType::Float64));
        assert_eq!(common_type(&DataType::Null, &DataType::Utf8), Some(DataType::Utf8));
        assert_eq!(common_type(&DataType::Utf8, &DataType::Int32), None);
    }
}
