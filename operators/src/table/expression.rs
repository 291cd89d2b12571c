//! Expressions evaluated on batches, with errors that name them.

use crate::error::{OperatorError, Result};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{cast, prep_null_mask_filter};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion_common::DataFusionError;
use datafusion_common::cast::as_boolean_array;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;

/// An expression as a user would write it.
struct Sql<'a>(&'a dyn PhysicalExpr);

impl fmt::Display for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_sql(f)
    }
}

/// The error of an expression, with its text.
#[cold]
pub(super) fn failed(expression: &dyn PhysicalExpr, error: &DataFusionError) -> OperatorError {
    let cause = error.strip_backtrace();
    OperatorError::Expression(format!("could not evaluate `{}`: {cause}", Sql(expression)))
}

/// The error of something done to whole columns.
#[cold]
pub(super) fn failed_to(what: &str, error: &DataFusionError) -> OperatorError {
    OperatorError::Expression(format!("could not {what}: {}", error.strip_backtrace()))
}

/// As [`failed_to`], for a kernel of Arrow.
#[cold]
pub(super) fn arrow_failed_to(what: &str, error: &ArrowError) -> OperatorError {
    OperatorError::Expression(format!("could not {what}: {error}"))
}

/// The values of an expression, one for each row.
pub(super) fn evaluate(expression: &dyn PhysicalExpr, rows: &RecordBatch) -> Result<ArrayRef> {
    expression
        .evaluate(rows)
        .and_then(|values| values.into_array(rows.num_rows()))
        .map_err(|error| failed(expression, &error))
}

/// The values of several expressions.
pub(super) fn evaluate_all(
    expressions: &[Arc<dyn PhysicalExpr>],
    rows: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    expressions.iter().map(|expression| evaluate(expression.as_ref(), rows)).collect()
}

/// The truth of a condition for each row; null is not true.
pub(super) fn condition(expression: &dyn PhysicalExpr, rows: &RecordBatch) -> Result<BooleanArray> {
    let values = evaluate(expression, rows)?;
    let mask = as_boolean_array(&values).map_err(|error| failed(expression, &error))?;
    Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
}

/// The values as a type; the same array where it has it.
pub(super) fn as_type(values: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if values.data_type() == data_type {
        return Ok(values);
    }
    cast(&values, data_type).map_err(|error| arrow_failed_to("convert a column", &error))
}
