//! The in-band items of a channel.

use crate::epoch::{Epoch, Marker};
use crate::partition::{PartitionId, PartitionStatus};
use crate::time::Timestamp;

/// What flows through a channel. The order within a channel is never changed.
#[derive(Debug, Clone)]
pub enum Item<B> {
    /// Rows, with the monotonic time in nanoseconds at which the oldest of them entered the engine.
    Batch {
        /// The rows.
        rows: B,
        /// Ingest time of the oldest row, in nanoseconds of the engine's monotonic clock.
        ingest_ns: u64,
        /// The partition of the source that the rows come from, if they come from one.
        partition: PartitionId,
    },
    /// Nothing with an event time below this will come.
    Watermark(Timestamp),
    /// The sender has nothing to say for now: leave it out when taking the minimum of watermarks.
    Idle,
    /// The sender speaks again.
    Active,
    /// A source speaks of one of its partitions. Not passed on by operators with state.
    Partition(PartitionStatus),
    /// An epoch ends here.
    Marker(Marker),
    /// The epoch was given up: nobody should wait for its marker.
    Cancel(Epoch),
    /// Nothing follows.
    End,
}
