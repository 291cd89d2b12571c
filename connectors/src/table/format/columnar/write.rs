//! What is the same in writing.

use crate::error::{ConnectorError, Result};
use crate::table::options::Options;
use arrow::datatypes::Schema;
use std::collections::HashSet;

/// Makes sure that there is a column, and none twice.
///
/// # Errors
/// What is wrong.
pub(in super::super) fn distinct_columns(schema: &Schema, format: &str) -> Result<()> {
    if schema.fields().is_empty() {
        return Err(ConnectorError::user(format!("a table without columns cannot be written as {format}")));
    }
    let mut seen = HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(ConnectorError::user(format!(
            "there are two columns `{name}`, and {format} finds columns by name: rename one of them with \
             `AS`",
            name = twice.name()
        ))),
    }
}

/// The option that says how many bytes the rows have that are held in memory.
///
/// # Errors
/// If it is none, or more than `most`.
pub(in super::super) fn group_bytes(
    options: &Options,
    name: &str,
    default: usize,
    most: usize,
) -> Result<usize> {
    let Some(bytes) = options.bytes(name)? else { return Ok(default) };
    match usize::try_from(bytes) {
        Ok(bytes) if (1..=most).contains(&bytes) => Ok(bytes),
        _ => Err(ConnectorError::user(format!("option `{name}` is {bytes}: expected 1 to {most} bytes"))),
    }
}
