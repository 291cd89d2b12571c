//! Operators of tables in the harness.

use crate::batch::{Batch, Rows};
use crate::error::{OperatorError, Result};
use crate::operator::{Operator, Progress};
use crate::output::{Emitted, Output};
use crate::partition::PartitionStatus;
use crate::snapshot::{Restore, Snapshot};
use crate::table::TableBatch;
use crate::time::Timestamp;
use crate::two_input::TwoInputOperator;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// An operator of tables, of one input or two, as one of rows, for [`super::OperatorHarness`]: it takes record batches of one row
/// each, which it puts together as they come, and emits rows as text, a text for each column.
#[derive(Debug)]
pub struct ByRow<P>(pub P);

/// The rows of a batch as text, a text for each column.
///
/// # Panics
/// If a column has a type that cannot be printed.
pub fn rows_as_text(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("the column can be printed"))
        .collect();
    let text = |row| columns.iter().map(|column| column.value(row).to_string()).collect();
    (0..batch.num_rows()).map(text).collect()
}

/// Batches as one.
fn together(parts: &[RecordBatch]) -> Result<Option<TableBatch>> {
    let Some(first) = parts.first() else { return Ok(None) };
    let whole = concat_batches(&first.schema(), parts)
        .map_err(|error| OperatorError::User(format!("the test input is wrong: {error}")))?;
    Ok(Some(TableBatch::from(whole)))
}

impl<P> ByRow<P> {
    /// Calls the operator with as much room as there is.
    fn call<T>(
        &mut self,
        output: &mut Output<Rows<Vec<String>>>,
        call: impl FnOnce(&mut P, &mut Output<TableBatch>) -> Result<T>,
    ) -> Result<T> {
        let mut own = Output::with_limit(output.room());
        own.set_now(output.now());
        own.set_partition(output.partition());
        let result = call(&mut self.0, &mut own)?;
        while let Some(emitted) = own.take() {
            match emitted {
                Emitted::Batch(batch) => {
                    rows_as_text(batch.rows_left()).into_iter().for_each(|row| output.push(row));
                }
                Emitted::Watermark(time) => output.emit_watermark(time),
                Emitted::Idle(idle) => output.emit_idle(idle),
            }
        }
        output.count_late(own.take_late());
        if let Some(time) = own.take_wake_at() {
            output.wake_at(time);
        }
        Ok(result)
    }
}

impl<P: Operator<TableBatch, TableBatch>> Operator<Rows<RecordBatch>, Rows<Vec<String>>> for ByRow<P> {
    fn process(
        &mut self,
        input: &mut Rows<RecordBatch>,
        output: &mut Output<Rows<Vec<String>>>,
    ) -> Result<()> {
        let parts: Vec<RecordBatch> = input.collect();
        let Some(mut batch) = together(&parts)? else { return Ok(()) };
        self.call(output, |operator, output| operator.process(&mut batch, output))?;
        *input = Rows::from(parts[parts.len() - batch.rows()..].to_vec());
        Ok(())
    }

    fn watermark(&mut self, time: Timestamp, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.watermark(time, output))
    }

    fn idle(&mut self, idle: bool, output: &mut Output<Rows<Vec<String>>>) -> Result<()> {
        self.call(output, |operator, output| operator.idle(idle, output))
    }

    fn partition(&mut self, status: PartitionStatus, output: &mut Output<Rows<Vec<String>>>) -> Result<()> {
        self.call(output, |operator, output| operator.partition(status, output))
    }

    fn tick(&mut self, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.tick(output))
    }

    fn end_epoch(&mut self, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.end_epoch(output))
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.0.snapshot()
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<Vec<String>>>) -> Result<()> {
        self.call(output, |operator, output| operator.restore(restore, output))
    }

    fn finish(&mut self, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.finish(output))
    }
}

impl<P: TwoInputOperator<TableBatch, TableBatch, TableBatch>> ByRow<P> {
    fn two_inputs(
        &mut self,
        input: &mut Rows<RecordBatch>,
        output: &mut Output<Rows<Vec<String>>>,
        call: fn(&mut P, &mut TableBatch, &mut Output<TableBatch>) -> Result<()>,
    ) -> Result<()> {
        let parts: Vec<RecordBatch> = input.collect();
        let Some(mut batch) = together(&parts)? else { return Ok(()) };
        self.call(output, |operator, output| call(operator, &mut batch, output))?;
        *input = Rows::from(parts[parts.len() - batch.rows()..].to_vec());
        Ok(())
    }
}

impl<P> TwoInputOperator<Rows<RecordBatch>, Rows<RecordBatch>, Rows<Vec<String>>> for ByRow<P>
where
    P: TwoInputOperator<TableBatch, TableBatch, TableBatch>,
{
    fn process_left(
        &mut self,
        input: &mut Rows<RecordBatch>,
        output: &mut Output<Rows<Vec<String>>>,
    ) -> Result<()> {
        self.two_inputs(input, output, P::process_left)
    }

    fn process_right(
        &mut self,
        input: &mut Rows<RecordBatch>,
        output: &mut Output<Rows<Vec<String>>>,
    ) -> Result<()> {
        self.two_inputs(input, output, P::process_right)
    }

    fn watermark(&mut self, time: Timestamp, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.watermark(time, output))
    }

    fn tick(&mut self, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.tick(output))
    }

    fn end_epoch(&mut self, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.end_epoch(output))
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.0.snapshot()
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<Vec<String>>>) -> Result<()> {
        self.call(output, |operator, output| operator.restore(restore, output))
    }

    fn finish(&mut self, output: &mut Output<Rows<Vec<String>>>) -> Result<Progress> {
        self.call(output, |operator, output| operator.finish(output))
    }
}
