//! The two-input form of the operator contract.
//!
//! A two-input operator is an ordinary operator whose channel carries [`Side`]: the runtime wraps what
//! comes from either upstream, so alignment, back-pressure and snapshots are the same for both forms.

use crate::batch::Batch;
use crate::error::Result;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::time::Timestamp;

/// A batch from the left or from the right input.
#[derive(Debug, Clone)]
pub enum Side<L, R> {
    /// From the first input.
    Left(L),
    /// From the second input.
    Right(R),
}

impl<L: Batch, R: Batch> Batch for Side<L, R> {
    type Builder = ();

    fn rows(&self) -> usize {
        match self {
            Side::Left(batch) => batch.rows(),
            Side::Right(batch) => batch.rows(),
        }
    }

    fn building((): &()) -> usize {
        0
    }

    fn seal((): &mut ()) -> Option<Self> {
        None
    }

    fn take(&mut self) -> Option<Self> {
        match self {
            Side::Left(batch) => batch.take().map(Side::Left),
            Side::Right(batch) => batch.take().map(Side::Right),
        }
    }
}

/// The contract of [`Operator`] with two inputs of different types. Order is kept within an input and not
/// between them; `watermark` is the minimum of both.
pub trait TwoInputOperator<L: Batch, R: Batch, O: Batch>: Send {
    /// Consumes rows from the left input; see [`Operator::process`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn process_left(&mut self, input: &mut L, output: &mut Output<O>) -> Result<()>;

    /// Consumes rows from the right input; see [`Operator::process`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn process_right(&mut self, input: &mut R, output: &mut Output<O>) -> Result<()>;

    /// See [`Operator::watermark`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<O>) -> Result<Progress> {
        output.emit_watermark(watermark);
        Ok(Progress::Done)
    }

    /// See [`Operator::tick`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn tick(&mut self, _output: &mut Output<O>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    /// See [`Operator::end_epoch`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn end_epoch(&mut self, _output: &mut Output<O>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    /// See [`Operator::snapshot`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn snapshot(&mut self) -> Result<Snapshot>;

    /// See [`Operator::restore`].
    ///
    /// # Errors
    /// As for [`Operator::restore`].
    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<O>) -> Result<()>;

    /// See [`Operator::finish`].
    ///
    /// # Errors
    /// As for [`Operator::process`].
    fn finish(&mut self, _output: &mut Output<O>) -> Result<Progress> {
        Ok(Progress::Done)
    }
}

/// A two-input operator as an [`Operator`] over [`Side`].
#[derive(Debug, Clone)]
pub struct TwoInput<P>(pub P);

impl<L: Batch, R: Batch, O: Batch, P: TwoInputOperator<L, R, O>> Operator<Side<L, R>, O> for TwoInput<P> {
    fn process(&mut self, input: &mut Side<L, R>, output: &mut Output<O>) -> Result<()> {
        match input {
            Side::Left(batch) => self.0.process_left(batch, output),
            Side::Right(batch) => self.0.process_right(batch, output),
        }
    }
    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<O>) -> Result<Progress> {
        self.0.watermark(watermark, output)
    }
    fn tick(&mut self, output: &mut Output<O>) -> Result<Progress> {
        self.0.tick(output)
    }
    fn end_epoch(&mut self, output: &mut Output<O>) -> Result<Progress> {
        self.0.end_epoch(output)
    }
    fn snapshot(&mut self) -> Result<Snapshot> {
        self.0.snapshot()
    }
    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<O>) -> Result<()> {
        self.0.restore(restore, output)
    }
    fn finish(&mut self, output: &mut Output<O>) -> Result<Progress> {
        self.0.finish(output)
    }
}
