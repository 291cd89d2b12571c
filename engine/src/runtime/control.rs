//! What actors and their coordinator say to each other. Control only: no rows travel in a mailbox.

use crate::checkpoint::ActorId;
use crate::checkpoint::coordinator::Event;
use crate::checkpoint::writer::Written;
use crate::error::Error;
use actix::{Message, Recipient};
use lotic_connectors::{Figures, Offsets};
use lotic_operators::{Epoch, Marker};

/// From the coordinator to an actor.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) enum Command {
    /// All actors are there: begin.
    Run,
    /// Sources: say what could be read now.
    Plan { epoch: Epoch, unlimited: bool },
    /// Sources: read up to `until` (or stay where you are), send the marker, then read on or not.
    Begin { marker: Marker, until: Option<Offsets>, gates_open: bool },
    /// Sources: read on without an end.
    OpenGates,
    /// Sources: nobody should wait for this epoch.
    Cancel(Epoch),
    /// Sources: say what there is to read, for somebody who waits until it has been processed.
    Latest { ticket: u64 },
    /// Sources: the epoch is durable and its sinks have committed.
    Committed(Epoch),
    /// Stop at once.
    Stop,
}

/// From an actor or the checkpoint writer to the coordinator, with the run it belongs to: what an earlier
/// run still says after a restart is ignored.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Report {
    pub(crate) run: u32,
    pub(crate) what: What,
}

/// What is reported.
pub(crate) enum What {
    /// The actor runs and can be told things.
    Started { actor: ActorId, control: Recipient<Command> },
    /// Something for the state machine.
    Event(Event),
    /// Where a source stood at an epoch's marker.
    Offsets { actor: ActorId, epoch: Epoch, at: SourceAt },
    /// What a source has to read.
    Latest { actor: ActorId, ticket: u64, offsets: Offsets },
    /// From the checkpoint writer.
    Written(Written),
    /// An operator, source or sink has failed.
    Failed(Error),
    /// The actor is gone, and its source or sink with it.
    Stopped(ActorId),
    /// The checkpoint writer has ended; nothing of the run is left.
    TornDown,
}

/// Where a source stands, and what it says of itself.
pub(crate) struct SourceAt {
    pub(crate) offsets: Offsets,
    pub(crate) figures: Figures,
}

/// The way to the coordinator.
#[derive(Clone)]
pub(crate) struct Tell {
    pub(crate) coordinator: Recipient<Report>,
    pub(crate) run: u32,
}

impl Tell {
    /// Reports; never blocks. The coordinator's mailbox holds more than all actors can have to say about
    /// the epochs in flight, so a full one means it is gone or hangs.
    pub(crate) fn tell(&self, what: What) {
        if let Err(error) = self.coordinator.try_send(Report { run: self.run, what }) {
            tracing::debug!("a report found no coordinator: {error}");
        }
    }
}

/// Tells the coordinator, when it is dropped, that an actor is gone. The last field of the actor, so that
/// what the actor owned is gone by then: whoever learns that a query has ended finds its sources and sinks
/// closed, and a restart finds them free.
pub(crate) struct Farewell {
    tell: Tell,
    actor: ActorId,
}

impl Farewell {
    pub(crate) fn new(tell: Tell, actor: ActorId) -> Farewell {
        Farewell { tell, actor }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.tell.tell(What::Stopped(self.actor));
    }
}
