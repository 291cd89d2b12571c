//! The operator contract.

use crate::batch::Batch;
use crate::error::Result;
use crate::output::Output;
use crate::partition::PartitionStatus;
use crate::snapshot::{Restore, Snapshot};
use crate::time::Timestamp;

/// Whether a call has done all it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing is left of this call.
    Done,
    /// More is left: the output is full or the slice was used up. The same call comes again.
    Again,
}

/// What happens to data: takes batches of `I`, emits batches of `O`.
///
/// # Calls
/// One instance is called from one thread at a time and never sees a thread, a clock or I/O. Order:
/// [`restore`](Operator::restore) at most once and first; then any number of
/// [`process`](Operator::process), [`watermark`](Operator::watermark), [`tick`](Operator::tick) and, at each
/// marker, [`end_epoch`](Operator::end_epoch) and [`snapshot`](Operator::snapshot), in the order of the
/// channel; at last [`finish`](Operator::finish), only if the input ended (not when the query is stopped),
/// followed by one more `end_epoch` and `snapshot`. After a restore the
/// watermark that the input had reached is announced again before any row; it is not part of a snapshot.
///
/// # Budget
/// A call returns within about 1 ms. `process` is bounded by its input and by
/// [`Output::is_full`]; `watermark`, `tick`, `end_epoch` and `finish` emit a slice and return [`Progress::Again`].
///
/// # Refusal
/// When the output is full, stop consuming: leave the remaining rows in the input, or return `Again`, and
/// return. (An operator that emits nothing for its rows has no reason to look.) No other method is called before the same call was repeated and completed, save that the output
/// is emptied in between.
///
/// # Delivery
/// State changes made before a `snapshot` are in that epoch, later ones are not. After a crash the operator
/// is built anew, restored from the last durable epoch and sees the rows after it again.
pub trait Operator<I: Batch, O: Batch>: Send {
    /// Consumes rows from the front of `input`. Unless the output is full or the operator waits
    /// ([`Output::wait`]), all of it is consumed.
    ///
    /// # Errors
    /// An error ends the query, or restarts it from the last checkpoint if its restart policy says so.
    fn process(&mut self, input: &mut I, output: &mut Output<O>) -> Result<()>;

    /// Event time has reached `watermark`, the minimum over all inputs; never lower than before. The
    /// default passes it on. An operator that emits because of it does so before passing it on.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<O>) -> Result<Progress> {
        output.emit_watermark(watermark);
        Ok(Progress::Done)
    }

    /// The watermark should no longer wait for the input, since there is nothing to read (`idle`), or it should
    /// again. The default passes it on.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn idle(&mut self, idle: bool, output: &mut Output<O>) -> Result<()> {
        output.emit_idle(idle);
        Ok(())
    }

    /// A source speaks of one of its partitions: for operators that make watermarks.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn partition(&mut self, _status: PartitionStatus, _output: &mut Output<O>) -> Result<()> {
        Ok(())
    }

    /// Processing time has reached what was asked for by [`Output::wake_at`], or what the operator waits for
    /// outside has come.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn tick(&mut self, _output: &mut Output<O>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    /// The epoch ends here: emit what belongs to it as a whole, such as the complete result of an aggregation.
    /// Comes before the marker is passed on and the [`snapshot`](Operator::snapshot) is taken, and after
    /// [`finish`](Operator::finish) if the input ended.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn end_epoch(&mut self, _output: &mut Output<O>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    /// What changed since the last call. The cost is proportional to the changes: shared pages are handed
    /// over and encoded elsewhere. What was handed over is not handed over again, so it is kept even if its
    /// epoch is given up.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot::empty())
    }

    /// Takes back what this instance owns of a checkpoint. The next snapshot is a full one.
    ///
    /// # Errors
    /// [`crate::OperatorError::Decode`] if the image does not fit the operator.
    fn restore(&mut self, _restore: Restore<'_>, _output: &mut Output<O>) -> Result<()> {
        Ok(())
    }

    /// The input has ended: emit what is still held.
    ///
    /// # Errors
    /// As for [`process`](Operator::process).
    fn finish(&mut self, _output: &mut Output<O>) -> Result<Progress> {
        Ok(Progress::Done)
    }
}

impl<I: Batch, O: Batch, P: Operator<I, O> + ?Sized> Operator<I, O> for Box<P> {
    fn process(&mut self, input: &mut I, output: &mut Output<O>) -> Result<()> {
        (**self).process(input, output)
    }
    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<O>) -> Result<Progress> {
        (**self).watermark(watermark, output)
    }
    fn idle(&mut self, idle: bool, output: &mut Output<O>) -> Result<()> {
        (**self).idle(idle, output)
    }
    fn partition(&mut self, status: PartitionStatus, output: &mut Output<O>) -> Result<()> {
        (**self).partition(status, output)
    }
    fn tick(&mut self, output: &mut Output<O>) -> Result<Progress> {
        (**self).tick(output)
    }
    fn end_epoch(&mut self, output: &mut Output<O>) -> Result<Progress> {
        (**self).end_epoch(output)
    }
    fn snapshot(&mut self) -> Result<Snapshot> {
        (**self).snapshot()
    }
    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<O>) -> Result<()> {
        (**self).restore(restore, output)
    }
    fn finish(&mut self, output: &mut Output<O>) -> Result<Progress> {
        (**self).finish(output)
    }
}
