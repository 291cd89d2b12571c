//! A query of two sources and a sink, seen by its coordinator.

use self::Does::*;
use lotic::checkpoint::ActorId;
use lotic::checkpoint::coordinator::{Action, Coordinator, Event, Until};
use lotic::connectors::Offsets;
use lotic::operators::{After, Epoch, Marker};
use lotic::{Mode, Trigger};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const LEFT: ActorId = ActorId(0);
pub(crate) const RIGHT: ActorId = ActorId(1);
pub(crate) const SINK: ActorId = ActorId(2);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Short names of what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Does {
    OpenGates,
    Plan {
        epoch: u64,
        unlimited: bool,
    },
    PersistPlan(u64, Vec<u64>),
    /// A continuous epoch; whether gates stay open.
    Marks(u64, bool),
    /// A micro-batch up to there.
    Batch(u64, Vec<u64>),
    /// The last epoch.
    Last(u64, After),
    Persist(u64),
    Cancel(u64),
    Completed(u64),
    Finished,
    Fail(u64),
}

/// A query of two sources and a sink.
pub(crate) struct Query {
    pub(crate) coordinator: Coordinator,
    pub(crate) now: Duration,
}

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn at(row: u64) -> Offsets {
    Offsets::single("0", row)
}

pub(crate) fn rows(ends: &BTreeMap<ActorId, Offsets>) -> Vec<u64> {
    ends.values().map(|end| end.get("0").unwrap_or(u64::MAX)).collect()
}

pub(crate) fn does(action: Action) -> Does {
    match action {
        Action::OpenGates => OpenGates,
        Action::Plan { epoch, unlimited } => Plan { epoch: epoch.0, unlimited },
        Action::PersistPlan { epoch, ends } => PersistPlan(epoch.0, rows(&ends)),
        Action::Open { marker: Marker { epoch, after: After::Continue, .. }, until, mode, gates_open } => {
            match until {
                Until::Now => {
                    assert_eq!(mode, Mode::Continuous);
                    Marks(epoch.0, gates_open)
                }
                Until::Planned(ends) => {
                    assert_eq!((mode, gates_open), (Mode::MicroBatch, false));
                    Batch(epoch.0, rows(&ends))
                }
            }
        }
        Action::Open { marker, until, gates_open, .. } => {
            assert_eq!((until, gates_open), (Until::Now, false));
            Last(marker.epoch.0, marker.after)
        }
        Action::Persist { epoch, .. } => Persist(epoch.0),
        Action::Cancel(epoch) => Cancel(epoch.0),
        Action::Completed(epoch) => Completed(epoch.0),
        Action::Finished => Finished,
        Action::Fail { epoch, .. } => Fail(epoch.0),
    }
}

impl Query {
    pub(crate) fn new(trigger: Trigger) -> Query {
        let actors = [LEFT, RIGHT, SINK].into();
        let coordinator = Coordinator::new(actors, [LEFT, RIGHT].into(), trigger, Epoch(1), TIMEOUT);
        Query { coordinator, now: Duration::ZERO }
    }

    pub(crate) fn started(trigger: Trigger) -> (Query, Vec<Does>) {
        let mut query = Query::new(trigger);
        let done = query.step(Event::Started { replay: None });
        (query, done)
    }

    pub(crate) fn step(&mut self, event: Event) -> Vec<Does> {
        self.coordinator.step(self.now, event).into_iter().map(does).collect()
    }

    /// Time passes, with rows moving or not.
    pub(crate) fn tick(&mut self, by: Duration, active: bool) -> Vec<Does> {
        self.now += by;
        self.step(Event::Tick { active })
    }

    /// All have given their snapshots.
    pub(crate) fn acknowledge(&mut self, epoch: u64) -> Vec<Does> {
        let epoch = Epoch(epoch);
        let steps = [LEFT, RIGHT, SINK].map(|actor| self.step(Event::Acknowledged { actor, epoch }));
        steps.concat()
    }

    /// An open epoch comes to its end; what is to be done then.
    pub(crate) fn complete(&mut self, epoch: u64) -> Vec<Does> {
        assert_eq!(self.acknowledge(epoch), [Persist(epoch)]);
        assert_eq!(self.step(Event::Persisted(Epoch(epoch))), []);
        let mut done = self.step(Event::Committed(Epoch(epoch)));
        assert_eq!(done.remove(0), Completed(epoch));
        done
    }

    /// A source says how far it could read.
    pub(crate) fn planned(&mut self, source: ActorId, epoch: u64, end: u64, has_rows: bool) -> Vec<Does> {
        self.step(Event::Planned { source, epoch: Epoch(epoch), end: at(end), has_rows, exhausted: false })
    }

    pub(crate) fn drained(&mut self, source: ActorId, epoch: u64, end: u64) -> Vec<Does> {
        self.step(Event::Planned {
            source,
            epoch: Epoch(epoch),
            end: at(end),
            has_rows: false,
            exhausted: true,
        })
    }

    /// Both sources answer; a source has rows if it is to go beyond `from`.
    pub(crate) fn both(&mut self, epoch: u64, from: [u64; 2], to: [u64; 2]) -> Vec<Does> {
        let mut done = self.planned(LEFT, epoch, to[0], to[0] > from[0]);
        done.extend(self.planned(RIGHT, epoch, to[1], to[1] > from[1]));
        done
    }

    /// A whole micro-batch, from the answers to the commit.
    pub(crate) fn batch(&mut self, epoch: u64, from: [u64; 2], to: [u64; 2]) -> Vec<Does> {
        assert_eq!(self.both(epoch, from, to), [PersistPlan(epoch, to.to_vec())]);
        assert_eq!(self.step(Event::PlanPersisted(Epoch(epoch))), [Batch(epoch, to.to_vec())]);
        self.complete(epoch)
    }
}

pub(crate) const EVERY_10: Trigger = Trigger::Continuous(Duration::from_millis(10));
pub(crate) const BATCHES_10: Trigger = Trigger::ProcessingTime(Duration::from_millis(10));
pub(crate) const AT_ONCE: Trigger = Trigger::ProcessingTime(Duration::ZERO);
