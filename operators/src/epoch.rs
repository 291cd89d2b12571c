//! Epochs and the markers that end them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The stretch of stream between two markers, numbered from 1 and strictly increasing over the life of a
/// checkpoint location. `Epoch::NONE` (0) is what precedes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before the first epoch.
    pub const NONE: Epoch = Epoch(0);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What follows a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// The stream goes on.
    Continue,
    /// The query stops here and may be resumed: state stays as it is.
    Stop,
    /// The input has ended: operators emit what they still hold *before* they pass this marker on.
    Finish,
}

/// The in-band signal that ends an epoch: the marker of Chandy and Lamport, "Distributed Snapshots:
/// Determining Global States of Distributed Systems" (1985).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The epoch that ends here.
    pub epoch: Epoch,
    /// What follows.
    pub after: After,
    /// The rows of the epoch are a whole result, which replaces the one before, also if there are none. Set on
    /// the way by the operator that emitted it ([`crate::Output::emit_whole`]).
    pub whole: bool,
}

impl Marker {
    /// The marker as a source sends it.
    #[must_use]
    pub fn new(epoch: Epoch, after: After) -> Marker {
        Marker { epoch, after, whole: false }
    }
}
