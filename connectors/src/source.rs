//! The source contract.

use crate::error::Result;
use crate::offsets::Offsets;
use lotic_operators::{Batch, Epoch, Instance, Restore, Snapshot};
use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

/// What a source is, for the planner, `explain` and the delivery guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTraits {
    /// What to call it in errors, metrics and `explain`.
    pub name: String,
    /// Whether it can be read again from an offset. A query over a source that cannot is exactly-once only
    /// while the process lives; after a crash what was in flight is lost.
    pub replayable: bool,
    /// Whether [`Source::poll`] may block.
    pub polling: Polling,
    /// The number of instances that can share the work; 1 for a source that cannot be split.
    pub max_parallelism: usize,
}

/// How a source waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polling {
    /// `poll` returns at once (within about 100 us) and arranges a wake-up.
    NonBlocking,
    /// `poll` may block for up to about 100 ms; the engine gives the source a thread of its own.
    Blocking,
}

/// What the engine asks of one poll.
#[derive(Debug)]
pub struct PollRequest<'a> {
    /// Return at most this many rows (at least 1).
    pub max_rows: usize,
    /// Stop before the row at these offsets: the planned end of a micro-batch. Partitions not named are
    /// not read at all.
    pub until: Option<&'a Offsets>,
    /// To be woken when there may be more, after a [`Polled::Pending`].
    pub waker: &'a Waker,
}

/// What a poll found.
#[derive(Debug)]
pub enum Polled<B> {
    /// Rows that were ready, at least one; never waits to fill a batch.
    Batch(B),
    /// Nothing is ready. The waker of the request is woken when there is, or the engine polls again after
    /// the given time, whichever is first.
    Pending(Option<Duration>),
    /// The planned end is reached.
    AtEnd,
    /// The input has ended and all of it was returned. Further polls say the same, also at a planned end.
    Finished,
}

/// Figures of a source, by partition and name.
pub type Figures = BTreeMap<String, BTreeMap<&'static str, f64>>;

/// The end of what could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Latest {
    /// Up to these offsets.
    At(Offsets),
    /// Not known yet: to be asked again when the waker was woken, or after the given time, whichever is first.
    Pending(Option<Duration>),
}

impl Latest {
    /// The offsets, if they are known.
    pub fn known(self) -> Option<Offsets> {
        match self {
            Latest::At(offsets) => Some(offsets),
            Latest::Pending(_) => None,
        }
    }
}

/// A partition that an instance reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePartition {
    /// Its name: the same over restarts, and in every instance that may read it.
    pub name: String,
    /// Whether all of it that is known outside was returned. Not the case while the source does not know.
    pub caught_up: bool,
}

/// One instance of a source: reads the partitions that fall to it.
///
/// # Calls
/// [`identify`](Source::identify) and [`restore`](Source::restore) at most once and first, [`start`](Source::start) once; the rest in any order,
/// from one thread at a time.
///
/// # Delivery
/// What was polled before [`offsets`](Source::offsets) was asked is in the epoch; after a restart the source
/// continues at the offsets of the last durable epoch.
pub trait Source<B: Batch>: Send {
    /// Says what to call the reader outside, as in the name of a consumer group: made of the names of the query and
    /// of this source in it. Called before anything else, if at all.
    fn identify(&mut self, _reader: &str) {}

    /// Begins to read. `from` holds the offsets of *all* instances at the last checkpoint and is empty on a
    /// fresh start; partitions it does not name start at their beginning.
    ///
    /// # Errors
    /// If the outside cannot be reached or the offsets no longer exist.
    fn start(&mut self, from: &Offsets) -> Result<()>;

    /// Takes back what this instance owns of the snapshots of all instances, before it is started.
    ///
    /// # Errors
    /// If the image does not fit.
    fn restore(&mut self, _restore: Restore<'_>) -> Result<()> {
        Ok(())
    }

    /// Returns what is ready.
    ///
    /// # Errors
    /// An error ends the query, or restarts it from the last checkpoint if its restart policy says so.
    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<B>>;

    /// The position after the last row returned, for every partition of this instance.
    fn offsets(&self) -> Offsets;

    /// What the source has to remember besides its offsets, such as the files it has read: what changed since
    /// the last call. Asked together with [`offsets`](Source::offsets). The table `offsets` is the engine's
    /// own. Not available to a source whose polls block.
    ///
    /// # Errors
    /// As for [`poll`](Source::poll).
    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot::empty())
    }

    /// The end of what could be read now: the plan of a micro-batch, at most `max_rows` away. Equal to
    /// [`offsets`](Source::offsets) if nothing is there. Asked for `u64::MAX` rows it is all there is, whatever
    /// limits the source has of its own; a batch without a limit of rows is planned with `u64::MAX - 1`.
    ///
    /// A partition may be planned up to `u64::MAX`: it is read to its end, wherever that is, and may leave the
    /// offsets then. Such a source counts what it has read to the end in another partition.
    ///
    /// A source that has to ask outside, or to wait, says so and is asked again; like `poll` it does not block.
    ///
    /// # Errors
    /// As for [`poll`](Source::poll).
    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest>;

    /// The partitions that this instance reads, for a watermark of each; the list only ever grows at its end. A
    /// source with more than one returns rows of one partition in each batch. Asked at the start, and some times
    /// within the time after which a quiet partition counts as idle.
    ///
    /// `None`, the default: the instance is read as one sequence, which is caught up when a poll without a planned
    /// end was pending, or when there was nothing to plan. A source whose polls block is always read as one.
    fn partitions(&mut self) -> Option<Vec<SourcePartition>> {
        None
    }

    /// Where in [`partitions`](Source::partitions) that of the last batch stands.
    ///
    /// `None`: its rows lie ahead of rows of the same sequence that the planned end holds back, so that their
    /// times say nothing of what is still to come. They count for no watermark.
    fn polled_partition(&self) -> Option<usize> {
        Some(0)
    }

    /// What an operator would want to know of each partition, such as how many rows are left to read: name and
    /// value, for the progress of the query. Asked with each epoch, so it must be cheap.
    fn figures(&self) -> Figures {
        Figures::new()
    }

    /// The epoch with these offsets is durable: a broker may be told. Must not block.
    fn committed(&mut self, _epoch: Epoch, _offsets: &Offsets) {}
}

/// Builds the instances of a source; called again after each restart.
pub trait SourceFactory<B: Batch>: Send {
    /// What the source is.
    fn traits(&self) -> SourceTraits;

    /// Builds one instance.
    ///
    /// # Errors
    /// If the options are wrong.
    fn create(&self, instance: Instance) -> Result<Box<dyn Source<B>>>;
}
