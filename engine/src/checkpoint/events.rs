//! What the coordinator is told and what it answers.

use crate::checkpoint::ActorId;
use crate::query::{Mode, Trigger};
use lotic_connectors::Offsets;
use lotic_operators::{Epoch, Marker};
use std::collections::BTreeMap;

/// Up to where sources read before they send a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Where they stand: a continuous epoch.
    Now,
    /// The planned end: a micro-batch. A source that is not named stays where it is.
    Planned(BTreeMap<ActorId, Offsets>),
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// All actors run. `replay` is a micro-batch that was planned and not finished before a restart.
    Started {
        /// The batch to be run again, with its planned ends.
        replay: Option<(Epoch, BTreeMap<ActorId, Offsets>)>,
    },
    /// Time has passed. `active`: rows or timers moved since the last epoch was opened.
    Tick {
        /// Whether an epoch would hold anything.
        active: bool,
    },
    /// A source says what it could read now.
    Planned {
        /// Which source.
        source: ActorId,
        /// For which batch.
        epoch: Epoch,
        /// How far it could read.
        end: Offsets,
        /// Whether that is further than it has read.
        has_rows: bool,
        /// Whether its input has ended and all of it was read.
        exhausted: bool,
    },
    /// The planned ends of a batch are durable.
    PlanPersisted(Epoch),
    /// An actor's snapshot of an epoch has been gathered.
    Acknowledged {
        /// Which actor.
        actor: ActorId,
        /// Which epoch.
        epoch: Epoch,
    },
    /// An actor could not give its snapshot.
    Declined {
        /// Which epoch.
        epoch: Epoch,
        /// Why.
        cause: String,
    },
    /// The checkpoint is durable; its commit has begun.
    Persisted(Epoch),
    /// The checkpoint could not be written.
    PersistFailed {
        /// Which epoch.
        epoch: Epoch,
        /// Why.
        cause: String,
    },
    /// All sinks have committed.
    Committed(Epoch),
    /// A source's input has ended.
    Exhausted(ActorId),
    /// The user asks for another trigger.
    SetTrigger(Trigger),
    /// The user asks for an orderly stop.
    Stop,
    /// The user waits for an epoch: open one even if nothing happened.
    ForceEpoch,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Let the sources read on without an end.
    OpenGates,
    /// Ask every source how far it could read: at most `rows_max` rows if given.
    Plan {
        /// For which batch.
        epoch: Epoch,
        /// Whether the limit on rows per batch is to be ignored.
        unlimited: bool,
    },
    /// Write the planned ends down; then say [`Event::PlanPersisted`].
    PersistPlan {
        /// Of which batch.
        epoch: Epoch,
        /// The planned ends.
        ends: BTreeMap<ActorId, Offsets>,
    },
    /// Tell the sources to read up to there, send the marker, and leave their gates open or closed.
    Open {
        /// The marker to send.
        marker: Marker,
        /// Where to send it.
        until: Until,
        /// The mode the epoch runs in.
        mode: Mode,
        /// Whether sources read on behind the marker.
        gates_open: bool,
    },
    /// Write the checkpoint; once it is durable, which decides, commit the sinks.
    Persist {
        /// Of which epoch.
        epoch: Epoch,
        /// The mode it ran in.
        mode: Mode,
    },
    /// Tell the sources that nobody should wait for this epoch.
    Cancel(Epoch),
    /// The epoch is over: report progress.
    Completed(Epoch),
    /// The last epoch is over: the query ends.
    Finished,
    /// The query ends with this cause.
    Fail {
        /// In which epoch.
        epoch: Epoch,
        /// Why.
        cause: String,
    },
}
