//! Where a source stands.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The position of a source: for each of its partitions, the number of the next row to read.
///
/// Partition names are the connector's own (`topic-3`, a file path, `0`) and stay the same over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets(pub BTreeMap<String, u64>);

impl Offsets {
    /// One partition.
    pub fn single(partition: impl Into<String>, next: u64) -> Offsets {
        Offsets(BTreeMap::from([(partition.into(), next)]))
    }

    /// The next row of a partition; `None` if it was never read.
    pub fn get(&self, partition: &str) -> Option<u64> {
        self.0.get(partition).copied()
    }

    /// Takes in the partitions of another instance of the same source.
    pub fn merge(&mut self, other: Offsets) {
        self.0.extend(other.0);
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, next)| format!("{name}:{next}")).collect();
        f.write_str(&parts.join(","))
    }
}
