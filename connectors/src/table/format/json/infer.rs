//! The schema of a JSON file.

use super::input::{Entry, Input};
use crate::error::{ConnectorError, Result};
use crate::limits::INFER_RECORDS;
use crate::table::Options;
use crate::table::format::malformed::{self, Mode};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use arrow::json::reader::infer_json_schema_from_iterator;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Records that are read together.
const STEP: usize = 1024;

/// The objects of a file, one after the other.
struct Objects<'a> {
    path: &'a Path,
    input: Input,
    mode: Mode,
    step: std::vec::IntoIter<Entry>,
    seen: usize,
    /// Whether there was a malformed record.
    malformed: bool,
}

impl Objects<'_> {
    fn try_next(&mut self) -> Result<Option<Value>> {
        while self.seen < INFER_RECORDS {
            let Some(entry) = self.step.next() else {
                self.step = self.input.read(STEP)?.into_iter();
                if self.step.len() == 0 {
                    break;
                }
                continue;
            };
            self.seen += 1;
            let text = self.input.text(&entry);
            match serde_json::from_slice::<Value>(text) {
                Ok(value @ Value::Object(_)) if entry.problem.is_none() => return Ok(Some(value)),
                _ if self.mode == Mode::FailFast => {
                    return Err(ConnectorError::user(format!(
                        "{}, line {}: the record is no JSON object: `{}`",
                        self.path.display(),
                        entry.line,
                        malformed::shown(text)
                    )));
                }
                _ => self.malformed = true,
            }
        }
        Ok(None)
    }
}

/// The columns that the first records have, by name. Malformed records are passed over; as in Spark they add
/// the column for their text in mode PERMISSIVE.
pub(super) fn infer(path: &Path, options: &Options) -> Result<Schema> {
    let mode = Mode::of(options)?;
    let input = Input::open(path, options)?;
    let mut objects = Objects { path, input, mode, step: Vec::new().into_iter(), seen: 0, malformed: false };
    let mut failure = None;
    let values = std::iter::from_fn(|| match objects.try_next() {
        Ok(value) => value.map(Ok::<Value, ArrowError>),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let found = infer_json_schema_from_iterator(values);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let found = found.map_err(|error| {
        ConnectorError::user(format!("{}: no schema fits all records ({error}): give one", path.display()))
    })?;
    let mut fields: Vec<FieldRef> = settled(found.fields()).to_vec();
    let corrupt = malformed::corrupt_name(options);
    if objects.malformed && mode == Mode::Permissive && found.column_with_name(corrupt).is_none() {
        fields.push(Arc::new(Field::new(corrupt, DataType::Utf8, true)));
    }
    Ok(Schema::new(fields))
}

/// The fields by name, so that the order is the same each time; what was always null is a string.
fn settled(fields: &Fields) -> Fields {
    let mut settled: Vec<Field> = fields
        .iter()
        .map(|field| Field::clone(field).with_data_type(settled_type(field.data_type())))
        .collect();
    settled.sort_by(|a, b| a.name().cmp(b.name()));
    settled.into()
}

fn settled_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(settled(fields)),
        DataType::List(item) => {
            let inner = settled_type(item.data_type());
            DataType::List(Arc::new(Field::clone(item).with_data_type(inner)))
        }
        other => other.clone(),
    }
}
