//! A run of a query while it is active: what the query's actor knows of its actors and epochs.

use super::control::{Command, SourceAt};
use super::run::RunSpec;
use crate::checkpoint::ActorId;
use crate::checkpoint::coordinator::Coordinator;
use crate::checkpoint::record::Plan;
use crate::checkpoint::writer::{Job, Writer};
use crate::error::Result;
use crate::query::progress::{EpochFigures, ReportHead, Reporter};
use crate::query::shared::Shared;
use crate::query::{Mode, SourceProgress};
use actix::Recipient;
use lotic_connectors::Offsets;
use lotic_operators::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Duration;

/// What is known of an actor of the run.
pub(super) struct ActorInfo {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) is_source: bool,
}

/// Someone who waits until what was there at some time has been processed.
pub(super) struct Waiter {
    pub(super) ticket: u64,
    pub(super) targets: BTreeMap<ActorId, Offsets>,
    pub(super) done: mpsc::Sender<()>,
}

/// The run.
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) spec: RunSpec,
    pub(super) writer: Option<Writer>,
    pub(super) coordinator: Coordinator,
    pub(super) replay: Option<Plan>,
    pub(super) actors: BTreeMap<ActorId, ActorInfo>,
    pub(super) controls: BTreeMap<ActorId, Recipient<Command>>,
    pub(super) offsets: BTreeMap<Epoch, BTreeMap<ActorId, SourceAt>>,
    pub(super) modes: BTreeMap<Epoch, Mode>,
    pub(super) figures: BTreeMap<Epoch, EpochFigures>,
    pub(super) reporter: Reporter,
    pub(super) activity: u64,
    pub(super) started_ns: u64,
    pub(super) ending: Option<Result<()>>,
    pub(super) stopped: BTreeSet<ActorId>,
}

impl Waiter {
    pub(super) fn reached(&self, offsets: &BTreeMap<ActorId, SourceAt>) -> bool {
        !self.targets.is_empty()
            && self.targets.iter().all(|(source, target)| {
                let Some(at) = offsets.get(source) else { return false };
                // A partition to be read to its end is counted by another one when it is done.
                let mut counted = target.0.iter().filter(|(_, row)| **row != u64::MAX);
                counted.all(|(partition, row)| at.offsets.get(partition).is_some_and(|at| at >= *row))
            })
    }
}

impl Active {
    pub(super) fn since_start(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(now_ns.saturating_sub(self.started_ns))
    }

    pub(super) fn name(&self, actor: ActorId) -> String {
        self.actors.get(&actor).map_or_else(|| actor.to_string(), |info| info.name.clone())
    }

    pub(super) fn tell(&self, actor: ActorId, command: Command) {
        if let Some(control) = self.controls.get(&actor)
            && let Err(error) = control.try_send(command)
        {
            tracing::warn!("`{}` could not be told: {error}", self.name(actor));
        }
    }

    pub(super) fn tell_sources(&self, command: impl Fn(ActorId) -> Command) {
        for (id, _) in self.actors.iter().filter(|(_, info)| info.is_source) {
            self.tell(*id, command(*id));
        }
    }

    pub(super) fn job(&self, job: Job) {
        if let Some(writer) = &self.writer {
            // The writer outlives the run.
            let _ = writer.jobs().send(job);
        }
    }

    /// Planned ends by operator: all instances of a source together.
    pub(super) fn by_operator(&self, ends: BTreeMap<ActorId, Offsets>) -> BTreeMap<String, Offsets> {
        let mut merged: BTreeMap<String, Offsets> = BTreeMap::new();
        for (actor, end) in ends {
            if let Some(info) = self.actors.get(&actor) {
                merged.entry(info.uid.clone()).or_default().merge(end);
            }
        }
        merged
    }

    /// The batch to be run again, with each source instance given its operator's planned ends.
    pub(super) fn take_replay(&mut self) -> Option<(Epoch, BTreeMap<ActorId, Offsets>)> {
        let plan = self.replay.take()?;
        let mut ends = BTreeMap::new();
        for (id, info) in self.actors.iter().filter(|(_, info)| info.is_source) {
            ends.insert(*id, plan.ends.get(&info.uid).cloned().unwrap_or_default());
        }
        Some((plan.epoch, ends))
    }

    pub(super) fn report(
        &mut self,
        epoch: Epoch,
        shared: &Shared,
        now: crate::clock::Now,
    ) -> crate::QueryProgress {
        let sources = self.offsets.get(&epoch).into_iter().flatten();
        let sources = sources
            .map(|(actor, at)| SourceProgress {
                name: self.name(*actor),
                offsets: at.offsets.0.clone(),
                figures: at.figures.clone(),
            })
            .collect();
        let head = ReportHead {
            id: shared.id(),
            name: shared.name.clone(),
            epoch,
            mode: self.modes.get(&epoch).copied().unwrap_or(Mode::Continuous),
            time: now.time,
            now_ns: now.ns,
            figures: self.figures.get(&epoch).copied().unwrap_or_default(),
            sources,
        };
        self.reporter.report(head)
    }
}
