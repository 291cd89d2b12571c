//! Filters and projections, fused into one operator.

use super::TableBatch;
use super::expression::{arrow_failed_to, condition, evaluate};
use crate::batch::Batch;
use crate::error::Result;
use crate::operator::Operator;
use crate::output::Output;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// One step. Its expressions refer to the columns that the step before it made.
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps the rows for which the condition is true (not false, not null).
    Filter(Arc<dyn PhysicalExpr>),
    /// Makes new columns of the old ones.
    Project {
        /// The expressions with their names.
        columns: Vec<(Arc<dyn PhysicalExpr>, String)>,
        /// The schema of the new columns: one field for each, of the type its expression returns.
        schema: SchemaRef,
    },
}

/// Stateless steps, run one after the other on each batch. The order of rows is kept.
///
/// # Errors
/// [`crate::OperatorError::Expression`] with the text of the expression that failed, such as a division by
/// zero or a cast of a text that is no number.
///
/// # Cost
/// One evaluation of each expression for each batch, whatever its size.
#[derive(Debug, Clone)]
pub struct Steps {
    steps: Vec<Step>,
}

impl Steps {
    /// The steps in order; none pass the rows through.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Steps {
        Steps { steps }
    }

    fn run(&self, mut rows: RecordBatch) -> Result<RecordBatch> {
        for step in &self.steps {
            if rows.num_rows() == 0 {
                break;
            }
            rows = match step {
                Step::Filter(expression) => keep(rows, expression.as_ref())?,
                Step::Project { columns, schema } => project(&rows, columns, schema)?,
            };
        }
        Ok(rows)
    }
}

/// The rows for which a condition is true; the same batch if that is all of them.
fn keep(rows: RecordBatch, expression: &dyn PhysicalExpr) -> Result<RecordBatch> {
    let mask = condition(expression, &rows)?;
    let kept = mask.true_count();
    if kept == rows.num_rows() {
        return Ok(rows);
    }
    if kept == 0 {
        return Ok(rows.slice(0, 0));
    }
    filter_record_batch(&rows, &mask).map_err(|error| arrow_failed_to("filter rows", &error))
}

fn project(
    rows: &RecordBatch,
    columns: &[(Arc<dyn PhysicalExpr>, String)],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut made = Vec::with_capacity(columns.len());
    for (expression, _) in columns {
        made.push(evaluate(expression.as_ref(), rows)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), made, &options)
        .map_err(|error| arrow_failed_to("make the columns of a projection", &error))
}

impl Operator<TableBatch, TableBatch> for Steps {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 && !output.is_full() {
            let rows = input.split_front(output.room());
            let made = self.run(rows)?;
            output.builder().push(made);
        }
        Ok(())
    }
}
