//! Columns that a format fixes.

use super::ReadRequest;
use crate::error::{ConnectorError, Result};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The type of the points in time that sources add.
pub(super) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A column of points in time, in microseconds since 1970.
pub(super) fn timestamps(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// A schema of columns that are never null.
pub(super) fn schema_of<const N: usize>(columns: [(&str, DataType); N]) -> SchemaRef {
    let fields = columns.map(|(name, data_type)| Field::new(name, data_type, false));
    Arc::new(Schema::new(fields.to_vec()))
}

/// Of the columns of a format, those asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The columns by number, in order.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
}

impl Wanted {
    pub(super) fn new(schema: &SchemaRef, projection: Option<&[usize]>) -> Result<Wanted> {
        let columns = projection.map_or_else(|| (0..schema.fields().len()).collect(), <[usize]>::to_vec);
        let schema = schema.project(&columns).map_err(|error| {
            ConnectorError::internal(format!("a column asked for does not exist: {error}"))
        })?;
        Ok(Wanted { columns, schema: Arc::new(schema) })
    }

    /// A batch of the columns asked for, each made by `make`.
    pub(super) fn batch(
        &self,
        rows: usize,
        make: impl Fn(usize) -> ArrayRef,
    ) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.iter().map(|column| make(*column)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// Makes sure that a schema given for a format that fixes its own names the same columns, with types of the
/// same kind. Precision, zone and nullability are the format's.
pub(super) fn check_given(format: &str, request: &ReadRequest, fixed: &Schema) -> Result<()> {
    let Some(given) = request.schema.as_ref().filter(|given| !given.fields().is_empty()) else {
        return Ok(());
    };
    if same_columns(fixed.fields(), given.fields()) {
        return Ok(());
    }
    let list = |schema: &Schema| {
        let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        columns.collect::<Vec<_>>().join(", ")
    };
    Err(ConnectorError::user(format!(
        "format `{format}` has the columns ({}), not ({}): leave the schema out",
        list(fixed),
        list(given)
    )))
}

fn same_columns(ours: &Fields, theirs: &Fields) -> bool {
    let fits = |(ours, theirs): (&Arc<Field>, &Arc<Field>)| {
        ours.name().eq_ignore_ascii_case(theirs.name()) && same_kind(ours.data_type(), theirs.data_type())
    };
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(fits)
}

fn same_kind(ours: &DataType, theirs: &DataType) -> bool {
    match ours {
        DataType::Timestamp(..) => matches!(theirs, DataType::Timestamp(..)),
        DataType::Utf8 => matches!(theirs, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        DataType::Binary => matches!(theirs, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        DataType::List(ours) => {
            matches!(theirs, DataType::List(theirs) if same_kind(ours.data_type(), theirs.data_type()))
        }
        DataType::Struct(ours) => matches!(theirs, DataType::Struct(theirs) if same_columns(ours, theirs)),
        _ => ours == theirs,
    }
}
