//! What an actor runs: a chain of operators that ends in channels or in a sink.
//!
//! A stage takes batches and signals from its actor and never blocks: it says [`Flow::Blocked`] when a
//! channel or sink is full, having arranged that the actor is woken, and is resumed later.

use super::metrics::ActorMetrics;
use crate::checkpoint::writer::OperatorSnapshot;
use crate::clock::Now;
use crate::error::Result;
use lotic_connectors::Prepare;
use lotic_operators::{Batch, Epoch, Marker, PartitionId, PartitionStatus, StateImage, Timestamp};
use std::task::Waker;

/// Whether a stage has passed on all it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Flow {
    /// It has.
    Ready,
    /// Something downstream is full; the waker of the context is woken when it no longer is.
    Blocked,
}

/// What an actor tells its stage, in the order of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Watermark(Timestamp),
    /// Whether the watermark should no longer wait for the input.
    Idle(bool),
    /// A source speaks of one of its partitions.
    Partition(PartitionStatus),
    /// Processing time has reached what an operator asked for.
    Tick,
    /// The input has ended: emit what is held.
    Finish,
    /// All rows of the epoch have come: emit what belongs to it as a whole.
    EndEpoch,
    Marker(Marker),
    Cancel(Epoch),
    End,
}

/// The circumstances of a call.
pub(crate) struct StageContext<'a> {
    pub(crate) waker: &'a Waker,
    pub(crate) now: Now,
    /// Ingest time of the oldest row being handled.
    pub(crate) ingest_ns: u64,
    /// The partition of a source that the rows being handled come from.
    pub(crate) partition: PartitionId,
    /// The earliest processing time at which an operator wants a [`Signal::Tick`].
    pub(crate) wake_at: &'a mut Option<Timestamp>,
    pub(crate) metrics: &'a ActorMetrics,
}

/// What a stage gives at a marker.
#[derive(Default)]
pub(crate) struct StageSnapshot {
    pub(crate) operators: Vec<OperatorSnapshot>,
    /// The sink at the end of the chain, if it has something to commit later.
    pub(crate) prepare: Option<(String, Prepare)>,
}

/// A chain of operators from here to the channels or the sink.
///
/// `push` and `signal` are called only when the last call or `resume` returned [`Flow::Ready`].
pub(crate) trait Stage<I: Batch>: Send {
    /// Takes rows; those that remain in `input` after `Blocked` are given again after a resume.
    fn push(&mut self, input: &mut I, context: &mut StageContext<'_>) -> Result<Flow>;

    /// Takes a signal, in order with the rows.
    fn signal(&mut self, signal: Signal, context: &mut StageContext<'_>) -> Result<Flow>;

    /// Passes on what is held; `Ready` once nothing is.
    fn resume(&mut self, context: &mut StageContext<'_>) -> Result<Flow>;

    /// Wakes the neighbours, once per burst.
    fn flush(&mut self);

    /// What changed since the last marker.
    fn snapshot(&mut self, epoch: Epoch, into: &mut StageSnapshot) -> Result<()>;

    /// Brings state back, and starts sinks. `image` gives the state by operator; `next` is the first epoch.
    fn start(
        &mut self,
        image: &dyn Fn(&str) -> StateImage,
        next: Epoch,
        context: &mut StageContext<'_>,
    ) -> Result<()>;
}
