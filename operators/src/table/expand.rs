//! Each row once for each grouping set.

use super::TableBatch;
use super::expression::{arrow_failed_to, evaluate_all};
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::operator::Operator;
use crate::output::Output;
use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion_common::ScalarValue;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// One of the groupings that are made at once.
#[derive(Debug, Clone)]
pub struct GroupingSet {
    /// For each key, whether it counts in this grouping; where it does not, it is null.
    pub counts: Vec<bool>,
    /// What tells the groups of this grouping from those of others with the same keys.
    pub id: ScalarValue,
}

/// Makes of each row one for each grouping set, for GROUPING SETS, ROLLUP and CUBE: the columns of the input,
/// behind them the keys as they count in the set, and last the id of the set. The rows of a set keep their order.
///
/// # Errors
/// [`OperatorError::Expression`] if a key cannot be evaluated.
///
/// # Cost
/// One evaluation of each key for each batch. The columns of the input are not copied.
#[derive(Debug, Clone)]
pub struct Expand {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    sets: Vec<GroupingSet>,
    schema: SchemaRef,
}

impl Expand {
    /// Rows of this schema: the input's columns, the keys, the id.
    #[must_use]
    pub fn new(keys: Vec<Arc<dyn PhysicalExpr>>, sets: Vec<GroupingSet>, schema: SchemaRef) -> Expand {
        Expand { keys, sets, schema }
    }

    fn push(&self, rows: &RecordBatch, output: &mut Output<TableBatch>) -> Result<()> {
        let count = rows.num_rows();
        let keys = evaluate_all(&self.keys, rows)?;
        for set in &self.sets {
            let mut columns = rows.columns().to_vec();
            let of_set = keys.iter().zip(&set.counts);
            columns.extend(of_set.map(|(key, &counts)| match counts {
                true => Arc::clone(key),
                false => new_null_array(key.data_type(), count),
            }));
            let id = set.id.to_array_of_size(count);
            columns.push(id.map_err(|error| OperatorError::Expression(error.strip_backtrace()))?);
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let made = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                .map_err(|error| arrow_failed_to("make the rows of grouping sets", &error))?;
            output.emit(made.into());
        }
        Ok(())
    }
}

impl Operator<TableBatch, TableBatch> for Expand {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 && !output.is_full() {
            let rows = input.split_front((output.room() / self.sets.len().max(1)).max(1));
            self.push(&rows, output)?;
        }
        Ok(())
    }
}
