//! Epochs, markers and checkpoints: the decision logic, as pure state machines, and the log.
//!
//! Life of an epoch: the [`coordinator`] opens it; sources note their offsets and send a marker; each actor
//! [aligns](align) the markers of its inputs, passes the marker on and hands its snapshot to the
//! `writer`, which encodes it off the data path; when all have, the parts are [assembled](assemble) into
//! one [record] and appended to the [log]: that instant decides. Then the sinks commit, on a thread beside.
//!
//! Papers: Chandy and Lamport 1985; Carbone et al., "Lightweight Asynchronous Snapshots for Distributed
//! Dataflows", 2015; Carbone et al., "State Management in Apache Flink", 2017. See
//! `engine/docs/design-001-epochs.md`.

pub mod align;
pub mod assemble;
pub(crate) mod commits;
pub mod coordinator;
mod events;
pub mod inspect;
pub mod local;
pub mod location;
pub mod log;
#[cfg(feature = "object-store")]
pub mod object;
mod read;
pub mod record;
pub mod recover;
pub(crate) mod savepoint;
pub mod storage;
pub(crate) mod writer;

use std::fmt;

/// One actor of a running query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub u32);

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {}", self.0)
    }
}
