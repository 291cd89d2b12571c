//! Arrow rows as a batch.

use crate::batch::Batch;
use crate::limits::TABLE_ROWS_AT_ONCE;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

/// Arrow rows that travel together, consumed from the front. At least one row, unless all were consumed.
///
/// Taking rows off is a slice and copies nothing.
#[derive(Debug, Clone)]
pub struct TableBatch(RecordBatch);

impl TableBatch {
    /// The rows not yet consumed.
    pub fn rows_left(&self) -> &RecordBatch {
        &self.0
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    /// Consumes at most this many rows and returns them.
    pub fn split_front(&mut self, rows_max: usize) -> RecordBatch {
        let rows = rows_max.min(self.0.num_rows());
        if rows == self.0.num_rows() {
            let none = self.0.slice(rows, 0);
            return std::mem::replace(&mut self.0, none);
        }
        let front = self.0.slice(0, rows);
        self.0 = self.0.slice(rows, self.0.num_rows() - rows);
        front
    }
}

impl From<RecordBatch> for TableBatch {
    fn from(batch: RecordBatch) -> Self {
        TableBatch(batch)
    }
}

impl From<TableBatch> for RecordBatch {
    fn from(batch: TableBatch) -> Self {
        batch.0
    }
}

/// Record batches of one schema collected one by one, to be sealed into one.
#[derive(Debug, Default)]
pub struct TableBuilder {
    parts: Vec<RecordBatch>,
    rows: usize,
}

impl TableBuilder {
    /// Adds rows. All parts have the same schema.
    pub fn push(&mut self, part: RecordBatch) {
        if part.num_rows() > 0 {
            self.rows += part.num_rows();
            self.parts.push(part);
        }
    }
}

impl Batch for TableBatch {
    type Builder = TableBuilder;
    const ROWS_AT_ONCE: usize = TABLE_ROWS_AT_ONCE;

    fn rows(&self) -> usize {
        self.0.num_rows()
    }

    fn building(builder: &TableBuilder) -> usize {
        builder.rows
    }

    fn seal(builder: &mut TableBuilder) -> Option<Self> {
        builder.rows = 0;
        let mut parts = std::mem::take(&mut builder.parts);
        match parts.len() {
            0 => None,
            1 => parts.pop().map(TableBatch),
            _ => {
                let whole = concat_batches(&parts[0].schema(), &parts);
                Some(TableBatch(whole.expect("invariant: the parts have one schema")))
            }
        }
    }

    fn take(&mut self) -> Option<Self> {
        let taken = self.split_front(usize::MAX);
        if taken.num_rows() == 0 { None } else { Some(TableBatch(taken)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array};
    use std::sync::Arc;

    fn batch(values: &[i32]) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(values.to_vec())) as ArrayRef)]).unwrap()
    }

    #[test]
    fn rows_are_consumed_from_the_front_and_sealed_in_order() {
        let mut rows = TableBatch::from(batch(&[1, 2, 3]));
        assert_eq!(rows.split_front(2), batch(&[1, 2]));
        assert_eq!(rows.rows(), 1);
        let mut builder = TableBuilder::default();
        builder.push(batch(&[]));
        assert!(TableBatch::seal(&mut builder).is_none());
        builder.push(batch(&[7]));
        builder.push(rows.take().unwrap().into());
        assert_eq!((rows.rows(), TableBatch::building(&builder)), (0, 2));
        assert!(rows.take().is_none());
        assert_eq!(TableBatch::seal(&mut builder).unwrap().rows_left(), &batch(&[7, 3]));
        assert_eq!(TableBatch::building(&builder), 0);
    }
}
