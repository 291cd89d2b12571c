//! The sink contract.

use crate::error::Result;
use lotic_operators::{Batch, Epoch, Instance};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// What a reader of the sink's output sees after crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Every row once; visible when its epoch is committed.
    ExactlyOnce,
    /// Every row at least once; visible when written.
    AtLeastOnce,
}

/// What a sink is, for the planner, `explain` and the delivery guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkTraits {
    /// What to call it in errors, metrics and `explain`.
    pub name: String,
    /// What it promises.
    pub delivery: Delivery,
    /// The number of instances that can share the work; 1 for a sink that cannot be split.
    pub max_parallelism: usize,
    /// Whether it needs whole batches with numbers of their own, and so cannot run in continuous mode.
    pub batches_only: bool,
}

/// The slow part of a pre-commit (flush, fsync): run off the data path, before the epoch is acknowledged. It
/// returns the handle, all that a later commit needs, also in another process; of a sink without a committer
/// nothing is kept.
pub type Prepare = Box<dyn FnOnce() -> Result<Vec<u8>> + Send>;

/// Says in which mode a query runs, which may change at the end of any epoch; continuous until it is set.
/// Clones say the same.
#[derive(Debug, Clone, Default)]
pub struct ModeWatch(Arc<AtomicBool>);

impl ModeWatch {
    /// Whether the rows that come now belong to a micro-batch.
    pub fn is_micro_batch(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// For the runtime: says whether the rows that come from now on belong to a micro-batch.
    pub fn set_micro_batch(&self, micro_batch: bool) {
        self.0.store(micro_batch, Ordering::Release);
    }
}

/// One instance of a sink.
///
/// # Calls
/// [`start`](Sink::start) once and first, then [`write`](Sink::write) and [`pre_commit`](Sink::pre_commit)
/// in the order of the channel, from one thread at a time.
pub trait Sink<B: Batch>: Send {
    /// Begins to write; `epoch` is the first one written.
    ///
    /// # Errors
    /// If the outside cannot be reached.
    fn start(&mut self, epoch: Epoch) -> Result<()>;

    /// Gives the sink what says the mode, before it is started: for a sink that shows rows in another way in
    /// micro-batch mode.
    fn watch(&mut self, _mode: &ModeWatch) {}

    /// Consumes rows from the front of `batch`. A sink that cannot take more leaves the rest in place and
    /// has `waker` woken when it can; it does not block.
    ///
    /// # Errors
    /// An error ends the query, or restarts it from the last checkpoint if its restart policy says so.
    fn write(&mut self, batch: &mut B, waker: &Waker) -> Result<()>;

    /// What was written since the last [`pre_commit`](Sink::pre_commit) is a whole result, which replaces the
    /// one before, also if it is nothing. Called before the `pre_commit` of its epoch, in output mode complete
    /// alone; an epoch without this call has left the result as it was.
    fn whole(&mut self) {}

    /// The epoch ends here: what was written since the last call belongs to it. `None` if there is nothing
    /// to commit later. A commit must not fail for lack of data once the returned [`Prepare`] succeeded.
    ///
    /// # Errors
    /// As for [`write`](Sink::write).
    fn pre_commit(&mut self, _epoch: Epoch) -> Result<Option<Prepare>> {
        Ok(None)
    }
}

/// What the instances of a sink prepared in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedEpoch<'a> {
    /// The epoch.
    pub epoch: Epoch,
    /// The handles of all instances.
    pub handles: Vec<&'a [u8]>,
}

/// Makes prepared output visible. One for each sink of a query, not for each instance; it works with handles
/// alone, so that a restart with another parallelism can commit what its predecessors prepared.
///
/// Runs on the thread of the query's commits, beside the checkpoint writer, and may block: epochs that become
/// durable meanwhile wait and are then committed [together](Committer::commit_all).
pub trait Committer: Send {
    /// The newest epoch whose output the outside may already show, as far as can be told from there;
    /// [`Epoch::NONE`] if none. Recovery refuses to fall back behind it.
    ///
    /// # Errors
    /// If the outside cannot be asked.
    fn last_committed(&mut self) -> Result<Epoch>;

    /// Makes visible what the handles of an epoch stand for: those of all instances of the sink, at once.
    /// Idempotent: the same handles may come again after a crash.
    ///
    /// # Errors
    /// If it cannot be done; it is tried again.
    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()>;

    /// Commits several durable epochs, oldest first: one after the other, unless the sink can make them visible
    /// at once for less. Never a later one without those before it. Idempotent as [`commit`](Committer::commit):
    /// some or all may be committed already, and may have been together with others.
    ///
    /// # Errors
    /// As for [`commit`](Committer::commit); all of them are tried again.
    fn commit_all(&mut self, epochs: &[PreparedEpoch<'_>]) -> Result<()> {
        epochs.iter().try_for_each(|prepared| self.commit(prepared.epoch, &prepared.handles))
    }

    /// Drops all that was prepared and not committed. Called once during recovery, after the pending
    /// handles were committed, and before any sink is started.
    ///
    /// # Errors
    /// If the outside cannot be reached.
    fn abort_prepared(&mut self) -> Result<()>;
}

/// Builds the instances of a sink and its committer; called again after each restart.
pub trait SinkFactory<B: Batch>: Send {
    /// What the sink is.
    fn traits(&self) -> SinkTraits;

    /// Builds one instance.
    ///
    /// # Errors
    /// If the options are wrong.
    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<B>>>;

    /// The committer; `None` for a sink whose output is visible at once. `writer` names this sink of this query:
    /// the same after every restart, unlike that of any other.
    ///
    /// # Errors
    /// If the outside cannot be reached.
    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(None)
    }
}
