//! What the parts of a simulated process have in common: channels, the writer's queues, the reports on their
//! way to the coordinator.

use super::channel::Channel;
use crate::checkpoint::ActorId;
use crate::checkpoint::coordinator::Event;
use crate::checkpoint::writer::{Job, Written};
use lotic_operators::Epoch;
use std::collections::VecDeque;

/// What reaches the coordinator.
pub(super) enum Report {
    Event(Event),
    Written(Written),
}

/// Queues keep the order of each sender and no order among senders.
pub(super) struct Wires {
    pub(super) channels: Vec<Channel>,
    /// By actor; the last but one is the coordinator's, the last that of the commits.
    pub(super) jobs: Vec<VecDeque<Job>>,
    /// By actor; the last is that of the writer and the commits, which say things in one order.
    pub(super) reports: Vec<VecDeque<Report>>,
    /// Rows handled so far.
    pub(super) moved: u64,
}

impl Wires {
    pub(super) fn new(channels: Vec<Channel>, actors: usize) -> Wires {
        Wires {
            channels,
            jobs: (0..actors + 2).map(|_| VecDeque::new()).collect(),
            reports: (0..=actors).map(|_| VecDeque::new()).collect(),
            moved: 0,
        }
    }

    pub(super) fn hand_over(&mut self, actor: ActorId, job: Job) {
        self.jobs[actor.0 as usize].push_back(job);
    }

    /// A job of the coordinator.
    pub(super) fn ask(&mut self, job: Job) {
        if let [.., queue, _] = &mut self.jobs[..] {
            queue.push_back(job);
        }
    }

    /// The commits tell the writer.
    pub(super) fn committed(&mut self, epoch: Epoch) {
        if let Some(queue) = self.jobs.last_mut() {
            queue.push_back(Job::Committed(epoch));
        }
    }

    pub(super) fn report(&mut self, actor: ActorId, report: Report) {
        self.reports[actor.0 as usize].push_back(report);
    }

    /// What the writer says.
    pub(super) fn written(&mut self, written: Written) {
        if let Some(queue) = self.reports.last_mut() {
            queue.push_back(Report::Written(written));
        }
    }
}
