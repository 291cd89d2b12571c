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
    OperatorError::Expression(format!("could not evaluate `{}`: {}", Sql(expression), words(error)))
}

/// The error of something done to whole columns.
#[cold]
pub(super) fn failed_to(what: &str, error: &DataFusionError) -> OperatorError {
    OperatorError::Expression(format!("could not {what}: {}", words(error)))
}

/// As [`failed_to`], for a kernel of Arrow.
#[cold]
pub(super) fn arrow_failed_to(what: &str, error: &ArrowError) -> OperatorError {
    OperatorError::Expression(format!("could not {what}: {}", arrow_words(error)))
}

/// What is wrong with the values, without the names of the libraries that say so.
fn words(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => arrow_words(error),
        DataFusionError::Execution(message) | DataFusionError::Plan(message) => message.clone(),
        other => other.strip_backtrace(),
    }
}

fn arrow_words(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ArithmeticOverflow(message) => message.clone(),
        other => other.to_string(),
    }
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
