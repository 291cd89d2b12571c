//! From the columns of a file to the columns asked for.

use super::convert::{convert, entries, lossless};
use crate::error::{ConnectorError, Result};
use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use std::path::Path;
use std::sync::Arc;

/// Which columns of a file are to be decoded, and what becomes of them.
pub(in super::super) struct Plan {
    schema: SchemaRef,
    roots: Vec<usize>,
    /// For each column asked for, its place among the decoded ones.
    places: Vec<Option<usize>>,
}

impl Plan {
    /// Finds each column asked for by its name, if need be in another case.
    ///
    /// # Errors
    /// If a column has a type in the file that does not convert without loss, or is missing and may not be
    /// null.
    pub(in super::super) fn new(file: &Schema, asked: &SchemaRef, path: &Path) -> Result<Plan> {
        let mut found = Vec::with_capacity(asked.fields().len());
        for field in asked.fields() {
            let index = find(file, field.name(), path)?;
            check(index.map(|index| file.field(index)), field, path)?;
            found.push(index);
        }
        let mut roots: Vec<usize> = found.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let places = found.iter().map(|index| index.and_then(|index| roots.binary_search(&index).ok()));
        Ok(Plan { schema: Arc::clone(asked), places: places.collect(), roots })
    }

    /// The columns of the file to decode, by their place in it, ascending.
    pub(in super::super) fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The columns asked for, that come from the decoded column at this place.
    #[cfg(feature = "orc")]
    pub(in super::super) fn target(&self, root: usize) -> Option<&Arc<Field>> {
        let place = self.roots.binary_search(&root).ok()?;
        let column = self.places.iter().position(|found| *found == Some(place))?;
        Some(&self.schema.fields()[column])
    }

    /// The decoded columns as the columns asked for.
    pub(super) fn apply(&self, decoded: &RecordBatch, path: &Path) -> Result<RecordBatch> {
        let rows = decoded.num_rows();
        let mut columns = Vec::with_capacity(self.places.len());
        for (place, field) in self.places.iter().zip(self.schema.fields()) {
            let column = match place {
                None => new_null_array(field.data_type(), rows),
                Some(place) => convert(decoded.column(*place), field.data_type())
                    .map_err(|cause| wrong(path, field.name(), &cause.to_string()))?,
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(wrong(path, field.name(), "it has a null, and the table says NOT NULL"));
            }
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|cause| ConnectorError::user(format!("file `{}`: {cause}", path.display())))
    }
}

fn wrong(path: &Path, column: &str, cause: &str) -> ConnectorError {
    ConnectorError::user(format!("file `{}`, column `{column}`: {cause}", path.display()))
}

fn find(file: &Schema, name: &str, path: &Path) -> Result<Option<usize>> {
    if let Some((index, _)) = file.fields().find(name) {
        return Ok(Some(index));
    }
    let folded = name.to_lowercase();
    let mut alike =
        file.fields().iter().enumerate().filter(|(_, field)| field.name().to_lowercase() == folded);
    match (alike.next(), alike.next()) {
        (Some((_, one)), Some((_, other))) => Err(wrong(
            path,
            name,
            &format!("both `{}` and `{}` could be meant; name it as the file does", one.name(), other.name()),
        )),
        (found, _) => Ok(found.map(|(index, _)| index)),
    }
}

fn check(found: Option<&Field>, asked: &Field, path: &Path) -> Result<()> {
    match found {
        None if asked.is_nullable() => Ok(()),
        None => Err(wrong(path, asked.name(), "the file does not have it, and the table says NOT NULL")),
        Some(found) if lossless(found.data_type(), asked.data_type()) => Ok(()),
        Some(found) => Err(wrong(
            path,
            asked.name(),
            &format!(
                "its type is {} in the file and {} in the table, and not every value of the one has its \
                 equal in the other; declare the column as the file has it and cast it in the query",
                found.data_type(),
                asked.data_type()
            ),
        )),
    }
}

/// The schema of a file without what depends on the program that wrote it: no metadata, all columns nullable,
/// the usual names for the parts of lists and maps.
pub(in super::super) fn plain(schema: &Schema) -> Schema {
    Schema::new(
        schema.fields().iter().map(|field| plain_field(field, field.name(), true)).collect::<Fields>(),
    )
}

fn plain_field(field: &Field, name: &str, nullable: bool) -> Field {
    Field::new(name, plain_type(field.data_type()), nullable)
}

fn plain_type(kind: &DataType) -> DataType {
    match kind {
        DataType::List(item) => DataType::List(Arc::new(plain_field(item, "item", true))),
        DataType::LargeList(item) => DataType::LargeList(Arc::new(plain_field(item, "item", true))),
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(Arc::new(plain_field(item, "item", true)), *size)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| plain_field(field, field.name(), true)).collect())
        }
        DataType::Map(field, _) => match entries(field) {
            None => kind.clone(),
            Some(pair) => {
                let key = plain_field(&pair[0], "keys", false);
                let value = plain_field(&pair[1], "values", true);
                let entry = DataType::Struct([key, value].into_iter().collect());
                DataType::Map(Arc::new(Field::new("entries", entry, false)), false)
            }
        },
        other => other.clone(),
    }
}
