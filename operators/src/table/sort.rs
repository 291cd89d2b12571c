//! The rows of an epoch in order.

use super::TableBatch;
use super::expression::{arrow_failed_to, failed};
use crate::batch::Batch;
use crate::error::Result;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use datafusion_physical_expr::PhysicalSortExpr;
use std::sync::Arc;

/// Rows held beyond those that are wanted before the rest is thrown away.
const SLACK_ROWS: usize = 8192;

/// Collects the rows of an epoch and emits them sorted when it ends: ORDER BY of complete results. One
/// instance. Rows that are equal in the order keep the order of their arrival.
///
/// # Cost
/// Holds the rows of an epoch in memory; with `fetch` about as many as are wanted and a few thousand rows more.
/// Nothing is kept beyond the epoch, so snapshots are empty.
#[derive(Debug)]
pub struct SortEpoch {
    order: Vec<PhysicalSortExpr>,
    fetch: Option<usize>,
    held: Vec<RecordBatch>,
    held_rows: usize,
    /// What is left to emit of an epoch that has ended.
    sorted: Option<TableBatch>,
}

impl SortEpoch {
    /// The first `fetch` rows in this order, all of them without.
    #[must_use]
    pub fn new(order: Vec<PhysicalSortExpr>, fetch: Option<usize>) -> SortEpoch {
        SortEpoch { order, fetch, held: Vec::new(), held_rows: 0, sorted: None }
    }

    /// Takes the rows held, sorted, as far as they are wanted.
    fn sort(&mut self) -> Result<Option<RecordBatch>> {
        let held = std::mem::take(&mut self.held);
        self.held_rows = 0;
        let Some(first) = held.first() else { return Ok(None) };
        let rows = concat_batches(&first.schema(), &held)
            .map_err(|error| arrow_failed_to("collect the rows of an epoch", &error))?;
        let mut columns = Vec::with_capacity(self.order.len() + 1);
        for order in &self.order {
            let column = order.evaluate_to_sort_column(&rows);
            columns.push(column.map_err(|error| failed(order.expr.as_ref(), &error))?);
        }
        let arrival: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
        columns.push(SortColumn { values: arrival, options: None });
        lexsort_to_indices(&columns, self.fetch)
            .and_then(|order| take_record_batch(&rows, &order))
            .map(Some)
            .map_err(|error| arrow_failed_to("sort the rows of an epoch", &error))
    }

    fn hold(&mut self, rows: RecordBatch) {
        self.held_rows += rows.num_rows();
        self.held.push(rows);
    }
}

impl Operator<TableBatch, TableBatch> for SortEpoch {
    fn process(&mut self, input: &mut TableBatch, _output: &mut Output<TableBatch>) -> Result<()> {
        if let Some(rows) = input.take() {
            self.hold(rows.into());
        }
        let wanted = self.fetch.unwrap_or(usize::MAX);
        if self.held_rows > wanted.saturating_mul(2).saturating_add(SLACK_ROWS)
            && let Some(rows) = self.sort()?
        {
            self.hold(rows);
        }
        Ok(())
    }

    fn end_epoch(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        if self.sorted.is_none() {
            self.sorted = self.sort()?.map(TableBatch::from);
        }
        let Some(sorted) = &mut self.sorted else { return Ok(Progress::Done) };
        let rows = sorted.split_front(output.room());
        output.builder().push(rows);
        if sorted.rows() > 0 {
            return Ok(Progress::Again);
        }
        self.sorted = None;
        Ok(Progress::Done)
    }
}
