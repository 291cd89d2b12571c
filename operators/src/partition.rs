//! Which partition of a source rows come from: what a watermark for each partition needs.

use crate::key::hash_of;
use serde::{Deserialize, Serialize};

/// A partition of a source, the same over restarts and wherever it is read: made of the source's stable id and
/// the partition's name. It travels with each batch through steps without state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u64);

impl PartitionId {
    /// Of rows that come from no one partition, such as those an operator with state has made.
    pub const NONE: PartitionId = PartitionId(0);

    /// Of rows that lie ahead of others of their sequence, which will come later: their times move no watermark.
    pub const AHEAD: PartitionId = PartitionId(u64::MAX);

    /// The id of a source's partition. Two of them are equal with a chance of one in 2^64.
    #[must_use]
    pub fn of(source: &str, partition: &str) -> PartitionId {
        PartitionId(hash_of(&(source, partition)).clamp(1, u64::MAX - 1))
    }
}

/// What a source says of one of its partitions, in order with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub id: PartitionId,
    /// Whether the watermark should not wait for it, until its next row.
    pub idle: bool,
    /// Whether what is said of another partition at the same time follows: nothing is concluded before.
    pub more: bool,
}
